"""`sd.fit_value`: a value that is learned once, saved as a folder, and looks ahead in designs."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

from scidiff.api.entry import opened
from scidiff.api.model import Model
from scidiff.api.plans import STRENGTH
from scidiff.api.saving import check_output
from scidiff.api.scorers import Scoring
from scidiff.api.settings import UnknownSetting, misspelled
from scidiff.api.typed import typed
from scidiff.core import Sampler, ScidiffError, seeded, torch_seeded
from scidiff.data.graphs import GraphState
from scidiff.data.tokens import TokenState
from scidiff.guidance.lookahead import Decoded
from scidiff.guidance.particles import positive
from scidiff.guidance.value_training import collect
from scidiff.guidance.value_training import fit_value as fitted
from scidiff.guidance.values import (
    LearnedValue,
    PartsValue,
    PartsValueConfig,
    TokenValue,
    TokenValueConfig,
    bare,
)
from scidiff.rewards.combine import reward as resolve_reward
from scidiff.rewards.scores import reward_name
from scidiff.rewards.scoring import require_floor
from scidiff.training.checkpoint import read_config
from scidiff.training.config import TrainConfig

LOOKS = 8  # places of a run at which a value is learned


@typed
def fit_value(
    model: Model | str | Path,
    reward: Any,
    out: str | Path,
    n: int = 2000,
    seed: int = 0,
    *,
    strength: float = STRENGTH,
    floor: float | None = None,
    fit_steps: int = 1000,
    cache: str | Path | None = None,
    workers: int = 1,
    timeout: float | None = None,
    cluster: str | None = None,
    **settings: Any,
) -> LearnedValue:
    """Learn what particles of a model are worth on the way, and save it in the folder `out`.

    The model draws n objects, `reward` is asked about each distinct one, and a small network
    learns the soft value log E[exp(strength r) | particle] / strength of what was passed at about
    8 places of every run, in `fit_steps` steps (Monte Carlo regression; Li et al. 2024, arXiv
    2408.08252). `sd.design(..., value=out)` then looks ahead by it: no reward is asked on the way,
    and the law is exact whatever the value says. `settings` are the model's, for both alike.
    Models of token rows and of graphs have one.

    `cache`, `workers`, `timeout` and `cluster` as for `sd.design`. Answers are kept in `out` where
    there is no other cache: started again, a killed run asks for the rest.
    """
    model, resolved = opened(model), resolve_reward(reward, floor=floor)
    require_floor(resolved)
    if not 0 < strength < math.inf:
        raise ValueError(f"strength must be positive and finite, got {strength}")
    positive("n", n)
    config = TrainConfig(positive("fit_steps", fit_steps), batch_size=512, lr=2e-3,
                         precision="32-true", seed=seed)
    inside = Path(out) / "config.json" if Path(out).is_dir() else Path(out)
    check_output(inside, (inside.suffix,))
    try:
        sampler, domain = model.sampler(**settings), model.domain
    except UnknownSetting as error:
        raise misspelled(error, fit_value) from None
    rng = seeded(seed, 0, model.engine.device)
    with torch_seeded(seed):
        network = _network(model, sampler, rng)
    every = max(1, model.engine.typical_steps(sampler) // LOOKS)
    scoring = Scoring(cache, workers, timeout, cluster).kept_in(out)
    with scoring.executor(resolved, domain) as executor:
        Path(out).mkdir(parents=True, exist_ok=True)
        asked = Decoded(domain, scoring.scorer(resolved, domain, executor))
        runs = collect(sampler, asked, n, rng, strength=strength, every=every)
    value = fitted(network, runs, config)
    made = {"model": model.name, "model_sha256": model.config["sha256"],
            "reward": reward_name(resolved), "n": n, "seed": seed}
    value.save(out, f"# A learned value of {made['reward']} for {model.name}\n", made)
    return value


def _network(model: Model, sampler: Any, rng: Any) -> TokenValue | PartsValue:
    """A network that reads the states of a model. Raises ScidiffError where none does."""
    x, steps = bare(sampler.init(1, rng)), sampler.num_steps
    if isinstance(x, TokenState):
        size = model.engine.network.config.vocab_size
        return TokenValue(TokenValueConfig(size, x.ids.shape[1], steps))
    if isinstance(x, GraphState):
        return PartsValue(PartsValueConfig((x.X.shape[2], 0), steps))
    raise ScidiffError(f"no network learns values of the states of {model.name}: "
                       "models of token rows and of graphs have one")


def read_value(folder: str | Path, model: Model, sampler: Sampler[Any]) -> LearnedValue:
    """The value in a folder, for the particles of a model's sampler.

    Raises CheckpointError for a folder that holds no value or a damaged one, and ScidiffError for
    the value of another model or of a chain of another length.
    """
    value, told = LearnedValue.load(folder), read_config(Path(folder))["value"]
    if told.get("model_sha256") != model.config["sha256"]:
        raise ScidiffError(f"{folder} holds a value of model {told.get('model')}, got "
                           f"{model.name} of other weights: learn one with sd.fit_value")
    shape: Any = value.network.config
    if shape.num_steps != sampler.num_steps:
        raise ScidiffError(
            f"{folder} holds a value of a chain of {shape.num_steps} steps, got one of "
            f"{sampler.num_steps}: give the settings it was learned with"
        )
    return value.to(model.engine.device)
