"""Executors: where and how a reward is asked. They change how long it takes, never the answer.

An object that raises, hangs or kills its process is a FAILED or TIMEOUT row with the reason; only
a reward that cannot be used at all (RewardError) ends a run.
"""

from __future__ import annotations

import contextlib
import ctypes
import math
import os
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from scidiff.messages import in_a_line
from scidiff.rewards.scores import Answer, RewardError, Status, answers, cost

Done = Callable[[list[int], list[Answer]], None]
"""Told of rows as soon as they are answered, so that a killed run has lost none of them."""


class Executor(Protocol):
    """Asks a reward for objects."""

    def run(self, reward: Any, objects: Sequence[Any], done: Done | None = None) -> list[Answer]:
        """Answer every object, in order.

        Raises RewardError where the reward returns the wrong thing.
        """
        ...

    def close(self) -> None:
        """Let go of what was started; a closed executor may be run again."""
        ...


SLOW = 1.0  # seconds an object that are worth keeping its answer as it comes
CHUNK = 0.2  # seconds of work that are asked for at once


class Serial:
    """Ask in this process, as many objects at once as take about `CHUNK` seconds by what was
    measured so far, so that answers are kept as they come. One by one where the reward declares a
    cost of `SLOW` or more; all at once where it declares less, or has `one_by_one` False: a
    program that is started for a batch, a network that reads one.

    What a reward prints goes to stderr: stdout belongs to the program. A reward that hangs cannot
    be stopped here; `workers.Processes` has a time limit.
    """

    def __init__(self) -> None:
        self._paces: dict[int, tuple[Any, _Pace]] = {}  # by the reward's id, which is kept with it

    def run(self, reward: Any, objects: Sequence[Any], done: Done | None = None) -> list[Answer]:
        pace = self._pace(reward, len(objects))
        found: list[Answer] = []
        end = 0
        while end < len(objects):
            start, end = end, min(end + pace.size, len(objects))
            part = objects[start:end]
            begun = time.perf_counter()
            with _stdout_to_stderr():
                told = ask(reward, part)
            pace.learn(len(part), time.perf_counter() - begun)
            found += told
            if done is not None:
                done(list(range(start, end)), told)
        return found

    def _pace(self, reward: Any, wanted: int) -> _Pace:
        if not getattr(reward, "one_by_one", True):
            return _Pace(max(1, wanted), fixed=True)
        if hasattr(reward, "cost"):
            return _Pace(1 if cost(reward) >= SLOW else max(1, wanted), fixed=True)
        return self._paces.setdefault(id(reward), (reward, _Pace()))[1]

    def close(self) -> None:
        """Nothing was started."""


@dataclass
class _Pace:
    """How many objects to ask for at once: what fits into `CHUNK` seconds, and no fewer than it
    takes until the time of a call itself no longer counts.

    Where the larger of two slow chunks was much cheaper an object, as where a program starts for
    every call, chunks double. The first has two objects: one cannot show a wrong number of values.
    """

    size: int = 2
    fixed: bool = False
    least: int = 1
    before: tuple[int, float] | None = None  # objects and seconds of the last full chunk

    def learn(self, n: int, seconds: float) -> None:
        """Take in how long n objects took."""
        if self.fixed or n < self.size:  # the end of a batch says little
            return
        if self.before and min(seconds, self.before[1]) >= CHUNK:
            (few, short), (many, long) = sorted([(n, seconds), self.before])
            dearer = (short / few) / (long / many)  # an object of the smaller chunk
            if few < many and dearer > 1.5:
                self.least = 2 * many
            elif few < many and dearer < 1.1:
                self.least = 1
        self.before = n, seconds
        fits = int(CHUNK / max(seconds / n, 1e-6))
        self.size = max(self.least, min(fits, 16 * n))


@contextlib.contextmanager
def _stdout_to_stderr() -> Iterator[None]:
    """Send what is printed to stderr, from C and from other programs too.

    The file descriptor is everybody's, so only the main thread moves it.
    """
    with contextlib.ExitStack() as undo:
        if threading.current_thread() is threading.main_thread() and _open(1) and _open(2):
            undo.enter_context(_moved(1, 2))
        undo.enter_context(contextlib.redirect_stdout(sys.stderr))
        yield


def _open(descriptor: int) -> bool:
    try:
        os.fstat(descriptor)
    except OSError:
        return False
    return True


@contextlib.contextmanager
def _moved(out: int, to: int) -> Iterator[None]:
    """Let a file descriptor write where another does."""
    _flush()
    kept = os.dup(out)
    os.dup2(to, out)
    try:
        yield
    finally:
        _flush()
        os.dup2(kept, out)
        os.close(kept)


def _flush() -> None:
    if sys.stdout is not None:
        sys.stdout.flush()
    if os.name == "posix":
        ctypes.CDLL(None).fflush(None)  # what C code holds back


def ask(reward: Any, objects: Sequence[Any]) -> list[Answer]:
    """Ask for all objects at once, and where that raises one by one: one bad object must not cost
    its batch."""
    try:
        return answers(reward, objects)
    except RewardError:
        raise
    except (Exception, SystemExit) as error:  # foreign code, which may even call sys.exit
        if len(objects) == 1:
            late = isinstance(error, TimeoutError)  # a reward with a limit of its own
            status = Status.TIMEOUT if late else Status.FAILED
            return [Answer(math.nan, status, in_a_line(error))]
        return [answer for obj in objects for answer in ask(reward, [obj])]
