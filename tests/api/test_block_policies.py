"""Policies of block sizes beside a model: learnt, found by name, and what they exclude."""

import pytest
import torch
from tiny_models import write_tiny_model

from scidiff.api.block_policies import learn_block_policy
from scidiff.api.entry import load
from scidiff.core import ScidiffError
from scidiff.networks.size_policy import SizePolicy, SizePolicyConfig


@pytest.fixture
def model(tmp_path):
    return load(write_tiny_model(tmp_path / "tiny", "block"), device="cpu")


def test_a_policy_is_learnt_and_found_by_name(model, tmp_path):
    file = model.source / "block_policies" / "fast.safetensors"
    how = {"cost": 0.5, "sizes": [1, 2, 4], "rounds": 30, "rows": 32, "lr": 0.1, "seed": 1}
    rounds = learn_block_policy(model, file, **how)
    assert rounds[-1].steps < rounds[0].steps  # at this cost the largest parts are best
    named, by_path = (model.sample(20, seed=2, block_policy=name) for name in ("fast", str(file)))
    assert [r.text for r in named] == [r.text for r in by_path]
    assert learn_block_policy(model, tmp_path / "again.safetensors", **how) == rounds


def test_the_last_size_bounds_what_a_step_writes(model):
    policy = SizePolicy(SizePolicyConfig((1, 2)))
    policy.save(model.source / "block_policies" / "two.safetensors")
    sampler = model.sampler(block_policy="two")
    assert sampler.widest == 2 and sampler.sizes.sizes == (1, 2)
    x = sampler.step(sampler.init(10, torch.Generator().manual_seed(0)), 0,
                     torch.Generator().manual_seed(1))  # fmt: skip
    assert ((x.ids != model.engine.network.mask_id).sum(1) <= 2).all()


def test_what_cannot_be_asked_is_an_error(model, tmp_path):
    SizePolicy(SizePolicyConfig((1, 2))).save(model.source / "block_policies/two.safetensors")
    with pytest.raises(ScidiffError, match=r"policy of this model \(two\), got 'tow'; did you"):
        model.sample(2, block_policy="tow")
    with pytest.raises(ValueError, match="exclude each other: block_policy='two' and threshold"):
        model.sample(2, block_policy="two", threshold=0.9)
    with pytest.raises(ValueError, match="tokens_per_step must be 1, got 2"):
        model.sample(2, block_policy="two", tokens_per_step=2)
    with pytest.raises(ScidiffError, match="at most the model's block_size 4, got"):
        learn_block_policy(model, tmp_path / "x.safetensors", sizes=[1, 8])
    masked = load(write_tiny_model(tmp_path / "masked"), device="cpu")
    with pytest.raises(ScidiffError, match="needs a model that writes strings in blocks"):
        learn_block_policy(masked, tmp_path / "x.safetensors")
