"""What all commands share: --json, --help, errors of one line, interruptions."""

import logging
import os
import subprocess
import sys
import warnings

import pytest
import typer

from scidiff.cli import main
from scidiff.cli.answers import Answer, command, pairs, table
from scidiff.cli.errors import saving
from scidiff.core import ScidiffError

COMMANDS = [
    ["sample"],
    ["infill"],
    ["fragments"],
    ["design"],
    ["train"],
    ["finetune"],
    ["value"],
    ["tune"],
    ["evaluate"],
    ["report"],
    ["likelihood"],
    ["doctor"],
    ["models", "list"],
    ["models", "info"],
    ["models", "push"],
    ["data", "list"],
    ["data", "info"],
    ["data", "get"],
    ["rewards", "list"],
    ["rewards", "info"],
]


def python(code: str) -> str:
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return done.stdout


def only(monkeypatch, act) -> None:
    """Make `scidiff act` the only command: what it raises is up to the test."""

    def build() -> typer.Typer:
        app = typer.Typer()
        app.callback()(lambda: None)
        command(app, "act")(act)
        return app

    monkeypatch.setattr(main, "build", build)


def raising(error: BaseException):
    def act() -> Answer:
        raise error

    return act


@pytest.mark.parametrize("name", COMMANDS, ids=" ".join)
def test_every_command_has_json_and_says_what_it_does(scidiff, name):
    shown = scidiff(*name, "--help")
    assert shown.code == 0 and "--json" in shown.out
    assert len(shown.out.split("\n\n")[0]) > 20 or shown.out.count("\n") > 8


def test_the_list_above_is_complete():
    def names(app: typer.Typer, *before: str) -> list[list[str]]:
        own = [[*before, str(c.name)] for c in app.registered_commands]
        return own + [n for g in app.registered_groups for n in names(g.typer_instance, g.name)]

    assert sorted(names(main.build())) == sorted(COMMANDS)


def test_help_loads_no_torch_and_is_quick():
    code = (
        "import sys, time; t = time.process_time()\n"
        "from scidiff.cli.main import run\n"
        "assert run(['sample', '--help']) == 0\n"
        "heavy = {'torch', 'numpy', 'pandas', 'rdkit', 'pyarrow', 'matplotlib'}\n"
        "print(time.process_time() - t, sorted(heavy & set(sys.modules)))"
    )
    seconds, loaded = python(code).splitlines()[-1].split(" ", 1)
    assert loaded == "[]"
    assert float(seconds) < 1, "of processor time: a busy machine is no slow command"


def test_version_and_no_command(scidiff):
    assert scidiff("--version").out.startswith("scidiff 0.")
    shown = scidiff()
    assert shown.code == 0 and "sample" in shown.out


@pytest.mark.parametrize(
    ("typed", "line"),
    [
        (["smple"], "No such command 'smple'"),
        (["sample"], "Missing argument 'MODEL'"),
        (["sample", "m", "-n", "many"], "'-n'"),
        (["sample", "m", "--sead", "1"], "--sead"),
        (["models"], "Missing command"),
    ],
)
def test_usage_errors_are_one_line(scidiff, typed, line):
    said = scidiff(*typed).one_line()
    assert line in said and "--help" in said


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (ScidiffError("no such\nthing"), "no such thing"),
        (ValueError("n must be at least 1"), "n must be at least 1"),
        (FileNotFoundError(2, "No such file or directory", "a.csv"), "a.csv: No such file"),
        (OSError("disk full"), "disk full"),
    ],
)
def test_expected_errors_are_one_line_and_debug_raises_them(scidiff, monkeypatch, error, line):
    only(monkeypatch, raising(error))
    assert line in scidiff("act").one_line()
    assert line in scidiff("act", "--json").one_line()
    with pytest.raises(Exception, match=".") as caught:
        scidiff("act", "--debug")
    assert caught.value.__cause__ is error


def test_a_bug_keeps_its_traceback(scidiff, monkeypatch):
    only(monkeypatch, raising(KeyError("bug")))
    with pytest.raises(KeyError, match="bug"):
        scidiff("act")


def test_an_interruption_says_what_was_saved(scidiff, monkeypatch):
    only(monkeypatch, raising(KeyboardInterrupt()))
    stopped = scidiff("act")
    assert (stopped.code, stopped.err) == (130, "scidiff: interrupted: nothing was saved\n")

    def act() -> Answer:
        with saving(lambda: "3 shards are in run"):
            raise KeyboardInterrupt

    only(monkeypatch, act)
    stopped = scidiff("act")
    assert (stopped.code, stopped.err) == (130, "scidiff: interrupted: 3 shards are in run\n")


def test_nothing_but_the_document_is_on_stdout(scidiff, monkeypatch):
    def act() -> Answer:
        print("a library talks")
        logging.getLogger("scidiff").info("using cpu")
        return Answer({"a": float("nan"), "b": [1, (2, 3)]}, ["for people"])

    only(monkeypatch, act)
    told = scidiff("act", "--json")
    assert told.document == {"a": None, "b": [1, [2, 3]]}
    assert told.err == "a library talks\nscidiff: using cpu\n"
    assert scidiff("act").out == "for people\n"


def test_warnings_are_one_line(scidiff, monkeypatch):
    def act() -> Answer:
        with warnings.catch_warnings():
            warnings.simplefilter("always")
            warnings.warn("out of memory:\nnow 5 rows", stacklevel=1)
        return Answer({}, [])

    only(monkeypatch, act)
    assert scidiff("act").err == "scidiff: warning: out of memory: now 5 rows\n"


def test_molecules_are_no_markup(scidiff, monkeypatch):
    """[nH] and [bold] are atoms and text, :O: an oxygen, and nothing is cut off."""
    texts = ["c1cc[nH]c1", "[bold]", "C:O:C", "C" * 300]
    shown = table([{"text": t, "valid": True} for t in texts])
    only(monkeypatch, lambda: Answer({}, [shown, pairs({"best": "[nH]"})]))
    out = scidiff("act").out
    assert all(t in out for t in texts[:3]) and out.count("[nH]") == 2
    assert out.count("C") >= 300


def test_a_reader_that_leaves_ends_the_command_quietly():
    code = """
import sys, typer
from scidiff.cli import answers, main
def build():
    app = typer.Typer()
    app.callback()(lambda: None)
    answers.command(app, "act")(lambda: answers.Answer({}, ["molecules"] * 1000))
    return app
main.build = build
sys.exit(main.run(["act"]))
"""
    writer = subprocess.Popen(
        [sys.executable, "-c", code],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env={**os.environ, "PYTHONUNBUFFERED": "1"},
    )
    with writer:
        writer.stdout.close()
        said = writer.stderr.read()
    assert b"Traceback" not in said and b"Exception" not in said
