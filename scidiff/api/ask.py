"""What a person asks of `sd.design`, checked before anything is done."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from scidiff.api.harvest import described, harvest
from scidiff.api.methods import METHODS
from scidiff.api.model import Model
from scidiff.api.populations import Drawn, Populations
from scidiff.api.scorers import Scoring
from scidiff.api.soft_values import read_value
from scidiff.api.steering import Screen, Steering
from scidiff.api.strategies import least_calls, strategy_of
from scidiff.core import seeded
from scidiff.data.graphs import GraphState
from scidiff.domains.domain import spelled
from scidiff.guidance.campaign import Campaign, Limits, Strategy
from scidiff.guidance.lookahead import Decoded, why_unscored
from scidiff.guidance.values import bare
from scidiff.messages import nearest
from scidiff.rewards.combine import reward as resolve_reward
from scidiff.rewards.diversity import DiversityMemory
from scidiff.rewards.executors import Executor
from scidiff.rewards.identity import identity
from scidiff.rewards.scores import sought, terms
from scidiff.rewards.scoring import RewardError, require_floor
from scidiff.samplers.predictions import handed_out
from scidiff.training.checkpoint import read_config

if TYPE_CHECKING:
    from scidiff.api.design_result import DesignResult

CALLS = 128  # reward calls a design where no budget is given


@dataclass
class Ask:
    """What was asked for, checked before anything is done."""

    model: Model
    reward: Any
    n: int
    method: str
    budget: int | None
    seed: int
    strength: float
    floor: float | None
    window: tuple[float, float] | None
    memory: str | dict[str, Any] | None
    limits: Limits
    settings: dict[str, Any] = field(default_factory=dict)
    shape: dict[str, Any] = field(default_factory=dict)  # of populations: `plans.Shape`
    screen: Any = None
    value: str | Path | None = None
    begun: Mapping[str, Any] | None = None  # the campaign that is gone on with

    def __post_init__(self) -> None:
        least = least_calls(self.method)
        if self.n <= 0:
            raise ValueError(f"n must be at least 1, got {self.n}")
        if not 0 <= self.strength < math.inf:
            raise ValueError("strength is how hard the reward pulls and must be finite and not "
                             f"negative, got {self.strength}; to avoid what a reward is high "
                             "for, negate the reward")
        self.limits, self.planned = self._limited(least * self.n)
        self.resolved = self._resolved()
        memory, use = (None, "") if self.memory is None else remembering(self.memory)
        if memory is not None:
            memory.check(self.model.domain.kind)
        self.remembered, self.discount = memory, memory if use == "penalty" else None
        self.sampler = self.model.sampler(**self.settings)
        self.strategy: Strategy = strategy_of(
            self.method, self.model, self.n, self.planned, self.settings, self.shape,
            self._steering(memory if use == "resampling" else None),
        )

    def _resolved(self) -> Any:
        """The reward, which has a floor, and is one number where the method goes by one."""
        found = resolve_reward(self.reward, floor=self.floor)
        require_floor(found)
        if sought(found) and self.method != "evolve":
            raise ValueError(f"the front of a pareto(...) is sought by method='evolve', got "
                             f"{self.method!r}, which goes by one number: write mean(...) or "
                             "chebyshev(...) for it")
        return found

    def _steering(self, apart: DiversityMemory | None) -> Steering:
        """What particles are chosen by beside the reward; `also` is what a manifest says of it."""
        screen = None if self.screen is None else Screen.read(self.screen)
        value = None if self.value is None else read_value(self.value, self.model, self.sampler)
        self.also = given(screen=screen and screen.manifest,
                          value=self.value and read_config(Path(self.value))["sha256"])
        return Steering(self.window, None if apart is None else apart.among, screen, value)

    def _limited(self, least: int) -> tuple[Limits, int]:
        """The limits, and the budget that rounds are planned for: the default where none is given;
        of a campaign that is gone on with, what it had in the place of what is not said."""
        begun = self.begun or {}
        had = begun.get("limits", {})
        budget = had.get("calls") if self.budget is None else self.budget
        budget = max(CALLS * self.n, least) if budget is None else budget
        if budget < least:
            raise ValueError(
                f"budget counts distinct objects asked; {self.n} designs by {self.method} need "
                f"at least {least}, got {budget}"
            )
        if self.window is not None and not 0 <= self.window[0] < self.window[1] <= 1:
            raise ValueError("window is the share (first, last) of the chain that is looked at, "
                             f"0 <= first < last <= 1, got {self.window}")
        planned = begun.get("planned", had.get("calls", budget))
        if planned != budget and self.method in METHODS:
            raise ValueError(
                f"{self.method} spread its budget of {planned} objects over its designs when it "
                f"began, got {budget}; expected the same, or none (seconds and network_rows may "
                "change)"
            )
        rows, seconds = self.limits.rows, self.limits.seconds
        return Limits(budget, had.get("rows") if rows is None else rows,
                      had.get("seconds") if seconds is None else seconds), planned

    @property
    def manifest(self) -> Mapping[str, Any]:
        """All that the designs follow from."""
        return {
            "model": self.model.name, "sha256": self.model.config["sha256"],
            "reward": getattr(self.resolved, "name", str(self.resolved)),
            "versions": {source: identity(term) for source, term in terms(self.resolved).items()},
            "floor": self.floor,
            "n": self.n, "method": self.method, "seed": self.seed, "strength": self.strength,
            **self.shape, **self.also, "window": self.window, "memory": self.memory,
            "limits": asdict(self.limits), "planned": self.planned, "settings": self.settings,
        }  # fmt: skip

    def campaign(self, scoring: Scoring, executor: Executor) -> Campaign:
        """The campaign, before its first round."""
        domain = self.model.domain
        scorer = scoring.scorer(self.resolved, domain, executor, budget=self.limits.calls,
                                discount=self.discount)
        return Campaign(
            self.strategy, self.sampler, Decoded(domain, scorer),
            self._encode,
            self.seed, self.limits, self.strength, self.model.engine.device, self.remembered,
            self.n, described,
        )  # fmt: skip

    def _encode(self, objects: Sequence[Any]) -> Any:
        """Objects of the pool as clean states of the sampler's canvas, told what its rows are."""
        x = self.model.engine.encode(spelled(self.model.domain, objects))
        told = handed_out(getattr(self.sampler, "condition", None), len(x),
                          self.model.engine.device)
        if told is not None:
            return replace(x, condition=told)
        if not isinstance(x, GraphState):
            return x
        return x.widened(bare(self.sampler.init(1, seeded(0, 0, x.X.device))).X.shape[1])

    def found_any(self, campaign: Campaign) -> bool:
        """Whether a campaign that is not finished has designs to show."""
        if isinstance(self.strategy, Drawn):
            return bool(self.strategy.drawn)
        return bool(campaign.pool.best(1))

    def result(self, campaign: Campaign) -> DesignResult:
        """What a campaign found. Raises RewardError where the reward answered nothing."""
        scorer = campaign.reward.scorer
        if scorer.messages and len(scorer.messages) == scorer.asked:
            raise RewardError(f"reward {scorer.name!r} scored none of {scorer.asked} objects"
                              f"{why_unscored(campaign.reward)}")
        plan = given(**vars(self.strategy.plan)) if isinstance(self.strategy, Populations) else {}
        used = {**self.manifest, **self.settings, "reward": scorer.name,
                "budget": self.limits.calls, **plan}
        return harvest(self.model, campaign, self.n, used)


def given(**arguments: Any) -> dict[str, Any]:
    """The arguments that are not None."""
    return {name: value for name, value in arguments.items() if value is not None}


USES = ("penalty", "resampling")  # what a memory is there for
MEMORY = {"like": str, "bucket": int, "threshold": float, "as": str}  # what it is told


def remembering(said: str | Mapping[str, Any]) -> tuple[DiversityMemory, str]:
    """The memory that is asked for, and what it is used as: its arguments, or a text such as
    "scaffold" or "scaffold:bucket=5,as=resampling". ValueError for unknown ones."""
    told = _memory(said) if isinstance(said, str) else dict(said)
    for name in told:
        if name not in MEMORY:
            raise ValueError(f"a memory has like, bucket, threshold and as, got {name!r}"
                             f"{nearest(name, MEMORY)}")
    use = told.pop("as", USES[0])
    if use not in USES:
        raise ValueError(f"a memory is used as {' or '.join(USES)}, got {use!r}"
                         f"{nearest(str(use), USES)}")
    return DiversityMemory(**told), use


def _memory(text: str) -> dict[str, Any]:
    """scaffold:bucket=5,as=resampling"""
    like, colon, rest = text.partition(":")
    told: dict[str, Any] = {"like": like}
    for part in rest.split(",") if colon else ():
        name, equals, value = part.partition("=")
        try:
            told[name] = MEMORY.get(name, str)(value)
        except ValueError:
            equals = ""
        if not equals:
            raise ValueError(f"memory {text!r}: got {part!r}, expected what is written as "
                             "'scaffold:bucket=5' or 'edit:threshold=0.3,as=resampling'")
    return told
