"""References with every molecule in them, fitted where the data are fetched and kept in the cache.

A file is for one version of RDKit: canonical fragments and scaffolds differ between versions.
"""

from __future__ import annotations

import gzip
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import cache
from pathlib import Path

import rdkit

from scidiff.data import datasets
from scidiff.evaluation.novelty import KnownSet
from scidiff.evaluation.reference import Reference, shipped

SPLITS = {"moses_test": "moses_test.csv.gz", "moses_testsf": "moses_test_scaffolds.csv.gz"}
COMMAND = "scidiff data get moses"


def moses_references() -> tuple[Reference, Reference]:
    """MOSES Test and TestSF: with molecules where they were fitted, else as shipped."""
    test, testsf = (_fitted(name, file_of(name)) for name in SPLITS)
    return test, testsf


def file_of(name: str) -> Path:
    """Where the fitted reference of a split is, or would be."""
    return datasets.cache().parent / "references" / f"{name}-rdkit{rdkit.__version__}.npz"


def moses_train() -> KnownSet | None:
    """MOSES Train for novelty, where it was fetched; its names are as published."""
    file = file_of("moses_train")
    return KnownSet.load(file) if file.is_file() else None


def _fitted(name: str, file: Path) -> Reference:
    return _load(file, file.stat().st_mtime) if file.is_file() else shipped(name)


@cache
def _load(file: Path, time: float) -> Reference:
    return Reference.load(file)


def fit_moses(files: Sequence[Path]) -> list[Path]:
    """Fit both references and Train on the fetched files, unless that was done.

    About two minutes in all. The moments and properties stay the published ones, which ship.
    """
    by_name = {f.name: f for f in files}
    file_of("").parent.mkdir(parents=True, exist_ok=True)
    train = file_of("moses_train")
    if not train.is_file():
        KnownSet.build(_smiles(by_name["moses_train.csv.gz"]), "MOSES Train").save(train)
    return [train, *(_fit(name, by_name[split]) for name, split in SPLITS.items())]


def _fit(name: str, file: Path) -> Path:
    target = file_of(name)
    if not target.is_file():
        own = Reference.fit(name, _smiles(file), fcd=False, properties=False)
        replace(shipped(name), bits=own.bits, fragments=own.fragments,
                scaffolds=own.scaffolds).save(target)
    return target


def _smiles(file: Path) -> list[str]:
    rows = gzip.decompress(file.read_bytes()).decode().split()[1:]
    return [row.split(",")[0] for row in rows]


FITS: dict[str, Callable[[Sequence[Path]], list[Path]]] = {"moses": fit_moses}


def fit(dataset: str, files: Sequence[Path]) -> list[Path]:
    """Fit what suites need of a data set; nothing for most of them."""
    return FITS[dataset](files) if dataset in FITS else []
