"""`scidiff rewards list | info`."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated

import typer

from scidiff.cli.answers import Answer, command, pairs, table


def register(app: typer.Typer) -> None:
    group = typer.Typer(help="The rewards that a formula can name.")
    command(group, "list")(list_rewards)
    command(group, "info")(info)
    app.add_typer(group, name="rewards")


def list_rewards() -> Answer:
    """Name the rewards, built in and of plugins, with their range."""
    from scidiff.rewards.catalogue import rewards
    from scidiff.rewards.registry import unloaded

    found, broken = rewards(), unloaded()
    rows = [{"name": r.name, "of": r.of, "range": r.range, "what": r.what} for r in found]
    note = ("in a formula: '0.7*qed + 0.3*sa', \"dock('PARP1')\"; your own: package.module:name; "
            "scidiff rewards info NAME says more")  # fmt: skip
    failed = [f"not loaded: {line}" for line in broken]
    document = {"rewards": [asdict(r) for r in found], "not_loaded": broken}
    return Answer(document, [table(rows), note, *failed])


def info(name: Annotated[str, typer.Argument(metavar="NAME")]) -> Answer:
    """Show what a reward is, its range and its arguments."""
    from scidiff.rewards.catalogue import info as described

    found = described(name)
    facts = {"name": found.name + found.arguments, "of": found.of or "by its arguments",
             "range": found.range}
    return Answer(asdict(found), [pairs(facts), "", found.text])
