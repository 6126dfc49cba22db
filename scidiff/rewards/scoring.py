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

from scidiff.data.records import Record
from scidiff.rewards.cache import Cache
from scidiff.rewards.executors import Executor, Serial
from scidiff.rewards.identity import Identity, identity
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
    require_floor,
    reward_name,
    terms,
)

_log = logging.getLogger("scidiff")
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
    remembered too and not asked again. Larger `patience` forgives a reward that raises at first.

    A reward made of several (`scores.terms`) is asked term by term, the cheap ones first: a term
    with a cost is not asked where another has failed or the result no longer depends on it. With
    `cache` every term is looked up on disk before it is asked; `kind` keeps apart objects of
    different domains that are written alike.

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
    stop: Callable[[], bool] = bool  # asked before and after every answer; True interrupts
    _known: dict[str, Answer] = field(default_factory=dict, repr=False)
    _parts: dict[str, dict[str, Answer]] = field(default_factory=dict, repr=False)  # by term
    _raised: dict[str, int] = field(default_factory=dict, repr=False)  # by term, until it answers

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

    def score(self, records: Sequence[Record]) -> Scores:
        """Score every record, discounted where there is a discount; rows keep their place.

        Raises RewardError when the reward returns the wrong thing or raises on everything.
        """
        keys, scores = self._keyed(records)
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
        return self._keyed(records)[1]

    def _keyed(self, records: Sequence[Record]) -> tuple[list[str | None], Scores]:
        keys = [self.key(r) if r.valid else None for r in records]
        fresh = {k: r for k, r in zip(keys, records, strict=True)
                 if k is not None and k not in self._known}
        chosen = list(fresh)[:None if self.budget is None else max(self.budget - self.asked, 0)]
        self.cache_hits += sum(k is not None for k in keys) - len(fresh)
        if chosen:
            self._ask(chosen, [fresh[k].obj for k in chosen])
            self.texts |= {k: fresh[k].text for k in chosen}
        return keys, self._rows(keys, self._known, self.floor)

    __call__ = score

    def answer(self, key: str) -> Answer:
        """What is known of an object that was asked."""
        return self._known[key]

    def memory(self) -> dict[str, Any]:
        """All that was asked and what it cost, as JSON holds it; `recall` takes it back."""
        return {"texts": self.texts, "known": _written(self._known),
                "parts": {source: _written(part) for source, part in self._parts.items()},
                "messages": self.messages,
                "counts": {name: getattr(self, name) for name in _COUNTS}}

    def recall(self, memory: Mapping[str, Any]) -> None:
        """Go on from a `memory`, as if all of it had been asked here."""
        self.texts, self.messages = dict(memory["texts"]), dict(memory["messages"])
        self._known = _read(memory["known"])
        self._parts = {source: _read(memory["parts"][source]) for source in self._terms}
        self._raised = {} if self._known else self._raised
        for name, count in memory["counts"].items():
            setattr(self, name, count)

    def parts(self, records: Sequence[Record]) -> dict[str, Scores]:
        """What each term of the reward gave these records, from memory: nothing is asked.

        Empty for a reward of one term. A term that was not needed is SKIPPED.
        """
        return self.parts_of([self.key(r) if r.valid else None for r in records])

    def parts_of(self, keys: Sequence[str | None]) -> dict[str, Scores]:
        """The same of objects by their canonical keys, None for an invalid one."""
        if len(self._terms) == 1:
            return {}
        return {source: self._rows(keys, self._parts[source], getattr(term, "floor", None))
                for source, term in terms(self.reward).items()}

    def _rows(self, keys: Sequence[str | None], known: dict[str, Answer],
              floor: float | None) -> Scores:
        invalid = (math.nan if floor is None else float(floor), Status.INVALID)
        return Scores.of(invalid if k is None else known.get(k, SKIPPED)[:2] for k in keys)

    def _ask(self, keys: list[str], objects: list[Any]) -> None:
        self.asked += len(keys)
        untouched = set(keys)
        for source, term in self._terms.items():
            open_rows = self._open(keys, pay=cost(term) > 0)
            missing = self._from_disk(source, [keys[i] for i in open_rows])
            untouched -= missing
            rows = [i for i in open_rows if keys[i] in missing]
            self._put_to(source, term, [keys[i] for i in rows], [objects[i] for i in rows])
        self.disk_hits += len(untouched) if self.cache else 0
        self._conclude(keys)

    def _open(self, keys: list[str], pay: bool) -> list[int]:
        """Rows that no term has failed and, before one that costs, whose result is not settled."""
        done = {s: part for s, part in self._parts.items() if any(k in part for k in keys)}
        rows = [i for i, k in enumerate(keys)
                if all(part.get(k, SKIPPED).status in (Status.OK, Status.SKIPPED)
                       for part in done.values())]
        if pay and done and hasattr(self.reward, "settled"):
            parts = {s: Scores.of(part.get(keys[i], SKIPPED)[:2] for i in rows)
                     for s, part in self._parts.items()}
            settled = self.reward.settled(parts).tolist()
            rows = [i for i, value in zip(rows, settled, strict=True) if math.isnan(value)]
        return rows

    def _conclude(self, keys: list[str]) -> None:
        parts = {s: Scores.of(part.get(k, SKIPPED)[:2] for k in keys)
                 for s, part in self._parts.items()}
        total = combined(self.reward, {s: parts[s] for s in terms(self.reward)})
        for key, value, status in zip(keys, total.values.tolist(), total.status.tolist(),
                                      strict=True):
            floored = status == Status.INVALID and math.isnan(value) and self.floor is not None
            self._known[key] = Answer(float(self.floor or 0) if floored else value, Status(status))
            if status in (Status.FAILED, Status.TIMEOUT):
                said = (part[key].message for part in self._parts.values() if key in part)
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
        """Stop at a reward that has raised on everything so far."""
        if source not in self._raised:
            return
        broken = [a for a in answers if a.status in (Status.FAILED, Status.TIMEOUT)
                  and a.message != NO_NUMBER]
        if any(a.status == Status.OK for a in answers):
            del self._raised[source]
            return
        self._raised[source] += len(broken)
        if broken and self._raised[source] >= self.patience:
            raise RewardError(f"reward {reward_name(term)!r} raised on each of its first "
                              f"{self._raised[source]} objects, the last time "
                              f"{broken[-1].message}")


def _written(answers: Mapping[str, Answer]) -> dict[str, list[Any]]:
    return {key: [None if math.isnan(a.value) else a.value, int(a.status), a.message]
            for key, a in answers.items()}


def _read(rows: Mapping[str, Sequence[Any]]) -> dict[str, Answer]:
    return {key: Answer(math.nan if value is None else value, Status(status), message)
            for key, (value, status, message) in rows.items()}


__all__ = ["NamedReward", "RewardError", "Scorer", "Scores", "Status", "bounded", "evaluate",
           "require_floor", "reward_name", "text_key"]
