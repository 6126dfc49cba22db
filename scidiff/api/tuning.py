"""`scidiff tune`: measure which settings of a model give what quality at what cost, once."""

from __future__ import annotations

import json
import math
import shutil
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from scidiff.api.card import hardware
from scidiff.api.distances import Distance, find_distance
from scidiff.api.entry import opened
from scidiff.api.frontier import undominated
from scidiff.api.gdss_files import sidecar
from scidiff.api.model import Model
from scidiff.api.sources import SHIPPED
from scidiff.api.typed import typed
from scidiff.core import ScidiffError
from scidiff.data import datasets, tables
from scidiff.data.records import Record
from scidiff.evaluation.intervals import wilson
from scidiff.evaluation.rows import as_record, evenly
from scidiff.files import write_atomically
from scidiff.training.checkpoint import read_config

Settings = dict[str, Any]
Point = dict[str, Any]
REFERENCE_ROWS = 4000  # of the validation third; more would not be told from it by a few hundred
ROWS = 500

LADDERS: Mapping[str, Sequence[Any]] = {
    "steps": (10, 20, 35, 50, 100),
    "tokens_per_step": (8, 4, 2, 1),
}
"""The setting that costs, and its values from cheap to dear."""


@typed
def tune(
    model: Model | str | Path,
    reference: str | Path | Sequence[str],
    *,
    n: int = ROWS,
    minutes: float = 10.0,
    out: str | Path | None = None,
    seed: int = 0,
    column: str | None = None,
    distance: Distance | None = None,
    on_point: Callable[[Point], object] = lambda point: None,
) -> dict[str, Any]:
    """Search the settings of a model and store its frontier, which `quality` and `seconds` choose
    from.

    At every cost, the cheapest first, the settings are climbed by the distance of n rows from a
    third of the reference (every third object; leave the others for the final test): FCD, without
    fcd_torch a distance of properties, MMD for graphs. All points are drawn with the same seed.
    The frontier goes into config.json, for a file of GDSS beside it, or under `out` (a directory,
    for a file a .json); a shipped model is copied there. Raises ScidiffError where it cannot be.
    """
    model = opened(model)
    if n < 20:
        raise ValueError(f"n must be at least 20 to rank settings, got {n}")
    if not minutes > 0:
        raise ValueError(f"minutes must be positive, got {minutes}")
    target = _target(model, out)  # what cannot be stored is not measured
    real = validation_third(model, reference, column)
    measure = Measure(model, distance or find_distance(model.domain.kind, real), n, seed)
    list(model.chunks(2, seed))  # the first call of a network is slow and no point's cost
    found: list[Point] = []
    for point in search(measure, model.engine.settings, time.monotonic() + 60 * minutes):
        found.append(point)
        on_point(point)
    frontier = {
        "metric": measure.distance.name, "n": n, "seed": seed, "reference": len(real),
        "hardware": hardware(), "points": found,
    }  # fmt: skip
    _store(model, target, frontier)
    return {**frontier, "points": undominated(found), "measured": len(found), "saved": target}


def validation_third(
    model: Model, reference: str | Path | Sequence[str], column: str | None = None
) -> list[Record]:
    """Every third object of a file, a data set or a list, at most 4000 of them."""
    texts = _objects(reference, column)[::3]
    some = [texts[i] for i in evenly(len(texts), REFERENCE_ROWS)]
    if model.domain.kind == "graph":
        return model.domain.decode(model.domain.encode(some))
    return [as_record(text, model.domain.kind) for text in some]


def _objects(reference: str | Path | Sequence[str], column: str | None) -> list[str]:
    if not isinstance(reference, str | Path):
        return list(reference)
    if Path(reference).is_file():
        return tables.read(reference, column).objects()
    if Path(reference).suffix:
        raise FileNotFoundError(f"no such file: {reference}")
    return datasets.load(str(reference)).objects()


# ---------------------------------------------------------------- one point


@dataclass(frozen=True)
class Measure:
    """Draw n rows with some settings and say what they are worth and what they cost."""

    model: Model
    distance: Distance
    n: int
    seed: int

    def __call__(self, settings: Settings) -> Point:
        """A point of `frontier`; seconds are of CPU time, on a GPU of the clock."""
        on_cpu = self.model.engine.device.type == "cpu"
        clock = time.process_time if on_cpu else time.perf_counter
        start, drawn = clock(), self.model.chunks(self.n, self.seed, **settings)
        records = [record for part in drawn for record in part]
        seconds, good = clock() - start, sum(r.valid for r in records)
        worth = self.distance(records) if good > 1 else (math.inf,) * 3
        used = self.model.engine.settings(settings)
        return {
            # whole, so that they mean the same where defaults change
            "settings": {k: v for k, v in used.items() if v is not None and v != ()},
            "distance": [float(v) for v in worth],
            "valid": [good / self.n, *wilson(good, self.n)],
            "evaluations": self._evaluations(settings),
            "seconds": seconds / self.n,
        }

    def _evaluations(self, settings: Settings) -> int:
        """Network calls of a row."""
        sampler = self.model.sampler(**settings)
        return int(getattr(sampler, "evaluations", sampler.num_steps))


# ---------------------------------------------------------------- the search


def search(
    measure: Callable[[Settings], Point],
    full: Callable[[Settings], Mapping[str, Any]],
    until: float,
) -> Iterator[Point]:
    """Climb at each cost of the ladder, from its own settings and the best of the cost before, to
    where no neighbour is better; measure nothing twice, and begin nothing after `until`
    (time.monotonic) but the first point. `full` fills some settings up with the model's own."""
    own = full({})
    cost = next(name for name in LADDERS if name in own)
    around = next((near for name, near in NEIGHBOURS.items() if name in own), _nothing)
    known: set[str] = set()
    best: Point | None = None
    for value in LADDERS[cost]:
        step = {cost: value}
        queue = [step] if best is None else [step, best["settings"] | step]
        best = None
        while queue:
            tried = queue.pop(0)
            name = json.dumps(full(tried), sort_keys=True)
            if name in known:
                continue
            if known and time.monotonic() > until:
                return
            known.add(name)
            point = measure(tried)
            yield point
            if best is None or better(point, best):
                best = point
                queue += [tried | change for change in around(tried, full(tried))]


def better(a: Point, b: Point) -> bool:
    """Whether a has the smaller distance, unless one of them is far less often valid."""
    shares = a["valid"][0], b["valid"][0]
    if min(shares) < 0.9 * max(shares):
        return shares[0] > shares[1]
    return a["distance"][0] < b["distance"][0]


def _nothing(tried: Settings, full: Mapping[str, Any]) -> list[Settings]:
    """Only the ladder is climbed."""
    return []


def _continuous(tried: Settings, full: Mapping[str, Any]) -> list[Settings]:
    """Other noise, and from where nothing was changed yet other solvers."""
    eta, rho = full["eta"], full["rho"]
    if eta == 0:
        return []
    found: list[Settings] = [{"eta": eta / 2}, {"eta": eta * 2}]
    found += [{"rho": round(rho + d, 2)} for d in (-0.1, 0.1) if rho + d > 0]
    if not tried.keys() & {"solver", "eta", "rho"}:
        others = [name for name in ("2m", "exp1") if name != full["solver"]]
        found += [{"solver": name} for name in others]
        found += [{"solver": name, "eta": 0.0, "rho": 1.0} for name in ("2m", "unipc2")]
    return found


def _discrete(tried: Settings, full: Mapping[str, Any]) -> list[Settings]:
    """Colder and warmer."""
    t = full["temperature"]
    return [{"temperature": round(t + d, 2)} for d in (-0.1, 0.1) if t + d > 0]


def _flow(tried: Settings, full: Mapping[str, Any]) -> list[Settings]:
    """More and less of what corrects, and of what leads to likely tokens."""
    eta, omega = full["eta"], full["omega"]
    more: list[Settings] = [{"eta": eta * 2 or 1.0}, {"omega": round(omega + 0.05, 2)}]
    return more + [{"eta": eta / 2}] * (eta > 0) + [{"omega": 0.0}] * (omega > 0)


NEIGHBOURS: Mapping[str, Callable[[Settings, Mapping[str, Any]], list[Settings]]] = {
    "rho": _continuous,
    "temperature": _discrete,
    "omega": _flow,
}
"""Settings to try around others, by a setting that such a model has; costs stay as they are."""


# ---------------------------------------------------------------- where it is kept


def _target(model: Model, out: str | Path | None) -> Path:
    """Where the frontier goes; ScidiffError where it cannot."""
    source = model.source
    if source.is_file():
        return sidecar(source) if out is None else Path(out)
    if out is None and SHIPPED in source.parents:
        raise ScidiffError(f"{model.name} is shipped: say with out= (--out) where its tuned copy "
                           "goes")
    return source if out is None else Path(out)


def _store(model: Model, target: Path, frontier: Mapping[str, Any]) -> None:
    if model.source.is_file():
        write_atomically(target, _json(frontier))
        return
    if target != model.source:
        shutil.copytree(model.source, target, dirs_exist_ok=True)
    config = {**read_config(target), "frontier": frontier}
    write_atomically(target / "config.json", _json(config))


def _json(content: Mapping[str, Any]) -> bytes:
    return (json.dumps(content, indent=1) + "\n").encode()


__all__ = ["Measure", "search", "tune", "validation_third"]
