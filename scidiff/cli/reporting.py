"""`scidiff report`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from scidiff.cli.answers import Answer, command
from scidiff.cli.options import Device, working


def register(app: typer.Typer) -> None:
    command(app, "report")(report)


def report(
    what: Annotated[
        list[Path],
        typer.Argument(
            metavar="FILE|RUN...",
            help="Files of any tool, folders of shards or of campaigns: compared side by side.",
        ),
    ],
    out: Annotated[
        Path, typer.Option("--out", "-o", metavar="FILE", help="The page, ending with .html.")
    ],
    suite: Annotated[
        str | None, typer.Option(help="Metrics of all rows; published values beside them.")
    ] = None,
    reference: Annotated[
        Path | None, typer.Option(help="A file to compare with, behind the plots too.")
    ] = None,
    train: Annotated[
        Path | None, typer.Option(help="A file that novelty is measured against.")
    ] = None,
    title: Annotated[str | None, typer.Option(help="What stands above the page.")] = None,
    column: Annotated[str | None, typer.Option(help="The column with the objects.")] = None,
    kind: Annotated[
        str | None, typer.Option(help="molecule, sequence or graph, where a file does not say.")
    ] = None,
    rows: Annotated[int, typer.Option(help="Rows shown of each input, evenly spaced.")] = 5_000,
    fcd: Annotated[bool, typer.Option(help="Measure the Frechet ChemNet distance too.")] = True,
    device: Device = None,
) -> Answer:
    """Write results as one HTML page that needs no network: metrics, plots, rows, search."""
    from scidiff.api.reporting import report as write

    names = ", ".join(map(str, what))
    with working(f"reading and measuring {names}"):
        write(list(what), out, suite=suite, reference=reference, train=train, title=title,
              column=column, kind=kind, rows=rows, fcd=fcd, device=device or "cpu")  # fmt: skip
    size = out.stat().st_size
    document = {"saved": str(out), "of": [str(w) for w in what], "bytes": size}
    return Answer(document, [f"saved {out} ({size / 1e6:.1f} MB); open it in any browser"])
