"""Objectives of GuacaMol (Brown et al. 2019, J. Chem. Inf. Model. 59, 1096) and PMO (Gao et al.
2022): those made of fingerprints, formulas and RDKit properties; all in [0, 1], 1 is solved.

PMO's published numbers for what counts isomers (isomers, zaleplon, sitagliptin) were measured with
an implementation that reads the total number of atoms from the SMILES text. Here, as in the paper,
it is the number of atoms, hydrogens included: such rows are close to PMO's, not equal.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Protocol

from rdkit import Chem
from rdkit.Chem import GraphDescriptors, Mol, rdMolDescriptors
from rdkit.DataStructs import TanimotoSimilarity

from scidiff.rewards.fingerprints import fingerprint
from scidiff.rewards.scores import of_kind

OSIMERTINIB = "COc1cc(N(C)CCN(C)C)c(NC(=O)C=C)cc1Nc2nccc(n2)c3cn(C)c4ccccc34"
FEXOFENADINE = "CC(C)(C(=O)O)c1ccc(cc1)C(O)CCCN2CCC(CC2)C(O)(c3ccccc3)c4ccccc4"
RANOLAZINE = "COc1ccccc1OCC(O)CN2CCN(CC(=O)Nc3c(C)cccc3C)CC2"
PERINDOPRIL = "O=C(OCC)C(NC(C(=O)N1C(C(=O)O)CC2CCCCC12)C)CCC"
AMLODIPINE = r"Clc1ccccc1C2C(=C(/N/C(=C2/C(=O)OCC)COCCN)C)\C(=O)OC"
SITAGLIPTIN = "Fc1cc(c(F)cc1F)CC(N)CC(=O)N3Cc2nnc(n2CC3)C(F)(F)F"
ZALEPLON = "O=C(C)N(CC)C1=CC=CC(C2=CC=NC3=C(C=NN23)C#N)=C1"
CELECOXIB = "CC1=CC=C(C=C1)C1=CC(=NN1C1=CC=C(C=C1)S(N)(=O)=O)C(F)(F)F"
TROGLITAZONE = "Cc1c(C)c2OC(C)(COc3ccc(CC4SC(=O)NC4=O)cc3)CCc2c(C)c1O"
THIOTHIXENE = "CN(C)S(=O)(=O)c1ccc2Sc3ccccc3C(=CCCN4CCN(C)CC4)c2c1"
ARIPIPRAZOLE = "Clc4cccc(N3CCN(CCCCOc2ccc1c(NC(=O)CC1)c2)CC3)c4Cl"
ALBUTEROL = "CC(C)(C)NCC(O)c1ccc(O)c(CO)c1"
MESTRANOL = "COc1ccc2[C@H]3CC[C@@]4(C)[C@@H](CC[C@@]4(O)C#C)[C@@H]3CCc2c1"
CAMPHOR, MENTHOL = "CC1(C)C2CCC1(C)C(=O)C2", "CC(C)C1CCC(C)CC1O"
TADALAFIL = "O=C1N(CC(N2C1CC3=C(C2C4=CC5=C(OCO5)C=C4)NC6=C3C=CC=C6)=O)C"
SILDENAFIL = "CCCC1=NN(C2=C1N=C(NC2=O)C3=C(C=CC(=C3)S(=O)(=O)N4CCN(CC4)C)OCC)C"
HOPPED = "CCCOc1cc2ncnc(Nc3ccc4ncsc4c3)c2cc1S(=O)(=O)C(C)(C)C"
QUINAZOLINE = "[#7]-c1n[c;h1]nc2[c;h1]c(-[#8])[c;h0][c;h1]c12"
DECORATION = "[#6]-[#6]-[#6]-[#8]-[#6]~[#6]~[#6]~[#6]~[#6]-[#7]-c1ccc2ncsc2c1"

PROPERTIES: dict[str, Callable[[Mol], float]] = {
    "logp": lambda m: rdMolDescriptors.CalcCrippenDescriptors(m)[0],
    "tpsa": rdMolDescriptors.CalcTPSA,
    "bertz": GraphDescriptors.BertzCT,
    "rings": rdMolDescriptors.CalcNumRings,
    "aromatic_rings": rdMolDescriptors.CalcNumAromaticRings,
    "fluorines": lambda m: sum(a.GetAtomicNum() == 9 for a in m.GetAtoms()),
}

class Part(Protocol):
    """One term of an objective: a molecule's desirability in [0, 1]."""

    def __call__(self, mol: Mol) -> float: ...


@dataclass(frozen=True)
class Bell:
    """exp(-((x - mu) / sigma)^2 / 2), and 1 on the side of mu that `above` or `below` forgives."""

    mu: float
    sigma: float
    above: bool = False
    below: bool = False

    def __call__(self, x: float) -> float:
        if (self.above and x > self.mu) or (self.below and x < self.mu):
            return 1.0
        return math.exp(-0.5 * ((x - self.mu) / self.sigma) ** 2)


@dataclass(frozen=True)
class Like:
    """Tanimoto similarity to a molecule, t: min(t / enough, 1), or a bell of t."""

    smiles: str
    fingerprint: str = "ECFP4"
    enough: float = 1.0
    bell: Bell | None = None

    def __call__(self, mol: Mol) -> float:
        t = TanimotoSimilarity(_target(self.smiles, self.fingerprint),
                               _print(self.fingerprint, mol))
        return min(t / self.enough, 1.0) if self.bell is None else self.bell(t)


@dataclass(frozen=True)
class Property:
    """A bell of a property of the molecule."""

    name: str
    bell: Bell

    def __call__(self, mol: Mol) -> float:
        return self.bell(PROPERTIES[self.name](mol))


@dataclass(frozen=True)
class SameProperty:
    """A bell of a property around what another molecule has."""

    name: str
    smiles: str
    sigma: float

    def __call__(self, mol: Mol) -> float:
        return Bell(_value(self.smiles, self.name), self.sigma)(PROPERTIES[self.name](mol))


@dataclass(frozen=True)
class Pattern:
    """1 where a SMARTS pattern is there, or absent if `present` is False, else 0."""

    smarts: str
    present: bool = True

    def __call__(self, mol: Mol) -> float:
        return float(mol.HasSubstructMatch(_query(self.smarts)) == self.present)


@dataclass(frozen=True)
class Formula:
    """Geometric mean of exp(-(n_e - m_e)^2 / 2) over the elements e of a formula and of
    exp(-(n - m)^2 / 8), n and m being all atoms, hydrogens included."""

    formula: str

    def __call__(self, mol: Mol) -> float:
        wanted, found = _formula(self.formula), atom_counts(mol)
        parts = [Bell(m, 1.0)(found[e]) for e, m in wanted.items()]
        return _geometric([*parts, Bell(wanted.total(), 2.0)(found.total())])


@dataclass(frozen=True)
class Objective:
    """An objective of GuacaMol and PMO (Brown et al. 2019; Gao et al. 2022): the geometric, or
    arithmetic, mean of its parts, a reward on molecules in [0, 1]."""

    name: str
    parts: tuple[Part, ...]
    geometric: bool = True
    bounds = (0.0, 1.0)
    floor = 0.0

    def __call__(self, mols: Sequence[Mol]) -> list[float]:
        return [self._score(m) for m in mols]

    def _score(self, mol: Mol) -> float:
        values = [part(mol) for part in self.parts]
        return _geometric(values) if self.geometric else sum(values) / len(values)


@dataclass(frozen=True)
class Isomers:
    """How nearly a molecule has a formula, such as isomers('C7H8N2O2').

    Raises ValueError where the formula cannot be read.
    """

    formula: str
    bounds = (0.0, 1.0)
    floor = 0.0

    def __post_init__(self) -> None:
        _formula(self.formula)

    @property
    def name(self) -> str:
        return f"isomers({self.formula!r})"

    def __call__(self, mols: Sequence[Mol]) -> list[float]:
        return [Formula(self.formula)(m) for m in mols]


def atom_counts(mol: Mol) -> Counter[str]:
    """Atoms by element, hydrogens included."""
    found = Counter(a.GetSymbol() for a in mol.GetAtoms())
    found["H"] += sum(a.GetTotalNumHs() for a in mol.GetAtoms())
    return found


def _print(kind: str, mol: Mol) -> Any:
    """Unfolded counts, or as PHCO the pharmacophores of Gobbi and Poppinger 1998 as bits."""
    if kind != "PHCO":
        return fingerprint(kind, counts=True)(mol)
    from rdkit.Chem.Pharm2D import Generate, Gobbi_Pharm2D  # parses its patterns when imported

    return Generate.Gen2DFingerprint(mol, Gobbi_Pharm2D.factory)


def _geometric(values: Sequence[float]) -> float:
    return math.prod(values) ** (1 / len(values))


@lru_cache(maxsize=64)
def _formula(text: str) -> Counter[str]:
    found = re.findall(r"([A-Z][a-z]?)(\d*)", text)
    if not found or "".join(e + n for e, n in found) != text:
        raise ValueError(f"isomers: {text!r} is not a formula such as 'C9H10N2O2PF2Cl'")
    wanted: Counter[str] = Counter()
    for element, number in found:
        wanted[element] += int(number or 1)
    return wanted


@lru_cache(maxsize=64)
def _target(smiles: str, kind: str) -> Any:
    return _print(kind, Chem.MolFromSmiles(smiles))


@lru_cache(maxsize=64)
def _value(smiles: str, name: str) -> float:
    return float(PROPERTIES[name](Chem.MolFromSmiles(smiles)))


@lru_cache(maxsize=64)
def _query(smarts: str) -> Mol:
    return Chem.MolFromSmarts(smarts)


def _at_least(name: str, mu: float, sigma: float) -> Property:
    return Property(name, Bell(mu, sigma, above=True))


def _at_most(name: str, mu: float, sigma: float) -> Property:
    return Property(name, Bell(mu, sigma, below=True))


def _named(*objectives: Objective) -> dict[str, Objective]:
    return {o.name: o for o in objectives}


_UNLIKE = Bell(0, 0.1)
OBJECTIVES: Mapping[str, Objective] = _named(
    Objective("celecoxib_rediscovery", (Like(CELECOXIB),)),
    Objective("troglitazone_rediscovery", (Like(TROGLITAZONE),)),
    Objective("thiothixene_rediscovery", (Like(THIOTHIXENE),)),
    Objective("aripiprazole_similarity", (Like(ARIPIPRAZOLE, "FCFP4", 0.75),)),
    Objective("albuterol_similarity", (Like(ALBUTEROL, "FCFP4", 0.75),)),
    Objective("mestranol_similarity", (Like(MESTRANOL, "AP", 0.75),)),
    Objective("isomers_c7h8n2o2", (Formula("C7H8N2O2"),)),
    Objective("isomers_c9h10n2o2pf2cl", (Formula("C9H10N2O2PF2Cl"),)),
    Objective("isomers_c11h24", (Formula("C11H24"),)),
    Objective("median1", (Like(CAMPHOR), Like(MENTHOL))),
    Objective("median2", (Like(TADALAFIL, "ECFP6"), Like(SILDENAFIL, "ECFP6"))),
    Objective("osimertinib_mpo", (
        Like(OSIMERTINIB, "FCFP4", 0.8),
        Like(OSIMERTINIB, "ECFP6", bell=Bell(0.85, 0.1, below=True)),
        _at_least("tpsa", 100, 10), _at_most("logp", 1, 1))),
    Objective("fexofenadine_mpo", (
        Like(FEXOFENADINE, "AP", 0.8), _at_least("tpsa", 90, 10), _at_most("logp", 4, 1))),
    Objective("ranolazine_mpo", (
        Like(RANOLAZINE, "AP", 0.7), _at_least("logp", 7, 1), _at_least("tpsa", 95, 20),
        Property("fluorines", Bell(1, 1)))),
    Objective("perindopril_mpo", (Like(PERINDOPRIL), Property("aromatic_rings", Bell(2, 0.5)))),
    Objective("amlodipine_mpo", (Like(AMLODIPINE), Property("rings", Bell(3, 0.5)))),
    Objective("sitagliptin_mpo", (
        Like(SITAGLIPTIN, bell=_UNLIKE), SameProperty("logp", SITAGLIPTIN, 0.2),
        SameProperty("tpsa", SITAGLIPTIN, 5), Formula("C16H15F6N5O"))),
    Objective("zaleplon_mpo", (Like(ZALEPLON), Formula("C19H17N3O2"))),
    Objective("valsartan_smarts", (
        Pattern("CN(C=O)Cc1ccc(c2ccccc2)cc1"), SameProperty("logp", SITAGLIPTIN, 0.2),
        SameProperty("tpsa", SITAGLIPTIN, 5), SameProperty("bertz", SITAGLIPTIN, 30))),
    Objective("deco_hop", (
        Like(HOPPED, "PHCO", 0.85), Pattern("CS([#6])(=O)=O", present=False),
        Pattern("[#7]-c1ccc2ncsc2c1", present=False), Pattern(QUINAZOLINE)), geometric=False),
    Objective("scaffold_hop", (
        Like(HOPPED, "PHCO", 0.75), Pattern(DECORATION), Pattern(QUINAZOLINE, present=False)),
        geometric=False),
)
PMO = ("albuterol_similarity", "amlodipine_mpo", "celecoxib_rediscovery", "deco_hop",
       "fexofenadine_mpo", "isomers_c7h8n2o2", "isomers_c9h10n2o2pf2cl", "median1", "median2",
       "mestranol_similarity", "osimertinib_mpo", "perindopril_mpo", "qed", "ranolazine_mpo",
       "scaffold_hop", "sitagliptin_mpo", "thiothixene_rediscovery", "troglitazone_rediscovery",
       "valsartan_smarts", "zaleplon_mpo")
"""The 20 of PMO's 23 objectives that are not pickled models."""

REWARDS = of_kind("molecule", {**OBJECTIVES, "isomers": Isomers})
