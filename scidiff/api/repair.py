"""Repair of a result's invalid molecules, with what it cost told row by row."""

from __future__ import annotations

from typing import TYPE_CHECKING

from scidiff.chem.correction import correct
from scidiff.data.records import Record

if TYPE_CHECKING:
    from scidiff.api.results import SampleResult


def corrected(result: SampleResult) -> SampleResult:
    """The rows of `result` with columns corrected and atoms_kept; see SampleResult.corrected."""
    from scidiff.api.results import SampleResult

    if result.kind != "molecule":
        raise ValueError(f"molecules can be corrected, got rows of kind {result.kind!r}")
    rows = [repaired(record) for record in result.records]
    changed = [share for _, was, share in rows if was]
    mean = f", which keep {sum(changed) / len(changed):.1%} of their atoms" if changed else ""
    note = (
        f"{len(changed):,} of {len(rows):,} rows corrected{mean}; "
        f"{result.valid.mean():.1%} were valid before"
    )
    return SampleResult(
        [record for record, _, _ in rows],
        kind=result.kind,
        provenance={**result.provenance, "corrected": True},
        columns={
            **result.columns,
            "corrected": [was for _, was, _ in rows],
            "atoms_kept": [share for _, _, share in rows],
        },
        novelty=result.novelty,
        notes=(*result.notes, note),
    )


def repaired(record: Record) -> tuple[Record, bool, float]:
    """A row, whether it was changed, and the share of its atoms that is left."""
    found = None if record.valid else correct(record.text)
    if found is None or found.mol is None or not found.changed:
        return record, False, 1.0
    return Record(found.smiles, found.mol, True), True, found.kept / found.atoms
