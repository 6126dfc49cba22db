"""Molecules in space: stability, validity by each rule of bonds, plausibility, strain, and how
far their bond lengths, angles and dihedrals are from those of real molecules.

All shares are of all rows, so that an invalid row counts against each of them.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from rdkit import Chem
from rdkit.Chem import Mol

from scidiff.chem.conformers import ConformerError
from scidiff.chem.geometry import examine_points
from scidiff.chem.molecules import canonical
from scidiff.chem.relaxation import Relaxed, relaxed
from scidiff.chem.units import UNITS, suspected_unit
from scidiff.core import ScidiffError
from scidiff.data.points import Points
from scidiff.data.records import Record
from scidiff.evaluation.counts import novelty, proportion, uniqueness, validity
from scidiff.evaluation.geometry_laws import Law
from scidiff.evaluation.geometry_reference import GeometryReference, law_metrics, qm9_geometry
from scidiff.evaluation.intervals import RATIO, SPREAD, ratio_interval, spread
from scidiff.evaluation.metric import Metric, Report, absent, versions
from scidiff.evaluation.novelty import Known
from scidiff.evaluation.rows import evenly, listed
from scidiff.evaluation.stability import edm
from scidiff.evaluation.structures import points_of, structure_file
from scidiff.rewards.poses import PoseBusters
from scidiff.rewards.singly import ExtraMissing

FOUND = ("edm", "rdkit")  # rules that need nothing but distances
RELAXED, BUSTED = 500, 100  # molecules at most: 10 ms each to relax, half a second to bust


@dataclass
class Sample:
    """What is kept of the rows."""

    n: int = 0
    placed: int = 0  # rows with a structure
    atoms: list[int] = field(default_factory=list)  # of each row
    stable: list[int] = field(default_factory=list)  # of these
    whole: int = 0  # rows with every atom stable
    valid: dict[str, list[str]] = field(default_factory=lambda: {rule: [] for rule in FOUND})
    connected: int = 0
    keys: list[str] = field(default_factory=list)  # of the valid rows, without stereo
    mols: list[Mol] = field(default_factory=list)  # the valid rows with a structure
    law: Law = field(default_factory=Law)
    units: Counter[str] = field(default_factory=Counter)

    def add(self, record: Record) -> None:
        """Measure one row."""
        self.n += 1
        points = points_of(record)
        if record.valid:
            mol = record.obj if isinstance(record.obj, Mol) else None
            self.keys.append(flat_name(mol) if mol is not None else record.text)
            self.connected += mol is not None and len(Chem.GetMolFrags(mol)) == 1
            self.mols += [mol] if mol is not None and points is not None else []
        if points is None:
            self.atoms.append(0)
            self.stable.append(0)
            return
        self._place(points)

    def _place(self, points: Points) -> None:
        self.placed += 1
        stable, whole = edm(points)
        self.atoms.append(len(stable))
        self.stable.append(int(stable.sum()))
        self.whole += whole
        self.units.update(filter(None, [suspected_unit(points)]))
        uncharged = replace(points, charges=np.zeros_like(points.charges))  # as EDM reads them
        for rule in FOUND:
            mol, report = examine_points(uncharged if rule == "edm" else points, rule)
            if mol is not None and report.valid:
                self.valid[rule].append(flat_name(mol))
                if rule == "rdkit":
                    self.law.add(mol)


def structure_suite(
    rows: Iterable[Record], *, train: Known | None = None,
    reference: GeometryReference | None = None,
) -> Report:
    """Measure molecules in space. `reference` is what lengths, angles and dihedrals are held
    against, by default those of QM9.

    Raises ScidiffError where there are rows and none has a structure.
    """
    sample = Sample()
    for row in rows:
        sample.add(row)
    if sample.n and not sample.placed:
        raise ScidiffError(f"none of {sample.n:,} rows has a structure in space: give an .sdf or "
                           ".xyz file, points, or molecules with a conformer")
    against = qm9_geometry() if reference is None else reference
    found = [*stability(sample), *valid_rows(sample)]
    if train is not None:
        found.append(novelty(sample.keys, train))
    found += [*law_metrics(sample.law, against), *plausible(sample)]
    facts = {"suite": "3d", "rows": sample.n, "with_structure": sample.placed,
             "reference": against.name, **versions()}
    return Report(tuple(found), facts, tuple(_unit_notes(sample)))


def stability(sample: Sample) -> list[Metric]:
    """atom_stable and mol_stable by EDM's rule (`evaluation.stability`)."""
    what = "atoms whose bond orders by EDM's table sum to their valence / all atoms"
    atoms, stable = np.array(sample.atoms, float), np.array(sample.stable, float)
    if not atoms.sum():
        return [absent("atom_stable", 0, what, "there are no atoms")]
    value, low, high = ratio_interval(stable, atoms) if len(atoms) > 1 else (
        float(stable.sum() / atoms.sum()), math.nan, math.nan)
    method = "" if math.isnan(low) else RATIO
    low, high = max(low, 0.0), min(high, 1.0)  # NaN stays NaN: max and min keep their first
    return [Metric("atom_stable", value, low, high, int(atoms.sum()), what, "", method),
            proportion("mol_stable", sample.whole, sample.n, "rows with every atom stable by "
                                                             "EDM's rule / all rows")]


def valid_rows(sample: Sample) -> list[Metric]:
    """Rows that RDKit sanitises: as they came, and with bonds found by each rule."""
    found = [validity(len(sample.keys), sample.n)]
    for rule in FOUND:
        keys = sample.valid[rule]
        found.append(proportion(f"valid_{rule}", len(keys), sample.n,
                                f"rows that RDKit sanitises, bonds by the rule {rule} / all rows"))
    distinct = len(set(sample.valid["edm"]))
    return [*found,
            proportion("valid_unique_edm", distinct, sample.n, "distinct molecules that RDKit "
                       "sanitises, bonds by the rule edm / all rows"),
            proportion("connected", sample.connected, sample.n,
                       "valid rows of one piece / all rows"),
            uniqueness(sample.keys)]


# ---------------------------------------------------------------- plausibility and strain


def plausible(sample: Sample) -> list[Metric]:
    """PoseBusters before and after relaxation, strain, and how far relaxation moves atoms."""
    some = [sample.mols[i] for i in evenly(len(sample.mols), RELAXED)] if sample.mols else []
    pairs, failed = [], 0
    for mol in some:
        try:
            pairs.append((mol, relaxed(mol)))
        except ConformerError:
            failed += 1
    left = [f"{failed} of {len(some)} without parameters"] if failed else []
    left += [f"of {len(some)} molecules, evenly spaced"] if len(some) < len(sample.mols) else []
    done = [r for _, r in pairs]
    return [*busted(sample, "posebusters", sample.mols),
            *busted(sample, "posebusters_relaxed", [r.mol for r in done]),
            _median("strain_mmff", done, lambda r: r.strain,
                    "median kcal/mol above the nearest MMFF94 minimum, valid rows", left),
            _median("relaxation_rmsd_mmff", done, lambda r: r.rmsd,
                    "median angstrom that atoms move to it, valid rows", left)]


def busted(sample: Sample, name: str, mols: Sequence[Mol]) -> list[Metric]:
    """Share of the rows that pass every check of PoseBusters, from at most BUSTED valid ones."""
    what = "rows that pass every check of PoseBusters / all rows"
    what += " after relaxation by MMFF94" if name.endswith("relaxed") else ""
    try:
        checks = PoseBusters("all")
    except ExtraMissing as missing:
        return [absent(name, 0, what, str(missing))]
    if not mols:
        return [absent(name, sample.n, what, "no row is valid")]
    some = [mols[i] for i in evenly(len(mols), BUSTED)]
    passed = sum(a.value == 1.0 for a in checks.answers(some))
    n = max(round(sample.n * len(some) / len(sample.mols)), len(some))
    note = f"from {len(some)} valid rows, evenly spaced" if len(some) < len(mols) else ""
    return [proportion(name, passed, n, what, note)]


def _median(
    name: str, done: Sequence[Relaxed], value: Callable[[Relaxed], float], what: str,
    notes: Sequence[str],
) -> Metric:
    values = np.array([value(r) for r in done])
    if not len(values):
        return absent(name, 0, what, ", ".join(["no row could be relaxed", *notes]))
    middle = float(np.median(values))
    low, high = spread(middle, lambda part: float(np.median(part)), values)
    return Metric(name, middle, low, high, len(values), what, ", ".join(notes),
                  "" if math.isnan(low) else SPREAD)


def _unit_notes(sample: Sample) -> list[str]:
    """What to say where most rows look like another unit than angstrom."""
    for unit, rows in sample.units.most_common(1):
        if rows > sample.placed / 2:
            return [f"{rows:,} of {sample.placed:,} structures look like {unit}, not angstrom: "
                    f"read them with units={unit!r} (times {UNITS[unit]:.4g}); nothing was "
                    "converted"]
    return []


def flat_name(mol: Mol) -> str:
    """Canonical SMILES without stereo, no hydrogen written."""
    copy = Chem.Mol(mol)
    Chem.RemoveStereochemistry(copy)
    return canonical(copy) or ""


def as_geometry(given: Any) -> GeometryReference:
    """A reference as it is, out of an .npz, or fitted on a file or a list of molecules in space.

    Raises ValueError where none of them has bonds by the rule rdkit."""
    if isinstance(given, GeometryReference):
        return given
    if isinstance(given, str | Path):
        if Path(given).suffix == ".npz":
            return GeometryReference.load(given)
        name, rows = Path(given).name, structure_file(given)
    else:
        name, rows = "the molecules given", listed(given)
    points = filter(None, (points_of(record) for _, record in rows))
    mols = (examine_points(p, "rdkit") for p in points)
    return GeometryReference.fit(name, Law(mol for mol, found in mols
                                           if mol is not None and found.valid))
