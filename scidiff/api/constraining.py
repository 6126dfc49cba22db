"""Constraints as a person writes them, made into what samplers hold: names of graphs, some with a
bound behind a colon, and what is asked of strings (`string_constraints`) as one automaton."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache

import torch
from torch import Tensor

from scidiff.api.motifs import places
from scidiff.api.string_constraints import Fixed, Grammar, Pattern, StringConstraint, read
from scidiff.chem.valence import largest_valence
from scidiff.data.graph_tokens import node_symbols
from scidiff.data.tokens import EOS, FIRST_SYMBOL, PAD, Vocabulary
from scidiff.messages import nearest
from scidiff.samplers.automata import Automaton, all_of, ended, everything, symbols_only
from scidiff.samplers.constraints import Accepted, Constraint
from scidiff.samplers.graph_constraints import (
    Capacity,
    Connected,
    NodeTypes,
    edge_budget,
    max_degree,
    valence,
)
from scidiff.samplers.trellis import Trellis

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
    asked: dict[str, str] = {}
    for kind, bound in map(_parsed, names):
        if kind in asked:
            raise ValueError(f"constraint {kind!r} is given twice, {asked[kind]!r} and {bound!r}: "
                             "say once what holds")
        asked[kind] = bound
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
    if not isinstance(name, str):
        raise ValueError(f"a constraint of graphs is one of {', '.join(EXAMPLES)}, got {name!r}")
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


# ---------------------------------------------------------------- strings


def string_automaton(
    asked: Sequence[str], vocabulary: Vocabulary, lengths: Sequence[int]
) -> Automaton:
    """All constraints together, on rows with their EOS and PAD.

    Raises ValueError where no string of one of these `lengths` satisfies them, naming the first
    that no string satisfies by itself.
    """
    made = [read(text) for text in asked]
    for constraint in made:
        short = _least(constraint, vocabulary) <= max(lengths)
        if not short or not _possible(_strings((str(constraint),), vocabulary), lengths):
            raise ValueError(
                f"constraint {str(constraint)!r} holds for no string of "
                f"{_span(lengths)} tokens, which this model writes{_hint(constraint)}"
            )
    whole = _strings(tuple(asked), vocabulary)
    if not _possible(whole, lengths):
        raise ValueError(
            f"constraints {', '.join(asked)} contradict each other: no string of "
            f"{_span(lengths)} tokens satisfies them all"
        )
    return ended(whole)


def check_given(ids: Tensor, asked: Sequence[str], vocabulary: Vocabulary) -> None:
    """Raise ValueError where no way to write what rows (B, L) hide satisfies the constraints, for
    none of the rows, naming the first that what is given contradicts by itself."""
    if not asked or _fits(asked, ids, vocabulary):
        return
    alone = [one for one in asked if not _fits([one], ids, vocabulary)]
    named = f"constraint {alone[0]!r}" if alone else f"constraints {', '.join(asked)} together"
    raise ValueError(
        f"what is given contradicts {named}{_first(alone[:1] or asked, ids[0], vocabulary)}: no "
        "way to write the rest satisfies it"
    )


def _fits(asked: Sequence[str], ids: Tensor, vocabulary: Vocabulary) -> bool:
    automaton = ended(_strings(tuple(asked), vocabulary))
    return bool(len(automaton) and Accepted(automaton)(ids).any())


def _first(asked: Sequence[str], row: Tensor, vocabulary: Vocabulary) -> str:
    """The first token of a row (L,) with which it contradicts, were all behind it open."""
    size, mask = int((row > EOS).sum()), vocabulary.mask_id
    for at in range(size):
        open_ = (torch.arange(len(row), device=row.device) > at) & (row > EOS)
        if row[at] != mask and not _fits(asked, torch.where(open_, mask, row)[None], vocabulary):
            return f" at {vocabulary.symbols[row[at] - FIRST_SYMBOL]!r}, position {at + 1}"
    return f" in {size} tokens"


def string_rows(
    asked: Sequence[str], vocabulary: Vocabulary, weights: Sequence[float], length: int
) -> tuple[Tensor, list[float]]:
    """Rows (R, L), one for each length that is possible, with what must stand there given and the
    rest hidden; and the weight of each.

    What the grammar alone makes certain stays hidden: it is too large an automaton to ask.
    """
    fits = _strings(tuple(asked), vocabulary).lengths(len(weights) - 1).tolist()
    small = _strings(tuple(t for t in asked if not isinstance(read(t), Grammar)), vocabulary)
    rows, kept = [], []
    for n, weight in enumerate(weights):
        if weight > 0 and fits[n] and n:
            certain = Trellis(small, n).certain()
            rows.append(_row(certain, vocabulary.mask_id, length))
            kept.append(float(weight))
    return torch.stack(rows), kept


def _row(certain: Tensor, mask_id: int, length: int) -> Tensor:
    row = torch.full((length,), PAD)
    row[: len(certain)] = torch.where(certain < 0, mask_id, certain)
    row[len(certain)] = EOS
    return row


@lru_cache(maxsize=32)
def _strings(asked: tuple[str, ...], vocabulary: Vocabulary) -> Automaton:
    """The strings that satisfy all of these, without their end."""
    parts = [symbols_only(everything(len(vocabulary)))]
    return all_of([*parts, *(symbols_only(read(t).automaton(vocabulary)) for t in asked)])


def _least(constraint: StringConstraint, vocabulary: Vocabulary) -> int:
    """Fewest tokens of a string that satisfies it, as far as its text says: automata of places far
    beyond a model's rows are not built."""
    if isinstance(constraint, Fixed):
        return max(constraint.tokens) + 1
    if isinstance(constraint, Pattern):
        return sum(place != "*" for place in places(constraint.text, vocabulary, gaps=True))
    return 0


def _possible(automaton: Automaton, lengths: Sequence[int]) -> bool:
    return bool(automaton.lengths(max(lengths))[list(lengths)].any())


def _span(lengths: Sequence[int]) -> str:
    low, high = min(lengths), max(lengths)
    return f"{low}" if low == high else f"{low} to {high}"


def _hint(constraint: StringConstraint) -> str:
    whole = constraint.kind == "pattern" and "*" not in str(constraint)
    return "; a pattern is of the whole string, write * for any number of tokens" if whole else ""
