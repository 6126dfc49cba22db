"""The weighted loop: sequential Monte Carlo over any sampler, steered by any reward."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from scidiff.core import Rng, Sampler, Select, Stacked
from scidiff.guidance.certificate import Guided, Meter, certify
from scidiff.guidance.lookahead import (
    Decoded,
    PosteriorMean,
    Reward,
    Value,
    as_scores,
    sparing,
)
from scidiff.guidance.selection import effective_size, log_mean_exp
from scidiff.rewards.scoring import Scores, Status, require_floor
from scidiff.samplers.strided import finished

Potential = Callable[[Tensor, Tensor, Tensor | None], tuple[Tensor, Tensor | None]]
"""potential(previous, score, carry) -> (log weight increment (B,), carry (B,)); carry is None at
the first look. Whatever was paid on the way, the last increment is score - paid, so that the
product closes to exp(strength r)."""


def difference(
    previous: Tensor, score: Tensor, carry: Tensor | None
) -> tuple[Tensor, Tensor | None]:
    """Pay what the score gained: the increments telescope. A look-ahead that failed pays 0."""
    return score - previous, carry


def current(previous: Tensor, score: Tensor, carry: Tensor | None) -> tuple[Tensor, Tensor | None]:
    """Pay the score itself at every look ("rt" of arXiv 2501.06848)."""
    return score, carry


def maximum(previous: Tensor, score: Tensor, carry: Tensor | None) -> tuple[Tensor, Tensor | None]:
    """Pay the best score so far ("max" of Feynman-Kac steering, Singhal et al. 2025)."""
    best = score if carry is None else torch.maximum(carry, score)
    return best, best


def total(previous: Tensor, score: Tensor, carry: Tensor | None) -> tuple[Tensor, Tensor | None]:
    """Pay the sum of the scores so far ("sum" of arXiv 2501.06848)."""
    so_far = score if carry is None else carry + score
    return so_far, so_far


@dataclass(frozen=True)
class Particles(Stacked):
    """States and all that must follow them through branching and selection."""

    x: Any
    score: Tensor  # (B,) the last score
    paid: Tensor  # (B,) log potential so far
    carry: Tensor | None  # (B,) the potential's own memory
    ancestor: Tensor  # (B,) the initial particle
    scored: Tensor  # (B,) bool, False where the last answer was a failure


@torch.no_grad()
def sample(sampler: Sampler[Any], n: int, rng: Rng) -> Any:
    """Draw n states from the sampler's own law: the loop without a reward."""
    x = sampler.init(positive("n", n), rng)
    for k in range(sampler.num_steps):
        x = sampler.step(x, k, rng)
    return x


@torch.no_grad()
def guided_sample(
    sampler: Sampler[Any],
    reward: Reward | None,
    n: int,
    rng: Rng,
    *,
    select: Select,
    strength: float = 1.0,
    value: Value | None = None,
    potential: Potential = difference,
    branch: int = 1,
    every: int = 1,
    window: tuple[int, int] | None = None,
    populations: int = 1,
) -> Guided:
    """Draw from p(x) exp(strength r(x)) without a gradient of r, p being the sampler's law.

    mean(exp(log_w) f(x)) over the returned particles estimates E_p[exp(strength r) f], unbiased
    for every proper `select` (Chopin and Papaspiliopoulos 2020, section 10), whatever `value` says
    on the way.

    `reward` maps clean states to (B,) or `Scores`; None is 0 (a sampler that only reports
    `log_ratio`). The n particles are `populations` of K, which never mix. Steps k in `window`
    (first, last) with (num_steps - k) divisible by `every` are looked at: there each particle
    makes `branch` candidates, `value` scores them (default `PosteriorMean`) and `select` chooses.
    At k = num_steps the score is always strength * reward. A `log_ratio` (B,) on the state (log
    target kernel minus log drawn kernel of that step) is added after every step.

    On the way a look-ahead that is not OK keeps its parent's score. At the end INVALID scores the
    reward's floor, and FAILED, TIMEOUT and SKIPPED keep the last score and leave the row unscored.
    Under a budget of calls look-aheads are SKIPPED once only those are left that the end may need:
    one for each candidate that is not finished, and n at least. Should more rows go on from there
    than expected, they have fewer candidates at the end.

    Raises ValueError for impossible arguments, a deterministic sampler asked to branch or
    resample, and scores that are not finite; RewardError for an invalid end where the reward
    declares no floor.
    """
    P, K = populations, population_size(n, populations)
    looks = _looks(sampler.num_steps, every, window)
    _check_branching(sampler, select, positive("branch", branch))
    finish = _nothing if reward is None else _ended(reward)
    if value is None:
        value = finish if reward is None else PosteriorMean(sampler, reward, strength=strength)
    meter = Meter(sampler, reward, value)
    value = sparing(value, reward, lambda x: max(n, int((~finished(sampler, x)).sum())))
    pop = _start(sampler.init(n, rng), n, rng)
    log_w, ess = torch.zeros(P, K, dtype=torch.float64, device=rng.device), []
    for k in range(sampler.num_steps):
        look, last = k + 1 in looks, k + 1 == sampler.num_steps
        C = _affordable(sampler, reward, pop.x, branch) if last else branch if look else 1
        pop = _branched(pop, C)
        pop = replace(pop, x=sampler.step(pop.x, k, rng))
        candidates = log_w[..., None] + _log_ratio(pop.x, (P, K, C))
        if look:
            answer = (finish if last else value)(pop.x, k + 1, rng)
            previous, pop = pop.score, _scored(pop, answer, strength, reward, last, k + 1)
            pop, increment = _paid(pop, previous, None if last else potential)
            candidates = candidates + increment.view(P, K, C)
            ess.append(effective_size(log_mean_exp(candidates)))
            rule = getattr(select, "final", select) if last else select
            chosen, log_w = rule(candidates, rng)
            pop = pop[(chosen + torch.arange(P, device=rng.device)[:, None] * (K * C)).flatten()]
        else:
            log_w = candidates[..., 0]
    certificate = certify(log_w, pop.ancestor.view(P, K), select.proper)
    return Guided(
        x=pop.x, log_w=log_w.flatten(), log_z=log_mean_exp(log_w),
        scores=pop.score, scored=pop.scored, ancestors=pop.ancestor,
        ess=torch.stack(ess), looks=tuple(sorted(looks)),
        ledger=meter.ledger(n * branch), certificate=certificate,
    )  # fmt: skip


def _start(x: Any, n: int, rng: Rng) -> Particles:
    zero = torch.zeros(n, dtype=torch.float64, device=rng.device)
    yes = torch.ones_like(zero, dtype=torch.bool)
    return Particles(x, zero, zero, None, torch.arange(n, device=rng.device), yes)


def _affordable(sampler: Sampler[Any], reward: Reward | None, x: Any, branch: int) -> int:
    """Candidates of each row at the end: `branch`, or as many as the calls that are left allow.

    A finished row needs one call at most, its candidates being copies of it.
    """
    left = reward.left if isinstance(reward, Decoded) else None
    if left is None:
        return branch
    ended = int(finished(sampler, x).sum())
    return branch if ended == len(x) else max(1, min(branch, (left - ended) // (len(x) - ended)))


def _branched(pop: Particles, C: int) -> Particles:
    """C candidates a parent, interleaved: row i C + c is parent i with all that it has."""
    rows = torch.arange(len(pop), device=pop.score.device)
    return pop if C == 1 else pop[rows.repeat_interleave(C)]


def _scored(
    pop: Particles,
    answer: Tensor | Scores,
    strength: float,
    reward: Reward | None,
    last: bool,
    k: int,
) -> Particles:
    """Take the new scores where the answer holds one; elsewhere the parent's score stays."""
    scores = as_scores(answer)
    if len(scores) != len(pop):
        raise ValueError(f"step {k}: expected {len(pop)} scores, got {len(scores)}")
    values, status = scores.values.to(pop.score), scores.status.to(pop.score.device)
    use = status == Status.OK
    if last:
        invalid = status == Status.INVALID
        values, use = _floored(values, invalid, reward), use | invalid
    score = torch.where(use, strength * values, pop.score)
    _check_finite(score, k)
    return replace(pop, score=score, scored=use)


def _paid(
    pop: Particles, previous: Tensor, potential: Potential | None
) -> tuple[Particles, Tensor]:
    """Pay the potential's log weight increment (B,); None closes the product to exp(score)."""
    if potential is None:
        return pop, pop.score - pop.paid
    increment, carry = potential(previous, pop.score, pop.carry)
    return replace(pop, paid=pop.paid + increment, carry=carry), increment


def _floored(values: Tensor, invalid: Tensor, reward: Reward | None) -> Tensor:
    """Give invalid ends without a value the floor that the reward declares."""
    unknown = invalid & ~values.isfinite()
    return torch.where(unknown, require_floor(reward), values) if unknown.any() else values


def _log_ratio(x: Any, shape: tuple[int, int, int]) -> Tensor | float:
    ratio = getattr(x, "log_ratio", None)
    return 0.0 if ratio is None else ratio.double().view(shape)


def _ended(reward: Reward) -> Value:
    """Make the value of finished states: the reward itself."""
    return lambda x, k, rng: reward(x)


def _nothing(x: Any, k: int | Tensor, rng: Rng) -> Tensor:
    """The value of the reward None: 0 for everything, and nothing drawn."""
    return torch.zeros(len(x), dtype=torch.float64)


def _looks(num_steps: int, every: int, window: tuple[int, int] | None) -> frozenset[int]:
    if num_steps < 1:
        raise ValueError("the sampler has no steps: its canvas holds nothing to generate")
    positive("every", every)
    first, last = window or (1, num_steps)
    if first > last:
        raise ValueError(f"window must be (first, last) steps with first <= last, got {window}")
    early = (k for k in range(1, num_steps) if first <= k <= last and (num_steps - k) % every == 0)
    return frozenset((*early, num_steps))


def population_size(n: int, populations: int) -> int:
    """Rows of each population; ValueError where they cannot be of one size."""
    positive("n", n)
    positive("populations", populations)
    if n % populations:
        raise ValueError(
            f"n must be a multiple of populations, got n={n} and populations={populations}"
        )
    return n // populations


def positive(name: str, number: int) -> int:
    """The number; ValueError below 1."""
    if number < 1:
        raise ValueError(f"{name} must be at least 1, got {number}")
    return number


def _check_branching(sampler: Sampler[Any], select: Select, branch: int) -> None:
    if not sampler.stochastic and (branch > 1 or getattr(select, "resamples", True)):
        raise ValueError(
            "the sampler is deterministic, so candidates and resampled particles would stay "
            "copies; make it stochastic (eta > 0 for a continuous sampler, temperature > 0 for a "
            "discrete one), or use select=keep_all with branch=1"
        )


def _check_finite(score: Tensor, k: int) -> None:
    bad = ~score.isfinite()
    if bad.any():
        row = int(bad.nonzero()[0])
        raise ValueError(
            f"step {k}: a score must be finite, got {float(score[row])} in row {row}; "
            "return status INVALID or FAILED for an object without a score"
        )
