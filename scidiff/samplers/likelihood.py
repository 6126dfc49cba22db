"""Likelihoods by the probability-flow ODE, over the free coordinates of a state only."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TypeVar

import torch
from torch import Tensor

from scidiff.core import Rng
from scidiff.processes.gaussian import Continuous, ContinuousDenoiser, Parts
from scidiff.processes.schedules import alpha
from scidiff.samplers.divergence import Divergence, Trace
from scidiff.samplers.grids import first_time
from scidiff.samplers.probability_flow import Flow
from scidiff.samplers.runge_kutta import integrate

X = TypeVar("X", bound=Continuous)


def log_likelihood(
    denoiser: ContinuousDenoiser[X],
    x0: X,
    rng: Rng | None = None,
    *,
    tol: float = 1e-5,
    t_end: float = 1e-4,
    t_start: float | None = None,
    trace: Trace | None = None,
    probes: int = 8,
    prior_variance: Sequence[float | Tensor] | None = None,
) -> tuple[Tensor, Tensor]:
    """Log density in nats, and its standard error, of each row under the flow from the prior.

    log p(x) = log prior(x_T) + log |dx_T / dx| (Chen et al. 2018; Song et al. 2021, sec. 4.3),
    where p is the law of the data noised to t_end, taken at x0, and x_T its image at t_start (1,
    or just below where a schedule leaves no signal at 1).
    Only free coordinates count: entries of absent nodes, the lower triangle of a symmetric part
    and the mean of a centred one are no dimensions.

    prior_variance: None is the prior that samplers draw from, N(0, prior_std^2). It leaves the
    data out; Var(x0) of each component (a number, or a tensor over its entries) gives N(0,
    alpha_T^2 Var(x0) + sigma_T^2), the better one where alpha_T sd(x0) / sigma_T is not small.
    trace, probes, rng: see `to_prior`. Returns (B,) and (B,), both float64.
    """
    end, gain, error = to_prior(
        denoiser, x0, rng, tol=tol, t_end=t_end, t_start=t_start, trace=trace, probes=probes
    )
    flow = Flow(denoiser, x0)
    variances = _prior_variances(denoiser, _first(denoiser, t_start), prior_variance)
    value = gain
    for part, free, variance in zip(end, flow.free, variances, strict=True):
        value = value + _log_normal(part, free, variance)
    return value, error


def to_prior(
    denoiser: ContinuousDenoiser[X],
    x0: X,
    rng: Rng | None = None,
    *,
    tol: float = 1e-5,
    t_end: float = 1e-4,
    t_start: float | None = None,
    trace: Trace | None = None,
    probes: int = 8,
) -> tuple[Parts, Tensor, Tensor]:
    """Carry x0 at t_end to its image x_T at t_start: (x_T, log |dx_T / dx0| (B,), its standard
    error (B,)).

    Dormand-Prince 5(4) controls position and divergence to `tol`, row by row. trace, probes, rng:
    see `Divergence`; the exact trace has the standard error 0.
    """
    t_start = _first(denoiser, t_start)
    if not 0 < t_end < t_start <= 1:
        raise ValueError(f"times must be 0 < t_end < t_start <= 1, got {t_end} and {t_start}")
    flow = Flow(denoiser, x0)
    _check_rows(flow)
    divergence = Divergence(flow, rng, trace=trace, probes=probes)
    columns = divergence.columns
    y = flow.pack(x0.parts, t_end)
    y = torch.cat([y, y.new_zeros(len(y), columns)], 1)
    counts = torch.cat([*(free > 0 for free in flow.free), torch.ones_like(y[:, -columns:])], 1)
    start, end = math.log(t_end), math.log(t_start)
    y = integrate(divergence.velocity, y, start, end, tol=tol, counts=counts)
    grown = y[:, -columns:]
    gain = grown.mean(1) + _frame_change(flow, t_end, t_start)
    error = torch.zeros_like(gain) if divergence.exact else grown.std(1) / columns**0.5
    return flow.unpack(y, torch.full_like(gain, t_start)), gain, error


# ---------------------------------------------------------------- frames and priors


def _first(denoiser: ContinuousDenoiser[X], t_start: float | None) -> float:
    return first_time([c.schedule for c in denoiser.components]) if t_start is None else t_start


def _frame_change(flow: Flow[X], t_end: float, t_start: float) -> Tensor:
    """sum_c n_c log(alpha_T / alpha_end): what x = alpha x~ adds to log |dx_T / dx|."""
    ends = torch.tensor([t_end, t_start], dtype=torch.float64)
    return torch.stack(
        [
            free.sum(1) * c.schedule.log_alpha(ends).diff().to(free)
            for c, free in zip(flow.components, flow.free, strict=True)
        ]
    ).sum(0)


def _prior_variances(
    denoiser: ContinuousDenoiser[X], t: float, data: Sequence[float | Tensor] | None
) -> list[Tensor]:
    schedules = [c.schedule for c in denoiser.components]
    if data is None:
        return [torch.tensor(s.prior_std**2, dtype=torch.float64) for s in schedules]
    if len(data) != len(schedules):
        raise ValueError(
            f"prior_variance must give Var(x0) of {len(schedules)} components, got {len(data)}"
        )
    now = torch.tensor(t, dtype=torch.float64)
    return [
        alpha(s, now) ** 2 * torch.as_tensor(v).double() + s.sigma(now) ** 2
        for s, v in zip(schedules, data, strict=True)
    ]


def _log_normal(part: Tensor, free: Tensor, variance: Tensor) -> Tensor:
    """log N(x; 0, variance) over the free coordinates, (B,). A centred part has n - 1 dimensions
    and the length of its n rows."""
    variance = variance.to(part.device).expand(part.shape).flatten(1)
    squares = part.double().flatten(1) ** 2 / variance * (free > 0)
    return -(squares + free * (2 * torch.pi * variance).log()).sum(1) / 2


# ---------------------------------------------------------------- edges


def _check_rows(flow: Flow[X]) -> None:
    for c, (component, part) in enumerate(zip(flow.components, flow.like.parts, strict=True)):
        if not bool(part.isfinite().all()):
            raise ValueError(f"component {c} of x0 must be finite, got NaN or infinity")
        if not torch.allclose(component.project(part, flow.like.mask), part, atol=1e-5):
            raise ValueError(
                f"component {c} of x0 must lie in its free coordinates (zero where masked; "
                "symmetric with zero diagonal, or centred, where its noise is), got a row outside"
            )
