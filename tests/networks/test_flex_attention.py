"""Attention by tiles: the same mask as the dense one, and the same attention."""

import pytest
import torch

from scidiff.core import seeded
from scidiff.networks.flex_attention import two_copy_rule, two_copy_tiles
from scidiff.networks.token_transformer import (
    TokenTransformer,
    TokenTransformerConfig,
    two_copy_mask,
)

CPU = torch.device("cpu")
MASK = 8
unfused = pytest.mark.filterwarnings("ignore:flex_attention called without torch.compile")


@pytest.mark.parametrize("length, block", [(1, 1), (6, 1), (6, 2), (7, 3), (8, 8), (150, 16)])
def test_the_rule_is_the_dense_mask(length, block):
    at = torch.arange(2 * length)
    rule = two_copy_rule(length, block)(at[:1], at[:1], at[:, None], at[None])
    assert torch.equal(rule, two_copy_mask(length, block, CPU))


def test_empty_tiles_are_left_out_and_made_once():
    tiles = two_copy_tiles(512, 16, CPU)
    assert tiles is two_copy_tiles(512, 16, CPU)
    # of 8 x 8 tiles of 128: 4 on the diagonal, 4 + 6 of earlier clean blocks, 4 + 6 among clean
    assert tiles.to_dense().sum() == 4 + 10 + 10
    assert 60 < tiles.sparsity() < 65


def network(length, device="cpu", **sizes):
    torch.manual_seed(0)
    config = TokenTransformerConfig(9, length, **{"width": 32, "depth": 2, "heads": 2, **sizes})
    net = TokenTransformer(config)
    with torch.no_grad():
        for p in net.parameters():
            if p.ndim == 2:
                p.copy_(torch.randn(p.shape, generator=seeded(1)) / p.shape[1] ** 0.5)
    return net.to(device)


def rows(length, device="cpu"):
    clean = torch.randint(2, MASK, (2, length), generator=seeded(2)).to(device)
    hidden = (torch.rand(2, length, generator=seeded(3)) < 0.5).to(device)
    return torch.where(hidden, MASK, clean), clean


@unfused
@pytest.mark.parametrize("length, block", [(24, 8), (150, 16)])
@torch.no_grad()
def test_a_pass_by_tiles_is_the_dense_pass(length, block):
    net, (noisy, clean) = network(length), rows(length)
    dense = net.two_copy(noisy, clean, block)
    net.flex_from = 2 * length + 1
    assert torch.equal(net.two_copy(noisy, clean, block), dense)
    net.flex_from = 2 * length
    torch.testing.assert_close(net.two_copy(noisy, clean, block), dense, atol=1e-5, rtol=0)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_compiled_tiles_are_the_dense_pass_on_cuda():
    net, (noisy, clean) = network(256, "cuda", width=64), rows(256, "cuda")
    dense = net.two_copy(noisy, clean, 16)
    dense.square().sum().backward()
    expected = [p.grad.clone() for p in net.parameters() if p.grad is not None]
    net.zero_grad()
    net.flex_from = 1
    for block in net.blocks:
        block.compile(dynamic=True)
    tiled = net.two_copy(noisy, clean, 16)
    tiled.square().sum().backward()
    torch.testing.assert_close(tiled, dense, atol=1e-4, rtol=1e-4)
    for p, q in zip((p for p in net.parameters() if p.grad is not None), expected, strict=True):
        torch.testing.assert_close(p.grad, q, atol=1e-2, rtol=1e-2)
