"""How molecules fill space: likeness in shape to a reference ligand, and strain."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from pathlib import Path

from rdkit import Chem, rdBase
from rdkit.Chem import Mol, rdShapeAlign

from scidiff.chem.conformers import in_space, structure
from scidiff.chem.molecules import parse
from scidiff.chem.relaxation import Relaxed, relaxed
from scidiff.rewards.gfn2_relaxation import relaxed_gfn2
from scidiff.rewards.scores import of_kind
from scidiff.rewards.singly import Refused, Singly, check_seed, package, versions

WORST = 100.0  # kcal/mol: more strain than this counts as this
METHODS = ("mmff", "gfn2")


@dataclass(frozen=True)
class Shape(Singly):
    """Overlap with a reference ligand after the best superposition, in [0, 1]: the Tanimoto of
    Gaussian volumes (Grant, Gallardo and Pickup 1996), and with `features` their mean with the
    Tanimoto of pharmacophore features (PubChem's alignment, Bolton et al. 2011, in RDKit).

    The reference is a SMILES, or an .sdf file whose first record is taken with its structure. A
    molecule, and a reference written as SMILES, has its own structure where it has one in space
    with all hydrogens, else one that is embedded with `seed`: one conformer, not the best of many.
    Raises ValueError for a reference that cannot be read.
    """

    reference: str
    features: bool = False
    seed: int = 0
    bounds = (0.0, 1.0)
    floor = 0.0
    cost = 0.05
    places = True
    version: str = field(init=False, repr=False, compare=False)
    _ligand: Mol = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        check_seed(self.seed, "shape")
        object.__setattr__(self, "_ligand", structure(_ligand(self.reference), self.seed))
        object.__setattr__(self, "version", f"{versions('rdkit')}, {_digest(self._ligand)}")

    @property
    def name(self) -> str:
        return f"shape({self.reference!r}, features={self.features}, seed={self.seed})"

    def value(self, obj: Mol) -> float:
        probe = Chem.Mol(structure(obj, self.seed))  # it is moved onto the reference
        with rdBase.BlockLogs():  # superposed for the mean of both where there are features
            shape, features = rdShapeAlign.AlignMol(self._ligand, probe, useColors=self.features,
                                                    opt_param=0.5)
        found = (shape + features) / 2 if self.features else shape
        return min(max(float(found), 0.0), 1.0)


@dataclass(frozen=True)
class Strain(Singly):
    """Minus the kcal/mol by which a structure lies above the minimum next to it, by MMFF94 or with
    'gfn2' by GFN2-xTB (extra `qm`); in [-100, 0], 0 is a minimum.

    Only a molecule with a structure of its own, all hydrogens in it, has a strain. Raises
    ExtraMissing where tblite is asked for and not installed.
    """

    method: str = "mmff"
    bounds = (-WORST, 0.0)
    floor = -WORST
    places = True
    version: str = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        if self.method not in METHODS:
            raise ValueError(f"strain: method must be one of {', '.join(METHODS)}, got "
                             f"{self.method!r}")
        if self.method == "gfn2":
            package("tblite", "qm", "strain")
        made = versions("tblite", "rdkit") if self.method == "gfn2" else versions("rdkit")
        object.__setattr__(self, "version", made)

    @property
    def name(self) -> str:
        return f"strain({self.method!r})"

    @property
    def cost(self) -> float:
        return 1.0 if self.method == "gfn2" else 0.005

    def value(self, obj: Mol) -> float:
        if not in_space(obj):
            raise Refused("has no structure of its own with every hydrogen in it")
        found: Relaxed = relaxed_gfn2(obj) if self.method == "gfn2" else relaxed(obj)
        return -min(max(found.strain, 0.0), WORST)


def _ligand(reference: str) -> Mol:
    if Path(reference).suffix.lower() == ".sdf":
        if not Path(reference).is_file():
            raise ValueError(f"shape: the reference {reference!r} does not exist")
        with rdBase.BlockLogs():
            mol = next(iter(Chem.SDMolSupplier(reference, removeHs=False)), None)
    else:
        mol = parse(reference)
    if mol is None:
        raise ValueError("shape: the reference must be a SMILES or an .sdf file, got "
                         f"{reference!r}")
    return mol


def _digest(mol: Mol) -> str:
    """The cache must tell one structure of the reference from another."""
    return hashlib.sha256(Chem.MolToMolBlock(mol).encode()).hexdigest()[:12]


REWARDS = of_kind("molecule", {"shape": Shape, "strain": Strain})
