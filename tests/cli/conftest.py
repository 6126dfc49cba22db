"""Run the command line in this process and look at what it prints."""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import pytest

from scidiff.cli.main import run


@dataclass(frozen=True)
class Ran:
    """What a command left: exit code, stdout, stderr."""

    code: int
    out: str
    err: str

    @property
    def document(self) -> Any:
        """Stdout as one JSON document; a second one or any other text is an error."""
        return json.loads(self.out)

    def one_line(self) -> str:
        """Check that it ended as an expected error does, and return its line."""
        assert (self.code, self.out) == (2, "")
        assert "Traceback" not in self.err
        lines = [x for x in self.err.splitlines() if x != "scidiff: using cpu"]
        assert len(lines) == 1 and lines[0].startswith("scidiff: "), self.err
        return lines[0].removeprefix("scidiff: ")


Run = Callable[..., Ran]


@pytest.fixture
def scidiff(capsys: pytest.CaptureFixture[str]) -> Run:
    def call(*arguments: object) -> Ran:
        code = run([str(a) for a in arguments])
        return Ran(code, *capsys.readouterr())

    return call


__all__: Sequence[str] = ["Ran", "Run", "scidiff"]
