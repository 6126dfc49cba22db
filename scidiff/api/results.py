"""What sampling hands back: every row, what it is worth, and where it came from."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, overload

import numpy as np
from numpy.typing import NDArray

from scidiff.api.saving import SUFFIXES, check_output, plain, provenance_text, save
from scidiff.api.typed import typed
from scidiff.data.records import Record

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa

    from scidiff.api.plotting import Plots
    from scidiff.evaluation.description import Description, Known
    from scidiff.evaluation.metric import Metric


TEXT_COLUMN = {"molecule": "smiles", "sequence": "sequence", "graph": "graph"}  # by kind


class SampleResult:
    """Rows as they were drawn, invalid ones with the reason; nothing is dropped or reordered.

    `kind` is "molecule", "sequence" or "graph". `columns` are extra values, one a row. `novelty`
    answers `contains(keys) -> (B,) bool` for the training set. `notes` are lines shown above the
    rows. Raises ValueError for a column of another length, or with the name of a row's own field.
    """

    def __init__(
        self,
        records: Sequence[Record],
        *,
        kind: str,
        provenance: Mapping[str, Any],
        columns: Mapping[str, Sequence[Any]] | None = None,
        novelty: Known | None = None,
        notes: Sequence[str] = (),
    ) -> None:
        self.records, self.kind, self.novelty = tuple(records), kind, novelty
        self.provenance, self.notes = dict(provenance), tuple(notes)
        self.columns = {name: _values(column) for name, column in (columns or {}).items()}
        own = (self.text_name, "valid", "reason", "canonical")
        for name, values in self.columns.items():
            if name in own:
                raise ValueError(f"a column cannot be called {name!r}: every row has one already")
            if len(values) != len(self):
                raise ValueError(f"column {name!r} must have {len(self)} values, one a row, "
                                 f"got {len(values)}")

    def __len__(self) -> int:
        return len(self.records)

    def __iter__(self) -> Iterator[Record]:
        return iter(self.records)

    @overload
    def __getitem__(self, index: int) -> Record: ...

    @overload
    def __getitem__(self, index: slice | Sequence[Any] | NDArray[Any]) -> SampleResult: ...

    def __getitem__(self, index: Any) -> Record | SampleResult:
        """One row, or the rows of a slice, a mask or a list of row numbers as a result."""
        if isinstance(index, int | np.integer):
            return self.records[index]
        if not isinstance(index, slice):
            index = np.asarray(index)  # an empty list is a choice of no rows
            index = index if len(index) else index.astype(np.int64)
        chosen = np.arange(len(self))[index].tolist()
        return SampleResult(
            [self.records[i] for i in chosen], kind=self.kind, provenance=self.provenance,
            columns={name: [v[i] for i in chosen] for name, v in self.columns.items()},
            novelty=self.novelty, notes=self.notes)

    @property
    def text_name(self) -> str:
        """What the text of a row is called: smiles, sequence, graph or text."""
        return TEXT_COLUMN.get(self.kind, "text")

    @property
    def texts(self) -> list[str]:
        """Every row as it was written."""
        return [r.text for r in self.records]

    @property
    def valid(self) -> NDArray[np.bool_]:
        """Which rows are valid, (B,)."""
        return np.array([r.valid for r in self.records], np.bool_)

    @property
    def objects(self) -> list[Any]:
        """The objects of the valid rows: RDKit molecules, networkx graphs, or texts."""
        return [r.text if r.obj is None else r.obj for r in self.records if r.valid]

    def corrected(self) -> SampleResult:
        """Molecules whose invalid rows are repaired as Jo et al. 2022 do: bonds above the valence
        lowered, the fragment with the longest SMILES kept.

        Columns corrected and atoms_kept (share of the row's atoms) say what it cost row by row.
        """
        from scidiff.api.repair import corrected

        return corrected(self)

    # ---- tables

    def relaxed(self, method: str = "mmff") -> SampleResult:
        """A copy with structures relaxed by mmff, uff or gfn2, and columns that say what that
        changed (`relaxing.relaxed_result`)."""
        from scidiff.api.relaxing import relaxed_result

        return relaxed_result(self, method)

    def _table(self) -> dict[str, list[Any]]:
        own: dict[str, list[Any]] = {
            self.text_name: self.texts, "valid": self.valid.tolist(),
            "reason": [r.reason for r in self.records]}
        if self.kind == "molecule":
            from scidiff.evaluation.description import row_key

            own["canonical"] = [row_key(r, self.kind) if r.valid else None for r in self.records]
        return {**own, **self.columns}

    def to_frame(self) -> pd.DataFrame:
        """A row a row: smiles or sequence, valid, reason, canonical (molecules), then columns."""
        import pandas as pd

        return pd.DataFrame(self._table())

    def to_arrow(self) -> pa.Table:
        """The same columns; provenance is JSON in the schema's metadata under "scidiff"."""
        import pyarrow as pa

        types = {self.text_name: pa.string(), "valid": pa.bool_(), "reason": pa.string(),
                 "canonical": pa.string()}
        arrays = {name: pa.array(v, types.get(name)) for name, v in self._table().items()}
        return pa.table(arrays).replace_schema_metadata({"scidiff": provenance_text(self)})

    # ---- numbers

    @cached_property
    def description(self) -> Description:
        """All that was counted and measured, once; `summary` and `metrics` read it."""
        from scidiff.evaluation.description import describe

        return describe(self.records, self.kind, self.novelty)

    def summary(self) -> dict[str, Any]:
        """Shares of valid, of distinct among valid, of novel among distinct rows; diversity,
        means and deviations of properties; how often each reason of invalidity occurs.

        NaN where undefined. Diversity is 1 - mean Tanimoto similarity of at most 2,000 molecules,
        properties are those of at most 1,000, evenly spaced; SA runs from 1 (easy) to 10 (hard).
        """
        return self.description.to_dict()

    def metrics(self) -> list[Metric]:
        """The numbers of `summary` with 95 % intervals."""
        return self.description.metrics()

    # ---- pictures

    @property
    def plot(self) -> Plots:
        """Pictures: .properties(), .space(), .scores(), .grid()."""
        from scidiff.api.plotting import Plots

        return Plots(self)

    def __repr__(self) -> str:
        n, good = len(self), int(self.valid.sum())
        source = [f"{key} {self.provenance[key]}" for key in ("model", "seed")
                  if key in self.provenance]
        return f"<SampleResult: {', '.join([f'{n:,} rows', f'{good:,} valid', *source])}>"

    def _repr_html_(self) -> str:
        from scidiff.api.showing import notebook_html

        return notebook_html(self)

    def to_html(self) -> str:
        """The page of `sd.report`: metrics, plots, rows, provenance, in one file."""
        from scidiff.api.reporting import page_of

        return page_of(self)

    @typed
    def save(self, path: str | Path) -> None:
        """Write by suffix: csv, parquet, html; smi, sdf, png for molecules; fasta for sequences;
        g6, npz, png for graphs.

        Provenance goes into Parquet and HTML, else beside the file as NAME.SUFFIX.json. smi, sdf
        and fasta hold valid rows only; the file beside them lists the others. Raises ValueError
        for another suffix, OSError where the folder cannot be written to.
        """
        save(self, path)


def _values(column: Any) -> list[Any]:
    """A column as plain Python values."""
    return list(column.tolist() if hasattr(column, "tolist") else column)


__all__ = ["SUFFIXES", "SampleResult", "check_output", "plain"]
