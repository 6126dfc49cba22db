"""Objects with properties in a range: what to ask a conditional model for, and whether it
answered."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from numbers import Real
from typing import TYPE_CHECKING, Any

import numpy as np

from scidiff.core import Rng, seeded, uniform
from scidiff.data.conditions import Column, Conditions, per_row
from scidiff.data.records import Record
from scidiff.messages import nearest
from scidiff.rewards.registry import find, installed
from scidiff.rewards.scoring import evaluate

if TYPE_CHECKING:
    from scidiff.api.model import Model
    from scidiff.api.results import SampleResult

Range = tuple[float | None, float | None]

LAWS = ("training", "uniform")
_NUMBER = r"[-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?"
_RANGE = re.compile(rf"\s*(\w+)\s*=\s*({_NUMBER})?\s*\.\.\s*({_NUMBER})?\s*")


class Property:
    """Ranges of properties, each the name of a reward: `Property(logP=(1, 3), qed=(0.6, None))`.

    None leaves a side open; upper and lower case are one. A model trained with these as conditions
    (`[data] condition = ["logp", "qed"]`) is asked for a value in the range, row by row, and what
    it wrote is measured again: a condition is a wish, and `check` says where it came true. Raises
    ValueError for a name that is no reward or a range that is none.
    """

    def __init__(self, **ranges: Range) -> None:
        if not ranges:
            raise ValueError("a property needs at least one range, as in Property(logp=(1, 3))")
        self.ranges = {_reward_name(name): _range(name, pair) for name, pair in ranges.items()}

    @classmethod
    def parse(cls, text: str) -> Property:
        """Read "logp=1..3, qed=0.6.."; `str` writes it."""
        ranges: dict[str, Range] = {}
        for part in text.split(","):
            found = _RANGE.fullmatch(part)
            if found is None:
                raise ValueError(
                    f"a property is written NAME=LOW..HIGH, as in logp=1..3 or qed=0.6.., got "
                    f"{part.strip()!r} in {text!r}"
                )
            name, *ends = found.groups()
            if name in ranges:
                raise ValueError(f"{name} has two ranges in {text!r}")
            low, high = (None if end is None else float(end) for end in ends)
            ranges[name] = (low, high)
        return cls(**ranges)

    def __str__(self) -> str:
        return ", ".join(
            f"{name}={_end(low)}..{_end(high)}" for name, (low, high) in self.ranges.items()
        )

    def __repr__(self) -> str:
        return f"Property({self})"

    def targets(
        self,
        conditions: Conditions,
        n: int,
        rng: Rng,
        *,
        law: str = "training",
        given: Mapping[str, Any] | None = None,
    ) -> dict[str, list[Any]]:
        """Draw what n rows are asked for, by name, one value a row.

        law: "training", each property's training law cut to its range (from stored quantiles,
        straight between them), or "uniform" over the range. Properties are drawn independently of
        each other, so a rare combination is asked for as often as a common one. Numbers that the
        model is told besides follow their training law, unless `given`.
        """
        if law not in LAWS:
            raise ValueError(f"law must be one of {', '.join(LAWS)}, got {law!r}")
        for name in self.ranges:
            if name not in conditions.names:
                raise ValueError(
                    f"this model cannot be asked for {name!r}: it is told "
                    f"{', '.join(conditions.names)}{nearest(name, conditions.names)}"
                )
        asked = per_row(given or {}, n)
        for column in conditions.columns:
            if column.name not in asked and not column.labels:
                u = uniform((n,), rng).double().cpu().numpy()
                ends = self.ranges.get(column.name, (-math.inf, math.inf))
                kind = law if column.name in self.ranges else "training"
                asked[column.name] = _drawn(column, ends, u, kind).tolist()
        return asked

    def check(self, records: Sequence[Record]) -> dict[str, list[Any]]:
        """Measure every valid record: columns NAME_measured (NaN where it is invalid or the reward
        failed) and property_ok, whether all ranges hold."""
        rows = [i for i, record in enumerate(records) if record.valid]
        objects = [_object(records[i]) for i in rows]
        fine = np.zeros(len(records), bool)
        fine[rows] = True
        out: dict[str, list[Any]] = {}
        for name, (low, high) in self.ranges.items():
            values = np.full(len(records), math.nan)
            scores = evaluate(find(name), objects)
            values[rows] = np.where(scores.ok.numpy(), scores.values.numpy(), math.nan)
            fine &= (values >= low) & (values <= high)
            out[f"{name}_measured"] = values.tolist()
        return {**out, "property_ok": fine.tolist()}


def sample_property(
    model: Model,
    n: int,
    wanted: Property,
    seed: int = 0,
    *,
    law: str = "training",
    condition: Mapping[str, Any] | None = None,
    **overrides: Any,
) -> SampleResult:
    """Sample n rows, each asked for a target drawn from `wanted` (`Property.targets`), and measure
    them again: columns NAME (the target), NAME_measured and property_ok."""
    from scidiff.api.results import SampleResult

    if model.conditions is None:
        raise ValueError(f"{model.name} takes no condition, got {wanted!r}")
    targets = wanted.targets(
        model.conditions, n, seeded(seed, 1 << 20), law=law, given=condition
    )  # a chunk that no draw of rows reaches
    drawn = model.sample(n, seed, condition=targets, **overrides)
    return SampleResult(
        drawn.records,
        kind=drawn.kind,
        provenance={**drawn.provenance, "property": str(wanted), "targets": law},
        columns={**drawn.columns, **wanted.check(drawn.records)},
        novelty=drawn.novelty,
        notes=drawn.notes,
    )


def _drawn(column: Column, ends: tuple[float, float], u: Any, law: str) -> Any:
    """Values (n,) of a number within `ends`, u (n,) uniform."""
    q = np.asarray(column.quantiles, np.float64)
    if not len(q):
        raise ValueError(f"condition {column.name!r} stores no training quantiles to draw from")
    low, high = max(ends[0], q[0]), min(ends[1], q[-1])
    if low > high:
        raise ValueError(
            f"no training row has {column.name} in {_end(ends[0])}..{_end(ends[1])}: expected a "
            f"range that meets {q[0]:g}..{q[-1]:g}"
        )
    if law == "uniform":
        return low + (high - low) * u
    first, last = _level(q, low, "left"), _level(q, high, "right")
    grid = np.linspace(0, 1, len(q))
    return np.clip(np.interp(first + (last - first) * u, grid, q), low, high)


def _level(q: Any, value: float, side: str) -> float:
    """The first ("left") or last ("right") probability whose quantile is `value`, straight between
    the quantiles q."""
    if side == "left":
        i = int(np.searchsorted(q, value, "left"))  # q[i - 1] < value <= q[i]
        part = 1.0 if i == 0 else (value - q[i - 1]) / (q[i] - q[i - 1])
        return max(0.0, (i - 1 + part) / (len(q) - 1))
    j = int(np.searchsorted(q, value, "right")) - 1  # q[j] <= value < q[j + 1]
    part = 0.0 if j == len(q) - 1 else (value - q[j]) / (q[j + 1] - q[j])
    return float((j + part) / (len(q) - 1))


def _reward_name(name: str) -> str:
    """The name of a reward without parameters."""
    found = find(name)
    known = installed()
    if found is None:
        folded = {other.lower(): other for other in known}
        if name.lower() not in folded:
            raise ValueError(
                f"a property is measured by the reward of its name, and no reward is called "
                f"{name!r}{nearest(name, known)}; as a value it is asked by condition={{...}}"
            )
        name = folded[name.lower()]
        found = known[name]
    if isinstance(found, type):
        raise ValueError(f"{name!r} is a reward with parameters: expected one without")
    return name


def _range(name: str, pair: Any) -> tuple[float, float]:
    known = isinstance(pair, Sequence) and len(pair) == 2
    if not known or not all(end is None or isinstance(end, Real) for end in pair):
        raise ValueError(f"{name} must be (low, high), None for an open side, got {pair!r}")
    low = -math.inf if pair[0] is None else float(pair[0])
    high = math.inf if pair[1] is None else float(pair[1])
    if not low < high or low == -math.inf and high == math.inf:
        raise ValueError(f"{name} must be (low, high) with low < high, got {pair!r}")
    return low, high


def _end(value: float) -> str:
    return "" if math.isinf(value) else f"{value:g}"


def _object(record: Record) -> Any:
    return record.text if record.obj is None else record.obj
