"""Predictor-corrector sampling: a Langevin step at every node before the solver's row (Song et al.
2021, alg. 2, 5)."""

from __future__ import annotations

import copy
from typing import Generic, TypeVar

import torch
from torch import Tensor

from scidiff.core import Rng
from scidiff.processes.gaussian import Continuous, Parts, per_row
from scidiff.samplers.gaussian import GaussianSampler

X = TypeVar("X", bound=Continuous)


class PredictorCorrector(Generic[X]):
    """Wrap a GaussianSampler: at node k correct all components at once, evaluate, then take the
    wrapped step.

    The corrector is x <- x + e s + scale_eps sqrt(2 e) z with the score s = (alpha D - x) /
    sigma^2 and e = 2 (alpha_k / alpha_k+1)^2 (snr |z| / |s|)^2. Norms run over the free
    coordinates of one particle, so a particle does not depend on its batch; `gdss_compat=True`
    takes the batch means of both norms as Jo et al. 2022 publish. It costs two network evaluations
    a step. A finished particle is left alone. A corrected particle has no past on the solver's
    path, so the multistep solvers (2m, 3m) take their first-order row here.

    stale: do not evaluate again; the wrapped step goes on with the score from before the
    correction (the Langevin part of S4, one evaluation a step). signal: (C, num_steps + 1) in
    place of (alpha_k / alpha_k+1)^2.
    """

    def __init__(
        self,
        sampler: GaussianSampler[X],
        *,
        snr: float,
        scale_eps: float = 1.0,
        gdss_compat: bool = False,
        stale: bool = False,
        signal: Tensor | None = None,
    ) -> None:
        if not (snr > 0 and scale_eps >= 0):  # nor NaN
            raise ValueError(
                f"snr must be positive and scale_eps not negative, got snr={snr} and "
                f"scale_eps={scale_eps}"
            )
        self.sampler, self.snr, self.scale_eps = sampler, snr, scale_eps
        self.gdss_compat, self.stale = gdss_compat, stale
        self.denoiser, self.num_steps, self.stochastic = sampler.denoiser, sampler.num_steps, True
        self.signal = _fading(sampler) if signal is None else signal.to(sampler.times.device)

    @property
    def evaluations(self) -> int:
        """Network calls of a whole run."""
        return self.sampler.evaluations + (0 if self.stale else self.num_steps)

    @property
    def condition(self) -> Tensor | None:
        """What the rows are asked to be like, the wrapped sampler's."""
        return self.sampler.condition

    @condition.setter
    def condition(self, asked: Tensor | None) -> None:
        self.sampler = copy.copy(self.sampler)  # which others may hold too
        self.sampler.condition = asked

    def init(self, n: int, rng: Rng) -> X:
        """Draw n particles from the prior."""
        return self.sampler.init(n, rng)

    def step(self, x: X, k: int | Tensor, rng: Rng) -> X:
        """Langevin step from the stored guess, evaluate at the same node unless stale, then the
        wrapped step."""
        parts = tuple(self._langevin(c, part, x, k, rng) for c, part in enumerate(x.parts))
        if self.stale:
            return self.sampler.step(x.moved(parts, self._carried(x, parts, k)), k, rng)
        return self.sampler.step(self.sampler.arrive(x.moved(parts), k), k, rng)

    def predict_clean(self, x: X, k: int | Tensor, rng: Rng) -> X:
        """Put the particles on their stored clean guess; at k = num_steps return x."""
        return self.sampler.predict_clean(x, k, rng)

    def renoise(self, clean: X, k: int, rng: Rng) -> X:
        """Draw x_k given clean parts and evaluate the network there."""
        return self.sampler.renoise(clean, k, rng)

    def _langevin(self, c: int, part: Tensor, x: X, k: int | Tensor, rng: Rng) -> Tensor:
        level, sigma = (per_row(v, part) for v in self.sampler.levels(k, c))
        score = (level * x.guesses[0][c] - part) / sigma**2
        z = self.denoiser.components[c].noise(part, x.mask, rng)
        size = 2 * per_row(self.signal[c][k], part) * (self.snr * self._ratio(z, score)) ** 2
        moved = part + size * score + self.scale_eps * (2 * size).sqrt() * z
        if isinstance(k, int):  # a number carried to the device would make the host wait
            return moved if k < self.num_steps else part
        return torch.where(per_row(k < self.num_steps, part).bool(), moved, part)

    def _carried(self, x: X, parts: Parts, k: int | Tensor) -> tuple[Parts, ...]:
        """The guesses that have the old score at the new place, D' = D + (x' - x) / alpha."""
        guess = tuple(
            old + (new - part) / per_row(self.sampler.levels(k, c)[0], part)
            for c, (old, new, part) in enumerate(zip(x.guesses[0], parts, x.parts, strict=True))
        )
        return (guess,) * self.sampler.history

    def _ratio(self, z: Tensor, score: Tensor) -> Tensor:
        """|z| / |score| of each particle; 0 where nothing is free (the edges of a single node)."""
        above, below = (v.flatten(1).norm(dim=1) for v in (z, score))
        if self.gdss_compat:
            above, below = above.mean(), below.mean()
        ratio = torch.where(below > 0, above / torch.where(below > 0, below, 1), 0)
        return per_row(ratio, z)


def _fading(sampler: GaussianSampler[X]) -> Tensor:
    """(alpha_k / alpha_k+1)^2 of every component at every node, 1 at the end: (C, K + 1)."""
    nodes = torch.arange(sampler.num_steps + 1, device=sampler.times.device)
    levels = [
        (sampler.levels(nodes, c)[0], sampler.levels(nodes + 1, c)[0])
        for c in range(len(sampler.tables))
    ]
    return torch.stack([(here / after) ** 2 for here, after in levels])
