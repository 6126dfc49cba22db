"""The pieces of the graph transformer, each against its equation."""

import pytest
import torch
from torch.nn import functional as F

from scidiff.networks.graph_transformer import (
    GraphBlock,
    GraphTransformer,
    GraphTransformerConfig,
    random_walks,
)


def config(**changes):
    sizes = {"width": 8, "edge_width": 4, "depth": 1, "heads": 2, "walks": 3, **changes}
    return GraphTransformerConfig(2, 3, 2, 3, **sizes)


def drawn(module, seed=0):
    torch.manual_seed(seed)
    for p in module.parameters():
        torch.nn.init.normal_(p, std=0.5)
    return module.eval()


def cycle(n):
    A = torch.zeros(n, n)
    i = torch.arange(n)
    A[i, (i + 1) % n] = A[(i + 1) % n, i] = 1
    return A


def test_random_walks_are_powers_of_the_normalised_adjacency():
    A = torch.tensor([[0.0, 1, 1, 0], [1, 0, 0, 0], [1, 0, 0, 2], [0, 0, 2, 0]])
    half = torch.diag(A.sum(1) ** -0.5)
    walk = half @ A @ half
    found = random_walks(A[None], 4)[0]
    for k in range(4):
        assert torch.allclose(found[..., k], torch.linalg.matrix_power(walk, k + 1), atol=1e-6)


def test_an_isolated_node_walks_nowhere():
    assert torch.equal(random_walks(torch.zeros(1, 2, 2), 3), torch.zeros(1, 2, 2, 3))


def test_a_node_is_told_the_rings_it_stands_in():
    net = drawn(GraphTransformer(config(depth=0)))
    X, E, mask = torch.ones(1, 6, 2), torch.zeros(1, 6, 6, 3), torch.ones(1, 6, dtype=torch.bool)
    two_triangles = torch.block_diag(cycle(3), cycle(3))[None]
    hexagon, _ = net(X, E, cycle(6)[None], mask)
    triangles, _ = net(X, E, two_triangles, mask)  # every node has degree 2 in both
    assert not torch.allclose(hexagon, triangles)


def test_attention_is_biased_and_gated_by_edges_as_written():
    block = drawn(GraphBlock(config()))
    x, e = torch.randn(1, 4, 8), torch.randn(1, 4, 4, 4)
    present = torch.tensor([True, True, True, False])
    told = block._attend(x, e, present[None, None, None])[0]
    q, k = block.qk(x)[0].chunk(2, -1)
    v, told_of = block.value(x)[0], block.edge_bias(e)[0]
    want = torch.zeros(4, 8)
    for h in range(2):
        at = slice(4 * h, 4 * h + 4)
        for i in range(4):
            here = F.rms_norm(q[i, at], (4,)) @ F.rms_norm(k[:, at], (4,)).T / 2
            weight = (here + told_of[i, :, h])[present].softmax(0)
            gated = v[present, at] * (1 + told_of[i, present, 2 + h, None])
            want[i, at] = (weight[:, None] * gated).sum(0)
    assert torch.allclose(told, block.out(want), atol=1e-5)


def test_an_impossible_size_is_named():
    with pytest.raises(ValueError, match="width must be a multiple of heads = 3, got 8"):
        config(heads=3)
