"""Are structures of molecules in space physically plausible? PoseBusters' checks (Buttenschoen et
al. 2024; extra `poses`).
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

import rdkit
from rdkit import rdBase
from rdkit.Chem import Mol

from scidiff.chem.conformers import structure
from scidiff.rewards.scores import of_kind
from scidiff.rewards.singly import Singly, check_seed, package, versions

MEASURES = ("share", "all")


@dataclass(frozen=True)
class PoseBusters(Singly):
    """Checks that a structure passes, in [0, 1]: their share, or with 'all' 1 where it passes
    every one and else 0.

    The structure is the molecule's own where it has one in space with all hydrogens. Else one is
    embedded with `seed` and relaxed (`chem.conformers`), so that the score says whether the
    molecule can be built without strain. A molecule of which none can be made has no value.
    Raises ExtraMissing where PoseBusters is not installed.
    """

    measure: str = "share"
    seed: int = 0
    bounds = (0.0, 1.0)
    floor = 0.0
    cost = 0.5
    places = True
    version: str = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        if self.measure not in MEASURES:
            raise ValueError(f"posebusters: measure must be one of {', '.join(MEASURES)}, "
                             f"got {self.measure!r}")
        check_seed(self.seed, "posebusters")
        package("posebusters", "poses", "posebusters")
        object.__setattr__(self, "version", versions("posebusters", "rdkit"))

    @property
    def name(self) -> str:
        return f"posebusters({self.measure!r}, seed={self.seed})"

    def value(self, obj: Mol) -> float:
        passed = self.checks(obj).values()
        return float(all(passed)) if self.measure == "all" else sum(passed) / len(passed)

    def checks(self, mol: Mol) -> dict[str, bool]:
        """What its structure passes, check -> bool; one that could not be made is not passed.

        Bond lengths and angles and clashes against distance geometry's bounds, flat rings and
        double bonds, energy against an ensemble, no radicals, one fragment, a sound formula.
        """
        with rdBase.BlockLogs(), _quiet():
            row = _tests().bust([structure(mol, self.seed)]).iloc[0]
        return {str(name): bool(passed) for name, passed in row.eq(True).items()}


@contextmanager
def _quiet() -> Iterator[None]:
    """PoseBusters warns of what it cannot measure, and turns RDKit's own log on again; what that
    means for a molecule its checks say."""
    spoken: list[Any] = [logging.getLogger("posebusters"), rdkit.log_handler]
    before = [log.level for log in spoken]
    for log in spoken:
        log.setLevel(logging.CRITICAL + 1)
    try:
        yield
    finally:
        for log, level in zip(spoken, before, strict=True):
            log.setLevel(level)


@lru_cache(maxsize=1)
def _tests() -> Any:
    import posebusters

    return posebusters.PoseBusters(config="mol", max_workers=0)  # no processes of its own


REWARDS = of_kind("molecule", {"posebusters": PoseBusters})
