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
    points = found["points"]
    same = _shared([point["settings"] for point in points])
    rows = [_row(point, found["metric"], same) for point in points]
    said = f"{found['measured']} settings measured; the frontier is in {found['saved']}"
    shared = [f"all with {_written(same)}"] if same else []
    return Answer(found, [table(rows), *shared, said])


def _shared(settings: list[dict[str, Any]]) -> dict[str, Any]:
    """What several settings have in common; nothing of a single one."""
    if len(settings) < 2:
        return {}
    return {k: v for k, v in settings[0].items() if all(s.get(k) == v for s in settings)}


def _row(point: dict[str, Any], metric: str, same: dict[str, Any]) -> dict[str, Any]:
    value, low, high = point["distance"]
    own = {k: v for k, v in point["settings"].items() if k not in same}
    return {
        "settings": _written(own),
        metric: f"{value:.3f} [{low:.3f}, {high:.3f}]",
        "valid": f"{point['valid'][0]:.1%}",
        "evaluations": point["evaluations"],
        "ms a row": round(1000 * point["seconds"], 2),
    }


def _written(settings: dict[str, Any]) -> str:
    return " ".join(
        f"{k}={v:g}" if isinstance(v, float) else f"{k}={v}" for k, v in settings.items()
    )
