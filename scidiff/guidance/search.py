"""Loops that search without weights: over the noise of a run, over paths, under a budget a step,
by halving.

What they return is marked improper: no average over it estimates anything, the best rows are the
answer. n rows are `populations` searches that never see each other.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

import torch
from torch import Tensor

from scidiff.core import Renoisable, Rng, Sampler, Shared, Stacked, Tape, normal
from scidiff.guidance.certificate import Guided, Meter, found
from scidiff.guidance.lookahead import Reward, Sight, Value
from scidiff.guidance.particles import population_size, positive, sample
from scidiff.guidance.refine import check_goes_back

# ---------------------------------------------------------------- neighbours of a noise tape

Move = Callable[[Tape, torch.Generator], Tape]
"""move(tape, rng) -> a tape of the same law near it."""

_ALMOST_ONE = 1 - 2.0**-24  # the largest float32 below 1


@dataclass(frozen=True)
class Blended:
    """y = (z + distance u) / sqrt(1 + distance^2) of every normal z with a fresh u (Ma et al.
    2025, arXiv 2501.09732, zero-order search); uniforms move by the same rule on their normal
    quantiles, so that one distance serves continuous and discrete samplers."""

    distance: float = 0.3

    def __call__(self, tape: Tape, rng: torch.Generator) -> Tape:
        return Tape(rng, [(kind, self._moved(kind, draw, rng)) for kind, draw in tape.draws])

    def _moved(self, kind: str, draw: Tensor, rng: torch.Generator) -> Tensor:
        fresh = normal(draw.shape, rng)
        if kind == "normal":
            return self._blend(draw, fresh)
        z = self._blend(torch.special.ndtri(draw.double()), fresh.double())
        return torch.special.ndtr(z).clamp(max=_ALMOST_ONE).to(draw)

    def _blend(self, z: Tensor, fresh: Tensor) -> Tensor:
        return (z + self.distance * fresh) / math.sqrt(1 + self.distance**2)


@dataclass(frozen=True)
class Redrawn:
    """Every number of the tape anew with probability `fraction`; 1 is random search."""

    fraction: float = 0.2

    def __call__(self, tape: Tape, rng: torch.Generator) -> Tape:
        return tape.redraw(self.fraction, rng)


@torch.no_grad()
def noise_search(
    sampler: Sampler[Any],
    reward: Reward,
    n: int,
    rng: torch.Generator,
    *,
    rounds: int = 8,
    neighbours: int = 4,
    move: Move | None = None,
) -> Guided:
    """Search over the noise of whole runs: n pivots, of each `neighbours` tapes a round, the best
    of pivot and neighbours is the next pivot (zero-order search of Ma et al. 2025).

    The tape holds every draw of the run, so stochastic and discrete samplers are searched as
    deterministic ones are. Costs n (1 + rounds * neighbours) runs and as many questions.
    """
    positive("neighbours", neighbours)
    see, move = Sight(sampler, reward), move or Blended()
    meter, tape = Meter(sampler, reward, see.value), Tape(rng)
    x = sample(sampler, n, tape)
    best, rows = see.end(x), torch.arange(n, device=rng.device)
    for _ in range(rounds):
        near = move(tape.rewind()[rows.repeat_interleave(neighbours)], rng)
        others = sample(sampler, n * neighbours, near)
        tried = see.end(others).view(n, neighbours)
        best, j = torch.cat([best[:, None].to(tried), tried], 1).max(1)
        index = torch.where(j == 0, rows, n + rows * neighbours + j - 1)
        x = type(x).cat([x, others])[index]
        tape = _joined(tape, near)[index]
    return found(x, best, rows, n, meter.ledger(see.finished))


def _joined(one: Tape, other: Tape) -> Tape:
    pairs = zip(one.draws, other.draws, strict=True)
    return Tape(one.generator, [(kind, torch.cat([a, b])) for (kind, a), (_, b) in pairs])


# ---------------------------------------------------------------- paths


@torch.no_grad()
def path_search(
    sampler: Renoisable[Any],
    reward: Reward,
    n: int,
    rng: Rng,
    *,
    start: int,
    back: int,
    forward: int,
    branch: int = 4,
    populations: int = 1,
    value: Value | None = None,
) -> Guided:
    """Search over paths: from step `start` on, `branch` copies of every row are renoised `back`
    steps and denoised `forward` > back steps; the best K of a population's K * branch go on
    (Ma et al. 2025, arXiv 2501.09732).

    Renoising starts from a draw of the clean guess, which is what a `Renoisable` sampler offers.
    """
    check_goes_back(sampler)
    P, K = populations, population_size(n, populations)
    positive("branch", branch)
    if not 0 <= start < sampler.num_steps or not 0 < back < forward:
        raise ValueError(
            f"paths need 0 <= start < num_steps = {sampler.num_steps} and 0 < back < forward, "
            f"got start={start}, back={back}, forward={forward}"
        )
    see = Sight(sampler, reward, value, spare=n * branch)
    meter, ancestors = Meter(sampler, reward, see.value), torch.arange(n, device=rng.device)
    x, k = _walked(sampler, sampler.init(n, rng), 0, start, rng), start
    values = None
    while k < sampler.num_steps:
        candidates = torch.arange(n, device=rng.device).repeat_interleave(branch)
        low, high = max(k - back, 0), min(max(k - back, 0) + forward, sampler.num_steps)
        x = sampler.renoise(sampler.predict_clean(x[candidates], k, rng), low, rng)
        x, k = _walked(sampler, x, low, high, rng), high
        values = see(x, k, rng)
        keep = best_of(values, P, K)
        x, ancestors, values = x[keep], ancestors[candidates[keep]], values[keep]
    assert values is not None  # start < num_steps: the loop has run
    return found(x, values, ancestors, P, meter.ledger(see.finished))


def _walked(sampler: Sampler[Any], x: Any, low: int, high: int, rng: Rng) -> Any:
    for k in range(low, high):
        x = sampler.step(x, k, rng)
    return x


# ---------------------------------------------------------------- rollover budget forcing


@torch.no_grad()
def rollover(
    sampler: Sampler[Any],
    reward: Reward,
    n: int,
    rng: Rng,
    *,
    quota: int = 4,
    value: Value | None = None,
) -> Guided:
    """Rollover budget forcing (Kim et al. 2025, arXiv 2503.19385): each row tries up to `quota`
    next steps and takes the first whose value beats every one it has taken; what it then has left
    is added to its next quota. If none does, it takes the best it tried.

    Every row has its own clock, so k is (B,). At most n * quota * num_steps values are asked.
    """
    positive("n", n)
    positive("quota", quota)
    see, T = Sight(sampler, reward, value, spare=n), sampler.num_steps
    meter, device = Meter(sampler, reward, see.value), rng.device
    x = champion = sampler.init(n, rng)
    clock = torch.zeros(n, dtype=torch.int64, device=device)
    best, left = see(x, 0, rng), torch.full_like(clock, quota)
    tried = torch.full_like(best, -torch.inf)  # value of the champion, the best tried here
    fresh = torch.ones_like(clock, dtype=torch.bool)  # nothing has been tried here
    ended = torch.full_like(best, -torch.inf)
    while len(rows := (clock < T).nonzero()[:, 0]):
        candidate = sampler.step(x[rows], clock[rows], rng)
        told = see(candidate, clock[rows] + 1, rng)
        left[rows] -= 1
        better = fresh[rows] | (told > tried[rows])
        champion = _written(champion, candidate, rows, better)
        tried[rows], fresh[rows] = torch.where(better, told, tried[rows]), False
        beaten = told > best[rows]
        taken = rows[beaten | (left[rows] == 0)]
        x = _written(x, champion[taken], taken, torch.ones_like(taken, dtype=torch.bool))
        left[taken] = quota + left[taken]
        clock[taken] += 1
        ended[taken], best[taken] = tried[taken], torch.maximum(best[taken], tried[taken])
        fresh[taken] = True
    return found(x, ended, torch.arange(n, device=device), n, meter.ledger(see.finished))


def _written(x: Any, part: Any, rows: Tensor, where: Tensor) -> Any:
    """x with its `rows` (M,) replaced by those of `part` (M rows) where `where` (M,)."""
    index = torch.arange(len(x), device=rows.device)
    index[rows] = torch.where(where, len(x) + torch.arange(len(rows), device=rows.device), rows)
    return _own(type(x).cat([x, part])[index])


def _own(leaf: Any) -> Any:
    """Give every row its own entry of what is shared, or the tables would grow with each cat."""
    if isinstance(leaf, Shared):
        return Shared(leaf.dense())
    if isinstance(leaf, tuple):
        return tuple(_own(part) for part in leaf)
    if isinstance(leaf, Stacked):
        return replace(leaf, **{f.name: _own(getattr(leaf, f.name)) for f in fields(leaf)})
    return leaf


# ---------------------------------------------------------------- halving


@torch.no_grad()
def successive_halving(
    sampler: Sampler[Any],
    reward: Reward,
    n: int,
    rng: Rng,
    *,
    rungs: Sequence[int],
    keep: float = 0.5,
    populations: int = 1,
    value: Value | None = None,
) -> Guided:
    """Start n rows and go on with the best share `keep` of each population after every step in
    `rungs` (successive halving, Jamieson and Talwalkar 2016, over denoising steps): best-of-n
    that stops asking for rows which look poor.

    What is returned holds the rows that are left, at least one a population.
    """
    P, K = populations, population_size(n, populations)
    if not 0 < keep < 1 or any(not 0 < k < sampler.num_steps for k in rungs):
        raise ValueError(
            f"halving needs 0 < keep < 1 and rungs in 1 .. {sampler.num_steps - 1}, "
            f"got keep={keep} and rungs={tuple(rungs)}"
        )
    left = K
    for _ in set(rungs):
        left = math.ceil(keep * left)
    see = Sight(sampler, reward, value, spare=P * left)
    meter, ancestors = Meter(sampler, reward, see.value), torch.arange(n, device=rng.device)
    x = sampler.init(n, rng)
    for k in range(sampler.num_steps):
        x = sampler.step(x, k, rng)
        if k + 1 in rungs:
            K = math.ceil(keep * K)
            rows = best_of(see(x, k + 1, rng), P, K)
            x, ancestors = x[rows], ancestors[rows]
    return found(x, see.end(x), ancestors, P, meter.ledger(see.finished))


# ---------------------------------------------------------------- shared by the searches


def best_of(values: Tensor, P: int, K: int) -> Tensor:
    """Rows (P K,) of the K largest values (N,) in each of P equal populations, best first."""
    inside = values.view(P, -1).topk(K, dim=1).indices
    start = torch.arange(P, device=values.device)[:, None] * (len(values) // P)
    return (inside + start).flatten()
