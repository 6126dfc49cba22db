"""What populations are steered by beside the reward, where that is asked for."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from scidiff.core import Sampler
from scidiff.guidance.cascade import Cascade
from scidiff.guidance.lookahead import Decoded, PosteriorMean, Rollout
from scidiff.guidance.particles import positive
from scidiff.guidance.spreading import Factors
from scidiff.guidance.values import LearnedValue
from scidiff.messages import nearest
from scidiff.rewards.combine import reward as resolve_reward
from scidiff.rewards.identity import identity
from scidiff.rewards.scores import require_kind, reward_name, terms
from scidiff.rewards.scoring import Scorer

if TYPE_CHECKING:
    from scidiff.api.model import Model

CANDIDATES = 4  # of a particle that a screen chooses among, where nothing else is said


@dataclass(frozen=True)
class Screen:
    """A cheap reward that chooses among `candidates` of each particle before the dear one is asked
    about any; the choice is weighed, so that the law is the same (`guidance.cascade`)."""

    reward: Any
    candidates: int = CANDIDATES

    @classmethod
    def read(cls, said: Any) -> Screen:
        """The screen that is asked for by a reward or by its arguments; ValueError for unknown
        ones."""
        told = dict(said) if isinstance(said, Mapping) else {"reward": said}
        names = ("reward", "candidates")
        for name in told:
            if name not in names:
                raise ValueError(f"a screen has reward and candidates, got {name!r}"
                                 f"{nearest(str(name), names)}")
        if "reward" not in told:
            raise ValueError("a screen needs a reward, such as {'reward': 'qed', 'candidates': 8}"
                             f", got {said!r}")
        candidates = told.get("candidates", CANDIDATES)
        if not isinstance(candidates, int):
            raise ValueError("candidates of a screen must be a whole number, got "
                             f"{candidates!r}")
        return cls(resolve_reward(told["reward"]), positive("candidates", candidates))

    @property
    def manifest(self) -> dict[str, Any]:
        """All that its choices follow from."""
        versions = {source: identity(term) for source, term in terms(self.reward).items()}
        return {"reward": reward_name(self.reward), "candidates": self.candidates,
                "versions": versions}

    def around(
        self, sampler: Sampler[Any], model: Model, look: type[Rollout] | type[PosteriorMean],
        strength: float,
    ) -> Cascade:  # fmt: skip
        """A sampler whose every step is chosen among several by what they look like becoming."""
        domain = model.domain
        require_kind(self.reward, domain.kind, domain.name)
        cheap = Decoded(domain, Scorer(self.reward, key=domain.key, kind=domain.kind))
        value = look(sampler, cheap, strength=strength)
        return Cascade(sampler, value, self.candidates, strength)


@dataclass(frozen=True)
class Steering:
    """What else particles are chosen by; the law of a design stays the same."""

    window: tuple[float, float] | None = None  # the share of the chain that is looked at
    factors: Factors | None = None  # by which populations that are resampled keep apart
    screen: Screen | None = None
    value: LearnedValue | None = None  # what looks ahead in place of the reward
