"""Settings of sequence-then-structure, its rows and their batches."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from scidiff.core import ScidiffError, normal, seeded
from scidiff.data.points import PackedPoints, Points
from scidiff.data.tokens import EOS, FIRST_SYMBOL, PAD, Vocabulary
from scidiff.networks.point_blocks import PointBlockNetwork, PointBlockNetworkConfig
from scidiff.processes.continuous_blocks import Items
from scidiff.processes.point_blocks import PointBlockProcess, PointBlocks, with_end
from scidiff.training.config import TrainConfig
from scidiff.training.plan import Stage
from scidiff.training.point_blocks import ItemBatches, PreparedItems


def packed(sizes=(3, 1, 4, 2, 4)) -> PackedPoints:
    rng = np.random.default_rng(0)
    return PackedPoints.of(
        [Points.of(rng.choice([1, 6, 8], n), rng.normal(size=(n, 3))) for n in sizes]
    )


def prepared() -> PreparedItems:
    table = packed()
    kinds = np.array([{6: 0, 1: 1, 8: 2}[int(z)] for z in table.numbers])
    return PreparedItems(Vocabulary(("C", "H", "O"), "points"), table, table, (kinds, kinds), [])


@pytest.mark.parametrize(
    "wrong", [{"sizes": ()}, {"sizes": (2, 0)}, {"scale": 0.0}, {"structure": -1.0},
              {"times": "sorted"}],
    ids=["none", "zero", "scale", "weight", "times"],
)  # fmt: skip
def test_settings_that_make_no_sense_are_refused(wrong) -> None:
    with pytest.raises(ValueError, match=r"point_blocks\."):
        PointBlocks(**wrong)


def test_the_end_stands_behind_the_last_atom() -> None:
    mask = torch.tensor([[True, True, False], [True] * 3, [False] * 3])
    x = Items(torch.zeros(3, 3, 3), torch.full((3, 3), 2), mask)
    assert with_end(x).tolist() == [[2, 2, EOS, PAD], [2, 2, 2, EOS], [EOS, PAD, PAD, PAD]]


def test_noise_is_of_the_model_s_units_and_leaves_atoms() -> None:
    x0 = prepared().batches(5, 0).rows(np.arange(5))
    process = PointBlockProcess(PointBlocks(scale=2.0))
    x = process.noise(x0, torch.zeros(x0.mask.shape), seeded(0))
    heavy = x0.mask.sum(1) > 1
    first = (x0.features[:, 1] - x0.features[:, 0]).norm(dim=-1) / 2
    assert torch.allclose(x.features[heavy, 1, 0], first[heavy], atol=1e-6)
    assert torch.equal(x.tokens, x0.tokens) and not x.features[:, 0].any()


def test_every_block_size_is_trained() -> None:
    seen = []

    class Asked(PointBlockNetwork):
        def __init__(self) -> None:
            super().__init__(PointBlockNetworkConfig(6, 4, 16, 2, 1, 1, 1, spatial=1))
            inner = self.structure.forward
            self.structure.forward = lambda x0, n, t, b: seen.append(b) or inner(x0, n, t, b)

    x0, net = prepared().batches(5, 0).rows(np.arange(5)), Asked()
    for seed in range(20):
        PointBlockProcess(PointBlocks(sizes=(1, 3, 29))).loss(net, x0, seeded(seed))
    assert {tuple(b.tolist()) for b in seen} == {(0, 1, 2, 3), (0, 0, 0, 1), (0, 0, 0, 0)}


def test_both_parts_learn_from_both_losses() -> None:
    net = PointBlockNetwork(PointBlockNetworkConfig(6, 4, 16, 2, 1, 1, 1, spatial=1))
    for p in net.parameters():
        if not p.any():
            torch.nn.init.normal_(p, std=0.2)
    x0 = Items(normal((2, 4, 3), seeded(1)), torch.full((2, 4), 3), torch.ones(2, 4).bool())
    told = {}
    for weight in (1e-9, 1e9):
        net.zero_grad()
        process = PointBlockProcess(PointBlocks((2,), structure=weight))
        process.loss(net, x0, seeded(0)).sum().backward()
        told[weight] = {n for n, p in net.named_parameters() if p.grad is not None and
                        p.grad.abs().max() > 1e-6}  # fmt: skip
    assert not any(n.startswith("structure") for n in told[1e-9])
    assert any(n.startswith("structure.hidden_in") for n in told[1e9])
    assert any(n.startswith("sequence.blocks") for n in told[1e9])  # through hidden states


# ---------------------------------------------------------------- batches


def test_rows_are_the_molecules_with_their_types() -> None:
    data = prepared()
    x = data.batches(2, 0).rows(np.array([2, 1]))
    assert x.mask.sum(1).tolist() == [4, 1] and x.tokens.shape == (2, 4)
    one = data.train[2]
    assert np.allclose(x.features[0], one.positions, atol=1e-6)
    symbols = [data.vocabulary.symbols[i - FIRST_SYMBOL] for i in x.tokens[0].tolist()]
    assert symbols == [{6: "C", 1: "H", 8: "O"}[int(z)] for z in one.numbers]
    assert not x.features[1, 1:].any() and not x.tokens[1, 1:].any()


def test_an_epoch_sees_every_molecule_once() -> None:
    batches = prepared().batches(2, 7)
    sizes = sorted(int(n) for i in range(2) for n in batches(i).mask.sum(1))
    assert len(sizes) == 4 and batches.per_epoch == 2 and len(list(batches.once())) == 3
    assert int(batches.units(batches(0))) == int(batches(0).mask.sum())
    with pytest.raises(ValueError, match="nothing to train on"):
        ItemBatches(packed().take(np.arange(0)), np.zeros(0, np.int64), 2)


def test_a_run_knows_its_rows_and_its_process() -> None:
    data = prepared()
    assert data.longest == 4 and data.length_counts == [0, 1, 1, 1, 2]
    other = PreparedItems(data.vocabulary, data.train, data.validation,
                          (data.species[0][::-1].copy(), data.species[1]), [])  # fmt: skip
    assert data.digest == prepared().digest != other.digest
    config = TrainConfig(steps=1)
    stage = Stage(process="point_blocks", training=config)
    assert data.process(stage).settings == PointBlocks() and stage.angstrom == 1.9
    with pytest.raises(ScidiffError, match="trained by process = 'point_blocks'"):
        data.process(Stage(process="points", training=config))
