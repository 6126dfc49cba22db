"""Sampling on a Ray cluster; needs `pip install "scidiff[ray]"`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from scidiff.core import ScidiffError
from scidiff.data.records import Record

if TYPE_CHECKING:
    from scidiff.api.model import Model

RETRIES = 3  # times that a chunk is drawn again where its actor died


class Drawer:
    """What an actor holds: a model, from which it draws chunks."""

    def __init__(self, model: Model) -> None:
        import torch

        torch.set_num_threads(1)  # an actor has one core
        self.model = model

    def draw(self, n: int, seed: int, j: int, overrides: Mapping[str, Any]) -> list[Record]:
        """Chunk j of `Model.chunks(n, seed)`."""
        return next(self.model.chunks(n, seed, first=j, **overrides))


def chunks_on(
    cluster: str, model: Model, n: int, seed: int, size: int, overrides: Mapping[str, Any]
) -> Iterator[list[Record]]:
    """Draw the chunks of `model.chunks(n, seed)`, `size` rows each, in actors on the cluster at an
    address ("local" starts one), and yield them in order.

    Chunk j is seeded by (seed, j) wherever it is drawn, so the rows are those of one process on
    the same kind of machine. Raises ScidiffError where Ray is not installed.
    """
    try:
        import ray
        from ray.util import ActorPool
    except ImportError as error:
        why = 'sampling on a cluster needs Ray: pip install "scidiff[ray]"'
        raise ScidiffError(why) from error
    joined = not ray.is_initialized()
    if joined:
        address = None if cluster == "local" else cluster
        ray.init(address=address, include_dashboard=False, log_to_driver=False)
    try:
        total = -(-n // size)
        count = min(total, int(ray.cluster_resources().get("CPU", 1)))
        make = ray.remote(max_restarts=-1, max_task_retries=RETRIES, num_cpus=1)(Drawer)
        shared = ray.put(model)
        pool = ActorPool([make.remote(shared) for _ in range(count)])
        yield from pool.map(lambda a, j: a.draw.remote(n, seed, j, overrides), range(total))
    finally:
        if joined:
            ray.shutdown()
