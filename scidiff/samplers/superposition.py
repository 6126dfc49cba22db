"""Superposition of denoisers: what any of them would draw (OR), or what all find equally likely
(AND), by following their densities along the chain (SuperDiff, Skreta et al. 2025, arXiv
2412.17762)."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Generic, Literal, TypeVar

import torch
from torch import Tensor

from scidiff.core import Rng
from scidiff.processes.gaussian import (
    Continuous,
    ContinuousDenoiser,
    Parts,
    per_row,
)
from scidiff.processes.schedules import Schedule, alpha, lam
from scidiff.samplers.feynman_kac import spreads
from scidiff.samplers.grids import make_nodes
from scidiff.samplers.tables import Table, multistep_table
from scidiff.samplers.tempered import same_components
from scidiff.samplers.weighed import Weighed, free_entries, summed

X = TypeVar("X", bound=Continuous)

_STEEPEST = 20.0  # largest share of a denoiser, either way
_APART = 1e-8  # nats a step by which guesses must differ to be told apart


class Superposition(Generic[X]):
    """Draw x_s from N(a x + w sum_i kappa_i D_i, b^2), the ancestral row of the mixed guess.

    Each row knows log q_i of every denoiser: Bayes' rule for one step,

        log q_i(x_s) = log q_i(x_t) + log p_i(x_s | x_t) - log q(x_t | x_s),

    with p_i the ancestral kernel of denoiser i and q the forward one. In the limit of short steps
    this is the Ito estimator of the paper (theorem 1): no divergence is needed, whatever kappa
    was, and the error falls as the square root of the step. It is exact where the data are
    Gaussian of standard deviation `spread`, one for all or one a component. `log_densities` reads
    it.

    how: "or" takes kappa = softmax(temperature log q + bias), which draws from the mixture of all;
    "and" takes the kappa with sum 1 at which all log q_i are the same after the step, which is
    linear in kappa, given the noise. Where guesses agree kappa is 1 / M. "and" needs at least 2
    free coordinates: in one, the mixing cancels the noise.

    A finished row is not taken back to an earlier step: what its densities are there is known
    from following them alone, so there is no `renoise`.

    times: nodes or the name of a grid. denoise: end on the mixed guess; log q stays that of the
    last node. ValueError: fewer than two denoisers, an unknown `how`, lengths that differ, a
    spread that is not positive.
    """

    stochastic = True

    def __init__(
        self,
        denoisers: Sequence[ContinuousDenoiser[X]],
        canvas: Callable[[int, Rng], X],
        *,
        steps: int,
        how: Literal["or", "and"] = "or",
        temperature: float = 1.0,
        bias: Sequence[float] | None = None,
        spread: float | Sequence[float] = 1.0,
        times: str | Tensor | Sequence[float] = "lambda",
        denoise: bool = True,
        device: torch.device | str = "cpu",
    ) -> None:
        bias = [0.0] * len(denoisers) if bias is None else bias
        _check(denoisers, how, bias)
        self.denoiser, self.canvas, self.num_steps = Together(denoisers), canvas, steps
        self.how, self.temperature, self.denoise = how, temperature, denoise
        self.bias = torch.tensor(bias, dtype=torch.float64, device=device)
        self.components = self.denoiser.components
        schedules = [c.schedule for c in self.components]
        nodes = make_nodes(times, schedules, steps)
        self.times = torch.cat([nodes, nodes[-1:]]).to(device)
        widths = spreads(spread, len(schedules))
        made = [ancestral_table(s, nodes, w) for s, w in zip(schedules, widths, strict=True)]
        self.tables = tuple(table.finished().stacked().to(device) for table in made)
        back = [_forward(s, nodes, t) for s, t in zip(schedules, made, strict=True)]
        self.forward = torch.stack(back).to(device)

    def init(self, n: int, rng: Rng) -> Weighed[X]:
        """Draw n particles from the prior, where all log q_i are its own."""
        blank = self.canvas(n, rng)
        parts = tuple(
            c.schedule.prior_std * c.noise(part, blank.mask, rng)
            for c, part in zip(self.components, blank.parts, strict=True)
        )
        entries, counts = free_entries(self.components, blank)
        log_q = self._prior(parts, entries, counts)
        start = log_q[:, None].expand(-1, len(self.denoiser.denoisers))
        return self._arrive(Weighed(blank.moved(parts)), 0, (entries, counts, start))

    def step(self, x: Weighed[X], k: int | Tensor, rng: Rng) -> Weighed[X]:
        """Choose the shares, move, follow the densities, and evaluate all at the new place."""
        noise = tuple(
            c.noise(part, x.mask, rng) for c, part in zip(self.components, x.parts, strict=True)
        )
        entries, counts, log_q = x.memory
        share = self.or_shares(log_q) if self.how == "or" else self._and_shares(x, k, noise)
        guess = _mixed(x.guesses[1:], share)
        rows = [self._columns(c, k, part) for c, part in enumerate(x.parts)]
        moved = tuple(
            a * part + w * d + b * z
            for (a, w, b), part, d, z in zip(rows, x.parts, guess, noise, strict=True)
        )
        log_q = self._followed(x, k, moved, log_q)
        y = self._arrive(x.moved(moved), k + 1, (entries, counts, log_q))
        return self._ended(y, k + 1) if self.denoise else y

    def predict_clean(self, x: Weighed[X], k: int | Tensor, rng: Rng) -> Weighed[X]:
        """Put the particles on the mixed guess; at k = num_steps return x. Draws nothing."""
        if isinstance(k, int):
            return x if k == self.num_steps else x.moved(x.guesses[0], x.guesses)
        return _placed(x, k != self.num_steps)

    def log_densities(self, x: Weighed[X]) -> Tensor:
        """log q_i of every denoiser where the row is (B, M), in its free coordinates."""
        return x.memory[2]

    def or_shares(self, log_q: Tensor) -> Tensor:
        """softmax(temperature log q + bias), (B, M)."""
        return (self.temperature * log_q + self.bias).softmax(-1)

    def _and_shares(self, x: Weighed[X], k: int | Tensor, noise: Parts) -> Tensor:
        """Shares (B, M) at which log q_i + log p_i(x_s | x_t) is the same for all i.

        With gaps d_i = w (D_i - D_M) / b it says, for i < M: sum_j kappa_j <d_j, d_i> = |d_i|^2 /
        2 - <z, d_i> - (log q_i - log q_M).
        """
        entries, _, log_q = x.memory
        *others, last = x.guesses[1:]
        gaps = [self._gap(guess, last, x.parts, k) for guess in others]
        gram = torch.stack([torch.stack([_dot(a, b, entries) for b in gaps], 1) for a in gaps], 1)
        power = gram.diagonal(dim1=1, dim2=2)
        drawn = torch.stack([_dot(noise, gap, entries) for gap in gaps], 1)
        wanted = power / 2 - drawn - (log_q[:, :-1] - log_q[:, -1:])
        ridge = 1e-9 * power.mean(1) + 1e-30
        system = gram + ridge[:, None, None] * torch.eye(len(gaps), device=gram.device)
        some = torch.linalg.solve_ex(system, wanted[..., None]).result[..., 0]
        some = some.clamp(-_STEEPEST, _STEEPEST)
        shares = torch.cat([some, 1 - some.sum(1, keepdim=True)], 1)
        return torch.where((power.amax(1) > _APART)[:, None], shares, 1 / shares.shape[1])

    def _gap(self, guess: Parts, last: Parts, parts: Parts, k: int | Tensor) -> Parts:
        rows = [self._columns(c, k, part) for c, part in enumerate(parts)]
        return tuple(
            torch.where(b > 0, w / torch.where(b > 0, b, 1), 0) * (d - e)
            for (_, w, b), d, e in zip(rows, guess, last, strict=True)
        )

    def _followed(self, x: Weighed[X], k: int | Tensor, moved: Parts, log_q: Tensor) -> Tensor:
        """log q_i after the step (B, M); a finished row keeps its own."""
        entries, counts, _ = x.memory
        gained = []
        for guess in x.guesses[1:]:
            each = tuple(
                self._bayes(c, k, part, new, d)
                for c, (part, new, d) in enumerate(zip(x.parts, moved, guess, strict=True))
            )
            gained.append(summed(each, entries).sum(1))
        grown = (counts * self.forward[:, k, 2].reshape(len(self.components), -1).T).sum(1)
        return log_q + torch.stack(gained, 1) + grown[:, None]

    def _bayes(self, c: int, k: int | Tensor, part: Tensor, new: Tensor, guess: Tensor) -> Tensor:
        """log p_i(x_s | x_t) - log q(x_t | x_s), entry by entry, without the part that the free
        coordinates are counted for."""
        a, w, b = self._columns(c, k, part)
        back, spread, _ = (per_row(v, part) for v in self.forward[c, k].unbind(-1))
        still = b == 0
        drawn = ((new - a * part - w * guess) / torch.where(still, 1, b)).square()
        undone = ((part - back * new) / torch.where(still, 1, spread)).square()
        return torch.where(still, 0, undone - drawn) / 2

    def _columns(self, c: int, k: int | Tensor, part: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        a, w, b = (per_row(column, part) for column in self.tables[c][k].unbind(-1))
        return a, w, b

    def _prior(self, parts: Parts, entries: Tensor, counts: Tensor) -> Tensor:
        """log N(x; 0, prior_std^2) over the free coordinates (B,)."""
        total = torch.zeros(len(counts), dtype=torch.float64, device=counts.device)
        squares = summed(tuple(part.square() for part in parts), entries)
        for c, component in enumerate(self.components):
            variance = component.schedule.prior_std**2
            size = counts[:, c] * math.log(2 * math.pi * variance)
            total = total - (squares[:, c] / variance + size) / 2
        return total

    def _arrive(self, x: Weighed[X], k: int | Tensor, memory: tuple[Tensor, ...]) -> Weighed[X]:
        guesses = self.denoiser.each(x.state, self.times[k])
        shares = self.or_shares(memory[2])
        if self.how == "and":
            shares = torch.full_like(shares, 1 / shares.shape[1])
        return x.moved(x.parts, (_mixed(guesses, shares), *guesses)).keeping(memory)

    def _ended(self, x: Weighed[X], k: int | Tensor) -> Weighed[X]:
        if isinstance(k, int):
            return x.moved(x.guesses[0], x.guesses) if k == self.num_steps else x
        return _placed(x, k == self.num_steps)


class Together(Generic[X]):
    """Several denoisers of the same components, asked at the same place."""

    def __init__(self, denoisers: Sequence[ContinuousDenoiser[X]]) -> None:
        self.denoisers, self.components = tuple(denoisers), same_components(denoisers)

    @property
    def rows(self) -> int:
        """Network rows evaluated so far, by all; a denoiser that comes twice counts once."""
        return sum(d.rows for d in {id(d): d for d in self.denoisers}.values())

    def each(self, x: X, t: Tensor) -> tuple[Parts, ...]:
        """The clean guesses of all."""
        return tuple(denoiser(x, t) for denoiser in self.denoisers)


def ancestral_table(schedule: Schedule, times: Tensor, spread: float) -> Table:
    """Ancestral rows whose noise has the variance of q(x_s | x_t), which is that of q(x_s | x_t,
    x0) and w^2 Var(x0 | x_t) (Bao et al. 2022, arXiv 2201.06503, theorem 1), for data of variance
    spread^2 about their mean."""
    plain, value = multistep_table(1, schedule, times, 1.0, 1.0), lam(schedule, times[:-1])
    unknown = 1 / ((2 * value).exp() + 1 / spread**2)  # Var(x0 | x_t)
    b = (plain.b**2 + plain.w[:, 0] ** 2 * unknown).sqrt()
    return Table(plain.a, plain.w, b)


def _forward(schedule: Schedule, times: Tensor, table: Table) -> Tensor:
    """How each step looks backwards, x_t = r x_s + sqrt(v) z: r, sqrt(v) and log(sqrt(v) / b) of
    the step's own b; the last row is that of finished particles, (K + 1, 3)."""
    level, sigma = alpha(schedule, times), schedule.sigma(times)
    spread = sigma[:-1] * (-torch.expm1(-2 * lam(schedule, times).diff())).sqrt()
    rows = torch.stack([level[:-1] / level[1:], spread, (spread / table.b).log()], 1)
    return torch.cat([rows, rows.new_tensor([[1.0, 1.0, 0.0]])])


def _mixed(guesses: Sequence[Parts], shares: Tensor) -> Parts:
    """sum_i kappa_i D_i of every component."""
    parts = []
    for each in zip(*guesses, strict=True):
        terms = [per_row(k, d) * d for k, d in zip(shares.unbind(1), each, strict=True)]
        parts.append(torch.stack(terms).sum(0))
    return tuple(parts)


def _dot(a: Parts, b: Parts, entries: Tensor) -> Tensor:
    """<a, b> over free coordinates (B,)."""
    products = tuple(u * v for u, v in zip(a, b, strict=True))
    return summed(products, entries).sum(1)


def _placed(x: Weighed[X], there: Tensor) -> Weighed[X]:
    """Put the rows that are `there` (B,) on their mixed guess."""
    parts = tuple(
        torch.where(per_row(there, part).bool(), guess, part)
        for guess, part in zip(x.guesses[0], x.parts, strict=True)
    )
    return x.moved(parts, x.guesses)


def _check(denoisers: Sequence[object], how: str, bias: Sequence[float]) -> None:
    if len(denoisers) < 2:
        raise ValueError(f"a superposition takes at least two denoisers, got {len(denoisers)}")
    if how not in ("or", "and"):
        raise ValueError(f"how must be 'or' or 'and', got {how!r}")
    if len(bias) != len(denoisers):
        raise ValueError(
            f"bias must be one number for each of {len(denoisers)} denoisers, got {len(bias)}"
        )
