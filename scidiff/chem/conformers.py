"""Structures of molecules in space: embedded by distance geometry, relaxed by a force field.

One seed gives one structure: what a program says about it (a docking score, a dipole) is a
function of the molecule.
"""

from __future__ import annotations

from typing import Any

from rdkit import Chem, rdBase
from rdkit.Chem import Mol
from rdkit.Chem.rdDistGeom import EmbedMolecule, ETKDGv3
from rdkit.Chem.rdForceFieldHelpers import (
    MMFFHasAllMoleculeParams,
    MMFFOptimizeMolecule,
    UFFHasAllMoleculeParams,
    UFFOptimizeMolecule,
)

from scidiff.chem.molecules import canonical, parse
from scidiff.core import ScidiffError

STEPS = 2000  # of relaxation


class ConformerError(ScidiffError):
    """A molecule of which no 3D structure can be made, and why."""


def structure(mol: Mol, seed: int = 0) -> Mol:
    """A molecule with all its hydrogens and a 3D structure: its own where it has one, else
    `embed`.

    Raises ConformerError.
    """
    return mol if in_space(mol) else embed(mol, seed)


def in_space(mol: Mol) -> bool:
    """Whether a molecule has a 3D structure with every hydrogen in it."""
    placed = mol.GetNumConformers() > 0 and mol.GetConformer().Is3D()
    return placed and all(a.GetNumImplicitHs() == 0 for a in mol.GetAtoms())


def embed(mol: Mol, seed: int = 0) -> Mol:
    """Add hydrogens and one structure, in angstrom: ETKDGv3 (Wang et al. 2020, J. Chem. Inf.
    Model. 60:2044), relaxed by MMFF94 (Halgren 1996), or UFF (Rappe et al. 1992) where that has
    no parameters for an atom.

    Atoms stand in the order of the canonical SMILES, since the structure depends on it.
    Stereocentres that the molecule leaves open come out one way or the other, by the seed. Raises
    ConformerError where there is more than one fragment, no structure, or none that is relaxed.
    """
    if len(Chem.GetMolFrags(mol)) != 1:
        raise ConformerError(f"{len(Chem.GetMolFrags(mol))} fragments: a structure is of one "
                             "connected molecule")
    again = parse(canonical(mol) or "")
    if again is None:
        raise ConformerError("its SMILES cannot be read back")
    with rdBase.BlockLogs():
        full = Chem.AddHs(again)
        _place(full, seed)
        _relax(full)
    return full


def _place(mol: Mol, seed: int) -> None:
    """Crowded cages need a start from random coordinates (Spellmeyer et al. 1997)."""
    settings: Any = ETKDGv3()
    settings.randomSeed = seed + 1  # RDKit takes 0 for 1
    for anywhere in (False, True):
        settings.useRandomCoords = anywhere
        if EmbedMolecule(mol, settings) == 0:
            return
    raise ConformerError("no structure in space meets its bonds, angles and stereocentres")


def _relax(mol: Mol) -> None:
    if MMFFHasAllMoleculeParams(mol):
        left = MMFFOptimizeMolecule(mol, maxIters=STEPS)
    elif UFFHasAllMoleculeParams(mol):
        left = UFFOptimizeMolecule(mol, maxIters=STEPS)
    else:
        raise ConformerError("no force field knows its atoms (MMFF94, UFF)")
    if left != 0:
        raise ConformerError(f"its structure did not relax in {STEPS} steps")


__all__ = ["ConformerError", "embed", "in_space", "structure"]
