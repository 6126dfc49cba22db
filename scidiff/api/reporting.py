"""`sd.report`: results of any origin as one self-contained HTML page."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from scidiff.api.design_result import DesignResult
from scidiff.api.entry import check_suite, evaluate
from scidiff.api.report_files import KINDS, Input, guessed, of_file, record_of, stem
from scidiff.api.report_runs import made, of_design, of_folder, of_result
from scidiff.api.results import SampleResult
from scidiff.api.saving import check_output, plain
from scidiff.api.typed import typed
from scidiff.core import ScidiffError
from scidiff.data.alphabets import Alphabet
from scidiff.data.formats import PACKED, READERS
from scidiff.data.tables import column_of
from scidiff.evaluation.compared import as_records, objects_of
from scidiff.evaluation.description import describe
from scidiff.evaluation.likeness import alphabet_of, spelled
from scidiff.evaluation.metric import versions
from scidiff.evaluation.rows import as_record
from scidiff.evaluation.web.contents import Contents, Run
from scidiff.evaluation.web.page import page
from scidiff.files import write_atomically
from scidiff.messages import nearest

ROWS = 5_000  # of an input that a page shows
BEHIND = 2_000  # rows of a reference that lie behind the plots
MOST = 6  # inputs that colours and shapes tell apart


@typed
def report(
    what: Any,
    out: str | Path,
    *,
    suite: str | None = None,
    reference: Any = None,
    train: Any = None,
    title: str | None = None,
    column: str | None = None,
    kind: str | None = None,
    rows: int = ROWS,
    fcd: bool = True,
    device: str = "cpu",
) -> Path:
    """Write a report of one or several results as one HTML file that needs no network.

    `what`: a result, a file of any tool, a folder of shards or of a campaign, a DataFrame,
    molecules or sequences, or a list or mapping (name -> input) of these, which are then
    compared. `suite` adds its metrics (`sd.evaluate`) of all rows, with published values of the
    same convention beside them; without it all rows of a result are described, and the rows shown
    of a file. A page shows `rows` rows of each input, evenly spaced where there are more. `kind`
    says what a file holds where its column's name does not.

    Raises ScidiffError or ValueError, one line, for an input that cannot be read, holds nothing,
    or is of another kind than the first; OSError where `out` cannot be written.
    """
    check_output(out, (".html",))
    if rows < 1:
        raise ValueError(f"rows must be at least 1, got {rows}")
    if kind is not None and kind not in KINDS:
        raise ScidiffError(f"kind must be {', '.join(KINDS)}, got {kind!r}{nearest(kind, KINDS)}")
    if suite is not None:
        kind = kind or check_suite(suite, fcd).kind
    options = {"column": column, "kind": kind, "suite": suite}
    inputs = [_input(name, given, rows, options) for name, given in _named(what)]
    _one_kind(inputs)
    measures = {"train": train, "reference": reference, "fcd": fcd, "device": device,
                "column": column}
    runs = [_described(found) if suite is None else _suited(found, suite, measures)
            for found in _told_apart(inputs)]
    behind = None if reference is None else _behind(reference, inputs)
    contents = Contents(title or _title(inputs), runs, suite or "", behind)
    write_atomically(Path(out), page(contents).encode())
    return Path(out)


def page_of(result: SampleResult | DesignResult) -> str:
    """The page that `report` writes of a result alone; equal results give equal bytes."""
    found = of_design(result, ROWS) if isinstance(result, DesignResult) else of_result(
        result, ROWS)
    return page(Contents(_title([found]), [_described(found)]))


def _named(what: Any) -> list[tuple[str, Any]]:
    """Inputs with their names, "" for those that have none yet."""
    if isinstance(what, Mapping):
        found = [(str(name), given) for name, given in what.items()]
    elif _is_many(what):
        found = [("", given) for given in what]
    else:
        found = [("", what)]
    if not 1 <= len(found) <= MOST:
        raise ScidiffError(f"a report compares 1 to {MOST} inputs, got {len(found)}")
    return found


def _is_many(what: Any) -> bool:
    """Whether a list is one of inputs; a list of molecules or sequences is one input."""
    if isinstance(what, str | Path | SampleResult | DesignResult) or not isinstance(
            what, Sequence):
        return False
    return bool(what) and all(isinstance(w, Path | SampleResult | DesignResult)
                              or (isinstance(w, str) and _is_path(w)) for w in what)


def _is_path(text: str) -> bool:
    suffixes = [s.lower() for s in Path(text).suffixes if s.lower() not in PACKED]
    return bool(suffixes and suffixes[-1] in READERS) or (len(text) < 256 and Path(text).exists())


def _input(name: str, given: Any, most: int, options: Mapping[str, Any]) -> Input:
    given = column_of(given, options["column"])
    if isinstance(given, DesignResult):
        return of_design(given, most, name)
    if isinstance(given, SampleResult):
        return of_result(given, most, name)
    if isinstance(given, str | Path):
        path = Path(given)
        return of_folder(path, most, name) if path.is_dir() else of_file(
            path, most, name=name, **options)
    if not isinstance(given, Sequence):
        raise ValueError("expected a result, a file, a folder or a list of objects, got "
                         f"{type(given).__name__}")
    held = options["kind"] or "molecule"
    written = guessed([row for row in given if isinstance(row, str)])
    records = [record_of(row, {}, "", held, written) if isinstance(row, str) and
               held != "molecule" else as_record(row, held) for row in given]
    return of_result(SampleResult(records, kind=held, provenance={}), most, name or "objects")


def _one_kind(inputs: Sequence[Input]) -> None:
    first = inputs[0]
    if empty := next((found.name for found in inputs if not found.total), ""):
        raise ScidiffError(f"{empty}: there is nothing to report: 0 rows")
    other = next((found for found in inputs if found.kind != first.kind), None)
    if other is not None:
        raise ScidiffError(f"{other.name} holds rows of the kind {other.kind}, {first.name} of "
                           f"the kind {first.kind}: a report compares one kind")
    if first.kind == "sequence":
        _alphabet(inputs)


def _told_apart(inputs: Sequence[Input]) -> list[Input]:
    """Inputs of one name get numbers."""
    names = [found.name for found in inputs]
    return [found if names.count(found.name) == 1 else
            replace(found, name=f"{found.name} {names[:i + 1].count(found.name)}")
             for i, found in enumerate(inputs)]


def _described(found: Input) -> Run:
    """An input with a description: of all rows of a result, of the rows shown of a file."""
    whole = found.whole if isinstance(found.whole, SampleResult) else None
    told = describe(found.records, found.kind) if whole is None else whole.description
    measured = len(found.records) if whole is None else found.total
    facts = plain({**found.provenance, "libraries": versions()})
    return Run(found.name, found.kind, found.records, found.places, found.total, found.columns,
               told.metrics(), measured, told.reasons, [*made(found.provenance), *found.notes],
               facts, found.campaign)


def _suited(found: Input, suite: str, measures: Mapping[str, Any]) -> Run:
    """An input with the metrics of a suite, of all its rows."""
    column = measures["column"] if isinstance(found.whole, Path) else None
    result = evaluate(found.whole, suite, **{**measures, "column": column})
    run = _described(found)
    facts = {**run.provenance, "suite": plain(dict(result.provenance))}
    return replace(run, metrics=list(result.metrics), measured=found.total, provenance=facts)


def _behind(reference: Any, inputs: Sequence[Input]) -> Run | None:
    """Rows of a reference for the plots; None for a fitted one, which has no rows."""
    kind, named = inputs[0].kind, isinstance(reference, str | Path)
    if hasattr(reference, "fcd_mean") or (kind == "molecule" and named
                                          and str(reference).endswith(".npz")):
        return None
    found = objects_of(reference, kind, BEHIND)
    if kind == "sequence":
        found = spelled(found, _alphabet(inputs))
    name = f"reference: {stem(Path(reference))}" if named else "reference"
    return Run(name, kind, as_records(found), range(len(found)), len(found))


def _alphabet(inputs: Sequence[Input]) -> Alphabet:
    """The alphabet that all valid rows are written in; raises ScidiffError where there is none."""
    texts = [r.text for found in inputs for r in found.records if r.valid]
    alphabet = alphabet_of(texts)
    if fault := next((f for text in texts if (f := alphabet.reason(text))), ""):
        names = ", ".join(found.name for found in inputs)
        raise ScidiffError(f"{names}: a report compares sequences of one alphabet; {fault}")
    return alphabet


def _title(inputs: Sequence[Input]) -> str:
    alone = inputs[0].title if len(inputs) == 1 else ""
    return alone or " beside ".join(found.name for found in inputs)
