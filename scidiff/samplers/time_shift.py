"""Asking the network at the time whose noise a particle looks like."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Generic, TypeVar

import torch
from torch import Tensor

from scidiff.processes.gaussian import Component, Continuous, ContinuousDenoiser, Parts
from scidiff.processes.schedules import alpha

X = TypeVar("X", bound=Continuous)


class TimeShift(Generic[X]):
    """Denoiser made of a denoiser: at time t it asks at the t' in [t - window / 2, t + window / 2]
    that minimises |Var(x) - sigma_t'^2|, particle by particle (Li et al. 2024).

    Var(x) is over the free entries of one particle, differences are relative to the noise at t
    and summed over components, and `data_variance` v_c adds the alpha^2 v_c that data leave in
    Var(x) (0 as published). Only times above `cutoff` shift. window = 0 is the plain denoiser. The
    choice is an argmin on the device.
    """

    def __init__(
        self,
        denoiser: ContinuousDenoiser[X],
        window: float,
        *,
        candidates: int = 11,
        cutoff: float = 0.0,
        data_variance: Sequence[float] | None = None,
    ) -> None:
        if not 0 <= window <= 1 or candidates < 1:
            raise ValueError(
                f"expected a window in [0, 1] and candidates >= 1, got {window} and {candidates}"
            )
        self.denoiser, self.components = denoiser, denoiser.components
        self.window, self.candidates, self.cutoff = window, candidates, cutoff
        self.data_variance = data_variance or [0.0] * len(self.components)

    @property
    def rows(self) -> int:
        return self.denoiser.rows

    @rows.setter
    def rows(self, count: int) -> None:
        self.denoiser.rows = count

    def __call__(self, x: X, t: Tensor, /) -> Parts:
        """Guess the clean parts from x, asked at the shifted times (B,)."""
        return self.denoiser(x, self.shifted(x, t))

    def shifted(self, x: X, t: Tensor) -> Tensor:
        """The times (B,) at which the network is asked; t itself for window = 0."""
        if not self.window:
            return t
        first = x.parts[0]
        t = t.to(first.device, torch.float64).expand(len(first))
        reach = torch.linspace(-0.5, 0.5, self.candidates, dtype=torch.float64, device=t.device)
        near = (t[:, None] + self.window * reach).clamp(max=1.0)
        near = torch.maximum(near, torch.minimum(t, t.new_tensor(1e-4))[:, None])
        gap = 1e-9 * reach.abs().expand_as(near)  # of equals take the nearest
        for component, part, v in zip(self.components, x.parts, self.data_variance, strict=True):
            variance, known = _variance(component, part, x.mask)
            noise = component.schedule.sigma(near) ** 2 + alpha(component.schedule, near) ** 2 * v
            scale = component.schedule.sigma(t)[:, None] ** 2
            gap = gap + torch.where(known[:, None], (variance[:, None] - noise).abs() / scale, 0.0)
        best = near.gather(1, gap.argmin(1, keepdim=True))[:, 0]
        return torch.where(t > self.cutoff, best, t)


def _variance(component: Component, part: Tensor, mask: Tensor | None) -> tuple[Tensor, Tensor]:
    """Variance (B,) over the free entries of each row, and whether there are two of them."""
    entries = torch.arange(1, part[0].numel() + 1, dtype=torch.float64, device=part.device).sqrt()
    generic = entries.reshape(part.shape[1:]).expand(part.shape)  # no free entry of it is 0
    free = (component.project(generic, mask) != 0).flatten(1)
    flat, count = part.double().flatten(1), free.sum(1)
    mean = (flat * free).sum(1) / count.clamp(min=1)
    squares = ((flat - mean[:, None]) ** 2 * free).sum(1)
    return squares / (count - 1).clamp(min=1), count > 1
