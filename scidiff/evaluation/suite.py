"""Suites by name: a file in `suites/` with a `SUITE`, or a module of the user's with one.

    # scidiff/evaluation/suites/mine.py
    def measure(rows, *, train=None, reference=None, fcd=True, device="cpu") -> Report: ...
    SUITE = Suite(measure, kind="molecule")
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

from scidiff.chem.molecules import canonical
from scidiff.core import ScidiffError
from scidiff.evaluation.metric import Report
from scidiff.evaluation.novelty import Known, KnownSet
from scidiff.evaluation.rows import Numbered, from_file, listed
from scidiff.messages import nearest

_FOLDER = Path(__file__).parent / "suites"


def objects_of(given: Any, kind: str = "molecule") -> Any:
    """The valid molecules or graphs of a file, in memory; anything else as it is."""
    if not isinstance(given, str | Path):
        return given
    return [record.obj for _, record in from_file(given, kind=kind) if record.valid]


def known_molecules(train: Any) -> KnownSet:
    """The names of the molecules of a file or a list, invalid ones left out."""
    source = from_file(train) if isinstance(train, str | Path) else listed(train)
    keys = (str(canonical(r.obj or r.text)) for _, r in source if r.valid)
    name = Path(train).name if isinstance(train, str | Path) else "the molecules given"
    return KnownSet.build(keys, name)


@dataclass(frozen=True)
class Suite:
    """A function that measures rows, and what it needs.

    `measure(rows, *, train, reference, fcd, device)` is given every row once, valid or not, as an
    iterable of `Record`; `train` (what novelty is measured against) and `reference` (what
    distributions are compared with) may be None for the suite's own default. A suite that has no
    use for one of the four accepts and ignores it.
    """

    measure: Callable[..., Report]
    kind: str = "molecule"  # of the rows: "molecule", "graph" or "sequence"
    fcd: bool = False  # whether fcd=True needs ChemNet, which is asked for before any work
    check: Callable[[str], str] | None = None  # of sequences: why a text is invalid, or ""
    known: Callable[[Any], Any] = objects_of  # what `measure` is given for a `train=` of the user
    against: Callable[[Any], Any] = objects_of  # and for a `reference=`
    at_hand: Callable[[], Known | None] = lambda: None  # a training set that may have been fetched
    train: str = ""  # else: shipped model whose training set is the default for novelty
    read: Callable[..., Numbered] | None = None  # of a file and column: rows with more than a text
    n: int = 0  # rows that the published convention asks for, 0 where there is none


def suite_names() -> list[str]:
    """Names of the suites that ship, without loading them."""
    return sorted(p.stem for p in _FOLDER.glob("*.py") if p.stem != "__init__")


def check_kind(suite: Suite, kind: str, what: str) -> None:
    """Raise ScidiffError, which names those that do, where a suite does not measure rows of the
    kind of `what`."""
    if kind != suite.kind:
        fit = ", ".join(name for name in suite_names() if find_suite(name).kind == kind)
        raise ScidiffError(f"this suite measures rows of the kind {suite.kind}, got {what} of the "
                           f"kind {kind}; expected one of the suites {fit}")


def find_suite(name: str) -> Suite:
    """Load a suite. Raises ValueError naming the nearest where there is none."""
    if name in suite_names():
        return import_module(f"{__package__}.suites.{name}").SUITE
    if "." in name:
        try:
            return import_module(name).SUITE
        except (ModuleNotFoundError, AttributeError) as error:
            raise ValueError(f"no suite {name!r}: {error}") from error
    raise ValueError(f"unknown suite {name!r}; expected one of {', '.join(suite_names())}"
                     f"{nearest(name, suite_names())}")
