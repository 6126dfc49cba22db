"""`result.plot`: which rows and values of a result go into which picture."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from rdkit.Chem import Mol

from scidiff.api.showing import OWN_PLACE, cards_of
from scidiff.chem.molecules import parse
from scidiff.data.records import Record
from scidiff.evaluation import logos, plots
from scidiff.evaluation.description import every, molecules, property_values
from scidiff.evaluation.plots import Picture
from scidiff.rewards.registry import nearest

if TYPE_CHECKING:
    from scidiff.api.results import SampleResult

MAP_ROWS = 2_000  # dots of a map


class Plots:
    """Pictures of one result. A reference is another result, an evaluation Reference, or molecules
    (SMILES or RDKit); what is shown is a matplotlib figure, its axes under `.axes`."""

    def __init__(self, result: SampleResult) -> None:
        self._result = result

    def properties(self, reference: Any = None) -> Picture:
        """Histograms of QED, SA score, logP and weight; of graphs nodes, edges, degree and
        clustering; of sequences length."""
        values = self._result.description.properties
        return plots.properties(values, None if reference is None else _properties(reference))

    def space(self, reference: Any = None) -> Picture:
        """Map of Morgan fingerprints (principal axes), colour = score where there is one."""
        drawn = [(i, r.obj) for i, r in enumerate(self._molecular("space"))
                 if r.valid and isinstance(r.obj, Mol)]
        drawn = every(drawn, MAP_ROWS)
        columns = self._result.columns
        colour = _scores(columns)[0][[i for i, _ in drawn]] if "score" in columns else None
        others = [] if reference is None else every(_molecules(reference), MAP_ROWS)
        return plots.space([mol for _, mol in drawn], colour, reference=others)

    def scores(self) -> Picture:
        """Scores from the best down, and the terms of the reward. Raises ValueError where the
        rows have no score."""
        columns = self._result.columns
        if "score" not in columns:
            raise ValueError("this result has no column 'score': scores come from sd.design")
        return plots.scores(*_scores(columns))

    def logo(self, by: str | None = None, positions: tuple[int, int] | None = None) -> Picture:
        """Information of each position of the valid sequences in bits, and its letters; `by` a
        column makes a panel of each of its values, `positions` (first, last) shows a part."""
        if self._result.kind != "sequence":
            raise ValueError("plot.logo() draws sequences, got rows of kind "
                             f"{self._result.kind!r}")
        if by is not None and by not in self._result.columns:
            known = list(self._result.columns)
            raise ValueError(f"this result has no column {by!r}{nearest(by, known)}; "
                             f"columns: {', '.join(known) or 'none'}")
        names = ["all rows"] * len(self._result) if by is None else self._result.columns[by]
        groups: dict[str, list[str]] = {str(name): [] for name in names}
        for name, record in zip(names, self._result.records, strict=True):
            if record.valid:
                groups[str(name)].append(record.text)
        return logos.logo(groups, logos.alphabet_of([s for g in groups.values() for s in g]),
                          positions=positions)

    def grid(self, columns: int = 4) -> Picture:
        """The first 24 molecules or graphs drawn, invalid ones with the reason."""
        if self._result.kind != "graph":
            self._molecular("grid")
        return plots.grid(cards_of(self._result), columns)

    def _molecular(self, what: str) -> Sequence[Record]:
        if self._result.kind != "molecule":
            raise ValueError(f"plot.{what}() draws molecules, got rows of kind "
                             f"{self._result.kind!r}")
        return self._result.records


def _scores(
    columns: Mapping[str, Sequence[Any]],
) -> tuple[NDArray[np.float64], dict[str, NDArray[np.float64]]]:
    status = columns.get("status", ["ok"] * len(columns["score"]))
    asked = np.array([s == "ok" for s in status], np.bool_)
    terms = {k: np.asarray(v, np.float64) for k, v in columns.items()
             if k not in OWN_PLACE and _numeric(v)}
    return np.where(asked, np.asarray(columns["score"], np.float64), np.nan), terms


def _numeric(values: Sequence[Any]) -> bool:
    return all(isinstance(v, int | float) for v in values)


def _properties(reference: Any) -> Mapping[str, NDArray[Any]]:
    found = getattr(reference, "properties", None)  # an evaluation Reference was measured before
    if found is None and hasattr(reference, "description"):
        found = reference.description.properties  # another result, of any kind
    return found if isinstance(found, Mapping) else property_values(_molecules(reference))


def _molecules(reference: Any) -> list[Mol]:
    """Molecules of a reference; unreadable and invalid rows are passed over."""
    rows = list(reference)
    unknown = next((r for r in rows if not isinstance(r, str | Mol | Record)), None)
    if unknown is not None:
        raise ValueError("a reference is a result, SMILES or RDKit molecules, got a "
                         f"{type(unknown).__name__}")
    found = [molecules([r]) if isinstance(r, Record) else
             [r if isinstance(r, Mol) else parse(r)] for r in rows]
    return [m for part in found for m in part if m is not None]
