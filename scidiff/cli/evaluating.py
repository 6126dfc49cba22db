"""`scidiff evaluate` and `scidiff likelihood`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from scidiff.cli.answers import Answer, command, pairs, records, table
from scidiff.cli.options import Device, Dtype, ModelName, Out, Seed, load, working

TABLES = (".csv", ".parquet")
SHOWN = 20


def register(app: typer.Typer) -> None:
    command(app, "evaluate")(evaluate)
    command(app, "likelihood")(likelihood)


def evaluate(
    what: Annotated[
        str, typer.Argument(metavar="FILE|MODEL", help="A file of molecules, or a model.")
    ],
    suite: Annotated[str, typer.Option(help="Which metrics.")] = "moses",
    column: Annotated[str | None, typer.Option(help="The column with the molecules.")] = None,
    fcd: Annotated[bool, typer.Option(help="Measure the Frechet ChemNet distance too.")] = True,
    n: Annotated[int, typer.Option("-n", help="Rows drawn from a model.")] = 10_000,
    seed: Seed = 0,
    device: Device = None,
) -> Answer:
    """Measure a file of molecules, or what a model draws, with intervals and baselines."""
    from scidiff.api import entry

    if Path(what).is_file():
        with working(f"measuring {what}"):
            report = entry.evaluate(what, suite, column=column, fcd=fcd)
    else:
        model = load(what, device)
        with working(f"drawing {n:,} rows from {model.name} and measuring them"):
            report = entry.evaluate(model.sample(n, seed=seed), suite, fcd=fcd)
    document = {"of": what, "suite": suite, **report.to_dict()}
    return Answer(document, [str(report)])


def likelihood(
    model: ModelName,
    file: Annotated[Path, typer.Argument(metavar="FILE", help="A file of strings.")],
    column: Annotated[str | None, typer.Option(help="The column with the strings.")] = None,
    draws: Annotated[int, typer.Option(help="Draws of the bound; more is more precise.")] = 32,
    block_size: Annotated[
        int | None, typer.Option("--block-size", help="1 is exact for left-to-right models.")
    ] = None,
    seed: Seed = 0,
    out: Out = None,
    device: Device = None,
    dtype: Dtype = "float32",
) -> Answer:
    """Bound log p of every string of a file from below (nats), with its standard error."""
    from scidiff.api.saving import check_output
    from scidiff.data import tables

    check_output(out, TABLES)
    read = tables.read(file, column=column)
    judge = load(model, device, dtype)
    with working(f"reading {len(read):,} strings with {judge.name}"):
        frame = judge.log_likelihood(
            read.objects(), draws=draws, block_size=block_size, seed=seed
        )
    per_token = -frame["log_likelihood"].sum() / frame["tokens"].sum()
    summary = {"strings": len(frame), "rejected": len(read.rejects), "nats a token": per_token}
    if out is not None:
        frame.to_csv(out, index=False) if out.suffix == ".csv" else frame.to_parquet(out)
        return Answer({"saved": out, "summary": summary}, [pairs(summary), f"saved {out}"])
    rows = records(frame)
    return Answer(
        {"summary": summary, "rows": rows}, [table(rows, limit=SHOWN), pairs(summary)]
    )
