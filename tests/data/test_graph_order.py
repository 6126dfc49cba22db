"""The order of blocks: by hand on small graphs, under renumbering, and what is refused."""

import networkx as nx
import numpy as np
import pytest
import torch
from tiny_pard import BONDED, VOCABULARY, rows

from scidiff.core import seeded, uniform
from scidiff.data.graph_order import (
    at_positions,
    block_laws,
    blocks_of,
    in_block_order,
    partial_order,
    reordered,
)
from scidiff.data.graph_tokens import entries, read
from scidiff.data.tokens import EOS, PAD


def graph(*edges, nodes):
    joined = torch.zeros(1, nodes, nodes, dtype=torch.bool)
    for i, j in edges:
        joined[0, i, j] = joined[0, j, i] = True
    return joined, torch.ones(1, nodes, dtype=torch.bool)


STAR = graph((0, 1), (0, 2), (0, 3), nodes=4)
PATH = graph((0, 1), (1, 2), (2, 3), (3, 4), nodes=5)
RING_WITH_TAIL = graph((0, 1), (1, 2), (2, 0), (2, 3), (3, 4), nodes=5)


@pytest.mark.parametrize(
    "given, hops, block, degree",
    [
        (STAR, 0, [0, 0, 0, 0], [0, 0, 0, 0]),
        (STAR, 1, [0, 1, 1, 1], [0, 1, 1, 1]),
        (PATH, 1, [2, 1, 0, 1, 2], [1, 1, 0, 1, 1]),
        (RING_WITH_TAIL, 1, [0, 0, 0, 1, 2], [2, 2, 2, 1, 1]),
        (graph(nodes=3), 2, [0, 0, 0], [0, 0, 0]),
    ],
)
def test_blocks_by_hand(given, hops, block, degree):
    found = partial_order(*given, hops)
    assert found.block.tolist() == [block] and found.degree.tolist() == [degree]


def test_hops_look_further():
    """Leaves of a star joined to a path: one hop takes all leaves at once, two hops tell a leaf
    beside a busy node from one at the path's end."""
    given = graph((0, 1), (0, 2), (0, 3), (3, 4), (4, 5), nodes=6)
    one, two = (partial_order(*given, hops) for hops in (1, 2))
    assert len({one.block[0, i].item() for i in (1, 2, 5)}) == 1
    assert two.block[0, 5] > two.block[0, 1] == two.block[0, 2]


def random_graphs(seed=0, B=40, N=9):
    rng = seeded(seed)
    joined = torch.triu(uniform((B, N, N), rng) < 0.3, 1)
    size = (uniform((B,), rng) * N).long() + 1
    mask = torch.arange(N) < size[:, None]
    return joined | joined.mT, mask


@pytest.mark.parametrize("hops", [0, 1, 3])
def test_numbering_does_not_matter(hops):
    joined, mask = random_graphs()
    order = uniform(mask.shape, seeded(1)).argsort(1)
    moved = joined.gather(1, order[..., None].expand_as(joined))
    moved = moved.gather(2, order[:, None].expand_as(joined))
    found, again = (
        partial_order(joined, mask, hops),
        partial_order(moved, mask.gather(1, order), hops),
    )
    assert torch.equal(found.block.gather(1, order), again.block)
    assert torch.equal(found.degree.gather(1, order), again.degree)


@pytest.mark.parametrize("hops", [1, 2, 3])
def test_a_block_is_what_is_lowest_among_the_nodes_up_to_it(hops):
    """Every removal against walks counted in whole numbers."""
    joined, mask = random_graphs(2)
    found = partial_order(joined, mask, hops)
    for edges, block, degree in zip(joined.numpy(), found.block, found.degree, strict=True):
        for b in range(int(block.max()) + 1):
            left = np.flatnonzero((block >= 0) & (block <= b))
            near = edges[np.ix_(left, left)].astype(object)  # whole numbers without bound
            np.fill_diagonal(near, 0)
            walks, keys = np.ones(len(left), object), []
            for _ in range(hops):
                walks = near @ walks
                keys.append(walks)
            lowest = min(zip(*keys, strict=True))
            chosen = [v for v, key in zip(left, zip(*keys, strict=True), strict=True)
                      if key == lowest]  # fmt: skip
            assert chosen == np.flatnonzero(block == b).tolist()
            assert {int(degree[v]) for v in chosen} == {lowest[0]}


def test_rows_are_brought_into_order_and_stay_the_same_graphs():
    ids = rows()
    ordered, blocks = in_block_order(ids, BONDED, 2)
    shown = blocks.block.where(blocks.block >= 0, 99)
    assert (shown.diff(dim=1) >= 0).all()
    assert torch.equal(blocks.block, blocks_of(ordered, BONDED, 2).block)
    for before, after in zip(ids, ordered, strict=True):
        assert (before == EOS).nonzero().item() == (after == EOS).nonzero().item()
        graphs = []
        for row in (before, after):
            names, edges = read(VOCABULARY.decode(row))
            g = nx.Graph(edges.astype(float))
            nx.set_node_attributes(g, dict(enumerate(names)), "type")
            graphs.append(g)
        assert nx.is_isomorphic(
            *graphs, node_match=lambda a, b: a == b, edge_match=lambda a, b: a == b
        )


def test_one_block_leaves_rows_as_they_are():
    ids = rows()
    assert torch.equal(in_block_order(ids, BONDED, 0)[0], ids)


def test_another_order_is_undone_by_its_inverse():
    ids = rows()
    order = blocks_of(ids, BONDED, 3).order
    assert torch.equal(reordered(reordered(ids, order), order.argsort(1)), ids)


def test_positions_belong_to_the_later_node():
    block = torch.tensor([[0, 0, 1, -1]])
    i, j = entries(4)
    spread = at_positions(block, 12)
    assert torch.equal(spread[0, :10], block[0, torch.maximum(i, j)])
    assert spread[0, 10:].tolist() == [-1, -1]


def test_laws_count_graphs():
    found = block_laws(rows().numpy(), BONDED, 1, at_once=3)
    blocks = blocks_of(rows(), BONDED, 1)
    assert sum(found["first_sizes"]) == sum(found["block_counts"]) == len(rows())
    for b, many in enumerate(found["block_counts"]):
        assert many == int((blocks.count == b).sum())
    for n, many in enumerate(found["first_sizes"]):
        assert many == int(((blocks.block == 0).sum(1) == n).sum())


def test_sizes_and_values_by_block():
    _, blocks = in_block_order(rows(["CCO"]), BONDED, 1)
    assert blocks.block.tolist() == [[0, 1, 1]] and blocks.size.tolist() == [[1, 2, 2]]
    assert blocks.by_block(blocks.size, 3).tolist() == [[1, 2, 0]]
    assert blocks.count.tolist() == [2]


@pytest.mark.parametrize("hops, nodes", [(-1, 3), (60, 4), (9, 100)])
def test_counts_that_would_not_be_exact_are_refused(hops, nodes):
    joined = torch.zeros(1, nodes, nodes, dtype=torch.bool)
    with pytest.raises(ValueError, match="hops must be 0 or more"):
        partial_order(joined, torch.ones(1, nodes, dtype=torch.bool), hops)


def test_rows_behind_the_graph_are_no_nodes():
    ids = rows(["C", "CCO"])
    assert blocks_of(ids, BONDED, 1).block[0].tolist() == [0, -1, -1]
    assert ids[0, 1].item() == EOS and ids[0, 2].item() == PAD
