"""`scidiff train`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from scidiff.cli.answers import Answer, command, pairs
from scidiff.cli.errors import saving
from scidiff.cli.options import Device, check_folder, given


def register(app: typer.Typer) -> None:
    command(app, "train")(train)


def train(
    source: Annotated[
        Path,
        typer.Argument(
            metavar="RECIPE|FILE", help="A recipe (.toml), or molecules (.csv, .smi, ...)."
        ),
    ],
    out: Annotated[
        Path, typer.Option("--out", "-o", metavar="DIR", help="The run; the model is DIR/model.")
    ],
    init: Annotated[
        str | None, typer.Option(metavar="MODEL", help="Continue from this model on own data.")
    ] = None,
    column: Annotated[
        str | None, typer.Option(help="The column with the molecules, if it is not found.")
    ] = None,
    predicts: Annotated[
        str | None, typer.Option(metavar="COLUMN", help="Train an oracle of this column instead.")
    ] = None,
    domain: Annotated[str | None, typer.Option(
        help="smiles, selfies, dna, rna, peptide, graph, molecule_graph, ... (default: by the "
        "suffix and the letters of a FASTA, else smiles)")] = None,
    steps: Annotated[int | None, typer.Option(help="Training steps.")] = None,
    seed: Annotated[int | None, typer.Option(help="Order of the data and first weights.")] = None,
    device: Device = None,
) -> Answer:
    """Train a model; started again with the same DIR, a killed run goes on where it was."""
    if not source.is_file():
        raise FileNotFoundError(f"cannot read {source}: there is no such file")
    _check_run(out)
    from scidiff.api.model import find_domain
    from scidiff.api.predictor_training import predictor_recipe
    from scidiff.api.recipe_defaults import choose_recipe
    from scidiff.api.train import train as run
    from scidiff.training.progress import TrainingProgress

    options = given(
        init=init, column=column, predicts=predicts, domain=domain, steps=steps, seed=seed,
        device=device,
    )  # fmt: skip
    if predictor_recipe(source, predicts, domain, column, steps, seed) is not None:
        return _answer(run(source, out, **options))
    recipe = choose_recipe(source, init, domain, column, steps, seed)
    find_domain(recipe.domain)  # hours of training must not end in a misspelt name
    stages = enumerate(recipe.stages, start=1)
    known = {f"stage{i}-{stage.process}": stage.training.steps for i, stage in stages}
    note = f"{out} holds the last checkpoint; the same command continues from it"
    with saving(lambda: note), TrainingProgress(known, out) as progress:
        folder = run(source, out, on_log=progress, **options)
    return _answer(folder)


def _answer(folder: Path) -> Answer:
    return Answer({"model": folder}, [pairs({"model": folder, "card": folder / "README.md"})])


def _check_run(out: Path) -> None:
    """A run's folder may be there or not, and so may those above it."""
    check_folder(next(p for p in (out, *out.absolute().parents) if p.exists()))
