"""Executors: where and how a reward is asked. They change how long it takes, never the answer.

An object that raises, hangs or kills its process is a FAILED or TIMEOUT row with the reason; only
a reward that cannot be used at all (RewardError) ends a run.
"""

from __future__ import annotations

import contextlib
import math
import sys
from collections.abc import Callable, Sequence
from typing import Any, Protocol

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


class Serial:
    """Ask in this process: all objects at once, or one by one where the reward says that each
    takes a second or more, so that every answer is kept as it comes. A program that is started
    for a batch has `one_by_one` False.

    What a reward prints goes to stderr: stdout belongs to the program. A reward that hangs cannot
    be stopped here; `workers.Processes` has a time limit.
    """

    def run(self, reward: Any, objects: Sequence[Any], done: Done | None = None) -> list[Answer]:
        alone = getattr(reward, "one_by_one", True)
        size = 1 if alone and cost(reward) >= SLOW else max(1, len(objects))
        found: list[Answer] = []
        for start in range(0, len(objects), size):
            part = objects[start:start + size]
            with contextlib.redirect_stdout(sys.stderr):
                told = ask(reward, part)
            found += told
            if done is not None:
                done(list(range(start, start + len(part))), told)
        return found

    def close(self) -> None:
        """Nothing was started."""


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
            return [Answer(math.nan, Status.TIMEOUT if late else Status.FAILED,
                           f"{type(error).__name__}: {error}")]
        return [answer for obj in objects for answer in ask(reward, [obj])]
