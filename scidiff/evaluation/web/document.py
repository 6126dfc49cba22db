"""Everything the script of a page reads, as one JSON document; equal contents give equal bytes."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch

from scidiff.data.records import Record
from scidiff.evaluation.likeness import alphabet_of
from scidiff.evaluation.rows import evenly, without_places
from scidiff.evaluation.web.contents import Campaign, Contents, Run
from scidiff.evaluation.web.measures import AXES, mapped, measured, objects
from scidiff.evaluation.web.molecules import (
    broken_places,
    packed_graph,
    packed_molecule,
    packed_row,
)
from scidiff.rewards.pareto import front

SCRIPT_SAFE: dict[str, str | int | None] = {"<": "\\u003c", ">": "\\u003e", "&": "\\u0026",
               "\u2028": "\\u2028", "\u2029": "\\u2029"}  # none of it can end a script element
ASKED_DOTS = 5_000  # of a campaign, beside all that nothing else beats


def document(contents: Contents) -> dict[str, Any]:
    """Rows of all runs one under the other, column by column."""
    runs, kind = contents.runs, contents.kind
    records = [r for run in runs for r in run.records]
    behind = () if contents.reference is None else contents.reference.records
    rows = objects([*records, *behind], kind)
    values = measured(rows, kind)
    places, about = mapped(rows, kind)
    if about:
        values |= dict(zip(AXES, places.T.tolist(), strict=True))
    n = len(records)
    own = _columns(runs)
    # a column of the input that is called as one of ours stays what it is
    columns = own | {f"{name} (scidiff)" if name in own else name: v[:n]
                     for name, v in values.items()}
    reasons = list(dict.fromkeys(without_places(r.reason) for r in records if not r.valid))
    number = {reason: i + 1 for i, reason in enumerate(reasons)}
    return {
        "kind": kind, "title": contents.title, "about": about,
        "runs": [{"name": run.name, "total": run.total} for run in runs],
        "run": [i for i, run in enumerate(runs) for _ in run.records],
        "place": [p for run in runs for p in run.places],
        "text": [r.text for r in records], "reasons": reasons,
        "why": [0 if r.valid else number[without_places(r.reason)] for r in records],
        "full": {i: r.reason for i, r in enumerate(records) if not r.valid},
        "marks": _marks(records, kind), "drawn": _drawn(records, rows[:n], kind),
        "letters": _letters(records, kind),
        "columns": [_column(name, v, name in AXES) for name, v in columns.items()],
        "behind": None if contents.reference is None else {
            "name": contents.reference.name,
            "columns": {name: _plain(v[n:]) for name, v in values.items()}},
        "campaigns": [_campaign(i, run.campaign, kind) for i, run in enumerate(runs)
                      if run.campaign is not None]}


def as_json(found: Mapping[str, Any]) -> str:
    """JSON that stands inside a script element whatever the texts hold."""
    text = json.dumps(found, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
    return text.translate(str.maketrans(SCRIPT_SAFE))


def _columns(runs: Sequence[Run]) -> dict[str, list[Any]]:
    """The columns that any run has, None in the rows of those that lack it; empty ones left
    out."""
    names = dict.fromkeys(name for run in runs for name in run.columns)
    found = {name: [v for run in runs
                    for v in run.columns.get(name, [None] * len(run.records))] for name in names}
    return {name: values for name, values in found.items()
            if any(v not in (None, "") for v in values)}


def _column(name: str, values: Sequence[Any], hidden: bool) -> dict[str, Any]:
    number = all(v is None or (isinstance(v, int | float) and not isinstance(v, bool))
                 for v in values)
    told: dict[str, Any] = {"name": name, "number": number,
                            "values": _plain(values) if number else [_word(v) for v in values]}
    return told | ({"hidden": True} if hidden else {})


def _plain(values: Sequence[Any]) -> list[Any]:
    """Numbers to six digits, None for one that is missing."""
    return [None if v is None or not math.isfinite(v) else
            v if isinstance(v, int) else float(f"{v:.6g}") for v in values]


def _word(value: Any) -> str:
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return ""
    return ("yes" if value else "no") if isinstance(value, bool) else str(value)


def _drawn(records: Sequence[Record], rows: Sequence[Any], kind: str) -> list[Any]:
    if kind == "molecule":
        return [packed_row(r, mol) for r, mol in zip(records, rows, strict=True)]
    return [None if graph is None else packed_graph(graph) for graph in rows] \
        if kind == "graph" else []


def _marks(records: Sequence[Record], kind: str) -> dict[int, list[Any]]:
    """Where the text of a molecule that cannot be drawn is wrong, by row."""
    if kind != "molecule":
        return {}
    found = {i: broken_places(r) for i, r in enumerate(records) if not r.valid}
    return {i: [list(span) for span in spans] for i, spans in found.items() if spans}


def _letters(records: Sequence[Record], kind: str) -> str:
    """The alphabet of sequences: DNA, RNA or peptide."""
    return alphabet_of([r.text for r in records if r.valid]).name if kind == "sequence" else ""


def _campaign(run: int, campaign: Campaign, kind: str) -> dict[str, Any]:
    """Curves and dots of a campaign; of many objects asked all that no other beats, and others
    evenly."""
    terms = {name: np.asarray(v, np.float64) for name, v in campaign.terms.items()}
    best = _undominated(terms, len(campaign.texts))
    shown = sorted({*np.flatnonzero(best).tolist(),
                    *evenly(len(campaign.texts), ASKED_DOTS).tolist()})
    texts = [campaign.texts[i] for i in shown]
    drawn = {}
    if kind == "molecule":
        mols = objects([Record(campaign.texts[i], None, True) for i in shown if best[i]], kind)
        fronts = [j for j, i in enumerate(shown) if best[i]]
        drawn = {j: packed_molecule(m) for j, m in zip(fronts, mols, strict=True) if m}
    return {"run": run, "text": texts, "best": [int(best[i]) for i in shown], "drawn": drawn,
            "history": {name: _plain(list(v)) for name, v in campaign.history.items()},
            "terms": {name: _plain(v[shown].tolist()) for name, v in terms.items()},
            "asked": len(campaign.texts)}


def _undominated(terms: Mapping[str, np.ndarray], n: int) -> np.ndarray:
    """Which of n objects no other one beats in the first two terms of the reward, (n,) bool; none
    where there are not two."""
    found = np.zeros(n, np.bool_)
    if len(terms) < 2:
        return found
    pairs = np.stack(list(terms.values())[:2], 1)
    known = np.isfinite(pairs).all(1)
    found[known] = front(torch.from_numpy(pairs[known])).numpy()
    return found
