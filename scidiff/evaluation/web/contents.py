"""What a report is told of each input."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from scidiff.data.records import Record
from scidiff.evaluation.metric import Metric


@dataclass(frozen=True)
class Campaign:
    """How a design run went: a line a round, and every object that was asked."""

    history: Mapping[str, Sequence[float]] = field(default_factory=dict)  # asked, best, mean_10
    ledger: Mapping[str, Any] = field(default_factory=dict)  # what it cost, how it ended
    texts: Sequence[str] = ()  # all that was asked
    terms: Mapping[str, Sequence[float]] = field(default_factory=dict)  # of the reward


@dataclass(frozen=True)
class Run:
    """One input of a report: the rows it shows, and numbers about it."""

    name: str
    kind: str  # "molecule", "sequence" or "graph"
    records: Sequence[Record]
    places: Sequence[int]  # of the rows in what they are from: line, record or index
    total: int  # rows of the input, of which these are shown
    columns: Mapping[str, Sequence[Any]] = field(default_factory=dict)
    metrics: Sequence[Metric] = ()
    measured: int = 0  # rows behind the metrics
    reasons: Mapping[str, int] = field(default_factory=dict)  # of the rows measured
    notes: Sequence[str] = ()
    provenance: Mapping[str, Any] = field(default_factory=dict)
    campaign: Campaign | None = None


@dataclass(frozen=True)
class Contents:
    """A whole report. `reference` lies behind the plots and has no rows in the table."""

    title: str
    runs: Sequence[Run]
    suite: str = ""  # whose metrics these are, "" for a description
    reference: Run | None = None

    @property
    def kind(self) -> str:
        return self.runs[0].kind
