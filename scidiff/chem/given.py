"""Given parts of molecules: fragments with attachment points, and whether they are still there."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from random import Random

from rdkit import Chem, rdBase
from rdkit.Chem import Mol

from scidiff.chem.checks import check
from scidiff.chem.fragments import connected, cut_bonds, pieces
from scidiff.chem.molecules import parse


def read_part(smiles: str) -> Mol:
    """Read a fragment whose attachment points are * or [*], of any isotope or number.

    Raises ValueError for what is not one connected fragment, and for a * that is not at a single
    bond or stands where it says which side of a double bond something is on.
    """
    mol = parse(smiles)
    if mol is None:
        raise ValueError(f"fragment {smiles!r} is not readable: {check(smiles).message}")
    if len(Chem.GetMolFrags(mol)) > 1:
        raise ValueError(f"fragment {smiles!r} is in several parts, expected one")
    if mol.GetNumAtoms() == len(points(mol)):
        raise ValueError(f"fragment {smiles!r} holds no atoms besides its attachment points")
    for point in points(mol):
        bonds = mol.GetAtomWithIdx(point).GetBonds()
        if [b.GetBondType() for b in bonds] != [Chem.BondType.SINGLE]:
            raise ValueError(f"fragment {smiles!r}: an attachment point has one single bond")
    try:
        pieces(mol, [])
    except ValueError as error:
        raise ValueError(f"fragment {smiles!r}: {error}") from None
    return mol


def points(mol: Mol) -> list[int]:
    """Atom indices of the attachment points."""
    return [atom.GetIdx() for atom in mol.GetAtoms() if atom.GetAtomicNum() == 0]


def write_part(
    mol: Mol, labels: Sequence[int], own: Sequence[int], rng: Random, first: int | None = None
) -> str:
    """Write a given part in pieces, its j-th attachment point as labels[j], its cuts as `own`.

    The order is drawn; with `first` = j the piece with that attachment point comes first. Where
    there are more bonds to cut than `own` labels the part stays in one piece.
    """
    cuts = cut_bonds(mol)
    cuts = cuts if len(cuts) <= len(own) else []
    parts = pieces(mol, cuts)
    start = None
    if first is not None:
        start = next(i for i, part in enumerate(parts) if -1 - first in part.ends)
    names = {-1 - j: label for j, label in enumerate(labels)} | dict(enumerate(own))
    return ".".join(part.text(names) for part in connected(parts, rng, start))


# ---------------------------------------------------------------- parts of a molecule


def without_each_piece(mol: Mol) -> list[list[Mol]]:
    """For every piece of a molecule, what is left without it: parts with one attachment point
    each."""
    cuts = cut_bonds(mol)
    if not cuts:
        return []
    opened = Chem.FragmentOnBonds(mol, cuts, dummyLabels=[(0, 0)] * len(cuts))
    n, left = mol.GetNumAtoms(), []
    for atoms in Chem.GetMolFrags(opened):
        around = [cuts[(atom - n) // 2] for atom in atoms if atom >= n]
        split = Chem.FragmentOnBonds(mol, around, dummyLabels=[(0, 0)] * len(around))
        inside = min(atoms)
        parts = Chem.GetMolFrags(split, asMols=True, sanitizeFrags=True)
        places = Chem.GetMolFrags(split)
        left.append([p for p, at in zip(parts, places, strict=True) if inside not in at])
    return left


def open_sites(mol: Mol) -> list[int]:
    """Atoms at which something may be attached in the place of a hydrogen; chiral centres, where
    that would choose a neighbour's rank, are left alone."""
    return [
        atom.GetIdx()
        for atom in mol.GetAtoms()
        if atom.GetTotalNumHs() > 0 and atom.GetChiralTag() == Chem.ChiralType.CHI_UNSPECIFIED
    ]


def opened_at(mol: Mol, sites: Sequence[int]) -> Mol:
    """The molecule with an attachment point in the place of a hydrogen of each of `sites`."""
    out = Chem.RWMol(mol)
    for site in sites:
        atom = out.GetAtomWithIdx(site)
        if atom.GetNumExplicitHs():
            atom.SetNumExplicitHs(atom.GetNumExplicitHs() - 1)
        out.AddBond(site, out.AddAtom(Chem.Atom(0)), Chem.BondType.SINGLE)
    with rdBase.BlockLogs():
        Chem.SanitizeMol(out)
    return out.GetMol()


# ---------------------------------------------------------------- is it still there


def holds(mol: Mol, parts: Sequence[Mol]) -> bool:
    """Whether a molecule is in one part and holds all given parts unchanged, side by side.

    Every atom has its element, charge, isotope, hydrogens, neighbours and chirality; an attachment
    point stands for one atom, whichever.
    """
    return len(Chem.GetMolFrags(mol)) == 1 and _placed(mol, list(parts), frozenset())


def _placed(mol: Mol, parts: Sequence[Mol], taken: frozenset[int]) -> bool:
    if not parts:
        return True
    return any(
        _placed(mol, parts[1:], taken | atoms)
        for atoms in _places(mol, parts[0])
        if not taken & atoms
    )


def _places(mol: Mol, part: Mol) -> Iterator[frozenset[int]]:
    """Where a part stands unchanged: its atoms without the attachment points."""
    own = [a.GetIdx() for a in part.GetAtoms() if a.GetAtomicNum()]
    query = Chem.AdjustQueryProperties(_unnumbered(part), _any_atom())
    for match in mol.GetSubstructMatches(query, uniquify=False, useChirality=True):
        if all(_same(part.GetAtomWithIdx(i), mol.GetAtomWithIdx(match[i])) for i in own):
            yield frozenset(match[i] for i in own)


def _any_atom() -> Chem.AdjustQueryParameters:
    asked = Chem.AdjustQueryParameters.NoAdjustments()
    asked.makeDummiesQueries = True  # type: ignore[assignment]
    return asked


def _unnumbered(part: Mol) -> Mol:
    out = Chem.Mol(part)
    for point in points(out):
        out.GetAtomWithIdx(point).SetIsotope(0)
        out.GetAtomWithIdx(point).SetAtomMapNum(0)
    return out


def _same(given: Chem.Atom, found: Chem.Atom) -> bool:
    return all(
        ask(given) == ask(found)
        for ask in (
            Chem.Atom.GetAtomicNum,
            Chem.Atom.GetFormalCharge,
            Chem.Atom.GetIsotope,
            Chem.Atom.GetTotalNumHs,
            Chem.Atom.GetDegree,
        )
    )
