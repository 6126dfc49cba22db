"""The public functions: load, sample, evaluate (design and train have files of their own)."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from scidiff.api.model import SHIPPED, Model, model_folder
from scidiff.core import ScidiffError

if TYPE_CHECKING:
    from scidiff.api.results import DesignResult, SampleResult
    from scidiff.evaluation.metric import Report
    from scidiff.evaluation.suite import Suite

def load(name: str | Path, *, device: str | None = None, dtype: str = "float32") -> Model:
    """Load a model: a shipped name, a model directory, or hf://owner/name.

    `device` defaults to CUDA where there is one; `dtype` "bfloat16" runs the network's trunk in
    bf16, heads and sampling stay in float32. No pickle is ever read.
    """
    return Model(model_folder(name), device=device, dtype=dtype)


def sample(model: Model | str | Path, n: int, seed: int = 0, **settings: Any) -> SampleResult:
    """Draw n objects from a model or the name of one; see Model.sample."""
    return (model if isinstance(model, Model) else load(model)).sample(n, seed, **settings)


def evaluate(
    objects: SampleResult | DesignResult | Sequence[Any] | str | Path,
    suite: str = "moses",
    *,
    column: str | None = None,
    fcd: bool = True,
) -> Report:
    """Measure molecules of any origin: a result, SMILES, RDKit molecules, a file of them,
    or a folder of shards.

    Every row counts: an invalid one stays in the denominator. Novelty is measured against the
    training set of the model that drew the rows, else against MOSES. FCD needs the extra `fcd`.
    """
    from scidiff.evaluation.novelty import NoveltyFilter

    chosen = check_suite(suite, fcd)
    rows = _rows(objects, column)
    if not rows:
        raise ScidiffError("there is nothing to evaluate: 0 rows")
    train = getattr(objects, "novelty", None)
    default = SHIPPED / (chosen.train or "none") / "train_filter.npz"
    if train is None and default.is_file():
        train = NoveltyFilter.load(default)
    return chosen.measure(rows, train=train, reference=None, fcd=fcd, device="cpu")


def check_suite(suite: str, fcd: bool) -> Suite:
    """Find a suite, and out before any work whether it can be measured.

    Raises ValueError for an unknown name, FcdMissing where the FCD is wanted without its network.
    """
    from scidiff.evaluation.fcd import require_chemnet
    from scidiff.evaluation.suite import find_suite

    found = find_suite(suite)
    if found.fcd and fcd:
        require_chemnet()
    return found


def _rows(objects: Any, column: str | None) -> list[Any]:
    if isinstance(objects, str | Path):
        from scidiff.api import shards
        from scidiff.data import tables

        if shards.is_run(objects):
            return shards.molecules(objects)
        found = tables.read(objects, column)
        return [*found.objects(), *(None for _ in found.rejects)]
    return list(objects)
