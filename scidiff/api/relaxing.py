"""Structures of a result relaxed, on demand and said so: never in place, never silently."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from rdkit.Chem import Mol

from scidiff.chem.geometry import structure_of
from scidiff.chem.relaxation import Relaxed, relaxed
from scidiff.chem.structure_checks import chirality_kept
from scidiff.core import ScidiffError
from scidiff.data.points import Points
from scidiff.data.records import Record
from scidiff.rewards.gfn2_relaxation import relaxed_gfn2
from scidiff.rewards.singly import package

if TYPE_CHECKING:
    from scidiff.api.results import SampleResult

METHODS: dict[str, Callable[[Mol], Relaxed]] = {
    "mmff": relaxed, "uff": lambda mol: relaxed(mol, "uff"), "gfn2": relaxed_gfn2,
}


def relaxed_result(result: SampleResult, method: str = "mmff") -> SampleResult:
    """A copy of a result whose valid structures are relaxed by MMFF94, UFF or GFN2-xTB.

    Four columns say what became of a row: `relaxed` (the method, or why it was left as it was),
    `relaxation_rmsd` (angstrom that its atoms moved), `strain` (kcal/mol that it gave up) and
    `relaxation_chirality` (which stereocentres changed, "" for none). A row that cannot be relaxed
    keeps its structure. Raises ValueError for an unknown method or a result that is no molecules,
    ExtraMissing where gfn2 is asked for without tblite.
    """
    from scidiff.api.results import SampleResult

    if method not in METHODS:
        raise ValueError(f"method must be one of {', '.join(METHODS)}, got {method!r}")
    if result.kind != "molecule":
        raise ValueError(f"only molecules in space are relaxed, got a result of {result.kind}s")
    if method == "gfn2":
        package("tblite", "qm", "relaxation by gfn2")
    rows = [_row(record, METHODS[method]) for record in result.records]
    columns: dict[str, Sequence[Any]] = {
        "relaxed": [said for _, said, _, _ in rows],
        "relaxation_rmsd": [math.nan if r is None else r.rmsd for _, _, r, _ in rows],
        "strain": [math.nan if r is None else r.strain for _, _, r, _ in rows],
        "relaxation_chirality": [changed for _, _, _, changed in rows],
    }
    done = sum(r is not None for _, _, r, _ in rows)
    note = f"{done:,} of {len(rows):,} rows were relaxed by {method} after sampling"
    return SampleResult(
        [record for record, _, _, _ in rows], kind=result.kind,
        provenance={**result.provenance, "relaxed": method},
        columns={**result.columns, **columns}, novelty=result.novelty,
        notes=(*result.notes, note),
    )


def _row(
    record: Record, relax: Callable[[Mol], Relaxed]
) -> tuple[Record, str, Relaxed | None, str]:
    """The row after relaxation, the method or why there was none, what it did, and which
    stereocentres it changed."""
    if not record.valid:
        return record, "invalid", None, ""
    if not isinstance(record.obj, Mol) or not record.obj.GetNumConformers():
        return record, "no structure in space", None, ""
    try:
        done = relax(record.obj)
    except ScidiffError as why:
        return record, str(why), None, ""
    changed = chirality_kept(record.obj, done.mol)
    said = done.method if done.converged else f"{done.method}, not converged"
    note = "; ".join(filter(None, [record.note, f"relaxed: {done.method}"]))
    points = Points.of(*structure_of(done.mol))
    after = replace(record, obj=done.mol, points=points, note=note)
    return after, said, done, "" if changed is None else changed.message
