"""A structure relaxed by GFN2-xTB (Bannwarth et al. 2019), computed with tblite (extra `qm`)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rdkit import Chem
from rdkit.Chem import GetFormalCharge, Mol
from rdkit.Chem.Descriptors import NumRadicalElectrons

from scidiff.chem.conformers import in_space
from scidiff.chem.constants import BOHR
from scidiff.chem.relaxation import Relaxed, places, rmsd
from scidiff.rewards.singly import Refused, package

STEPS = 300
FORCE = 1e-3  # hartree / bohr on every atom: .05 eV / angstrom
STIFF = 0.7  # hartree / bohr^2, of the first Hessian: about a bond's
FARTHEST = 0.4  # bohr that an atom may move in one step
KCAL = 627.5094740631  # of one hartree (CODATA 2018)
Surface = Callable[[NDArray[np.float64]], tuple[float, NDArray[np.float64]]]


def relaxed_gfn2(mol: Mol, steps: int = STEPS) -> Relaxed:
    """Relax a molecule in space, closed shell, of its formal charge.

    Raises ExtraMissing where tblite is not installed, Refused for a molecule without a structure
    or with unpaired electrons, and where its orbitals do not converge.
    """
    package("tblite", "qm", "relaxation by gfn2")
    if not in_space(mol):
        raise Refused("has no structure of its own with every hydrogen in it")
    if NumRadicalElectrons(mol):
        raise Refused("has unpaired electrons")
    start = places(mol) / BOHR
    found, before, after, converged = minimise(_surface(mol, start), start, steps)
    copy = Chem.Mol(mol)
    shape: Any = found * BOHR
    copy.GetConformer().SetPositions(shape)
    moved = rmsd(places(mol), places(copy))
    return Relaxed(copy, "gfn2", moved, (before - after) * KCAL, converged)


def minimise(
    surface: Surface, start: NDArray[np.float64], steps: int = STEPS, force: float = FORCE
) -> tuple[NDArray[np.float64], float, float, bool]:
    """Go downhill from `start` (n, 3) by BFGS: (places, energy before, after, whether every force
    is below `force`).

    A step is -|H|^-1 g, which descends where the Hessian's estimate is not positive either, cut
    to FARTHEST; H <- H + y y^T / y.s - H s s^T H / s.H s (Nocedal and Wright 2006, eq. 6.19).
    """
    x, (energy, g) = start, surface(start)
    before, H = energy, STIFF * np.eye(start.size)
    for _ in range(steps):
        if np.linalg.norm(g, axis=1).max() < force:
            return x, before, energy, True
        values, vectors = np.linalg.eigh(H)
        s = -(vectors @ ((vectors.T @ g.ravel()) / np.maximum(abs(values), 1e-3)))
        s *= min(1.0, FARTHEST / np.linalg.norm(s.reshape(-1, 3), axis=1).max())
        x = x + s.reshape(-1, 3)
        energy, ahead = surface(x)
        y, Hs = (ahead - g).ravel(), H @ s
        if abs(y @ s) > 1e-12 and abs(s @ Hs) > 1e-12:
            H = H + np.outer(y, y) / (y @ s) - np.outer(Hs, Hs) / (s @ Hs)
        g = ahead
    return x, before, energy, bool(np.linalg.norm(g, axis=1).max() < force)


def _surface(mol: Mol, start: NDArray[np.float64]) -> Surface:
    """Energy in hartree and gradient in hartree / bohr at places in bohr."""
    from tblite.interface import Calculator

    numbers = np.array([a.GetAtomicNum() for a in mol.GetAtoms()])
    method = Calculator("GFN2-xTB", numbers, start, charge=GetFormalCharge(mol))
    method.set("verbosity", 0)

    def at(x: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
        try:
            method.update(x)
            found = method.singlepoint()
        except RuntimeError as error:
            raise Refused(f"GFN2-xTB fails: {error}") from error
        return float(found.get("energy")), np.asarray(found.get("gradient"))

    return at
