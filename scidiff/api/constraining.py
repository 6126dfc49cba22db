"""Constraints as a person writes them: names, some with a bound behind a colon."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from scidiff.chem.valence import largest_valence
from scidiff.data.graph_tokens import node_symbols
from scidiff.data.tokens import Vocabulary
from scidiff.rewards.registry import nearest
from scidiff.samplers.constraints import Constraint
from scidiff.samplers.graph_constraints import (
    Capacity,
    Connected,
    NodeTypes,
    edge_budget,
    max_degree,
    valence,
)

EXAMPLES = ("valence", "degree:4", "edges:8-12", "nodes:N=1,O=0-2", "connected")
"""valence: as much as RDKit permits an atom; degree: at most so many neighbours; edges: so many in
all, or at most; nodes: how many of a type; connected: one piece."""


def graph_constraints(
    names: Sequence[str], vocabulary: Vocabulary, length: int
) -> list[Constraint]:
    """Build the constraints of rows of `length` positions from a list such as ["valence",
    "edges:8-12", "connected"].

    Connectedness knows what each node can hold by valence and degree, and how many edges there may
    be. Raises ValueError for what is no constraint of graphs.
    """
    asked = dict(_parsed(name) for name in names)
    capacities = [_CAPACITIES[k](v, vocabulary) for k, v in asked.items() if k in _CAPACITIES]
    made: list[Constraint] = [*capacities]
    most: int | None = None
    if "edges" in asked:
        least, most = _range(asked["edges"], "edges")
        made.append(edge_budget(vocabulary, length, least=least, most=most))
    if "nodes" in asked:
        first = capacities[0] if capacities else None
        made.append(NodeTypes(vocabulary, _counts(asked["nodes"]), capacity=first))
    if "connected" in asked:
        made.append(Connected(vocabulary, *capacities, most_edges=most))
    return made


def _parsed(name: str) -> tuple[str, str]:
    known = [example.partition(":")[0] for example in EXAMPLES]
    kind, _, bound = name.partition(":")
    if kind not in known:
        raise ValueError(
            f"unknown constraint {name!r}; expected some of {' '.join(EXAMPLES)}"
            f"{nearest(kind, known)}"
        )
    if bool(bound) != any(e.startswith(f"{kind}:") for e in EXAMPLES):
        example = next(e for e in EXAMPLES if e.startswith(kind))
        raise ValueError(f"constraint {name!r} must be written as {example!r}")
    return kind, bound


def _valence(bound: str, vocabulary: Vocabulary) -> Capacity:
    return valence(vocabulary, {s: largest_valence(s) for s in node_symbols(vocabulary)})


def _degree(bound: str, vocabulary: Vocabulary) -> Capacity:
    return max_degree(vocabulary, _number(bound, "degree"))


_CAPACITIES: dict[str, Callable[[str, Vocabulary], Capacity]] = {
    "valence": _valence,
    "degree": _degree,
}


def _counts(bound: str) -> dict[str, int | tuple[int, int | None]]:
    """N=1,O=0-2"""
    found: dict[str, int | tuple[int, int | None]] = {}
    for part in bound.split(","):
        name, equals, count = part.partition("=")
        if not equals:
            raise ValueError(f"constraint 'nodes:{bound}': expected TYPE=NUMBER, got {part!r}")
        least, most = _range(count, f"nodes:{name}=")
        found[name] = (least, most) if "-" in count else most
    return found


def _range(text: str, name: str) -> tuple[int, int]:
    """8-12 or 12, which is 0-12."""
    low, dash, high = text.partition("-")
    return (_number(low, name), _number(high, name)) if dash else (0, _number(low, name))


def _number(text: str, name: str) -> int:
    if not text.isdigit():
        raise ValueError(f"constraint {name!r} needs a whole number, got {text!r}")
    return int(text)
