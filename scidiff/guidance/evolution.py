"""Evolution over rounds: a pool of finished rows, whose offspring are renoised and denoised."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from typing import Any

import torch
from torch import Tensor

from scidiff.core import Renoisable, Rng, uniform
from scidiff.data.tokens import TokenState
from scidiff.guidance.certificate import Guided, Meter, found
from scidiff.guidance.distinct import contents
from scidiff.guidance.lookahead import Reward, Sight, Value
from scidiff.guidance.particles import population_size, positive
from scidiff.guidance.refine import Improve, Restarted

Key = Callable[[Any], Sequence[Hashable]]
Cross = Callable[[Any, Any, Rng], Any]
"""cross(mothers, fathers, rng) -> children, all clean states of the same number of rows."""


@torch.no_grad()
def evolve(
    sampler: Renoisable[Any],
    reward: Reward,
    x: Any,
    rng: torch.Generator,
    *,
    rounds: int,
    offspring: int,
    back: int | Sequence[int],
    populations: int = 1,
    tournament: int = 2,
    cross: Cross | None = None,
    key: Key | None = None,
    improve: Improve | None = None,
    value: Value | None = None,
) -> Guided:
    """Evolve pools of finished rows `x` (populations of equal size): in each round `offspring`
    parents a population are chosen, crossed where `cross` is given, taken `back` steps back and
    denoised again; the best distinct rows of the pool and its offspring are the next pool.

    Parents win tournaments of `tournament` rows drawn at random. The model is the mutation, so
    children stay likely under it (renoising as variation: arXiv 2410.02543). `key` maps states to
    what must differ inside a pool, by default all they hold. Returns pools, best rows first.
    """
    K = population_size(len(x), populations)
    positive("offspring", offspring)
    positive("tournament", tournament)
    lengths = (back,) if isinstance(back, int) else tuple(back)
    improve, see = improve or Improve(), Sight(sampler, reward, value)
    meter, ancestors = Meter(sampler, reward, see.value), torch.arange(len(x), device=rng.device)
    values = see.end(x)
    for i in range(rounds):
        mothers = winners(values, populations, offspring, tournament, rng)
        clean = x[mothers]
        if cross is not None:
            clean = cross(clean, x[winners(values, populations, offspring, tournament, rng)], rng)
        first = sampler.num_steps - lengths[i % len(lengths)]
        children, told = improve(Restarted(sampler, clean, first), see, rng)
        x, values = type(x).cat([x, children]), torch.cat([values, told])
        ancestors = torch.cat([ancestors, ancestors[mothers]])
        rows = survivors(values, (key or contents)(x), populations, K)
        x, values, ancestors = x[rows], values[rows], ancestors[rows]
    return found(x, values, ancestors, populations, meter.ledger(see.finished))


def winners(values: Tensor, P: int, wanted: int, tournament: int, rng: Rng) -> Tensor:
    """Rows (P wanted,) that won tournaments of rows drawn at random with replacement from their
    own population of `values` (P K,)."""
    pools = values.view(P, -1)
    K = pools.shape[1]
    drawn = (uniform((P, wanted * tournament), rng) * K).long().clamp(max=K - 1)
    entrants = pools.gather(1, drawn).view(P, wanted, tournament)
    best = drawn.view(P, wanted, tournament).gather(2, entrants.argmax(2, keepdim=True))[..., 0]
    return (best + K * torch.arange(P, device=values.device)[:, None]).flatten()


def survivors(values: Tensor, keys: Sequence[Hashable], P: int, K: int) -> Tensor:
    """Rows (P K,) of the K best distinct ones in each population, best first.

    The rows are P pools of K one after the other, then P broods of equal size. Where a population
    has fewer than K distinct rows the best doubles fill it.
    """
    brood = (len(values) - P * K) // P
    rows: list[list[int]] = [[] for _ in range(P)]
    for row in values.argsort(descending=True, stable=True).tolist():
        rows[row // K if row < P * K else (row - P * K) // brood].append(row)
    chosen = []
    for mine in rows:
        first = {keys[row]: row for row in reversed(mine)}
        distinct = [row for row in mine if first[keys[row]] == row]
        doubles = [row for row in mine if first[keys[row]] != row]
        chosen += (distinct + doubles)[:K]
    return torch.tensor(chosen, device=values.device)


def two_point(mothers: TokenState, fathers: TokenState, rng: Rng) -> TokenState:
    """Give every mother a stretch of her father's tokens at the same positions, its ends drawn at
    random: for rows whose positions mean the same (aligned sequences)."""
    B, L = mothers.ids.shape
    cuts = (uniform((B, 2), rng) * (L + 1)).long().clamp(max=L).sort(1).values
    place = torch.arange(L, device=mothers.ids.device)
    inside = (cuts[:, :1] <= place) & (place < cuts[:, 1:])
    return TokenState(
        torch.where(inside, fathers.ids, mothers.ids),
        condition=mothers.condition,
        memory=mothers.memory,
    )
