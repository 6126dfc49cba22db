"""`result.plot`: which rows and values of a result go into which picture."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from rdkit.Chem import Mol

from scidiff.api.showing import OWN_PLACE, cards_of
from scidiff.chem.molecules import parse
from scidiff.data.records import Record
from scidiff.evaluation import campaign_plots, logos, plots
from scidiff.evaluation.description import every, molecules, property_values
from scidiff.evaluation.plots import Picture
from scidiff.rewards.pareto import front
from scidiff.rewards.registry import nearest

if TYPE_CHECKING:
    from scidiff.api.design_result import DesignResult
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


class DesignPlots(Plots):
    """Pictures of designs, and of the campaign that found them."""

    def __init__(self, design: DesignResult) -> None:
        super().__init__(design.rows)
        self._design = design

    def curves(self, by: str = "asked") -> Picture:
        """Best score and mean of the ten best by what was spent: asked, network_rows or
        seconds."""
        history = {name: column.tolist() for name, column in self._design.history.items()}
        return campaign_plots.curves({"": history}, by)

    def pareto(self, *names: str) -> Picture:
        """All that was asked by two terms of the reward (by default the first two), and the
        objects that no other one beats in both. Raises ValueError where there are not two."""
        asked = self._design.asked
        values, terms = _scores(asked.columns)
        names = names or tuple(terms)[:2]
        unknown = next((n for n in names if n not in terms), None)
        if len(names) != 2 or unknown is not None:
            raise ValueError(f"a Pareto front takes two terms of the reward, got "
                             f"{', '.join(names) or 'none'}{nearest(unknown or '', terms)}; "
                             f"terms: {', '.join(terms) or 'none'}")
        pairs = np.stack([terms[name] for name in names], 1)
        known = np.isfinite(pairs).all(1)
        best = np.zeros(len(pairs), np.bool_)
        best[known] = front(torch.from_numpy(pairs[known])).numpy()
        return campaign_plots.pareto(pairs, best, (names[0], names[1]))


def _scores(
    columns: Mapping[str, Sequence[Any]],
) -> tuple[NDArray[np.float64], dict[str, NDArray[np.float64]]]:
    status = columns.get("status", ["ok"] * len(columns["score"]))
    asked = np.array([s == "ok" for s in status], np.bool_)
    terms = {k: np.asarray(v, np.float64) for k, v in columns.items()
             if k not in OWN_PLACE and k != "round" and _numeric(v)}
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
