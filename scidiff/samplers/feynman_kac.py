"""Feynman-Kac correctors: chains of a path of densities that know what they are worth (Skreta et
al. 2025, arXiv 2503.02819)."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Generic, Literal, TypeVar

import numpy as np
import torch
from torch import Tensor

from scidiff.core import Rng
from scidiff.processes.gaussian import Continuous, ContinuousDenoiser, Parts, per_row
from scidiff.processes.schedules import Schedule, alpha, lam
from scidiff.samplers.active_interval import active_interval
from scidiff.samplers.grids import make_nodes
from scidiff.samplers.tables import Table
from scidiff.samplers.tempered import Bend, Path, as_path
from scidiff.samplers.weighed import Weighed, free_entries, summed

X = TypeVar("X", bound=Continuous)

_NODES, _WEIGHTS = (torch.from_numpy(v) for v in np.polynomial.legendre.leggauss(16))


class FeynmanKac(Generic[X]):
    """Sample a path of densities (`tempered.Product`, `tempered.Tilted`) and weigh every step.

    With D the mean guess of the path, B its total and push what a tilt adds, the chain is

        dx~ = (1 + eta) B (D + eta push / ((1 + eta) B) - x~) dlambda + sqrt(2 eta) e^-lambda dw,

    the flow of the path and eta Langevin steps at its score; `log_ratio` is the weight that is
    missing, the integral of the path's rates by the trapezoid rule. `guided_sample(sampler, None,
    n, rng, select=smc())` draws from the path's end; with a black-box reward instead of None, from
    the product of both. `sample` alone is the biased, unweighted chain.

    The weight does not depend on eta: 1 is the "target score" of the paper, 1 / power its
    "tempered noise". The more of it, the more the Langevin steps do and the less the weights must;
    the default is the least eta at which weights behave from pure noise on (`steady_eta`, 1 unless
    B > 1). `spread` is the standard deviation of the data, one for all or one a component: rows
    are exact for Gaussian data of it, first-order otherwise.

    Chains begin at N(0, prior_std^2 / B). Weights are used on `active` = (lo, hi) only: "auto"
    takes the longest interval on which their second moment is finite (`active_interval`). What
    happens before is not corrected: with an interval that does not reach the start the result is
    close to the path's end, not exact, and `log_z` means nothing.

    times: nodes or the name of a grid. denoise: end on the mean guess. ValueError: eta or spread
    that is not positive, a tilt that does not begin at 0, or an interval that is none.
    """

    stochastic = True

    def __init__(
        self,
        denoiser: Path[X] | ContinuousDenoiser[X],
        canvas: Callable[[int, Rng], X],
        *,
        steps: int,
        eta: float | None = None,
        active: tuple[float, float] | Literal["auto"] = "auto",
        spread: float | Sequence[float] = 1.0,
        times: str | Tensor | Sequence[float] = "lambda",
        denoise: bool = True,
        device: torch.device | str = "cpu",
    ) -> None:
        path = as_path(denoiser)
        eta = steady_eta(path.total) if eta is None else eta
        if not (eta > 0 and math.isfinite(eta)):
            raise ValueError(f"eta must be positive, got {eta}")
        widths = spreads(spread, len(path.components))
        self.denoiser, self.canvas, self.num_steps, self.eta = path, canvas, steps, eta
        self.denoise, self.total = denoise, path.total
        schedules = [c.schedule for c in path.components]
        nodes = make_nodes(times, schedules, steps)
        self.active = _interval(active, schedules, nodes, path.total, eta, widths)
        self.times = torch.cat([nodes, nodes[-1:]]).to(device)
        made = [
            path_table(s, nodes, eta, path.total, width)
            for s, width in zip(schedules, widths, strict=True)
        ]
        self.tables = tuple(table.finished().stacked().to(device) for table in made)
        self.clocks = _clocks(path, schedules, nodes, self.active).to(device)

    def init(self, n: int, rng: Rng) -> Weighed[X]:
        """Draw n particles from N(0, prior_std^2 / B) of every component."""
        blank = self.canvas(n, rng)
        entries, counts = free_entries(self.denoiser.components, blank)
        x = Weighed(blank, memory=(entries, counts))
        return self._arrive(self._noised(x, 0, rng), 0)

    def step(self, x: Weighed[X], k: int | Tensor, rng: Rng) -> Weighed[X]:
        """Move, evaluate the path at the new place, and weigh the step."""
        moved = tuple(self._row(x, c, k, rng) for c in range(len(self.tables)))
        y = self._arrive(x.moved(moved), k + 1)
        rates = (x.memory[2] + y.memory[2]) / 2
        y = y.weighed((rates * self.clocks[k]).sum(1))
        return self._ended(y, k + 1) if self.denoise else y

    def predict_clean(self, x: Weighed[X], k: int | Tensor, rng: Rng) -> Weighed[X]:
        """Put the particles on their mean guess; at k = num_steps return x. Draws nothing."""
        if isinstance(k, int):
            return x if k == self.num_steps else x.moved(x.guesses[0], x.guesses)
        return self._chosen(x, k != self.num_steps)

    def renoise(self, clean: Weighed[X], k: int, rng: Rng) -> Weighed[X]:
        """Draw x_k = alpha x0 + sigma / sqrt(B) z and evaluate the path there."""
        if k == self.num_steps:
            return clean
        return self._arrive(self._noised(clean, k, rng, clean.parts), k)

    def _noised(self, x: Weighed[X], k: int, rng: Rng, clean: Parts | None = None) -> Weighed[X]:
        t, parts = self.times[k], []
        for i, (c, part) in enumerate(zip(self.denoiser.components, x.parts, strict=True)):
            z = c.noise(part, x.mask, rng) / math.sqrt(self.total)
            start = c.schedule.prior_std * z
            parts.append(start if clean is None else c.perturb(clean[i], t, z))
        return x.moved(tuple(parts))

    def _row(self, x: Weighed[X], c: int, k: int | Tensor, rng: Rng) -> Tensor:
        part = x.parts[c]
        a, w, b = (per_row(column, part) for column in self.tables[c][k].unbind(-1))
        noise = self.denoiser.components[c].noise(part, x.mask, rng)
        return a * part + w * x.guesses[1][c] + b * noise

    def _arrive(self, x: Weighed[X], k: int | Tensor) -> Weighed[X]:
        """Keep the mean guess, the guess that rows read, and the rates of the weight."""
        bend = self.denoiser.bend(x.state, self.times[k])
        share = self.eta / ((1 + self.eta) * self.total)
        read = tuple(m + share * p for m, p in zip(bend.mean, bend.push, strict=True))
        entries, counts = x.memory[:2]
        rates = self._rates(bend, entries, counts)
        return x.moved(x.parts, (bend.mean, read)).keeping((entries, counts, rates))

    def _rates(self, bend: Bend, entries: Tensor, counts: Tensor) -> Tensor:
        """What is integrated against lambda of each component, then against the strength of each
        tilt: (B, C + T)."""
        against_lam = summed(bend.rate, entries) - (self.total - 1) * counts
        return torch.cat([against_lam, *(r[:, None].double() for r in bend.potentials)], 1)

    def _ended(self, x: Weighed[X], k: int | Tensor) -> Weighed[X]:
        if isinstance(k, int):
            return x.moved(x.guesses[0], x.guesses) if k == self.num_steps else x
        return self._chosen(x, k == self.num_steps)

    def _chosen(self, x: Weighed[X], there: Tensor) -> Weighed[X]:
        """Put the rows that are `there` (B,) on their mean guess."""
        parts = tuple(
            torch.where(per_row(there, part).bool(), guess, part)
            for guess, part in zip(x.guesses[0], x.parts, strict=True)
        )
        return x.moved(parts, x.guesses)


def path_table(
    schedule: Schedule, times: Tensor, eta: float, total: float, spread: float = 0.0
) -> Table:
    """Rows of dx~ = K (D - x~) dlambda + sqrt(2 eta) e^-lambda dw with K = (1 + eta) B and D = (1
    - m) x~ + m c, m = e^-2lambda / (spread^2 + e^-2lambda), where c is held over the step: exact
    where the data are N(c, spread^2). With spread 0 it is D that is held, and with B = 1 the rows
    are those of `multistep_table`.

    A large K pulls hard within a step, and what D owes to x~ must then not be held. Near the data
    D owes less to x~ than the spread says; steps longer than 1.5 / K, which would overshoot
    there, hold D.
    """
    value, level = lam(schedule, times), alpha(schedule, times)
    pull, start, end = (1 + eta) * total, value[:-1, None], value[1:, None]
    width = torch.where(pull * (end - start) < 1.5, float(spread), 0.0)
    u, weights = start + (end - start) * (1 + _NODES) / 2, _WEIGHTS * (end - start) / 2

    def kept(lower: Tensor) -> Tensor:
        """exp(-K int m dlambda) from `lower` to the end of the step."""
        grown = (1 + (width * end.exp()) ** 2) / (1 + (width * lower.exp()) ** 2)
        return ((lower - end) + grown.log() / 2).mul(pull).exp()

    w = -torch.expm1(kept(start).log()) * (1 + (width * start.exp()) ** 2)  # (1 - kept) / m
    b = (weights * 2 * eta * (-2 * u).exp() * kept(u) ** 2).sum(1).sqrt()
    a, w = level[1:] / level[:-1] * (1 - w[:, 0]), level[1:, None] * w
    return Table(a, w, level[1:] * b)


def steady_eta(total: float) -> float:
    """The least eta, but 1, at which the second moment of weights stays bounded where nothing but
    noise is left: (3 + 2 sqrt 2) (1 - 1 / B), from the rule in `log_moment_ratio` at v = 1."""
    return max(1.0, (3 + 2 * math.sqrt(2)) * (1 - 1 / total))


def _clocks(
    path: Path[X], schedules: Sequence[Schedule], nodes: Tensor, active: tuple[float, float]
) -> Tensor:
    """How far lambda of each component and the strength of each tilt go in each step, 0 outside
    `active` and in the row of finished particles: (K + 1, C + T)."""
    strengths = [torch.as_tensor(s(nodes)).to(nodes).expand_as(nodes) for s in path.strengths]
    for strength in strengths:
        if abs(float(strength[0])) > 1e-9:
            raise ValueError(
                f"the strength of a tilt must be 0 where chains start, got {float(strength[0])} "
                f"at t = {float(nodes[0])}"
            )
    run = torch.stack([*(lam(s, nodes) for s in schedules), *strengths], 1).diff(dim=0)
    lo, hi = active
    inside = (nodes[1:] >= lo - 1e-12) & (nodes[:-1] <= hi + 1e-12)
    return torch.cat([run * inside[:, None], torch.zeros_like(run[:1])])


def _interval(
    active: tuple[float, float] | Literal["auto"],
    schedules: Sequence[Schedule],
    nodes: Tensor,
    total: float,
    eta: float,
    spreads: Sequence[float],
) -> tuple[float, float]:
    if active == "auto":
        return active_interval(schedules, nodes, total, eta, spreads)
    lo, hi = active
    if not 0 <= lo < hi <= 1:
        raise ValueError(f"active must be (lo, hi) with 0 <= lo < hi <= 1, got {active}")
    return float(lo), float(hi)


def spreads(spread: float | Sequence[float], components: int) -> list[float]:
    """The standard deviation of the data in each component; ValueError where it is none."""
    each = [float(spread)] * components if isinstance(spread, int | float) else list(spread)
    if len(each) != components or not all(0 < s < math.inf for s in each):
        raise ValueError(
            f"spread must be positive, one number or one for each of {components} components, "
            f"got {spread}"
        )
    return each
