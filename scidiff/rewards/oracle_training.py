"""Training of oracles on measured or labelled sequences.

    oracle = train_oracle((sequences, cells), (held, held_cells), alphabet=DNA, strands=True)
    oracle.save("runs/mine", "# my oracle")
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn
from torch.nn import functional as F

from scidiff.data.alphabets import Alphabet
from scidiff.data.letters import letter_ids
from scidiff.data.strands import both_strands
from scidiff.networks.sequence_oracle import (
    KmerOracle,
    KmerOracleConfig,
    SequenceOracle,
    SequenceOracleConfig,
)
from scidiff.processes.supervised import Supervised, Task
from scidiff.rewards.learned import Oracle
from scidiff.training.config import TrainConfig
from scidiff.training.labelled import LabelledBatches
from scidiff.training.trainer import Trainer

Labelled = tuple[Sequence[str], Sequence[Any]]  # sequences, and a label or a number each


def train_oracle(
    rows: Labelled, validation: Labelled, *, alphabet: Alphabet, name: str = "oracle",
    strands: bool = False, network: SequenceOracleConfig | KmerOracleConfig | None = None,
    config: TrainConfig | None = None, ridge: float = 1e-3, seed: int = 0,
) -> Oracle:
    """Learn labels (text) or numbers of sequences.

    `network` says which: convolutions (trained for `config`, by default 2,000 steps; the EMA
    weights that validated best with its `patience`), or k-mer counts with linear weights (`ridge`;
    convex, so without a seed). `strands`: each row is shown from both strands. Raises ValueError
    for a validation label that no training row has.
    """
    train, spelled = _spelled(rows, alphabet), _spelled(validation, alphabet)
    task: Task = "classes" if isinstance(train[1][0], str) else "number"
    outputs = tuple(sorted(set(map(str, train[1])))) if task == "classes" else (name,)
    numbers = np.zeros(1) if task == "classes" else np.asarray(train[1], np.float64)
    lengths = [len(s) for s in train[0]]
    oracle = Oracle(nn.Identity(), name, alphabet, task, outputs, strands,
                    mean=float(numbers.mean()), spread=float(numbers.std()) or 1.0,
                    lengths=(min(lengths), max(lengths)))
    shape = network or SequenceOracleConfig(len(alphabet.letters), len(outputs))
    data = _arrays(train, oracle), _arrays(spelled, oracle)
    if isinstance(shape, KmerOracleConfig):
        counted = KmerOracle(shape)
        letters, target = (torch.from_numpy(a) for a in data[0])
        counted.fit(letters.long(), target, task, ridge)
        return _finished(replace(oracle, network=counted), spelled)
    settings = config or TrainConfig(2_000, batch_size=128, lr=2e-3, precision="32-true",
                                     seed=seed)
    made = fit(lambda: SequenceOracle(shape), task, data[0], data[1], settings)
    return _finished(replace(oracle, network=made), spelled)


def fit(
    make: Callable[[], nn.Module], task: Task, rows: tuple[NDArray[Any], NDArray[Any]],
    validation: tuple[NDArray[Any], NDArray[Any]] | None, config: TrainConfig,
) -> nn.Module:
    """Train a network on (letters, target) in the one training loop, and leave its EMA weights."""
    held = None if validation is None else LabelledBatches(*validation, config.batch_size)
    batches = LabelledBatches(*rows, config.batch_size, config.seed)
    # initial weights and dropout draw from torch's own generator, which is lent and given back
    with tempfile.TemporaryDirectory() as out, torch.random.fork_rng(devices=[]):
        torch.manual_seed(config.seed)
        network = make()
        trainer = Trainer(network, Supervised(task), batches, config, Path(out), validation=held,
                          accelerator="cpu")
        trainer.fit()
        trainer.use_averaged()
    return network.eval()


def _spelled(rows: Labelled, alphabet: Alphabet) -> tuple[list[str], Sequence[Any]]:
    sequences, labels = rows
    if len(sequences) != len(labels) or not len(labels):
        raise ValueError("there must be as many labels as sequences and at least one, got "
                         f"{len(labels)} for {len(sequences)}")
    out = []
    for row, sequence in enumerate(sequences, 1):
        try:
            out.append(alphabet.spell(sequence))
        except ValueError as error:
            raise ValueError(f"row {row}: {error}") from None
    return out, labels


def _arrays(rows: tuple[list[str], Sequence[Any]], oracle: Oracle
            ) -> tuple[NDArray[Any], NDArray[Any]]:
    sequences, labels = rows
    if oracle.task == "classes":
        target: NDArray[Any] = np.array([oracle.index(str(v)) for v in labels], np.int64)
    else:
        z = (np.asarray(labels, np.float64) - oracle.mean) / oracle.spread
        target = z.astype(np.float32)[:, None]
    if oracle.strands:
        sequences, target = both_strands(sequences), np.concatenate([target, target])
    return letter_ids(sequences, oracle.alphabet.letters), target


def _finished(oracle: Oracle, validation: tuple[list[str], Sequence[Any]]) -> Oracle:
    """The oracle with its temperature and floors, from the validation rows."""
    sequences, labels = validation
    if oracle.task == "classes":
        logits = oracle.raw(sequences)
        truth = torch.tensor([oracle.index(str(v)) for v in labels])
        scales = torch.logspace(-1, 1, 81, base=4.0, dtype=torch.float64)
        nll = [float(F.cross_entropy(logits / t, truth)) for t in scales]
        oracle = replace(oracle, temperature=float(scales[int(np.argmin(nll))]))
    known = [s for s in sequences if oracle.applies(s)]
    return replace(oracle, floors=tuple(oracle.predict(known).min(0).tolist()))
