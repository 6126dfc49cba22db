"""Every continuous sampler by name: one function from what a person types to a sampler."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

import torch
from torch import Tensor

from scidiff.core import Renoisable, Rng
from scidiff.processes.gaussian import Continuous
from scidiff.samplers.corrector import PredictorCorrector
from scidiff.samplers.gaussian import ContinuousDenoiser, GaussianSampler
from scidiff.samplers.tables import SOLVERS, uniform_lambdas, uniform_times

__all__ = ["SOLVERS", "make_sampler"]

X = TypeVar("X", bound=Continuous)


def make_sampler(
    denoiser: ContinuousDenoiser[X],
    canvas: Callable[[int, Rng], X],
    *,
    solver: str | None = None,
    steps: int,
    eta: float = 1.0,
    rho: float = 1.0,
    grid: str | Tensor | None = None,
    snr: float | None = None,
    scale_eps: float = 0.7,
    compat: bool = False,
    denoise: bool = True,
    device: torch.device | str = "cpu",
) -> Renoisable[X]:
    """Make a sampler of continuous states from the name of its solver.

    solver: one of SOLVERS. snr: add a Langevin corrector of this signal-to-noise ratio.
    """
    schedules = [c.schedule for c in denoiser.components]
    make = {"time": uniform_times, "lambda": lambda n: uniform_lambdas(schedules, n)}
    times = make[grid](steps) if isinstance(grid, str) else grid
    sampler = GaussianSampler(
        denoiser,
        canvas,
        steps=steps,
        solver=solver,
        eta=eta,
        rho=rho,
        times=times,
        denoise=denoise,
        device=device,
    )
    if snr is None:
        return sampler
    return PredictorCorrector(sampler, snr=snr, scale_eps=scale_eps, gdss_compat=compat)
