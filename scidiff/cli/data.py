"""`scidiff data list | info | get`."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from scidiff.cli.answers import Answer, command, pairs, table
from scidiff.cli.options import working

if TYPE_CHECKING:
    from scidiff.data.datasets import DatasetInfo

Name = Annotated[str, typer.Argument(metavar="NAME", help="A data set; see scidiff data list.")]


def register(app: typer.Typer) -> None:
    group = typer.Typer(help="The data sets that ship or can be had, and their licences.")
    command(group, "list")(list_sets)
    command(group, "info")(info)
    command(group, "get")(get)
    app.add_typer(group, name="data")


def list_sets() -> Answer:
    """Name the data sets."""
    from scidiff.data import datasets

    note = "scidiff data get NAME fetches one"
    found = [datasets.info(name) for name in datasets.names()]
    rows = [
        {"name": d.name, "rows": d.rows, "licence": d.licence, "where": _where(d), "what": d.title}
        for d in found
    ]
    return Answer({"datasets": [asdict(d) for d in found]}, [table(rows), note])


def info(name: Name) -> Answer:
    """Show what a data set is, where it comes from and its licence."""
    from scidiff.data import datasets

    facts = asdict(datasets.info(name))
    return Answer(facts, [pairs(facts)])


def get(
    name: Name,
    source: Annotated[
        str | None, typer.Option(help="A file or address to take it from, where it needs one.")
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option("--out", "-o", metavar="DIR", help="Where to (default: the cache)."),
    ] = None,
) -> Answer:
    """Fetch a data set, check it, fit what `evaluate` needs of it, and say where all is."""
    from scidiff.data import datasets
    from scidiff.evaluation import fitted

    with working(f"fetching {name}"):
        files = datasets.get(name, source=source, out=out)
    with working(f"fitting what is measured against {name}"):
        files = [*files, *fitted.fit(name, files)]
    return Answer({"name": name, "files": files}, [f"{name} is at", *map(str, files)])


def _where(info: DatasetInfo) -> str:
    if info.shipped:
        return "shipped"
    return "fetched" if info.present else "to be fetched"
