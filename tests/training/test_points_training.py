"""Molecules in space as training has them."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from point_targets import MOLECULES

from scidiff.core import ScidiffError, seeded
from scidiff.data.points import PackedPoints
from scidiff.data.tokens import Vocabulary
from scidiff.processes.points import PointProcess, PointSystem
from scidiff.training.config import TrainConfig
from scidiff.training.plan import Stage, check_network, nested_stage
from scidiff.training.points import PointBatches, PreparedPoints, prepare_points
from scidiff.training.sizes import PointsSize
from scidiff.training.trainer import Trainer

MANY = PackedPoints.of(MOLECULES * 8)
SYMBOLS = ("C", "H", "O")
TYPES = np.searchsorted([6, 7, 8], MANY.numbers) % 3
TEXTS = [f"m{i}" for i in range(len(MANY))]


def prepared(validation=4, seed=0, **told) -> PreparedPoints:
    vocabulary = Vocabulary(SYMBOLS, "points")
    return prepare_points(MANY, TEXTS, vocabulary, TYPES, validation, seed, **told)


def stage(**points) -> Stage:
    return Stage(process="points", training=TrainConfig(steps=1), points=PointSystem(**points))


def test_every_molecule_is_trained_on_or_held_out_once():
    data = prepared(validation=7)
    assert len(data.train) == 33 and len(data.validation) == 7
    rows = [int(t[1:]) for t in data.strings]
    assert len(set(rows)) == 33
    for i, row in enumerate(rows):
        assert np.allclose(data.train[i].positions, MANY[row].positions)
        assert np.array_equal(data.train[i].numbers, MANY[row].numbers)
    sizes = np.bincount(MANY.counts) - np.bincount(data.validation.counts, minlength=6)
    assert data.length_counts == sizes.tolist() and data.longest == 5


def test_types_stay_with_their_atoms():
    data = prepared()
    for held, table in ((False, data.train), (True, data.validation)):
        wanted = np.searchsorted([6, 7, 8], table.numbers) % 3
        assert np.array_equal(data.species[held], wanted)


def test_an_epoch_sees_every_molecule_once_and_mostly_of_one_size():
    batches = PointBatches(MANY, TYPES, 8, seed=1, num_types=3)
    states = [batches(i) for i in range(5)]
    sizes = torch.cat([s.mask.sum(1) for s in states])
    assert torch.equal(sizes.bincount(), torch.from_numpy(np.bincount(MANY.counts)))
    places = sum(s.mask.numel() for s in states)
    assert places < 1.15 * int(MANY.counts.sum())
    assert torch.equal(batches(2).positions, states[2].positions)  # of (seed, i) alone
    assert sum(len(s) for s in batches.once()) == 40
    assert int(batches.units(states[0])) == int(states[0].mask.sum())


def test_processes_share_a_batch():
    batches = PointBatches(MANY, TYPES, 8, num_types=3)
    whole = batches(3)
    parts = [batches(3, rank, 2) for rank in range(2)]
    assert torch.equal(parts[1].mask.sum(1), whole.mask.sum(1)[1::2])
    with pytest.raises(ValueError, match="cannot be shared by 9"):
        batches(0, 0, 9)
    with pytest.raises(ValueError, match="nothing to train on"):
        PointBatches(MANY.take(np.arange(0)), TYPES[:0], 8, num_types=3)


def test_what_molecules_are_told_goes_with_them():
    told = {"gap": [float(i) for i in range(len(MANY))]}
    data = prepared(told=told)
    x = data.batches(6, 0)(0)
    assert data.conditions.names == ["gap"] and x.condition.shape == (6, 1)
    held = next(iter(data.batches(4, 0, held=True).once()))
    rows = {int(t[1:]) for t in data.strings}
    assert not rows & {round(v) for v in held.condition.flatten().tolist()}


def test_another_order_or_bond_is_another_run():
    one, same, other = prepared(), prepared(), prepared(seed=1)
    assert one.digest == same.digest != other.digest
    bent = replace(one, train=replace(one.train, orders=one.train.orders[::-1].copy()))
    assert bent.digest != one.digest


def test_the_process_is_that_of_the_stage():
    assert prepared().process(stage(mean=0.5)) == PointProcess(PointSystem(mean=0.5))
    assert Stage(process="points", training=TrainConfig(steps=1)).points == PointSystem()
    with pytest.raises(ScidiffError, match="trained by process = 'points'"):
        prepared().process(Stage(process="masked", training=TrainConfig(steps=1)))
    bare = prepare_points(
        PackedPoints.of([replace(m, bonds=None) for m in MOLECULES]), TEXTS[:5],
        Vocabulary(SYMBOLS, "points"), TYPES[: int(MANY.counts[:5].sum())], 1, 0,
    )  # fmt: skip
    with pytest.raises(ScidiffError, match=r"points\.bonds = false"):
        bare.process(stage())
    assert bare.process(stage(bonds=False)).system.num_bonds == 0


def test_rows_of_tokens_are_no_molecules_in_space():
    from scidiff.processes.tokens import token_process

    with pytest.raises(ValueError, match="molecules in space, got rows of tokens"):
        token_process("points", Vocabulary(SYMBOLS, "points"))


@pytest.mark.parametrize("bonds", [True, False])
def test_network_and_system_agree_on_bonds(bonds):
    size = PointsSize("points", bonds=bonds)
    check_network(size, [stage() if bonds else stage(bonds=False)])
    with pytest.raises(ValueError, match=rf"network\.bonds must be {str(not bonds).lower()}"):
        check_network(size, [stage(bonds=False) if bonds else stage()])


def test_a_table_of_a_recipe_is_a_stage():
    table = {"process": "points", "steps": 3, "points": {"mean": 0.1}}
    assert nested_stage(table)["points"] == {"mean": 0.1}


def test_too_many_held_out_is_an_error():
    with pytest.raises(ScidiffError, match="below the number of rows"):
        prepared(validation=40)


def test_training_learns_every_component(tmp_path):
    torch.manual_seed(0)
    size, data = PointsSize("points", width=32, edge_width=16, depth=2), prepared()
    network, process = size.build(data.vocabulary, data.longest), data.process(stage())
    rows = data.batches(32, 0).rows(np.arange(32))

    def losses() -> torch.Tensor:
        with torch.no_grad():
            guess, t = network.eval().denoiser(process.system), torch.full((32,), 0.5)
            return torch.stack([v.sum() for v in process.losses(guess, rows, t, seeded(0))])

    before = losses()
    config = TrainConfig(steps=150, batch_size=16, lr=5e-3, warmup=5, ema=0.9,
                         precision="32-true")  # fmt: skip
    trainer = Trainer(network, process, data.batches(16, 0), config, tmp_path, accelerator="cpu")
    trainer.fit()
    trainer.use_averaged()
    assert (losses() < 0.85 * before).all()
