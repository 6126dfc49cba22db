"""`scidiff sample` and `scidiff infill`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import RenderableType

from scidiff.cli.answers import Answer, command, pairs, records, table
from scidiff.cli.errors import saving
from scidiff.cli.options import (
    Device,
    Dtype,
    ModelName,
    Out,
    Quality,
    Seconds,
    Seed,
    bar,
    check_folder,
    given,
    load,
    working,
)
from scidiff.cli.streaming import plain_rows, prompted, streamed

if TYPE_CHECKING:
    from scidiff.api.model import Model
    from scidiff.api.results import SampleResult

SHARDED = 50_000  # more rows than this go to shards
SHOWN = 20  # rows of the table on the terminal


def register(app: typer.Typer) -> None:
    command(app, "sample")(sample)
    command(app, "infill")(infill)


def sample(
    model: ModelName,
    n: Annotated[int, typer.Option("-n", help="How many rows.")] = 16,
    seed: Seed = 0,
    out: Out = None,
    quality: Quality = None,
    seconds: Seconds = None,
    correct: Annotated[
        bool,
        typer.Option("--correct", help="Repair invalid molecules afterwards, and say so by row."),
    ] = False,
    shards: Annotated[
        bool | None,
        typer.Option(
            "--shards/--no-shards",
            help=f"Write a folder of Parquet shards that can be killed and continued. "
            f"(default: above {SHARDED:,} rows)",
        ),
    ] = None,
    cluster: Annotated[
        str | None, typer.Option(help="Address of a Ray cluster whose actors draw, or local.")
    ] = None,
    stream: Annotated[
        bool, typer.Option("--stream", help="Show rows as they are written; one, by the block.")
    ] = False,
    prompt: Annotated[
        str, typer.Option("--prompt", metavar="TEXT", help="What every string begins with.")
    ] = "",
    device: Device = None,
    dtype: Dtype = "float32",
    **settings: Any,
) -> Answer:
    """Draw N objects from a model; every row is kept, an invalid one with the reason."""
    from scidiff.api.saving import check_output

    at_least_one(n)
    if stream or prompt:
        plain_rows(stream, correct=correct, shards=shards, cluster=cluster)
        check_output(out)
        drawer = load(model, device, dtype, out)
        chosen = drawer.chosen(n, quality, seconds, **given(**settings))
        return (streamed if stream else prompted)(drawer, n, seed, out, prompt, chosen)
    if shards or (shards is None and n > SHARDED):
        folder = _shard_folder(n, out, correct)
        drawer = load(model, device, dtype)
        chosen = drawer.chosen(n, quality, seconds, **given(**settings))
        return _sharded(drawer, n, seed, folder, chosen)
    check_output(out)
    drawer = load(model, device, dtype, out)
    with bar() as b:
        task = b.add_task(f"drawing from {drawer.name}", total=n)
        result = drawer.sample(
            n,
            seed,
            quality=quality,
            seconds=seconds,
            correct=correct,
            cluster=cluster,
            on_rows=lambda new: b.advance(task, new),
            **given(**settings),
        )
    return answer(result, out)


def infill(
    model: ModelName,
    pattern: Annotated[str, typer.Argument(help="The text to keep, with one [*] to be written.")],
    n: Annotated[int, typer.Option("-n", help="How many rows.")] = 16,
    seed: Seed = 0,
    shortest: Annotated[int, typer.Option(help="Fewest tokens written.")] = 1,
    longest: Annotated[int, typer.Option(help="Most tokens written.")] = 12,
    candidates: Annotated[
        int, typer.Option(help="Fillings tried for a row, by a model that writes left to right.")
    ] = 64,
    out: Out = None,
    device: Device = None,
    dtype: Dtype = "float32",
) -> Answer:
    """Write the [*] of a pattern N times; the text around it stays as it is."""
    from scidiff.api.saving import check_output

    at_least_one(n)
    check_output(out)
    writer = load(model, device, dtype, out)
    with working(f"writing {n:,} fillings with {writer.name}"):
        result = writer.infill(pattern, n, seed, gap=(shortest, longest), candidates=candidates)
    return answer(result, out)


def answer(result: SampleResult, out: Path | None) -> Answer:
    """Save a result, or show its first rows; its summary either way."""
    summary = result.summary()
    found = {"summary": summary, "notes": result.notes, "provenance": result.provenance}
    view = [_shown(summary), *result.notes]
    if out is not None:
        result.save(out)
        return Answer({"saved": out, **found}, [*view, f"saved {out}"])
    rows = records(result.to_frame())
    return Answer({**found, "rows": rows}, [rows_table(rows), *view])


def _shown(summary: Mapping[str, Any]) -> RenderableType:
    return pairs({name: value for name, value in summary.items() if value != {}})


def rows_table(rows: Sequence[Mapping[str, Any]]) -> RenderableType:
    """The first rows of a result, without what a terminal has no room for."""
    hidden = {"canonical", "log_w"} | ({"reason"} if all(r["valid"] for r in rows) else set())
    return table([{k: v for k, v in r.items() if k not in hidden} for r in rows], limit=SHOWN)


def _sharded(
    model: Model, n: int, seed: int, folder: Path, settings: dict[str, Any]
) -> Answer:
    from scidiff.api.shards import Layout, sample_shards

    with saving(lambda: f"{Layout(folder, n).progress()}; the same command continues"), bar() as b:
        task = b.add_task(f"drawing from {model.name}", total=n)
        done = sample_shards(
            model, n, folder, seed, on_rows=lambda new: b.advance(task, new), **settings
        )
    facts = {"rows": n, "valid": done.valid, "shards": done.shards, "drawn now": done.drawn}
    document = {"saved": folder, **facts, "provenance": done.manifest}
    return Answer(document, [pairs(facts), f"saved {folder}"])


def at_least_one(n: int) -> None:
    """Check the number of rows before anything is loaded."""
    if n <= 0:
        raise ValueError(f"-n must be at least 1, got {n}")


def _shard_folder(n: int, out: Path | None, correct: bool) -> Path:
    """Shards go to a folder, which may be called something.parquet, and hold rows as drawn."""
    if correct:
        raise ValueError(
            f"{n:,} rows are written as shards, as they were drawn: leave --correct out, or say "
            "--no-shards"
        )
    if out is None:
        raise ValueError(f"{n:,} rows are written as shards: say where with -o FOLDER")
    if out.suffix not in ("", ".parquet"):
        raise ValueError(
            f"{n:,} rows are written as a folder of Parquet shards, got -o {out}: give a folder "
            "or NAME.parquet, or say --no-shards"
        )
    check_folder(out)
    return out
