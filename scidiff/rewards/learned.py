"""Oracles: small predictors of what sequences or molecules do, learned from measured ones, used as
rewards.

    Oracle.load("enhancer-oracle").predict(["ACGT..."])         # (B, C)
    sd.design(model, reward="oracle('enhancer-oracle', 'K562')")
    sd.design(model, reward="oracle('runs/mine/model', kappa=-1)")   # a lower confidence bound

`sd.train` with `predicts`, or `rewards.oracle_training`, makes them. An oracle that is optimised
against is no judge any more: report with another one, trained on other rows.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from scidiff.data.letters import letter_ids
from scidiff.data.strands import reverse_complement
from scidiff.messages import listed, nearest
from scidiff.processes.supervised import Task
from scidiff.rewards.predictors import Reader, Table, find_reader
from scidiff.rewards.scores import NO_NUMBER, Answer, Status
from scidiff.training.checkpoint import CheckpointError, load_network, read_config, save_model

SHIPPED = Path(__file__).parents[1] / "oracles"
ROWS = 512  # of a batch that is predicted


@dataclass(frozen=True)
class Oracle:
    """A predictor of classes (as log-odds) or of one number (in its own unit).

    floors: the lowest prediction of every output on the validation rows, which is what an invalid
    object scores; widest: the largest `sd` there. lengths: shortest and longest training row (of
    molecules, heavy atoms) and parts: the elements there were; other rows are not predicted.
    gain, rest: the variance of a number is gain * spread_of_the_network^2 + rest in units of
    `spread`, the likeliest of the validation rows.
    """

    network: nn.Module
    name: str
    reader: Reader
    task: Task
    outputs: tuple[str, ...]  # the classes, or the name of the number
    strands: bool = False  # predictions are means over both strands of DNA
    temperature: float = 1.0  # of the logits, fitted on the validation rows
    mean: float = 0.0  # of the number: the network writes (number - mean) / spread
    spread: float = 1.0
    floors: tuple[float, ...] = ()
    lengths: tuple[int, int] = (1, 1_000_000)
    parts: tuple[str, ...] = ()
    gain: float = 1.0
    rest: float = 0.0
    widest: tuple[float, ...] = ()

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
        return cls(load_network(path, config), path.name, find_reader(config["domain"]), **facts)

    def save(self, folder: str | Path, card: str) -> None:
        """Write a model directory: weights, config and `card`."""
        left_out = {"network", "name", "reader"}
        facts = {k: getattr(self, k) for k in self.__dataclass_fields__ if k not in left_out}
        save_model(Path(folder), self.network,
                   {"domain": self.reader.domain, "oracle": facts}, card)

    def predict(self, objects: Sequence[Any]) -> NDArray[np.float64]:
        """Log-odds of every class against the others, log p - log (1 - p), or the number: (B, C).

        Raises ValueError naming the first row that is no object of the domain, or of which the
        training rows say nothing (`reason`).
        """
        found = self.raw(self._checked(objects))
        if self.task == "number":
            return (self.mean + self.spread * found).numpy()
        return log_odds(found / self.temperature).numpy()

    def sd(self, objects: Sequence[Any]) -> NDArray[np.float64]:
        """How far a measured number will be off (standard deviation), or how far log-odds would be
        off by another seed: (B, C).

        Raises ValueError for an oracle without `uncertain`, and as `predict`.
        """
        if not self.uncertain:
            raise ValueError(f"oracle {self.name!r} does not know how sure it is: it was trained "
                             "without uncertainty")
        objects = self._checked(objects)
        own = getattr(self.network, "spread", None)
        among = self._read(objects, own) if own else torch.zeros(len(objects), len(self.outputs))
        if self.task == "classes":
            return (among / self.temperature).double().numpy()
        return (self.spread * (self.gain * among.double().square() + self.rest).sqrt()).numpy()

    @property
    def uncertain(self) -> bool:
        """Whether it knows how sure it is."""
        return self.rest > 0 or hasattr(self.network, "spread")

    def features(self, objects: Sequence[Any]) -> NDArray[np.float64]:
        """The activations that the outputs are linear in, (B, width), for Frechet distances."""
        layer: Any = self.network.features
        return self._read(self._checked(objects), layer).numpy()

    def applies(self, obj: Any) -> bool:
        """Whether the training rows say something of this object."""
        return not self.reason(obj)

    def reason(self, obj: Any) -> str:
        """Why an object is outside of what the oracle knows, or ""."""
        low, high = self.lengths
        size = self.reader.size(obj)
        if not low <= size <= high:
            return (f"has {size} {self.reader.unit}, oracle {self.name!r} was trained on {low} to "
                    f"{high}")
        foreign = sorted(self.reader.parts(obj) - set(self.parts))
        return (f"holds {foreign[0]}, which no training row of oracle {self.name!r} does"
                if foreign else "")

    def index(self, output: str | None) -> int:
        """The column of an output; raises ValueError naming the nearest."""
        if output is None and len(self.outputs) == 1:
            return 0
        if output not in self.outputs:
            raise ValueError(f"oracle {self.name!r} predicts {listed(self.outputs)}, "
                             f"got {output!r}{nearest(str(output), self.outputs)}")
        return self.outputs.index(str(output))

    def log_probs(self, letters: Tensor) -> Tensor:
        """log p of every class (B, C) of rows of letters (B, L) int64, -1 where one is not known
        or the row has ended."""
        strands = [letters, _other_strand(letters, self.reader)] if self.strands else [letters]
        told = [activations(self.network, self.network, np.asarray, list(rows.numpy()))
                for rows in strands]
        return (torch.stack(told).mean(0) / self.temperature).log_softmax(1)

    def _checked(self, objects: Sequence[Any]) -> list[Any]:
        out = []
        for row, obj in enumerate(objects, 1):
            try:
                out.append(self.reader.spell(obj))
            except ValueError as error:
                raise ValueError(f"row {row}: {error}") from None
            if reason := self.reason(out[-1]):
                raise ValueError(f"row {row} {reason}")
        return out

    def raw(self, objects: Sequence[Any]) -> Tensor:
        """What the network itself says, on one strand or as the mean over both: (B, C)."""
        return self._read(objects, self.network)

    def _read(self, objects: Sequence[Any], layer: Any) -> Tensor:
        found = activations(layer, self.network, self.reader.table, objects)
        if not self.strands:
            return found
        other = [reverse_complement(s) for s in objects]
        return (found + activations(layer, self.network, self.reader.table, other)) / 2


def _other_strand(letters: Tensor, reader: Any) -> Tensor:
    """Rows of letters (B, L) in the direction of the other strand, what is behind them still
    behind."""
    alphabet = reader.alphabet.letters
    partner = torch.tensor([*(alphabet.index(reverse_complement(c)) for c in alphabet), -1])
    behind = (letters < 0).flip(1).long().cumprod(1).sum(1, keepdim=True)
    place = (torch.arange(letters.shape[1]) + behind) % letters.shape[1]
    return partner[letters].flip(1).gather(1, place)


def log_odds(logits: Tensor) -> Tensor:
    """log p_c - log (1 - p_c) = z_c - log sum_{d != c} exp z_d of logits (B, C)."""
    C = logits.shape[1]
    itself = torch.eye(C, dtype=torch.bool)
    others = logits[:, None].expand(-1, C, -1).masked_fill(itself, -math.inf)
    return logits - others.logsumexp(2)


def outputs_of(layer: Any, network: nn.Module, sequences: Sequence[str], letters: str) -> Tensor:
    """What a layer of a network says of sequences, in batches: (B, C) float64."""
    return activations(layer, network, lambda rows: letter_ids(rows, letters), sequences)


@torch.inference_mode()
def activations(
    layer: Any, network: nn.Module, table: Callable[[Sequence[Any]], Table], objects: Sequence[Any]
) -> Tensor:
    """What a layer of a network says of objects that `table` reads, in batches: (B, C) float64."""
    network.eval()
    parts = [torch.from_numpy(table(objects[i:i + ROWS]).astype(np.int64))
             for i in range(0, len(objects), ROWS)]
    found = [layer(part).double() for part in parts]
    return torch.cat(found) if found else torch.zeros(0, 0, dtype=torch.float64)


@dataclass(frozen=True)
class OracleReward:
    """One output of an oracle, log-odds of a class or the number, and `kappa` times its standard
    deviation: below 0 a lower confidence bound, which trusts only what the oracle knows.

    The floor is the lowest prediction on the oracle's validation rows, less what kappa can take
    away there. An object of which the training rows say nothing has no value (FAILED).
    """

    folder: str
    output: str | None = None
    kappa: float = 0.0
    one_by_one: ClassVar[bool] = False  # the last bits depend on the batch

    def __post_init__(self) -> None:
        oracle = loaded(self.folder)
        oracle.index(self.output)
        if self.kappa and not oracle.uncertain:
            oracle.sd([])

    @property
    def name(self) -> str:
        bound = f", kappa={self.kappa:g}" if self.kappa else ""
        return f"oracle({self.folder!r}, {self.output!r}{bound})"

    @property
    def kind(self) -> str:
        """What it scores: molecules, or sequences."""
        return "molecule" if loaded(self.folder).reader.domain == "smiles" else "sequence"

    @property
    def version(self) -> str:
        """Digest of the weights, so that scores of another training are not taken for its own."""
        return str(read_config(_find(self.folder))["sha256"])

    @property
    def floor(self) -> float:
        oracle = loaded(self.folder)
        column = oracle.index(self.output)
        less = self.kappa * oracle.widest[column] if self.kappa < 0 else 0.0
        return oracle.floors[column] + less

    def __call__(self, objects: Sequence[Any]) -> list[float]:
        return [answer.value for answer in self.answers(objects)]

    def answers(self, objects: Sequence[Any]) -> list[Answer]:
        """Values, and why an object has none."""
        oracle = loaded(self.folder)
        column, spelled = oracle.index(self.output), [oracle.reader.spell(o) for o in objects]
        reasons = [oracle.reason(o) for o in spelled]
        known = [o for o, reason in zip(spelled, reasons, strict=True) if not reason]
        values = iter(self._values(oracle, known, column) if known else ())
        return [Answer(math.nan, Status.FAILED, reason) if reason else _answer(next(values))
                for reason in reasons]

    def _values(self, oracle: Oracle, known: Sequence[Any], column: int) -> list[float]:
        found = oracle.predict(known)[:, column]
        if self.kappa:
            found = found + self.kappa * oracle.sd(known)[:, column]
        values: list[float] = found.tolist()
        return values


def _answer(value: float) -> Answer:
    ok = math.isfinite(value)
    return Answer(value, Status.OK) if ok else Answer(math.nan, Status.FAILED, NO_NUMBER)


def _find(folder: str | Path) -> Path:
    """The folder of an oracle, or of the shipped one of that name."""
    path = Path(folder)
    if path.is_dir():
        return path
    known = sorted(p.name for p in SHIPPED.glob("*") if p.is_dir())
    if str(folder) not in known:
        raise CheckpointError(f"no oracle {str(folder)!r}; expected a folder or one of "
                              f"{', '.join(known)}{nearest(str(folder), known)}")
    return SHIPPED / str(folder)


loaded = lru_cache(maxsize=8)(Oracle.load)
REWARDS = {"oracle": OracleReward}

__all__ = ["REWARDS", "Oracle", "OracleReward", "loaded", "log_odds"]
