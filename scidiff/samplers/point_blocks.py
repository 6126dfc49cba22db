"""Molecules in space written as a sequence of atoms and then placed block by block: two samplers,
one after the other."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import one_hot

from scidiff.core import Rng, Stacked
from scidiff.data.tokens import FIRST_SYMBOL, PAD, TokenState
from scidiff.processes.continuous_blocks import Items
from scidiff.processes.gaussian import Parts
from scidiff.processes.point_blocks import with_end
from scidiff.samplers.continuous_blocks import ContinuousBlockSampler
from scidiff.samplers.masked import MaskedSampler


@dataclass(frozen=True)
class WrittenPoints(Stacked):
    """A batch of molecules that are being written, padded: zero rows where no atom is, or none is
    yet. Without `atoms` and `places` nothing is left but what a domain reads."""

    positions: Tensor  # (B, N, 3) in the frame of the first atoms, 0 where not placed
    types: Tensor  # (B, N, K) one-hot
    atoms: TokenState | None = None  # the sequence, ids (B, N)
    places: Items | None = None  # and its places

    @property
    def mask(self) -> Tensor:
        """Which atoms there are, (B, N) bool."""
        return self.types.any(-1)

    @property
    def bonds(self) -> None:
        """Not modelled: they follow from distances."""
        return None

    @property
    def parts(self) -> Parts:
        """Positions and types."""
        return self.positions, self.types

    def moved(self, parts: Parts, guesses: tuple[Parts, ...] = ()) -> WrittenPoints:
        """These parts, without what samplers know of the rows."""
        return WrittenPoints(parts[0], parts[1])


def read_back(x: WrittenPoints) -> Tensor:
    """The sequence (B, N) of finished rows: EOS and PAD behind their atoms."""
    mask, N = x.mask, x.types.shape[1]
    ids = torch.where(mask, x.types.argmax(-1) + FIRST_SYMBOL, PAD)
    return with_end(Items(x.positions, ids, mask))[:, :N]


class SequenceThenBlocks:
    """Write atoms from left to right by `atoms`, then place them by `places`.

    read: ids (B, N + 1) -> hidden states, of which state i + 1 tells `places` of atom i. A row
    that has no end after N atoms ends there. Where the sequence is given, places are drawn at
    once. Rows may be at different steps.
    """

    def __init__(
        self,
        atoms: MaskedSampler,
        places: ContinuousBlockSampler,
        read: Callable[[Tensor], Tensor],
        num_types: int,
    ) -> None:
        self.atoms, self.places, self.read, self.num_types = atoms, places, read, num_types
        self.written = atoms.num_steps  # steps before places are drawn
        self.num_steps = atoms.num_steps + places.num_steps
        self.stochastic = atoms.stochastic or places.stochastic
        self.denoiser = _Rows(atoms.denoiser, places.denoiser)

    def init(self, n: int, rng: Rng) -> WrittenPoints:
        """Draw n rows in which nothing is written, and evaluate what comes first."""
        x = self._blank(self.atoms.init(n, rng))
        return x if self.written else self._placing(x, rng)

    def step(self, x: WrittenPoints, k: int | Tensor, rng: Rng) -> WrittenPoints:
        """Write one atom, or move the places by one step; what ends the sequence draws the prior
        of places."""
        if isinstance(k, Tensor):
            return self._apart(x, k, rng, self.step)
        if k >= self.num_steps:
            return x
        atoms, places = _begun(x)
        if k >= self.written:
            moved = self.places.step(places, k - self.written, rng)
            return replace(x, positions=moved.features, places=moved)
        after = self.atoms.step(atoms, k, rng)
        after = after if after.trunk is not None else replace(after, trunk=atoms.trunk)
        x = replace(x, types=self._types(after.ids), atoms=after)
        return self._placing(x, rng) if k + 1 == self.written else x

    def predict_clean(self, x: WrittenPoints, k: int | Tensor, rng: Rng) -> WrittenPoints:
        """Guess the next atom and end there, or put the places on what is known of them: of atoms
        behind the block at work that is nothing, and they are left out."""
        if isinstance(k, Tensor):
            return self._apart(x, k, rng, self._guess)
        return x if k >= self.num_steps else self._guess(x, k, rng)

    def _guess(self, x: WrittenPoints, k: int, rng: Rng) -> WrittenPoints:
        if k >= self.num_steps:
            return x.moved(x.parts)
        atoms, places = _begun(x)
        if k < self.written:
            guess = self.atoms.predict_clean(atoms, k, rng)
            return WrittenPoints(x.positions, self._types(guess.ids))
        k -= self.written
        seen = self.places.predict_clean(places, k, rng).features
        known = torch.arange(seen.shape[1], device=seen.device) < self.places.window[k][1]
        return WrittenPoints(seen * known[:, None], x.types * known[:, None])

    def renoise(self, clean: WrittenPoints, k: int, rng: Rng) -> WrittenPoints:
        """Take finished rows back to step k: places drawn at its noise, or atoms hidden again."""
        if k >= self.num_steps:
            return clean
        ids = read_back(clean)
        if k < self.written:
            atoms = self.atoms.renoise(TokenState(ids), k, rng)
            return self._blank(atoms)
        x = self._blank(replace(self.atoms.init(len(clean), rng), ids=ids))
        items = replace(self._items(x.types, ids), features=clean.positions)
        placed = self.places.renoise(items, k - self.written, rng)
        return replace(x, positions=placed.features, places=placed)

    def _blank(self, atoms: TokenState) -> WrittenPoints:
        """Rows whose places are not begun, with room for what will be known of them."""
        types = self._types(atoms.ids)
        zero = types.new_zeros(*types.shape[:2], 3)
        items = self._items(types * 0, torch.zeros_like(atoms.ids))
        return WrittenPoints(zero, types, atoms, self.places.blank(items))

    def _placing(self, x: WrittenPoints, rng: Rng) -> WrittenPoints:
        """Begin with the places of rows whose sequence is written."""
        atoms, _ = _begun(x)
        places = self.places.start(self._items(x.types, atoms.ids), rng)
        return replace(x, positions=places.features, places=places)

    def _items(self, types: Tensor, ids: Tensor) -> Items:
        """Atoms without places, told what the sequence says of them."""
        mask = types.any(-1)
        items = Items(types.new_zeros(*mask.shape, 3), ids.masked_fill(~mask, PAD), mask)
        return replace(items, told=self.read(with_end(items))[:, 1:])

    def _types(self, ids: Tensor) -> Tensor:
        """One-hot types (B, N, K) of written atoms, 0 from the first token on that is none: the
        end, or a PAD, which a network may give some tiny share."""
        kind, K = ids - FIRST_SYMBOL, self.num_types
        here = ((kind >= 0) & (kind < K)).long().cumprod(1)
        return one_hot(kind.clamp(0, K - 1), K) * here[..., None].float()

    def _apart(
        self, x: WrittenPoints, k: Tensor, rng: Rng, move: Callable[..., WrittenPoints]
    ) -> WrittenPoints:
        """Rows at different places are asked apart."""
        found, order = [], []
        for place in k.unique().tolist():
            rows = (k == place).nonzero()[:, 0]
            found.append(move(x[rows], place, rng))
            order.append(rows)
        return WrittenPoints.cat(found)[torch.cat(order).argsort()]


class _Rows:
    """Two denoisers as one: how many rows both were asked."""

    def __init__(self, *parts: Any) -> None:
        self.parts = parts

    @property
    def rows(self) -> int:
        return sum(getattr(part, "rows", 0) for part in self.parts)


def _begun(x: WrittenPoints) -> tuple[TokenState, Items]:
    if x.atoms is None or x.places is None:
        raise ValueError("the rows must come from `init` or `renoise`, got finished ones")
    return x.atoms, x.places
