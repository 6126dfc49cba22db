"""Every continuous sampler by name: one function from what a person types to a sampler."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeVar

import torch
from torch import Tensor

from scidiff.core import Rng
from scidiff.processes.gaussian import Continuous, ContinuousDenoiser
from scidiff.samplers.corrector import PredictorCorrector
from scidiff.samplers.gaussian import GaussianSampler
from scidiff.samplers.published import PUBLISHED, published_scheme, published_signal
from scidiff.samplers.schemes import SOLVERS

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
    grid: str | Tensor | Sequence[float] | None = None,
    snr: float | None = None,
    scale_eps: float = 0.7,
    compat: bool = False,
    denoise: bool = True,
    device: torch.device | str = "cpu",
) -> GaussianSampler[X] | PredictorCorrector[X]:
    """Make a sampler of continuous states by the name of its solver.

    solver: one of SOLVERS; by default reverse for compat and for a corrector at eta = 1, else 2m
    for eta <= 1 and exp1 above. eta, rho, denoise: see `GaussianSampler`. grid: time, lambda, edm
    or falling nodes (steps + 1,), by default the solver's own. snr: put a Langevin step of this
    signal-to-noise ratio and noise factor scale_eps before every step; s4 takes it without a
    second evaluation.
    compat: GDSS as published, with its grid, rates and batch-mean norms (reverse, euler, s4).

    `num_steps` of the result counts network evaluations after the first (two a step of 2s and
    heun), `evaluations` all network calls of a run. ValueError: a name, number or combination that
    makes no sampler.
    """
    if solver is None and (compat or (snr is not None and eta == 1)):
        solver = "reverse"
    _check(solver, eta, grid, snr, compat)
    sampler = (
        _published(denoiser, canvas, str(solver), steps, rho, denoise, device)
        if compat
        else GaussianSampler(
            denoiser,
            canvas,
            steps=steps,
            solver=solver,
            eta=eta,
            rho=rho,
            times=grid,
            denoise=denoise,
            device=device,
        )
    )
    if snr is None:
        return sampler
    schedules = [c.schedule for c in denoiser.components]
    return PredictorCorrector(
        sampler,
        snr=snr,
        scale_eps=scale_eps,
        gdss_compat=compat,
        stale=solver == "s4",
        signal=published_signal(schedules, steps) if compat else None,
    )


def _published(
    denoiser: ContinuousDenoiser[X],
    canvas: Callable[[int, Rng], X],
    solver: str,
    steps: int,
    rho: float,
    denoise: bool,
    device: torch.device | str,
) -> GaussianSampler[X]:
    """The last row without its noise stands for the clean guess."""
    schedules = [c.schedule for c in denoiser.components]
    scheme = published_scheme(solver, schedules, steps, rho, denoise)
    return GaussianSampler(denoiser, canvas, scheme=scheme, denoise=False, device=device)


def _check(
    solver: str | None,
    eta: float,
    grid: str | Tensor | Sequence[float] | None,
    snr: float | None,
    compat: bool,
) -> None:
    if compat and solver in PUBLISHED and (eta != 1 or grid is not None):
        raise ValueError(
            f"compat takes the published SDE and grid: leave eta at 1 and grid unset, got "
            f"eta={eta} and grid={grid}"
        )
    if snr is not None and solver in ("2s", "heun"):
        raise ValueError(
            f"snr corrects between the two evaluations of a step of {solver!r} and undoes it; "
            "expected a solver of one evaluation a step, such as 'reverse' or 'exp1'"
        )
