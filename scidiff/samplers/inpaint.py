"""Continuous inpainting: a denoiser that already knows part of the end."""

from __future__ import annotations

from typing import Generic, TypeVar

import torch
from torch import Tensor

from scidiff.processes.gaussian import Component, Continuous, ContinuousDenoiser, Parts

X = TypeVar("X", bound=Continuous)


class Scaffold(Generic[X]):
    """Keep given entries: their clean guess is what they are, D = where(known, clean, D).

    Every solver then moves known entries by its own exact kernel: with eta = 1 they pass through
    draws of q(x_s | x_t, x0), at every step at the noise level of the step (the replacement rule
    of Song et al. 2021, arXiv 2011.13456, appendix I.2, without drawing anything beside the
    chain), and a chain that ends on the clean guess ends on them exactly. The rest is drawn given
    NOISY known entries, which is only close to the conditional law (Trippe et al. 2023, arXiv
    2206.04119); on token rows `FixedCanvas` is exact.

    clean, known: one tensor (1, ...) a component that broadcasts to its part: every row has the
    same scaffold. For graphs those of A must be symmetric.
    """

    def __init__(self, denoiser: ContinuousDenoiser[X], clean: Parts, known: Parts) -> None:
        if not len(clean) == len(known) == len(denoiser.components):
            raise ValueError(
                f"clean and known must have one part for each of {len(denoiser.components)} "
                f"components, got {len(clean)} and {len(known)}"
            )
        for part, entries in zip(known, clean, strict=True):
            if part.dtype != torch.bool or len(part) != 1 or len(entries) != 1:
                raise ValueError(
                    "known must be (1, ...) bool and clean (1, ...), the same for every row, got "
                    f"{tuple(part.shape)} {part.dtype} and {tuple(entries.shape)}"
                )
        self.denoiser, self.clean, self.known = denoiser, clean, known
        self.components: tuple[Component, ...] = denoiser.components

    @property
    def rows(self) -> int:
        """Network rows evaluated so far."""
        return self.denoiser.rows

    def __call__(self, x: X, t: Tensor, /) -> Parts:
        guess = self.denoiser(x, t)
        return tuple(
            torch.where(known.to(d.device), clean.to(d), d)
            for d, clean, known in zip(guess, self.clean, self.known, strict=True)
        )
