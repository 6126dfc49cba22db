"""`scidiff evaluate` and `scidiff likelihood`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from scidiff.cli.answers import Answer, command, pairs, records, table
from scidiff.cli.options import Device, Dtype, ModelName, Out, Seed, given, load, working

if TYPE_CHECKING:
    from scidiff.data.tables import Table

TABLES = (".csv", ".parquet")
SHOWN = 20


def register(app: typer.Typer) -> None:
    command(app, "evaluate")(evaluate)
    command(app, "likelihood")(likelihood)


def evaluate(
    what: Annotated[
        str, typer.Argument(metavar="FILE|MODEL", help="A file of molecules, shards, or a model.")
    ],
    suite: Annotated[str, typer.Option(help="Which metrics.")] = "moses",
    column: Annotated[str | None, typer.Option(help="The column with the molecules.")] = None,
    train: Annotated[
        Path | None, typer.Option(help="A file that novelty is measured against.")
    ] = None,
    reference: Annotated[
        Path | None, typer.Option(help="A file to compare with instead of the suite's own.")
    ] = None,
    fcd: Annotated[bool, typer.Option(help="Measure the Frechet ChemNet distance too.")] = True,
    n: Annotated[int, typer.Option("-n", help="Rows drawn from a model.")] = 10_000,
    seed: Seed = 0,
    device: Device = None,
) -> Answer:
    """Measure a file of molecules, or what a model draws, with intervals and baselines."""
    from scidiff.api import entry
    from scidiff.api.shards import is_run

    options: dict[str, Any] = {
        "train": train, "reference": reference, "fcd": fcd, "device": device or "cpu"
    }
    if Path(what).is_file() or is_run(what):
        with working(f"measuring {what}"):
            report = entry.evaluate(what, suite, column=column, **options)
    else:
        _is_no_file(what)
        entry.check_suite(suite, fcd)  # 10,000 rows must not be drawn for a misspelt name
        model = load(what, device)
        entry.check_suite(suite, fcd, model)
        with working(f"drawing {n:,} rows from {model.name} and measuring them"):
            report = entry.evaluate(model.sample(n, seed=seed), suite, **options)
    document = {"of": what, "suite": suite, **report.to_dict()}
    return Answer(document, [str(report)])


def _is_no_file(what: str) -> None:
    """A misspelt file must not be called an unknown model."""
    suffix = Path(what).suffix
    if suffix and not suffix[1:].isdigit() and "://" not in what and not Path(what).exists():
        raise FileNotFoundError(f"no such file: {what}")


def likelihood(
    model: ModelName,
    file: Annotated[Path, typer.Argument(metavar="FILE", help="A file of strings.")],
    column: Annotated[str | None, typer.Option(help="The column with the strings.")] = None,
    draws: Annotated[int, typer.Option(help="Draws of the bound; more is more precise.")] = 32,
    block_size: Annotated[
        int | None, typer.Option("--block-size", help="1 is exact for left-to-right models.")
    ] = None,
    condition: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME=VALUE", help="What the strings are told to be like."),
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
    next(tables.stream(file, column, rows=1))  # a file that cannot be read fails before loading
    judge = load(model, device, dtype)
    read = tables.read(file, column, check=judge.unreadable)
    if not len(read):
        raise ValueError(f"{file}: no string that {judge.name} can read; {_first(read)}")
    with working(f"reading {len(read):,} strings with {judge.name}"):
        frame = judge.log_likelihood(
            read.objects(), draws=draws, block_size=block_size, seed=seed,
            **given(condition=condition),
        )  # fmt: skip
    unit = judge.engine.unit
    per_unit = -frame["log_likelihood"].sum() / frame[unit].sum()
    summary = {
        "strings": len(frame),
        "rejected": len(read.rejects),
        f"nats a {unit[:-1]}": per_unit,
    }
    rejects = [{"row": p.row, "text": p.text, "reason": p.reason} for p in read.rejects]
    left_out = [table(rejects[:SHOWN], title=f"{len(rejects):,} left out")] if rejects else []
    found = {"summary": summary, "rejects": rejects}
    if out is not None:
        frame.to_csv(out, index=False) if out.suffix.lower() == ".csv" else frame.to_parquet(out)
        return Answer({"saved": out, **found}, [*left_out, pairs(summary), f"saved {out}"])
    rows = records(frame)
    return Answer(
        {**found, "rows": rows}, [table(rows, limit=SHOWN), *left_out, pairs(summary)]
    )


def _first(read: Table) -> str:
    return f"first: row {read.rejects[0].row}: {read.rejects[0].reason}"
