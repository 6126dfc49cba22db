"""`scidiff tune`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from scidiff.cli.answers import Answer, command, table
from scidiff.cli.options import Device, ModelName, Seed, bar, load


def register(app: typer.Typer) -> None:
    command(app, "tune")(tune)


def tune(
    model: ModelName,
    reference: Annotated[
        str, typer.Option(metavar="FILE|DATASET", help="Real objects; every third one is used.")
    ],
    n: Annotated[int, typer.Option("-n", "--n", help="Rows drawn for each settings.")] = 500,
    budget_minutes: Annotated[float, typer.Option(help="Nothing is begun after so long.")] = 10.0,
    column: Annotated[str | None, typer.Option(help="The column with the objects.")] = None,
    out: Annotated[
        Path | None,
        typer.Option(
            "--out", "-o", metavar="DIR", help="Where the tuned copy goes; of a file, a .json."
        ),
    ] = None,
    seed: Seed = 0,
    device: Device = None,
) -> Answer:
    """Measure settings by quality and cost, so that --quality and --seconds can choose."""
    from scidiff.api.tuning import tune as run

    tuned = load(model, device)
    with bar() as b:
        task = b.add_task(f"measuring settings of {tuned.name}", total=None)
        found = run(
            tuned, reference, n=n, minutes=budget_minutes, out=out, seed=seed, column=column,
            on_point=lambda point: b.advance(task),
        )  # fmt: skip
    rows = [_row(point, found["metric"]) for point in found["points"]]
    said = f"{found['measured']} settings measured; the frontier is in {found['saved']}"
    return Answer(found, [table(rows), said])


def _row(point: dict[str, Any], metric: str) -> dict[str, Any]:
    value, low, high = point["distance"]
    settings = " ".join(f"{k}={v:g}" if isinstance(v, float) else f"{k}={v}"
                        for k, v in point["settings"].items())  # fmt: skip
    return {
        "settings": settings,
        metric: f"{value:.3f} [{low:.3f}, {high:.3f}]",
        "valid": f"{point['valid'][0]:.1%}",
        "evaluations": point["evaluations"],
        "ms a row": round(1000 * point["seconds"], 2),
    }
