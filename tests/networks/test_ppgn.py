"""The masked graph transformer: nothing leaks from later blocks, all blocks at once are what they
are one by one, and what it may say where."""

import pytest
import torch
from tiny_pard import ATOMS, BONDED, LENGTH, NODES, SHAPE, VOCABULARY, network, noise, rows

from scidiff.core import seeded
from scidiff.data.graph_order import Blocks, at_positions, in_block_order, reordered
from scidiff.data.graph_tokens import triangle
from scidiff.data.tokens import EOS, PAD, TokenState
from scidiff.networks.graph_transformer import GraphTransformerConfig, Triangle
from scidiff.networks.graph_views import one_block, two_copies
from scidiff.networks.ppgn import MaskedProduct
from scidiff.processes.discrete_flow import DiscreteFlowProcess, replace_tokens
from scidiff.processes.graph_blocks import GraphBlockProcess, OneBlock
from scidiff.training.sizes import GraphBlocksSize

IDS, BLOCKS = in_block_order(rows(length=LENGTH), BONDED, 2)
T = torch.full((len(IDS),), 0.6)
NOISY = replace_tokens(noise(), IDS, T, seeded(0))


def cut(at, noisy):
    """Rows and blocks up to block `at`, which is noisy."""
    block = torch.where(BLOCKS.block > at, -1, BLOCKS.block)
    where = at_positions(block, LENGTH)
    ids = torch.where(where == at, noisy, torch.where(where >= 0, IDS, PAD))
    return ids, Blocks(block, BLOCKS.degree * (block >= 0)), block == at


@pytest.mark.parametrize("triangle", [True, False])
def test_all_blocks_at_once_are_what_they_are_one_by_one(triangle):
    net = network(triangle=triangle)
    with torch.no_grad():
        together, features = net.all_blocks(IDS, NOISY, BLOCKS, T)
        for at in range(int(BLOCKS.count.max())):
            ids, blocks, noisy = cut(at, NOISY)
            alone, clean = net.last_block(ids, blocks, noisy, T)
            here = at_positions(noisy.long(), LENGTH, 0) > 0
            assert torch.equal(together[here].isfinite(), alone[here].isfinite())
            finite = alone[here].isfinite()
            gap = (together[here][finite] - alone[here][finite]).abs().max()
            known = ((blocks.block >= 0) & ~noisy)[..., None]
            assert gap < 1e-5 and ((features - clean) * known).abs().max() < 1e-5


@pytest.mark.parametrize("causal", [True, False])
def test_clean_nodes_know_nothing_of_noisy_ones(causal):
    net, (ids, blocks, noisy) = network(causal), cut(1, NOISY)
    other = replace_tokens(noise(), IDS, torch.ones(len(IDS)), seeded(9))
    with torch.no_grad():
        a, features = net.last_block(ids, blocks, noisy, T)
        b, changed = net.last_block(cut(1, other)[0], blocks, noisy, T * 0.1)
    known = (blocks.block >= 0) & ~noisy
    assert (features - changed)[known].abs().max() < 1e-6
    here = at_positions(noisy.long(), LENGTH, 0) > 0
    assert not torch.allclose(a[here].exp(), b[here].exp(), atol=1e-3)


def test_in_a_causal_network_blocks_see_no_later_ones():
    net = network()
    with torch.no_grad():
        _, whole = net.last_block(IDS, BLOCKS, torch.zeros_like(BLOCKS.block).bool(), T)
        for at in range(int(BLOCKS.count.max())):
            ids, blocks, _ = cut(at, IDS)
            _, part = net.last_block(ids, blocks, torch.zeros_like(blocks.block).bool(), T)
            assert (whole - part)[blocks.block >= 0].abs().max() < 1e-5


def test_what_blocks_say_depends_on_size_degree_time_and_predecessors():
    net, (ids, blocks, noisy) = network(), cut(1, NOISY)
    here = at_positions(noisy.long(), LENGTH, 0) > 0
    with torch.no_grad():
        told = net.last_block(ids, blocks, noisy, T)[0][here].exp()
        others = [
            net.last_block(ids, Blocks(blocks.block, blocks.degree + noisy), noisy, T),
            net.last_block(ids, blocks, noisy, T * 0.5),
            net.last_block(torch.where(ids == ids[0, 0], ids[7, 4], ids), blocks, noisy, T),
        ]
    for other in others:
        assert (told - other[0][here].exp()).abs().max() > 1e-3


@pytest.mark.parametrize("causal", [True, False])
def test_nodes_of_a_block_have_no_order(causal):
    net, (ids, blocks, noisy) = network(causal), cut(1, NOISY)
    order = torch.arange(NODES).expand(len(ids), -1).clone()
    first = noisy.int().argmax(1)
    for row, at in enumerate(first.tolist()):
        n = int(noisy[row].sum())
        order[row, at : at + n] = order[row, at : at + n].flip(0)
    with torch.no_grad():
        told = net.last_block(ids, blocks, noisy, T)[0]
        moved = net.last_block(reordered(ids, order), blocks, noisy, T)[0]
    assert (order != torch.arange(NODES)).any()
    expected = torch.stack([reordered(v, order) for v in told.exp().unbind(-1)], -1)
    assert torch.allclose(moved.exp(), expected, atol=1e-5)


def test_every_position_says_what_may_stand_there():
    net, (ids, blocks, noisy) = network(), cut(1, NOISY)
    told = net.last_block(ids, blocks, noisy, T)[0].detach()
    assert torch.allclose(told.exp().sum(-1), torch.ones(ids.shape), atol=1e-5)
    here = at_positions(noisy.long(), LENGTH, 0) > 0
    assert torch.equal(told.argmax(-1)[~here], ids[~here])
    assert (told.exp().amax(-1)[~here] == 1).all()
    nodes = [VOCABULARY.encode(s)[0] for s in ATOMS]
    row = told[1].exp()
    start = triangle(int((blocks.block[1] == 0).sum()))
    assert float(row[start, nodes].sum()) == pytest.approx(1)
    assert float(row[start + 1, nodes].sum()) == 0
    whole = net.bidirectional(NOISY, T)
    assert whole[0, triangle(3)].argmax() == EOS and whole[0, triangle(3) + 1].argmax() == PAD


def test_one_block_is_last_block_of_one():
    net = network()
    blocks = Blocks(BLOCKS.block.clamp(max=0), torch.zeros_like(BLOCKS.block))
    with torch.no_grad():
        whole = net.bidirectional(NOISY, T)
        last = net.last_block(NOISY, blocks, blocks.block == 0, T)[0]
    assert torch.allclose(whole.exp(), last.exp(), atol=1e-6)


def test_the_product_is_the_triangle_where_all_see_all():
    torch.manual_seed(0)
    masked, plain = MaskedProduct(6), Triangle(6)
    torch.nn.init.normal_(masked.out.weight)
    plain.load_state_dict(masked.state_dict())
    e = torch.randn(2, 5, 5, 6)
    e = e + e.transpose(1, 2)
    sees = torch.ones(2, 5, 5, dtype=torch.bool)
    expected = plain(e, torch.ones(2, 5, 5, 1))
    assert torch.allclose(masked(e, sees), expected, atol=1e-5)


def test_doubled_nodes_see_what_is_before_them():
    view = two_copies(IDS, NOISY, BLOCKS, T)
    block, row = BLOCKS.block[1], view.sees[1]
    for u in range(2 * NODES):
        for v in range(2 * NODES):
            bu, bv, noisy, other = block[u % NODES], block[v % NODES], u >= NODES, v >= NODES
            sees = (bv <= bu if not noisy else bv == bu if other else bv < bu) and not (
                other and not noisy
            )
            there = bu >= 0 and bv >= 0
            assert bool(row[u, v]) == (bool(sees and there) or u == v)


def test_rows_do_not_depend_on_their_company():
    net, (ids, blocks, noisy) = network(False), cut(1, NOISY)
    with torch.no_grad():
        told, features = net.last_block(ids, blocks, noisy, T)
        some = torch.tensor([6, 1])
        alone, few = net.last_block(ids[some], blocks[some], noisy[some], T[some])
    assert torch.allclose(told[some].exp(), alone.exp(), atol=1e-6)
    there = blocks.block[some] >= 0
    assert torch.allclose(features[some][there], few[there], atol=1e-5)


@pytest.mark.parametrize("mode", ["parallel", "sequential"])
@pytest.mark.parametrize(
    "changes", [{}, {"width": 32, "edge_width": 24, "heads": 4}, {"depth": 1, "expand": 4}]
)
def test_memory_is_what_autograd_keeps(mode, changes):
    net = network(**changes).train()
    ids = in_block_order(rows(["C1CC2CC1O2"] * 8), BONDED, 2)[0]
    N, blocks = 6, in_block_order(ids, BONDED, 2)[1]
    kept: dict[int, int] = {}

    def keep(tensor):
        storage = tensor.untyped_storage()
        kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    process = GraphBlockProcess(DiscreteFlowProcess(noise(), (1.0, 1.0)), BONDED, 2, memory=2**60)
    with torch.autograd.graph.saved_tensors_hooks(keep, lambda t: t):
        if mode == "parallel":
            held = process.loss(net, TokenState(ids), seeded(0))
        else:
            one = OneBlock(net, ids, blocks, blocks.count - 1)
            held = process.inside.loss(one, TokenState(ids), seeded(0))
    weights = sum(p.numel() * 4 for p in net.parameters())
    told = net.training_bytes(8, N, mode == "parallel")
    assert len(held) == 8 and 0.7 < told / (sum(kept.values()) - weights) < 1.6


def test_sizes_and_degrees_are_laws_within_the_largest_graph():
    law = network().next
    x = torch.randn(2, 5, 16)
    prefix = torch.tensor([[[1, 1, 1, 1, 1]], [[1, 0, 0, 0, 0]]], dtype=torch.bool)
    state = law.state(x, prefix, prefix)
    size = law.log_size(state, prefix.sum(-1))
    assert size.shape == (2, 1, NODES + 1)
    assert torch.allclose(size.exp().sum(-1), torch.ones(2, 1))
    assert (size[0, 0].exp() > 0).tolist() == [True] * 3 + [False] * 5
    assert (size[1, 0].exp() > 0).sum() == 7
    degree = law.log_degree(state, torch.ones(2, 1, dtype=torch.int64))
    assert torch.allclose(degree.exp().sum(-1), torch.ones(2, 1))
    other = law.log_degree(state, torch.full((2, 1), 2))
    assert not torch.allclose(degree, other)


def test_walks_and_one_pass_exclude_each_other():
    with pytest.raises(ValueError, match="walks must be 0 in a causal network"):
        network(causal=True, walks=2)
    with pytest.raises(ValueError, match="all blocks at once need a network with causal = True"):
        network(causal=False).all_blocks(IDS, NOISY, BLOCKS, T)


def test_a_view_is_cut():
    view = one_block(NOISY, T).cut(3)
    assert view.matrix.shape == view.sees.shape == (len(IDS), 3, 3) and view.noisy.shape[1] == 3


def test_layers_without_a_triangle_of_their_own():
    config = GraphBlocksSize("graph_blocks", NODES, **SHAPE).build(VOCABULARY, LENGTH).config
    assert isinstance(config.block(), GraphTransformerConfig) and not config.block().triangle
