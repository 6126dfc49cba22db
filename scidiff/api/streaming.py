"""Rows that are shown while they are written, and rows that begin with a given text."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from scidiff.api.composed import ComposedEngine
from scidiff.api.constraining import check_given
from scidiff.api.gaps import GAP, Gapped, alphabet_of
from scidiff.api.infilling import constraints_of, read_rows
from scidiff.api.token_engine import TokenEngine
from scidiff.api.typed import typed
from scidiff.core import ScidiffError, seeded
from scidiff.data.conditions import per_row, varies
from scidiff.data.records import Record
from scidiff.data.tokens import TokenState
from scidiff.guidance.chunks import in_chunks
from scidiff.samplers.canvas import FixedCanvas
from scidiff.samplers.grammar import GrammarSampler
from scidiff.samplers.guided_unmasking import GuidedUnmasking
from scidiff.samplers.masked import MaskedSampler, told_rows

if TYPE_CHECKING:
    from scidiff.api.model import Model
    from scidiff.api.results import SampleResult

SHOWN = 40  # characters of a prompt in a message


@dataclass(frozen=True)
class Piece:
    """What was written of a row since its last piece."""

    row: int  # of the n
    text: str  # the new text: the pieces of a row make up its text
    record: Record | None = None  # the whole row, with its last piece


@typed
def complete(
    model: Model, prompt: str, n: int = 16, seed: int = 0, **overrides: Any
) -> SampleResult:
    """Draw n objects whose text begins with `prompt`.

    A model that writes from left to right goes on from there to an end of its own: draws of its
    law given the prompt. A masked model, which is told where a row ends, is given lengths as
    frequent as in the training set. Keyword arguments are those of `Model.sample`. Raises
    ValueError for a prompt that the model cannot hold.
    """
    found = {p.row: p.record for p in stream(model, n, seed, prompt=prompt, **overrides)}
    records = [record for _, record in sorted(found.items()) if record is not None]
    settings, asked = model.engine.settings(overrides), overrides.get("condition")
    columns = per_row(asked, n) if asked else None
    return model.result(records, seed, columns, n=n, prompt=prompt, sampling=settings)


@typed
def stream(
    model: Model, n: int = 1, seed: int = 0, *, prompt: str = "", **overrides: Any
) -> Iterator[Piece]:
    """Draw n objects and hand out their text block by block as blocks are finished; the last piece
    of a row holds its record.

    The rows are those of `Model.sample` (without a prompt), or of `complete`. Rows that are
    written in no order from the left come as a whole. Raises ValueError for a prompt that the
    model cannot hold and ScidiffError for models whose rows are no strings of tokens.
    """
    engine = _strings(model)
    if n <= 0:
        raise ValueError(f"n must be at least 1, got {n}")
    given = _prompt(engine, prompt) if prompt else None
    asked, told = overrides.get("condition"), None
    if asked and varies(asked):
        told = model.asked(asked, n)
        overrides["condition"] = {k: column[0] for k, column in per_row(asked, n).items()}
    engine.sampler(**overrides)  # what cannot be set is an error now and not at the first piece
    return _pieces(model, engine, n, seed, given, told, overrides)


def _strings(model: Model) -> TokenEngine:
    engine: Any = model.engine
    if isinstance(engine, ComposedEngine):
        raise ScidiffError(
            f"{model.name} is made of several models, whose rows are chosen by weight when they "
            "are finished: use sample"
        )
    if not isinstance(engine, TokenEngine) or engine.vocabulary.notation == "graph":
        raise ScidiffError(
            "streaming and prompts need a model that writes strings token by token, got "
            f"{model.name} ({model.domain.name}, {model.config['process']['kind']} diffusion)"
        )
    return engine


def _prompt(engine: TokenEngine, text: str) -> Gapped:
    """The prompt as tokens before a gap."""
    if GAP in text:
        raise ValueError(f"a prompt is all that is given, got {text!r}: use infill for gaps")
    try:
        read = Gapped.read(text + GAP, engine.vocabulary, alphabet_of(engine.config))
    except ValueError as error:
        typed_in = f"the pattern {text + GAP!r}", f"the prompt {_shown(text)!r}"
        raise ValueError(str(error).replace(*typed_in)) from None
    counts = engine.config["length_counts"]
    most = engine.rows.length - 1
    if not engine.block_causal:  # it is told where rows end
        most = max(size for size, count in enumerate(counts) if count)
    if engine.vocabulary.mask_id in read.parts[0]:
        raise ValueError(f"a prompt leaves nothing open, got {text!r}: use infill")
    if len(read.parts[0]) >= most:
        raise ValueError(
            f"the prompt has {len(read.parts[0])} tokens, rows of this model {most} in all: "
            f"expected at most {most - 1}, got {_shown(text)!r}"
        )
    return read


def _shown(text: str) -> str:
    """As much of a text as a message has room for."""
    return text if len(text) <= SHOWN else f"{text[:SHOWN]}.."


def _canvas(engine: TokenEngine, given: Gapped, n: int, rng: torch.Generator) -> FixedCanvas:
    """Rows that begin with the prompt: blank behind it, or of lengths drawn from the training
    set's."""
    mask, L = engine.vocabulary.mask_id, engine.rows.length
    if not engine.block_causal:
        rows = engine.rows.given(given.text, None, n, rng)
    else:
        before = given.parts[0]
        rows = torch.tensor([[*before, *[mask] * (L - len(before))]])
    return FixedCanvas(rows.to(engine.device), mask)


def _pieces(
    model: Model,
    engine: TokenEngine,
    n: int,
    seed: int,
    given: Gapped | None,
    told: Tensor | None,
    overrides: Mapping[str, Any],
) -> Iterator[Piece]:
    """The pieces of all rows, each asked for what `told` (n, C) says of it."""
    from scidiff.api.model import CHUNK

    for j, first in enumerate(range(0, n, CHUNK)):
        size, rng = min(CHUNK, n - first), seeded(seed, j, engine.device)
        canvas = None if given is None else _canvas(engine, given, size, rng)
        if canvas is not None:
            check_given(canvas.ids, constraints_of(engine, overrides), engine.vocabulary)
        sampler = engine.sampler(canvas=canvas, **overrides)
        if told is not None:
            sampler = told_rows(sampler, told[first : first + size])  # type: ignore[arg-type]
        for piece in _chunk(model, engine, sampler, size, rng, overrides):
            yield Piece(first + piece.row, piece.text, piece.record)


def _chunk(
    model: Model,
    engine: TokenEngine,
    sampler: Any,
    size: int,
    rng: torch.Generator,
    overrides: Mapping[str, Any],
) -> Iterator[Piece]:
    """The pieces of rows drawn together."""
    in_turn = isinstance(sampler, MaskedSampler | GrammarSampler | GuidedUnmasking)
    block = getattr(sampler, "inner", sampler).block_size if in_turn else engine.rows.length
    x = _drawn(sampler, size, rng, lambda: sampler.init(size, rng))
    shown, texts = torch.zeros(size, dtype=torch.int64), [""] * size
    for k in range(sampler.num_steps + 1):
        over = k == sampler.num_steps
        if over or in_turn:
            done = _columns(x.ids, engine.vocabulary.mask_id, block, over).cpu()
            whole = (done == engine.rows.length) & (done > shown)
            records = iter(read_rows(model, x[whole.nonzero()[:, 0].to(x.ids.device)], overrides))
            for row in (done > shown).nonzero()[:, 0].tolist():
                text = engine.vocabulary.decode(x.ids[row, : int(done[row])])
                record = next(records) if whole[row] else None
                if record is not None or text != texts[row]:
                    yield Piece(row, text[len(texts[row]) :], record)
                texts[row] = text
            shown = done
        if bool((shown == engine.rows.length).all()):
            return
        x = _drawn(sampler, size, rng, partial(sampler.step, x, k, rng))


def _drawn(
    sampler: Any, size: int, rng: torch.Generator, draw: Callable[[], TokenState]
) -> TokenState:
    """One step of `size` rows; where that runs out of memory, again from the same place of `rng`
    in smaller micro-batches."""
    start = rng.get_state()

    @torch.no_grad()
    def once(*_: Any) -> TokenState:
        rng.set_state(start)
        return draw()

    return next(in_chunks(size, size, 0, once, denoiser=getattr(sampler, "denoiser", None)))


def _columns(ids: Tensor, mask_id: int, block: int, over: bool) -> Tensor:
    """How many leading positions (B,) are written for good, in whole blocks; all where it is
    `over`."""
    hidden, L = ids == mask_id, ids.shape[1]
    done = hidden.int().argmax(1) // block * block
    return done.masked_fill(~hidden.any(1) | over, L)
