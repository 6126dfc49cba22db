"""Samplers made of a masked sampler and an automaton: guesses of the end, and steps, that are
drawn from the product of the network's marginals given that the row is accepted."""

from __future__ import annotations

from dataclasses import replace
from functools import lru_cache

import torch
from torch import Tensor
from torch.nn import functional as F

from scidiff.core import Rng, uniform
from scidiff.data.tokens import PAD, TokenState
from scidiff.samplers.around import Around
from scidiff.samplers.automata import Automaton
from scidiff.samplers.blocks import in_current_block
from scidiff.samplers.masked import MaskedSampler
from scidiff.samplers.orders import NEVER, race
from scidiff.samplers.predictions import BentPredictor
from scidiff.samplers.trellis import Trellis, best_accepted, drawn_accepted, log_accepted


class GrammarLookahead(Around):
    """The inner sampler, whose guesses of the end are accepted rows.

    The plain guess is a product of marginals prod_l p_l(x_l | x), as a string nearly always
    invalid early on; here it is that product given acceptance, exactly. Nothing else changes, so
    the law of what is drawn is the inner one's, and a reward on the way scores valid objects. A
    row that hides too little to be accepted any more gets the plain guess.
    """

    def __init__(self, inner: MaskedSampler, automaton: Automaton) -> None:
        if inner.block_size < inner.canvas.length:
            raise ValueError(
                "a guess of the whole row needs a sampler of whole rows, got block_size "
                f"{inner.block_size} of {inner.canvas.length}"
            )
        super().__init__(inner)
        self.given = Given(inner, automaton)

    def predict_clean(self, x: TokenState, k: int | Tensor, rng: Rng) -> TokenState:
        """Draw an accepted row from the stored prediction."""
        if isinstance(k, int) and k >= self.num_steps:
            return x
        return self.given.guess(x, rng)


class GrammarSampler(Around):
    """The inner sampler with a proposal that looks ahead: only accepted rows are ever written.

    Where the inner sampler writes x_M at the positions M from p(x_M | x), this one writes them
    from the marginal, at M, of the whole product given acceptance:

        q(x_M | x) = p(x_M | x) Z(x, x_M) / Z(x),  Z = P(the product is accepted).

    `log_ratio` is log p - log q = log Z(x) - log Z(x, x_M), both by the prediction stored at x.
    With it the weights of `guided_sample` are exact for the inner sampler's law restricted to
    accepted rows, and `log_z` estimates their share. As long as the network excludes no token no
    row gets stuck; where nothing is left to write, the position stays MASK for good. In a sampler
    by blocks later blocks only have to be possible, and guesses end with the block, as before.
    """

    def __init__(self, inner: MaskedSampler, automaton: Automaton) -> None:
        super().__init__(inner)
        self.given = Given(inner, automaton)
        self._whole = inner.block_size == inner.canvas.length

    def step(self, x: TokenState, k: int | Tensor, rng: Rng) -> TokenState:
        """Write the next positions of every row, then evaluate the network."""
        positions, live = self.inner.choose(x, rng)
        law, later = self.given.law(x)
        rows, before = self.given.draw(law, later, rng)
        live, log_ratio = live & (before > NEVER)[:, None], None
        tokens = torch.where(live, rows.gather(1, positions), x.ids.gather(1, positions))
        if self.inner.temperature:
            written = x.ids.scatter(1, positions, tokens)
            after = self.given.log_accepted(self.given.fixed(law, written), later)
            log_ratio = torch.where(before > NEVER, before - after, NEVER)
        ids = self.inner.commit(x.ids, positions, live, tokens)
        return self.inner.arrive(replace(x, ids=ids, log_ratio=log_ratio), k + 1)

    def predict_clean(self, x: TokenState, k: int | Tensor, rng: Rng) -> TokenState:
        """Draw an accepted row from the stored prediction; with blocks, guess as the inner
        sampler does."""
        if isinstance(k, int) and k >= self.num_steps:
            return x
        return self.given.guess(x, rng) if self._whole else self.inner.predict_clean(x, k, rng)


class Given:
    """The product of a masked sampler's marginals at a state, given that an automaton accepts.

    Of rows that end before the canvas does, the automaton accepts the end and PAD behind it
    (`automata.ended`).
    """

    def __init__(self, sampler: MaskedSampler, automaton: Automaton) -> None:
        if automaton.vocab_size != sampler.denoiser.vocab_size:
            raise ValueError(
                "the automaton must be over the network's tokens, got "
                f"{automaton.vocab_size} and {sampler.denoiser.vocab_size}"
            )
        self.sampler = sampler
        self.trellis = lru_cache(maxsize=8)(lambda length: Trellis(automaton, length))

    def law(self, x: TokenState) -> tuple[Tensor, Tensor]:
        """What the sampler draws from at every position (B, L, V): one token where it is written,
        anything in later blocks, of which the network has said nothing; and where those are."""
        denoiser = self.sampler.denoiser
        hidden = x.ids == denoiser.mask_id
        everywhere = torch.arange(x.ids.shape[1], device=x.ids.device).expand(x.ids.shape)
        told = self.sampler.draw.law(self.sampler.token_law(x, everywhere)).double()
        if not isinstance(denoiser, BentPredictor):
            told = told.log_softmax(-1)
        later = hidden & ~in_current_block(hidden, self.sampler.block_size)
        return self.fixed(told.masked_fill(later[..., None], 0.0), x.ids), later

    def fixed(self, law: Tensor, ids: Tensor) -> Tensor:
        """The law (B, L, V) with one token wherever ids (B, L) hide none."""
        token = torch.arange(law.shape[-1], device=ids.device)
        is_it = torch.where(ids[..., None] == token, 0.0, NEVER).to(law)
        return torch.where((ids == self.sampler.denoiser.mask_id)[..., None], law, is_it)

    def draw(self, law: Tensor, later: Tensor, rng: Rng) -> tuple[Tensor, Tensor]:
        """Accepted rows (B, L), the best ones at temperature 0, and log Z (B,). Noise is drawn for
        whole rows, so that what a row draws does not depend on how far others reach."""
        width, L = self._width(law), law.shape[1]
        part, behind = law[:, :width], later[:, :width]
        trellis = self.trellis(width)
        if self.sampler.temperature:
            u = uniform(law.shape, rng)[:, :width]
            rows, log_z = drawn_accepted(trellis, part, u, behind)
        else:
            rows, log_z = best_accepted(trellis, part, behind), log_accepted(trellis, part, behind)
        return F.pad(rows, (0, L - width), value=PAD), log_z

    def log_accepted(self, law: Tensor, later: Tensor) -> Tensor:
        """log Z (B,)."""
        width = self._width(law)
        return log_accepted(self.trellis(width), law[:, :width], later[:, :width])

    def _width(self, law: Tensor) -> int:
        """Up to where some row of the law (B, L, V) can hold more than PAD: behind its end nothing
        is left to ask. The host has to look, so other devices always take the whole row."""
        if law.device.type != "cpu":
            return law.shape[1]
        more = (law[..., PAD + 1 :] > NEVER).any(-1).any(0)  # (L,)
        return max(1, int((more * torch.arange(1, len(more) + 1)).max()))

    def guess(self, x: TokenState, rng: Rng) -> TokenState:
        """Accepted rows; the plain guess for rows that are no longer possible."""
        law, later = self.law(x)
        rows, log_z = self.draw(law, later, rng)
        plain = race(law, rng, 1.0 if self.sampler.temperature else 0.0)
        return replace(x, ids=torch.where(log_z[:, None] > NEVER, rows, plain), trunk=None)
