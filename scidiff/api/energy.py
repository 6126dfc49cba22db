"""An energy as a user names it: a left-to-right model that knows what a masked one does not."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from scidiff.api.sources import model_folder
from scidiff.core import ScidiffError
from scidiff.data.tokens import FIRST_SYMBOL, Vocabulary
from scidiff.networks.energy import Autoregressive, Energy, LeftToRight
from scidiff.samplers.energy import EnergySampler
from scidiff.samplers.masked import MaskedSampler

KINDS = {"autoregressive": False, "block": True}  # read by a clean copy?


@dataclass(frozen=True)
class EnergyRequest:
    """Tokens of one step drawn together, see `samplers.energy`."""

    energy: Any = None  # a left-to-right model, its name or folder, or a `networks.energy.Energy`
    candidates: int = 8  # whole rows drawn each step, of which the energy chooses one
    window: float = 1.0  # in the first share of the steps only

    def __post_init__(self) -> None:
        if self.energy is None and (self.candidates, self.window) != (8, 1.0):
            raise ValueError(
                "candidates and window belong to energy, got "
                f"candidates={self.candidates} and window={self.window} without one"
            )

    @property
    def told(self) -> dict[str, Any]:
        """What a result records of it."""
        if self.energy is None:
            return {}
        told = named(self.energy, "energy")
        return {**told, "candidates": self.candidates, "window": self.window}

    def around(self, inner: MaskedSampler, vocabulary: Vocabulary) -> EnergySampler:
        """The sampler with this energy."""
        energy = find_energy(self.energy, vocabulary, inner.canvas.length)
        return EnergySampler(inner, energy, candidates=self.candidates, window=self.window)


def named(source: Any, role: str) -> dict[str, Any]:
    """A model by its name and digest, whether it is one or its folder; else a class."""
    if isinstance(source, str | Path):
        folder = model_folder(source)
        config = json.loads((folder / "config.json").read_text())
        name = config.get("name", folder.name)
        return {role: name, f"{role}_sha256": config["sha256"]}
    if hasattr(source, "config"):
        return {role: source.name, f"{role}_sha256": source.config["sha256"]}
    return {role: type(source).__name__}


def find_energy(source: Any, vocabulary: Vocabulary, length: int) -> Energy:
    """The energy that `source` means for rows of `length` over `vocabulary`."""
    if isinstance(source, str | Path) or hasattr(source, "engine"):
        read = left_to_right(source, vocabulary, length, "an energy")
        return Autoregressive(read, vocabulary.mask_id)
    if not callable(source):
        raise ValueError(
            "energy must be a left-to-right model, its name, or a callable (x, clean, "
            f"log_drawn) -> (B, K), got {type(source).__name__}"
        )
    return source


def left_to_right(
    source: Any, vocabulary: Vocabulary, length: int, role: str, *, ends: bool = True
) -> LeftToRight:
    """The model that `source` is or names, as it reads rows of `length` over `vocabulary`. Raises
    ScidiffError for a model that does not write strings from left to right, is told conditions, or
    cannot read the rows."""
    if isinstance(source, str | Path):
        from scidiff.api.model import Model

        source = Model(model_folder(source))
    engine = getattr(source, "engine", None)
    if engine is None:
        raise ValueError(
            f"{role} must be a left-to-right model or its name, got {type(source).__name__}"
        )
    kind = engine.config["process"]["kind"]
    if kind not in KINDS or engine.vocabulary.notation == "graph":
        raise ScidiffError(
            f"{role} is a model that writes strings from left to right "
            f"({' or '.join(KINDS)}), got {source.name}, a {kind} one"
        )
    if engine.config.get("conditions"):
        raise ScidiffError(
            f"{source.name} is told conditions, which {role} is not: expected a model without"
        )
    if engine.network.max_length < length:
        raise ScidiffError(
            f"{source.name} reads rows of up to {engine.network.max_length} tokens, "
            f"this model writes {length}"
        )
    return LeftToRight(
        engine.network,
        engine.network.mask_id,
        blocks=KINDS[kind],
        device=engine.device,
        translate=_translation(vocabulary, engine.vocabulary, source.name),
        ends=ends,
    )


def _translation(ours: Vocabulary, theirs: Vocabulary, name: str) -> Tensor | None:
    """Their ids of our ids (V,); None where they are the same."""
    if ours == theirs:
        return None
    place = {symbol: i + FIRST_SYMBOL for i, symbol in enumerate(theirs.symbols)}
    missing = [symbol for symbol in ours.symbols if symbol not in place]
    if ours.notation != theirs.notation:
        raise ScidiffError(f"{name} reads {theirs.notation}, this model writes {ours.notation}")
    if missing:
        raise ScidiffError(
            f"{name} cannot read every row of this model: it lacks {' '.join(missing)}"
        )
    ids = [*range(FIRST_SYMBOL), *(place[s] for s in ours.symbols), theirs.mask_id]
    return torch.tensor(ids)
