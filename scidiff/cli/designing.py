"""`scidiff design`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from scidiff.cli.answers import Answer, command, records
from scidiff.cli.errors import saving
from scidiff.cli.options import (
    Cache,
    Cluster,
    Device,
    Dtype,
    Floor,
    Quality,
    Seed,
    Timeout,
    Workers,
    given,
    load,
    said,
)
from scidiff.cli.sampling import at_least_one, rows_table
from scidiff.cli.watching import watching

if TYPE_CHECKING:
    from scidiff.api.design_result import DesignResult


def register(app: typer.Typer) -> None:
    command(app, "design")(design)


def design(
    context: typer.Context,
    model: Annotated[
        str,
        typer.Argument(metavar="MODEL|FILE.toml", help="A model, or a file that says it all."),
    ],
    reward: Annotated[
        str | None,
        typer.Option(
            help="A formula such as '0.7*qed + 0.3*sa', a name, or package.module:name."
        ),
    ] = None,
    method: Annotated[
        str | None, typer.Option(help="How to search; an unknown one lists them all.")
    ] = None,
    n: Annotated[int, typer.Option("-n", help="How many designs.")] = 64,
    budget: Annotated[
        int | None,
        typer.Option(
            help="Distinct objects the reward may be asked for, in all. (default: 128 a design)"
        ),
    ] = None,
    seed: Seed = 0,
    strength: Annotated[
        float | None, typer.Option(help="How hard the reward pulls: p(x) exp(strength reward).")
    ] = None,
    floor: Floor = None,
    particles: Annotated[
        int | None, typer.Option(help="Of a population, for weighted methods.")
    ] = None,
    branch: Annotated[
        int | None, typer.Option(help="Candidates of a particle at a look, for weighted methods.")
    ] = None,
    ess: Annotated[
        float | None,
        typer.Option(help="Share of effective particles below which a population is resampled."),
    ] = None,
    every: Annotated[
        int | None, typer.Option(help="Steps of the chain from look to look, where it is not the "
                                      "budget that says so.")
    ] = None,
    window: Annotated[
        tuple[float, float] | None,
        typer.Option(help="The share of the chain in which the reward is looked ahead at."),
    ] = None,
    memory: Annotated[
        str | None,
        typer.Option(help="scaffold, fingerprint or edit, or in full scaffold:bucket=5,"
                          "as=resampling: later rounds look elsewhere."),
    ] = None,
    screen: Annotated[
        str | None,
        typer.Option(help="A cheap reward that chooses which candidates the dear one is asked "
                          "about, for weighted methods."),
    ] = None,
    value: Annotated[
        Path | None,
        typer.Option(metavar="FOLDER", help="What scidiff value has learned looks ahead."),
    ] = None,
    max_seconds: Annotated[
        float | None, typer.Option(help="End after the round in which so many have passed.")
    ] = None,
    max_rows: Annotated[
        int | None, typer.Option(help="End after so many rows of the network.")
    ] = None,
    cache: Cache = None,
    workers: Workers = 1,
    timeout: Timeout = None,
    retry_failed: Annotated[
        bool, typer.Option(help="Ask anew what failed or timed out in the cache.")
    ] = False,
    cluster: Cluster = None,
    out: Annotated[
        Path | None,
        typer.Option(
            "--out", "-o", metavar="FILE|FOLDER",
            help="A file for the designs, or a folder in which everything is kept as it comes.",
        ),
    ] = None,
    resume: Annotated[bool, typer.Option(help="Go on with the run in the folder.")] = False,
    quality: Quality = None,
    device: Device = None,
    dtype: Dtype = "float32",
    **settings: Any,
) -> Answer:
    """Design N objects that the model likes and the reward scores high, under a budget."""
    if model.endswith(".toml"):
        return _from_file(Path(model), out, resume, said(context))
    from scidiff.api.design import design as run

    at_least_one(n)
    folder = _checked(reward, method, floor, out, resume)
    drawer = load(model, device, dtype, out if folder is None else None)
    told = given(strength=strength, method=method, particles=particles, branch=branch,
                 ess=ess, every=every, window=window, memory=memory,
                 screen=screen, value=value, **settings)
    chosen = drawer.chosen(n, quality, **told)
    with _kept(folder), watching(f"designing {n} objects with {drawer.name}") as watch:
        result = run(drawer, reward, n=n, budget=budget, seed=seed, floor=floor, cache=cache,
                     workers=workers, timeout=timeout, cluster=cluster, seconds=max_seconds,
                     network_rows=max_rows, retry_failed=retry_failed, out=folder, resume=resume,
                     watch=watch, **chosen)
    if out is not None and folder is None:
        result.save(out)
    return _answer(result, out)


def _checked(reward: str | None, method: str | None, floor: float | None, out: Path | None,
             resume: bool) -> Path | None:
    """Find out before the model is loaded what cannot work; the folder of a campaign, if any."""
    from scidiff.api.saving import check_output
    from scidiff.api.strategies import least_calls
    from scidiff.rewards.combine import reward as resolve

    if reward is None:
        raise ValueError("design needs --reward, or a campaign file FILE.toml in place of a model")
    folder = out if out is not None and not out.suffix else None
    if resume and folder is None:
        raise ValueError(f"--resume goes on with a folder, got --out {out}")
    if folder is None:
        check_output(out)
    if method is not None:
        least_calls(method)
    if getattr(resolve(reward, floor=floor), "floor", None) is None:
        raise ValueError(
            f"reward {reward!r} has no lower bound, and an invalid object must be scored: "
            "say what it is worth with --floor"
        )
    return folder


def _from_file(file: Path, out: Path | None, resume: bool, typed: set[str]) -> Answer:
    """Run a campaign file, which says all but where and whether to go on."""
    from scidiff.api.campaigns import campaign, read_campaign

    also = next(iter(sorted(typed - {"model", "out", "resume", "as_json"})), None)
    if also is not None:
        option = "-n" if also == "n" else f"--{also.replace('_', '-')}"
        raise ValueError(f"{file} says all of that itself: leave out {option}, or write it there")
    folder = out or Path(read_campaign(file).out or "")
    with _kept(folder), watching(f"{file}") as watch:
        result = campaign(file, out=out, resume=resume, watch=watch)
    return _answer(result, folder)


def _kept(folder: Path | None) -> Any:
    """Say at an interruption what a campaign has kept."""
    from scidiff.guidance.journal import Journal

    if folder is None:
        return saving(lambda: "nothing was saved; -o FOLDER keeps what is found")
    journal = Journal(folder)
    return saving(lambda: f"{folder} holds {journal.progress()}; --resume goes on")


def _answer(result: DesignResult, out: Path | None) -> Answer:
    found = {"summary": result.summary(), "provenance": result.provenance}
    if out is not None:
        return Answer({"saved": out, **found}, [str(result), f"saved {out}"])
    rows = records(result.to_frame())
    return Answer({**found, "rows": rows}, [rows_table(rows), str(result)])
