"""How a reward is asked and where its answers are kept, alike for all that ask one."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from scidiff.domains.domain import Domain
from scidiff.rewards.cache import Cache
from scidiff.rewards.executors import Executor, Serial
from scidiff.rewards.scores import Status, require_kind, terms
from scidiff.rewards.scoring import Scorer
from scidiff.rewards.workers import Processes, pickled

TIMEOUT = 60.0  # seconds an object, where a reward is asked in processes of its own
SCORES = "scores.db"  # of a folder whose run is given no cache of its own


@dataclass(frozen=True)
class Scoring:
    """What a person says of how a reward is asked; the answers are the same however it is."""

    cache: str | Path | None = None  # a file of scores that runs and processes share
    workers: int = 1
    timeout: float | None = None  # seconds an object
    cluster: str | None = None  # address of a Ray cluster, or local
    retry_failed: bool = False  # ask anew what failed or timed out in the cache

    def kept_in(self, folder: str | Path) -> Scoring:
        """The same with a cache in the folder of a run, where it has none of its own: what was
        answered is not asked again by a run that goes on."""
        return self if self.cache is not None else replace(self, cache=Path(folder) / SCORES)

    @contextmanager
    def executor(self, reward: Any, domain: Domain) -> Iterator[Executor]:
        """Where a reward is asked about objects of a domain: here, in processes or on a cluster
        that are closed afterwards.

        Only a process can be ended that does not answer in time, so one is used for a `timeout`.
        Raises RewardError for a reward that says it scores other objects, and for one that cannot
        be sent to another process.
        """
        require_kind(reward, domain.kind, domain.name)
        seconds = TIMEOUT if self.timeout is None else self.timeout
        if self.cluster is not None:
            from scidiff.rewards.clusters import RayExecutor

            address = None if self.cluster == "local" else self.cluster
            ray = RayExecutor(address, timeout=seconds)
            try:
                yield ray
            finally:
                ray.close()
        elif self.workers == 1 and self.timeout is None:
            yield Serial()
        else:
            for term in terms(reward).values():
                pickled(term)
            with Processes(self.workers, seconds) as processes:
                yield processes

    def scorer(self, reward: Any, domain: Domain, executor: Executor, **more: Any) -> Scorer:
        """Counts and remembers what is asked about objects of a domain; `more` as for Scorer."""
        again = (Status.FAILED, Status.TIMEOUT) if self.retry_failed else ()
        cache = None if self.cache is None else Cache(self.cache, again)
        return Scorer(reward, key=domain.key, kind=domain.kind, cache=cache, executor=executor,
                      **more)
