"""Rewards that are other programs: one object a line in, one JSON line a score out.

    sd.design(model, reward="command('python score.py', timeout=30)", floor=0.0)

The program reads SMILES or sequences on stdin until it ends and writes, in order and flushed, one
line for each: a number, null, {"value": 0.7} or {"error": "why not"}. Notes go to stderr.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import logging
import math
import os
import queue
import shlex
import shutil
import subprocess
import tempfile
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import IO, Any

from rdkit.Chem import Mol, MolToSmiles

from scidiff.chem.molecules import without_hydrogens
from scidiff.rewards.scores import NO_NUMBER, Answer, RewardError, Scores, Status

_log = logging.getLogger("scidiff")


class Command:
    """A program that answers line by line, at most `timeout` seconds from one line to the next.

    Where it hangs or dies, that object is TIMEOUT or FAILED and the rest goes to a new process.
    Its version, if not given, is a digest of the files that the command line names. Raises
    ValueError for a program that does not exist, RewardError for one that breaks the protocol.
    """

    one_by_one = False

    def __init__(self, line: str, timeout: float = 60.0, version: str = "",
                 floor: float | None = None, cost: float = 1.0) -> None:
        self.line, self.timeout, self.floor, self.cost = line, _limit(timeout), floor, cost
        self.argv = arguments(line, "command")
        self.version = version or digest(self.argv)
        self._answered = False  # ever

    @property
    def name(self) -> str:
        return f"command({self.line!r})"

    @property
    def parameters(self) -> dict[str, str]:
        return {"line": self.line}

    def __call__(self, objects: Sequence[Any]) -> list[float]:
        """Values alone, NaN where there is none."""
        return [a.value for a in self.answers(objects)]

    def score(self, objects: Sequence[Any]) -> Scores:
        """Values and statuses."""
        return Scores.of(a[:2] for a in self.answers(objects))

    def answers(self, objects: Sequence[Any]) -> list[Answer]:
        """Ask for every object; a process that is lost costs the object it was at."""
        texts = [text_of(o) for o in objects]
        found: list[Answer] = []
        while len(found) < len(texts):
            found += self._process(texts[len(found):])
            self._answered |= any(a.status == Status.OK for a in found)
        return found

    def _process(self, texts: list[str]) -> list[Answer]:
        """Answers of one process: all of them, or up to the object that it was lost at."""
        found: list[Answer] = []
        with tempfile.TemporaryFile("w+", errors="replace") as notes, _started(
                self.argv, notes) as process:
            lines = _conversation(process, texts)
            while True:
                try:
                    line = lines.get(timeout=self.timeout)
                except queue.Empty:
                    late = f"no answer in {self.timeout:g} s"
                    return [*found, Answer(math.nan, Status.TIMEOUT, late)][:len(texts)]
                if line is None:
                    return self._ended(found, len(texts), process.wait(), notes)
                if line.strip():
                    found.append(self._read(line))
                if len(found) > len(texts):
                    raise self._error(f"answered more than the {len(texts)} objects it was given")

    def _ended(self, found: list[Answer], wanted: int, code: int, notes: IO[str]) -> list[Answer]:
        if code == 0 and len(found) < wanted:
            raise self._error(f"answered {len(found)} of the {wanted} objects it was given")
        if code != 0 and len(found) == wanted:
            _log.warning("%s had answered, and ended with exit code %d", self.name, code)
        if len(found) == wanted:
            return found
        why = f"exit code {code}{_last_line(notes)}"
        if not found and not self._answered:
            raise self._error(f"ended before its first answer, {why}")
        return [*found, Answer(math.nan, Status.FAILED, f"the program died, {why}")]

    def _read(self, line: str) -> Answer:
        try:
            said = json.loads(line)
        except ValueError:
            said = line.strip()
        if isinstance(said, dict) and "error" in said:
            return Answer(math.nan, Status.FAILED, str(said["error"]))
        value = said.get("value", said) if isinstance(said, dict) else said
        if value is None:
            return Answer(math.nan, Status.FAILED, NO_NUMBER)
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise self._error(f"printed {_short(line.strip())!r}; expected a number or "
                              '{"value": number} a line, and notes on stderr')
        if not math.isfinite(value):
            return Answer(math.nan, Status.FAILED, NO_NUMBER)
        return Answer(float(value), Status.OK)

    def _error(self, what: str) -> RewardError:
        return RewardError(f"{self.name} {what}")


class Reinvent:
    """A program of REINVENT4's "external process" kind: SMILES on stdin, and when it ends one
    JSON document {"version": 1, "payload": {<property>: [numbers]}} on stdout.

    The whole batch has `timeout` seconds an object. Raises as `Command` does.
    """

    one_by_one = False

    def __init__(self, line: str, property: str = "score", timeout: float = 60.0,
                 version: str = "", floor: float | None = None, cost: float = 1.0) -> None:
        self.line, self.property, self.floor, self.cost = line, property, floor, cost
        self.timeout, self.argv = _limit(timeout), arguments(line, "reinvent")
        self.version = version or digest(self.argv)

    @property
    def name(self) -> str:
        return f"reinvent({self.line!r}, {self.property!r})"

    @property
    def parameters(self) -> dict[str, str]:
        return {"line": self.line, "property": self.property}

    def __call__(self, objects: Sequence[Any]) -> list[float | None]:
        """Ask one process for all objects.

        Raises TimeoutError where it is late and OSError where it fails: asked one by one
        (`executors.ask`), that is the status of an object.
        """
        text = "".join(f"{text_of(o)}\n" for o in objects)
        limit = self.timeout * len(objects)
        try:
            done = subprocess.run(self.argv, input=text, capture_output=True, text=True,
                                  timeout=limit, errors="replace")
        except subprocess.TimeoutExpired:
            raise TimeoutError(f"no answer in {limit:g} s") from None
        if done.returncode:
            last = (done.stderr.strip().splitlines() or ["it said nothing"])[-1]
            raise OSError(f"exit code {done.returncode}: {_short(last)}")
        return self._read(done.stdout)

    def _read(self, text: str) -> list[float | None]:
        try:
            payload = json.loads(text)["payload"]
        except (ValueError, KeyError, TypeError):
            raise RewardError(f"{self.name} printed {_short(text.strip())!r}; expected one JSON "
                              'document {"version": 1, "payload": {...}}') from None
        if self.property not in payload:
            raise RewardError(f"{self.name}: its payload has {', '.join(payload)}, "
                              f"not {self.property!r}")
        values: list[float | None] = payload[self.property]
        return values


def text_of(obj: Any) -> str:
    """Write an object on one line: a SMILES, a sequence.

    Raises RewardError for anything else.
    """
    text = MolToSmiles(without_hydrogens(obj)) if isinstance(obj, Mol) else obj
    if not isinstance(text, str):
        raise RewardError(f"a program reads texts, and {type(obj).__name__} has none: "
                          "score it with a Python function")
    return text


def arguments(line: str, who: str) -> list[str]:
    """Split a command line; raises ValueError where there is no such program."""
    try:
        argv = shlex.split(line) if isinstance(line, str) else []
    except ValueError as error:
        raise ValueError(f"{who}: cannot read the command line {line!r}: {error}") from None
    if not argv or shutil.which(argv[0]) is None:
        raise ValueError(f"{who}: no program {argv[0] if argv else line!r} on this machine")
    return argv


def digest(argv: Sequence[str]) -> str:
    """Digest of the files that a command line names, which are what decides its scores."""
    files = [Path(shutil.which(argv[0]) or argv[0]), *map(Path, argv[1:])]
    return digest_files([f for f in files if f.is_file()])


def digest_files(files: Sequence[Path]) -> str:
    """Digest of what files hold."""
    found = b"".join(hashlib.sha256(f.read_bytes()).digest() for f in files)
    return "files " + hashlib.sha256(found).hexdigest()[:16]


@contextlib.contextmanager
def _started(argv: list[str], notes: IO[str]) -> Any:
    """A process that has ended, one way or another, when the block does."""
    environment = os.environ | {"PYTHONUNBUFFERED": "1"}  # Python scripts need not flush
    with subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=notes,
                          text=True, errors="replace", env=environment) as process:
        try:
            yield process
        finally:
            process.kill()


def _conversation(process: subprocess.Popen[str], texts: list[str]) -> queue.Queue[str | None]:
    """Write to a process and read from it at once, so that neither waits for the other: lines,
    then None."""
    lines: queue.Queue[str | None] = queue.Queue()

    def write(stdin: IO[str]) -> None:
        with contextlib.suppress(BrokenPipeError), stdin:  # its exit code says more
            stdin.writelines(f"{t}\n" for t in texts)

    def read(stdout: IO[str]) -> None:
        for line in stdout:
            lines.put(line)
        lines.put(None)

    for task, stream in ((write, process.stdin), (read, process.stdout)):
        threading.Thread(target=task, args=(stream,), daemon=True).start()
    return lines


def _last_line(notes: IO[str]) -> str:
    notes.seek(0)
    said = notes.read().strip().splitlines()
    return f": {_short(said[-1])}" if said else ""


def _short(text: str) -> str:
    return text if len(text) <= 120 else text[:117] + "..."


def _limit(timeout: float) -> float:
    if not timeout > 0:
        raise ValueError(f"timeout must be positive, in seconds, got {timeout}")
    return timeout


REWARDS = {"command": Command, "reinvent": Reinvent}
