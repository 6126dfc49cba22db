"""States that carry more than their sampler's own kind of state has room for."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Generic, Self, TypeVar

import torch
from torch import Tensor

from scidiff.core import Stacked
from scidiff.processes.gaussian import Component, Continuous, Parts
from scidiff.samplers.probability_flow import free_share

X = TypeVar("X", bound=Continuous)


@dataclass(frozen=True)
class Weighed(Stacked, Generic[X]):
    """A continuous state with its `log_ratio`, and what its sampler keeps of every row.

    It is read like the state inside: rewards and domains find there whatever it has.
    """

    state: X
    log_ratio: Tensor | None = None  # (B,) log weight that the last step has earned
    memory: tuple[Tensor, ...] = ()  # (B, ...) each

    @property
    def parts(self) -> Parts:
        return self.state.parts

    @property
    def mask(self) -> Tensor | None:
        return self.state.mask

    @property
    def guesses(self) -> tuple[Parts, ...]:
        return self.state.guesses

    def moved(self, parts: Parts, guesses: tuple[Parts, ...] = ()) -> Self:
        """Copy the state to another place; what is kept stays with its row."""
        return replace(self, state=self.state.moved(parts, guesses))

    def weighed(self, log_ratio: Tensor) -> Self:
        """The same with another `log_ratio` (B,)."""
        return replace(self, log_ratio=log_ratio)

    def keeping(self, memory: tuple[Tensor, ...]) -> Self:
        """The same with something else kept of every row."""
        return replace(self, memory=memory)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__") or name == "state":  # asked before there is a state: copy, pickle
            raise AttributeError(name)
        return getattr(self.state, name)


def free_entries(components: tuple[Component, ...], x: Continuous) -> tuple[Tensor, Tensor]:
    """Which entries of a row's parts, side by side, are coordinates of their own (B, n) bool, and
    how many free coordinates each component has (B, C) float64.

    Rows with the same mask have the same ones, so they are found once a mask.
    """
    masks, rows = _distinct(x.mask, x.parts[0])
    shares = [
        free_share(c, part[:1].expand(len(rows[1]), *part.shape[1:]), masks)
        for c, part in zip(components, x.parts, strict=True)
    ]
    which = rows[0]
    entries = torch.cat(shares, 1) > 0
    return entries[which], torch.stack([s.sum(1) for s in shares], 1)[which]


def _distinct(mask: Tensor | None, part: Tensor) -> tuple[Tensor | None, tuple[Tensor, Tensor]]:
    """The distinct rows of a mask, which of them each row has, and their numbers."""
    if mask is None:
        zero = torch.zeros(len(part), dtype=torch.int64, device=part.device)
        return None, (zero, zero[:1])
    masks, which = mask.unique(dim=0, return_inverse=True)
    return masks, (which, torch.arange(len(masks), device=part.device))


def summed(values: Parts, entries: Tensor) -> Tensor:
    """Sum the entries of each part that are coordinates of their own: (B, C) float64."""
    flat = [value.double().flatten(1) for value in values]
    free = entries.split([v.shape[1] for v in flat], 1)
    return torch.stack([(v * f).sum(1) for v, f in zip(flat, free, strict=True)], 1)
