"""Millions of samples as a folder of Parquet shards that can be killed and continued.

A shard holds a fixed number of chunks of `Model.sample`, chunk j of the run seeded by (seed, j):
the rows are those of `Model.sample(n, seed)`, whatever was interrupted, and a shard that is there
is complete. `pandas.read_parquet(folder)` reads them all as one table.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.dataset as ds
import pyarrow.parquet as pq

from scidiff.api.model import CHUNK, Model
from scidiff.api.results import TEXT_COLUMN, SampleResult
from scidiff.core import ScidiffError
from scidiff.data.records import Record
from scidiff.files import replacing, write_atomically

CHUNKS = 50  # chunks in a shard: 50,000 rows
MANIFEST = "_manifest.json"  # readers of a Parquet folder skip names that begin with _ or .


class ShardError(ScidiffError):
    """A folder that holds another run, or something that is no run at all."""


@dataclass(frozen=True)
class Layout:
    """Which rows stand in which shard of a folder."""

    folder: Path
    n: int
    chunks: int = CHUNKS

    def __post_init__(self) -> None:
        if self.n < 1 or self.chunks < 1:
            raise ValueError(f"n and chunks must be at least 1, got {self.n} and {self.chunks}")

    def __len__(self) -> int:
        return -(-self.n // (self.chunks * CHUNK))

    def path(self, shard: int) -> Path:
        return self.folder / f"part-{shard:05d}.parquet"

    def rows(self, shard: int) -> int:
        size = self.chunks * CHUNK
        return min(size, self.n - shard * size)

    def complete(self, shard: int) -> bool:
        """Whether the shard is there with all its rows; a damaged one counts as missing."""
        try:
            return pq.read_metadata(self.path(shard)).num_rows == self.rows(shard)
        except (OSError, pa.ArrowInvalid):
            return False

    def missing(self) -> list[int]:
        return [shard for shard in range(len(self)) if not self.complete(shard)]

    def progress(self) -> str:
        """One line: how much is there."""
        left = self.missing()
        rows = self.n - sum(self.rows(shard) for shard in left)
        done = len(self) - len(left)
        return f"{done} of {len(self)} shards ({rows:,} of {self.n:,} rows) are in {self.folder}"


@dataclass(frozen=True)
class ShardedSample:
    """A finished sharded run."""

    folder: Path
    n: int
    valid: int
    shards: int
    drawn: int  # shards that this call drew; the others were there
    manifest: Mapping[str, Any]

    def dataset(self) -> ds.Dataset:
        """All rows as one Arrow dataset, in the order they were drawn."""
        return _dataset(self.folder)


def sample_shards(
    model: Model,
    n: int,
    folder: str | Path,
    seed: int = 0,
    *,
    chunks: int = CHUNKS,
    on_rows: Callable[[int], object] = lambda rows: None,
    **overrides: Any,
) -> ShardedSample:
    """Draw the rows of `model.sample(n, seed, **overrides)` into Parquet shards of `folder`.

    Called again with the same arguments it draws the missing shards only, and ends with the same
    files; a folder that was begun with other ones is a ShardError that names the difference.
    Memory is bounded by one shard's text. One process writes to a folder at a time. `on_rows` is
    told how many rows are new, at first those of the shards that were there.
    """
    layout = Layout(Path(folder), n, chunks)
    manifest = _manifest(model, layout, seed, overrides)
    _claim(layout, manifest)
    missing = layout.missing()
    on_rows(n - sum(layout.rows(shard) for shard in missing))
    for shard in missing:
        tables = []
        for records in draw(model, layout, shard, seed, overrides):
            result = SampleResult(records, kind=model.domain.kind, provenance=manifest)
            tables.append(result.to_arrow())
            on_rows(len(records))
        with replacing(layout.path(shard)) as file:
            pq.write_table(pa.concat_tables(tables), file)
    valid = _dataset(layout.folder).count_rows(filter=ds.field("valid"))
    return ShardedSample(layout.folder, n, valid, len(layout), len(missing), manifest)


def draw(
    model: Model, layout: Layout, shard: int, seed: int, overrides: Mapping[str, Any]
) -> Iterator[list[Record]]:
    """Draw the chunks of one shard."""
    first = shard * layout.chunks
    end = min(layout.n, (first + layout.chunks) * CHUNK)
    return model.chunks(end, seed, first=first, **overrides)


def is_run(folder: str | Path) -> bool:
    """Whether a folder was begun by `sample_shards`."""
    return (Path(folder) / MANIFEST).is_file()


def objects(folder: str | Path, kind: str = "molecule") -> list[str | None]:
    """The text of every row, in the order they were drawn; None where a row is invalid.

    Raises ShardError for rows of another kind, and for a run that is not finished.
    """
    found, column = _dataset(Path(folder)), TEXT_COLUMN[kind]
    if column not in found.schema.names:
        raise ShardError(f"{folder} holds no {kind}s: its columns are "
                         f"{', '.join(found.schema.names)}")
    table = found.to_table(columns=[column, "valid"])
    wanted = json.loads((Path(folder) / MANIFEST).read_text())["n"]
    if len(table) != wanted:
        raise ShardError(f"{folder} holds {len(table):,} of {wanted:,} rows: finish it first")
    rows = zip(table[column].to_pylist(), table["valid"].to_pylist(), strict=True)
    return [text if valid else None for text, valid in rows]


def _dataset(folder: Path) -> ds.Dataset:
    return ds.dataset(folder, format="parquet")


# ---------------------------------------------------------------- whose folder it is


def _manifest(
    model: Model, layout: Layout, seed: int, overrides: Mapping[str, Any]
) -> dict[str, Any]:
    """All that the rows depend on."""
    used = model.provenance(
        seed,
        n=layout.n,
        chunks_per_shard=layout.chunks,
        dtype=str(model.engine.dtype).removeprefix("torch."),
        device=model.engine.device.type,
    )
    sampling = model.engine.settings(overrides)
    return {"format": 1, **used, **{f"sampling.{k}": v for k, v in sampling.items()}}


def _claim(layout: Layout, manifest: Mapping[str, Any]) -> None:
    """Begin a run in the folder, or find that it holds this one; remove what a killed process left
    half written."""
    layout.folder.mkdir(parents=True, exist_ok=True)
    file = layout.folder / MANIFEST
    if file.is_file():
        _compare(file, manifest)
    else:
        _refuse_strangers(layout.folder)
        write_atomically(file, (json.dumps(manifest, indent=1) + "\n").encode())
    for left in layout.folder.glob(".part-*.tmp"):
        left.unlink()


def _compare(file: Path, manifest: Mapping[str, Any]) -> None:
    try:
        begun = json.loads(file.read_text())
        differences = [
            f"{key} {begun.get(key)!r} there, {manifest.get(key)!r} now"
            for key in {**begun, **manifest}
            if begun.get(key) != manifest.get(key)
        ]
    except (UnicodeDecodeError, json.JSONDecodeError, AttributeError) as error:
        raise ShardError(f"{file} is damaged: {error}; use another folder") from error
    if differences:
        raise ShardError(
            f"{file.parent} holds another run ({', '.join(differences)}): use another folder, or "
            "the same arguments to continue it"
        )


def _refuse_strangers(folder: Path) -> None:
    """A folder without a manifest must be empty, else its files would be read as part of the
    run."""
    other = next((p.name for p in sorted(folder.iterdir()) if not p.name.startswith(".")), None)
    if other:
        raise ShardError(
            f"{folder} is not empty (it holds {other}) and has no {MANIFEST}: use another folder"
        )
