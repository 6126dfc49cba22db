"""`sd.finetune`: from a model and scored objects, or a reward, to a model that draws better
ones."""

from __future__ import annotations

import copy
import statistics
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from scidiff.api.asking import asked_rows
from scidiff.api.card import card, hardware
from scidiff.api.engine import Engine
from scidiff.api.entry import load, opened
from scidiff.api.likelihoods import likelihood_of, policy_of, sampler_of
from scidiff.api.model import Model
from scidiff.api.scored_pool import ScoredPool, read_pool, tell_problems
from scidiff.api.scorers import Scoring
from scidiff.api.typed import typed
from scidiff.core import Process, ScidiffError
from scidiff.data.conditions import Asked
from scidiff.data.tokens import TokenState, encode_rows
from scidiff.files import write_atomically
from scidiff.guidance.finetune import Scored, ScoredBatches, Tuning
from scidiff.guidance.finetune_objectives import Augmented, Grouped, Objective, Reinforce, Weighted
from scidiff.guidance.lookahead import Decoded
from scidiff.guidance.policy_gradient import Rollouts
from scidiff.guidance.soft_rewards import Draws, SoftReward
from scidiff.messages import nearest
from scidiff.rewards.combine import reward as resolve_reward
from scidiff.rewards.scoring import require_floor
from scidiff.training.batches import Batches
from scidiff.training.checkpoint import save_model
from scidiff.training.config import TrainConfig
from scidiff.training.stages import OnLog
from scidiff.training.trainer import Trainer

STAGE = "finetune"
STRENGTH = 100.0  # of a reward in [0, 1], as in sd.design
TILT = 2.0  # standard deviations of a pool that its own strength is worth

OBJECTIVES: dict[str, Callable[[float], Objective]] = {
    "group": Grouped,
    "log-variance": lambda strength: Augmented(strength, centred=True),
    "augmented": Augmented,
    "weighted": Weighted,
}
"""What is made small on a pool, by name."""
METHODS = (*OBJECTIVES, "policy", "drakes")
_MEASURED = ("format", "network", "sha256", "frontier")  # of the parent's weights alone


@typed
def finetune(
    model: Model | str | Path,
    pool: Any = None,
    *,
    out: str | Path,
    method: str = "group",
    reward: Any = None,
    strength: float | None = None,
    steps: int = 200,
    batch_size: int = 64,
    lr: float = 2e-4,
    seed: int = 0,
    column: str | None = None,
    score: str = "score",
    floor: float | None = None,
    condition: Asked | None = None,
    cache: str | Path | None = None,
    workers: int = 1,
    timeout: float | None = None,
    cluster: str | None = None,
    device: str | None = None,
    on_log: OnLog | None = None,
) -> Path:
    """Move a model towards p(x) exp(strength score(x)) and return its directory, `out`/model.

    `pool` is a CSV or Parquet file, a DataFrame, a design (all that it asked) or a campaign's
    folder; its `column` holds the objects and `score` what they are worth, larger is better.
    Methods on a pool: group (softmax cross-entropy of a group's scores, GDRO and SDPO), weighted
    (reward-weighted regression: the safe one for pools drawn from the model itself), log-variance
    and augmented (the likelihood of REINVENT, with and without its constant). Without a pool,
    policy draws from the model as it changes and asks `reward` batch_size times a step; drakes
    takes the gradient of a `reward` that maps soft token rows (B, L, V) of a torch model to (B,).

    `strength` is by default 2 / the standard deviation of the pool's scores; of a policy 100, for
    rewards in [0, 1]. `condition`: what a conditional model is asked for. Started again with the
    same `out`, a killed run goes on where it was. Rows that cannot be used are in
    `out`/rejects.csv with the reason. Raises ScidiffError for a model that has no such loss.

    `cache`, `workers`, `timeout` and `cluster` say how policy asks its reward, as for `sd.design`;
    without another cache the answers are kept in `out`.
    """
    out, parent = Path(out), _parent(model, device)
    if method not in METHODS:
        raise ValueError(
            f"unknown method {method!r}; expected one of {', '.join(METHODS)}"
            f"{nearest(method, METHODS)}"
        )
    config = TrainConfig(
        steps, batch_size=batch_size, lr=lr, warmup=min(10, steps // 10), ema=0.0, seed=seed,
        log_every=min(10, steps), checkpoint_every=min(25, steps),
    )  # fmt: skip
    network = copy.deepcopy(parent.engine.network).requires_grad_(True)
    scoring = Scoring(cache, workers, timeout, cluster)
    wish = Wish(method, pool, reward, strength, config, condition, column, score, floor, scoring,
                out)
    with _MAKE.get(method, _offline)(parent, network, wish) as run:
        if run.pool is not None:
            tell_problems(run.pool, out)
        trainer = Trainer(
            network, run.process, run.batches, config, out / STAGE,
            accelerator=parent.engine.device.type,
        )  # fmt: skip
        trainer.resume()
        trainer.fit(None if on_log is None else lambda step, row: on_log(STAGE, step, row))
    facts = {"method": method, **run.facts, "steps": trainer.step, "rows a step": batch_size,
             "lr": lr, "seed": seed}  # fmt: skip
    return _write(out / "model", parent, network.cpu(), facts, trainer.seconds)


@dataclass(frozen=True)
class Wish:
    """What a person gave, as `finetune` describes it."""

    method: str
    pool: Any
    reward: Any
    strength: float | None
    config: TrainConfig
    condition: Asked | None
    column: str | None
    score: str
    floor: float | None
    scoring: Scoring
    out: Path

    def of_pool(self) -> None:
        """Raise ValueError where what was given is not a pool."""
        self.asks_nobody()
        if self.pool is None or self.reward is not None:
            raise ValueError(
                f"method {self.method!r} learns from a pool of scored objects, got "
                f"{'none' if self.pool is None else 'a reward'}; expected a pool, or "
                "method='policy' with a reward"
            )

    def of_reward(self) -> None:
        """Raise ValueError where what was given is not a reward."""
        if self.reward is None or self.pool is not None:
            raise ValueError(
                f"method {self.method!r} draws its own objects and asks a reward, got "
                f"{'no reward' if self.reward is None else 'a pool'}"
            )

    def asks_nobody(self) -> None:
        """Raise ValueError where it was said how to ask a reward that nobody asks."""
        if self.scoring != Scoring():
            raise ValueError(
                "cache, workers, timeout and cluster say how method 'policy' asks its reward, got "
                f"method {self.method!r}, which asks none"
            )

    @property
    def settings(self) -> dict[str, Any]:
        """What a sampler is asked for."""
        return {} if self.condition is None else {"condition": self.condition}


@dataclass(frozen=True)
class Run:
    """What is trained on what."""

    process: Process[Any]
    batches: Batches
    facts: Mapping[str, Any]
    pool: ScoredPool | None = None


@contextmanager
def _offline(parent: Model, network: nn.Module, wish: Wish) -> Iterator[Run]:
    """Batches of a scored pool."""
    wish.of_pool()
    likelihood, config = likelihood_of(parent), wish.config
    found = read_pool(wish.pool, parent, wish.column, wish.score)
    usual = TILT / statistics.pstdev(found.values)
    strength = usual if wish.strength is None else wish.strength
    states = pool_states(parent.engine, found.texts, wish.condition)
    scored = Scored(states, torch.tensor(found.values, device=states.ids.device).float())
    about = f"{parent.config['sha256']} {found.digest}"
    objective = OBJECTIVES[wish.method](strength)
    tuning = Tuning(likelihood, objective, parent.engine.network, about=about)
    ranked = wish.method == "augmented"
    facts = {"pool": found.source, "objects": len(found.texts), "left out": len(found.problems),
             "pool sha256": found.digest, "strength": strength}  # fmt: skip
    batches = ScoredBatches(scored, config.batch_size, config.seed, ranked)
    yield Run(tuning, batches, facts, found)


@contextmanager
def _policy(parent: Model, network: nn.Module, wish: Wish) -> Iterator[Run]:
    """Batches that are drawn from the network as it changes."""
    wish.of_reward()
    resolved = resolve_reward(wish.reward, floor=wish.floor)
    require_floor(resolved)
    sampler, likelihood, whole = policy_of(parent, network, wish.settings)
    strength = STRENGTH if wish.strength is None else wish.strength
    scoring = wish.scoring.kept_in(wish.out)
    with scoring.executor(resolved, parent.domain) as executor:
        wish.out.mkdir(parents=True, exist_ok=True)
        scorer = scoring.scorer(resolved, parent.domain, executor)
        about = f"{parent.config['sha256']} {scorer.name}"
        tuning = Tuning(likelihood, Reinforce(strength), parent.engine.network, about=about)
        batches = Rollouts(
            sampler, Decoded(parent.domain, scorer), wish.config.batch_size, wish.config.seed,
            whole, parent.engine.device,
        )  # fmt: skip
        yield Run(tuning, batches, {"reward": scorer.name, "strength": strength})


@contextmanager
def _drakes(parent: Model, network: nn.Module, wish: Wish) -> Iterator[Run]:
    """The gradient of a reward on soft rows."""
    wish.of_reward()
    wish.asks_nobody()
    if not callable(wish.reward):
        raise ValueError(
            "method 'drakes' needs a differentiable function of soft token rows (B, L, V) that "
            f"returns (B,), got {wish.reward!r}; for any other reward there is method='policy'"
        )
    sampler, symbols = sampler_of(parent, network, wish.settings)
    strength = STRENGTH if wish.strength is None else wish.strength
    name = getattr(wish.reward, "__name__", type(wish.reward).__name__)
    process = SoftReward(
        sampler, wish.reward, parent.engine.network, strength, symbols=symbols,
        about=f"{parent.config['sha256']} {name}",
    )  # fmt: skip
    facts = {"reward": name, "strength": strength}
    yield Run(process, Draws(wish.config.batch_size), facts)


_MAKE: dict[str, Callable[[Model, nn.Module, Wish], AbstractContextManager[Run]]] = {
    "policy": _policy, "drakes": _drakes}


def pool_states(engine: Engine, texts: list[str], condition: Asked | None) -> TokenState:
    """Texts as token rows, graphs too, that are asked for `condition`."""
    longest = getattr(engine.network, "max_length", None)
    ids = encode_rows(engine.vocabulary, texts, longest).to(engine.device)
    told = asked_rows(engine.config, condition, len(texts), engine.device)
    return TokenState(ids, condition=told)


def _parent(model: Model | str | Path, device: str | None) -> Model:
    parent = opened(model) if isinstance(model, Model) else load(model, device=device)
    if parent.source.is_file():
        raise ScidiffError(
            f"{parent.source} is a file of weights; fine-tuning writes a model directory and "
            "needs one to begin with"
        )
    return parent


# ---------------------------------------------------------------- the model directory


def _write(
    folder: Path, parent: Model, network: nn.Module, facts: Mapping[str, Any], seconds: float
) -> Path:
    """Weights, config and card of the tuned model, and the training filter of its parent."""
    origin = {"parent": parent.name, "parent sha256": parent.config["sha256"], **facts}
    kept = {k: v for k, v in parent.config.items() if k not in _MEASURED}
    name = folder.absolute().parent.name
    config = {**kept, "name": name, "finetuned": origin}
    folder.mkdir(parents=True, exist_ok=True)
    told = {**origin, "minutes": round(seconds / 60, 1), "hardware": hardware()}
    told["strength"] = f"{facts['strength']:.4g}"
    save_model(folder, network.eval(), config, card(name, told, _of_parent(parent)))
    filter_file = parent.source / "train_filter.npz"
    if filter_file.is_file():
        write_atomically(folder / filter_file.name, filter_file.read_bytes())
    return folder


def _of_parent(parent: Model) -> dict[str, str]:
    """What the parent's card says, its headings two levels down."""
    file = parent.source / "README.md"
    if not file.is_file():
        return {}
    lines = file.read_text().strip().split("\n")
    return {"Parent": "\n".join(f"##{x}" if x.startswith("#") else x for x in lines)}


__all__ = ["METHODS", "finetune"]
