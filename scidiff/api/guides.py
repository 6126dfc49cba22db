"""A small left-to-right model that says how many tokens a larger one writes at once."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from scidiff.api.energy import left_to_right, named
from scidiff.core import ScidiffError
from scidiff.data.tokens import Vocabulary
from scidiff.messages import nearest
from scidiff.samplers.guided_unmasking import RULES, GuidedUnmasking
from scidiff.samplers.masked import MaskedSampler

TRIED = 4  # tokens a step where nothing else is asked


@dataclass(frozen=True)
class GuideRequest:
    """Tokens of one step taken as a guide says, see `samplers.guided_unmasking`."""

    guide: Any = None  # a left-to-right model, its name or folder
    guide_rule: str = "agree"  # approximate; "exact": the law of the guide itself
    agreement: float = 0.3  # of rule "agree": how likely beside the guide's favourite

    def __post_init__(self) -> None:
        if self.guide_rule not in RULES:
            raise ValueError(
                f"unknown guide_rule {self.guide_rule!r}; expected one of {', '.join(RULES)}"
                f"{nearest(self.guide_rule, RULES)}"
            )
        if self.guide is None and (self.guide_rule, self.agreement) != ("agree", 0.3):
            raise ValueError(
                "guide_rule and agreement belong to guide, got "
                f"guide_rule={self.guide_rule!r} and agreement={self.agreement} without one"
            )

    @property
    def told(self) -> dict[str, Any]:
        """What a result records of it."""
        if self.guide is None:
            return {}
        rule = {"agreement": self.agreement} if self.guide_rule == "agree" else {}
        return {**named(self.guide, "guide"), "guide_rule": self.guide_rule, **rule}

    def around(
        self, inner: MaskedSampler, vocabulary: Vocabulary, tried: int, ends: bool
    ) -> GuidedUnmasking:
        """The sampler with this guide, which tries that many tokens a step; `ends` says whether
        the model writes its own end. Raises ScidiffError for the exact rule where it does not."""
        if self.guide_rule == "exact" and not ends:
            raise ScidiffError(
                "guide_rule = 'exact' draws the law of the guide, which writes its own end; rows "
                "of this model (masked diffusion) have theirs given: use 'agree', or a block model"
            )
        guide = left_to_right(self.guide, vocabulary, inner.canvas.length, "a guide", ends=ends)
        return GuidedUnmasking(
            inner, guide, ahead=tried, rule=self.guide_rule, agreement=self.agreement
        )
