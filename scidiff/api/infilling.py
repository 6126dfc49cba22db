"""Infilling: rows that hold a pattern, with what it leaves open written by a model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from scidiff.api.constraining import check_given
from scidiff.api.gaps import Sizes
from scidiff.api.requests import InfillRequest
from scidiff.api.string_constraints import checked
from scidiff.api.typed import typed
from scidiff.core import Rng, ScidiffError, seeded, uniform
from scidiff.data.conditions import per_row
from scidiff.data.records import Record
from scidiff.data.tokens import EOS, PAD, TokenState
from scidiff.guidance.particles import sample
from scidiff.processes.masked import cross_entropy
from scidiff.samplers.canvas import FixedCanvas

if TYPE_CHECKING:
    from scidiff.api.engine import Engine
    from scidiff.api.model import Model
    from scidiff.api.results import SampleResult
    from scidiff.api.token_engine import TokenEngine

Range = tuple[int, int]


@typed
def infill(
    model: Model,
    pattern: str,
    n: int = 16,
    seed: int = 0,
    *,
    gap: Range | Sequence[Range] | None = (1, 12),
    candidates: int = 64,
    **overrides: Any,
) -> SampleResult:
    """Write what `pattern` leaves open n times; all around it is kept as it is.

    [*] is a gap, of a string also several ("CC[*]N[*]O"), and ? one token ("ACGT????ACGT"; N too
    in DNA and RNA). `gap` bounds the tokens of every gap (low, high), or of each by a list of such
    pairs, drawn uniformly; None weighs a choice of lengths by how often the training set has rows
    of the length it makes. Of a graph it bounds the number of new nodes: they are joined to the
    nodes beside a [*], or to any where there is none. A left-to-right model draws n * candidates
    fillings and keeps n by how well the rest of the string follows (`infill_rows`).
    """
    if n <= 0 or candidates <= 0:
        raise ValueError(f"n and candidates must be at least 1, got {n} and {candidates}")
    sizes, told = _sizes(gap)
    asked = InfillRequest(pattern, n, sizes, candidates)
    rng = seeded(seed, 0, model.engine.device)
    x = model.engine.infill(asked, rng, **overrides)
    records, settings = read_rows(model, x, overrides), model.engine.settings(overrides)
    return model.result(records, seed, told_columns(overrides, n), n=n, pattern=pattern, gap=told,
                        candidates=candidates, sampling=settings)


def told_columns(overrides: Mapping[str, Any], n: int) -> dict[str, list[Any]]:
    """What n rows were asked to be like, as the columns of a result."""
    asked = overrides.get("condition")
    return per_row(asked, n) if asked else {}


def read_rows(model: Model, x: TokenState, overrides: Mapping[str, Any]) -> list[Record]:
    """Finished rows as records; one that breaks a constraint on strings is invalid."""
    records, asked = model.domain.decode(x), constraints_of(model.engine, overrides)
    return checked(records, x.ids, asked, model.engine.vocabulary) if asked else records


def constraints_of(engine: Engine, overrides: Mapping[str, Any]) -> tuple[str, ...]:
    """What is asked of strings, in its written form."""
    if engine.vocabulary.notation == "graph":
        return ()
    return tuple(engine.settings(overrides).get("constraints", ()))


def _sizes(gap: Range | Sequence[Range] | None) -> tuple[Sizes, Any]:
    """Lengths of gaps, and how they are recorded."""
    if gap is None:
        return None, None
    if not isinstance(gap, Sequence) or not len(gap):
        raise ValueError(f"gap must be (low, high) or a list of them, one a gap, got {gap!r}")
    if len(gap) == 2 and all(isinstance(bound, int) for bound in gap):
        low, high = _range(gap)
        return range(low, high + 1), [low, high]
    ranges = [_range(one) for one in gap]
    return [range(low, high + 1) for low, high in ranges], [list(pair) for pair in ranges]


def _range(gap: Any) -> Range:
    pair = isinstance(gap, Sequence) and len(gap) == 2 and all(isinstance(b, int) for b in gap)
    if not pair or not 0 < gap[0] <= gap[1]:
        raise ValueError(f"gap must be (low, high) with 0 < low <= high, got {gap!r}")
    return gap[0], gap[1]


def infill_rows(
    engine: TokenEngine, asked: InfillRequest, rng: Rng, overrides: Mapping[str, Any]
) -> TokenState:
    """Draw n rows that hold a pattern and write what it leaves open.

    A masked network writes seeing all around it, by its config's settings. A left-to-right one
    writes it seeing the prefix, one token at a time and at temperature 1, and n * candidates such
    rows are resampled by the probability of what is given behind the first gap: self-normalised
    importance sampling, exact as `candidates` grows.
    """
    n = asked.n
    total = n * asked.candidates if engine.block_causal else n
    rows = engine.rows.given(asked.pattern, asked.gaps, total, rng).to(engine.device)
    if not engine.block_causal:
        return TokenState(rewrite(engine, rows, rng, overrides))
    _only_condition(overrides)
    # the weights below are those of drafts from the network's own law
    canvas = FixedCanvas(rows, engine.vocabulary.mask_id)
    sampler = engine.sampler(canvas, **overrides, block_size=1, temperature=1.0)
    x = sample(sampler, total, rng)
    log_w = _given_log_prob(engine, x, canvas.hidden)
    fit = int((log_w > float("-inf")).sum())
    if fit < n:
        raise ScidiffError(
            f"only {fit} of {total} drafts went on to the end of the gap, {n} are needed: "
            "ask for more candidates or a shorter gap"
        )
    return x[gumbel_top(log_w, n, rng)]


def rewrite(engine: Engine, ids: Tensor, rng: Rng, overrides: Mapping[str, Any]) -> Tensor:
    """Write what rows (B, L) hide, each seeing all around it; finished rows stay as they are.

    A discrete flow asks its canvas which places are free, so rows that hide different ones are
    drawn apart. Raises ValueError where what is given contradicts the constraints.
    """
    check_given(ids, constraints_of(engine, overrides), engine.vocabulary)
    hidden, out = ids == engine.vocabulary.mask_id, ids.clone()
    unfinished = hidden.any(1).nonzero()[:, 0]
    apart = engine.config["process"]["kind"] == "flow"
    for rows in _alike(hidden, unfinished) if apart else [unfinished] * bool(len(unfinished)):
        canvas = FixedCanvas(ids[rows], engine.vocabulary.mask_id)
        out[rows] = sample(engine.sampler(canvas=canvas, **overrides), len(rows), rng).ids
    return out


def _alike(hidden: Tensor, rows: Tensor) -> list[Tensor]:
    """`rows` (M,) of `hidden` (B, L), cut into those of one pattern."""
    _, which = hidden[rows].unique(dim=0, return_inverse=True)
    return [rows[which == i] for i in which.unique().tolist()]


def _only_condition(overrides: Mapping[str, Any]) -> None:
    other = [name for name in overrides if name != "condition"]
    if other:
        raise ValueError(
            "a left-to-right model fills by weighted drafts of its own law: only condition can be "
            f"set, got {', '.join(other)}"
        )


@torch.no_grad()
def _given_log_prob(engine: TokenEngine, x: TokenState, hidden: Tensor) -> Tensor:
    """Log-probability (B,), float64, of the tokens that were given behind the first `hidden` one
    (B, L), each seen from the left; -inf where a row was ended inside a gap."""
    log_p = torch.cat(
        [
            -cross_entropy(network, network.two_copy(torch.full_like(i, mask), i, 1), i)
            for network, mask, i in _parts(engine, x)
        ]
    )
    behind = hidden.cumsum(1).bool() & ~hidden & (x.ids != PAD)
    ended = (hidden & ((x.ids == EOS) | (x.ids == PAD))).any(1)
    return (log_p.double() * behind).sum(1).masked_fill(ended, float("-inf"))


def _parts(engine: TokenEngine, x: TokenState, size: int = 256) -> list[tuple[Any, int, Tensor]]:
    """Rows of x, `size` at a time, with the network as they are conditioned."""
    network, mask = engine.network, engine.network.mask_id
    out = []
    for rows in torch.arange(len(x), device=x.ids.device).split(size):
        told: Any = network
        if x.condition is not None:
            told = network.given(x.condition[rows], torch.ones_like(rows, dtype=torch.bool))
        out.append((told, mask, x.ids[rows]))
    return out


def gumbel_top(log_w: Tensor, n: int, rng: Rng) -> Tensor:
    """Draw n different rows with probabilities proportional to exp(log_w) (Gumbel top-n; Kool et
    al. 2019)."""
    clock = torch.log(-torch.log1p(-uniform(log_w.shape, rng).double()))
    # a row without weight never wins, even where u = 0 makes its clock ring at once
    return torch.where(log_w == float("-inf"), log_w, log_w - clock).topk(n).indices
