"""Starting a chain below full noise, from a Markov chain on place and noise level."""

from __future__ import annotations

from collections.abc import Callable
from typing import Generic, TypeVar

import torch
from torch import Tensor

from scidiff.core import Rng, uniform
from scidiff.processes.gaussian import Continuous, Parts, per_row
from scidiff.samplers.gaussian import GaussianSampler

X = TypeVar("X", bound=Continuous)


class McmcStart(Generic[X]):
    """Denoising MCMC (Kim and Ye 2022): a chain on (x, t) over the nodes of a GaussianSampler,
    then the sampler's rows from the node where each particle is.

    The chain has the law p(t) p_t(x), p(t) proportional to `weights` (num_steps,) over nodes (all
    equal by default), so that each end is a draw of its own p_t and most start well below t = 1:
    modes are changed at high noise, and time is spent at low noise. A sweep is one
    Ornstein-Uhlenbeck move at the present noise, x~ <- e^-r x~ + (1 - e^-r) D + (sigma / alpha)
    sqrt(1 - e^-2r) z, whose bias falls with `relax` = r, then an exact draw of the node, then one
    evaluation.

    level_law: state -> (B, num_steps), log p_t(x) at every node up to a constant of the row: the
    noise-level classifier of the paper, or the exact law. The node of a particle rides at the end
    of the state's guesses; step j moves every particle one node on, and those that arrive rest.
    """

    def __init__(
        self,
        sampler: GaussianSampler[X],
        level_law: Callable[[X], Tensor],
        *,
        sweeps: int,
        relax: float = 0.1,
        weights: Tensor | None = None,
    ) -> None:
        if sweeps < 1 or relax <= 0:
            raise ValueError(f"expected sweeps >= 1 and relax > 0, got {sweeps} and {relax}")
        steps = sampler.num_steps
        weights = torch.ones(steps) if weights is None else weights
        if weights.shape != (steps,) or bool((weights < 0).any()) or not weights.sum() > 0:
            raise ValueError(f"weights must be ({steps},), none negative, got {weights.tolist()}")
        self.sampler, self.level_law, self.denoiser = sampler, level_law, sampler.denoiser
        self.sweeps, self.relax = sweeps, relax
        self.log_weights = weights.double().log().to(sampler.times.device)
        self.num_steps, self.stochastic = steps, True

    @property
    def evaluations(self) -> int:
        """Network calls of the longest run; a particle that starts at node k needs k fewer."""
        return self.sampler.evaluations + self.sweeps

    def init(self, n: int, rng: Rng) -> X:
        """Draw n particles from the prior and run the chain: (x, node) of each."""
        x = self.sampler.init(n, rng)
        k = torch.zeros(n, dtype=torch.int64, device=self.sampler.times.device)
        for _ in range(self.sweeps):
            x = self._move(x, k, rng)
            k = self._level(x, rng)
            x = self.sampler.arrive(x.moved(x.parts), k)
        return x.moved(x.parts, (*x.guesses, (k,)))

    def step(self, x: X, k: int | Tensor, rng: Rng) -> X:
        """The sampler's step of every particle from its own node."""
        plain, at = self._split(x)
        plain = self.sampler.step(plain, at, rng)
        return plain.moved(plain.parts, (*plain.guesses, ((at + 1).clamp(max=self.num_steps),)))

    def predict_clean(self, x: X, k: int | Tensor, rng: Rng) -> X:
        """Put the particles on their stored clean guess; at k = num_steps return x."""
        if isinstance(k, int) and k == self.num_steps:
            return x
        plain, at = self._split(x)
        return x.moved(self.sampler.predict_clean(plain, at, rng).parts, x.guesses)

    def renoise(self, clean: X, k: int, rng: Rng) -> X:
        """Draw x_k given clean parts, evaluate the network there, and go on from node k."""
        if k == self.num_steps:
            return clean
        x = self.sampler.renoise(clean, k, rng)
        at = torch.full((len(x),), k, device=self.sampler.times.device)
        return x.moved(x.parts, (*x.guesses, (at,)))

    def nodes(self, x: X) -> Tensor:
        """The node at which each particle is (B,)."""
        return x.guesses[-1][0]

    def _split(self, x: X) -> tuple[X, Tensor]:
        return x.moved(x.parts, x.guesses[:-1]), self.nodes(x)

    def _move(self, x: X, k: Tensor, rng: Rng) -> X:
        keep = torch.tensor(-self.relax, dtype=torch.float64).exp()
        parts: list[Tensor] = []
        for c, component in enumerate(self.denoiser.components):
            part = x.parts[c]
            level, sigma = (per_row(v, part) for v in self.sampler.levels(k, c))
            z = component.noise(part, x.mask, rng)
            pull = (1 - keep).to(part) * level * x.guesses[0][c]
            parts.append(keep.to(part) * part + pull + sigma * (1 - keep**2).sqrt().to(part) * z)
        moved: Parts = tuple(parts)
        return x.moved(moved, x.guesses)

    def _level(self, x: X, rng: Rng) -> Tensor:
        law = (self.level_law(x).double() + self.log_weights).softmax(1).cumsum(1)
        draw = uniform((len(x), 1), rng).to(law) * law[:, -1:]
        return torch.searchsorted(law, draw, right=True)[:, 0].clamp(max=self.num_steps - 1)
