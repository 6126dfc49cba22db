"""What a command does when it cannot go on: one line on stderr and an exit code, no traceback.

2 is an expected error (wrong input, a file that cannot be read), 130 an interruption; anything
else is a bug and shows its traceback.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

WRONG_INPUT, INTERRUPTED = 2, 130


class CommandError(Exception):
    """An expected end of a command, with the exit code; the cause is what was raised inside."""

    def __init__(self, message: str, code: int) -> None:
        super().__init__(message)
        self.code = code


@contextmanager
def expected_errors() -> Iterator[None]:
    """Turn what a user can cause into a CommandError of one line.

    Expected are ScidiffError, ValueError and OSError; of a KeyboardInterrupt the line says what
    was saved (see `saving`).
    """
    try:
        yield
    except KeyboardInterrupt as stop:
        saved = "; ".join(getattr(stop, "__notes__", [])) or "nothing was saved"
        raise CommandError(f"interrupted: {saved}", INTERRUPTED) from stop
    except BrokenPipeError:
        raise  # whoever read our output has left; typer ends quietly
    except Exception as error:
        if not _is_expected(error):
            raise
        raise CommandError(one_line(error), WRONG_INPUT) from error


def _is_expected(error: Exception) -> bool:
    """ScidiffError is looked up only where scidiff.core was loaded: it brings torch."""
    core = sys.modules.get("scidiff.core")
    known = (ValueError, OSError) if core is None else (ValueError, OSError, core.ScidiffError)
    return isinstance(error, known)


def one_line(error: Exception) -> str:
    """The message of an error as one line; a file error names the file first."""
    if isinstance(error, OSError) and error.strerror and error.filename:
        return f"{error.filename}: {error.strerror}"
    return " ".join(str(error).split()) or type(error).__name__


@contextmanager
def saving(describe: Callable[[], str]) -> Iterator[None]:
    """Say at an interruption what of the work inside is on disk: `describe` is asked then."""
    try:
        yield
    except KeyboardInterrupt as stop:
        stop.add_note(describe())
        raise
