"""Repair of generated molecules as Jo et al. 2022 publish it, and what it costs: bonds lowered,
fragments dropped."""

from __future__ import annotations

from dataclasses import dataclass

from rdkit import Chem, rdBase
from rdkit.Chem import Mol

from scidiff.chem.assemble import BONDS, broken_rule
from scidiff.chem.molecules import parse

_LOWER = {BONDS[2]: BONDS[1], BONDS[3]: BONDS[2]}


@dataclass(frozen=True)
class Corrected:
    """A repaired molecule; `mol` is None where it breaks a rule still."""

    mol: Mol | None
    smiles: str
    atoms: int  # of what was given
    kept: int
    lowered: int  # bond orders taken away

    @property
    def changed(self) -> bool:
        return self.lowered > 0 or self.kept < self.atoms


def correct(smiles: str) -> Corrected | None:
    """Lower the highest bond of an atom above its valence until none is; keep the fragment whose
    SMILES is longest (Jo et al. 2022, as published).

    Returns None for text that is no SMILES, or whose aromatic bonds are none.
    """
    read = parse(smiles, sanitize=False)
    if read is None:
        return None
    mol = Chem.RWMol(read)
    with rdBase.BlockLogs():
        try:
            Chem.Kekulize(mol, clearAromaticFlags=True)
        except Chem.KekulizeException:
            return None
    lowered = 0
    while (atom := _overloaded(mol)) is not None and _lower(mol, atom):
        lowered += 1
    longest = max(_fragments(mol), key=lambda part: len(Chem.MolToSmiles(part)), default=mol)
    reason, text = broken_rule(longest), Chem.MolToSmiles(longest)
    kept = longest.GetNumAtoms()
    return Corrected(None if reason else longest, text, read.GetNumAtoms(), kept, lowered)


def _overloaded(mol: Mol) -> int | None:
    """The first atom above its valence."""
    with rdBase.BlockLogs():
        problems = Chem.DetectChemistryProblems(mol, Chem.SANITIZE_PROPERTIES)
    return problems[0].GetAtomIdx() if problems else None


def _lower(mol: Chem.RWMol, atom: int) -> bool:
    """Take one order from the highest bond of an atom, removing it where it is single; False where
    it has none."""
    bonds = sorted(mol.GetAtomWithIdx(atom).GetBonds(), key=lambda b: -b.GetBondTypeAsDouble())
    if not bonds:
        return False
    ends, kind = (bonds[0].GetBeginAtomIdx(), bonds[0].GetEndAtomIdx()), bonds[0].GetBondType()
    mol.RemoveBond(*ends)
    if kind in _LOWER:
        mol.AddBond(*ends, _LOWER[kind])
    return True


def _fragments(mol: Mol) -> list[Mol]:
    return list(Chem.GetMolFrags(mol.GetMol(), asMols=True, sanitizeFrags=False))
