"""Campaigns: rounds of any strategy under one budget, each a fixed function of what came before.

A round follows from (seed, its number, the pool, what the strategy has learned) and from nothing
else, so a campaign that is cut between two rounds, or that repeats the round in which it was
killed, ends with the same objects for a deterministic reward.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Protocol

import torch
from torch import Tensor

from scidiff.core import Sampler
from scidiff.data.records import Record
from scidiff.guidance.certificate import Guided, Ledger
from scidiff.guidance.chunks import in_chunks
from scidiff.guidance.lookahead import Decoded
from scidiff.guidance.pool import Pool

TOP = 10  # objects whose mean says how far a campaign has come


@dataclass(frozen=True)
class Limits:
    """What a campaign may spend: distinct objects asked, network rows, seconds. None: no limit.

    Objects are a hard limit. Rows and seconds are looked at between rounds.
    """

    calls: int | None = None
    rows: int | None = None
    seconds: float | None = None

    def __post_init__(self) -> None:
        for name, limit in asdict(self).items():
            if limit is not None and not limit > 0:
                raise ValueError(f"a campaign's limit of {name} must be positive, got {limit}")

    def reached(self, ledger: Ledger) -> str | None:
        """The limit that is used up, or None."""
        used = {"calls": ledger.asked, "rows": ledger.network_rows, "seconds": ledger.seconds}
        limits = asdict(self).items()
        return next((n for n, limit in limits if limit is not None and used[n] >= limit), None)


@dataclass
class Round:
    """What a strategy is given for one round."""

    number: int  # 0, 1, ...
    sampler: Sampler[Any]
    reward: Decoded  # states -> Scores: counted, remembered, budgeted
    pool: Pool  # all that was asked; what this round asks lands in it by itself
    calls: int  # distinct objects that this round may ask
    strength: float
    encode: Callable[[Sequence[Any]], Any]  # objects of the pool -> clean states of the sampler
    rng: torch.Generator  # seeded by (seed, number)


class Strategy(Protocol):
    """What one round does."""

    @property
    def rounds(self) -> int | None:
        """How many rounds there are; None where the budget says."""
        ...

    @property
    def batch(self) -> int | None:
        """Distinct objects asked in a round; None where a round has no bound of its own."""
        ...

    def round(self, here: Round) -> Guided | None:
        """Ask `here.reward` about at most `here.calls` distinct objects; None where there is
        nothing left to try."""
        ...

    def state(self) -> dict[str, Tensor]:
        """All that was learned, so that `restore` on a new strategy continues this one."""
        ...

    def restore(self, state: Mapping[str, Tensor]) -> None: ...


@dataclass
class Campaign:
    """A strategy, its budget and how far it has come.

    `memory` (a `DiversityMemory`) is told after each round of the round's objects that are among
    the `keep` best of the campaign; `describe` adds numbers to the round's line of the history.
    """

    strategy: Strategy
    sampler: Sampler[Any]
    reward: Decoded
    encode: Callable[[Sequence[Any]], Any]
    seed: int
    limits: Limits
    strength: float = 1.0
    device: torch.device | str = "cpu"
    memory: Any = None
    keep: int = 100
    describe: Callable[[Campaign], Mapping[str, float]] = lambda campaign: {}  # for the history
    number: int = 0  # rounds that are done
    stopped: str | None = None  # why it ended: calls, rows, seconds, rounds, or exhausted
    history: list[dict[str, Any]] = field(default_factory=list)
    ledger: Ledger = field(default_factory=lambda: Ledger(0, 0, 0, 0.0))

    def __post_init__(self) -> None:
        self.pool = Pool(self.reward.scorer)

    def run(self, after: Callable[[Campaign], object] = lambda campaign: None) -> None:
        """Go on until a limit is reached or the strategy ends; `after` is told of every round."""
        while not self.ended():
            self.step()
            after(self)

    def ended(self) -> bool:
        """Whether nothing is left to do; `stopped` says why."""
        if self.stopped is None:
            last = self.strategy.rounds
            self.stopped = self.limits.reached(self.ledger)
            if last is not None and self.number >= last:
                self.stopped = "rounds"
        return self.stopped is not None

    def step(self) -> None:
        """Do one round."""
        clock, scorer = time.perf_counter(), self.reward.scorer
        before = scorer.asked, scorer.cache_hits, scorer.disk_hits
        self.pool.starts.append(len(self.pool))
        run = self._round()
        spent = (a - b for a, b in
                 zip((scorer.asked, scorer.cache_hits, scorer.disk_hits), before, strict=True))
        asked, hits, disk = spent
        rows = run.ledger.network_rows if run is not None else 0
        cost = Ledger(rows, asked, hits, time.perf_counter() - clock, disk)
        self.ledger = Ledger(**{name: getattr(self.ledger, name) + more
                                for name, more in asdict(cost).items()})
        self.number += 1
        self._remember()
        self.history.append(self._told())
        if run is None:
            self.stopped = "exhausted"

    def _round(self) -> Guided | None:
        def one(_: int, rng: torch.Generator) -> Guided | None:
            return self.strategy.round(
                Round(self.number, self.sampler, self.reward, self.pool, self._calls(),
                      self.strength, self.encode, rng)
            )

        here = in_chunks(self.number + 1, 1, self.seed, one, first=self.number,
                         device=self.device, denoiser=getattr(self.sampler, "denoiser", None))
        return next(here)

    def _calls(self) -> int:
        left = math.inf if self.limits.calls is None else self.limits.calls - self.ledger.asked
        batch = math.inf if self.strategy.batch is None else self.strategy.batch
        return int(min(left, batch, 2**31))

    def _remember(self) -> None:
        """Tell the memory of this round's finds, in the order of their scores."""
        if self.memory is None:
            return
        start = self.pool.starts[-1]
        rows = [row for row in self.pool.best(self.keep) if row >= start]
        self.tell([self.pool.keys[row] for row in rows])

    def tell(self, keys: Sequence[str]) -> None:
        """Have the memory know objects of the pool."""
        found = zip(keys, self.records(keys), strict=True)
        self.memory.add({key: r.obj for key, r in found if r.valid})

    def records(self, keys: Sequence[str]) -> Sequence[Record]:
        """Objects of the pool, read again; molecules in space in the places in which they were
        asked."""
        scorer = self.reward.scorer
        domain: Any = self.reward.domain  # one of molecules in space reads structures as well
        if scorer.points:
            return [domain.record(scorer.points[key]) for key in keys]
        texts = [scorer.texts[key] for key in keys]
        return domain.decode(domain.encode(texts)) if texts else []

    def _told(self) -> dict[str, Any]:
        """The line of this round in the history."""
        values, start = self.pool.values, self.pool.starts[-1]
        best, new = self.pool.best(TOP), self.pool.best(first=start)
        return {
            "round": self.number - 1,
            "asked": self.ledger.asked,
            "cache_hits": self.ledger.cache_hits,
            "disk_hits": self.ledger.disk_hits,
            "network_rows": self.ledger.network_rows,
            "seconds": self.ledger.seconds,
            "best": values[best[0]] if best else math.nan,
            f"mean_{TOP}": _mean([values[row] for row in best]),
            "mean_round": _mean([values[row] for row in new]),
            "scored_round": len(new),
            **self.describe(self),
        }

    # ---- checkpoints

    def saved(self) -> dict[str, Any]:
        """Everything but the strategy's tensors, as JSON holds it."""
        return {"number": self.number, "stopped": self.stopped, "history": self.history,
                "ledger": asdict(self.ledger), "pool": self.pool.memory(),
                "memory": list(self.memory.keys) if self.memory is not None else []}

    def restore(self, saved: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> None:
        """Go on from what `saved` and the strategy's `state` said."""
        self.number, self.stopped = saved["number"], saved["stopped"]  # at a limit it is None yet
        self.history = [{name: math.nan if told is None else told for name, told in line.items()}
                        for line in saved["history"]]
        self.ledger = Ledger(**saved["ledger"])
        self.pool.recall(saved["pool"])
        self.strategy.restore(tensors)
        if self.memory is not None:
            self.tell(saved["memory"])


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values) if values else math.nan
