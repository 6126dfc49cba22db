"""Scores made for other programs: callables on SMILES (as in TDC) and MolScore's configurations.

    reward=OnText(tdc.Oracle("drd2"), floor=0.0, version="1.1")
    reward=molscore("task.json")                    # an expression, to read and to change
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from scidiff.messages import nearest
from scidiff.rewards.curves import STEEP
from scidiff.rewards.programs import text_of
from scidiff.rewards.scores import reward_name


@dataclass(frozen=True)
class OnText:
    """A callable on a list of SMILES, or of sequences, as a reward.

    With `each` it is called with one text at a time. Declare a `version` to keep its scores on
    disk: nothing else tells one state of a foreign object from the next.
    """

    function: Callable[[Any], Any]
    floor: float | None = None
    label: str | None = None
    version: str | None = None
    each: bool = False

    @property
    def name(self) -> str:
        return self.label or reward_name(self.function)

    def __call__(self, objects: Sequence[Any]) -> Any:
        texts = [text_of(o) for o in objects]
        return [self.function(t) for t in texts] if self.each else self.function(texts)


PROPERTIES = {
    "QED": "qed", "qed": "qed", "SAscore": "(10 - 9*sa)", "CLogP": "logp", "MolLogP": "logp",
    "MolWt": "mw", "TPSA": "tpsa", "NumHAcceptors": "hba", "NumHDonors": "hbd",
    "RingCount": "rings", "NumAromaticRings": "aromatic_rings"}


def molscore(path: str | Path) -> str:
    """Translate a MolScore configuration into a reward expression.

    Covers descriptors, Tanimoto similarity, isomers and SMARTS, its transformations and the
    methods single, wsum, amean, prod, wprod and gmean; metrics marked as filters multiply. Its
    diversity filter is no part of a reward. Raises ValueError naming whatever has no counterpart.
    """
    try:
        task = json.loads(Path(path).read_text())
        functions, scoring = task["scoring_functions"], task["scoring"]
        metrics, method = scoring["metrics"], scoring["method"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ValueError(f"{path} is not a MolScore configuration: {type(error).__name__}: "
                         f"{error}") from None
    _check_rows("scoring_functions", functions)
    _check_rows("scoring.metrics", metrics)
    if not isinstance(method, str) or method not in METHODS:
        raise _missing("method", method, METHODS)
    sources = _sources([f for f in functions if f.get("run", True)])
    terms = [(_bent(_metric(m["name"], sources), m), _weight(m))
             for m in metrics if not m.get("filter")]
    filters = [_bent(_metric(m["name"], sources), m) for m in metrics if m.get("filter")]
    if terms and method in ("wsum", "wprod") and not sum(w for _, w in terms):
        raise ValueError(f"MolScore: weights of {method} add up to 0, got "
                         f"{', '.join(f'{w:g}' for _, w in terms)}; expected one above 0")
    return " * ".join([*filters, METHODS[method](terms)] if terms else filters)


def _sources(functions: Iterable[Mapping[str, Any]]) -> dict[str, str]:
    """Metric name -> expression, for every function that can be translated, else its name."""
    found: dict[str, str] = {}
    for function in functions:
        name, given = function["name"], function.get("parameters", {})
        with _reading(f"function {name!r}", given):
            found |= _source(name, given)
    return found


def _source(name: str, given: Mapping[str, Any]) -> dict[str, str]:
    prefix = str(given.get("prefix", "desc")).strip().replace(" ", "_")
    if name in ("MolecularDescriptors", "RDKitDescriptors"):
        return {f"{prefix}_{k}": v for k, v in PROPERTIES.items()}
    if name in ("TanimotoSimilarity", "MolecularSimilarity"):
        return {f"{prefix}_Sim": _similarity(given)}
    if name == "Isomer":
        return {f"{prefix}_isomer_score": f"isomers({given['molecular_formula']!r})"}
    if name == "SubstructureMatch":
        return {f"{prefix}_substruct_match": _substructure(given)}
    return {f"{prefix}_*": name}


def _similarity(given: Mapping[str, Any]) -> str:
    references = given["ref_smiles"]
    if not isinstance(references, list):
        raise ValueError("MolScore: ref_smiles must be a list of SMILES, "
                         f"got {references!r}; write the file's lines into the configuration")
    kind = f"{'F' if given.get('features') else 'E'}CFP{2 * int(given.get('radius', 2))}"
    counts = bool(given.get("counts", True))
    if not counts and given.get("bits", 2048) not in (None, 2048):
        raise _missing("bits of a fingerprint", given["bits"], [2048])
    parts = [f"similarity({s!r}, counts={counts}, fingerprint={kind!r})" for s in references]
    return _joined(given.get("method", "max"), parts)


def _substructure(given: Mapping[str, Any]) -> str:
    parts = [f"substructure({s!r})" for s in given["smarts"]]
    method = given.get("method", "any")
    return _joined({"any": "max", "all": "min"}.get(method, method), parts)


def _joined(method: str, parts: Sequence[str]) -> str:
    if method not in ("max", "mean", "min"):
        raise _missing("method of references", method, ["max", "mean", "min"])
    return parts[0] if len(parts) == 1 else f"{method}({', '.join(parts)})"


def _metric(name: str, sources: Mapping[str, str]) -> str:
    if name in sources:
        return sources[name]
    for metric, function in sources.items():
        if metric.endswith("_*") and name.startswith(metric[:-1]):
            raise ValueError(f"MolScore: {function!r} (metric {name!r}) has no counterpart here")
    raise _missing("metric", name, sources)


def _bent(source: str, metric: Mapping[str, Any]) -> str:
    """The expression of a metric after its transformation."""
    name, given = metric.get("modifier", "raw"), metric.get("parameters", {})
    if name == "raw":
        return source
    if name not in CURVES:
        raise _missing("modifier", name, ["raw", *CURVES])
    with _reading(f"modifier {name!r} of metric {metric['name']!r}", given):
        low, high = CURVES[name](given)
    sides = {"maximize": [low], "minimize": [high], "range": [low, high]}
    objective = given.get("objective")
    if objective not in sides:
        raise _missing("objective", objective, sides)
    parts = [side.format(x=source) for side in sides[objective]]
    return parts[0] if len(set(parts)) == 1 else f"min({', '.join(parts)})"


def _gauss(given: Mapping[str, Any]) -> tuple[str, str]:
    mu, sigma = given["mu"], given["sigma"]
    if given.get("objective") == "range":
        return (f"gaussian({{x}}, {mu}, {sigma})",) * 2
    return (f"gaussian(min({{x}}, {mu}), {mu}, {sigma})",
            f"gaussian(max({{x}}, {mu}), {mu}, {sigma})")


def _linear(given: Mapping[str, Any]) -> tuple[str, str]:
    buffer, both = given["buffer"], given.get("objective") == "range"
    top = given["lower"] if both else given.get("upper", 0)
    bottom = given["upper"] if both else given.get("lower", 0)
    return (f"ramp({{x}}, {top - buffer}, {top})", f"ramp({{x}}, {bottom + buffer}, {bottom})")


def _step(given: Mapping[str, Any]) -> tuple[str, str]:
    both = given.get("objective") == "range"
    top = given["lower"] if both else given.get("upper", 0)
    bottom = given["upper"] if both else given.get("lower", 0)
    return f"step({{x}}, {top})", f"step({{x}}, {bottom}, falling=1)"


def _logistic(given: Mapping[str, Any]) -> tuple[str, str]:
    """1 / (1 + exp(-scale (x - upper) - 5)), and its mirror image around lower."""
    if given.get("objective") == "range":
        raise _missing("objective of a sigmoid", "range", ["maximize", "minimize"])
    half, shift = STEEP / given["scale"] / 2, 5 / given["scale"]
    up, down = given.get("upper", 0) - shift, given.get("lower", 0) + shift
    return (f"sigmoid({{x}}, {up - half}, {up + half})",
            f"sigmoid({{x}}, {down + half}, {down - half})")


def _norm(given: Mapping[str, Any]) -> tuple[str, str]:
    if "min" not in given or "max" not in given:
        raise ValueError("MolScore: the modifier norm without min and max follows the run; "
                         "give both")
    low, high = given["min"], given["max"]
    return f"(({{x}} - {low}) / {high - low})", f"(({high} - {{x}}) / {high - low})"


CURVES = {"gauss": _gauss, "lin_thresh": _linear, "step": _step, "sigmoid": _logistic,
          "norm": _norm}
Terms = list[tuple[str, float]]


def _weighted_sum(terms: Terms) -> str:
    total = sum(w for _, w in terms)
    return "(" + " + ".join(f"{w / total!r}*{x}" for x, w in terms) + ")"


def _weighted_product(terms: Terms) -> str:
    total = sum(w for _, w in terms)
    return "(" + " * ".join(f"{x}**{w / total!r}" for x, w in terms) + ")"


METHODS: dict[str, Callable[[Terms], str]] = {
    "single": lambda terms: terms[0][0],
    "wsum": _weighted_sum, "wprod": _weighted_product,
    "amean": lambda terms: f"mean({', '.join(x for x, _ in terms)})",
    "gmean": lambda terms: f"geometric_mean({', '.join(x for x, _ in terms)})",
    "prod": lambda terms: "(" + " * ".join(x for x, _ in terms) + ")",
}


def _check_rows(what: str, rows: Any) -> None:
    if not isinstance(rows, list) or not rows:
        raise ValueError(f"MolScore: {what} must be a list of at least one object, got {rows!r}")
    for place, row in enumerate(rows, 1):
        if not isinstance(row, dict) or not isinstance(row.get("name"), str):
            raise ValueError(f"MolScore: entry {place} of {what} must be an object with a 'name', "
                             f"got {row!r}")


def _weight(metric: Mapping[str, Any]) -> float:
    given = metric.get("weight", 1.0)
    if isinstance(given, bool) or not isinstance(given, int | float):
        raise ValueError(f"MolScore: the weight of metric {metric['name']!r} must be a number, "
                         f"got {given!r}")
    return float(given)


@contextlib.contextmanager
def _reading(what: str, given: Any) -> Iterator[None]:
    """Name what was read where its parameters are not as expected."""
    if not isinstance(given, dict):
        raise ValueError(f"MolScore: parameters of {what} must be an object, got {given!r}")
    try:
        yield
    except KeyError as error:
        raise ValueError(f"MolScore: {what} needs the parameter {error}, "
                         f"got {', '.join(given) or 'none'}") from None
    except (TypeError, ZeroDivisionError) as error:
        raise ValueError(f"MolScore: {what} cannot be used with {given!r}: {error}; "
                         "expected numbers, and no division by 0") from None


def _missing(what: str, got: Any, known: Iterable[Any]) -> ValueError:
    names = [str(k) for k in known]
    return ValueError(f"MolScore: {what} {got!r} has no counterpart here"
                      f"{nearest(str(got), names)}; expected one of {', '.join(names)}")
