"""The public functions: load, sample, evaluate (design and train have files of their own)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from scidiff.api.model import SHIPPED, Model
from scidiff.api.sources import model_source
from scidiff.api.typed import typed
from scidiff.core import ScidiffError

if TYPE_CHECKING:
    from scidiff.api.design_result import DesignResult
    from scidiff.api.results import SampleResult
    from scidiff.data.records import Record
    from scidiff.evaluation.metric import Report
    from scidiff.evaluation.novelty import Known
    from scidiff.evaluation.suite import Suite


@typed
def load(name: str | Path, *, device: str | None = None, dtype: str = "float32") -> Model:
    """Load a model: a shipped name, a model directory, hf://owner/name, or a file of GDSS.

    `device` defaults to CUDA where there is one; `dtype` "bfloat16" runs the network's trunk in
    bf16, heads and sampling stay in float32. No pickle is ever executed: of a .pth file only
    tensors and plain containers are read, anything else in it is refused and named.
    """
    return Model(model_source(name), device=device, dtype=dtype)


def sample(model: Model | str | Path, n: int, seed: int = 0, **settings: Any) -> SampleResult:
    """Draw n objects from a model or the name of one; see Model.sample."""
    return opened(model).sample(n, seed, **settings)


def opened(model: Model | str | Path) -> Model:
    """A model as it is, or the one of a name."""
    if not isinstance(model, Model | str | Path):
        raise ValueError(f"model must be a model or the name of one, got {model!r}")
    return model if isinstance(model, Model) else load(model)


@typed
def evaluate(
    objects: SampleResult | DesignResult | Sequence[Any] | str | Path,
    suite: str = "moses",
    *,
    column: str | None = None,
    train: Known | Sequence[Any] | str | Path | None = None,
    reference: Any = None,
    fcd: bool = True,
    device: str = "cpu",
) -> Report:
    """Measure objects of any origin: a result, SMILES, RDKit molecules, a file of them (read in
    bounded memory), a DataFrame, or a folder of shards.

    Every row counts: an invalid one stays in the denominator, and the report says why it is
    invalid. `train` is what novelty is measured against: a file, molecules or a filter; without it
    the training set of the model that drew the rows, else the suite's own. `reference` replaces
    the suite's: a fitted one, a file or molecules. FCD needs the extra `fcd`.
    """
    from scidiff.api.saving import left_out
    from scidiff.data.tables import column_of
    from scidiff.evaluation.baselines import beside
    from scidiff.evaluation.rows import Faults

    chosen, faults = check_suite(suite, fcd), Faults()
    objects, train, reference = column_of(objects, column), column_of(train), column_of(reference)
    rows = faults.watch(_numbered(objects, column, chosen))
    report = chosen.measure(
        rows, train=_train(objects, train, chosen), fcd=fcd, device=device,
        reference=None if reference is None else chosen.against(reference))
    if not faults.seen:
        raise ScidiffError("there is nothing to evaluate: 0 rows")
    missing = left_out(objects) if isinstance(objects, str | Path) else ""
    notes = (*report.notes, *faults.lines(), *filter(None, [missing]),
             *beside(report.metrics, faults.seen, suite))
    facts = {**report.provenance, "invalid": faults.to_dict()}
    return replace(report, provenance=facts, notes=notes)


def check_suite(suite: str, fcd: bool, model: Model | None = None) -> Suite:
    """Find a suite, and out before any work whether it can be measured, of draws of `model`.

    Raises ValueError for an unknown name, FcdMissing where the FCD is wanted without its network,
    ScidiffError for a model that draws another kind.
    """
    from scidiff.evaluation.fcd import require_chemnet
    from scidiff.evaluation.suite import check_kind, find_suite

    found = find_suite(suite)
    if model is not None:
        check_kind(found, model.domain.kind, f"draws of {model.name}")
    if found.fcd and fcd:
        require_chemnet()
    return found


def _numbered(objects: Any, column: str | None, suite: Suite) -> Iterator[tuple[int, Record]]:
    """Records of objects of any origin; raises ScidiffError for those of another kind."""
    from scidiff.data.formats import kind_of_suffix
    from scidiff.evaluation import rows
    from scidiff.evaluation.suite import check_kind

    kind, check = suite.kind, suite.check
    check_kind(suite, getattr(objects, "kind", kind), "a result")
    if isinstance(objects, str | Path):
        from scidiff.api import shards

        if not shards.is_run(objects):
            check_kind(suite, kind_of_suffix(Path(objects)) or kind, f"a file ({objects})")
            return suite.read(objects, column) if suite.read is not None else \
                rows.from_file(objects, column, kind, check)
        objects = shards.objects(objects, kind)
    if not isinstance(objects, Iterable):
        raise ValueError("objects must be a result, a list of objects or a file of them, got "
                         f"{objects!r}")
    return rows.listed(objects, kind, check)


def _train(objects: Any, train: Any, suite: Suite) -> Known | None:
    """What novelty is measured against: the one given, the model's own, or the suite's."""
    from scidiff.evaluation.novelty import NoveltyFilter

    if isinstance(train, str | Path) and str(train).endswith(".npz"):
        return NoveltyFilter.load(train)
    if train is not None and not hasattr(train, "contains"):
        return suite.known(train)
    default = SHIPPED / (suite.train or "none") / "train_filter.npz"
    model = getattr(objects, "provenance", {}).get("model", "the model that drew the rows")
    found = train if train is not None else getattr(objects, "novelty", None)
    found = suite.at_hand() if found is None else found
    if found is None and default.is_file():
        found, model = NoveltyFilter.load(default), suite.train
    if isinstance(found, NoveltyFilter) and not found.name:
        return replace(found, name=f"the training set of {model}")
    return found
