"""From a reward on objects to counted scores: dedupe, memory, disk cache, budget, cheap first.

Imports torch and the standard library only.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch

from scidiff.data.points import Points
from scidiff.data.records import Record
from scidiff.rewards import places
from scidiff.rewards.cache import Cache
from scidiff.rewards.executors import Executor, Serial
from scidiff.rewards.identity import Identity, identity
from scidiff.rewards.pareto import Objectives, objectives
from scidiff.rewards.scores import (
    NO_NUMBER,
    SKIPPED,
    Answer,
    NamedReward,
    RewardError,
    Scores,
    Status,
    bounded,
    combined,
    cost,
    evaluate,
    read,
    require_floor,
    reward_name,
    sought,
    terms,
    written,
)

_log = logging.getLogger("scidiff")
SPARSE = 8  # times `patience` objects without a number are a broken reward
_COUNTS = ("asked", "cache_hits", "disk_hits", "calls")


def text_key(record: Record) -> str:
    """Key of a record that is its own canonical form (sequences)."""
    return record.text


@dataclass
class Scorer:
    """Score decoded records: invalid ones set aside, the rest deduped, remembered and counted.

    `key` maps a valid record to its canonical form: records with one key are one object and cost
    one question. `budget` is the number of distinct objects that may be asked; past it rows come
    back SKIPPED and `spent` is True, so that a run ends with what it has. An object that failed is
    remembered too and not asked again. Larger `patience` forgives a reward that raises at first;
    one that returns no number, as for objects it says nothing of, is forgiven 8 times as long.

    A reward made of several (`scores.terms`) is asked term by term, the cheap ones first: a term
    with a cost is not asked where another has failed or the result no longer depends on it. With
    `cache` every term is looked up on disk before it is asked; `kind` keeps apart objects of
    different domains that are written alike.

    To a reward that reads the places of atoms (`places.placed_terms`) two structures of one object
    are two objects; a term that does not is asked once for both.

    `discount` maps objects to factors in [0, 1] (`diversity.DiversityMemory`): a score v becomes
    floor + (v - floor) factor. It is never remembered, so it may change between calls.
    """

    reward: Any
    key: Callable[[Record], str] = text_key
    budget: int | None = None
    patience: int = 16  # raising on each of this many first objects is a broken reward
    cache: Cache | None = None
    executor: Executor = field(default_factory=Serial)
    kind: str = ""
    discount: Callable[[Sequence[Any]], Sequence[float]] | None = None
    asked: int = 0  # distinct objects, whether or not the disk knew them
    cache_hits: int = 0  # rows answered without asking
    disk_hits: int = 0  # of the objects asked, those that the cache on disk answered whole
    calls: int = 0  # times the reward, or a term of it, was given to the executor
    messages: dict[str, str] = field(default_factory=dict)  # key -> why it failed
    texts: dict[str, str] = field(default_factory=dict)  # key -> text, in the order asked
    points: dict[str, Points] = field(default_factory=dict)  # key -> structure, where there is one
    stop: Callable[[], bool] = bool  # asked before and after every answer; True interrupts
    _known: dict[str, Answer] = field(default_factory=dict, repr=False)
    _parts: dict[str, dict[str, Answer]] = field(default_factory=dict, repr=False)  # by term
    _raised: dict[str, int] = field(default_factory=dict, repr=False)  # by term, until it answers
    _silent: dict[str, int] = field(default_factory=dict, repr=False)  # no number, by term

    def __post_init__(self) -> None:
        if self.budget is not None and self.budget <= 0:
            raise ValueError("budget counts distinct objects and must be at least 1, "
                             f"got {self.budget}")
        if self.discount is not None:
            require_floor(self.reward)
        ordered = sorted(terms(self.reward).items(), key=lambda item: cost(item[1]))
        self._terms = dict(ordered)
        self._raised = dict.fromkeys(self._terms, 0)
        self._parts = {source: {} for source in self._terms}
        self._identities = {source: self._identity(t) for source, t in ordered}
        self._placed = places.placed_terms(self.reward)
        if self._placed:
            self.key = places.key_with_places(self.key)

    @property
    def name(self) -> str:
        return reward_name(self.reward)

    @property
    def floor(self) -> float | None:
        """The declared score of an invalid object, None where there is none (`require_floor`)."""
        return getattr(self.reward, "floor", None)

    @property
    def spent(self) -> bool:
        return self.budget is not None and self.asked >= self.budget

    def score(self, records: Sequence[Record], keep: int = 0) -> Scores:
        """Score every record, discounted where there is a discount; rows keep their place. The
        last `keep` objects of the budget are left for later.

        Raises RewardError when the reward returns the wrong thing, or raises or has no number
        for everything.
        """
        keys, scores = self._keyed(records, keep)
        if self.discount is None or not scores.ok.any():
            return scores
        known = {k: r.obj for k, r, ok in zip(keys, records, scores.ok.tolist(), strict=True)
                 if ok}
        factors = dict(zip(known, self.discount(list(known.values())), strict=True))
        row = torch.tensor([factors.get(k, 1.0) for k in keys], dtype=torch.float64)
        floor = require_floor(self.reward)
        return Scores(floor + (scores.values - floor) * row, scores.status)

    def plain(self, records: Sequence[Record]) -> Scores:
        """Score every record without the discount."""
        return self._keyed(records, 0)[1]

    def _keyed(self, records: Sequence[Record], keep: int) -> tuple[list[str | None], Scores]:
        keys = [self.key(r) if r.valid else None for r in records]
        fresh = {k: r for k, r in zip(keys, records, strict=True)
                 if k is not None and k not in self._known}
        left = None if self.budget is None else max(self.budget - self.asked - keep, 0)
        chosen = list(fresh)[:left]
        self.cache_hits += sum(k is not None for k in keys) - len(fresh)
        if chosen:
            self._ask(chosen, [fresh[k].obj for k in chosen])
            self.texts |= {k: fresh[k].text for k in chosen}
            told = ((k, fresh[k].points) for k in chosen)
            self.points |= {k: points for k, points in told if points is not None}
        return keys, self._rows(keys, self._known, self.floor)

    __call__ = score

    def answer(self, key: str) -> Answer:
        """What is known of an object that was asked."""
        return self._known[key]

    def memory(self) -> dict[str, Any]:
        """All that was asked and what it cost, as JSON holds it; `recall` takes it back."""
        return {"texts": self.texts, "known": written(self._known),
                "points": {key: places.written(found) for key, found in self.points.items()},
                "parts": {source: written(part) for source, part in self._parts.items()},
                "messages": self.messages,
                "counts": {name: getattr(self, name) for name in _COUNTS}}

    def recall(self, memory: Mapping[str, Any]) -> None:
        """Go on from a `memory`, as if all of it had been asked here."""
        self.texts, self.messages = dict(memory["texts"]), dict(memory["messages"])
        self._known = read(memory["known"])
        self.points = {key: places.read(held) for key, held in memory.get("points", {}).items()}
        self._parts = {source: read(memory["parts"][source]) for source in self._terms}
        self._raised = {} if self._known else self._raised
        for name, count in memory["counts"].items():
            setattr(self, name, count)

    def parts(self, records: Sequence[Record]) -> dict[str, Scores]:
        """What each term of the reward gave these records, from memory: nothing is asked.

        Empty for a reward that is one term. A term that was not needed is SKIPPED.
        """
        return self.parts_of([self.key(r) if r.valid else None for r in records])

    def parts_of(self, keys: Sequence[str | None]) -> dict[str, Scores]:
        """The same of objects by their canonical keys, None for an invalid one."""
        if len(self._terms) == 1 and not sought(self.reward):
            return {}
        return {source: self._rows([k and self._named(source, k) for k in keys],
                                   self._parts[source], getattr(term, "floor", None))
                for source, term in terms(self.reward).items()}

    def objectives_of(self, keys: Sequence[str | None]) -> Objectives:
        """Objects by what the reward's `pareto(...)` holds, or by its terms; a reward of one term
        is its only objective."""
        parts = self.parts_of(keys)
        if not parts:
            (source,) = self._terms
            parts = {source: self._rows(keys, self._known, self.floor)}
        return objectives(self.reward, parts)

    def _named(self, source: str, key: str) -> str:
        """What a term knows an object by."""
        return key if source in self._placed or not self._placed else places.without_places(key)

    def _told(self, source: str, key: str) -> Answer:
        """What a term has said of an object, SKIPPED where it was not asked."""
        return self._parts[source].get(self._named(source, key), SKIPPED)

    def _rows(self, keys: Sequence[str | None], known: dict[str, Answer],
              floor: float | None) -> Scores:
        invalid = (math.nan if floor is None else float(floor), Status.INVALID)
        return Scores.of(invalid if k is None else known.get(k, SKIPPED)[:2] for k in keys)

    def _ask(self, keys: list[str], objects: list[Any]) -> None:
        self.asked += len(keys)
        untouched = set(keys)
        for source, term in self._terms.items():
            open_rows = self._open(keys, pay=cost(term) > 0)
            rows = {self._named(source, keys[i]): i for i in open_rows}
            missing = self._from_disk(source, [n for n in rows if n not in self._parts[source]])
            untouched -= {keys[i] for i in open_rows if self._named(source, keys[i]) in missing}
            asked = [name for name in rows if name in missing]
            self._put_to(source, term, asked, [objects[rows[name]] for name in asked])
        self.disk_hits += len(untouched) if self.cache else 0
        self._conclude(keys)

    def _open(self, keys: list[str], pay: bool) -> list[int]:
        """Rows that no term has failed and, before one that costs, whose result is not settled."""
        done = [source for source, part in self._parts.items()
                if any(self._named(source, k) in part for k in keys)]
        rows = [i for i, k in enumerate(keys)
                if all(self._told(source, k).status in (Status.OK, Status.SKIPPED)
                       for source in done)]
        if pay and done and hasattr(self.reward, "settled"):
            parts = self._parts_so_far([keys[i] for i in rows])
            settled = self.reward.settled(parts).tolist()
            rows = [i for i, value in zip(rows, settled, strict=True) if math.isnan(value)]
        return rows

    def _parts_so_far(self, keys: Sequence[str]) -> dict[str, Scores]:
        return {source: Scores.of(self._told(source, k)[:2] for k in keys)
                for source in self._terms}

    def _conclude(self, keys: list[str]) -> None:
        parts = self._parts_so_far(keys)
        total = combined(self.reward, {s: parts[s] for s in terms(self.reward)})
        for key, value, status in zip(keys, total.values.tolist(), total.status.tolist(),
                                      strict=True):
            floored = status == Status.INVALID and math.isnan(value) and self.floor is not None
            self._known[key] = Answer(float(self.floor or 0) if floored else value, Status(status))
            if status in (Status.FAILED, Status.TIMEOUT):
                said = (self._told(source, key).message for source in self._terms)
                self.messages[key] = next(filter(None, said), NO_NUMBER)

    def _identity(self, term: Any) -> Identity | None:
        if self.cache is None:
            return None
        found = identity(term)
        if found is None:
            _log.warning("scores of reward %r are not kept on disk: nothing tells one version of "
                         "it from the next; give it a `version`", reward_name(term))
        return found

    def _from_disk(self, source: str, keys: list[str]) -> set[str]:
        """Take what the disk knows; return the keys it does not."""
        who = self._identities[source]
        known = {} if self.cache is None or who is None else self.cache.get(self.kind, who, keys)
        self._parts[source].update(known)
        return set(keys) - known.keys()

    def _put_to(self, source: str, term: Any, keys: list[str], objects: list[Any]) -> None:
        """Ask a term; the first time for a few objects alone, should it raise on everything."""
        few = len(keys) if self._parts[source] else self.patience
        for part in (slice(few), slice(few, None)):
            if keys[part]:
                self._run(source, term, keys[part], objects[part])

    def _run(self, source: str, term: Any, keys: list[str], objects: list[Any]) -> None:
        who, cache = self._identities[source], self.cache

        def done(rows: list[int], answers: list[Answer]) -> None:
            if cache is not None and who is not None:
                found = {keys[i]: a for i, a in zip(rows, answers, strict=True)}
                cache.put(self.kind, who, found)
            self._interrupt()

        self._interrupt()
        self.calls += 1
        answers = dict(zip(keys, self.executor.run(term, objects, done), strict=True))
        if cache is not None and who is not None:
            answers |= cache.get(self.kind, who, keys)  # another process may have been first
        self._parts[source].update(answers)
        self._judge(source, term, list(answers.values()))

    def _interrupt(self) -> None:
        if self.stop():
            raise KeyboardInterrupt

    def _judge(self, source: str, term: Any, answers: list[Answer]) -> None:
        """Stop at a reward that has raised on everything so far, or has no number for it."""
        if source not in self._raised:
            return
        failed = [a for a in answers if a.status in (Status.FAILED, Status.TIMEOUT)]
        broken = [a for a in failed if a.message != NO_NUMBER]
        if any(a.status == Status.OK for a in answers):
            del self._raised[source]
            return
        self._raised[source] += len(broken)
        if broken and self._raised[source] >= self.patience:
            raise RewardError(f"reward {reward_name(term)!r} raised on each of its first "
                              f"{self._raised[source]} objects, the last time "
                              f"{broken[-1].message}{_hint(broken[-1].message)}")
        self._silent[source] = self._silent.get(source, 0) + len(failed) - len(broken)
        if self._raised[source] + self._silent[source] >= SPARSE * self.patience:
            raise RewardError(f"reward {reward_name(term)!r} has no value for any of its first "
                              f"{self._raised[source] + self._silent[source]} objects: {NO_NUMBER}"
                              " (it was NaN, infinite or None); expected a number for some")


def _hint(message: str) -> str:
    """What a reward is given, for one that seems to have expected something else."""
    wrong = message.startswith(("AttributeError", "TypeError", "ArgumentError"))
    return ("; a reward is given a list of RDKit molecules, or of strings for sequences; one that "
            "expects SMILES is wrapped in scidiff.rewards.adapters.OnText") if wrong else ""


__all__ = ["NamedReward", "Objectives", "RewardError", "Scorer", "Scores", "Status", "bounded",
           "evaluate", "require_floor", "reward_name", "sought", "text_key"]
