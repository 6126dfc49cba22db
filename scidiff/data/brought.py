"""Data sets on no package index: what a user brings, or an address gives, is checked and packed.

Molecules and graphs are known by the digest of their rows. A table, `column` in its entry, keeps
the columns that the entry documents; `names` says what the source calls those it calls otherwise.
"""

from __future__ import annotations

import csv
import gzip
import io
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from scidiff.data.formats import open_rows
from scidiff.data.packages import DatasetError, fetch_url, verify
from scidiff.data.tables import Table, read

Entry = dict[str, Any]


def bring(name: str, entry: Entry, source: str | Path | None) -> bytes:
    """The packed file of a set, from `source` or the address that the entry knows.

    Raises DatasetError where there is neither, a column lacks, or the objects are not the known
    ones in their order.
    """
    source = source or entry.get("url")
    if source is None:
        raise DatasetError(f"{name} is on no package index; give a file or an address as source=")
    with tempfile.TemporaryDirectory() as scratch:
        remote = str(source).startswith(("http://", "https://"))
        file = fetch_url(str(source), scratch) if remote else Path(source)
        if "column" in entry:
            return _packed_table(_checked(read_table(entry, file), entry, name))
        lines = "\n".join(read(file).objects())
    verify(lines.encode(), entry["content_sha256"], f"{file.name} as {name}")
    if entry["kind"] == "graph":
        return _packed_graphs(lines.split("\n"))
    return gzip.compress(f"{lines}\n".encode(), mtime=0)


def read_table(entry: Entry, file: Path) -> Table:
    """The documented columns of a table, under their documented names.

    `most` in an entry = {by, rows}: of a larger source, the rows with most of column `by`.
    """
    there, _ = open_rows(file)
    named = {ours: ours if ours in there else entry.get("names", {}).get(ours, ours)
             for ours in entry["columns"]}
    missing = [repr(theirs) for theirs in named.values() if theirs not in there]
    if missing:
        raise DatasetError(f"{file.name} lacks {', '.join(missing)}; its columns: "
                           f"{', '.join(there)}")
    found = read(file, column=named[entry["column"]])
    most = entry.get("most", {})
    if most.get("by") in there:
        order = np.argsort(-found.numbers(most["by"]), kind="stable")
        found = found.take(order[: most["rows"]])
    data = found.data.select(list(named.values())).rename_columns(list(named))
    return replace(found, data=data, column=entry["column"])


def _checked(table: Table, entry: Entry, name: str) -> Table:
    if table.rejects:
        raise DatasetError(f"not every row of {name} can be used: {table.summary()}")
    if "content_sha256" in entry:
        verify("\n".join(table.objects()).encode(), entry["content_sha256"],
               f"{table.source} as {name}")
    return table


def _packed_table(table: Table) -> bytes:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(table.columns)
    writer.writerows(zip(*(table.values(c) for c in table.columns), strict=True))
    return gzip.compress(text.getvalue().encode(), mtime=0)


def _packed_graphs(graphs: Sequence[str]) -> bytes:
    from scidiff.data.graph_files import pack
    from scidiff.data.graph_text import parse

    content = io.BytesIO()
    np.savez_compressed(content, allow_pickle=False, **pack([parse(text) for text in graphs]))
    return content.getvalue()
