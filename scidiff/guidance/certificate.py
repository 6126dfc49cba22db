"""What a guided run hands back: weighted particles, what they cost, and whether their weights can
be trusted."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from scidiff.guidance.selection import effective_size, log_mean_exp

TRUSTWORTHY, COLLAPSED, IMPROPER = "weights trustworthy", "collapsed", "improper rule"
ENOUGH = 10.0  # effective lineages below which averages over the particles mean little


@dataclass(frozen=True)
class Ledger:
    """What a run cost."""

    network_rows: int  # rows evaluated by the network
    asked: int  # distinct objects asked, or states scored where the reward keeps no count
    cache_hits: int  # rows answered without asking
    seconds: float  # wall clock
    disk_hits: int = 0  # of the objects asked, those that a cache on disk answered

    def __str__(self) -> str:
        disk = f" ({self.disk_hits:,} from disk)" if self.disk_hits else ""
        return (
            f"{self.asked:,} objects asked{disk}, {self.cache_hits:,} cache hits, "
            f"{self.network_rows:,} network rows, {self.seconds:.1f} s"
        )


class Meter:
    """Reads the counters of network and reward before and after a run."""

    def __init__(self, sampler: Any, reward: Any, value: Any) -> None:
        self.denoiser, self.reward = getattr(sampler, "denoiser", None), reward
        self.counts_itself = hasattr(reward, "asked")
        self.asker = reward if self.counts_itself else value
        self.before, self.clock = self._read(), time.perf_counter()

    def _read(self) -> tuple[int, int, int, int]:
        rows, asked = getattr(self.denoiser, "rows", 0), getattr(self.asker, "asked", 0)
        hits, disk = (getattr(self.reward, name, 0) for name in ("cache_hits", "disk_hits"))
        return rows, asked, hits, disk

    def ledger(self, finished: int) -> Ledger:
        """Count what was used since the start; `finished` states were given to the reward."""
        rows, asked, hits, disk = (a - b for a, b in zip(self._read(), self.before, strict=True))
        asked += 0 if self.counts_itself or self.reward is None else finished
        return Ledger(rows, asked, hits, time.perf_counter() - self.clock, disk)


@dataclass(frozen=True)
class Certificate:
    """How far the weights can be trusted.

    Particles that descend from one initial particle count once: `lineages` is the effective sample
    size of the weights summed over each ancestor's descendants. Fewer than 10 of them (or half of
    the initial particles, if these are fewer than 20) is `collapsed`.
    """

    log_z: float  # log of the estimate of E[exp(strength r)]
    error: float | None  # its standard error over populations; None for one population
    distinct_ancestors: int
    lineages: float
    verdict: str

    def __str__(self) -> str:
        if self.verdict == IMPROPER:
            return (
                f"{self.verdict}: a search, its weights estimate nothing; "
                f"{self.distinct_ancestors} distinct ancestors"
            )
        error = "one population, no error" if self.error is None else f"+- {self.error:.2g}"
        return (
            f"{self.verdict}: log Z = {self.log_z:.4g} ({error}), {self.distinct_ancestors} "
            f"distinct ancestors, {self.lineages:.1f} effective lineages"
        )


@dataclass(frozen=True)
class Guided:
    """n = P K weighted particles, population by population.

    mean(exp(log_w) f(x)) estimates E[exp(strength r(x)) f(x)] under the sampler's own law.
    """

    x: Any  # the final states, n rows
    log_w: Tensor  # (n,) float64
    log_z: Tensor  # (P,) log mean weight of each population
    scores: Tensor  # (n,) last score, strength * reward where `scored`
    scored: (
        Tensor  # (n,) bool: the reward answered (or the object is invalid and scored its floor)
    )
    ancestors: Tensor  # (n,) the initial particle each one descends from
    ess: Tensor  # (S, P) effective size before each selection, in particles
    looks: tuple[int, ...]  # the S steps that were scored
    ledger: Ledger
    certificate: Certificate

    def draw(self, rng: torch.Generator) -> Tensor:
        """Draw one row of each population in proportion to its weight: index (P,) into the n
        rows."""
        P = len(self.log_z)
        inside = torch.multinomial(self.log_w.view(P, -1).softmax(-1), 1, generator=rng)[:, 0]
        return inside + torch.arange(P, device=inside.device) * (len(self.log_w) // P)


def certify(log_w: Tensor, ancestors: Tensor, proper: bool) -> Certificate:
    """Judge final weights (P, K) of particles that descend from `ancestors` (P, K)."""
    n = log_w.numel()
    z = (log_mean_exp(log_w) - log_w.max()).exp()
    error = float(z.std() / z.mean() / math.sqrt(len(z))) if len(z) > 1 else None
    lines, line = ancestors.flatten().unique(return_inverse=True)
    shares = torch.zeros(len(lines), dtype=log_w.dtype, device=log_w.device)
    shares.index_add_(0, line, log_w.flatten().softmax(0))
    lineages = float(effective_size(shares.log()))
    verdict = TRUSTWORTHY if lineages >= min(ENOUGH, n / 2) else COLLAPSED
    return Certificate(
        float(log_mean_exp(log_w.flatten())),
        error,
        len(lines),
        lineages,
        verdict if proper else IMPROPER,
    )


def found(
    x: Any, values: Tensor, ancestors: Tensor, populations: int, ledger: Ledger
) -> Guided:
    """Hand back what a search found: rows without weights, marked improper.

    values (n,) are in the reward's units, -inf where a row has none: it is then not `scored`.
    """
    scored = values > -torch.inf
    log_w = torch.zeros(len(values), dtype=torch.float64, device=values.device)
    shape = (populations, -1)
    return Guided(
        x, log_w, log_w.view(shape)[:, 0], values.masked_fill(~scored, 0.0), scored, ancestors,
        ess=log_w.new_zeros(0, populations), looks=(), ledger=ledger,
        certificate=certify(log_w.view(shape), ancestors.view(shape), proper=False),
    )  # fmt: skip


def merged(parts: Sequence[Guided], proper: bool) -> Guided:
    """Put runs with different populations of one size together as one run."""
    if len(parts) == 1:
        return parts[0]
    started = (max(len(p.log_w), int(p.ancestors.max()) + 1) for p in parts[:-1])
    sizes = torch.tensor([0, *started]).cumsum(0).tolist()
    ancestors = torch.cat([p.ancestors + start for p, start in zip(parts, sizes, strict=True)])
    log_w, log_z = torch.cat([p.log_w for p in parts]), torch.cat([p.log_z for p in parts])
    shape = (len(log_z), -1)
    costs = [vars(p.ledger) for p in parts]
    return Guided(
        type(parts[0].x).cat([p.x for p in parts]),
        log_w,
        log_z,
        torch.cat([p.scores for p in parts]),
        torch.cat([p.scored for p in parts]),
        ancestors,
        torch.cat([p.ess for p in parts], 1),
        parts[0].looks,
        Ledger(**{name: sum(c[name] for c in costs) for name in costs[0]}),
        certify(log_w.view(shape), ancestors.view(shape), proper),
    )
