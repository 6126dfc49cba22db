"""Running a recipe's stages: encoded rows, a network, and one training run after another."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence, Sized
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from torch import nn

from scidiff.core import Process, ScidiffError, torch_seeded
from scidiff.data.conditions import Conditions
from scidiff.data.graph_order import block_laws
from scidiff.data.graph_tokens import bonded_ids, node_count
from scidiff.data.tokens import EOS, PAD, Vocabulary, encode_rows
from scidiff.files import write_atomically
from scidiff.networks.graph_tokens import GraphTokenNetwork
from scidiff.networks.ppgn import GraphBlockNetwork
from scidiff.networks.token_transformer import TokenTransformer
from scidiff.processes.conditional import ConditionalProcess
from scidiff.processes.discrete_flow import TokenNoise
from scidiff.processes.graph_blocks import GraphBlockProcess
from scidiff.processes.noise_ranges import AUTO
from scidiff.processes.tokens import token_process
from scidiff.training.batches import Batches, TokenBatches
from scidiff.training.plan import Plan, Stage, check_blocks, check_network, stage_names
from scidiff.training.trainer import Trainer

OnLog = Callable[[str, int, dict[str, float]], None]
"""on_log(stage, step, row), called with every row of the training log."""
OnStage = Callable[[list[dict[str, Any]]], bool]
"""on_stage(what there is to say of the stages so far), called after each: whether to go on."""


class Rows(Protocol):
    """What training needs of the rows of a recipe, however they are stored."""

    @property
    def vocabulary(self) -> Vocabulary: ...

    @property
    def validation(self) -> Sized: ...

    @property
    def strings(self) -> Sequence[str]:
        """The training rows as text, for the novelty filter."""
        ...

    @property
    def conditions(self) -> Conditions | None:
        """What rows are told besides."""
        ...

    @property
    def longest(self) -> int:
        """Size of the largest row."""
        ...

    @property
    def length_counts(self) -> list[int]:
        """How many training rows have the size n, n = 0, 1, ..."""
        ...

    @property
    def digest(self) -> str:
        """What a run must find again to be the same run."""
        ...

    def batches(self, size: int, seed: int, held: bool = False) -> Batches:
        """Batches of `size` training rows, or of those held out."""
        ...

    def process(self, stage: Stage) -> Process[Any]:
        """The process of a stage on these rows."""
        ...


@dataclass(frozen=True)
class Prepared:
    """Encoded token rows of a recipe and what is known of them."""

    vocabulary: Vocabulary
    train: np.ndarray  # (N, L) uint8
    validation: np.ndarray  # (M, L) uint8
    strings: Sequence[str]  # the training strings, for the novelty filter
    conditions: Conditions | None = None  # what rows are told besides
    train_told: np.ndarray | None = None  # (N, C) float32
    validation_told: np.ndarray | None = None  # (M, C) float32

    @property
    def longest(self) -> int:
        """Tokens of the longest row with its end."""
        return self.train.shape[1]

    def batches(self, size: int, seed: int, held: bool = False) -> TokenBatches:
        """Batches of `size` training rows, or of those held out."""
        if held:
            return TokenBatches(self.validation, size, seed, conditions=self.validation_told)
        return TokenBatches(self.train, size, seed, conditions=self.train_told)

    def process(self, stage: Stage) -> Process[Any]:
        """The process of a stage on these rows."""
        law = noise_law(stage, self)
        return token_process(stage.process, self.vocabulary, **stage.settings, law=law)

    @property
    def length_counts(self) -> list[int]:
        """How many training rows have n symbols, n = 0, 1, ..."""
        return np.bincount(((self.train != PAD) & (self.train != EOS)).sum(1)).tolist()

    @property
    def digest(self) -> str:
        """SHA-256 of vocabulary and rows: what a run must find again to be the same run."""
        found = hashlib.sha256(repr((self.vocabulary, self.train.shape)).encode())
        for rows in (self.train, self.validation, self.train_told, self.validation_told):
            found.update(b"" if rows is None else rows.tobytes())
        return found.hexdigest()


def encode(
    strings: Sequence[str],
    vocabulary: Vocabulary,
    validation: int,
    seed: int,
    length: int | None = None,
    told: Mapping[str, Sequence[Any]] | None = None,
    conditions: Conditions | None = None,
) -> Prepared:
    """Encode, shuffle by `seed` and hold out `validation` rows.

    told: by name, what each row is told besides. conditions: how it is read; fitted if not given.
    """
    if validation >= len(strings):
        raise ScidiffError(
            f"data.validation must be below the number of rows ({len(strings)}), got {validation}"
        )
    ids = encode_rows(vocabulary, strings, length).numpy()
    ids = ids.astype(np.uint8 if len(vocabulary) < 256 else np.int16)
    order = np.random.default_rng(seed).permutation(len(ids))
    held, kept = order[:validation], order[validation:]
    texts = [strings[i] for i in kept]
    if not told:
        return Prepared(vocabulary, ids[kept], ids[held], texts)
    conditions = conditions or Conditions.fit(told)
    rows = conditions.encode(told, len(strings))
    return Prepared(vocabulary, ids[kept], ids[held], texts, conditions, rows[kept], rows[held])


def train_stages(
    plan: Plan,
    network: nn.Module,
    data: Rows,
    out: Path,
    accelerator: str = "auto",
    on_log: OnLog | None = None,
    on_stage: OnStage | None = None,
) -> list[dict[str, Any]]:
    """Run every stage, resuming inside or between stages; leaves the averaged weights in
    `network`. What is returned ends with a stage that is not `finished` where it was told to stop
    and the signal is held back (`interrupts.held_back`)."""
    check_blocks(plan.stages, data.longest)
    _same_rows(Path(out), data)
    summary: list[dict[str, Any]] = []
    for i, (name, stage) in enumerate(zip(stage_names(plan.stages), plan.stages, strict=True)):
        size = stage.training.batch_size
        trainer = Trainer(
            network,
            _process(plan, stage, data),
            data.batches(size, plan.seed + i),
            stage.training,
            Path(out) / name,
            validation=data.batches(size, 0, held=True) if len(data.validation) else None,
            accelerator=accelerator,
        )
        _check_memory(trainer, data.longest)
        trainer.resume()
        trainer.fit(partial(on_log, name) if on_log else None)
        trainer.use_averaged()
        summary.append(_told(trainer))
        if on_stage is not None and not on_stage(summary):
            break
    return summary


def _told(trainer: Trainer) -> dict[str, Any]:
    """What there is to say of a stage that is done."""
    chosen = trainer.noise_range
    return {
        "steps": trainer.step,
        "seconds": trainer.seconds,
        "best": trainer.kept,
        "finished": trainer.finished,
        **({} if chosen is None else {"noise_range": chosen}),
    }


def _process(plan: Plan, stage: Stage, data: Rows) -> Process[Any]:
    """The process of a stage, told the conditions that the rows have."""
    if stage.noise_range == AUTO and data.conditions is not None:
        raise ScidiffError(
            "noise_range = 'auto' is for rows without conditions, got data.condition = "
            f"{', '.join(data.conditions.names)}; expected two levels, as [0.3, 0.8]"
        )
    process = data.process(stage)
    if data.conditions is None:
        return process
    return ConditionalProcess(process, plan.data.condition_dropout)


def _check_memory(trainer: Trainer, longest: int) -> None:
    """Refuse, before hours of training, a batch of the largest graphs that would not fit."""
    process, network = trainer.process, trainer.network
    if isinstance(process, GraphBlockProcess) and isinstance(network, GraphBlockNetwork):
        rows = min(trainer.config.batch_size, len(trainer.batches))
        process.check(network, rows, node_count(longest), trainer.fabric.device)


def noise_law(stage: Stage, data: Prepared) -> TokenNoise | None:
    """The law of a flow's noise over the training rows; other processes have none."""
    flow = stage.flow if stage.blocks is None else stage.blocks.flow
    if flow is None:
        return None
    return flow.law(data.vocabulary, torch.from_numpy(data.train.astype(np.int64)))


def process_config(stage: Stage, data: Rows) -> dict[str, Any]:
    """The process as a model's config names it, with the probabilities of a flow's noise, of
    graphs in blocks how large first blocks are and how many blocks there are, and of molecules in
    space what those of each size are told."""
    if not isinstance(data, Prepared):
        told = getattr(data, "told_sizes", None)
        return stage.spec if told is None else {**stage.spec, "told_sizes": told}
    law, counts = noise_law(stage, data), {}
    if stage.blocks is not None:
        counts = block_laws(data.train, bonded_ids(data.vocabulary), stage.blocks.hops)
    return stage.spec if law is None else {**stage.spec, "law": law.laws.tolist(), **counts}


def _same_rows(out: Path, data: Rows) -> None:
    """Refuse to continue a run of other rows: it may have been begun on another machine."""
    file, digest = out / "rows.sha256", data.digest
    if file.exists() and file.read_text().strip() != digest:
        raise ScidiffError(
            f"{out} was started on other rows (their order counts); use another --out or the rows "
            "it was started on"
        )
    write_atomically(file, f"{digest}\n".encode())


def build_network(plan: Plan, data: Rows) -> nn.Module:
    """A fresh network of the recipe's kind and size, initialised by its seed."""
    check_network(plan.network, plan.stages)
    if data.conditions is None:
        with torch_seeded(plan.seed):
            return plan.network.build(data.vocabulary, data.longest)
    if not plan.network.takes_conditions:
        raise ScidiffError(
            f"network.kind {plan.network.kind!r} takes no conditions, got data.condition = "
            f"{', '.join(data.conditions.names)}"
        )
    with torch_seeded(plan.seed):
        return plan.network.build(data.vocabulary, data.longest, data.conditions.standard)


def extend_network(network: nn.Module, old: Vocabulary, new: Vocabulary) -> nn.Module:
    """A trained network for a vocabulary with more symbols. Raises ScidiffError where its kind
    cannot take them."""
    if old == new:
        return network
    if not isinstance(network, TokenTransformer | GraphTokenNetwork):
        more = " ".join(new.symbols[len(old.symbols) :])
        raise ScidiffError(
            f"a {type(network).__name__} knows the symbols {' '.join(old.symbols)} and cannot "
            f"take more, got {more}"
        )
    return network.extended(new)
