"""The command `scidiff`: its groups, and the one place where an error becomes a line.

Nothing here or in the command files imports torch before a command runs: `scidiff --help` is
immediate.
"""

from __future__ import annotations

import logging
import os
import sys
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Annotated, Any

import typer

from scidiff import __version__
from scidiff.cli import (
    data,
    designing,
    doctor,
    evaluating,
    finetuning,
    fragments,
    models,
    reporting,
    rewards,
    sampling,
    training,
    tuning,
    valuing,
)
from scidiff.cli.errors import WRONG_INPUT, CommandError

DEBUG = "--debug"  # anywhere on the line: show the traceback of an expected error too
UsageError: Any = typer.BadParameter.__base__  # typer names only this subclass of it


def build() -> typer.Typer:
    """The application with every command."""
    app = typer.Typer(
        name="scidiff",
        help="Generate molecules, graphs and biological sequences with diffusion models, and "
        "steer them by any reward.",
        add_completion=False,
        pretty_exceptions_enable=False,
    )
    app.callback(invoke_without_command=True)(_root)
    for group in (
        sampling, fragments, designing, training, finetuning, valuing, tuning, evaluating,
        reporting, models, data, rewards, doctor,
    ):  # fmt: skip
        group.register(app)
    return app


def _root(
    context: typer.Context,
    version: Annotated[bool, typer.Option("--version", help="Print the version.")] = False,
) -> None:
    if version:
        print(f"scidiff {__version__}")
    elif context.invoked_subcommand is None:
        print(context.get_help())


def run(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit code: 0, 2 for wrong input, 130 when interrupted.

    An expected error is one line on stderr; `--debug` raises it instead.
    """
    typed = list(sys.argv[1:] if arguments is None else arguments)
    if os.getcwd() not in sys.path:
        sys.path.append(os.getcwd())  # a script's path lacks the user's own modules
    debug = DEBUG in typed
    try:
        with _messages():
            code = build()(
                [a for a in typed if a != DEBUG], prog_name="scidiff", standalone_mode=False
            )
    except CommandError as error:
        return _fail(error, str(error), error.code, debug)
    except UsageError as error:
        return _fail(error, f"{error.format_message()} {_help_hint(error)}", WRONG_INPUT, debug)
    return code if isinstance(code, int) else 0


def _fail(error: Exception, message: str, code: int, debug: bool) -> int:
    if debug:
        raise error
    print(f"scidiff: {message}", file=sys.stderr)
    return code


def _help_hint(error: Any) -> str:
    path = error.ctx.command_path if error.ctx is not None else "scidiff"
    return f"(see {path} --help)"


@contextmanager
def _messages() -> Iterator[None]:
    """Send the package's log messages and warnings to stderr, one line each."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(logging.Formatter("scidiff: %(message)s"))
    log = logging.getLogger("scidiff")
    before = log.level
    log.addHandler(handler)
    log.setLevel(logging.INFO)
    try:
        with warnings.catch_warnings():
            warnings.showwarning = _show_warning
            yield
    finally:
        log.removeHandler(handler)
        log.setLevel(before)


def _show_warning(message: Warning | str, *where: Any, **more: Any) -> None:
    print(f"scidiff: warning: {' '.join(str(message).split())}", file=sys.stderr)
