"""XYZ files: molecules in space one after another, each a count of atoms, a comment, and a line
`symbol x y z` an atom.

An atom may be named by its number; columns behind z are left out. Of extended XYZ (Larsen et al.
2017, J. Phys. Condens. Matter 29:273002) files are read whose columns begin with species and pos.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import TextIO

import numpy as np

from scidiff.data.formats import open_text
from scidiff.data.points import Points
from scidiff.data.structures import Structure

_COLUMNS = re.compile(r'Properties="?([^\s"]+)')
_PLAIN = "species:S:1:pos:R:3"


def read_xyz(path: Path, packing: str = "") -> Iterator[Structure]:
    """Every molecule of a file, places as written; one that cannot be read has its reason.

    Behind a line that should be a count and is not, nothing can be found any more: the last
    structure says so.
    """
    with open_text(path, packing) as file:
        number, line = 0, 1
        while head := file.readline():
            if not head.strip():  # between molecules or at the end
                line += 1
                continue
            number += 1
            if not head.strip().isdecimal():
                yield Structure(number, None, "", f"line {line}: expected a number of atoms, got "
                                                  f"{_short(head)}; what follows is not read")
                return
            found = _molecule(number, int(head), line, file)
            yield found
            line += int(head) + 2


def _molecule(number: int, count: int, line: int, file: TextIO) -> Structure:
    comment = file.readline().strip()
    rows = list(islice(file, count))
    columns = _COLUMNS.search(comment)
    if columns and not columns[1].startswith(_PLAIN):
        return Structure(number, None, comment, f"line {line + 1}: expected columns that begin "
                                                f"with {_PLAIN}, got {columns[1]}")
    if len(rows) < count:
        return Structure(number, None, comment, f"line {line}: {count} atoms are announced, the "
                                                f"file has {len(rows)}")
    numbers, places = [], []
    for place, row in enumerate(rows, line + 2):
        try:
            atom, where = _atom(row)
        except ValueError as error:
            return Structure(number, None, comment, f"line {place}: {error}")
        numbers.append(atom)
        places.append(where)
    return Structure(number, Points.of(numbers, np.reshape(places, (-1, 3))), comment)


def _atom(row: str) -> tuple[int, list[float]]:
    from rdkit.Chem import GetPeriodicTable

    cells = row.split()
    if len(cells) < 4:
        raise ValueError(f"expected an atom as 'symbol x y z', got {_short(row)}")
    symbol = cells[0].capitalize()
    if symbol.isdecimal():
        return int(symbol), _places(cells)
    try:
        return GetPeriodicTable().GetAtomicNumber(symbol), _places(cells)
    except RuntimeError:
        raise ValueError(f"{cells[0]!r} is no element") from None


def _places(cells: Sequence[str]) -> list[float]:
    try:
        return [float(cell) for cell in cells[1:4]]
    except ValueError:
        raise ValueError(f"expected three numbers behind {cells[0]}, got "
                         f"{' '.join(cells[1:4])!r}") from None


def write_xyz(points: Points, comment: str = "") -> str:
    """One molecule as the lines of a file, places to 1e-6 angstrom; a comment is one line."""
    from rdkit.Chem import GetPeriodicTable

    symbol = GetPeriodicTable().GetElementSymbol
    rows = [f"{symbol(n):<2} {x:13.6f} {y:13.6f} {z:13.6f}"
            for n, (x, y, z) in zip(points.numbers.tolist(), points.positions.tolist(),
                                    strict=True)]
    return "\n".join([str(len(points)), " ".join(comment.split()), *rows, ""])


def _short(text: str) -> str:
    text = text.strip()
    return repr(text if len(text) <= 40 else f"{text[:37]}...")
