"""Likelihoods by the probability-flow ODE, over the free coordinates of a state only."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal, TypeVar

import torch
from torch import Tensor

from scidiff.core import Rng, uniform
from scidiff.processes.gaussian import Continuous, Parts
from scidiff.processes.schedules import alpha
from scidiff.samplers.gaussian import ContinuousDenoiser
from scidiff.samplers.probability_flow import Flow
from scidiff.samplers.runge_kutta import integrate

X = TypeVar("X", bound=Continuous)
Trace = Literal["exact", "hutchinson"]

EXACT_UP_TO = 64  # free coordinates for which every direction is cheaper than its noise
_CHUNK = 64  # directions differentiated at a time


def log_likelihood(
    denoiser: ContinuousDenoiser[X],
    x0: X,
    rng: Rng | None = None,
    *,
    tol: float = 1e-5,
    t_end: float = 1e-4,
    t_start: float = 1.0,
    trace: Trace | None = None,
    probes: int = 8,
    prior_variance: Sequence[float | Tensor] | None = None,
) -> tuple[Tensor, Tensor]:
    """Log density in nats, and its standard error, of each row under the flow from the prior.

    log p(x) = log prior(x_T) + log |dx_T / dx| (Chen et al. 2018; Song et al. 2021, sec. 4.3),
    where p is the law of the data noised to t_end, taken at x0, and x_T its image at t_start.
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
    variances = _prior_variances(denoiser, t_start, prior_variance)
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
    t_start: float = 1.0,
    trace: Trace | None = None,
    probes: int = 8,
) -> tuple[Parts, Tensor, Tensor]:
    """Carry x0 at t_end to its image x_T at t_start: (x_T, log |dx_T / dx0| (B,), its standard
    error (B,)).

    Dormand-Prince 5(4) controls position and divergence to `tol`, row by row. trace: 'exact'
    differentiates along every free coordinate (standard error 0), 'hutchinson' along `probes`
    random signs from `rng`, at least 2, kept along the way (Grathwohl et al. 2019); None is exact
    up to 64 free coordinates.
    """
    _check(t_end, t_start, trace, probes)
    flow = Flow(denoiser, x0)
    _check_rows(flow)
    dims = max(float(free.sum(1).max()) for free in flow.free)
    exact = dims <= EXACT_UP_TO if trace is None else trace == "exact"
    directions = _units(flow) if exact else _signs(flow, probes, rng)
    columns = 1 if exact else probes

    def velocity(r: Tensor, y: Tensor) -> Tensor:
        return _with_divergence(flow, directions, columns, r, y)

    y = flow.pack(x0.parts, t_end)
    y = torch.cat([y, y.new_zeros(len(y), columns)], 1)
    counts = torch.cat([*(free > 0 for free in flow.free), torch.ones_like(y[:, -columns:])], 1)
    y = integrate(velocity, y, math.log(t_end), math.log(t_start), tol=tol, counts=counts)
    divergence = y[:, -columns:]
    gain = divergence.mean(1) + _frame_change(flow, t_end, t_start)
    error = torch.zeros_like(gain) if exact else divergence.std(1) / probes**0.5
    return flow.unpack(y, torch.full_like(gain, t_start)), gain, error


# ---------------------------------------------------------------- divergence

# What is differentiated in one component: cotangents (M, B, n_c) and the projected directions P e
# they are paired with, since sum_i e_i^T J P e_i is the trace over free coordinates.
Directions = list[tuple[Tensor, Tensor]]


def _units(flow: Flow[X]) -> Directions:
    """Every coordinate that is free in some row, and its projection."""
    return [_paired(flow, c, _unit_rows(free)) for c, free in enumerate(flow.free)]


def _unit_rows(free: Tensor) -> Tensor:
    picked = torch.eye(free.shape[1], dtype=torch.float64, device=free.device)
    return picked[(free > 0).any(0)][:, None].expand(-1, len(free), -1)


def _signs(flow: Flow[X], probes: int, rng: Rng | None) -> Directions:
    """Random signs on free coordinates, and their projections."""
    if rng is None:
        raise ValueError("trace 'hutchinson' draws its probes: got no rng, expected a generator")
    rows = [
        [uniform(free.shape, rng).to(free).sub(0.5).sign() * (free > 0) for _ in range(probes)]
        for free in flow.free
    ]
    return [_paired(flow, c, torch.stack(signs)) for c, signs in enumerate(rows)]


def _paired(flow: Flow[X], c: int, rows: Tensor) -> tuple[Tensor, Tensor]:
    shape, project = flow.like.parts[c].shape, flow.components[c].project
    images = [project(row.reshape(shape), flow.like.mask).flatten(1) for row in rows]
    return rows, torch.stack(images) if images else rows


def _with_divergence(
    flow: Flow[X], directions: Directions, columns: int, r: Tensor, y: Tensor
) -> Tensor:
    """Velocity of (x~, divergence): dx~ / dr and sum_c t lambda_c' (tr J_c - n_c), with J_c = dD_c
    / dx~_c on the free coordinates."""
    t = r.exp()
    with torch.enable_grad():
        x = tuple(part.detach().requires_grad_() for part in flow.unpack(y, t))
        guesses = flow.denoiser(flow.like.moved(x), t)
    drift = torch.cat([guess.detach().double().flatten(1) for guess in guesses], 1)
    divergence = torch.zeros_like(y[:, -columns:])
    for c, rate in enumerate(flow.rates(t)):
        level = alpha(flow.components[c].schedule, t)[:, None]
        traces = _traces(guesses[c], x[c], *directions[c], columns)
        divergence += rate[:, None] * (level * traces - flow.free[c].sum(1, keepdim=True))
    moved = (drift - y[:, :-columns]) * flow.spread(flow.rates(t))
    return torch.cat([moved, divergence], 1)


def _traces(guess: Tensor, x: Tensor, rows: Tensor, images: Tensor, columns: int) -> Tensor:
    """sum_m rows_m^T (dD / dx) images_m (B, 1), or one value a probe (B, probes)."""
    values = []
    for row, image in zip(rows.split(_CHUNK), images.split(_CHUNK), strict=True):
        cotangents = row.reshape(-1, *guess.shape).to(guess)
        (pulled,) = torch.autograd.grad(
            guess,
            x,
            cotangents,
            retain_graph=True,
            is_grads_batched=True,
            allow_unused=True,
            materialize_grads=True,
        )
        values.append((pulled.double().flatten(2) * image).sum(2))
    if not values:
        return x.new_zeros(len(x), columns, dtype=torch.float64)
    each = torch.cat(values).T
    return each if columns > 1 else each.sum(1, keepdim=True)


# ---------------------------------------------------------------- frames and priors


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


def _check(t_end: float, t_start: float, trace: str | None, probes: int) -> None:
    if not 0 < t_end < t_start <= 1:
        raise ValueError(f"times must be 0 < t_end < t_start <= 1, got {t_end} and {t_start}")
    if trace not in (None, "exact", "hutchinson"):
        raise ValueError(f"trace must be 'exact' or 'hutchinson', got {trace!r}")
    if probes < 2:
        raise ValueError(f"probes must be at least 2 to tell the error, got {probes}")


def _check_rows(flow: Flow[X]) -> None:
    for c, (component, part) in enumerate(zip(flow.components, flow.like.parts, strict=True)):
        if not bool(part.isfinite().all()):
            raise ValueError(f"component {c} of x0 must be finite, got NaN or infinity")
        if not torch.allclose(component.project(part, flow.like.mask), part, atol=1e-5):
            raise ValueError(
                f"component {c} of x0 must lie in its free coordinates (zero where masked; "
                "symmetric with zero diagonal, or centred, where its noise is), got a row outside"
            )
