"""Fitted once, compared with many times: the statistics of a reference set of molecules."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from functools import cache, cached_property
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np
from numpy.typing import NDArray
from rdkit.Chem import Mol

from scidiff.chem.molecules import fingerprints
from scidiff.data.records import Record
from scidiff.evaluation.chemnet import ChemNet
from scidiff.evaluation.features import Column, Counts, collect
from scidiff.evaluation.fragments import brics_fragments, ring_scaffold
from scidiff.evaluation.properties import PROPERTIES
from scidiff.evaluation.rows import as_record, from_file
from scidiff.files import replacing
from scidiff.messages import nearest

QUANTILES = 16_384
FORMAT = "scidiff-reference-2"
_DATA = Path(__file__).parent / "_data"


@dataclass(frozen=True)
class Reference:
    """Property quantiles of a set of molecules and, where fitted, more; None where not."""

    name: str  # the end of a metric's name: "test", "testsf"
    n: int  # molecules it was fitted on
    properties: Mapping[str, NDArray[np.float32]]  # name -> at most QUANTILES sorted values
    fcd_mean: NDArray[np.float32] | None = None  # (512,) ChemNet activations
    fcd_cov: NDArray[np.float32] | None = None  # (512, 512)
    bits: NDArray[np.uint8] | None = None  # (n, 128) packed Morgan fingerprints
    fragments: Mapping[str, int] | None = None  # BRICS fragment -> how often
    scaffolds: Mapping[str, int] | None = None  # scaffold of two rings or more -> how often

    @classmethod
    def fit(cls, name: str, molecules: Iterable[str | Mol | Record], *, fcd: bool = True,
            properties: bool = True, device: str = "cpu") -> Reference:
        """Fit on molecules, read once in bounded memory; invalid ones are left out.

        `fcd` needs fcd_torch. Raises ValueError for fewer than two valid molecules.
        """
        columns = {k: Column(f) for k, f in PROPERTIES.items() if properties}
        structure = Column(fingerprints), Counts(brics_fragments), Counts(ring_scaffold)
        chemnet = [ChemNet(device)] if fcd else []
        sample = collect(map(as_record, molecules), *columns.values(), *structure, *chemnet)
        n = len(sample.keys)
        if n < 2:
            raise ValueError(f"a reference needs at least two molecules, got {n}")
        bits, fragments, scaffolds = structure
        found = cls(name, n, {k: quantiles(c.values()) for k, c in columns.items()},
                    bits=bits.values(), fragments=fragments.total(), scaffolds=scaffolds.total())
        if not chemnet:
            return found
        mean, cov = chemnet[0].moments()
        return replace(found, fcd_mean=mean.astype(np.float32), fcd_cov=cov.astype(np.float32))

    @cached_property
    def sha256(self) -> str:
        """Hash of the contents, the same in memory and in a file."""
        digest = hashlib.sha256()
        for name, array in sorted(self._arrays().items()):
            digest.update(name.encode() + np.ascontiguousarray(array).tobytes())
        return digest.hexdigest()

    def facts(self) -> dict[str, Any]:
        """What provenance says of it."""
        return {"name": self.name, "n": self.n, "sha256": self.sha256[:16]}

    def _arrays(self) -> dict[str, NDArray[Any]]:
        """What a file holds; a covariance as its upper triangle, counts as lines and numbers."""
        arrays: dict[str, Any] = {f"property_{k}": v for k, v in self.properties.items()}
        arrays |= {"name": np.str_(self.name), "n": np.int64(self.n)}
        if self.fcd_mean is not None and self.fcd_cov is not None:
            arrays["fcd_mean"] = self.fcd_mean
            arrays["fcd_cov"] = self.fcd_cov[np.triu_indices(len(self.fcd_cov))]
        if self.bits is not None:
            arrays["bits"] = self.bits
        for name, counts in (("fragments", self.fragments), ("scaffolds", self.scaffolds)):
            if counts is not None:
                names = sorted(counts)
                arrays[f"{name}_names"] = np.frombuffer("\n".join(names).encode(), np.uint8)
                arrays[f"{name}_counts"] = np.array([counts[k] for k in names], np.int64)
        return arrays

    def save(self, path: str | Path) -> None:
        """Write an npz file with its checksum, whole or not at all."""
        with replacing(path) as file:
            np.savez_compressed(file, allow_pickle=False, format=np.str_(FORMAT),
                                sha256=np.str_(self.sha256), **self._arrays())

    @classmethod
    def load(cls, path: str | Path) -> Reference:
        """Read a file written by `save`. Raises ValueError where it is something else or damaged.
        """
        try:
            # numpy leaves a broken archive open unless the file is ours to close
            with Path(path).open("rb") as opened, np.load(opened, allow_pickle=False) as file:
                if str(file["format"]) != FORMAT:
                    raise KeyError(str(file["format"]))
                found = cls._read({name: file[name] for name in file.files})
                if found.sha256 != str(file["sha256"]):
                    raise KeyError("its checksum is another")
                return found
        except (KeyError, ValueError, EOFError, BadZipFile) as error:
            raise ValueError(f"{path} is not a reference ({FORMAT}): {error}") from error

    @classmethod
    def _read(cls, file: Mapping[str, NDArray[Any]]) -> Reference:
        table = {k.removeprefix("property_"): v for k, v in file.items() if "property_" in k}
        mean = file.get("fcd_mean")
        cov = None if mean is None else _square(file["fcd_cov"], len(mean))
        return cls(str(file["name"]), int(file["n"]), table, mean, cov, file.get("bits"),
                   _counts(file, "fragments"), _counts(file, "scaffolds"))


def as_reference(given: Any, *, fcd: bool = True, device: str = "cpu") -> Reference:
    """A reference as it is, out of an npz file, or fitted on a file of molecules or a list."""
    if isinstance(given, Reference):
        return given
    if not isinstance(given, str | Path):
        return Reference.fit("reference", given, fcd=fcd, device=device)
    path = Path(given)
    if path.suffix == ".npz":
        return Reference.load(path)
    rows = (record for _, record in from_file(path))
    return Reference.fit(path.name.split(".")[0], rows, fcd=fcd, device=device)


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


def _counts(file: Mapping[str, NDArray[Any]], name: str) -> Counter[str] | None:
    if f"{name}_names" not in file:
        return None
    names = file[f"{name}_names"].tobytes().decode().split("\n")
    return Counter(dict(zip(names, file[f"{name}_counts"].tolist(), strict=False)))
