"""`scidiff design`."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from scidiff.cli.answers import Answer, command, records
from scidiff.cli.options import (
    Device,
    Dtype,
    ModelName,
    Out,
    Quality,
    Seed,
    given,
    load,
    working,
)
from scidiff.cli.sampling import at_least_one, rows_table


def register(app: typer.Typer) -> None:
    command(app, "design")(design)


def design(
    model: ModelName,
    reward: Annotated[
        str,
        typer.Option(
            help="A formula such as '0.7*qed + 0.3*sa', a name, or package.module:name."
        ),
    ],
    method: Annotated[str, typer.Option(help="nested, svdd, smc or best-of-n.")] = "nested",
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
    floor: Annotated[
        float | None, typer.Option(help="The score of an invalid object, for an unbounded reward.")
    ] = None,
    cache: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Scores that runs and processes share.")
    ] = None,
    workers: Annotated[int, typer.Option(help="Processes that ask the reward.")] = 1,
    timeout: Annotated[
        float, typer.Option(help="Seconds an object may take, with several processes.")
    ] = 60.0,
    out: Out = None,
    quality: Quality = None,
    device: Device = None,
    dtype: Dtype = "float32",
    **settings: Any,
) -> Answer:
    """Design N objects that the model likes and the reward scores high, under a budget."""
    from scidiff.api.design import design as run
    from scidiff.api.design import find_method
    from scidiff.api.saving import check_output
    from scidiff.rewards.combine import reward as resolve

    at_least_one(n)
    check_output(out)
    sys.path.insert(0, os.getcwd())  # a script's path lacks the user's own modules
    find_method(method)
    score = resolve(reward, floor=floor)
    if getattr(score, "floor", None) is None:
        raise ValueError(
            f"reward {reward!r} has no lower bound, and an invalid object must be scored: "
            "say what it is worth with --floor"
        )
    drawer = load(model, device, dtype)
    chosen = drawer.chosen(n, quality, **given(strength=strength, **settings))
    with working(f"designing {n} objects with {drawer.name}"):
        result = run(drawer, score, n=n, method=method, budget=budget, seed=seed, cache=cache,
                     workers=workers, timeout=timeout, **chosen)
    summary = result.summary()
    found = {"summary": summary, "provenance": result.provenance}
    if out is not None:
        result.save(out)
        return Answer({"saved": out, **found}, [str(result), f"saved {out}"])
    rows = records(result.to_frame())
    return Answer({**found, "rows": rows}, [rows_table(rows), str(result)])
