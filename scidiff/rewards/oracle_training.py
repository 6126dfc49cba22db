"""Training of oracles on measured or labelled sequences and molecules.

    oracle = train_oracle((sequences, cells), (held, held_cells), alphabet=DNA, strands=True)
    oracle = train_oracle((smiles, numbers), (held, held_numbers), network="process")
    oracle.save("runs/mine", "# my oracle")
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn
from torch.nn import functional as F

from scidiff.core import torch_seeded
from scidiff.data.alphabets import Alphabet
from scidiff.data.strands import both_strands
from scidiff.networks.committee import Committee
from scidiff.networks.fingerprint_oracle import FingerprintOracle, FingerprintOracleConfig
from scidiff.networks.sequence_oracle import (
    KmerOracle,
    KmerOracleConfig,
    SequenceOracle,
    SequenceOracleConfig,
)
from scidiff.processes.supervised import Supervised, Task
from scidiff.rewards.learned import Oracle
from scidiff.rewards.predictors import Fingerprints, Letters, ProcessOracle
from scidiff.training.config import TrainConfig
from scidiff.training.labelled import LabelledBatches
from scidiff.training.trainer import Trainer

Labelled = tuple[Sequence[Any], Sequence[Any]]  # objects, and a label or a number each
Network = SequenceOracleConfig | KmerOracleConfig | FingerprintOracleConfig | Literal["process"]
Arrays = tuple[NDArray[Any], NDArray[Any]]


def train_oracle(
    rows: Labelled, validation: Labelled, *, alphabet: Alphabet | None = None,
    name: str = "oracle", strands: bool = False, network: Network | None = None,
    config: TrainConfig | None = None, members: int = 1, ridge: float = 1e-3, seed: int = 0,
) -> Oracle:
    """Learn labels (text) or numbers of sequences of an `alphabet`, without one of molecules (or
    their SMILES).

    `network` says which: convolutions, or layers over a fingerprint (trained for `config`, by
    default 2,000 steps; the EMA weights that validated best with its `patience`; `members` of them
    from seeds of their own); k-mer counts with linear weights (`ridge`; convex, so without a
    seed); or "process", the Gaussian process of `surrogates`, for numbers and up to a few thousand
    rows. `strands`: each row is shown from both strands. How sure an oracle of numbers is, is
    fitted on the validation rows. A training takes minutes and is not kept on the way: one that is
    interrupted begins again, and ends with the same oracle. Raises ValueError for a validation
    label that no training row has.
    """
    oracle = _blank(rows, alphabet, name, strands)
    train, held = _spelled(rows, oracle), _spelled(validation, oracle)
    sizes = [oracle.reader.size(obj) for obj in train[0]]
    parts = frozenset[str]().union(*map(oracle.reader.parts, train[0]))
    oracle = replace(oracle, lengths=(min(sizes), max(sizes)), parts=tuple(sorted(parts)))
    data = _arrays(train, oracle), _arrays(held, oracle)
    settings = config or TrainConfig(2_000, batch_size=128, lr=2e-3, precision="32-true",
                                     seed=seed)
    shape = network or _usual(data[0][0], oracle)
    made = _network(shape, oracle, data, settings, members, ridge)
    return _finished(replace(oracle, network=made), held)


def _blank(rows: Labelled, alphabet: Alphabet | None, name: str, strands: bool) -> Oracle:
    """An oracle that knows what it reads and says, and nothing else."""
    objects, labels = rows
    if len(objects) != len(labels) or not len(labels):
        raise ValueError("there must be as many labels as objects and at least one, got "
                         f"{len(labels)} for {len(objects)}")
    task: Task = "classes" if isinstance(labels[0], str) else "number"
    outputs = tuple(sorted(set(map(str, labels)))) if task == "classes" else (name,)
    numbers = np.zeros(1) if task == "classes" else np.asarray(labels, np.float64)
    reader = Fingerprints() if alphabet is None else Letters(alphabet)
    return Oracle(nn.Identity(), name, reader, task, outputs, strands,
                  mean=float(numbers.mean()), spread=float(numbers.std()) or 1.0)


def _usual(table: NDArray[np.int8], oracle: Oracle) -> Network:
    outputs = len(oracle.outputs)
    if isinstance(oracle.reader, Letters):
        return SequenceOracleConfig(len(oracle.reader.alphabet.letters), outputs)
    return FingerprintOracleConfig(table.shape[1], outputs)


def _network(shape: Network, oracle: Oracle, data: tuple[Arrays, Arrays], config: TrainConfig,
             members: int, ridge: float) -> nn.Module:
    """The trained network of an oracle."""
    if shape == "process":
        if oracle.task != "number":
            raise ValueError("a process learns numbers, got labels; give a network")
        return ProcessOracle.of(data[0][0], data[0][1][:, 0], isinstance(oracle.reader, Letters))
    if isinstance(shape, KmerOracleConfig):
        counted = KmerOracle(shape)
        letters, target = (torch.from_numpy(a) for a in data[0])
        counted.fit(letters.long(), target, oracle.task, ridge)
        return counted
    make: Callable[[], nn.Module] = (
        partial(SequenceOracle, shape) if isinstance(shape, SequenceOracleConfig)
        else partial(FingerprintOracle, shape))
    made = [fit(make, oracle.task, *data, replace(config, seed=config.seed + i))
            for i in range(members)]
    return Committee.of(made) if members > 1 else made[0]


def fit(
    make: Callable[[], nn.Module], task: Task, rows: Arrays, validation: Arrays | None,
    config: TrainConfig,
) -> nn.Module:
    """Train a network on (table, target) in the one training loop, and leave its EMA weights."""
    held = None if validation is None else LabelledBatches(*validation, config.batch_size)
    batches = LabelledBatches(*rows, config.batch_size, config.seed)
    with tempfile.TemporaryDirectory() as out, torch_seeded(config.seed):
        network = make()
        trainer = Trainer(network, Supervised(task), batches, config, Path(out), validation=held,
                          accelerator="cpu")
        trainer.fit()
        trainer.use_averaged()
    return network.eval()


def _spelled(rows: Labelled, oracle: Oracle) -> Labelled:
    out = []
    for row, obj in enumerate(rows[0], 1):
        try:
            out.append(oracle.reader.spell(obj))
        except ValueError as error:
            raise ValueError(f"row {row}: {error}") from None
    return out, rows[1]


def _arrays(rows: Labelled, oracle: Oracle) -> Arrays:
    objects, labels = rows
    if oracle.task == "classes":
        target: NDArray[Any] = np.array([oracle.index(str(v)) for v in labels], np.int64)
    else:
        z = (np.asarray(labels, np.float64) - oracle.mean) / oracle.spread
        target = z.astype(np.float32)[:, None]
    if oracle.strands:
        objects, target = both_strands(objects), np.concatenate([target, target])
    return oracle.reader.table(objects), target


def _finished(oracle: Oracle, validation: Labelled) -> Oracle:
    """The oracle with its temperature or how sure it is, and its floors, from the validation
    rows."""
    objects, labels = validation
    if oracle.task == "classes":
        logits = oracle.raw(objects)
        truth = torch.tensor([oracle.index(str(v)) for v in labels])
        scales = torch.logspace(-1, 1, 81, base=4.0, dtype=torch.float64)
        nll = [float(F.cross_entropy(logits / t, truth)) for t in scales]
        oracle = replace(oracle, temperature=float(scales[int(np.argmin(nll))]))
    there = [i for i, obj in enumerate(objects) if oracle.applies(obj)]
    if not there:
        raise ValueError("no validation row is like the training rows: "
                         f"the first {oracle.reason(objects[0])}")
    known = [objects[i] for i in there]
    if oracle.task == "number":
        off = np.asarray(labels, np.float64)[there] - oracle.predict(known)[:, 0]
        own = replace(oracle, gain=1.0, rest=0.0).sd(known)[:, 0] if _spreads(oracle) else 0 * off
        gain, rest = calibrated(off / oracle.spread, own / oracle.spread)
        oracle = replace(oracle, gain=gain, rest=rest)
    widest = tuple(oracle.sd(known).max(0).tolist()) if oracle.uncertain else ()
    return replace(oracle, floors=tuple(oracle.predict(known).min(0).tolist()), widest=widest)


def _spreads(oracle: Oracle) -> bool:
    return hasattr(oracle.network, "spread")


def calibrated(off: NDArray[np.float64], own: NDArray[np.float64]) -> tuple[float, float]:
    """The gain and rest whose variances gain * own^2 + rest are likeliest to give normal errors
    `off` (N,): of a grid of gains from 1/16 to 256 (and 0), each with a rest from 0 to the mean
    square of `off`.

    The rest is above 0 wherever errors are.
    """
    square = float(np.mean(off**2))
    if square == 0:
        return 0.0, 0.0
    gains = [0.0] if not own.any() else [0.0, *np.logspace(-2, 4, 25, base=4.0)]
    rests = square * np.linspace(0.01, 1.0, 100)
    best = (np.inf, 0.0, square)
    for gain in gains:
        variance = gain * own[:, None] ** 2 + rests
        loss = (np.log(variance) + off[:, None] ** 2 / variance).mean(0)
        at = int(loss.argmin())
        best = min(best, (float(loss[at]), float(gain), float(rests[at])))
    return best[1:]
