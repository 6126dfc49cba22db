"""Settings of the training loop: schedule, bounds, which optimiser has which parameter."""

import math

import pytest

from scidiff.networks.token_transformer import TokenTransformer, TokenTransformerConfig
from scidiff.training.config import TrainConfig, optimizers


def test_learning_rate_warms_up_and_decays():
    c = TrainConfig(steps=110, lr=2.0, warmup=10)
    assert c.learning_rate(0) == pytest.approx(0.2)
    assert c.learning_rate(9) == c.learning_rate(10) == pytest.approx(2.0)
    assert c.learning_rate(60) == pytest.approx(2.0 * (0.01 + 0.99 / 2))
    assert c.learning_rate(110) == c.learning_rate(500) == pytest.approx(0.02)
    assert TrainConfig(steps=5, warmup=0).learning_rate(0) == TrainConfig(steps=5).lr
    falling = [c.learning_rate(s) for s in range(10, 111)]
    assert falling == sorted(falling, reverse=True)


@pytest.mark.parametrize(
    "wrong",
    [{"steps": 0}, {"batch_size": 0}, {"accumulate": 0}, {"log_every": 0}, {"patience": -1},
     {"lr": 0.0}, {"lr": math.nan}, {"ema": 1.0}, {"precision": "16-mixed"}, {"warmup": -1}],
)  # fmt: skip
def test_impossible_settings_are_refused(wrong):
    with pytest.raises(ValueError, match=next(iter(wrong))):
        TrainConfig(**{"steps": 10, **wrong})


def test_every_parameter_has_one_optimizer():
    net = TokenTransformer(TokenTransformerConfig(7, 8, width=16, depth=1, heads=2))
    muon, adam = optimizers(net, TrainConfig(steps=1))
    matrices = [p for group in muon.param_groups for p in group["params"]]
    rest = [p for group in adam.param_groups for p in group["params"]]
    assert {id(p) for p in matrices} | {id(p) for p in rest} == {id(p) for p in net.parameters()}
    assert len(matrices) + len(rest) == len(list(net.parameters()))
    assert all(p is not net.head.weight and p is not net.own.weight for p in matrices)
    assert len(matrices) == 4  # qkv, out, up, down
