"""Fragment tasks: molecules around given parts, by a masked model of molecules in pieces.

Given parts are tokens that nothing writes; what is written between them is drawn given that it
makes one connected molecule of them (`samplers.frames`). So every attempt is a row, and none is
refused or tried again.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING, Any

import torch
from rdkit.Chem import Mol
from torch import Tensor

from scidiff.api.entry import load
from scidiff.api.model import Model
from scidiff.api.parts import Arranged, arrange, joined
from scidiff.api.token_engine import TokenEngine
from scidiff.api.typed import typed
from scidiff.chem.given import (
    holds,
    open_sites,
    opened_at,
    points,
    read_part,
    without_each_piece,
)
from scidiff.chem.molecules import parse
from scidiff.core import Rng, ScidiffError, uniform
from scidiff.data.records import Record
from scidiff.domains.safe import fragment_record
from scidiff.guidance.chunks import in_chunks
from scidiff.guidance.particles import sample
from scidiff.samplers.canvas import FixedCanvas
from scidiff.samplers.constraints import Constraint
from scidiff.samplers.filling import Filling
from scidiff.samplers.frames import FramedSampler, frame
from scidiff.samplers.masked import MaskedSampler

if TYPE_CHECKING:
    from scidiff.api.results import SampleResult

WAYS, ROWS = 8, 16  # orders, labels and sites are drawn anew for every 16 rows, at most 8 times
Choice = Callable[[Random], Sequence[Mol]]
Span = tuple[int, int]
Source = Model | str | Path  # or the name or folder of one


@typed
def de_novo(model: Source, n: int = 16, seed: int = 0, **how: Any) -> SampleResult:
    """Draw molecules from nothing, by the same grammar as the other tasks."""
    return _task(model, "de_novo", [], lambda rng: [], n, seed, **how)


@typed
def linker(
    model: Source, fragments: Sequence[str], n: int = 16, seed: int = 0, **how: Any
) -> SampleResult:
    """Join two or more fragments, each with one attachment point, by what the model (or that of
    this name) writes.

    `size` (low, high) bounds the tokens that are written, drawn uniformly; by default they
    complete a length of the training set. Other keyword arguments override the model's sampling
    settings, but what lies between joints is written from left to right. Tokens that leave no
    valid piece possible are not drawn, which bends the model's law. The column kept says whether
    the row is one valid molecule that holds all given parts
    with their hydrogens, charges and stereo. Raises ValueError for a fragment that cannot be read,
    has another number of attachment points, holds tokens that the model has no likeness of, or
    leaves no room.
    """
    parts = _parts(fragments, "linker", least=2)
    return _task(model, "linker", parts, lambda rng: rng.sample(parts, len(parts)), n, seed, **how)


@typed
def scaffold_morphing(
    model: Source, side_chains: Sequence[str], n: int = 16, seed: int = 0, **how: Any
) -> SampleResult:
    """Write another core between the side chains of a molecule, two or more with one attachment
    point each; see `linker`."""
    parts = _parts(side_chains, "scaffold_morphing", least=2)
    shuffled: Choice = lambda rng: rng.sample(parts, len(parts))  # noqa: E731
    return _task(model, "scaffold_morphing", parts, shuffled, n, seed, **how)


@typed
def motif_extension(
    model: Source, motif: str, n: int = 16, seed: int = 0, **how: Any
) -> SampleResult:
    """Go on from a motif with one attachment point; see `linker`."""
    part = _part(motif, "motif_extension", 1, 1)
    return _task(model, "motif_extension", [part], lambda rng: [part], n, seed, **how)


@typed
def scaffold_decoration(
    model: Source, scaffold: str, n: int = 16, seed: int = 0, **how: Any
) -> SampleResult:
    """Write something at every attachment point of a scaffold, one or more; see `linker`."""
    part = _part(scaffold, "scaffold_decoration", 1)
    return _task(model, "scaffold_decoration", [part], lambda rng: [part], n, seed, **how)


@typed
def superstructure(
    model: Source, core: str, n: int = 16, seed: int = 0, *, sites: int | None = None, **how: Any
) -> SampleResult:
    """Grow a core, given without attachment points, in the place of `sites` of its hydrogens (one
    or two by default), drawn anew for every 16 rows, at most eight times a chunk; see `linker`."""
    part = _part(core, "superstructure", 0, 0)
    open_at = open_sites(part)
    asked = (1, min(2, len(open_at))) if sites is None else (sites, sites)
    if not 1 <= asked[0] <= asked[1] <= len(open_at):
        raise ValueError(
            f"superstructure: sites must be 1 to {len(open_at)} for {core!r}, got {sites}"
        )

    def grown(rng: Random) -> list[Mol]:
        return [opened_at(part, rng.sample(open_at, rng.randint(*asked)))]

    return _task(model, "superstructure", [part], grown, n, seed, **how)


@typed
def lead_optimisation(
    model: Source, lead: str, n: int = 16, seed: int = 0, *, piece: int | None = None, **how: Any
) -> SampleResult:
    """Write one piece of a molecule again and keep all others: the piece of that number, in the
    order of their first atoms, or by default one drawn for every 16 rows, at most eight times a
    chunk; see `linker`."""
    mol = parse(lead)
    if mol is None or points(mol):
        raise ValueError(f"lead_optimisation: expected a whole molecule, got {lead!r}")
    left = without_each_piece(mol)
    if not left:
        raise ValueError(f"lead_optimisation: {lead!r} is one piece, nothing of it would be kept")
    if piece is not None and not 0 <= piece < len(left):
        raise ValueError(f"lead_optimisation: piece must be 0 to {len(left) - 1}, got {piece}")

    def kept(rng: Random) -> list[Mol]:
        around = left[rng.randrange(len(left)) if piece is None else piece]
        return rng.sample(around, len(around))

    return _task(model, "lead_optimisation", [mol], kept, n, seed, **how)


# ---------------------------------------------------------------- reading what is given


def _parts(smiles: Sequence[str], task: str, least: int) -> list[Mol]:
    if len(smiles) < least:
        raise ValueError(f"{task}: expected a list of {least} or more fragments, got {smiles!r}")
    return [_part(text, task, 1, 1) for text in smiles]


def _part(smiles: str, task: str, least: int, most: int | None = None) -> Mol:
    mol = read_part(smiles)
    found = len(points(mol))
    if found < least or (most is not None and found > most):
        wanted = f"{least}" if most == least else f"{least} or more"
        raise ValueError(
            f"{task}: {smiles!r} has {found} attachment points [*], expected {wanted}"
        )
    return mol


# ---------------------------------------------------------------- drawing


@typed
def _task(
    model: Source,
    task: str,
    given: Sequence[Mol],
    choice: Choice,
    n: int,
    seed: int,
    *,
    size: Span | None = None,
    **overrides: Any,
) -> SampleResult:
    """Draw n rows around the parts that `choice` draws, and check what of them was kept."""
    model = model if isinstance(model, Model) else load(model)
    engine = _engine(model, n, size)

    def draw(rows: int, rng: torch.Generator) -> list[tuple[Record, bool]]:
        out: list[tuple[Record, bool]] = []
        ways = max(1, min(rows // ROWS, WAYS))
        for i in range(ways):
            parts = list(choice(_python(rng)))
            around = arrange(engine, parts, _python(rng), size)
            share = rows // ways + (i < rows % ways)
            out += _checked(_write(engine, around, share, rng, overrides), around, parts)
        return out

    drawn = [row for part in in_chunks(n, 1000, seed, draw, device=engine.device)
             for row in part]
    return model.result(
        [record for record, _ in drawn], seed, {"kept": [kept for _, kept in drawn]}, n=n,
        task=task, size=size and list(size), sampling=engine.settings(overrides),
    )  # fmt: skip


def _engine(model: Model, n: int, size: Span | None) -> TokenEngine:
    """The model's engine, after a look at what is asked."""
    engine = model.engine
    if (
        model.domain.name != "safe"
        or not isinstance(engine, TokenEngine)
        or engine.block_causal
    ):
        raise ScidiffError(
            "fragment tasks need a masked model of molecules in pieces (domain 'safe'), got "
            f"{model!r}"
        )
    if n < 1:
        raise ValueError(f"n must be at least 1, got {n}")
    if size is not None and not 1 <= size[0] <= size[1]:
        raise ValueError(f"size must be (low, high) with 1 <= low <= high, got {size}")
    return engine


def _python(rng: Rng) -> Random:
    """A generator of orders and choices, seeded by one draw."""
    return Random(int(uniform((1,), rng).double().item() * 2**24))


def _write(
    engine: TokenEngine, around: Arranged, n: int, rng: Rng, overrides: dict[str, Any]
) -> Tensor:
    """Draw the rests of n rows (n, L): first where pieces part and join, then, with only that kept
    of it, the pieces, from left to right."""
    vocabulary = engine.vocabulary
    ids = around.rows(n, rng)
    inner = _masked(engine, ids, overrides)
    automaton = frame(vocabulary, around.ends)
    framed = FramedSampler(inner, automaton, around.before_size, around.behind_size, around.most)
    skeleton = sample(framed, n, rng).ids
    marks = torch.tensor([s == "." or s.startswith("%") for s in vocabulary.symbols])
    joints = torch.cat([marks.new_zeros(2), marks, marks.new_ones(1)]).to(ids.device)
    hide = (ids == vocabulary.mask_id) & ~joints[skeleton]
    hidden = skeleton.masked_fill(hide, vocabulary.mask_id)
    filling = Filling(vocabulary, around.before_size, around.behind_size)
    filler = _masked(engine, hidden, {"order": "sequential", **overrides}, filling)
    return sample(filler, n, rng).ids


def _masked(
    engine: TokenEngine, ids: Tensor, overrides: dict[str, Any], *constraints: Constraint
) -> MaskedSampler:
    """The model's sampler of these rows."""
    inner = engine.sampler(FixedCanvas(ids, engine.vocabulary.mask_id), **overrides)
    if not isinstance(inner, MaskedSampler):
        raise ValueError("fragment tasks take no other constraints")
    inner.constraints = constraints
    return inner


def _checked(ids: Tensor, around: Arranged, parts: Sequence[Mol]) -> list[tuple[Record, bool]]:
    records = [fragment_record(text) for text in joined(ids, around)]
    return [(r, r.obj is not None and holds(r.obj, parts)) for r in records]
