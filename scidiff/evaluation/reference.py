"""Fitted once, compared with many times: the statistics of a reference set of molecules."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np
from numpy.typing import NDArray
from rdkit.Chem import Mol

from scidiff.evaluation.fcd import activations, moments
from scidiff.rewards import molecules as properties_of
from scidiff.rewards.registry import nearest

PROPERTIES: dict[str, Callable[[Sequence[Mol]], Sequence[float]]] = {
    "logp": properties_of.logp, "sa": properties_of.sa_scores, "qed": properties_of.qed,
    "mw": properties_of.mw,
}
UNITS = {"logp": "logP", "sa": "SA score, 1 easy to 10 hard", "qed": "QED",
         "mw": "molecular weight, g/mol"}
QUANTILES = 4096
FORMAT = "scidiff-reference-1"
_DATA = Path(__file__).parent / "_data"


def property_table(mols: Sequence[Mol]) -> dict[str, NDArray[np.float64]]:
    """Compute logP, SA, QED and weight of molecules: name -> (B,)."""
    return {name: np.asarray(f(mols), np.float64) for name, f in PROPERTIES.items()}


@dataclass(frozen=True)
class Reference:
    """Property quantiles and, where fitted, ChemNet moments of a set of molecules."""

    name: str
    n: int  # molecules it was fitted on
    properties: Mapping[str, NDArray[np.float32]]  # name -> at most QUANTILES sorted values
    fcd_mean: NDArray[np.float32] | None = None  # (512,)
    fcd_cov: NDArray[np.float32] | None = None  # (512, 512)

    @classmethod
    def fit(cls, name: str, mols: Sequence[Mol], smiles: Sequence[str] | None = None) -> Reference:
        """Fit on molecules; with their `smiles` the ChemNet moments too (needs fcd_torch)."""
        if len(mols) < 2:
            raise ValueError(f"a reference needs at least two molecules, got {len(mols)}")
        table = {k: quantiles(v) for k, v in property_table(mols).items()}
        if smiles is None:
            return cls(name, len(mols), table)
        mean, cov = moments(activations(smiles))
        return cls(name, len(mols), table, mean.astype(np.float32), cov.astype(np.float32))

    def save(self, path: str | Path) -> None:
        """Write an npz file, whole or not at all; the covariance as its upper triangle."""
        arrays: dict[str, Any] = {f"property_{k}": v for k, v in self.properties.items()}
        if self.fcd_mean is not None and self.fcd_cov is not None:
            arrays["fcd_mean"] = self.fcd_mean
            arrays["fcd_cov"] = self.fcd_cov[np.triu_indices(len(self.fcd_cov))]
        path = Path(path)
        aside = path.with_name(f".{path.name}.{os.getpid()}")
        with aside.open("wb") as file:
            np.savez_compressed(file, format=np.str_(FORMAT), name=np.str_(self.name),
                                n=np.int64(self.n), **arrays)
        os.replace(aside, path)

    @classmethod
    def load(cls, path: str | Path) -> Reference:
        """Read a file written by `save`. Raises ValueError where it is something else."""
        try:
            # numpy leaves a broken archive open unless the file is ours to close
            with Path(path).open("rb") as opened, np.load(opened, allow_pickle=False) as file:
                if str(file["format"]) != FORMAT:
                    raise KeyError(str(file["format"]))
                table = {k.removeprefix("property_"): file[k] for k in file.files
                         if k.startswith("property_")}
                mean = file["fcd_mean"] if "fcd_mean" in file.files else None
                cov = None if mean is None else _square(file["fcd_cov"], len(mean))
                return cls(str(file["name"]), int(file["n"]), table, mean, cov)
        except (KeyError, ValueError, EOFError, BadZipFile) as error:
            raise ValueError(f"{path} is not a reference ({FORMAT}): {error}") from error


def quantiles(values: NDArray[np.floating]) -> NDArray[np.float32]:
    """Sort, and beyond QUANTILES values keep those at (i + 1/2) / QUANTILES."""
    ordered = np.sort(values)
    if len(ordered) <= QUANTILES:
        return ordered.astype(np.float32)
    at = ((np.arange(QUANTILES) + 0.5) / QUANTILES * len(ordered)).astype(np.int64)
    return ordered[at].astype(np.float32)


@cache  # a shipped file, the same for ever
def shipped(name: str) -> Reference:
    """Load a reference that comes with the package, such as "moses_test"."""
    names = sorted(p.stem for p in _DATA.glob("*.npz"))
    if name not in names:
        raise ValueError(f"unknown reference {name!r}{nearest(name, names)}; "
                         f"known: {', '.join(names)}")
    return Reference.load(_DATA / f"{name}.npz")


def _square(upper: NDArray[np.float32], size: int) -> NDArray[np.float32]:
    cov = np.zeros((size, size), np.float32)
    cov[np.triu_indices(size)] = upper
    return cov + np.triu(cov, 1).T
