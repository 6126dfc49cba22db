"""The protocols everything hangs on: states, denoisers, samplers, processes, selection rules, and
where noise comes from.

Shape letters: B particles, P populations, K parents, C candidates, L positions, V vocabulary, D
width.
Time t is in [0, 1], 0 = data and 1 = noise; samplers count steps k = 0 (noise) .. num_steps
(data).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, fields, replace
from typing import Any, Protocol, Self, TypeVar, runtime_checkable

import numpy as np
import torch
from torch import Tensor


class ScidiffError(Exception):
    """An error a caller may want to catch: says what, got, expected."""


# ---------------------------------------------------------------- states: indexing and cat are the
# only layout operations


class Shared:
    """Rows that point into a table, so candidates share their parent's memory until they write.

    `values` (R, ...) is the table and `rows` (B,) int64 says which entry each particle reads.
    Indexing touches `rows` only.
    """

    __slots__ = ("rows", "values")

    def __init__(self, values: Tensor, rows: Tensor | None = None) -> None:
        self.values = values
        self.rows = torch.arange(len(values), device=values.device) if rows is None else rows

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, idx: Tensor) -> Shared:
        return Shared(self.values, self.rows[idx])

    def dense(self) -> Tensor:
        """Materialise (B, ...)."""
        return self.values[self.rows]

    def gather(self, positions: Tensor) -> Tensor:
        """Read entries `positions` (B, M) of dimension 1 of every row without materialising the
        rest: (B, M, ...)."""
        return self.values[self.rows[:, None], positions]

    def to(self, device: torch.device | str) -> Shared:
        return Shared(self.values.to(device), self.rows.to(device))

    @classmethod
    def cat(cls, parts: Sequence[Shared]) -> Shared:
        offsets = torch.tensor([0, *(len(p.values) for p in parts[:-1])]).cumsum(0).tolist()
        rows = [p.rows + o for p, o in zip(parts, offsets, strict=True)]
        return cls(torch.cat([p.values for p in parts]), torch.cat(rows))


def _index(leaf: Any, idx: Tensor) -> Any:
    if leaf is None:
        return None
    if isinstance(leaf, tuple):
        return tuple(_index(part, idx) for part in leaf)
    return leaf[idx]


def _cat(leaves: Sequence[Any]) -> Any:
    first = leaves[0]
    if first is None:
        return None
    if isinstance(first, tuple):
        return tuple(_cat(column) for column in zip(*leaves, strict=True))
    return torch.cat(list(leaves)) if isinstance(first, Tensor) else type(first).cat(leaves)


def _to(leaf: Any, device: torch.device | str) -> Any:
    if leaf is None:
        return None
    return (
        tuple(_to(part, device) for part in leaf) if isinstance(leaf, tuple) else leaf.to(device)
    )


@dataclass(frozen=True)
class Stacked:
    """Base of every state: a frozen dataclass whose fields all have the leading dimension B.

    A field is a Tensor, a `Shared`, another `Stacked`, a tuple of these, or None. Masks,
    conditions, caches and network
    outputs are fields, so indexing moves them together and no particle can end up with another
    one's mask.
    """

    def leaves(self) -> Iterator[Any]:
        return (getattr(self, f.name) for f in fields(self))

    def __len__(self) -> int:
        return next(
            len(leaf[0] if isinstance(leaf, tuple) else leaf)
            for leaf in self.leaves()
            if leaf is not None
        )

    def __getitem__(self, idx: Tensor) -> Self:
        """Take rows `idx` (M,) int64; repeats are allowed."""
        return replace(self, **{f.name: _index(getattr(self, f.name), idx) for f in fields(self)})

    @classmethod
    def cat(cls, parts: Sequence[Self]) -> Self:
        return replace(
            parts[0],
            **{f.name: _cat([getattr(p, f.name) for p in parts]) for f in fields(parts[0])},
        )

    def to(self, device: torch.device | str) -> Self:
        return replace(self, **{f.name: _to(getattr(self, f.name), device) for f in fields(self)})


# ---------------------------------------------------------------- randomness: one explicit
# argument, always the last

_DRAWS = {"uniform": torch.rand, "normal": torch.randn}


class Tape:
    """Noise that is recorded per row and can be replayed, cut to rows, or partly redrawn.

    The first pass over a fresh tape records every draw; `rewind()` starts a replay that returns
    the same numbers.
    Rows are the leading dimension of each draw, so `tape[rows]` replays exactly what those
    particles saw.
    """

    def __init__(
        self, generator: torch.Generator, draws: Sequence[tuple[str, Tensor]] = ()
    ) -> None:
        self.generator = generator
        self.draws = list(draws)
        self.position = 0

    @property
    def device(self) -> torch.device:
        return self.generator.device

    def rewind(self) -> Tape:
        self.position = 0
        return self

    def __getitem__(self, rows: Tensor) -> Tape:
        return Tape(self.generator, [(kind, d[rows]) for kind, d in self.draws])

    def redraw(self, fraction: float, rng: torch.Generator) -> Tape:
        """Copy the tape with each entry independently replaced by a fresh draw with probability
        `fraction`."""
        if not 0 <= fraction <= 1:
            raise ValueError(f"fraction must be in [0, 1], got {fraction}")
        fresh = [
            (kind, _draw(kind, d.shape, rng), _draw("uniform", d.shape, rng))
            for kind, d in self.draws
        ]
        return Tape(
            rng,
            [
                (kind, torch.where(u < fraction, new, old[1]))
                for (kind, new, u), old in zip(fresh, self.draws, strict=True)
            ],
        )

    def next(self, kind: str, shape: tuple[int, ...]) -> Tensor:
        if self.position == len(self.draws):
            self.draws.append((kind, _draw(kind, shape, self.generator)))
        recorded, value = self.draws[self.position]
        if recorded != kind or tuple(value.shape) != shape:
            raise ValueError(
                f"tape entry {self.position} is {recorded} {tuple(value.shape)}, "
                f"the sampler asked for {kind} {shape}"
            )
        self.position += 1
        return value


Rng = torch.Generator | Tape


def _draw(kind: str, shape: Sequence[int], rng: Rng) -> Tensor:
    if isinstance(rng, Tape):
        return rng.next(kind, tuple(shape))
    return _DRAWS[kind](tuple(shape), generator=rng, device=rng.device)


def uniform(shape: Sequence[int], rng: Rng) -> Tensor:
    """Draw U[0, 1) of `shape` in float32 on the generator's device."""
    return _draw("uniform", shape, rng)


def normal(shape: Sequence[int], rng: Rng) -> Tensor:
    """Draw N(0, 1) of `shape` in float32 on the generator's device."""
    return _draw("normal", shape, rng)


def seeded(seed: int, chunk: int = 0, device: torch.device | str = "cpu") -> torch.Generator:
    """Make the generator of chunk `chunk` of a run: streams of different (seed, chunk) are
    unrelated, but on the CPU, where torch keeps 32 bits of a seed, two of N are equal with
    probability N^2 / 2^33. Raises ValueError for a negative seed."""
    if seed < 0:
        raise ValueError(f"seed must be 0 or more, got {seed}")
    state = np.random.SeedSequence([seed, chunk]).generate_state(1, np.uint64)[0]
    return torch.Generator(device).manual_seed(int(state >> 1))


@contextmanager
def torch_seeded(seed: int) -> Iterator[None]:
    """Lend torch's own generator of the CPU, from which modules draw first weights and dropout:
    inside it starts from a seed, afterwards it is as it was."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        yield


# ---------------------------------------------------------------- protocols

X = TypeVar("X", bound="State")
X_in = TypeVar("X_in", bound="State", contravariant=True)


class State(Protocol):
    """A batch of particles: where each one is, and what the network said there."""

    def __len__(self) -> int: ...

    def __getitem__(self, idx: Tensor) -> Self:
        """Take rows `idx` (M,) int64, repeats allowed."""
        ...

    @classmethod
    def cat(cls, parts: Sequence[Self]) -> Self: ...


class Denoiser(Protocol[X_in]):
    """A network with its process: what it predicts at a place.

    Continuous components: the clean guess D. Discrete ones: the trunk's output, whose token
    log-probabilities the
    sampler reads through the denoiser's head at the positions it needs.
    """

    def __call__(self, x: X_in, k: int | Tensor) -> Any: ...


@runtime_checkable
class Sampler(Protocol[X]):
    """A reverse chain, noise at k = 0 -> data at k = num_steps, built over a Denoiser."""

    num_steps: int
    stochastic: bool

    def init(self, n: int, rng: Rng) -> X:
        """Draw n particles from the prior."""
        ...

    def step(self, x: X, k: int | Tensor, rng: Rng) -> X:
        """Draw step k -> k + 1 from the prediction stored in x, then evaluate the network once at
        the new place."""
        ...

    def predict_clean(self, x: X, k: int | Tensor, rng: Rng) -> X:
        """Guess the end from k, reading only what x stores; at k = num_steps return x and draw
        nothing."""
        ...


@runtime_checkable
class Renoisable(Sampler[X], Protocol[X]):
    """A sampler that can go back: refinement, search over paths, inpainting."""

    def renoise(self, clean: X, k: int, rng: Rng) -> X: ...


class Select(Protocol):
    """The only thing that changes a population."""

    @property
    def proper(self) -> bool:
        """Whether the weights it hands back estimate expectations without bias."""
        ...

    def __call__(self, log_w: Tensor, rng: Rng) -> tuple[Tensor, Tensor]:
        """log_w (P, K, C): P populations, K parents, C candidates each -> index (P, K) into K*C,
        log_w (P, K)."""
        ...


class Process(Protocol[X]):
    """Training side; no sampler knows it."""

    def noise(self, x0: X, t: Tensor, rng: Rng) -> X:
        """Draw x_t given x0 at times t (B,)."""
        ...

    def loss(self, network: Any, x0: X, rng: Rng) -> Tensor:
        """Unreduced loss (B,) of a network with the passes this process asks for."""
        ...
