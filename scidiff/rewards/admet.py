"""What a body does with a molecule and the molecule with it, as ADMET-AI's networks predict it
(Swanson et al. 2024, Bioinformatics 40:btae416; extra `admet`).
"""

from __future__ import annotations

import csv
import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

import torch
from rdkit.Chem import Mol
from torch import Tensor

from scidiff.chem.molecules import canonical, parse
from scidiff.messages import nearest
from scidiff.rewards.scores import of_kind
from scidiff.rewards.singly import package, versions

BATCH = 64
CLASSES = "classification"


@dataclass(frozen=True)
class Admet:
    """One of ADMET-AI's 41 endpoints, by its name in Therapeutics Data Commons: 'hERG', 'AMES',
    'BBB_Martins', 'CYP3A4_Veith', 'Solubility_AqSolDB', ...

    31 are probabilities in [0, 1], most of them of something unwanted: ask for 1 - admet('hERG').
    10 are measurements in `unit`, unbounded as a network predicts them: see `window`. The value is
    the mean of five networks. Raises ExtraMissing, or ValueError for another endpoint.
    """

    endpoint: str
    unit: str = field(init=False, compare=False)  # "-" for a probability
    task: str = field(init=False, repr=False, compare=False)  # which five networks
    version: str = field(init=False, repr=False, compare=False)
    cost = 0.02

    def __post_init__(self) -> None:
        known = endpoints()
        if self.endpoint not in known:
            hint = nearest(self.endpoint, known, cutoff=0.5) or f"; {', '.join(known)}"
            raise ValueError(f"admet: no endpoint {self.endpoint!r} among {len(known)}{hint}")
        task, unit = known[self.endpoint]
        package("chemprop", "admet", "admet")
        made = {"task": task, "unit": unit, "version": versions("admet-ai", "chemprop", "torch")}
        for name, value in made.items():
            object.__setattr__(self, name, value)

    @property
    def name(self) -> str:
        return f"admet({self.endpoint!r})"

    @property
    def bounds(self) -> tuple[float, float]:
        return (0.0, 1.0) if self.task == CLASSES else (-math.inf, math.inf)

    @property
    def floor(self) -> float | None:
        return 0.0 if self.task == CLASSES else None

    def __call__(self, mols: Sequence[Mol]) -> list[float]:
        if not mols:
            return []
        columns, values = _predicted(self.task, tuple(str(canonical(m)) for m in mols))
        return [float(v) for v in values[:, columns.index(self.endpoint)]]


def endpoints() -> dict[str, tuple[str, str]]:
    """What there is: name -> (classification or regression, unit).

    Raises ExtraMissing where ADMET-AI is not installed.
    """
    table = package("admet_ai", "admet", "admet") / "resources" / "data" / "admet.csv"
    with table.open(newline="") as lines:
        return {row["id"]: (row["task_type"], row["units"]) for row in csv.DictReader(lines)
                if row["category"] != "Physicochemical"}


@lru_cache(maxsize=4)  # a formula asks several endpoints about the same molecules
def _predicted(task: str, smiles: tuple[str, ...]) -> tuple[list[str], Tensor]:
    """Endpoints and their predictions, (B, endpoints)."""
    from chemprop.data import MoleculeDatapoint, MoleculeDataset, collate_batch

    columns, networks = _networks(task)
    rows = list(MoleculeDataset([MoleculeDatapoint(mol=parse(s)) for s in smiles]))
    parts = []
    with torch.inference_mode():
        for start in range(0, len(rows), BATCH):  # chemprop's own loader drops a batch of one
            batch = collate_batch(rows[start:start + BATCH])
            parts.append(torch.stack([network(*batch[:3]) for network in networks]).mean(0))
    return columns, torch.cat(parts)


@lru_cache(maxsize=2)
def _networks(task: str) -> tuple[list[str], list[Any]]:
    """The names of what an ensemble predicts, and its networks."""
    from chemprop.models import load_model
    from chemprop.models.utils import load_output_columns

    folder = package("admet_ai", "admet", "admet") / "resources" / "models" / f"admet_{task}"
    files = sorted(folder.glob("**/*.pt"))
    return list(load_output_columns(files[0])), [load_model(f).eval() for f in files]


REWARDS = of_kind("molecule", {"admet": Admet})
