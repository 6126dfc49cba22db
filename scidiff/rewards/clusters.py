"""Ask a reward on a Ray cluster; needs `pip install "scidiff[ray]"`."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from scidiff.rewards.executors import Done, ask
from scidiff.rewards.scores import Answer, RewardError, Status


class RayExecutor:
    """Ask in tasks of `chunk` objects on the cluster at `address` (None: one on this machine).

    Tasks wait where the cluster is full, so time is counted from the last task that came back:
    after `startup` seconds, and `timeout` for each object of a chunk, without any, what is left is
    cancelled. A chunk that is lost so, or whose worker dies `retries` times more, is asked again
    one object a task; an object that is lost again is TIMEOUT, or FAILED. Answers are those of
    `executors.Serial`. Raises RewardError where Ray is not installed.
    """

    def __init__(self, address: str | None = None, workers: int | None = None, chunk: int = 16,
                 timeout: float = 60.0, retries: int = 1, startup: float = 120.0) -> None:
        if chunk < 1 or not timeout > 0 or retries < 0:
            raise ValueError("expected chunk >= 1, timeout > 0 and retries >= 0, got "
                             f"{chunk}, {timeout} and {retries}")
        try:
            import ray
        except ImportError as error:
            raise RewardError('the Ray executor needs Ray: pip install "scidiff[ray]"') from error
        self._ray = ray
        self.chunk, self.timeout, self.startup = chunk, timeout, startup
        self._joined = not ray.is_initialized()
        if self._joined:
            ray.init(address=address, num_cpus=workers, include_dashboard=False,
                     log_to_driver=False)
        self._task = ray.remote(max_retries=retries, num_cpus=1)(ask)

    def run(self, reward: Any, objects: Sequence[Any], done: Done | None = None) -> list[Answer]:
        shared, answers = self._ray.put(reward), dict[int, Answer]()
        chunks = [list(range(i, min(i + self.chunk, len(objects))))
                  for i in range(0, len(objects), self.chunk)]
        lost = self._round(shared, objects, chunks, answers, done)
        alone = [[i] for rows, _ in lost for i in rows]
        again = self._round(shared, objects, alone, answers, done)
        for (row,), answer in again:
            answers[row] = answer
            if done is not None:
                done([row], [answer])
        return [answers[i] for i in range(len(objects))]

    def close(self) -> None:
        """Leave the cluster, if this executor joined it."""
        if self._joined:
            self._ray.shutdown()

    def _round(self, shared: Any, objects: Sequence[Any], chunks: list[list[int]],
               answers: dict[int, Answer], done: Done | None) -> list[tuple[list[int], Answer]]:
        """Run every chunk as a task; return those that were lost, and how."""
        tasks = {self._task.remote(shared, [objects[i] for i in rows]): rows for rows in chunks}
        limit = self.startup + self.timeout * max(map(len, chunks), default=0)
        lost = []
        while tasks:
            ready, late = self._ray.wait(list(tasks), num_returns=1, timeout=limit)
            for task in ready:
                rows = tasks.pop(task)
                found = self._result(task)
                if isinstance(found, Answer):
                    lost.append((rows, found))
                    continue
                answers.update(zip(rows, found, strict=True))
                if done is not None:
                    done(rows, found)
            if not ready:
                for task in late:
                    self._ray.cancel(task, force=True)
                    lost.append((tasks.pop(task), Answer(
                        math.nan, Status.TIMEOUT, f"no answer in {self.timeout:g} s")))
        return lost

    def _result(self, task: Any) -> list[Answer] | Answer:
        """The answers of a chunk, or what became of it."""
        try:
            found: list[Answer] = self._ray.get(task)
        except self._ray.exceptions.RayTaskError as error:
            if isinstance(error.cause, RewardError):
                raise RewardError(str(error.cause)) from None
            raise
        except self._ray.exceptions.RayError as error:
            reason = str(error).strip().splitlines()[0]
            return Answer(math.nan, Status.FAILED, f"the worker process died: {reason}")
        return found
