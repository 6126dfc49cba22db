"""`scidiff doctor`."""

from __future__ import annotations

import typer

from scidiff.cli.answers import Answer, command


def register(app: typer.Typer) -> None:
    command(app, "doctor")(doctor)


def doctor() -> Answer:
    """Show versions, devices, optional extras and their licences."""
    from scidiff.api.doctor import render, report

    found = report()
    return Answer(found, [render(found)])
