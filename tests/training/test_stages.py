"""Stages that follow and resume each other, and the networks they start from."""

import shutil
from dataclasses import dataclass

import numpy as np
import pytest
import torch

from scidiff.core import ScidiffError, seeded
from scidiff.data.tokens import PAD, TokenState, Vocabulary, encode_rows
from scidiff.networks.token_transformer import TokenTransformer, TokenTransformerConfig
from scidiff.processes.block import BlockProcess
from scidiff.processes.masked import MaskedProcess
from scidiff.training.config import TrainConfig
from scidiff.training.plan import Stage
from scidiff.training.sizes import NetworkSize, TokenTransformerSize
from scidiff.training.stages import build_network, encode, extend_network, train_stages

STRINGS = ["C" * n + "O" for n in range(1, 7)] * 8


def test_rows_are_held_out_by_seed():
    vocabulary = Vocabulary.build(STRINGS)
    unique = ["C" * n for n in range(1, 41)]
    a, b, c = (encode(unique, Vocabulary.build(unique), 8, seed) for seed in (0, 0, 1))
    assert a.train.shape == (32, 41) and a.validation.shape == (8, 41)
    assert (a.train == b.train).all() and (a.train != c.train).any()
    lengths = [len(s) for s in a.strings]
    assert lengths == ((a.train != PAD).sum(1) - 1).tolist()
    assert sorted(lengths + ((a.validation != PAD).sum(1) - 1).tolist()) == list(range(1, 41))
    assert a.length_counts == [int(n in lengths) for n in range(max(lengths) + 1)]
    with pytest.raises(ScidiffError, match=r"below the number of rows \(48\), got 48"):
        encode(STRINGS, vocabulary, 48, 0)


def test_large_vocabularies_fit():
    strings = [chr(0x4E00 + i) for i in range(300)]
    data = encode(strings, Vocabulary.build(strings, "characters"), 0, 0)
    assert data.train.dtype == np.int16 and data.train.max() == 301


# ---------------------------------------------------------------- running


@dataclass(frozen=True)
class Toy:
    stages: list[Stage]
    network: NetworkSize = TokenTransformerSize(width=16, depth=1, heads=2)
    seed: int = 0


def two_stages(validation=8, first="autoregressive"):
    """Two short stages and their data."""
    training = TrainConfig(
        steps=5, batch_size=8, precision="32-true", checkpoint_every=2, log_every=1
    )
    plan = Toy([Stage(first, training), Stage("block", training, block_size=2)])
    return plan, encode(STRINGS, Vocabulary.build(STRINGS), validation, 0)


def run(out, on_log=None, validation=8, first="autoregressive"):
    plan, data = two_stages(validation, first)
    network = build_network(plan, data)
    summary = train_stages(plan, network, data, out, "cpu", on_log)
    return network, summary


def test_stages_resume_inside_and_between(tmp_path):
    whole, summary = run(tmp_path / "a")
    assert [s["steps"] for s in summary] == [5, 5] and np.isfinite(summary[1]["best"])
    for name, stop in (("stage1-autoregressive", 3), ("stage2-block", 1), ("stage2-block", 4)):
        out = tmp_path / f"{name}-{stop}"

        def cut(stage, step, row, name=name, stop=stop):
            if (stage, step) == (name, stop):
                raise RuntimeError("power cut")

        with pytest.raises(RuntimeError):
            run(out, cut)
        parts, again = run(out)
        assert all(
            torch.equal(a, b) for a, b in zip(whole.parameters(), parts.parameters(), strict=True)
        )
        assert again[1]["best"] == summary[1]["best"]
    seen = []
    finished, _ = run(tmp_path / "a", lambda *row: seen.append(row))
    assert not seen and torch.equal(finished.head.weight, whole.head.weight)


def test_blocks_longer_than_a_row_are_refused_before_training(tmp_path):
    plan, data = two_stages()
    training = plan.stages[0].training
    assert data.longest == 8  # seven symbols and the end
    for size in (8, 9):
        longer = Toy([*plan.stages, Stage("block", training, block_size=size)])
        network = build_network(longer, data)
        if size == 8:
            train_stages(longer, network, data, tmp_path / "whole", "cpu")
            continue
        with pytest.raises(ValueError, match=r"block_size of stage 3 must be in 1\.\.8 .*, got 9"):
            train_stages(longer, network, data, tmp_path / "longer", "cpu")
    assert not (tmp_path / "longer").exists()


@pytest.mark.parametrize("first", ["autoregressive", "masked"])
def test_the_second_stage_starts_from_the_first_ones_average(tmp_path, first):
    run(tmp_path, first=first)
    state = tmp_path / f"stage1-{first}" / "state" / "last.pt"
    ema = torch.load(state, weights_only=True)["ema"]
    shutil.rmtree(tmp_path / "stage2-block")
    taken = {}

    def look(stage, step, row):
        raise RuntimeError("far enough")

    plan, data = two_stages(first=first)
    network = build_network(plan, data)
    original = torch.optim.AdamW.step

    def spy(self, *args, **kwargs):
        taken.setdefault("first", [p.detach().clone() for p in network.parameters()])
        return original(self, *args, **kwargs)

    with pytest.MonkeyPatch.context() as patch, pytest.raises(RuntimeError, match="far enough"):
        patch.setattr(torch.optim.AdamW, "step", spy)
        train_stages(plan, network, data, tmp_path, "cpu", look)
    # Muon has stepped by then, so look at what AdamW owns
    owned = [n for n, p in network.named_parameters() if not (p.ndim == 2 and "blocks." in n)]
    for (name, _), a, b in zip(network.named_parameters(), taken["first"], ema, strict=True):
        assert name not in owned or torch.equal(a, b), name


def test_blocks_of_a_whole_row_cost_what_a_masked_model_was_trained_on(tmp_path):
    """The way from masked diffusion to blocks begins where masked diffusion ends."""
    _, data = two_stages()
    training = TrainConfig(steps=30, batch_size=8, precision="32-true", lr=0.03, ema=0.5)
    plan = Toy([Stage("masked", training)])
    network = build_network(plan, data)
    train_stages(plan, network, data, tmp_path, "cpu")
    mask_id, L = network.mask_id, data.longest
    x0 = TokenState(torch.randint(2, mask_id, (64, L), generator=seeded(0)))  # no end inside
    with torch.no_grad():
        masked = MaskedProcess(mask_id).loss(network, x0, seeded(1))
        block = BlockProcess(mask_id, L).loss(network, x0, seeded(1))
        smaller = BlockProcess(mask_id, 2).loss(network, x0, seeded(1))
    torch.testing.assert_close(block, masked)
    assert (smaller - masked).abs().mean() > 0.1


def test_no_validation_rows_is_fine(tmp_path):
    rows = []
    _, summary = run(tmp_path, lambda stage, step, row: rows.append(row), validation=0)
    assert not any("validation" in row for row in rows) and summary[0]["steps"] == 5


def test_other_rows_are_refused(tmp_path):
    run(tmp_path)
    plan, data = two_stages()
    for other in (STRINGS[::-1], STRINGS[:-1] + ["OC"]):
        rows = encode(other, Vocabulary.build(other), 8, 0)
        assert rows.digest != data.digest
        with pytest.raises(ScidiffError, match="was started on other rows"):
            train_stages(plan, build_network(plan, rows), rows, tmp_path, "cpu")


def test_networks_are_built_by_seed():
    plan, data = two_stages()
    a, b = build_network(plan, data), build_network(plan, data)
    assert torch.equal(a.previous.weight, b.previous.weight)
    assert a.config.max_length == data.train.shape[1] == 8


@pytest.mark.parametrize("way", ["bidirectional", "causal", "two_copy"])
@torch.no_grad()
def test_extension_only_renormalises(way):
    old = Vocabulary(("C", "N", "O"))
    new = old.extended(["BrS"])
    network = TokenTransformer(TokenTransformerConfig(len(old), 6, width=16, depth=2, heads=2))
    rng = torch.Generator().manual_seed(0)
    for p in network.parameters():
        p.copy_(torch.randn(p.shape, generator=rng) / p.shape[-1] ** 0.5)
    network.own.weight[old.mask_id] = 0
    bigger = extend_network(network, old, new)
    hide = torch.tensor([[False, True, False, True, False]])

    def log_p(net, vocabulary):
        clean = encode_rows(vocabulary, ["CNOC"])
        noisy = torch.where(hide, vocabulary.mask_id, clean)
        trunk = {
            "bidirectional": lambda: net.bidirectional(noisy),
            "causal": lambda: net.causal(clean),
            "two_copy": lambda: net.two_copy(noisy, clean, 2),
        }[way]()
        return net.log_probs(trunk)

    shared = old.mask_id  # ids below it mean the same in both
    before, after = log_p(network, old)[..., :shared], log_p(bigger, new)[..., :shared]
    torch.testing.assert_close(before, after.log_softmax(-1))
    lost = 1 - after.exp().sum(-1)
    assert (lost > 0).all() and (lost < 1).all()  # what the new symbols took
    assert torch.isfinite(log_p(bigger, new)[..., shared:-1]).all()
