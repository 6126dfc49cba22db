"""`result.plot`: which rows and values of a result go into which picture."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray

from scidiff.api.showing import OWN_PLACE, cards_of
from scidiff.evaluation import (
    campaign_plots,
    diversity,
    kmer_plots,
    logos,
    maps,
    plots,
    scaffold_plots,
)
from scidiff.evaluation.compared import as_records, objects_of
from scidiff.evaluation.description import every, measured
from scidiff.evaluation.likeness import COMPARED, alphabet_of, spelled
from scidiff.evaluation.plots import Picture
from scidiff.messages import nearest
from scidiff.rewards.pareto import front

if TYPE_CHECKING:
    from scidiff.api.design_result import DesignResult
    from scidiff.api.results import SampleResult

MAP_ROWS = 2_000  # dots of a map


class Plots:
    """Pictures of one result as matplotlib figures, their axes under `.axes`.

    A reference is another result, a list of objects (SMILES, RDKit molecules, sequences, graphs),
    a file of them, or a data set as "enhancers:test".
    """

    def __init__(self, result: SampleResult) -> None:
        self._result = result

    def properties(self, reference: Any = None) -> Picture:
        """Histograms of QED, SA score, logP and weight; of graphs nodes, edges, degree and
        clustering; of sequences length."""
        values = self._result.description.properties
        return plots.properties(values, None if reference is None else self._known(reference))

    def space(self, reference: Any = None, method: str | None = None) -> Picture:
        """Map of molecules by fingerprints, of sequences by k-mers, of graphs by descriptors;
        colour = score where there is one. `method` is umap (extra `umap`) or pca; None takes UMAP
        where it is installed."""
        drawn = every(self._valid("space", compared=()), MAP_ROWS)
        columns = self._result.columns
        colour = _scores(columns)[0][[i for i, _ in drawn]] if "score" in columns else None
        return maps.space([obj for _, obj in drawn], self._result.kind, colour, method=method,
                          reference=self._others(reference, MAP_ROWS))

    def diversity(self, reference: Any = None) -> Picture:
        """Internal diversity by the number of rows, #circles by distance, and the similarity to
        the nearest object of a reference; of at most 2,000 rows, of sequences whose lengths
        differ 150."""
        rows = [obj for _, obj in self._valid("diversity", compared=COMPARED)]
        return diversity.diversity(rows, self._result.kind, self._others(reference, MAP_ROWS))

    def scaffolds(self, reference: Any = None) -> Picture:
        """The most frequent scaffolds with their counts, and how much the first k of them hold."""
        rows = [obj for _, obj in self._valid("scaffolds", compared=("molecule",))]
        return scaffold_plots.scaffolds(rows, self._others(reference))

    def kmer(self, reference: Any, k: int = 3) -> Picture:
        """Frequencies of all k-mers beside those of a reference, with their correlation."""
        rows = [text for _, text in self._valid("kmer", compared=("sequence",))]
        return kmer_plots.kmer(rows, self._others(reference), k, alphabet_of(rows))

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
        self._check("logo", ("sequence",))
        if by is not None and by not in self._result.columns:
            known = list(self._result.columns)
            raise ValueError(f"this result has no column {by!r}{nearest(by, known)}; "
                             f"columns: {', '.join(known) or 'none'}")
        names = ["all rows"] * len(self._result) if by is None else self._result.columns[by]
        groups: dict[str, list[str]] = {str(name): [] for name in names}
        for name, record in zip(names, self._result.records, strict=True):
            if record.valid:
                groups[str(name)].append(record.text)
        return logos.logo(groups, alphabet_of([s for g in groups.values() for s in g]),
                          positions=positions)

    def trajectory(self, row: int = 0, panels: int = 8, model: Any = None) -> Picture:
        """How a row of `Model.sample` appeared, step by step: it is drawn again with its chunk.

        `model` is needed where its name is not that of a shipped one. See `api.trajectory`.
        """
        from scidiff.api.trajectory import retraced

        return retraced(self._result, row, model).plot(panels)

    def grid(self, columns: int = 4) -> Picture:
        """The first 24 molecules or graphs drawn, invalid ones with the reason."""
        self._check("grid", ("molecule", "graph"))
        return plots.grid(cards_of(self._result), columns)

    def _check(self, what: str, kinds: Sequence[str]) -> None:
        if kinds and self._result.kind not in kinds:
            raise ValueError(f"plot.{what}() draws {' and '.join(f'{k}s' for k in kinds)}, got "
                             f"rows of kind {self._result.kind!r}")

    def _valid(self, what: str, compared: Sequence[str]) -> list[tuple[int, Any]]:
        """Numbers and objects of the valid rows."""
        self._check(what, compared)
        return [(i, obj) for i, record in enumerate(self._result.records)
                for obj in objects_of([record], self._result.kind)]

    def _others(self, reference: Any, most: int | None = None) -> list[Any]:
        """Objects of a reference; sequences as the alphabet of the result writes them."""
        if reference is None:
            return []
        found = objects_of(reference, self._result.kind, most)
        if self._result.kind != "sequence":
            return found
        own = alphabet_of([r.text for r in self._result.records if r.valid])
        return spelled(found, own)

    def _known(self, reference: Any) -> Mapping[str, NDArray[Any]]:
        """Properties of a reference, measured already or now."""
        found = getattr(reference, "properties", None)  # an evaluation Reference
        if getattr(reference, "kind", "") == self._result.kind:
            found = reference.description.properties  # another result
        if isinstance(found, Mapping):
            return found
        rows = as_records(self._others(reference, MAP_ROWS))
        return measured(rows, self._result.kind)


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
