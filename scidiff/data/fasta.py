"""FASTA with labels and scores in its headers: `>name free text cell=K562 score=3.2`.

Labels stand behind the free text. A value ends where the next ` key=` begins, so that UniProt's
`OS=Homo sapiens OX=9606` is two labels. What would be cut there is written as %20 and the like, as
in GFF3, and read back.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import quote, unquote

from scidiff.data.formats import FASTA_COLUMNS, Row, Rows, TableError, open_text, text_row

_KEY = re.compile(r"(?:^|\s)([^\s=]+)=")
_READABLE = "!\"#$&'()*+,-./:;<>?@[\\]^_`{|}~"  # what a header may hold, besides = and %


def read_fasta(path: Path, packing: str) -> Rows:
    """Records as name, sequence, description and a column for every label of any header.

    Raises TableError for a file of empty lines.
    """
    keys: dict[str, None] | None = None  # in order; None before the first record
    for header, *_ in _records(path, packing):
        keys = (keys or {}) | dict.fromkeys(labels(_named(header)[1])[1])
    if keys is None:
        raise TableError(f"{path.name} holds no FASTA record: it has empty lines only")
    names = list(keys)
    taken = [f"{key}_label" if key in FASTA_COLUMNS else key for key in names]

    def rows() -> Iterator[Row]:
        for header, number, parts in _records(path, packing):
            yield _row(header, number, parts, names)

    return [*FASTA_COLUMNS, *taken], rows()


def labels(header: str) -> tuple[str, dict[str, str]]:
    """Cut what follows a name into its free text and its labels, in order.

    The last of two equal keys counts here; `repeated` names them.
    """
    found = list(_KEY.finditer(header))
    if not found:
        return header.strip(), {}
    ends = [m.start() for m in found[1:]] + [len(header)]
    values = {unquote(m[1]): unquote(header[m.end():end].strip())
              for m, end in zip(found, ends, strict=True)}
    return header[: found[0].start()].strip(), values


def repeated(header: str) -> str:
    """The first key that a header gives twice, or ""."""
    keys = [unquote(m[1]) for m in _KEY.finditer(header)]
    return next((key for i, key in enumerate(keys) if key in keys[:i]), "")


def fasta_record(name: str, sequence: str, values: Mapping[str, Any]) -> str:
    """One record, its values as labels; reading gives the same text back for every value."""
    facts = "".join(f" {_quoted(key, '')}={_quoted(str(v), '=')}" for key, v in values.items())
    return f">{name}{facts}\n{sequence}\n"


def _named(header: str) -> tuple[str, str]:
    """Name and rest of a header."""
    name, *rest = header.split(None, 1) or [""]
    return name, "".join(rest)


def _quoted(text: str, also: str) -> str:
    """A key or value without what would end it; letters of every alphabet stay readable."""
    return "".join(c if c.isalnum() or c in _READABLE + also else quote(c, safe="")
                   for c in text)


def _records(path: Path, packing: str) -> Iterator[tuple[str, int, list[str]]]:
    """What follows > in a header, the number of its line and the lines of its sequence; a line
    before the first header comes alone, its number negative."""
    header, start = "", 0
    parts: list[str] = []
    with open_text(path, packing) as file:
        for number, raw in enumerate(file, 1):
            line = raw.strip()
            if line.startswith(">"):
                if start:
                    yield header, start, parts
                header, start, parts = line[1:].strip(), number, []
            elif line and not start:
                yield "", -number, [line]
            else:
                parts.append(line)
        if start:
            yield header, start, parts


def _row(header: str, number: int, parts: list[str], keys: list[str]) -> Row:
    if number < 0:
        return Row(-number, ("", *parts), "a sequence before the first '>' header")
    name, rest = _named(header)
    description, values = labels(rest)
    sequence = "".join("".join(parts).split())
    cells = (name, sequence, description, *(values.get(key, "") for key in keys))
    if not sequence:
        return Row(number, cells, "a header without a sequence")
    if key := repeated(rest):
        return Row(number, cells, f"the label {key!r} is given twice")
    return text_row(number, cells)
