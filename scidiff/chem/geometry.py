"""Atoms in space as molecules: bonds found by a stated rule, or the reason why there is none.

    mol, report = examine_points(points)          # the manner of `chem.checks.examine`
    mol = mol_of(points, rule="rdkit")            # or a GeometryError

Rules: "edm", the table of bond lengths by which models are compared (`chem.bond_lengths`);
"rdkit", a bond wherever two atoms are nearer than REACH times the sum of their covalent radii, and
the Lewis structure of the total charge (Kim and Kim 2015, Bull. Korean Chem. Soc. 36:1769, as
RDKit has it); "given", the points' own bond orders.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol, cast

import numpy as np
from numpy.typing import NDArray
from rdkit import Chem, rdBase
from rdkit.Chem import Mol, rdDetermineBonds

from scidiff.chem.assemble import assemble
from scidiff.chem.bond_lengths import bonded_orders
from scidiff.chem.checks import CheckReport, examine
from scidiff.core import ScidiffError

LARGEST = 118
REACH = 1.15  # at RDKit's own 1.3 strained rings of QM9 are bonded across and 1 in 17 is refused
ITERATIONS = 20_000  # of the search for a Lewis structure, which can be exponential
READ = ("empty", "shape", "coordinates", "element", "bonds")  # why points are no molecule at all


class GeometryError(ScidiffError):
    """Points that are no molecule; `report` says which rule they break and where."""

    def __init__(self, report: CheckReport) -> None:
        super().__init__(f"{report.rule}: {report.message}")
        self.report = report


class Placed(Protocol):
    """Atoms in space, such as `data.points.Points`."""

    @property
    def numbers(self) -> Any: ...  # (n,) atomic numbers

    @property
    def positions(self) -> Any: ...  # (n, 3) angstrom


def mol_of(
    points: Placed, rule: str = "edm", *, allow_charge: bool = True,
    allow_disconnected: bool = True, allow_radicals: bool = True,
) -> Mol:
    """The sanitised molecule of points, all hydrogens atoms, with its structure as the conformer.

    Raises GeometryError where there is none, ValueError for an unknown rule; see
    `examine_points`.
    """
    mol, report = examine_points(points, rule, allow_charge=allow_charge,
                                 allow_disconnected=allow_disconnected,
                                 allow_radicals=allow_radicals)
    if not report.valid or mol is None:
        raise GeometryError(report)
    return mol


def examine_points(
    points: Placed, rule: str = "edm", *, allow_charge: bool = True,
    allow_disconnected: bool = True, allow_radicals: bool = True,
) -> tuple[Mol | None, CheckReport]:
    """Find the bonds of points and check the molecule: (it or None, the report).

    With the defaults what RDKit sanitises is valid, as EDM and its successors count; no hydrogen
    is added, an atom short of bonds is a radical. Stereo is read off the structure.
    """
    bonds = _rule(rule)
    report = readable(points)
    if report is not None:
        return None, report
    raw, report = bonds(points)
    if raw is None:
        return None, report
    mol, report = examine(raw, allow_charge=allow_charge, allow_disconnected=allow_disconnected,
                          allow_radicals=allow_radicals)
    if mol is not None:
        Chem.AssignStereochemistryFrom3D(mol)
    return mol, report


def readable(points: Placed) -> CheckReport | None:
    """Why points are no atoms in space at all, or None: nothing there, arrays that do not fit,
    places that are no numbers, numbers that are no elements."""
    numbers, places = np.asarray(points.numbers), np.asarray(points.positions)
    if numbers.size == 0:
        return CheckReport(False, "empty", (), "there are no atoms")
    if places.shape != (*numbers.shape, 3) or numbers.ndim != 1:
        return CheckReport(False, "shape", (), "numbers must be (n,) and positions (n, 3), got "
                                               f"{numbers.shape} and {places.shape}")
    wild = np.flatnonzero(~np.isfinite(places).all(1)).tolist()
    if wild:
        return CheckReport(False, "coordinates", tuple(wild),
                           f"{len(wild)} of {len(numbers)} atoms have places that are not finite")
    odd = np.flatnonzero((numbers < 1) | (numbers > LARGEST)).tolist()
    if odd:
        found = ", ".join(str(n) for n in sorted(set(numbers[odd].tolist())))
        return CheckReport(False, "element", tuple(odd),
                           f"no element has the atomic number {found}")
    return None


def structure_of(mol: Mol) -> tuple[NDArray[np.int64], NDArray[np.float64],
                                    NDArray[np.int64], NDArray[np.int64]]:
    """Numbers (n,), positions (n, 3) in angstrom, formal charges (n,) and kekulised bond orders
    (n, n) of a molecule in space. Raises ValueError for one without a structure in 3D."""
    if not mol.GetNumConformers() or not mol.GetConformer().Is3D():
        raise ValueError("expected a molecule with a structure in space, got one without")
    atoms = list(mol.GetAtoms())
    charges = np.array([a.GetFormalCharge() for a in atoms], np.int64)
    numbers = np.array([a.GetAtomicNum() for a in atoms], np.int64)
    copy = Chem.Mol(mol)
    with rdBase.BlockLogs():
        Chem.Kekulize(copy, clearAromaticFlags=True)
    orders = np.rint(Chem.GetAdjacencyMatrix(copy, useBO=True)).astype(np.int64)
    return numbers, np.array(mol.GetConformer().GetPositions(), np.float64), charges, orders


# ---------------------------------------------------------------- one function a rule

_Found = tuple[Mol | None, CheckReport]
_FINE = CheckReport(True)


def _edm(points: Placed) -> _Found:
    numbers, places = np.asarray(points.numbers), np.asarray(points.positions)
    return _built(points, bonded_orders(numbers, places)), _FINE


def _given(points: Placed) -> _Found:
    bonds = getattr(points, "bonds", None)
    n = len(np.asarray(points.numbers))
    if bonds is None:
        return None, CheckReport(False, "bonds", (), "the points have no bonds of their own; "
                                                     "rules that find them are edm and rdkit")
    orders = np.asarray(bonds)
    if orders.shape != (n, n) or (orders != orders.T).any() or orders.diagonal().any():
        return None, CheckReport(False, "bonds", (), f"bonds must be symmetric {(n, n)} without "
                                                     f"a diagonal, got {orders.shape}")
    if ((orders < 0) | (orders > 3)).any():
        return None, CheckReport(False, "bonds", (), "bond orders must be 0 to 3, got "
                                                     f"{orders.min()} to {orders.max()}")
    return _built(points, orders.astype(np.int64)), _FINE


def _lewis(points: Placed) -> _Found:
    n = len(np.asarray(points.numbers))
    mol = _built(points, np.zeros((n, n), np.int64), charged=False)
    charges = getattr(points, "charges", None)
    total = 0 if charges is None else int(np.asarray(charges).sum())
    try:
        with rdBase.BlockLogs():
            rdDetermineBonds.DetermineBonds(mol, charge=total, useVdw=True, covFactor=REACH,
                                            maxIterations=ITERATIONS)
    except (ValueError, RuntimeError) as error:
        said = str(error).strip().splitlines() or ["it gives no reason"]
        return None, CheckReport(False, "bonds", (), f"no Lewis structure of charge {total:+d}: "
                                                     f"{said[0]}")
    return _uncharged_pieces(mol, total)


def _uncharged_pieces(mol: Mol, total: int) -> _Found:
    """Refuse a neutral whole of charged pieces, which is how a Lewis structure is found of an
    atom torn off: [CH3-] and [H+]."""
    charges = [a.GetFormalCharge() for a in mol.GetAtoms()]
    pieces = Chem.GetMolFrags(mol)
    charged = [piece for piece in pieces if sum(charges[i] for i in piece)]
    if total or not charged:
        return mol, _FINE
    atoms = tuple(sorted(i for piece in charged for i in piece))
    return None, CheckReport(False, "bonds", atoms, f"{len(charged)} of {len(pieces)} pieces "
                                                    "would be ions")


RULES: dict[str, Callable[[Placed], _Found]] = {"edm": _edm, "rdkit": _lewis, "given": _given}


def _rule(name: str) -> Callable[[Placed], _Found]:
    if name not in RULES:
        raise ValueError(f"rule must be one of {', '.join(RULES)}, got {name!r}")
    return RULES[name]


def _built(points: Placed, orders: NDArray[np.int64], charged: bool = True) -> Mol:
    """Unsanitised, without implicit hydrogens, the structure as its conformer."""
    numbers = np.asarray(points.numbers).tolist()
    symbol = Chem.GetPeriodicTable().GetElementSymbol
    mol = assemble([symbol(n) for n in numbers], orders, charge=False, hydrogens=True)
    charges = getattr(points, "charges", None)
    if charged and charges is not None:
        for atom, charge in zip(mol.GetAtoms(), np.asarray(charges).tolist(), strict=True):
            atom.SetFormalCharge(int(charge))
    conformer = Chem.Conformer(len(numbers))
    conformer.Set3D(True)
    conformer.SetPositions(cast(Any, np.asarray(points.positions, np.float64)))
    mol.AddConformer(conformer, assignId=True)
    return mol
