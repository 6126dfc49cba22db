"""Oracles: small predictors of what sequences do, learned from measured ones, used as rewards.

    Oracle.load("enhancer-oracle").predict(["ACGT..."])         # (B, C)
    sd.design(model, reward="oracle('enhancer-oracle', 'K562')")

`rewards.oracle_training` makes them. An oracle that is optimised against is no judge any more:
report with another one, trained on other rows.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from scidiff.data import alphabets
from scidiff.data.alphabets import Alphabet
from scidiff.data.letters import letter_ids
from scidiff.data.strands import reverse_complement
from scidiff.processes.supervised import Task
from scidiff.rewards.registry import nearest
from scidiff.training.checkpoint import CheckpointError, load_network, read_config, save_model

SHIPPED = Path(__file__).parents[1] / "oracles"
ROWS = 512  # of a batch that is predicted


@dataclass(frozen=True)
class Oracle:
    """A predictor of classes (as log-odds) or of one number (in its own unit).

    floors: the lowest prediction of every output on the validation rows, which is what an invalid
    sequence scores. lengths: shortest and longest training row; others are not predicted.
    """

    network: nn.Module
    name: str
    alphabet: Alphabet
    task: Task
    outputs: tuple[str, ...]  # the classes, or the name of the number
    strands: bool = False  # predictions are means over both strands of DNA
    temperature: float = 1.0  # of the logits, fitted on the validation rows
    mean: float = 0.0  # of the number: the network writes (number - mean) / spread
    spread: float = 1.0
    floors: tuple[float, ...] = ()
    lengths: tuple[int, int] = (1, 1_000_000)

    @classmethod
    def load(cls, folder: str | Path) -> Oracle:
        """Read a folder written by `save`, or a shipped oracle by name.

        Raises CheckpointError for a folder that is missing, damaged, or holds another model.
        """
        path = _find(folder)
        config = read_config(path)
        if "oracle" not in config:
            raise CheckpointError(f"{path} holds a model of domain {config['domain']!r}, "
                                  "expected an oracle")
        facts: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v
                                 for k, v in config["oracle"].items()}
        alphabet = getattr(alphabets, config["domain"].upper())
        return cls(load_network(path, config), path.name, alphabet, **facts)

    def save(self, folder: str | Path, card: str) -> None:
        """Write a model directory: weights, config and `card`."""
        left_out = {"network", "name", "alphabet"}
        facts = {k: getattr(self, k) for k in self.__dataclass_fields__ if k not in left_out}
        save_model(Path(folder), self.network,
                   {"domain": self.alphabet.name.lower(), "oracle": facts}, card)

    def predict(self, sequences: Sequence[str]) -> NDArray[np.float64]:
        """Log-odds of every class against the others, log p - log (1 - p), or the number: (B, C).

        Raises ValueError naming the first row with a letter outside the alphabet or of a length
        that the training rows did not have.
        """
        self._check(sequences)
        found = self.raw(sequences)
        if self.task == "number":
            return (self.mean + self.spread * found).numpy()
        return log_odds(found / self.temperature).numpy()

    def features(self, sequences: Sequence[str]) -> NDArray[np.float64]:
        """The activations that the outputs are linear in, (B, width), for Frechet distances."""
        self._check(sequences)
        layer: Any = self.network.features
        return self._read(sequences, layer).numpy()

    def applies(self, sequence: str) -> bool:
        """Whether the oracle knows sequences of this length."""
        return self.lengths[0] <= len(sequence) <= self.lengths[1]

    def index(self, output: str | None) -> int:
        """The column of an output; raises ValueError naming the nearest."""
        if output is None and len(self.outputs) == 1:
            return 0
        if output not in self.outputs:
            raise ValueError(f"oracle {self.name!r} predicts {', '.join(self.outputs)}, "
                             f"got {output!r}{nearest(str(output), self.outputs)}")
        return self.outputs.index(str(output))

    def _check(self, sequences: Sequence[str]) -> None:
        low, high = self.lengths
        for row, s in enumerate(sequences, 1):
            if not low <= len(s) <= high:
                raise ValueError(f"row {row} has {len(s)} letters, oracle {self.name!r} was "
                                 f"trained on {low} to {high}")

    def raw(self, sequences: Sequence[str]) -> Tensor:
        """What the network itself says, on one strand or as the mean over both: (B, C)."""
        return self._read(sequences, self.network)

    def _read(self, sequences: Sequence[str], layer: Any) -> Tensor:
        found = outputs_of(layer, self.network, sequences, self.alphabet.letters)
        if not self.strands:
            return found
        other = [reverse_complement(s) for s in sequences]
        return (found + outputs_of(layer, self.network, other, self.alphabet.letters)) / 2


def log_odds(logits: Tensor) -> Tensor:
    """log p_c - log (1 - p_c) = z_c - log sum_{d != c} exp z_d of logits (B, C)."""
    C = logits.shape[1]
    itself = torch.eye(C, dtype=torch.bool)
    others = logits[:, None].expand(-1, C, -1).masked_fill(itself, -math.inf)
    return logits - others.logsumexp(2)


@torch.inference_mode()
def outputs_of(layer: Any, network: nn.Module, sequences: Sequence[str], letters: str) -> Tensor:
    """What a layer of a network says of sequences, in batches: (B, C) float64."""
    network.eval()
    parts = [torch.from_numpy(letter_ids(sequences[i:i + ROWS], letters).astype(np.int64))
             for i in range(0, len(sequences), ROWS)]
    found = [layer(part).double() for part in parts]
    return torch.cat(found) if found else torch.zeros(0, 0, dtype=torch.float64)


@dataclass(frozen=True)
class OracleReward:
    """One output of an oracle: log-odds of a class, or the number; larger is better.

    The floor is the lowest prediction on the oracle's validation rows. A sequence of a length
    that the oracle does not know has no value (FAILED).
    """

    folder: str
    output: str | None = None

    def __post_init__(self) -> None:
        _loaded(self.folder).index(self.output)

    @property
    def name(self) -> str:
        return f"oracle({self.folder!r}, {self.output!r})"

    @property
    def version(self) -> str:
        """Digest of the weights, so that scores of another training are not taken for its own."""
        return str(read_config(_find(self.folder))["sha256"])

    @property
    def floor(self) -> float:
        oracle = _loaded(self.folder)
        return oracle.floors[oracle.index(self.output)]

    def __call__(self, sequences: Sequence[str]) -> list[float]:
        oracle = _loaded(self.folder)
        spelled = [oracle.alphabet.spell(s) for s in sequences]
        known = [i for i, s in enumerate(spelled) if oracle.applies(s)]
        values = np.full(len(spelled), math.nan)
        if known:
            found = oracle.predict([spelled[i] for i in known])
            values[known] = found[:, oracle.index(self.output)]
        return values.tolist()


def _find(folder: str | Path) -> Path:
    """The folder of an oracle, or of the shipped one of that name."""
    path = Path(folder)
    if path.is_dir():
        return path
    known = sorted(p.name for p in SHIPPED.glob("*") if p.is_dir())
    if str(folder) not in known:
        raise CheckpointError(f"no oracle {str(folder)!r}{nearest(str(folder), known)}; "
                              f"expected a folder or one of {', '.join(known)}")
    return SHIPPED / str(folder)


_loaded = lru_cache(maxsize=8)(Oracle.load)
REWARDS = {"oracle": OracleReward}

__all__ = ["REWARDS", "Oracle", "OracleReward", "log_odds"]
