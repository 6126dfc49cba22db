"""`trajectory`: one row of a sample drawn again, with what it looked like on the way."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from scidiff.api.infilling import read_rows
from scidiff.api.sources import shipped_models
from scidiff.api.typed import typed
from scidiff.core import ScidiffError, seeded
from scidiff.data.conditions import per_row, varies
from scidiff.data.graph_exchange import UNTYPED
from scidiff.data.graph_tokens import EDGES, entries, node_count, node_symbols
from scidiff.data.graphs import GraphState
from scidiff.data.points import PointState
from scidiff.data.tokens import EOS, FIRST_SYMBOL, PAD, TokenState, Vocabulary
from scidiff.guidance.particles import sample
from scidiff.samplers.masked import told_rows
from scidiff.samplers.recorded import RecordedSampler

if TYPE_CHECKING:
    from scidiff.api.model import Model
    from scidiff.api.results import SampleResult
    from scidiff.evaluation.trajectories import Frame, Trajectory

BOND = 2.0  # angstrom that no bond of the first rows is longer than
Look = Callable[[Any, int], "Frame"]  # a state and the number of steps -> what is seen of a row


@typed
def trajectory(
    model: Model, row: int = 0, n: int | None = None, seed: int = 0, **overrides: Any
) -> Trajectory:
    """How row `row` of `model.sample(n, seed, **overrides)` came about, n = row + 1 by default.

    It is drawn again together with the rows of its chunk, so that it is the same row and costs as
    much as they do. Raises ValueError for a row that is not among the n, ScidiffError for states
    that no picture is known of.
    """
    from scidiff.api.model import CHUNK
    from scidiff.evaluation.trajectories import Trajectory

    total = row + 1 if n is None else n
    if not 0 <= row < total:
        raise ValueError(f"row must be one of the {total} rows, 0 to {total - 1}, got {row}")
    j, place = divmod(row, CHUNK)
    first, size = j * CHUNK, min(CHUNK, total - j * CHUNK)
    rng = seeded(seed, j, model.engine.device)
    inner = _sampler(model, total, slice(first, first + size), overrides)
    recorded: RecordedSampler[Any] = RecordedSampler(inner, _look(model, place))
    x = sample(recorded, size, rng)
    final = read_rows(model, x[torch.tensor([place], device=rng.device)], overrides)[0]
    return Trajectory(_changes(recorded.seen), recorded.num_steps, final, model.domain.kind,
                      model.name)


def retraced(result: SampleResult, row: int, model: Any = None) -> Trajectory:
    """The trajectory of a row of a result of `Model.sample`, by its provenance.

    Raises ScidiffError where the row does not come out again: it was drawn in another way.
    """
    from scidiff.api.entry import opened

    told = result.provenance
    missing = next((name for name in ("model", "seed", "n", "sampling") if name not in told), "")
    if missing:
        raise ScidiffError(f"the rows do not say how they were drawn: provenance lacks {missing}")
    settings = {k: v for k, v in told["sampling"].items() if v is not None}
    if model is None and told["model"] not in shipped_models():
        raise ScidiffError(f"{told['model']} is no shipped model: give model=")
    found = trajectory(opened(told["model"] if model is None else model), row, int(told["n"]),
                       int(told["seed"]), **settings)
    if found.final.text != result.records[row].text:
        raise ScidiffError(f"row {row} was not drawn by Model.sample with this model and these "
                           f"settings: it is {result.records[row].text!r}, drawn again "
                           f"{found.final.text!r}")
    return found


def _sampler(model: Model, n: int, rows: slice, overrides: Mapping[str, Any]) -> Any:
    """The sampler of `Model.chunks`, told what the rows of one chunk are asked to be like."""
    asked, chosen = overrides.get("condition"), dict(overrides)
    if asked is None or not isinstance(asked, Mapping) or not varies(asked):
        return model.sampler(**chosen)
    chosen["condition"] = {k: column[0] for k, column in per_row(asked, n).items()}
    return told_rows(model.sampler(**chosen), model.asked(asked, n)[rows])


def _changes(seen: Sequence[Frame]) -> tuple[Frame, ...]:
    """Frames that differ from the one before."""
    return tuple(f for i, f in enumerate(seen) if i == 0 or not f.same(seen[i - 1]))


# ---------------------------------------------------------------- what is seen of a state


def _look(model: Model, row: int) -> Look:
    """How a row of a state of this model is looked at, by the type of the state."""
    def look(x: Any, step: int) -> Frame:
        kind = next((t for t in LOOKS if isinstance(x, t)), None)
        if kind is None:
            raise ScidiffError(f"no picture is known of a {type(x).__name__}; of "
                               f"{', '.join(t.__name__ for t in LOOKS)} there is")
        return LOOKS[kind](x, row, step, model)

    return look


def _tokens(x: TokenState, row: int, step: int, model: Model) -> Frame:
    from scidiff.evaluation.trajectories import Frame

    vocabulary: Vocabulary = model.engine.vocabulary
    symbols = []
    for i in x.ids[row].tolist():
        if i in (PAD, EOS):
            break
        symbols.append("" if i == vocabulary.mask_id else vocabulary.symbols[i - FIRST_SYMBOL])
    if vocabulary.notation != "graph":
        return Frame(step, tuple(symbols))
    return _triangle(symbols, step)


def _triangle(symbols: Sequence[str], step: int) -> Frame:
    """Nodes and pairs of a row of `data.graph_tokens`; a symbol at the other's place counts as
    hidden."""
    from scidiff.evaluation.trajectories import Frame

    n = node_count(len(symbols))
    edges, nodes = np.zeros((n, n)), [""] * n
    for i, j, symbol in zip(*(e.tolist() for e in entries(n)), symbols, strict=False):
        if i == j:
            nodes[j] = "" if symbol in EDGES else symbol
        else:
            edges[i, j] = edges[j, i] = EDGES.index(symbol) if symbol in EDGES else np.nan
    return Frame(step, tuple(nodes), edges)


def _arrays(x: GraphState, row: int, step: int, model: Model) -> Frame:
    """The noisy arrays as they are: the largest feature names a node, edges are real numbers."""
    from scidiff.evaluation.trajectories import Frame

    there, names = x.mask[row], node_symbols(model.engine.vocabulary)
    X, A = x.X[row][there].cpu(), x.A[row][there][:, there].double().cpu().numpy()
    typed_nodes = X.shape[1] == len(names) > 1
    nodes = [names[c] for c in X.argmax(1).tolist()] if typed_nodes else [UNTYPED] * len(X)
    return Frame(step, tuple(nodes), A)


def _placed(x: PointState, row: int, step: int, model: Model) -> Frame:
    """Atoms where they are, each the likeliest element so far, and bonds that stand out between
    atoms near enough for one."""
    from scidiff.evaluation.trajectories import Frame

    there, symbols = x.mask[row], model.engine.vocabulary.symbols
    names = [symbols[c] for c in x.types[row][there].argmax(1).tolist()]
    at = x.positions[row][there].double() * getattr(model.domain, "angstrom", 1.0)
    places = at.cpu().numpy()
    if x.bonds is None:
        return Frame(step, tuple(names), None, places)
    strength, order = x.bonds[row][there][:, there].max(2)
    near = torch.cdist(at, at) < BOND
    edges = torch.where((strength > 0.5) & near, order, 0)  # class 0 is no bond
    return Frame(step, tuple(names), edges.double().cpu().numpy(), places)


LOOKS: dict[type, Callable[[Any, int, int, Model], Frame]] = {
    TokenState: _tokens, GraphState: _arrays, PointState: _placed}
"""A kind of state -> what is seen of one of its rows: one line for a new kind."""
