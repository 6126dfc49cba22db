"""The README is true: its tour runs as printed, and its command lines are understood."""

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
import typer

from scidiff.cli.main import build

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()
TOUR = re.search(r"<!-- tour:.*?-->\n```python\n(.*?)^```$", README, re.DOTALL | re.MULTILINE)
SHELL = re.findall(r"^```\w*\n(.*?)^```$", README, re.DOTALL | re.MULTILINE)
# several commands may share a line, two or more spaces apart
COMMANDS = [
    line
    for block in SHELL
    for row in block.splitlines()
    for line in re.split(r" {2,}(?=scidiff )", re.split(r" +# ", row)[0].strip())
    if line.startswith("scidiff ")
]
LINES = 20


def _alternatives(line: str) -> list[list[str]]:
    """Words of each command in a line; "models list | info" stands for two."""
    first, *others = (shlex.split(part) for part in line.split(" | "))
    words = first[1:]
    return [words, *([*words[:-1], *other] for other in others)]


def _parse(words: list[str], bare: bool) -> None:
    """Parse a command line without running it; raises what the shell would show.

    `bare`: only the names of the commands are shown, their arguments are left out.
    """
    command = typer.main.get_command(build())
    context = command.make_context("scidiff", [], resilient_parsing=True)
    while hasattr(command, "commands"):
        assert words and words[0] in command.commands, f"no command {words[:1]}"
        command, words = command.commands[words[0]], words[1:]
    if not bare or words:
        command.make_context("scidiff", list(words), parent=context)


def test_the_tour_fits_a_screen() -> None:
    assert TOUR, "README.md must hold a python block below <!-- tour: ... -->"
    code = [line for line in TOUR[1].splitlines() if line.strip()]
    assert len(code) <= LINES


def test_the_tour_runs_as_printed(tmp_path: Path) -> None:
    assert TOUR
    done = subprocess.run(
        [sys.executable, "-c", TOUR[1]],
        cwd=tmp_path,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    assert "100 rows" in done.stdout and "8 designs" in done.stdout
    assert (tmp_path / "hits.sdf").read_text().count("$$$$") >= 6


def test_the_readme_shows_commands() -> None:
    assert len(COMMANDS) >= 5


@pytest.mark.parametrize("line", COMMANDS)
def test_a_command_line_is_understood(line: str) -> None:
    shown = _alternatives(line)
    for words in shown:
        _parse(words, bare=len(shown) > 1 or len(words) == 1)


@pytest.mark.parametrize(
    "words", [["sample", "m", "--sead", "1"], ["models", "lost"], ["sample", "-n", "x", "m"]]
)
def test_a_wrong_command_line_is_noticed(words: list[str]) -> None:
    with pytest.raises((AssertionError, typer.BadParameter.__base__)):
        _parse(words, bare=False)
