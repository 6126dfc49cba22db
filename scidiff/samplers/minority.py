"""Rare objects: away from what a model draws most, for tokens and for continuous components.

The power of a whole law below 1 is `tempered.unfamiliar` for clean guesses and `rare` for tokens.
`Surprise` says how rare one object is, and is a reward like any other.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from scidiff.core import Renoisable, Tape, seeded
from scidiff.samplers.masked import TokenPredictor, everywhere
from scidiff.samplers.token_products import TokenProduct
from scidiff.samplers.weighed import free_entries, summed


def rare(predictor: TokenPredictor, control: float) -> TokenProduct:
    """p^(1 - sqrt(control)) of token rows: the discrete twin of `tempered.unfamiliar` (MOOD, Lee
    et al. 2023, arXiv 2206.07632), whose weights are exact with one token a step.

    MOOD takes 0.01 to 0.04. Above 1 the rarer of two rows is the likelier one; excluded tokens
    stay excluded. ValueError: control below 0, or 1, at which nothing is left of the model.
    """
    if not 0 <= control < float("inf") or control == 1:
        raise ValueError(f"control must be 0 or more, finite and not 1, got {control}")
    return TokenProduct([predictor], [1 - control**0.5])


class Surprise:
    """How badly a model guesses an object back from step k on: a reward on clean states whose
    tilt makes rare objects likelier (the minority score of Um, Lee and Ye 2023, arXiv 2301.12334).

    Tokens: -mean log p(x0 | x_k) over the hidden positions, in nats a token. Continuous
    components: the mean of (x0 - D(x_k))^2 over the free coordinates. Both are means over `draws`
    of the noise, which is the same for all objects, so an object is worth the same in any company:
    `guided_sample` with it draws from p(x) exp(strength surprise(x)) exactly. A call costs
    `draws` network rows an object.
    """

    def __init__(
        self, sampler: Renoisable[Any], k: int, *, draws: int = 4, seed: int = 0
    ) -> None:
        if not 0 <= k < sampler.num_steps:
            last = sampler.num_steps - 1
            raise ValueError(f"k must be a step of the chain, 0 .. {last}, got {k}")
        if draws < 1:
            raise ValueError(f"draws must be at least 1, got {draws}")
        self.sampler, self.k, self.draws, self.seed = sampler, k, draws, seed

    @torch.no_grad()
    def __call__(self, x: Any) -> Tensor:
        """(B,) float64, 0 or more."""
        each = [self._gap(x, self._noised(x, j)) for j in range(self.draws)]
        return torch.stack(each).mean(0)

    def _noised(self, x: Any, draw: int) -> Any:
        """The rows at step k, with one row's noise for all."""
        device = (x.ids if hasattr(x, "ids") else x.parts[0]).device
        first = torch.zeros(1, dtype=torch.int64, device=device)
        tape = Tape(seeded(self.seed, draw, device))
        self.sampler.renoise(x[first], self.k, tape)
        return self.sampler.renoise(x, self.k, tape[first.expand(len(x))])

    def _gap(self, x: Any, noised: Any) -> Tensor:
        denoiser = self.sampler.denoiser  # type: ignore[attr-defined]
        if hasattr(x, "ids"):
            hidden = noised.ids == denoiser.mask_id
            told = everywhere(denoiser, noised).gather(2, x.ids[..., None])[..., 0].double()
            return -torch.where(hidden, told, 0.0).sum(1) / hidden.sum(1).clamp(min=1)
        entries, counts = free_entries(denoiser.components, x)
        pairs = zip(x.parts, noised.guesses[0], strict=True)
        squares = summed(tuple((part - guess).square() for part, guess in pairs), entries)
        return squares.sum(1) / counts.sum(1)
