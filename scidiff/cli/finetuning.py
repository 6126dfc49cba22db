"""`scidiff finetune`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from scidiff.cli.answers import Answer, command, pairs
from scidiff.cli.errors import saving
from scidiff.cli.options import (
    Cache,
    Cluster,
    Device,
    ModelName,
    Timeout,
    Workers,
    check_folder,
    given,
)


def register(app: typer.Typer) -> None:
    command(app, "finetune")(finetune)


def finetune(
    model: ModelName,
    pool: Annotated[
        Path | None,
        typer.Argument(
            metavar="POOL", help="Scored objects (.csv, .parquet), or a campaign's folder."
        ),
    ] = None,
    *,
    out: Annotated[
        Path, typer.Option("--out", "-o", metavar="DIR", help="The run; the model is DIR/model.")
    ],
    method: Annotated[
        str,
        typer.Option(help="group, weighted, log-variance, augmented; or policy."),
    ] = "group",
    reward: Annotated[
        str | None, typer.Option(help="Of --method policy: a name, an expression, module:name.")
    ] = None,
    strength: Annotated[
        float | None, typer.Option(help="Towards p(x) exp(strength score(x)).")
    ] = None,
    steps: Annotated[int, typer.Option(help="Steps of the optimiser.")] = 200,
    batch_size: Annotated[int, typer.Option(help="Objects of a step.")] = 64,
    lr: Annotated[float, typer.Option(help="Learning rate.")] = 2e-4,
    column: Annotated[str | None, typer.Option(help="The column with the objects.")] = None,
    score: Annotated[str, typer.Option(help="The column with the scores.")] = "score",
    floor: Annotated[
        float | None, typer.Option(help="What an invalid object scores, of --reward.")
    ] = None,
    condition: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME=VALUE", help="What a conditional model is asked for."),
    ] = None,
    cache: Cache = None,
    workers: Workers = 1,
    timeout: Timeout = None,
    cluster: Cluster = None,
    seed: Annotated[int, typer.Option(help="Order of the pool, and of what is drawn.")] = 0,
    device: Device = None,
) -> Answer:
    """Tune a model on scored objects, or by a reward; started again it goes on where it was."""
    check_folder(next(p for p in (out, *out.absolute().parents) if p.exists()))
    from scidiff.api.finetuning import STAGE
    from scidiff.api.finetuning import finetune as run
    from scidiff.training.progress import TrainingProgress

    told = given(reward=reward, strength=strength, column=column, floor=floor, device=device,
                 condition=condition, cache=cache, timeout=timeout, cluster=cluster)  # fmt: skip
    note = f"{out} holds the last checkpoint; the same command continues from it"
    with saving(lambda: note), TrainingProgress({STAGE: steps}, out) as progress:
        folder = run(
            model, pool, out=out, method=method, steps=steps, batch_size=batch_size, lr=lr,
            score=score, seed=seed, workers=workers, on_log=progress, **told,
        )  # fmt: skip
    return Answer({"model": folder}, [pairs({"model": folder, "card": folder / "README.md"})])
