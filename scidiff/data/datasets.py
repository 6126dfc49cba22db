"""The data sets that ship with the package, and the larger ones that are fetched once.

    names()                         # moses_100k, qm9, enhancers, peptides, community, grids, ..
    load("enhancers", "test")       # -> Table
    get("moses")                    # out of its PyPI package into the cache
    path("moses", "train")          # where it is

The cache is `$SCIDIFF_CACHE`, or ~/.cache/scidiff; a folder `$SCIDIFF_DATA` is read as well.
"""

from __future__ import annotations

import gzip
import io
import json
import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from scidiff.data.brought import bring, read_table
from scidiff.data.packages import DatasetError, member, sha256, store, verify, wheel
from scidiff.data.packing import pack_qm9, unpack_dna
from scidiff.data.tables import Table, read
from scidiff.messages import nearest


@dataclass(frozen=True)
class DatasetInfo:
    """What is known of a data set; the cards in `datasets/` say the same at length."""

    name: str
    title: str
    kind: str  # "smiles", "sequence", "structure" (of RNA, dots and brackets) or "graph"
    rows: int
    columns: dict[str, str]
    splits: tuple[str, ...]  # empty: none given, see `scidiff.data.splits`
    licence: str
    source: str
    cite: str
    shipped: bool
    present: bool  # on this machine


def folder() -> Path:
    """Where the shipped sets are: in the installed package, or in a source checkout."""
    package = Path(__file__).parents[1]
    for place in (package / "_datasets", package.parent / "datasets"):
        if (place / "index.json").is_file():
            return place
    raise DatasetError(f"the shipped data sets are missing: no index.json in {package}/_datasets")


def cache() -> Path:
    """Where fetched sets are kept."""
    chosen = os.environ.get("SCIDIFF_CACHE")
    return (Path(chosen) if chosen else Path.home() / ".cache" / "scidiff") / "datasets"


@lru_cache(maxsize=1)
def _index() -> dict[str, dict[str, Any]]:
    return json.loads((folder() / "index.json").read_text())


def names() -> list[str]:
    """Every known set, the shipped ones first."""
    return list(_index())


def info(name: str) -> DatasetInfo:
    """Describe one set; raises DatasetError naming the nearest."""
    entry = _entry(name)
    splits = tuple(s for s in entry.get("files", {}) if s != "all")
    own = "drawn by this package" if "file" in entry else \
        entry.get("url", "a file or URL of yours")
    source = f"PyPI package {entry['package']}" if "package" in entry else own
    return DatasetInfo(
        name, entry["title"], entry["kind"], entry["rows"], entry["columns"],
        splits or tuple(entry.get("splits", ())), entry["licence"], source, entry["cite"],
        shipped="file" in entry, present="file" in entry or _found(name, entry) is not None)


def path(name: str, split: str | None = None) -> Path:
    """The file of a set, or of one split of it; raises DatasetError saying how to get it."""
    entry = _entry(name)
    if "file" in entry:
        return folder() / entry["file"]
    files = entry["files"]
    if split is None and "all" not in files:
        raise DatasetError(f"{name} is one file a split; say which: {', '.join(files)}")
    file = _file(name, files, split or "all")
    for place in _places():
        if (place / file["file"]).is_file():
            return place / file["file"]
    command = f"scidiff data get {name}"
    command += "" if {"package", "url"} & set(entry) else " --source FILE"
    raise DatasetError(f"{name} is not on this machine; fetch it with: {command}")


def load(name: str, split: str | None = None) -> Table:
    """Read a set, or one split of it, after its checksum is verified."""
    entry = _entry(name)
    whole = "file" in entry or "splits" in entry  # one file holds all splits
    file = path(name, None if whole else split)
    content = file.read_bytes()
    about = entry if whole else _file(name, entry["files"], split or "all")
    if expected := about.get("sha256"):
        verify(content, expected, file.name)
    if "column" in entry:
        table = read_table(entry, file)
    else:
        make = _TABLES.get(name.replace("-", "_"), _KINDS.get(entry["kind"], _lines))
        table = make(file, content)
    if "content_sha256" in entry:
        verify("\n".join(table.objects()).encode(), entry["content_sha256"], file.name)
    table = replace(table, source=name if split is None else f"{name}:{split}")
    return table if split is None or not whole else _part(name, entry, table, split)


def get(name: str, source: str | Path | None = None, out: str | Path | None = None) -> list[Path]:
    """Fetch a set into the cache, or into the folder `out`; returns its files.

    moses and qm9_3d come out of their PyPI packages; `source` is then the wheel or a folder with
    it, default: downloaded by pip. The others need `source`, unless the set has a public
    address: a file or an http(s) address of the published rows, in their order and in any readable
    format. Checksums are verified before anything is written, and each file appears whole or not
    at all. A set that ships is returned as it is.
    """
    entry, target = _entry(name), Path(out) if out else cache()
    if "file" in entry:
        return [path(name)]
    files = {target / f["file"]: f for f in entry["files"].values()}
    if all(p.is_file() and ("sha256" not in f or sha256(p.read_bytes()) == f["sha256"])
           for p, f in files.items()):
        return list(files)
    if "package" not in entry:
        return [store(next(iter(files)), bring(name, entry, source))]
    with wheel(entry["package"], source) as archive:
        contents = {p: _qm9(archive, f) if "members" in f else
                    member(archive, f["member"], f["sha256"]) for p, f in files.items()}
    return [store(p, content) for p, content in contents.items()]


# ---------------------------------------------------------------- where files are


def _entry(name: str) -> dict[str, Any]:
    return _choose(name, _index(), "unknown data set")


def _file(name: str, files: dict[str, Any], split: str) -> dict[str, Any]:
    return _choose(split, files, f"{name} has no split")


def _choose(wanted: str, known: dict[str, Any], what: str) -> dict[str, Any]:
    for spelled in (wanted, wanted.replace("-", "_")):
        if spelled in known:
            return known[spelled]
    raise DatasetError(f"{what} {wanted!r}{nearest(wanted, known)}; known: {', '.join(known)}")


def _places() -> list[Path]:
    extra = os.environ.get("SCIDIFF_DATA")
    return [cache(), Path(extra)] if extra else [cache()]


def _found(name: str, entry: dict[str, Any]) -> Path | None:
    for place in _places():
        if all((place / f["file"]).is_file() for f in entry["files"].values()):
            return place
    return None


# ---------------------------------------------------------------- tables out of files


def _table(columns: dict[str, Sequence[Any]], column: str, file: Path) -> Table:
    import pyarrow as pa

    return Table(pa.table({k: pa.array(v) for k, v in columns.items()}), column, file.name)


def _lines(file: Path, content: bytes) -> Table:
    """One object a line, with a header in csv files; these files are known to be clean."""
    import lzma

    text = (lzma if file.suffix == ".xz" else gzip).decompress(content).decode()
    lines = text.split()
    header = lines.pop(0) if ".csv" in file.suffixes else "smiles"
    return _table({header: lines}, header, file)


def _enhancers(file: Path, content: bytes) -> Table:
    with np.load(io.BytesIO(content), allow_pickle=False) as z:
        return _table({"sequence": unpack_dna(z["packed"]), "cell": z["cells"][z["cell"]].tolist(),
                       "split": z["splits"][z["split"]].tolist()}, "sequence", file)


def _qm9_3d(file: Path, content: bytes) -> Table:
    with np.load(io.BytesIO(content), allow_pickle=False) as z:
        properties = dict(zip(z["prop_names"].tolist(), z["props"].T, strict=True))
        smiles = z["smiles"].tobytes().decode().split("\n")
        return _table({"smiles": smiles, "index": z["index"], **properties}, "smiles", file)


def _graphs(file: Path, content: bytes) -> Table:
    """Graphs in their published order: the first fifth is the test set (Jo et al. 2022)."""
    graphs = read(file).objects()
    tests = len(graphs) // 5
    splits = ["test"] * tests + ["train"] * (len(graphs) - tests)
    return _table({"graph": graphs, "split": splits}, "graph", file)


def _part(name: str, entry: dict[str, Any], table: Table, split: str) -> Table:
    if "split" not in table.columns:
        raise DatasetError(f"{name} has no splits; make them with scidiff.data.splits")
    _choose(split, dict.fromkeys(entry["splits"]), f"{name} has no split")
    return table.take(np.flatnonzero(np.array(table.values("split")) == split))


_TABLES = {"enhancers": _enhancers, "qm9_3d": _qm9_3d,
           "peptides": lambda file, content: read(file)}
_KINDS = {"graph": _graphs}


# ---------------------------------------------------------------- fetching


def _qm9(archive: Any, file: dict[str, Any]) -> bytes:
    content = io.BytesIO()
    parts = [member(archive, name, digest) for name, digest in file["members"].items()]
    np.savez_compressed(content, allow_pickle=False, **pack_qm9(parts))
    return content.getvalue()
