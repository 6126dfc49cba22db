"""Worker processes that stay: spawned once, one thread each, killed where an object hangs.

An object has `timeout` seconds, the first ones of a new process `startup` more, for what a reward
loads when it is first asked; a process that replaces one has a few times what that took the first.
A chunk is as many objects as take about a fifth of a second by
the rate measured so far; where a chunk hangs or dies its objects are asked again one by one, so
the answers depend neither on the chunks nor on the number of workers.
"""

from __future__ import annotations

import contextlib
import math
import multiprocessing
import os
import pickle
import signal
import sys
import threading
import time
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from multiprocessing.connection import Connection, wait
from typing import Any

from scidiff.rewards.executors import CHUNK, Done, ask
from scidiff.rewards.scores import Answer, RewardError, Status, reward_name

_START = 300.0  # seconds a worker may take to import what the reward needs
_RELOAD = 2.0  # least seconds it then has to load, and three times what loading took
_THREADS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")


class Processes:
    """Ask in `workers` processes (default: as many as there are cores), at most `timeout` seconds
    an object.

    An object at which a process dies is tried `retries` times more (another program may have taken
    the memory); one that hangs is not: it would cost the limit again. The reward and its module
    are imported anew in every worker, so both must be importable: no lambda, nothing defined in a
    notebook. Use as a context, or `close()`.
    """

    def __init__(self, workers: int | None = None, timeout: float = 60.0, retries: int = 1,
                 startup: float = 30.0) -> None:
        self.workers = (os.cpu_count() or 1) if workers is None else workers
        self.timeout, self.retries, self.startup = timeout, retries, startup
        if self.workers < 1 or not timeout > 0 or retries < 0 or startup < 0:
            raise ValueError("expected workers >= 1, timeout > 0, retries >= 0 and startup >= 0, "
                             f"got {workers}, {timeout}, {retries} and {startup}")
        self._team: list[_Worker] = []
        self._sent: dict[int, tuple[Any, bytes]] = {}  # rewards as workers know them, by their id
        self._rates: dict[int, float] = {}  # seconds an object, by reward
        self._loads: dict[int, float] = {}  # longest seconds of a first answer, by reward

    def run(self, reward: Any, objects: Sequence[Any], done: Done | None = None) -> list[Answer]:
        if id(reward) not in self._sent:  # kept, so that no other reward gets its id
            self._sent[id(reward)] = reward, pickled(reward)
        number, parcel = id(reward), self._sent[id(reward)][1]
        job = _Job(list(objects), deque(range(len(objects))), self.retries, done)
        try:
            while job.left:
                self._hand_out(job, number, parcel)
                self._collect(job, number)
        except BaseException:
            self.close()  # what is under way belongs to nobody now
            raise
        return [job.answers[i] for i in range(len(objects))]

    def close(self) -> None:
        """End the workers."""
        for worker in self._team:
            worker.kill()
        self._team = []

    def __enter__(self) -> Processes:
        return self

    def __exit__(self, *failure: object) -> None:
        self.close()

    def _hand_out(self, job: _Job, number: int, parcel: bytes) -> None:
        while len(self._team) < min(self.workers, len(job.waiting) + len(job.alone)):
            self._team.append(_Worker())
        for worker in self._team:
            rows = [] if worker.rows else job.take(self._size(job, number))
            if rows:
                worker.give(number, parcel, rows, [job.objects[i] for i in rows],
                            self._allowance(number))

    def _allowance(self, number: int) -> float:
        """Seconds for what a process loads before its first answer."""
        load = self._loads.get(number)
        return self.startup if load is None else min(self.startup, max(_RELOAD, 3 * load))

    def _size(self, job: _Job, number: int) -> int:
        rate = self._rates.get(number)
        share = math.ceil(len(job.waiting) / self.workers)
        return 1 if rate is None else max(1, min(share, int(CHUNK / max(rate, 1e-6))))

    def _collect(self, job: _Job, number: int) -> None:
        busy = {w.pipe: w for w in self._team if w.rows}
        first = min(self._deadline(w) for w in busy.values())
        ready = wait(list(busy), max(0.0, first - time.monotonic()))
        for pipe in ready:
            self._hear(busy[pipe], job, number)  # type: ignore[index]
        for worker in busy.values():
            if worker.rows and time.monotonic() > self._deadline(worker):
                if not worker.started:
                    raise RewardError(f"a worker process did not start in {_START:.0f} s")
                self._lose(worker, job, Answer(
                    math.nan, Status.TIMEOUT, f"no answer in {self.timeout:g} s"))

    def _deadline(self, worker: _Worker) -> float:
        if worker.started is None:
            return worker.born + _START
        loading = 0.0 if worker.warm else worker.allowance
        return max(worker.since, worker.started) + self.timeout + loading

    def _hear(self, worker: _Worker, job: _Job, number: int) -> None:
        try:
            word, found, seconds = worker.pipe.recv()
        except (EOFError, OSError):
            worker.process.join(5)
            code = worker.process.exitcode
            if worker.started is None:
                raise RewardError(
                    f"a worker process died while it started (exit code {code}); a script that "
                    "uses workers needs `if __name__ == '__main__':` around what it does"
                ) from None
            self._lose(worker, job, Answer(math.nan, Status.FAILED,
                                           f"the worker process died (exit code {code})"))
            return
        if word == "ready":
            worker.started = time.monotonic()
        elif word == "broken":
            raise RewardError(found)
        else:
            rate = seconds / len(worker.rows)
            self._rates[number] = (self._rates.get(number, rate) + rate) / 2
            first = worker.first.setdefault(number, seconds)
            if worker.warm:  # only now is it likely that the first answer had loaded it all
                self._loads[number] = max(self._loads.get(number, 0.0), first)
            job.answer(worker.rows, found)
            worker.rows, worker.warm = [], True

    def _lose(self, worker: _Worker, job: _Job, answer: Answer) -> None:
        rows = worker.rows
        worker.kill()
        self._team.remove(worker)
        job.lost(rows, answer)


@dataclass
class _Job:
    """Objects to be answered: those not yet asked, and those to be asked alone."""

    objects: list[Any]
    waiting: deque[int]
    retries: int
    done: Done | None
    alone: deque[int] = field(default_factory=deque)
    deaths: dict[int, int] = field(default_factory=dict)
    answers: dict[int, Answer] = field(default_factory=dict)

    @property
    def left(self) -> int:
        return len(self.objects) - len(self.answers)

    def take(self, size: int) -> list[int]:
        """The next rows to be asked together; suspects come last and alone."""
        if self.waiting:
            return [self.waiting.popleft() for _ in range(min(size, len(self.waiting)))]
        return [self.alone.popleft()] if self.alone else []

    def answer(self, rows: list[int], found: list[Answer]) -> None:
        self.answers.update(zip(rows, found, strict=True))
        if self.done is not None:
            self.done(rows, found)

    def lost(self, rows: list[int], answer: Answer) -> None:
        """Blame the only object of a lost chunk, or ask each of several alone."""
        if len(rows) > 1:
            self.alone.extend(rows)
            return
        row = rows[0]
        self.deaths[row] = self.deaths.get(row, 0) + (answer.status == Status.FAILED)
        if answer.status == Status.FAILED and self.deaths[row] <= self.retries:
            self.alone.append(row)
        else:
            self.answer(rows, [answer])


class _Worker:
    """One process and the rows it is at work on."""

    def __init__(self) -> None:
        context = multiprocessing.get_context("spawn")
        self.pipe, theirs = context.Pipe()
        self.process = context.Process(target=_serve, args=(theirs,), daemon=True)
        with _one_thread():
            self.process.start()
        theirs.close()
        self.rows: list[int] = []
        self.known: set[int] = set()
        self.since = self.born = time.monotonic()
        self.started: float | None = None  # when it had imported what it needs
        self.warm = False  # has answered for the reward it is at work on
        self.allowance = 0.0  # seconds for what it loads before that
        self.first: dict[int, float] = {}  # seconds of that answer, by reward

    def give(self, number: int, parcel: bytes, rows: list[int], objects: list[Any],
             allowance: float) -> None:
        if number not in self.known:
            self.started, self.born, self.warm = None, time.monotonic(), False
            self.allowance = allowance
        with contextlib.suppress(BrokenPipeError):  # a dead one is noticed when it is heard
            self.pipe.send((number, None if number in self.known else parcel, objects))
        self.known.add(number)
        self.rows, self.since = rows, time.monotonic()

    def kill(self) -> None:
        self.process.kill()
        self.process.join()
        self.process.close()
        self.pipe.close()


@contextlib.contextmanager
def _one_thread() -> Iterator[None]:
    """Let a process that starts now use one thread: its libraries read this when they load."""
    before = {name: os.environ.get(name) for name in _THREADS}
    os.environ.update(dict.fromkeys(_THREADS, "1"))
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


def pickled(reward: Any) -> bytes:
    """A reward as it is sent to another process. Raises RewardError where it cannot be."""
    try:
        return pickle.dumps(reward)
    except Exception as error:  # pickle raises whatever the object's own methods raise
        raise RewardError(f"reward {reward_name(reward)!r} cannot be sent to worker processes "
                          f"({error}): define it in a module, or leave out workers and timeout "
                          "to ask it in this process") from error


def _serve(pipe: Connection) -> None:
    """Answer chunks until the parent is gone."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's to handle
    os.dup2(2, 1)  # what a reward prints, in C too, is no result
    sys.stdout = sys.stderr
    threading.Thread(target=_die_with_parent, daemon=True).start()
    if torch := sys.modules.get("torch"):
        torch.set_num_threads(1)
    rewards: dict[int, Any] = {}
    while True:
        try:
            number, parcel, objects = pipe.recv()
        except EOFError:
            return
        try:
            if parcel is not None:
                rewards[number] = pickle.loads(parcel)  # from the parent, over a private pipe
                pipe.send(("ready", None, 0.0))
            begun = time.perf_counter()
            found = ask(rewards[number], objects)
            pipe.send(("answers", found, time.perf_counter() - begun))
        except RewardError as error:
            pipe.send(("broken", str(error), 0.0))
        except (ImportError, AttributeError, pickle.UnpicklingError) as error:
            pipe.send(("broken", "a worker process cannot import the reward "
                                 f"({type(error).__name__}: {error}): define it in a module", 0.0))


def _die_with_parent() -> None:
    """End with the parent even where the reward hangs."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        wait([parent.sentinel])
        os._exit(1)
