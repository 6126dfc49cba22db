"""Pictures and the report of a result: what is shown of it, drawn by scidiff.evaluation."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from rdkit.Chem import Mol

from scidiff.chem.molecules import parse
from scidiff.data.records import Record
from scidiff.evaluation import plots
from scidiff.evaluation.description import describe, every, molecules, property_values
from scidiff.evaluation.plots import Picture
from scidiff.evaluation.report import Page, Table, report
from scidiff.saving import plain

if TYPE_CHECKING:
    from scidiff.results import SampleResult

MAP_ROWS = 2_000  # dots of a map
TABLE_ROWS = 200  # drawings of a report


class Plots:
    """Pictures of one result. A reference is another result, an evaluation Reference, or molecules
    (SMILES or RDKit); what is shown is a matplotlib figure, its axes under `.axes`."""

    def __init__(self, result: SampleResult) -> None:
        self._result = result

    def properties(self, reference: Any = None) -> Picture:
        """Histograms of QED, SA score, logP and weight (length for sequences)."""
        values = describe(self._result.records, self._result.kind).properties
        return plots.properties(values, None if reference is None else _properties(reference))

    def space(self, reference: Any = None) -> Picture:
        """Map of Morgan fingerprints (principal axes), colour = score where there is one."""
        rows = [i for i, r in enumerate(self._molecular("space")) if isinstance(r.obj, Mol)]
        rows = every(rows, MAP_ROWS)
        score = self._result.columns.get("score")
        colour = None if score is None else np.array([score[i] for i in rows], np.float64)
        others = [] if reference is None else every(_molecules(reference), MAP_ROWS)
        return plots.space([self._result.records[i].obj for i in rows], colour, reference=others)

    def scores(self) -> Picture:
        """Scores from the best down, and the terms of the reward. Raises ValueError where the
        rows have no score."""
        columns = self._result.columns
        if "score" not in columns:
            raise ValueError("this result has no column 'score': scores come from sd.design")
        return plots.scores(*_scores(columns))

    def grid(self, columns: int = 4) -> Picture:
        """The first 24 rows drawn, invalid ones with the reason."""
        self._molecular("grid")
        return plots.grid(self._result.cards(), columns)

    def _molecular(self, what: str) -> Sequence[Record]:
        if self._result.kind != "molecule":
            raise ValueError(f"plot.{what}() draws molecules, got rows of kind "
                             f"{self._result.kind!r}")
        return self._result.records


def page_of(result: SampleResult) -> str:
    """The report of a result as one HTML page."""
    summary = result.summary()
    name = str(result.provenance.get("model", "a file"))
    made = "Designs" if "score" in result.columns else "Samples"
    valid = int(result.valid.sum())
    cards = result.cards(range(min(len(result), TABLE_ROWS)))
    return report(Page(
        title=f"{made} from {name}",
        subtitle=_subtitle(result, valid),
        metrics=result.metrics(),
        notes=result.notes,
        plots=_figures(result) if valid else {},
        reasons=summary["reasons"],
        table=Table(cards, {k: v[:TABLE_ROWS] for k, v in result.columns.items()}, len(result)),
        provenance=plain(result.provenance),
    ))


def _subtitle(result: SampleResult, valid: int) -> str:
    facts = [f"{len(result):,} rows", f"{valid:,} valid"]
    design = result.provenance.get("design", {})
    facts += [f"reward {design['reward']}", f"method {design['method']}"] if design else []
    facts += [f"{k} {result.provenance[k]}" for k in ("seed", "scidiff") if k in result.provenance]
    return " · ".join(facts)


def _figures(result: SampleResult) -> dict[str, str]:
    found = {}
    if "score" in result.columns:
        found["Scores from the best down (mean dashed), and the terms of the reward; "
              "boxes span the quartiles"] = result.plot.scores().svg()
    found["Properties of the valid rows; lines mark the medians"] = result.plot.properties().svg()
    if result.kind == "molecule" and len(result) > 2:
        found["Fingerprint map: near means similar"] = result.plot.space().svg()
    return found


def _scores(
    columns: Mapping[str, Sequence[Any]],
) -> tuple[NDArray[np.float64], dict[str, NDArray[np.float64]]]:
    status = columns.get("status", ["ok"] * len(columns["score"]))
    asked = np.array([s == "ok" for s in status], np.bool_)
    terms = {k: np.asarray(v, np.float64) for k, v in columns.items()
             if k not in ("score", "log_w", "status") and _numeric(v)}
    return np.where(asked, np.asarray(columns["score"], np.float64), np.nan), terms


def _numeric(values: Sequence[Any]) -> bool:
    return all(isinstance(v, int | float) for v in values)


def _properties(reference: Any) -> Mapping[str, NDArray[Any]]:
    found = getattr(reference, "properties", None)  # an evaluation Reference was measured before
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
