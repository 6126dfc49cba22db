"""Evolution as a campaign: the model varies what is best so far, a surrogate says which of its
offspring to ask, and the model learns from the answers."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

import torch
from torch import Tensor

from scidiff.core import Renoisable, Sampler
from scidiff.data.records import Record
from scidiff.guidance.campaign import Round
from scidiff.guidance.certificate import Guided, Meter, found
from scidiff.guidance.learner import Learner
from scidiff.guidance.lookahead import end_values
from scidiff.guidance.offspring import offspring
from scidiff.guidance.particles import sample
from scidiff.guidance.pool import directed
from scidiff.guidance.ranks import by_rank
from scidiff.guidance.surrogate_rounds import Bounds, Choice, Model, Taught
from scidiff.guidance.values import bare

TRIES = 4  # times that rows are drawn until there is something to ask
WIDER = 4  # times the parents that are looked through where a memory discounts objects
LEAST = 16  # rows that are drawn at once, so that the last few objects of a budget are found

Respell = Callable[[Sequence[Any], torch.Generator], Sequence[Any]]
"""respell(objects, rng) -> the same objects, written in another way where there is one."""


def as_written(objects: Sequence[Any], rng: torch.Generator) -> Sequence[Any]:
    """Leave objects as they are."""
    return objects


@dataclass
class Brood:
    """Candidates: distinct valid objects that nobody has asked about."""

    known: set[str]  # keys that are none
    objects: dict[str, Any] = field(default_factory=dict)  # by key, in the order drawn
    rows: list[int] = field(default_factory=list)  # of each, among all that was drawn
    parents: list[str | None] = field(default_factory=list)  # keys
    drawn: list[Any] = field(default_factory=list)  # states

    def __len__(self) -> int:
        return len(self.rows)

    def take(
        self, drawn: Any, keys: Sequence[str | None], records: Sequence[Record],
        parents: Sequence[str | None],
    ) -> None:  # fmt: skip
        """Add what is new among states, the records they decode to and the keys of those."""
        start = sum(len(x) for x in self.drawn)
        self.drawn.append(bare(drawn))  # what a network keeps of rows is large
        for row, key in enumerate(keys):
            if key is not None and key not in self.known and key not in self.objects:
                self.objects[key] = records[row].obj
                self.rows.append(start + row)
                self.parents.append(parents[row])

    def states(self, chosen: Sequence[int]) -> Any:
        """The states of some candidates."""
        x = type(self.drawn[0]).cat(self.drawn)
        return x[torch.tensor([self.rows[i] for i in chosen])]


@dataclass
class Evolution:
    """Rounds of `batch` objects that are asked: the first ones are draws of the sampler; later,
    candidates are draws and, a `share` of them, `offspring` of the `parents` best of the pool,
    which go back at most a share `reach` of the way.

    `respell` writes parents and lessons in another way, so that a model which writes from left to
    right can change any part of them. With a surrogate, `candidates` rows are drawn for each
    object asked, and `choose` says which. With a `learner` the draws are those of a network that
    learns from the pool after every round. A memory that discounts objects (`Scorer.discount`)
    counts for parents and candidates. Rows that are invalid, known, met twice or not `readable`
    again are no candidates, and more are drawn where fewer are left than the round is to ask; a
    round without one ends the campaign.

    Where the reward is a `pareto(...)`, all this climbs in one direction of its objectives, a new
    one every round (ParEGO: Knowles 2006).

    A sampler that cannot go back has no offspring. Nothing is weighed: what is found is a
    search's.
    """

    batch: int
    learner: Learner | None = None
    surrogate: Model | None = None
    respell: Respell = as_written
    readable: Callable[[Record], bool] = bool
    candidates: int = 4
    choose: Choice = field(default_factory=lambda: Bounds(0.5))
    parents: int = 50
    share: float = 0.5
    reach: float = 1.0
    diversity: float | None = None  # of designs, as a share of the first round's; None: the best
    rounds: int | None = None

    def __post_init__(self) -> None:
        for name in ("batch", "candidates", "parents"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, got {getattr(self, name)}")
        if self.diversity is not None and not 0 <= self.diversity <= 1:
            raise ValueError(f"diversity must lie in [0, 1], got {self.diversity}")
        if not 0 <= self.share < 1:
            raise ValueError(f"share must lie in [0, 1), got {self.share}")
        self._taught = None if self.surrogate is None else Taught(self.surrogate, least=2)

    def round(self, here: Round) -> Guided | None:
        here = replace(here, pool=directed(here.pool, here.rng))
        sampler = here.sampler if self.learner is None else self.learner.sampler
        meter, lessons = Meter(sampler, here.reward, None), self._lessons
        wanted = min(here.calls, self.batch)
        taught = self._taught is not None and self._taught.learn(here)
        brood = self._brood(sampler, here, wanted, self.candidates if taught else 1)
        chosen = self._promising(brood, here, wanted, taught)
        if not chosen:
            return None
        x = brood.states(chosen)
        values = end_values(here.reward, x)
        keys = list(brood.objects)
        here.pool.parents |= {keys[i]: p for i in chosen if (p := brood.parents[i]) is not None}
        self._teach(here, len(chosen))
        cost = meter.ledger(len(x))
        cost = replace(cost, network_rows=cost.network_rows + self._lessons - lessons)
        return found(x, values, torch.arange(len(x), device=values.device), 1, cost)

    def state(self) -> dict[str, Tensor]:
        return {} if self.learner is None else self.learner.state()

    def restore(self, state: Mapping[str, Tensor]) -> None:
        if self.learner is not None and state:
            self.learner.restore(state)

    # ---- candidates

    def _brood(self, sampler: Sampler[Any], here: Round, wanted: int, each: int) -> Brood:
        """At least `wanted` candidates, unless the model repeats itself, of `each` rows drawn for
        every one: rows are cheap together, and a few more of them are not."""
        brood = Brood(set(here.pool.keys))
        for _ in range(TRIES):
            if len(brood) >= wanted:
                break
            x, parents = self._drawn(sampler, here, max(LEAST, each * (wanted - len(brood))))
            records = here.reward.domain.decode(x)
            keys = [here.reward.scorer.key(r) if r.valid and self.readable(r) else None
                    for r in records]
            brood.take(x, keys, records, parents)
        return brood

    def _drawn(
        self, sampler: Sampler[Any], here: Round, n: int
    ) -> tuple[Any, list[str | None]]:
        """n states, and for each the key of the object it was made from."""
        best = self._best(here)
        made = int(self.share * n) if best and isinstance(sampler, Renoisable) else 0
        fresh = sample(sampler, n - made, here.rng)
        origins: list[str | None] = [None] * (n - made)
        if not made or not isinstance(sampler, Renoisable):
            return fresh, origins
        chosen = [best[rank] for rank in by_rank(len(best), made, here.rng, k=0.1).tolist()]
        keys, clean = here.pool.keys, self._written(here.pool.objects(chosen), here)
        children = offspring(sampler, clean, here.rng, reach=self.reach)
        x = type(fresh).cat([fresh, children])
        return x, origins + [keys[row] for row in chosen]

    def _written(self, objects: Sequence[Any], here: Round) -> Any:
        """Objects of the pool as clean states, written in another way."""
        return here.encode(self.respell(objects, here.rng))

    def _promising(self, brood: Brood, here: Round, wanted: int, taught: bool) -> list[int]:
        """Which candidates to ask, at most `wanted`."""
        if self.surrogate is None or not taught or len(brood) <= wanted:
            return list(range(len(brood)))[:wanted]
        objects = list(brood.objects.values())
        mean, covariance = self.surrogate.joint(objects)
        mean = _discounted(mean, objects, here)
        return self.choose(mean, covariance, self.surrogate.noise, wanted, here.rng)

    def _best(self, here: Round) -> list[int]:
        """Rows of the pool that may be parents, best first: where a memory makes objects worth
        less, the best of `WIDER` times as many by what they are worth now."""
        if here.reward.scorer.discount is None:
            return here.pool.best(self.parents)
        rows = here.pool.best(WIDER * self.parents)
        if not rows:
            return rows
        values, found = here.pool.values, here.encode(here.pool.objects(rows))
        objects = [record.obj for record in here.reward.domain.decode(found)]
        worth = torch.tensor([values[row] for row in rows], dtype=torch.float64)
        order = _discounted(worth, objects, here).argsort(descending=True, stable=True)
        return [rows[i] for i in order[: self.parents].tolist()]

    # ---- learning

    def _teach(self, here: Round, asked: int) -> None:
        if self.learner is not None:
            written = partial(self._written, here=here)
            self.learner.learn(here.pool, asked, written, here.rng)

    @property
    def _lessons(self) -> int:
        return 0 if self.learner is None else self.learner.rows


def _discounted(values: Tensor, objects: Sequence[Any], here: Round) -> Tensor:
    """What values (B,) are worth once a memory of the objects' like is asked, as in `Scorer`."""
    discount = here.reward.scorer.discount
    if discount is None:
        return values
    floor = here.pool.floor
    return floor + (values - floor) * torch.tensor(discount(objects), dtype=values.dtype)
