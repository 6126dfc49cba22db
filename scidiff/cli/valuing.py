"""`scidiff value`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from scidiff.cli.answers import Answer, command, pairs
from scidiff.cli.errors import saving
from scidiff.cli.options import (
    Cache,
    Cluster,
    Device,
    Floor,
    ModelName,
    Seed,
    Timeout,
    Workers,
    check_folder,
    given,
    load,
    working,
)


def register(app: typer.Typer) -> None:
    command(app, "value")(value)


def value(
    model: ModelName,
    reward: Annotated[
        str,
        typer.Option(
            help="A formula such as '0.7*qed + 0.3*sa', a name, or package.module:name."
        ),
    ],
    out: Annotated[
        Path, typer.Option("--out", "-o", metavar="FOLDER", help="For scidiff design --value.")
    ],
    n: Annotated[int, typer.Option("-n", help="How many objects are drawn and asked.")] = 2000,
    fit_steps: Annotated[int, typer.Option(help="Steps of the optimiser.")] = 1000,
    seed: Seed = 0,
    strength: Annotated[
        float | None, typer.Option(help="That designs will have: p(x) exp(strength reward).")
    ] = None,
    floor: Floor = None,
    cache: Cache = None,
    workers: Workers = 1,
    timeout: Timeout = None,
    cluster: Cluster = None,
    device: Device = None,
    **settings: Any,
) -> Answer:
    """Learn what a reward will say of unfinished objects, so that designs ask about finished ones
    alone."""
    check_folder(next(p for p in (out, *out.absolute().parents) if p.exists()))
    from scidiff.api.soft_values import fit_value

    drawer = load(model, device)
    told = given(strength=strength, floor=floor, cache=cache, timeout=timeout, cluster=cluster,
                 **settings)
    note = "what was answered is kept; the same command asks for the rest"
    with saving(lambda: note), working(f"learning {reward} of {n} objects of {drawer.name}"):
        fit_value(drawer, reward, out, n, seed, fit_steps=fit_steps, workers=workers, **told)
    return Answer({"value": out}, [pairs({"value": out, "used by": f"scidiff design {model} "
                                          f"--reward ... --method smc --value {out}"})])
