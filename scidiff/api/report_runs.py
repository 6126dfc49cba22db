"""Results, and folders of shards and of campaigns, as inputs of a report."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from scidiff.api.report_files import (
    OWN,
    Input,
    column_values,
    of_file,
    read_json,
    record_of,
)
from scidiff.api.shards import MANIFEST, ShardError, is_run
from scidiff.core import ScidiffError
from scidiff.evaluation.rows import evenly
from scidiff.evaluation.web.contents import Campaign
from scidiff.guidance.journal import MANIFEST as CAMPAIGN

if TYPE_CHECKING:
    from scidiff.api.design_result import DesignResult
    from scidiff.api.results import SampleResult

DESIGNS, ASKED, HISTORY, LEDGER = "designs.csv", "asked.csv", "history.csv", "ledger.json"
_KINDS = {"smiles": "molecule", "sequence": "sequence", "graph": "graph"}
_MADE = ("model", "reward", "method", "budget", "seed", "scidiff")  # of a provenance
_NO_TERMS = ("score", "log_w", "status", "round", "message", "parent", *OWN)


def of_result(result: SampleResult, most: int, name: str = "") -> Input:
    """A result in memory; rows are named by their index."""
    chosen = evenly(len(result), most).tolist()
    columns = {n: [v[i] for i in chosen] for n, v in result.columns.items()}
    model = result.provenance.get("model", "")
    made = "Designs" if "score" in columns else "Samples"
    title = "" if name else f"{made} from {model}" if model else made
    return Input(name or str(model or "result"), result.kind,
                 [result.records[i] for i in chosen], chosen, len(result), columns, result,
                 result.notes, result.provenance, title=title)


def of_design(design: DesignResult, most: int, name: str = "") -> Input:
    """Designs in memory, with their campaign."""
    asked = design.asked
    history = {n: column.tolist() for n, column in design.history.items()}
    facts = {**asdict(design.ledger), "ended": design.provenance.get("ended"),
             "certificate": str(design.certificate), "hypervolume": design.hypervolume}
    told = asked_of(asked.texts, asked.columns)
    found, cost = of_result(design.rows, most, name), ledger_lines(facts)
    # the rows' own notes say some of the cost already
    notes = [note for note in found.notes if not any(line.startswith(note) for line in cost)]
    return replace(found, name=name or "designs", notes=[*notes, *cost],
                   campaign=Campaign(history, facts, **told))


def made(provenance: Mapping[str, Any]) -> list[str]:
    """How rows came about in one line, where a result says so of itself."""
    said = provenance.get("made", provenance)  # of a saved result, beside the file's checksum
    if not isinstance(said, Mapping):
        return []
    design = said.get("design")
    facts = {**(design if isinstance(design, Mapping) else {}), **said}
    parts = [f"{name} {facts[name]}" for name in _MADE if facts.get(name) is not None]
    return [" · ".join(parts)] if parts else []


def of_folder(folder: Path, most: int, name: str = "") -> Input:
    """A folder of shards or of a campaign. Raises ScidiffError for any other, and for a run that
    is not finished."""
    name = name or folder.resolve().name
    if is_run(folder):
        return _of_shards(folder, most, name)
    if (folder / DESIGNS).is_file():
        return _of_campaign(folder, most, name)
    if (folder / CAMPAIGN).is_file():
        raise ScidiffError(f"{folder} holds a campaign that has not ended (there is no {DESIGNS})"
                           ": resume it first")
    raise ScidiffError(f"{folder} holds neither shards ({MANIFEST}) nor a campaign ({DESIGNS})")


def _of_shards(folder: Path, most: int, name: str) -> Input:
    import pyarrow.dataset as ds

    found = ds.dataset(folder, format="parquet")
    manifest = read_json((folder / MANIFEST).read_text(encoding="utf-8"), folder / MANIFEST)
    total = found.count_rows()
    if total != manifest["n"]:
        raise ShardError(f"{folder} holds {total:,} of {manifest['n']:,} rows: finish it first")
    chosen = evenly(total, most)
    rows = found.take(chosen).to_pylist()
    text = next(n for n in _KINDS if n in found.schema.names)
    kind = _KINDS[text]
    # a run of sequences has said itself which rows are valid
    records = [record_of(row[text] or "", row, "", kind) for row in rows]
    columns = {n: column_values([row[n] for row in rows])
               for n in found.schema.names if n not in (*OWN, text)}
    return Input(name, kind, records, chosen.tolist(), total, columns, folder,
                 provenance=manifest)


def _of_campaign(folder: Path, most: int, name: str) -> Input:
    """Designs, with the curves, the ledger and all that was asked where they are there."""
    found = of_file(folder / DESIGNS, most, name=name)
    history, asked = _columns(folder / HISTORY), _columns(folder / ASKED)
    texts = next((asked.pop(text) for text in _KINDS if text in asked), [])
    ledger = folder / LEDGER
    facts = read_json(ledger.read_text(encoding="utf-8"), ledger) if ledger.is_file() else {}
    campaign = Campaign({n: [_float(v) for v in values] for n, values in history.items()},
                        facts, **asked_of(texts, asked))
    return replace(found, campaign=campaign, notes=ledger_lines(facts))


def _columns(path: Path) -> dict[str, list[Any]]:
    """The columns of a table of a campaign; {} where there is none, or no round was finished."""
    if not path.is_file() or path.stat().st_size < 2:
        return {}
    frame = pd.read_csv(path, keep_default_na=False, na_values=[""])
    return {str(n): [None if pd.isna(v) else v for v in column.tolist()]
            for n, column in frame.items()}


def ledger_lines(facts: Mapping[str, Any]) -> list[str]:
    """What a campaign cost and how far its weights can be trusted, in words."""
    if not facts:
        return []
    cost = (f"{facts.get('asked', 0):,} objects asked, {facts.get('cache_hits', 0):,} cache hits, "
            f"{facts.get('network_rows', 0):,} network rows, {facts.get('seconds', 0):,.1f} s")
    ended = f"; ended by {facts['ended']}" if facts.get("ended") else ""
    area = facts.get("hypervolume")
    return [str(facts["certificate"])] * ("certificate" in facts) + [
        cost + ended + ("" if area is None else f"; hypervolume {area:.4g}")]


def asked_of(texts: Sequence[str], columns: Mapping[str, Sequence[Any]]) -> dict[str, Any]:
    """All that was asked, and the terms of the reward that are numbers."""
    terms = {n: [_float(v) for v in values] for n, values in columns.items()
             if n not in _NO_TERMS and all(v is None or isinstance(v, int | float) for v in values)
             and any(v is not None for v in values)}
    return {"texts": [str(t) for t in texts], "terms": terms}


def _float(value: Any) -> float:
    return math.nan if value is None or isinstance(value, str) else float(value)
