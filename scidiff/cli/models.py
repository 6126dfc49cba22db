"""`scidiff models list | info | push`."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from scidiff.cli.answers import Answer, command, pairs, table
from scidiff.cli.options import ModelName, working


def register(app: typer.Typer) -> None:
    group = typer.Typer(help="The models that are there, what they are, and the hub.")
    command(group, "list")(list_models)
    command(group, "info")(info)
    command(group, "push")(push)
    app.add_typer(group, name="models")


def list_models() -> Answer:
    """Name the models that come with the package."""
    from scidiff.api.sources import SHIPPED, shipped_models
    from scidiff.training.checkpoint import read_config

    rows = [{"name": name, **_facts(read_config(SHIPPED / name))} for name in shipped_models()]
    note = "also: a model directory, or hf://owner/name"
    return Answer({"models": rows}, [table(rows), note] if rows else [note])


def info(model: ModelName) -> Answer:
    """Show a model's settings and its card."""
    from scidiff.api.engine import model_config
    from scidiff.api.sources import model_source

    folder = model_source(model)
    config = model_config(folder)
    readme = folder / "README.md"
    card = readme.read_text() if readme.is_file() else ""
    facts = {"name": config.get("name", folder.name), **_facts(config), "folder": folder}
    return Answer({**facts, "config": config, "card": card}, [pairs(facts), "", card])


def push(
    model: ModelName,
    repository: Annotated[str, typer.Argument(help="owner/name on the hub.")],
    private: Annotated[bool, typer.Option("--private", help="Only its owner sees it.")] = False,
) -> Answer:
    """Upload a model directory to the hub; the token is that of its login or HF_TOKEN."""
    from scidiff.api.sources import model_folder
    from scidiff.training import hub

    uri = hub.SCHEME + repository.removeprefix(hub.SCHEME)
    folder = model_folder(model)
    with working(f"pushing {folder} to {uri}"):
        page = hub.push(folder, uri, private=private)
    return Answer({"pushed": folder, "to": uri, "page": page}, [f"pushed {folder} to {page}"])


def _facts(config: dict[str, Any]) -> dict[str, Any]:
    process = config.get("process", {})
    return {
        "domain": config["domain"],
        "process": process.get("kind"),
        "block size": process.get("block_size"),
        "sha256": config["sha256"][:12],
    }
