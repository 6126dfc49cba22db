"""Electronic properties of molecules by GFN2-xTB (Bannwarth et al. 2019), computed with tblite
(extra `qm`).
"""

from __future__ import annotations

import math
from abc import abstractmethod
from dataclasses import dataclass, field
from typing import Any, cast

import numpy as np
from rdkit.Chem import GetFormalCharge, Mol
from rdkit.Chem.Descriptors import NumRadicalElectrons

from scidiff.chem.conformers import structure
from scidiff.chem.constants import BOHR, DEBYE, HARTREE
from scidiff.rewards.scores import of_kind
from scidiff.rewards.singly import Refused, Singly, check_seed, package, versions


@dataclass(frozen=True)
class Gfn2(Singly):
    """A property of the electronic ground state of one structure: the molecule's own where it
    has one in space with all hydrogens, else one that is embedded with `seed` and relaxed by
    MMFF94 (`chem.conformers`).

    A molecule with unpaired electrons has no value. Raises ExtraMissing where tblite is not
    installed.
    """

    seed: int = 0
    bounds = (0.0, math.inf)
    floor = 0.0
    cost = 0.1
    places = True
    version: str = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        check_seed(self.seed, "gfn2")
        package("tblite", "qm", "gfn2")
        object.__setattr__(self, "version", versions("tblite", "rdkit"))

    def value(self, obj: Mol) -> float:
        if NumRadicalElectrons(obj):
            raise Refused("has unpaired electrons")
        return self.of(structure(obj, self.seed))

    @abstractmethod
    def of(self, mol: Mol) -> float:
        """The property of a molecule in space."""


@dataclass(frozen=True)
class Gap(Gfn2):
    """Energy from the highest occupied to the lowest empty orbital by GFN2-xTB, in eV.

    Of the structure that `Gfn2` says. Orders molecules much as density functionals do; the values
    themselves are smaller.
    """

    @property
    def name(self) -> str:
        return f"gfn2_gap(seed={self.seed})"

    def of(self, mol: Mol) -> float:
        state = ground_state(mol)
        energies = np.asarray(state.get("orbital-energies"))
        pairs = round(float(np.sum(state.get("orbital-occupations"))) / 2)
        if not 0 < pairs < len(energies):
            raise Refused(f"GFN2-xTB gives it {pairs} full orbitals of {len(energies)}: no gap")
        return float(energies[pairs] - energies[pairs - 1]) * HARTREE


@dataclass(frozen=True)
class Dipole(Gfn2):
    """Dipole moment by GFN2-xTB, in debye, of the structure that `Gfn2` says.

    That of an ion depends on the origin, so ions have no value.
    """

    @property
    def name(self) -> str:
        return f"gfn2_dipole(seed={self.seed})"

    def of(self, mol: Mol) -> float:
        if GetFormalCharge(mol):
            raise Refused(f"has charge {GetFormalCharge(mol):+d}, so no dipole moment of its own")
        return float(np.linalg.norm(ground_state(mol).get("dipole"))) * DEBYE


def ground_state(mol: Mol) -> Any:
    """What tblite says of a molecule in space: closed shell, of its formal charge.

    Raises Refused where its orbitals do not converge.
    """
    from tblite.interface import Calculator

    numbers = np.array([a.GetAtomicNum() for a in mol.GetAtoms()])
    places = cast(Any, mol.GetConformer().GetPositions()) / BOHR
    try:
        method = Calculator("GFN2-xTB", numbers, places, charge=GetFormalCharge(mol))
        method.set("verbosity", 0)
        return method.singlepoint()
    except RuntimeError as error:
        raise Refused(f"GFN2-xTB fails: {error}") from error


REWARDS = of_kind("molecule", {"gfn2_gap": Gap, "gfn2_dipole": Dipole})
