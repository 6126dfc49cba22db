"""Editing: hide a part of given objects and let a model write it again; and the way between
two."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from scidiff.api.infilling import read_rows, rewrite, told_columns
from scidiff.api.typed import typed
from scidiff.core import Rng, ScidiffError, seeded, uniform
from scidiff.data.alignment import Pair, align, edit_distance
from scidiff.data.tokens import EOS, PAD, TokenState
from scidiff.domains.domain import spelled

if TYPE_CHECKING:
    from scidiff.api.model import Model
    from scidiff.api.results import SampleResult

CHUNK = 1000  # rows drawn under one seed

Span = tuple[int, int]


@typed
def edit(
    model: Model,
    texts: str | Sequence[str],
    n: int = 1,
    seed: int = 0,
    *,
    fraction: float | None = None,
    positions: Sequence[int] | None = None,
    spans: Sequence[Span] | None = None,
    **overrides: Any,
) -> SampleResult:
    """Write a part of each text again, n rows a text; the rest stays exactly as it is, and so does
    the number of tokens.

    What is written again: round(fraction * tokens) places, at least one, drawn anew for every row
    (by default fraction = 0.3), or the tokens at `positions` (from 0, negative from the end), or
    those of `spans` (start, stop), stop excluded. A masked model hides them and writes them seeing
    all the rest; a discrete flow starts from noise there. Columns: parent, and changed, how many
    tokens differ from it. Keyword arguments override the model's sampling settings.

    Raises ScidiffError for a model that writes from left to right or that has no tokens, and
    ValueError for a place outside a text.
    """
    given = [texts] if isinstance(texts, str) else list(texts)
    if n <= 0 or not given:
        raise ValueError(
            f"edit takes at least one text and n of at least 1, got {len(given)}, {n}"
        )
    _rewrites(model)
    ids = _encoded(model, given)
    part = Part.of(fraction, positions, spans)
    known = part.fixed(ids)  # raises before anything is drawn
    parents = ids.repeat_interleave(n, 0)
    hidden = None if known is None else known.repeat_interleave(n, 0)
    done = []
    for j, at in _chunks(len(parents)):
        rng = seeded(seed, j, model.engine.device)
        here = part.drawn(parents[at], rng) if hidden is None else hidden[at]
        rows = parents[at].masked_fill(here, model.engine.vocabulary.mask_id)
        done.append(rewrite(model.engine, rows, rng, overrides))
    children = torch.cat(done)
    return model.result(
        read_rows(model, TokenState(children), overrides),
        seed,
        {
            "parent": [text for text in given for _ in range(n)],
            "changed": (children != parents).sum(1).tolist(),
            **told_columns(overrides, len(parents)),
        },
        n=n,
        edited=part.told(),
        sampling=model.engine.settings(overrides),
    )


@dataclass(frozen=True)
class Part:
    """Which tokens of a row are written again."""

    fraction: float | None = None
    positions: tuple[int, ...] = ()
    spans: tuple[Span, ...] = ()

    @classmethod
    def of(
        cls,
        fraction: float | None,
        positions: Sequence[int] | None,
        spans: Sequence[Span] | None,
    ) -> Part:
        """Raises ValueError where more than one way is chosen, or nothing can be hidden."""
        given = [x for x in (fraction, positions, spans) if x is not None]
        if len(given) > 1:
            raise ValueError("expected one of fraction, positions and spans, got several")
        if fraction is not None and not 0 < fraction <= 1:
            raise ValueError(f"fraction must be in (0, 1], got {fraction}")
        if positions is None and spans is None:
            return cls(0.3 if fraction is None else fraction)
        if not (positions or spans):
            raise ValueError("positions and spans must not be empty")
        for start, stop in spans or ():
            if not 0 <= start < stop:
                raise ValueError(f"a span is (start, stop), 0 <= start < stop, got {start, stop}")
        return cls(None, tuple(positions or ()), tuple((a, b) for a, b in spans or ()))

    def told(self) -> dict[str, Any]:
        """For the provenance."""
        return {k: list(v) if isinstance(v, tuple) else v for k, v in vars(self).items() if v}

    def fixed(self, ids: Tensor) -> Tensor | None:
        """Where these rows (B, L) are hidden (B, L) bool, None if that is drawn; raises ValueError
        for a place outside a row."""
        if self.fraction is not None:
            return None
        out = torch.zeros_like(ids, dtype=torch.bool)
        for row, length in enumerate(_lengths(ids).tolist()):
            wanted = [*self.positions, *(i for span in self.spans for i in range(*span))]
            for place in wanted:
                if not -length <= place < length:
                    raise ValueError(
                        f"row {row + 1} has {length} tokens, {place} is not one of their places "
                        f"0..{length - 1}"
                    )
                out[row, place % length] = True
        return out

    def drawn(self, ids: Tensor, rng: Rng) -> Tensor:
        """Draw where rows (B, L) are hidden: round(fraction * tokens) places each, at least
        one."""
        length = _lengths(ids)
        place = torch.arange(ids.shape[1], device=ids.device)
        keys = uniform(ids.shape, rng).masked_fill(place >= length[:, None], 2.0)
        wanted = ((self.fraction or 0.0) * length).round().clamp(min=1)
        return (keys.argsort(1).argsort(1) < wanted[:, None]) & (place < length[:, None])


@typed
def interpolate(
    model: Model,
    a: str,
    b: str,
    steps: int = 7,
    n: int = 1,
    seed: int = 0,
    *,
    write: float = 0.5,
    **overrides: Any,
) -> SampleResult:
    """Draw n paths of `steps` rows from a to b, at the fractions s = 0, 1 / (steps - 1), ..., 1.

    The two are aligned (`data.alignment`), or paired place by place where they are equally long
    and the model's rows cannot hold what an alignment inserts. A column in which they agree is
    kept in every row. Every other column has two uniforms u, v a path: at s it is b's if u < s,
    else a's (a gap is no token), and it is hidden, if it is a token, where
    v < write * (1 - |2s - 1|);
    the model then writes what is hidden. So a column is b's with probability s, changes sides once
    on a path, the ends are a and b exactly, and in the middle the share `write` of what differs is
    the model's own. Neighbouring rows of a path are written independently of each other. Rows may
    be invalid and say why.

    Columns: path, fraction, similarity_a and similarity_b (1 - edit distance / longer length, in
    tokens).
    """
    if steps < 2 or n < 1:
        raise ValueError(f"interpolate takes steps of at least 2 and n of at least 1, "
                         f"got {steps} and {n}")
    if not 0 <= write <= 1:
        raise ValueError(f"write must be in [0, 1], got {write}")
    if write:
        _rewrites(model)
    both = _encoded(model, [a, b])
    ends = [ids[:size].tolist() for ids, size in zip(both, _lengths(both).tolist(), strict=True)]
    length = both.shape[1]
    columns = _columns(ends[0], ends[1], length)
    fractions = [k / (steps - 1) for k in range(steps)] * n
    rows = _between(model, ends, columns, fractions, n, seed, write, length)
    done = []
    for j, at in _chunks(len(rows)):
        rng = seeded(seed, j + 1, model.engine.device)
        done.append(rewrite(model.engine, rows[at], rng, overrides))
    found = torch.cat(done)
    sizes = _lengths(found).tolist()
    texts = [row[:size] for row, size in zip(found.tolist(), sizes, strict=True)]
    return model.result(
        read_rows(model, TokenState(found), overrides),
        seed,
        {
            "path": [i for i in range(n) for _ in range(steps)],
            "fraction": fractions,
            "similarity_a": [similarity(row, ends[0]) for row in texts],
            "similarity_b": [similarity(row, ends[1]) for row in texts],
            **told_columns(overrides, len(rows)),
        },
        n=n,
        ends=[a, b],
        write=write,
        sampling=model.engine.settings(overrides),
    )


def similarity(a: Sequence[Any], b: Sequence[Any]) -> float:
    """1 - edit distance / longer length: 1 for equal rows, 0 for rows that share nothing."""
    return 1 - edit_distance(a, b) / max(len(a), len(b), 1)


def _columns(a: Sequence[int], b: Sequence[int], length: int) -> list[Pair]:
    """Pairs of places of a and b, at most `length` - 1 of them, see `interpolate`."""
    columns = align(a, b)
    if len(columns) < length:
        return columns
    if len(a) == len(b):
        return [(i, i) for i in range(len(a))]
    raise ValueError(
        f"aligned, the two have {len(columns) + 1} columns with the end, the model takes at "
        f"most {length} tokens"
    )


def _between(
    model: Model,
    ends: Sequence[Sequence[int]],
    columns: Sequence[Pair],
    fractions: Sequence[float],
    n: int,
    seed: int,
    write: float,
    length: int,
) -> Tensor:
    """Rows (n * steps, L) with MASK where the model writes, see `interpolate`."""
    mask = model.engine.vocabulary.mask_id
    draws = uniform((2, n, len(columns)), seeded(seed, 0)).tolist()
    out = []
    for number, s in enumerate(fractions):
        u, v = (side[number * n // len(fractions)] for side in draws)
        row = []
        for c, places in enumerate(columns):
            tokens = [None if p is None else end[p] for p, end in zip(places, ends, strict=True)]
            token = tokens[u[c] < s]
            open_here = tokens[0] != tokens[1] and v[c] < write * (1 - abs(2 * s - 1))
            if token is not None:
                row.append(mask if open_here else token)
        out.append([*row, EOS] + [PAD] * (length - len(row) - 1))
    return torch.tensor(out, device=model.engine.device)


def _rewrites(model: Model) -> None:
    """Refuse a model that cannot write in the middle of a string."""
    if model.domain.notation == "graph":
        raise ScidiffError(
            f"{model.name} is a model of graphs: expected one of strings; graphs take "
            "sample(scaffold=...) and infill"
        )
    if model.engine.block_causal:
        instead = "" if model.domain.notation == "points" else "; it takes infill"
        raise ScidiffError(
            f"{model.name} writes from left to right and cannot see what follows: expected a "
            f"masked model or a discrete flow{instead}"
        )


def _encoded(model: Model, texts: Sequence[str]) -> Tensor:
    """Ids (B, L) of texts as users write them; an empty one is an error."""
    ids: Tensor = model.engine.encode(spelled(model.domain, texts)).ids
    empty = (_lengths(ids) == 0).nonzero()
    if len(empty):
        raise ValueError(f"row {int(empty[0]) + 1} has no tokens")
    return ids


def _lengths(ids: Tensor) -> Tensor:
    """Tokens before the end (B,)."""
    return (ids != PAD).sum(1) - (ids == EOS).sum(1)


def _chunks(rows: int) -> Iterator[tuple[int, slice]]:
    return ((j, slice(j * CHUNK, (j + 1) * CHUNK)) for j in range(-(-rows // CHUNK)))
