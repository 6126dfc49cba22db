"""Several tokens a step, as far as a small left-to-right network agrees with them.

A network that fills several positions at once draws each as if it did not know the others. A
left-to-right network that reads what was drawn knows them all, in one pass (FlashDLM, Hu et al.
2025, arXiv 2505.21467; speculative sampling, Leviathan et al. 2023, arXiv 2211.17192).
"""

from __future__ import annotations

import copy
import math
from dataclasses import replace
from typing import Protocol

import torch
from torch import Tensor

from scidiff.core import Rng, uniform
from scidiff.data.tokens import TokenState
from scidiff.samplers.around import Around
from scidiff.samplers.blocks import in_current_block
from scidiff.samplers.masked import MaskedSampler
from scidiff.samplers.orders import NEVER, Sequential, race
from scidiff.samplers.paces import Fixed
from scidiff.samplers.predictions import TokenPredictor
from scidiff.samplers.wrapped import Wrapped

RULES = ("agree", "exact")


class Guide(Protocol):
    """A left-to-right network (`networks.energy.LeftToRight`)."""

    rows: int  # network rows evaluated so far

    def laws(self, ids: Tensor, positions: Tensor, live: Tensor) -> Tensor:
        """log p(v | the tokens of ids (B, L) before it) (B, M, V) at `positions` (B, M), MASK =
        -inf; what is said where not `live` (B, M) is not read."""
        ...


class GuidedUnmasking(Around):
    """Draw the next `ahead` hidden positions from the left at once; write those the guide takes.

    rule "agree": the first token is written, and each one behind it as long as the guide finds it
    at least `agreement` times as likely as its favourite (1: it must be the favourite). What is
    refused is drawn again in the next step, seeing what was written. Approximate: a row is between
    the inner sampler's with `ahead` tokens a step (a guide that always agrees) and with one (a
    guide that never does).

    rule "exact": a token x drawn with q(x) is taken with probability min(1, p(x) / q(x)), p being
    the guide's law given the tokens before it; the first that is not is drawn from max(0, p - q)
    instead. Whatever the network draws, rows then have exactly the law of the guide, written from
    left to right (Leviathan et al. 2023, theorem 1): the network saves steps alone. Of what is
    given behind a hidden position the guide knows nothing.

    A step costs a row of each of the two; `denoiser.rows` counts both.
    """

    def __init__(
        self,
        inner: MaskedSampler,
        guide: Guide,
        *,
        ahead: int = 4,
        rule: str = "agree",
        agreement: float = 0.3,
    ) -> None:
        _check(inner, ahead, rule, agreement)
        inner = copy.copy(inner)
        inner.denoiser = Counted(inner.denoiser, guide)
        super().__init__(inner)
        self.guide, self.rule, self.agreement = guide, rule, agreement
        self.ahead = min(ahead, inner.block_size)
        self.stochastic = inner.temperature > 0

    @property
    def block_size(self) -> int:
        return self.inner.block_size

    def step(self, x: TokenState, k: int | Tensor, rng: Rng) -> TokenState:
        """Draw, ask the guide, write, then evaluate the network."""
        positions, live = self.choose(x)
        law = self.law(self.inner.token_law(x, positions))
        tokens = race(law, rng)
        before = x.ids.gather(1, positions)
        told = self.guide.laws(
            x.ids.scatter(1, positions, torch.where(live, tokens, before)), positions, live
        )
        tokens, written = self._judged(law, told, tokens, live, rng)
        ids = self.inner.commit(x.ids, positions, written, tokens)
        return self.inner.arrive(replace(x, ids=ids, log_ratio=None), k + 1)

    def predict_clean(self, x: TokenState, k: int | Tensor, rng: Rng) -> TokenState:
        """Draw what is hidden as the inner sampler does; the guide is not asked."""
        return self.inner.predict_clean(x, k, rng)

    def choose(self, x: TokenState) -> tuple[Tensor, Tensor]:
        """The next hidden positions from the left of each row's block (B, M), and which of them
        hide something."""
        hidden = x.ids == self.denoiser.mask_id
        here = in_current_block(hidden, self.block_size)
        place = torch.arange(here.shape[1], device=here.device)
        order = torch.where(here, place, place + len(place)).topk(self.ahead, dim=1, largest=False)
        positions = order.indices
        return positions, here.gather(1, positions)

    def law(self, log_p: Tensor) -> Tensor:
        """What is drawn from at the sampler's temperature: normalised log-probabilities in
        float64, all on the favourite at temperature 0."""
        law = self.inner.draw.law(log_p).double()
        if self.inner.temperature:
            return law.log_softmax(-1)
        best = law.argmax(-1, keepdim=True)
        return torch.full_like(law, NEVER).scatter(-1, best, 0.0)

    def _judged(
        self, law: Tensor, told: Tensor, tokens: Tensor, live: Tensor, rng: Rng
    ) -> tuple[Tensor, Tensor]:
        """The tokens (B, M) as they are written, and which of them are."""
        rank = torch.arange(tokens.shape[1], device=tokens.device)
        if self.rule == "agree":
            taken = agrees(told, tokens, self.agreement) | (rank == 0)
            return tokens, (taken & live).cumprod(1).bool()
        told = self.law(told)
        taken = uniform(tokens.shape, rng) < acceptance(law, told, tokens)
        taken = (taken & live).cumprod(1).bool()
        refused = live & (rank == taken.sum(1, keepdim=True))
        other = race(residual(law, told), rng)
        return torch.where(refused, other, tokens), taken | refused


def agrees(told: Tensor, tokens: Tensor, agreement: float) -> Tensor:
    """Whether tokens (B, M) are at least `agreement` times as likely as the likeliest one of told
    (B, M, V)."""
    mine = told.gather(-1, tokens[..., None])[..., 0]
    return mine >= told.amax(-1) + math.log(agreement)


def acceptance(law: Tensor, told: Tensor, tokens: Tensor) -> Tensor:
    """min(1, p / q) (B, M) of tokens (B, M) drawn from q, for log q and log p (B, M, V)."""
    q, p = (v.gather(-1, tokens[..., None])[..., 0] for v in (law, told))
    return torch.where(p == NEVER, NEVER, p - q).clamp(max=0.0).exp()


def residual(law: Tensor, told: Tensor) -> Tensor:
    """log max(0, p - q) (B, M, V), not normalised: what is left of log p beside log q; all of p
    where they are the same, so that nothing is ever refused there."""
    left = (told.exp() - law.exp()).clamp(min=0.0).log()
    none = (left == NEVER).all(-1, keepdim=True)
    return torch.where(none, told, left)


class Counted(Wrapped):
    """A denoiser, the rows of which are also those of its guide."""

    def __init__(self, inner: TokenPredictor, guide: Guide) -> None:
        super().__init__(inner)
        self.guide = guide

    @property
    def rows(self) -> int:
        return self.inner.rows + self.guide.rows


def _check(inner: MaskedSampler, ahead: int, rule: str, agreement: float) -> None:
    if rule not in RULES:
        raise ValueError(f"guide_rule must be one of {', '.join(RULES)}, got {rule!r}")
    if ahead < 1:
        raise ValueError(f"tokens tried a step must be at least 1, got {ahead}")
    if not 0 < agreement <= 1:
        raise ValueError(f"agreement must be above 0 and at most 1, got {agreement}")
    plain = inner.sizes is None and not inner.second_order and inner.pace == Fixed(1)
    if not isinstance(inner.order, Sequential) or not plain:
        raise ValueError(
            "a guide reads from left to right and says how many tokens a step writes: order must "
            "be 'sequential', and no other pace, part or correction is set"
        )
    if inner.constraints:
        raise ValueError(
            "constraints are asked token by token, which a guide is not: got "
            f"{len(inner.constraints)} of them, expected none"
        )
    if rule == "exact" and inner.condition is not None:
        raise ValueError(
            "guide_rule = 'exact' draws the guide's law, which knows no condition; use 'agree'"
        )
