"""What the objects of a model may be asked to be like: named labels and numbers, as rows of
numbers that a network reads."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from numbers import Real
from typing import Any

import numpy as np
from numpy.typing import NDArray

from scidiff.messages import nearest

QUANTILES = 33
MOST_LABELS = 64

Asked = Mapping[str, Any]
"""By name: one value for all rows, or a sequence with one value a row."""


@dataclass(frozen=True)
class Column:
    """One named condition: a label (one-hot) or a number (standardised by the network)."""

    name: str
    labels: tuple[str, ...] = ()  # empty: a number
    mean: float = 0.0
    spread: float = 1.0
    quantiles: tuple[float, ...] = ()  # of the training rows, evenly spaced from 0 to 1
    unit: str = ""  # of a number, where it is known

    def __str__(self) -> str:
        """gap (0.67 to 16.9 eV)"""
        if self.labels or not self.quantiles:
            return f"{self.name} ({', '.join(self.labels)})" if self.labels else self.name
        low, high = self.quantiles[0], self.quantiles[-1]
        return f"{self.name} ({low:.3g} to {high:.3g}{self.unit and ' '}{self.unit})"

    def outside(self, value: Any) -> bool:
        """Whether a number lies beyond those of all training rows."""
        known = self.quantiles
        return bool(known) and not known[0] <= _number(self.name, value) <= known[-1]

    @property
    def width(self) -> int:
        """How many numbers the network is given for it."""
        return len(self.labels) or 1

    @property
    def standard(self) -> tuple[tuple[float, float], ...]:
        """Mean and spread of each of them."""
        return ((0.0, 1.0),) * len(self.labels) or ((self.mean, self.spread),)

    @classmethod
    def fit(cls, name: str, values: Sequence[Any], unit: str = "") -> Column:
        """The column of training values: text is a label, anything else a finite number."""
        if any(isinstance(v, str) for v in values):
            labels = sorted({str(v) for v in values})
            if len(labels) > MOST_LABELS:
                raise ValueError(
                    f"condition {name!r} has {len(labels)} different labels, expected at most "
                    f"{MOST_LABELS}; is it a number written as text?"
                )
            return cls(name, tuple(labels))
        numbers = np.asarray(values, np.float64)
        if not np.isfinite(numbers).all():
            row = int(np.flatnonzero(~np.isfinite(numbers))[0]) + 1
            raise ValueError(f"condition {name!r}: row {row} has no finite number")
        spread = float(numbers.std())
        if not spread > 0:
            raise ValueError(f"condition {name!r} is {numbers[0]} in every row: nothing to learn")
        quantiles = np.quantile(numbers, np.linspace(0, 1, QUANTILES))
        return cls(name, (), float(numbers.mean()), spread, tuple(quantiles.tolist()), unit)

    def encode(self, values: Sequence[Any]) -> NDArray[np.float32]:
        """Rows (n, width); raises ValueError for an unknown label or what is no number."""
        if not self.labels:
            return np.array([[_number(self.name, v)] for v in values], np.float32)
        for v in values:
            if v not in self.labels:
                raise ValueError(
                    f"condition {self.name!r} must be one of {', '.join(self.labels)}, got {v!r}"
                    f"{nearest(v, self.labels, cutoff=0.4)}"
                )
        at = [self.labels.index(v) for v in values]
        return np.eye(len(self.labels), dtype=np.float32)[at]


@dataclass(frozen=True)
class Conditions:
    """The conditions of a model, in the order in which its network reads them."""

    columns: tuple[Column, ...]

    @classmethod
    def fit(
        cls, values: Mapping[str, Sequence[Any]], units: Mapping[str, str] | None = None
    ) -> Conditions:
        """The conditions that training rows carry, by name, with the units of those that have
        one."""
        known = units or {}
        return cls(tuple(Column.fit(k, column, known.get(k, "")) for k, column in values.items()))

    @classmethod
    def of_config(cls, config: Sequence[Mapping[str, Any]]) -> Conditions:
        """What `to_config` wrote."""
        columns = []
        for found in config:
            fields: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v
                                      for k, v in found.items()}
            columns.append(Column(**fields))
        return cls(tuple(columns))

    def to_config(self) -> list[dict[str, Any]]:
        """As a model's config holds them."""
        return [asdict(column) for column in self.columns]

    @property
    def names(self) -> list[str]:
        return [column.name for column in self.columns]

    @property
    def standard(self) -> tuple[tuple[float, float], ...]:
        """Mean and spread of each number of a row."""
        return tuple(pair for column in self.columns for pair in column.standard)

    def encode(self, asked: Asked, n: int) -> NDArray[np.float32]:
        """Rows (n, C) of what is asked, the same for all rows or one value a row. Raises
        ValueError for a condition that is missing, unknown or of another length."""
        for name in asked:
            if name not in self.names:
                raise ValueError(
                    f"unknown condition {name!r}; this model takes {', '.join(self.names)}"
                    f"{nearest(name, self.names)}"
                )
        missing = [name for name in self.names if name not in asked]
        if missing:
            names = ", ".join(self.names)
            raise ValueError(f"condition must say {names}, {missing[0]} is missing")
        rows = [c.encode(_column(c.name, asked[c.name], n)) for c in self.columns]
        return np.concatenate(rows, 1)


def unheard(conditions: Conditions, asked: Asked) -> str:
    """What is asked beyond the training rows, in one line, or ""."""
    for column in conditions.columns:
        values = asked.get(column.name, ())
        if column.labels:
            continue
        for value in [values] if _single(values) else values:
            if column.outside(value):
                return f"{column.name} = {value} lies outside of the training rows: {column}"
    return ""


def varies(asked: Asked) -> bool:
    """Whether any value is given row by row."""
    return not all(map(_single, asked.values()))


def per_row(asked: Asked, n: int) -> dict[str, list[Any]]:
    """One value a row of everything that is asked."""
    return {name: _column(name, value, n) for name, value in asked.items()}


def _column(name: str, value: Any, n: int) -> list[Any]:
    if _single(value):
        return [value] * n
    if len(value) != n:
        values = "one value" if n == 1 else f"one value or {n}"
        raise ValueError(f"condition {name!r} must have {values}, got {len(value)}")
    return list(value)


def _single(value: Any) -> bool:
    """Whether this is one value for all rows."""
    return isinstance(value, str) or not isinstance(value, Sequence | np.ndarray)


def _number(name: str, value: Any) -> float:
    if isinstance(value, str):
        try:
            value = float(value)
        except ValueError:
            raise ValueError(f"condition {name!r} must be a number, got {value!r}") from None
    known = isinstance(value, Real) and not isinstance(value, bool | np.bool_)
    if not known or not math.isfinite(value):
        raise ValueError(f"condition {name!r} must be a finite number, got {value!r}")
    return float(value)
