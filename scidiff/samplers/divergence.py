"""The trace of a denoiser's Jacobian over free coordinates, exact or by random probes."""

from __future__ import annotations

from typing import Generic, Literal, TypeVar

import torch
from torch import Tensor

from scidiff.core import Rng, uniform
from scidiff.processes.gaussian import Continuous, Parts
from scidiff.processes.schedules import alpha
from scidiff.samplers.probability_flow import Flow

X = TypeVar("X", bound=Continuous)
Trace = Literal["exact", "hutchinson"]

EXACT_UP_TO = 64  # free coordinates for which every direction is cheaper than its noise
_CHUNK = 64  # directions differentiated at a time


class Divergence(Generic[X]):
    """tr(J_c P_c) of every component, J_c = dD_c / dx_c and P_c its noise projection.

    P_c takes entries to free coordinates (the upper triangle to a symmetric matrix), so the trace
    counts each of them once: sum_i e_i^T J P e_i over entries, or the mean of z^T J P z over
    random signs z (Hutchinson 1990), kept along an integration (Grathwohl et al. 2019).

    trace: 'exact', 'hutchinson' with `probes` >= 2 signs from `rng`, or None, exact up to 64 free
    coordinates in each component.
    """

    def __init__(
        self, flow: Flow[X], rng: Rng | None, *, trace: Trace | None = None, probes: int = 8
    ) -> None:
        if trace not in (None, "exact", "hutchinson"):
            raise ValueError(f"trace must be 'exact' or 'hutchinson', got {trace!r}")
        dims = max(float(free.sum(1).max()) for free in flow.free)
        self.exact = dims <= EXACT_UP_TO if trace is None else trace == "exact"
        if not self.exact and rng is None:
            raise ValueError(f"the trace over {dims:g} coordinates draws its probes: got no rng")
        if not self.exact and probes < 2:
            raise ValueError(f"probes must be at least 2 to tell the error, got {probes}")
        self.flow, self.columns = flow, 1 if self.exact else probes
        rows = [
            _units(free) if rng is None or self.exact else _signs(free, probes, rng)
            for free in flow.free
        ]
        self.directions = [(row, self._project(c, row)) for c, row in enumerate(rows)]

    def _project(self, c: int, rows: Tensor) -> Tensor:
        shape, project = self.flow.like.parts[c].shape, self.flow.components[c].project
        images = [project(row.reshape(shape), self.flow.like.mask).flatten(1) for row in rows]
        return torch.stack(images) if images else rows

    def guesses_and_traces(self, y: Tensor, t: Tensor) -> tuple[Parts, list[Tensor]]:
        """Clean guesses at x~ = y (B, n), times t (B,), and the traces (B, 1 or probes) of dD_c /
        dx~_c."""
        with torch.enable_grad():
            x = tuple(part.detach().requires_grad_() for part in self.flow.unpack(y, t))
            guesses = self.flow.denoiser(self.flow.like.moved(x), t)
        levels = [alpha(c.schedule, t)[:, None] for c in self.flow.components]
        traces = [
            level * self._trace(guess, part, *pair)
            for level, guess, part, pair in zip(levels, guesses, x, self.directions, strict=True)
        ]
        return tuple(guess.detach() for guess in guesses), traces

    def velocity(self, r: Tensor, y: Tensor) -> Tensor:
        """Velocity of (x~, divergence) against r = log t: dx~ / dr and sum_c t lambda_c' (tr J_c -
        n_c)."""
        t, x = r.exp(), y[:, : -self.columns]
        guesses, traces = self.guesses_and_traces(x, t)
        rates = self.flow.rates(t)
        grown = torch.zeros_like(y[:, -self.columns :])
        for rate, trace, free in zip(rates, traces, self.flow.free, strict=True):
            grown += rate[:, None] * (trace - free.sum(1, keepdim=True))
        drift = torch.cat([guess.double().flatten(1) for guess in guesses], 1) - x
        return torch.cat([drift * self.flow.spread(rates), grown], 1)

    def _trace(self, guess: Tensor, x: Tensor, rows: Tensor, images: Tensor) -> Tensor:
        """sum_m rows_m^T (dD / dx) images_m (B, 1), or one value a probe (B, probes)."""
        if not len(rows):
            return x.new_zeros(len(x), self.columns, dtype=torch.float64)
        values = []
        for row, image in zip(rows.split(_CHUNK), images.split(_CHUNK), strict=True):
            (pulled,) = torch.autograd.grad(
                guess,
                x,
                row.reshape(-1, *guess.shape).to(guess),
                retain_graph=True,
                is_grads_batched=True,
                allow_unused=True,
                materialize_grads=True,
            )
            values.append((pulled.double().flatten(2) * image).sum(2))
        each = torch.cat(values).T
        return each.sum(1, keepdim=True) if self.exact else each


def _units(free: Tensor) -> Tensor:
    """Every coordinate that is free in some row, (M, B, n)."""
    picked = torch.eye(free.shape[1], dtype=torch.float64, device=free.device)
    return picked[(free > 0).any(0)][:, None].expand(-1, len(free), -1)


def _signs(free: Tensor, probes: int, rng: Rng) -> Tensor:
    """Random signs on free coordinates, (probes, B, n)."""
    draws = [uniform(free.shape, rng).to(free).sub(0.5).sign() for _ in range(probes)]
    return torch.stack(draws) * (free > 0)
