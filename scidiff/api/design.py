"""`sd.design`: objects that a model finds likely and a black-box reward good, under a budget."""

from __future__ import annotations

import difflib
import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from scidiff.api.entry import opened
from scidiff.api.model import Model
from scidiff.api.typed import typed
from scidiff.core import Sampler, Select, seeded
from scidiff.data.records import Record
from scidiff.guidance.certificate import Guided, merged
from scidiff.guidance.chunks import in_chunks
from scidiff.guidance.lookahead import Decoded, PosteriorMean, Rollout, Value
from scidiff.guidance.particles import guided_sample
from scidiff.guidance.selection import keep_all, nested, per_parent, smc
from scidiff.rewards.cache import Cache
from scidiff.rewards.combine import reward as resolve_reward
from scidiff.rewards.executors import Executor, Serial
from scidiff.rewards.scoring import RewardError, Scorer, Status, require_floor
from scidiff.rewards.workers import Processes
from scidiff.samplers.strided import StridedSampler

if TYPE_CHECKING:
    from scidiff.api.results import DesignResult

CALLS = 128  # reward calls a design where no budget is given
ROWS = 8192  # particles and candidates run together; part of what a seed means
STRENGTH = 100.0  # for rewards in [0, 1]: alpha = 0.01 of the SVDD paper
_OWN = ("smiles", "valid", "reason", "canonical", "score", "log_w", "status")  # a row's columns


@dataclass(frozen=True)
class Plan:
    """How a design spends its calls: a population of `particles`, each look-ahead scoring
    particles * branch guesses at about `looks` steps, then every finished particle."""

    particles: int
    branch: int
    looks: int

    @property
    def chunk(self) -> int:
        """Designs that are run together."""
        return max(1, ROWS // (self.particles * self.branch))

    @property
    def calls(self) -> int:
        """Reward calls of one design whose rows are of typical length."""
        return self.particles * self.branch * self.looks + self.particles


@dataclass(frozen=True)
class Method:
    """A selection rule, how it spends b calls a design, and how a design is drawn at the end."""

    select: Select
    plan: Callable[[int], Plan]
    best: bool = False  # take the best of a population instead of drawing by weight


def _svdd(b: int) -> Plan:
    looks = max(1, min(6, b // 8))
    return Plan(1, max(1, (b - 1) // looks), looks)


def _nested(b: int) -> Plan:
    looks = max(1, min(4, b // 16))
    side = max(1, int(math.sqrt(b / (looks + 1))))
    return Plan(side, max(1, (b // side - 1) // looks), looks)


def _smc(b: int) -> Plan:
    looks = max(1, min(4, b // 4 - 1))
    return Plan(max(1, b // (looks + 1)), 1, looks)


METHODS: dict[str, Method] = {
    "svdd": Method(per_parent, _svdd),
    "nested": Method(nested(0.5), _nested),
    "smc": Method(smc(0.5), _smc),
    "best-of-n": Method(keep_all, lambda b: Plan(b, 1, 0), best=True),
}


@typed
def design(
    model: Model | str | Path,
    reward: Any,
    n: int = 64,
    method: str = "nested",
    budget: int | None = None,
    seed: int = 0,
    *,
    strength: float = STRENGTH,
    floor: float | None = None,
    cache: str | Path | None = None,
    workers: int = 1,
    timeout: float = 60.0,
    **settings: Any,
) -> DesignResult:
    """Design n objects: draw from p(x) exp(strength r(x)), one object from each of n populations.

    `model` is one or its name. `reward` is an expression ("0.7*qed + 0.3*sa"), a name,
    "package.module:name", or a callable on a list of objects. `budget` counts distinct objects
    asked (default 128 a design); the method's population size, branching and look-aheads follow
    from it. Methods: svdd (local choice; Li et al. 2024), nested (svdd with carried weights,
    consistent), smc, best-of-n. A model that writes from left to right is looked ahead by
    rollouts, others by the posterior mean.
    `cache` is a file of scores that runs and processes share. With `workers` above 1 the reward is
    asked in that many processes, at most `timeout` seconds an object; the results are the same.
    """
    model, chosen = opened(model), find_method(method)
    if n <= 0:
        raise ValueError(f"n must be at least 1, got {n}")
    budget = CALLS * n if budget is None else budget
    if budget < n:
        raise ValueError(
            f"budget counts distinct objects asked; {n} designs need at least {n}, got {budget}"
        )
    resolved = resolve_reward(reward, floor=floor)
    require_floor(resolved)
    with executing(workers, timeout) as executor:
        scorer = Scorer(
            resolved, key=model.domain.key, budget=budget, kind=model.domain.kind,
            cache=None if cache is None else Cache(cache), executor=executor,
        )  # fmt: skip
        plan, run = run_method(model, chosen, scorer, n, budget // n, seed, strength, settings)
    if scorer.messages and len(scorer.messages) == scorer.asked:
        why = next(iter(scorer.messages.values()))
        raise RewardError(f"reward {scorer.name!r} scored none of {scorer.asked} objects: {why}")
    used: dict[str, Any] = {
        "method": method,
        "reward": scorer.name,
        "strength": strength,
        "budget": budget,
    }
    used |= {**vars(plan), "chunk": plan.chunk, **settings}
    return _result(model, run, chosen, scorer, seed, used)


def find_method(name: str) -> Method:
    """Look a method up by name."""
    if name not in METHODS:
        near = difflib.get_close_matches(name, METHODS, n=1)
        hint = f"; did you mean {near[0]!r}?" if near else ""
        raise ValueError(f"unknown method {name!r}; expected one of {', '.join(METHODS)}{hint}")
    return METHODS[name]


def run_method(
    model: Model,
    method: Method,
    scorer: Scorer,
    n: int,
    calls: int,
    seed: int,
    strength: float,
    settings: dict[str, Any],
) -> tuple[Plan, Guided]:
    """Run one guided population a design, `calls` reward calls each.

    Designs are run ROWS particles at a time, chunk j seeded by (seed, j), so memory is bounded.
    """
    inner, plan = model.sampler(**settings), method.plan(calls)
    reward = Decoded(model.domain, scorer)
    stretch = math.ceil(model.engine.typical_steps(inner) / max(1, plan.looks))  # looks at most
    sampler = StridedSampler(inner, stretch if plan.looks else inner.num_steps)

    def run(designs: int, rng: torch.Generator) -> Guided:
        return guided_sample(
            sampler,
            reward,
            designs * plan.particles,
            rng,
            select=method.select,
            strength=strength,
            value=look_ahead(model, sampler, reward, strength),
            branch=plan.branch,
            populations=designs,
        )

    chunk, device = plan.chunk, model.engine.device
    parts = in_chunks(n, chunk, seed, run, device=device, denoiser=inner.denoiser)
    return plan, merged(list(parts), method.select.proper)


def look_ahead(model: Model, sampler: Sampler[Any], reward: Decoded, strength: float) -> Value:
    """Roll out what is written from left to right; elsewhere read the posterior mean."""
    kind = Rollout if model.engine.block_causal else PosteriorMean
    return kind(sampler, reward, strength=strength)


def pick(run: Guided, best: bool, seed: int) -> Tensor:
    """One row of each population: the best scored one, or a draw by weight."""
    if not best:
        return run.draw(seeded(seed, 1, run.log_w.device))
    P = len(run.log_z)
    # a row whose reward failed carries a score that nobody gave
    scores = run.scores.masked_fill(~run.scored, float("-inf")).view(P, -1)
    return scores.argmax(1) + torch.arange(P, device=scores.device) * scores.shape[1]


def _result(
    model: Model, run: Guided, method: Method, scorer: Scorer, seed: int, settings: dict[str, Any]
) -> DesignResult:
    """One design of each population, best first, with its score, its terms and its weight."""
    from scidiff.api.results import DesignResult, SampleResult

    picked = pick(run, method.best, seed)
    records = model.domain.decode(run.x[picked])
    scores = scorer.score(records)  # remembered: nothing is asked again
    columns: dict[str, list[Any]] = {
        "score": scores.values.tolist(),
        **_terms(scorer, records),
        "log_w": run.log_z.tolist(),
        "status": [Status(s).name.lower() for s in scores.status.tolist()],
    }
    order = sorted(
        range(len(records)),
        key=lambda i: (int(scores.status[i]), -columns["score"][i] if scores.ok[i] else 0.0),
    )
    same = ("network_rows", "asked", "cache_hits")  # equal runs are equal files
    cost = {name: getattr(run.ledger, name) for name in same}
    rows = SampleResult(
        [records[i] for i in order],
        kind=model.domain.kind,
        provenance=model.provenance(
            seed, n=len(records), design=settings, certificate=vars(run.certificate), ledger=cost
        ),
        columns={name: [values[i] for i in order] for name, values in columns.items()},
        novelty=model.novelty,
        notes=(
            str(run.certificate),
            f"{cost['asked']:,} objects asked, {cost['cache_hits']:,} cache hits, "
            f"{cost['network_rows']:,} network rows",
        ),
    )
    return DesignResult(rows, certificate=run.certificate, ledger=run.ledger, settings=settings)


def _terms(scorer: Scorer, records: Sequence[Record]) -> dict[str, list[float]]:
    """Terms of the reward, remembered from the run; NaN where a row has none."""
    return {
        f"term {name}" if name in _OWN else name: part.values.masked_fill(
            ~part.ok, math.nan
        ).tolist()
        for name, part in scorer.parts(records).items()
    }


@contextmanager
def executing(workers: int, timeout: float) -> Iterator[Executor]:
    """Where a reward is asked: here, or in processes that are closed afterwards."""
    if workers == 1:
        yield Serial()
        return
    with Processes(workers, timeout) as processes:
        yield processes
