"""Rewards on molecules: functions of a list of valid RDKit molecules, one number each.

A function is a reward as it stands (`qed`), a class is a reward with parameters
(`similarity('CCO')`). `REWARDS` is what the entry point of the package publishes.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from contextlib import redirect_stderr
from dataclasses import dataclass, field
from functools import lru_cache
from io import StringIO
from typing import Any

from rdkit import Chem, rdBase
from rdkit.Chem import QED, Mol, rdMolDescriptors
from rdkit.Contrib.NP_Score import npscorer
from rdkit.Contrib.SA_Score import sascorer
from rdkit.DataStructs import BulkTanimotoSimilarity

from scidiff.chem.alerts import Alerts
from scidiff.chem.molecules import parse, without_hydrogens
from scidiff.rewards.fingerprints import fingerprint
from scidiff.rewards.scores import bounded, of_kind


@bounded(0, 1)
def qed(mols: Sequence[Mol]) -> list[float]:
    """Quantitative estimate of drug-likeness in [0, 1] (Bickerton et al. 2012)."""
    return [QED.qed(m) for m in mols]


@bounded(0, 1)
def sa(mols: Sequence[Mol]) -> list[float]:
    """Synthetic accessibility, (10 - SA) / 9 clipped to [0, 1], larger is easier.

    SA in [1, 10] is the score of Ertl and Schuffenhauer 2009, as RDKit ships it.
    """
    return [min(max((10 - score) / 9, 0.0), 1.0) for score in sa_scores(mols)]


def sa_scores(mols: Sequence[Mol]) -> list[float]:
    """SA itself, from 1 (easy) to 10 (hard): the number that papers and MOSES report."""
    return [sascorer.calculateScore(without_hydrogens(m)) for m in mols]


@bounded(-5, 5)
def np_likeness(mols: Sequence[Mol]) -> list[float]:
    """Natural-product-likeness clipped to [-5, 5] (Ertl et al. 2008), the model RDKit ships."""
    model = _natural_products()
    scores = (npscorer.scoreMol(without_hydrogens(m), model) for m in mols)
    return [min(max(score, -5.0), 5.0) for score in scores]


@lru_cache(maxsize=1)
def _natural_products() -> Any:
    with redirect_stderr(StringIO()):  # it tells of reading its model
        return npscorer.readNPModel()


def logp(mols: Sequence[Mol]) -> list[float]:
    """Octanol-water partition coefficient, log10 (Wildman and Crippen 1999); unbounded."""
    return [rdMolDescriptors.CalcCrippenDescriptors(m)[0] for m in mols]


@bounded(0, math.inf)
def mw(mols: Sequence[Mol]) -> list[float]:
    """Average molecular weight in g/mol."""
    return [rdMolDescriptors._CalcMolWt(m) for m in mols]


@bounded(0, math.inf)
def tpsa(mols: Sequence[Mol]) -> list[float]:
    """Topological polar surface area in square angstrom, N and O only (Ertl et al. 2000)."""
    return [rdMolDescriptors.CalcTPSA(m) for m in mols]


@bounded(0, math.inf)
def hba(mols: Sequence[Mol]) -> list[float]:
    """Number of hydrogen bond acceptors, RDKit's definition."""
    return [float(rdMolDescriptors.CalcNumHBA(without_hydrogens(m))) for m in mols]


@bounded(0, math.inf)
def hbd(mols: Sequence[Mol]) -> list[float]:
    """Number of hydrogen bond donors, RDKit's definition."""
    return [float(rdMolDescriptors.CalcNumHBD(m)) for m in mols]


@bounded(0, math.inf)
def rings(mols: Sequence[Mol]) -> list[float]:
    """Number of rings of the smallest set."""
    return [float(rdMolDescriptors.CalcNumRings(m)) for m in mols]


@bounded(0, math.inf)
def aromatic_rings(mols: Sequence[Mol]) -> list[float]:
    """Number of aromatic rings."""
    return [float(rdMolDescriptors.CalcNumAromaticRings(m)) for m in mols]


@bounded(0, 1)
def alerts(mols: Sequence[Mol]) -> list[float]:
    """1 where no alert of PAINS (Baell and Holloway 2010) or BRENK (2008) hits, else 0."""
    found = Alerts()
    return [0.0 if found(m) else 1.0 for m in mols]


@dataclass(frozen=True)
class Similarity:
    """Tanimoto similarity in [0, 1] to one molecule: Morgan fingerprints, radius 2, 2,048 bits.

    With `counts` the fingerprint is the unfolded count vector (sum of minima over sum of maxima);
    `fingerprint` may be another of `fingerprints.NAMES`. Raises ValueError where `smiles` cannot
    be read.
    """

    smiles: str
    counts: bool = False
    fingerprint: str = "ECFP4"
    bounds = (0.0, 1.0)
    floor = 0.0

    def __post_init__(self) -> None:
        _read(self.smiles, "similarity")
        fingerprint(self.fingerprint, self.counts)

    @property
    def name(self) -> str:
        return f"similarity({self.smiles!r})"

    def __call__(self, mols: Sequence[Mol]) -> list[float]:
        make = fingerprint(self.fingerprint, self.counts)
        target = make(_read(self.smiles, "similarity"))
        return list(BulkTanimotoSimilarity(target, [make(m) for m in mols]))


@dataclass(frozen=True)
class Substructure:
    """1 where the molecule contains the SMARTS pattern, else 0.

    Raises ValueError where `smarts` cannot be read.
    """

    smarts: str
    bounds = (0.0, 1.0)
    floor = 0.0
    _query: Any = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        text = self.smarts if isinstance(self.smarts, str) else ""
        with rdBase.BlockLogs():
            query = Chem.MolFromSmarts(text) if text else None
        if query is None:
            raise ValueError(f"substructure: {self.smarts!r} is not a SMARTS pattern")
        object.__setattr__(self, "_query", query)

    @property
    def name(self) -> str:
        return f"substructure({self.smarts!r})"

    def __call__(self, mols: Sequence[Mol]) -> list[float]:
        return [float(m.HasSubstructMatch(self._query)) for m in mols]


def _read(smiles: str, who: str) -> Mol:
    mol = parse(smiles) if isinstance(smiles, str) else None
    if mol is None:
        raise ValueError(f"{who}: {smiles!r} is not a SMILES that RDKit can read")
    return mol


REWARDS = of_kind("molecule", {
    "qed": qed, "sa": sa, "logp": logp, "mw": mw, "tpsa": tpsa, "hba": hba, "hbd": hbd,
    "np_likeness": np_likeness, "rings": rings, "aromatic_rings": aromatic_rings, "alerts": alerts,
    "similarity": Similarity, "substructure": Substructure,
})
