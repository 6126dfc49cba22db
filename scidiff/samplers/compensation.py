"""Rows put right by a learned share of the last guess (DC-Solver)."""

from __future__ import annotations

from typing import TypeVar

import torch
from torch import Tensor
from torch.nn import functional as F

from scidiff.processes.gaussian import Continuous, ContinuousDenoiser, Parts
from scidiff.samplers.probability_flow import Flow
from scidiff.samplers.tables import Scheme, Table

X = TypeVar("X", bound=Continuous)


def compensate(scheme: Scheme, ratios: Tensor) -> Scheme:
    """Rows that read r D_0 + (1 - r) D_1 in place of the newest guess D_0, with one ratio r a
    component and step, `ratios` (C, K) (Zhao et al. 2024, here on the line through two guesses).

    r = 1 is the plain scheme.
    """
    steps = len(scheme.times) - 1
    if ratios.shape != (len(scheme.tables), steps):
        raise ValueError(
            f"ratios must be {(len(scheme.tables), steps)}, components by steps, "
            f"got {tuple(ratios.shape)}"
        )
    return Scheme(scheme.times, tuple(map(_compensated, scheme.tables, ratios.double())))


def _compensated(table: Table, ratio: Tensor) -> Table:
    w = _two_guesses(table)
    first = ratio * w[:, 0]
    return Table(
        table.a,
        torch.cat([first[:, None], w[:, 1:2] + (w[:, :1] - first[:, None]), w[:, 2:]], 1),
        table.b,
    )


def _two_guesses(table: Table) -> Tensor:
    return table.w if table.w.shape[1] > 1 else F.pad(table.w, (0, 1))


def fit_ratios(
    denoiser: ContinuousDenoiser[X], start: X, scheme: Scheme, *, tol: float = 1e-6
) -> Tensor:
    """Ratios (C, K) that bring a few trajectories closest to the exact flow, step after step.

    start: particles at the first node, a dozen are enough. A row is linear in its ratio, so that
    each has a closed form, the projection of what is missing on w_0 (D_1 - D_0); in place of the
    paper's gradient descent. Rows of a deterministic scheme only (eta = 0).
    """
    if scheme.stochastic:
        raise ValueError("ratios are fitted to the flow without noise: expected eta = 0")
    exact = Flow(denoiser, start).follow(start, scheme.times, tol)
    weights = [_two_guesses(table) for table in scheme.tables]
    width, parts = max(w.shape[1] for w in weights), start.parts
    history: list[Parts] = []
    fitted = torch.ones(len(weights), len(scheme.times) - 1, dtype=torch.float64)
    for k, t in enumerate(scheme.times[:-1]):
        history = [denoiser(start.moved(parts), t), *history][:width]
        moved = []
        for c, (part, w) in enumerate(zip(parts, weights, strict=True)):
            guesses = [guess[c] for guess in history]
            plain = scheme.tables[c].a[k].to(part) * part
            for weight, guess in zip(w[k].to(part), guesses, strict=False):
                plain = plain + weight * guess
            way = w[k, 0].to(part) * (guesses[min(1, k)] - guesses[0])
            share = _share(exact[k + 1][c] - plain, way)
            fitted[c, k] = 1 - share
            moved.append(plain + share.to(part) * way)
        parts = tuple(moved)
    return fitted


def _share(missing: Tensor, way: Tensor) -> Tensor:
    """<missing, way> / <way, way> over the batch; 0 where there is no way."""
    square = way.double().square().sum()
    along = (missing.double() * way.double()).sum()
    return torch.where(square > 0, along / torch.where(square > 0, square, 1.0), 0.0).cpu()
