"""What an engine is asked for beyond a draw: how likely objects are, and fillings of a pattern."""

from __future__ import annotations

from dataclasses import dataclass

from scidiff.api.gaps import Sizes
from scidiff.data.conditions import Asked


@dataclass(frozen=True)
class LikelihoodRequest:
    """How log-likelihoods are estimated."""

    draws: int = 64  # of noise an object, or probes of a trace
    block_size: int | None = None  # None: the model's own, or none
    seed: int = 0
    method: str | None = None  # a bound of `token_bounds`; None: the model's usual one
    condition: Asked | None = None  # what every object, or each, is asked to be like

    def refuse(self, why: str, *names: str) -> None:
        """Raise ValueError where one of the fields `names` is given, for the reason `why`."""
        given = {name: getattr(self, name) for name in names}
        if any(value is not None for value in given.values()):
            got = " and ".join(repr(value) for value in given.values())
            raise ValueError(f"{why}: {' and '.join(names)} must be None, got {got}")


@dataclass(frozen=True)
class InfillRequest:
    """Fillings of a text that leaves something open."""

    pattern: str
    n: int  # how many are returned
    gaps: Sizes  # sizes that a gap may have; None: by how long training rows are
    candidates: int = 64  # drafts a filling, of models that write from left to right
