"""Write a row of continuous items block by block, each block by any solver of the Gaussian engine.

One block is plain diffusion, blocks of one item are autoregression with a diffusion head, and
items that set out one after another within a block are asynchronous diffusion: a front of times
that never decrease along the row moves from noise to data.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import accumulate, pairwise
from typing import Protocol

import torch
from torch import Tensor

from scidiff.core import Rng
from scidiff.processes.continuous_blocks import Items, levels
from scidiff.processes.gaussian import Component
from scidiff.samplers.schemes import make_scheme
from scidiff.samplers.tables import Scheme

# ---------------------------------------------------------------- the front


@dataclass(frozen=True)
class Front:
    """What every item of a row does in every step: at place k an item is at times[k] and moves by
    rows[k], x <- a x + sum_j w_j D_j + b z."""

    times: Tensor  # (K + 1, L) float64, not decreasing along the row, not increasing in k
    rows: Tensor  # (K, L, J + 2) columns a, w_0 .. w_J-1, b
    window: tuple[tuple[int, int], ...]  # the block at work in each step: first item, end

    @property
    def stochastic(self) -> bool:
        """Whether any row draws noise."""
        return bool((self.rows[..., -1] != 0).any())


def make_front(
    component: Component,
    sizes: Sequence[int],
    steps: int | Sequence[int],
    *,
    lag: int = 0,
    solver: str | None = None,
    eta: float = 1.0,
    rho: float = 1.0,
    times: str | None = None,
) -> Front:
    """The front of blocks of these sizes, each in as many steps (one number, or one a block).

    Within a block an item sets out `lag` rows behind the one before it: 0 keeps them together,
    more is the adaptive difference of Sun et al. 2025 (arXiv 2503.07418). A block ends on its
    clean guess, one more row. The rest as in `GaussianSampler`; times is the name of a grid.
    """
    many = [steps] * len(sizes) if isinstance(steps, int) else list(steps)
    if len(many) != len(sizes) or min(sizes, default=0) < 1 or lag < 0:
        raise ValueError(
            f"expected steps of each of {len(sizes)} blocks of at least 1 item and a lag of 0 or "
            f"more, got sizes {list(sizes)}, steps {many} and lag {lag}"
        )
    schedule, L = component.schedule, sum(sizes)
    own = [make_scheme(solver, [schedule], s, eta, rho, times) for s in many]
    each = [len(s.times) + lag * (n - 1) for s, n in zip(own, sizes, strict=True)]
    edges, starts = ([0, *accumulate(part)] for part in (sizes, each))
    still = own[0].tables[0].stacked()[:1] * 0
    still[:, 0] = 1
    rows = still.repeat(starts[-1], L, 1)
    at = torch.ones(starts[-1] + 1, L, dtype=torch.float64)
    for scheme, lo, hi, k in zip(own, edges, edges[1:], starts, strict=False):
        path, moves = _to_data(scheme)
        for item in range(lo, hi):
            begin = k + lag * (item - lo)
            rows[begin : begin + len(moves), item] = moves
            at[: begin + 1, item] = path[0]
            at[begin : begin + len(path), item] = path
            at[begin + len(path) :, item] = 0
    blocks = zip(pairwise(edges), each, strict=True)
    return Front(at, rows, tuple(block for block, count in blocks for _ in range(count)))


def _to_data(scheme: Scheme) -> tuple[Tensor, Tensor]:
    """Times and rows of one item, with the row that puts it on its clean guess."""
    jump = scheme.tables[0].stacked()[:1] * 0
    jump[:, 1] = 1
    path = torch.cat([scheme.times, scheme.times.new_zeros(1)])
    return path, torch.cat([scheme.tables[0].stacked(), jump])


# ---------------------------------------------------------------- the sampler


class ItemBlockDenoiser(Protocol):
    """A network with its noise: guesses of one block, told the clean ones before it."""

    component: Component

    def begin(self, x: Items) -> Items:
        """Say of the tokens what is said once, and make room for what is kept."""
        ...

    def open(self, x: Items, lo: int, hi: int) -> Items:
        """Get ready for the block lo .. hi; those before it are kept."""
        ...

    def __call__(self, x: Items, t: Tensor, lo: int, hi: int) -> Tensor:
        """Clean guesses of the items lo .. hi (B, hi - lo, F), at times t (L,); what is before
        lo is clean, what is behind hi is not read."""
        ...

    def keep(self, x: Items, lo: int, hi: int) -> Items:
        """Take the items lo .. hi, clean now, for the blocks behind them."""
        ...


class ContinuousBlockSampler:
    """Move a front over rows of items, one network evaluation of one block a step.

    canvas: (n, rng) -> rows whose tokens and masks are given and whose features are blank. With a
    single block it draws what `GaussianSampler` draws under the same seed.
    """

    def __init__(
        self,
        denoiser: ItemBlockDenoiser,
        canvas: Callable[[int, Rng], Items],
        front: Front,
        device: torch.device | str = "cpu",
    ) -> None:
        self.denoiser, self.canvas = denoiser, canvas
        self.num_steps, self.stochastic = len(front.rows), front.stochastic
        self.history, self.window = front.rows.shape[-1] - 2, front.window
        still = torch.zeros_like(front.rows[:1])
        still[..., 0] = 1  # a finished row stays where it is
        self.rows = torch.cat([front.rows, still]).to(device)
        self.times = torch.cat([front.times, front.times[-1:]]).to(device)

    @property
    def evaluated(self) -> int:
        """Items that a row asks the network about in a whole run."""
        return sum(hi - lo for lo, hi in self.window)

    def init(self, n: int, rng: Rng) -> Items:
        """Draw n rows from the prior of every item."""
        return self.start(self.canvas(n, rng), rng)

    def start(self, x: Items, rng: Rng) -> Items:
        """Draw the prior of every item of blank rows whose tokens are given, and evaluate."""
        x = self.denoiser.begin(self._fitting(x))
        component = self.denoiser.component
        z = component.noise(x.features, x.mask, rng)
        return self.arrive(x.moved((component.schedule.prior_std * z,)), 0)

    def blank(self, x: Items) -> Items:
        """Rows that wait for `start`, with all that a chain keeps: they can be stacked with its
        rows."""
        x = self.denoiser.begin(self._fitting(x))
        return x.moved(x.parts, ((torch.zeros_like(x.features),),) * self.history)

    def step(self, x: Items, k: int | Tensor, rng: Rng) -> Items:
        """x <- a x + sum_j w_j D_j + b z, item by item, then one evaluation at the new place."""
        a, *weights, b = (self.rows[k].to(x.features)[..., j, None] for j in range(self._columns))
        moved = a * x.features
        for weight, (guess,) in zip(weights, x.guesses, strict=True):
            moved = moved + weight * guess
        if self.stochastic:
            z = self.denoiser.component.noise(x.features, x.mask, rng)
            moved = moved + b * z
        return self.arrive(x.moved((moved,), x.guesses), k + 1)

    def predict_clean(self, x: Items, k: int | Tensor, rng: Rng) -> Items:
        """Put finished items and the block at work on what is known of them, those behind it on
        zero, the mean of the data. Draws nothing."""
        if isinstance(k, int):
            return x if k == self.num_steps else x.moved(x.guesses[0], x.guesses)
        ended = (k == self.num_steps).reshape(-1, 1, 1)
        return x.moved((torch.where(ended, x.features, x.guesses[0][0]),), x.guesses)

    def renoise(self, clean: Items, k: int, rng: Rng) -> Items:
        """Draw the row at place k given clean features, and evaluate the network there."""
        if k == self.num_steps:
            return clean
        a, sigma = levels(self.denoiser.component, self.times[k], clean.features)
        z = self.denoiser.component.noise(clean.features, clean.mask, rng)
        done = (self.times[k] == 0)[:, None]  # a schedule may leave some noise at t = 0
        features = torch.where(done, clean.features, a * clean.features + sigma * z)
        x = self.denoiser.begin(replace(clean, guesses=()))
        x = x.moved((features,), ((clean.features * done,),) * self.history)
        for lo, hi in dict.fromkeys(self.window[:k]):
            if hi <= self.window[k][0]:
                x = self.denoiser.keep(x, lo, hi)
        x = x if self._fresh(k) else self.denoiser.open(x, *self.window[k])
        x = self._ask(x, k)
        past = tuple((_put(old, x.guesses[0][0], *self.window[k]),) for (old,) in x.guesses)
        return x.moved(x.parts, past)  # a chain without a past repeats its guess: first order

    def arrive(self, x: Items, k: int | Tensor) -> Items:
        """Take the block that has just ended, if one has, and ask about the one at work."""
        if isinstance(k, Tensor):
            return self._arrive_apart(x, k)
        if k == self.num_steps:
            return x
        if k and self._fresh(k):
            x = self.denoiser.keep(x, *self.window[k - 1])
        return self._ask(x, k)

    @property
    def _columns(self) -> int:
        return self.history + 2

    def _ask(self, x: Items, k: int) -> Items:
        lo, hi = self.window[k]
        x = self.denoiser.open(x, lo, hi) if self._fresh(k) else x
        past = x.guesses if x.guesses else ((torch.zeros_like(x.features),),) * self.history
        said = self.denoiser(x, self.times[k], lo, hi) * x.mask[:, lo:hi, None]
        arrived = (self.times[k, lo:hi] == 0)[:, None]  # before the others of its block
        newest = past[0][0].clone()
        newest[:, lo:hi] = torch.where(arrived, x.features[:, lo:hi], said)
        return x.moved(x.parts, ((newest,), *past[: self.history - 1]))

    def _fresh(self, k: int) -> bool:
        return k == 0 or self.window[k] != self.window[k - 1]

    def _arrive_apart(self, x: Items, k: Tensor) -> Items:
        """Rows at different places are at different blocks: ask each place apart."""
        found, order = [], []
        for place in k.unique().tolist():
            rows = (k == place).nonzero()[:, 0]
            found.append(self.arrive(x[rows], min(place, self.num_steps)))
            order.append(rows)
        return Items.cat(found)[torch.cat(order).argsort()]

    def _fitting(self, x: Items) -> Items:
        L = self.rows.shape[1]
        if x.features.shape[1] != L:
            raise ValueError(f"the front is over {L} items, got rows of {x.features.shape[1]}")
        return x


def _put(old: Tensor, new: Tensor, lo: int, hi: int) -> Tensor:
    out = old.clone()
    out[:, lo:hi] = new[:, lo:hi]
    return out
