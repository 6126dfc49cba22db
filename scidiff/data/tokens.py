"""Strings as tokens: notations, a vocabulary saved with the model, and the state of a batch of
token rows."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from scidiff.core import ScidiffError, Shared, Stacked

PAD, EOS = 0, 1
FIRST_SYMBOL = 2
MASK_TEXT = "?"  # how a token that is still hidden is shown

_SMILES = re.compile(r"\[[^\[\]]*\]|Br|Cl|%\d\d|.", re.DOTALL)
_SELFIES = re.compile(r"\[[^\[\]]*\]|.", re.DOTALL)


def _smiles(text: str) -> list[str]:
    return _SMILES.findall(text)


def _selfies(text: str) -> list[str]:
    return _SELFIES.findall(text)


NOTATIONS: dict[str, Callable[[str], list[str]]] = {
    "smiles": _smiles,
    "selfies": _selfies,
    "graph": _smiles,  # atoms and bond symbols, see data/graph_tokens.py
    "points": _smiles,  # atoms of molecules in space
    "characters": list,
}
"""How a string is cut: SMILES atom by atom (brackets, Br, Cl and %nn whole), SELFIES bracket by
bracket, or character by
character. Every notation is a partition of the string, so joining the tokens gives the string
back."""


class UnknownToken(ScidiffError, ValueError):
    """A string holds a token that the vocabulary lacks."""


@dataclass(frozen=True)
class Vocabulary:
    """Token ids: 0 PAD (behind the end), 1 EOS, the symbols from 2, and MASK as the last id."""

    symbols: tuple[str, ...]
    notation: str = "smiles"

    def __post_init__(self) -> None:
        if self.notation not in NOTATIONS:
            raise ValueError(
                f"notation must be one of {', '.join(NOTATIONS)}, got {self.notation!r}"
            )
        if len(set(self.symbols)) != len(self.symbols):
            raise ValueError("vocabulary symbols must be distinct")

    def __len__(self) -> int:
        return len(self.symbols) + 3

    @property
    def mask_id(self) -> int:
        return len(self) - 1

    @classmethod
    def build(cls, strings: Iterable[str], notation: str = "smiles") -> Vocabulary:
        """Collect the sorted set of tokens in `strings`."""
        cut = NOTATIONS[notation]
        return cls(tuple(sorted({token for text in strings for token in cut(text)})), notation)

    def extended(self, strings: Iterable[str]) -> Vocabulary:
        """Append the tokens of `strings` that are missing; existing ids stay as they are, MASK
        moves to the new end."""
        new = set(Vocabulary.build(strings, self.notation).symbols) - set(self.symbols)
        return Vocabulary((*self.symbols, *sorted(new)), self.notation)

    def split(self, text: str) -> list[str]:
        return NOTATIONS[self.notation](text)

    def encode(self, text: str) -> list[int]:
        """Map a string to ids without EOS; raise UnknownToken naming the token and where it
        stands."""
        index, tokens = self._index, self.split(text)
        try:
            return [index[token] for token in tokens]
        except KeyError:
            i = next(i for i, token in enumerate(tokens) if token not in index)
            raise UnknownToken(
                f"unknown token {tokens[i]!r} at token {i + 1} of {text!r}; the vocabulary has "
                f"{len(self.symbols)} symbols: {' '.join(self.symbols)}"
            ) from None

    def decode(self, ids: Sequence[int] | Tensor) -> str:
        """Join the symbols up to the first EOS or PAD; a MASK that is left shows as MASK_TEXT."""
        out = []
        for i in ids.tolist() if isinstance(ids, Tensor) else ids:
            if i in (PAD, EOS):
                break
            out.append(MASK_TEXT if i == self.mask_id else self.symbols[i - FIRST_SYMBOL])
        return "".join(out)

    @cached_property
    def _index(self) -> dict[str, int]:
        return {s: i + FIRST_SYMBOL for i, s in enumerate(self.symbols)}


def encode_rows(
    vocabulary: Vocabulary, strings: Sequence[str], length: int | None = None
) -> Tensor:
    """Encode strings with EOS and PAD to ids (B, L); an error names the first row with an unknown
    token or too long."""
    rows: list[list[int]] = []
    for number, text in enumerate(strings, start=1):
        try:
            rows.append([*vocabulary.encode(text), EOS])
        except UnknownToken as error:
            raise UnknownToken(f"row {number}: {error}") from None
    longest = max((len(r) for r in rows), default=1)
    if length is not None and longest > length:
        number = next(i for i, r in enumerate(rows, start=1) if len(r) > length)
        raise ValueError(
            f"row {number} has {len(rows[number - 1]) - 1} tokens, "
            f"the model takes at most {length - 1}"
        )
    width = length or longest
    return torch.tensor([r + [PAD] * (width - len(r)) for r in rows], dtype=torch.int64).reshape(
        len(rows), width
    )


@dataclass(frozen=True)
class TokenState(Stacked):
    """A batch of token rows and what the network said there."""

    ids: Tensor  # (B, L) int64: MASK where hidden, PAD behind the end
    trunk: Shared | None = None  # network output at this place, values (R, L, D)
    log_ratio: Tensor | None = None  # (B,) log target kernel - log drawn kernel of the last step
    condition: Tensor | None = None  # (B, C) what the rows are asked to be like
    memory: tuple[Tensor | Shared, ...] | None = None  # (B, ...) each, what a sampler keeps
    cache: Stacked | tuple[Any, ...] | None = None  # (B, ...) each, what the network keeps

    def __post_init__(self) -> None:
        if self.ids.ndim != 2 or self.ids.dtype != torch.int64:
            raise ValueError(
                f"ids must be (B, L) int64, got {tuple(self.ids.shape)} {self.ids.dtype}"
            )
        for name in ("trunk", "log_ratio", "condition"):
            leaf = getattr(self, name)
            if leaf is not None and len(leaf) != len(self.ids):
                raise ValueError(
                    f"{name} must have {len(self.ids)} rows to match ids, got {len(leaf)}"
                )
