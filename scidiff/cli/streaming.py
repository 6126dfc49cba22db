"""`scidiff sample --stream` and `--prompt`: rows as they are written."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import RenderableType

from scidiff.cli.answers import Answer

if TYPE_CHECKING:
    from scidiff.api.model import Model
    from scidiff.api.streaming import Piece
    from scidiff.data.records import Record


def plain_rows(stream: bool, **options: Any) -> None:
    """Refuse what rows that begin with a prompt, or that are shown while they are written, have
    not."""
    for name, value in options.items():
        if value:
            asked = "--stream" if stream else "--prompt"
            raise ValueError(f"{asked} shows rows as they are drawn: leave --{name} out")


def prompted(
    model: Model, n: int, seed: int, out: Path | None, prompt: str, settings: Mapping[str, Any]
) -> Answer:
    """Rows that begin with a prompt."""
    from scidiff.api.streaming import complete
    from scidiff.cli.options import working
    from scidiff.cli.sampling import answer

    with working(f"drawing from {model.name}"):
        result = complete(model, prompt, n, seed, **settings)
    return answer(result, out)


def streamed(
    model: Model, n: int, seed: int, out: Path | None, prompt: str, settings: Mapping[str, Any]
) -> Answer:
    """Rows that are shown as they are finished, a single one block by block; with `out`, saved at
    the end."""
    from scidiff.api.streaming import stream
    from scidiff.cli.sampling import answer

    pieces = stream(model, n, seed, prompt=prompt, **settings)
    found: dict[int, Record] = {}

    def told() -> Answer:
        records = [record for _, record in sorted(found.items())]
        extra: dict[str, Any] = {"prompt": prompt} if prompt else {}
        extra |= {"n": n, "sampling": model.engine.settings(settings)}
        return answer(model.result(records, seed, **extra), out)

    def view() -> Iterator[RenderableType]:
        yield from _lines(pieces, n, found)
        yield from list(told().view)[0 if out else 1 :]  # rows have been shown

    def document() -> Mapping[str, Any]:
        for _ in _lines(pieces, n, found, quiet=True):
            pass
        known = told().document
        return known() if callable(known) else known

    return Answer(document, view())


def _lines(
    pieces: Iterable[Piece], n: int, found: dict[int, Record], *, quiet: bool = False
) -> Iterator[str]:
    """A line a row with its number, or all pieces on one line where there is one row; records go
    to `found`."""
    for piece in pieces:
        if piece.record is not None:
            found[piece.row] = piece.record
        if n == 1 and not quiet:
            sys.stdout.write(piece.text + ("\n" if piece.record else ""))
            sys.stdout.flush()
        elif piece.record is not None:
            yield f"{piece.row:>6}  {piece.record.text or '-'}  {piece.record.reason}".rstrip()
