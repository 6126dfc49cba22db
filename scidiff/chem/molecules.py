"""Molecules in and out of RDKit, silently: parsing, canonical names, scaffolds and fingerprints.

RDKit's own messages never reach the terminal from here; why a molecule is invalid is the business
of `scidiff.chem.checks`.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from rdkit import Chem, rdBase
from rdkit.Chem import Mol
from rdkit.Chem.rdFingerprintGenerator import FingerprintGenerator64, GetMorganGenerator
from rdkit.Chem.Scaffolds.MurckoScaffold import GetScaffoldForMol


def parse(smiles: str, sanitize: bool = True) -> Mol | None:
    """Read a SMILES; None where RDKit cannot, or where nothing is written.

    A name or a comment after a blank, and CXSMILES extensions, are refused rather than cut off.
    """
    if not smiles or any(c.isspace() for c in smiles):
        return None
    with rdBase.BlockLogs():
        return Chem.MolFromSmiles(smiles, sanitize=sanitize)


def as_mol(molecule: str | Mol) -> Mol | None:
    """Take a SMILES or a molecule; None for an unreadable SMILES."""
    return parse(molecule) if isinstance(molecule, str) else molecule


def without_hydrogens(mol: Mol) -> Mol:
    """A molecule as a graph of heavy atoms: those in space have their hydrogens as atoms, which
    fingerprints, fragment scores and counts of atoms would take for parts of the graph."""
    if mol.GetNumAtoms() == mol.GetNumHeavyAtoms():
        return mol
    with rdBase.BlockLogs():
        return Chem.RemoveHs(mol)


def canonical(molecule: str | Mol, stereo: bool = True) -> str | None:
    """Write RDKit's canonical SMILES; None for an unreadable SMILES.

    With `stereo=False` chiral centres and double bond geometry are left out (MOSES has none).
    """
    mol = as_mol(molecule)
    if mol is None:
        return None
    with rdBase.BlockLogs():
        return Chem.MolToSmiles(without_hydrogens(mol), isomericSmiles=stereo)


def rooted(molecule: str | Mol, share: float) -> str | None:
    """Write a SMILES that begins at the atom a `share` in [0, 1) down the list; None for an
    unreadable SMILES."""
    mol = as_mol(molecule)
    if mol is None or not mol.GetNumAtoms():
        return None
    with rdBase.BlockLogs():
        return Chem.MolToSmiles(mol, rootedAtAtom=int(share * mol.GetNumAtoms()))


def canonical_key(molecule: str | Mol) -> str:
    """Name a molecule for de-duplication and caches: equal for equal molecules.

    An unreadable SMILES is its own key, so that keys exist for every row.
    """
    key = canonical(molecule)
    return str(molecule) if key is None else key


def inchikey(molecule: str | Mol) -> str | None:
    """Hash of the standard InChI, 27 characters; None where there is no InChI.

    The standard InChI merges many tautomers and charge states that canonical SMILES keeps apart.
    """
    mol = as_mol(molecule)
    if mol is None:
        return None
    with rdBase.BlockLogs():
        return Chem.MolToInchiKey(mol) or None


def scaffold(molecule: str | Mol) -> str | None:
    """Bemis-Murcko scaffold (rings and the linkers between them) as canonical SMILES, no stereo.

    "" for a molecule without rings, None for an unreadable SMILES (Bemis and Murcko 1996).
    """
    mol = as_mol(molecule)
    if mol is None:
        return None
    with rdBase.BlockLogs():
        return Chem.MolToSmiles(GetScaffoldForMol(mol), isomericSmiles=False)


@lru_cache(maxsize=8)
def _morgan(radius: int, bits: int) -> FingerprintGenerator64:
    return GetMorganGenerator(radius=radius, fpSize=bits)


def fingerprints(
    molecules: Sequence[str | Mol], radius: int = 2, bits: int = 1024
) -> NDArray[np.uint8]:
    """Morgan fingerprints, packed eight bits a byte: (B, bits / 8) uint8.

    The defaults are MOSES's (radius 2, 1024 bits). Raises ValueError for an unreadable SMILES,
    naming its row, and for `bits` that do not fill bytes.
    """
    if bits <= 0 or bits % 8:
        raise ValueError(f"bits must be a positive multiple of 8, got {bits}")
    packed = np.zeros((len(molecules), bits // 8), np.uint8)
    for row, molecule in enumerate(molecules):
        mol = as_mol(molecule)
        if mol is None:
            raise ValueError(f"row {row}: expected a readable molecule, got {molecule!r}")
        mol = without_hydrogens(mol)
        with rdBase.BlockLogs():
            packed[row] = np.packbits(_morgan(radius, bits).GetFingerprintAsNumPy(mol))
    return packed


def tanimoto(a: NDArray[np.uint8], b: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Tanimoto similarity |x & y| / |x | y| of packed fingerprints: (B, W) and (C, W) -> (B, C).

    Two empty fingerprints are equal: 1. Memory is 32 bytes per byte packed, plus the result.
    """
    if a.ndim != 2 or b.ndim != 2 or a.shape[1] != b.shape[1]:
        raise ValueError(f"expected (B, W) and (C, W) packed bits, got {a.shape} and {b.shape}")
    x, y = (np.unpackbits(f, axis=1).astype(np.float32) for f in (a, b))
    both = x @ y.T  # whole numbers below 2^24: exact in float32
    either = x.sum(1)[:, None] + y.sum(1)[None] - both
    return np.divide(both, either, out=np.ones_like(both), where=either > 0)
