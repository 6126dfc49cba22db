"""What every command shares: `--json`, one document or one view on stdout, errors of one line."""

from __future__ import annotations

import inspect
import json
import math
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import redirect_stdout
from dataclasses import dataclass
from functools import wraps
from typing import Annotated, Any

import typer
from rich.box import SIMPLE_HEAD
from rich.console import Console, RenderableType
from rich.table import Table

from scidiff.cli.errors import expected_errors
from scidiff.cli.options import setting_options

Json = Annotated[bool, typer.Option("--json", help="Print one JSON document and nothing else.")]


@dataclass(frozen=True)
class Answer:
    """What a command found: a document for programs and the same for people; one that is found
    while it is shown is made when it is asked for."""

    document: Mapping[str, Any] | Callable[[], Mapping[str, Any]]
    view: Iterable[RenderableType]


def command(app: typer.Typer, name: str) -> Callable[[Callable[..., Answer]], Callable[..., None]]:
    """Register a function that returns an Answer as the command `name` of `app`, with `--json`;
    one that takes **settings has an option for every setting of a model.

    While it works, stdout goes to stderr, so that nothing a library prints mixes with the answer.
    """

    def register(function: Callable[..., Answer]) -> Callable[..., None]:
        @wraps(function)
        def run(*, as_json: bool, **arguments: Any) -> None:
            with expected_errors():
                with redirect_stdout(sys.stderr):
                    answer = function(**arguments)
                show(answer, as_json)

        run.__signature__ = _with_json(function)  # type: ignore[attr-defined]
        app.command(name)(run)
        return run

    return register


def _with_json(function: Callable[..., Answer]) -> inspect.Signature:
    signature = inspect.signature(function, eval_str=True)
    flag = inspect.Parameter(
        "as_json", inspect.Parameter.KEYWORD_ONLY, annotation=Json, default=False
    )
    named = [p for p in signature.parameters.values() if p.kind != p.VAR_KEYWORD]
    options = [p.replace(kind=inspect.Parameter.KEYWORD_ONLY) for p in named]
    if len(named) < len(signature.parameters):
        options += setting_options()
    return signature.replace(parameters=[*options, flag], return_annotation=None)


def show(answer: Answer, as_json: bool) -> None:
    """Print the document, or the view."""
    if as_json:
        from scidiff.api.saving import plain

        document = answer.document() if callable(answer.document) else answer.document
        print(json.dumps(plain(document), indent=1, allow_nan=False, ensure_ascii=False))
        return
    # molecules are not markup: [nH] is an atom and :cop: three of them
    console = Console(highlight=False, markup=False, emoji=False)
    for part in answer.view:
        console.print(part, soft_wrap=isinstance(part, str))


def records(frame: Any) -> list[dict[str, Any]]:
    """Rows of a pandas frame as dictionaries."""
    return [dict(zip(frame.columns, row, strict=True)) for row in frame.itertuples(index=False)]


def table(
    rows: Sequence[Mapping[str, Any]], *, limit: int | None = None, title: str = ""
) -> Table:
    """A table of records with the same keys; cells fold, so that nothing is cut off."""
    shown = Table(title=title or None, title_justify="left", header_style="bold", box=SIMPLE_HEAD)
    for name in rows[0] if rows else ():
        number = all(_is_number(row[name]) for row in rows)
        shown.add_column(str(name), overflow="fold", justify="right" if number else "left")
    for row in rows[:limit]:
        shown.add_row(*(_cell(v) for v in row.values()))
    if limit is not None and len(rows) > limit:
        shown.caption = f"and {len(rows) - limit:,} more; -o FILE keeps them all"
    return shown


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def pairs(facts: Mapping[str, Any]) -> Table:
    """A table of names and values."""
    shown = Table(show_header=False, box=None, pad_edge=False)
    shown.add_column(style="bold")
    shown.add_column(overflow="fold")
    for name, value in facts.items():
        shown.add_row(str(name), _cell(value))
    return shown


def _cell(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return "-" if math.isnan(value) else f"{value:.4g}"
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, Mapping):
        return "; ".join(f"{k}: {_cell(v)}" for k, v in value.items())
    if isinstance(value, list | tuple):
        return ", ".join(map(_cell, value))
    return "" if value is None else str(value)


__all__ = ["Answer", "Json", "command", "pairs", "records", "show", "table"]
