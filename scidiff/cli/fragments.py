"""`scidiff fragments`: molecules around given parts."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from scidiff.cli.answers import Answer, command
from scidiff.cli.options import Device, Dtype, ModelName, Out, Seed, given, load, working
from scidiff.cli.sampling import answer, at_least_one
from scidiff.messages import nearest

FROM_LIST = ("linker", "scaffold_morphing")  # these take every part, the others one
TASKS = (
    *FROM_LIST, "motif_extension", "scaffold_decoration", "superstructure", "lead_optimisation",
    "de_novo",
)  # fmt: skip


def register(app: typer.Typer) -> None:
    command(app, "fragments")(fragments)


def fragments(
    model: ModelName,
    task: Annotated[str, typer.Argument(metavar="TASK", help=", ".join(TASKS))],
    parts: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[PART]...", help="SMILES, [*] where something is to be attached.",
        ),
    ] = None,
    n: Annotated[int, typer.Option("-n", help="How many rows.")] = 16,
    seed: Seed = 0,
    size: Annotated[
        str | None, typer.Option(metavar="LOW-HIGH", help="Tokens that are written.")
    ] = None,
    out: Out = None,
    device: Device = None,
    dtype: Dtype = "float32",
    **settings: Any,
) -> Answer:
    """Write molecules that hold the given parts unchanged; every attempt is a row."""
    from scidiff.api import tasks
    from scidiff.api.saving import check_output

    if task not in TASKS:
        raise ValueError(
            f"unknown task {task!r}; expected one of {', '.join(TASKS)}{nearest(task, TASKS)}"
        )
    asked = _asked(task, parts or [])
    at_least_one(n)
    check_output(out)
    writer = load(model, device, dtype, out)
    with working(f"writing {n:,} molecules with {writer.name}"):
        verb = getattr(tasks, task)
        result = verb(writer, *asked, n=n, seed=seed, size=_range(size), **given(**settings))
    return answer(result, out)


def _asked(task: str, parts: list[str]) -> list[Any]:
    """The parts as the task takes them."""
    if task in FROM_LIST:
        return [parts]
    expected = 0 if task == "de_novo" else 1
    if len(parts) != expected:
        raise ValueError(f"{task} takes {expected} part{'s' * (expected != 1)}, got {len(parts)}")
    return list(parts)


def _range(text: str | None) -> tuple[int, int] | None:
    """3-12"""
    if text is None:
        return None
    low, dash, high = text.partition("-")
    if not (dash and low.isdigit() and high.isdigit()):
        raise ValueError(f"a size is written LOW-HIGH, as in 3-12, got {text!r}")
    return int(low), int(high)
