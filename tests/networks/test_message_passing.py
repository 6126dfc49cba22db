"""Message passing on sparse graphs: its symmetries, what it costs, and absent pairs."""

import time
import warnings

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from scidiff.core import normal, seeded

with warnings.catch_warnings():  # torch-geometric scripts classes of its own when it is imported
    warnings.simplefilter("ignore", DeprecationWarning)
    from scidiff.networks.message_passing import (
        MessagePassing,
        MessagePassingConfig,
        absent_pairs,
    )


def network(**changes):
    torch.manual_seed(0)
    net = MessagePassing(MessagePassingConfig(3, 2, 4, 5, **{"width": 16, "depth": 2, **changes}))
    for p in net.parameters():  # zero maps would hide what they read
        torch.nn.init.normal_(p, std=0.3)
    return net.eval()


def sparse(nodes, seed=0, degree=5):
    """A random graph of about `degree` edges a node, both directions, with its values."""
    rng = seeded(seed)
    pairs = (torch.rand(2, nodes * degree // 2, generator=rng) * nodes).long()
    pairs = pairs[:, pairs[0] != pairs[1]]
    high, low = pairs.amax(0), pairs.amin(0)
    key = (high * nodes + low).unique()
    pairs = torch.stack([key // nodes, key % nodes])
    e = normal((pairs.shape[1], 2), rng)
    return normal((nodes, 3), rng), torch.cat([pairs, pairs.flip(0)], 1), torch.cat([e, e])


PAIRS = torch.tensor([[0, 3, 6], [5, 1, 2]])


@torch.no_grad()
def test_both_directions_say_the_same():
    x, ends, e = sparse(9)
    net = network()
    _, edges, pairs = net(x, ends, e, PAIRS)
    assert torch.allclose(*edges.chunk(2), atol=1e-6)
    assert torch.allclose(pairs, net(x, ends, e, PAIRS.flip(0))[2], atol=1e-6)


@torch.no_grad()
def test_the_order_of_nodes_and_edges_does_not_matter():
    x, ends, e = sparse(9)
    order = torch.randperm(9, generator=seeded(1))
    shuffle = torch.randperm(ends.shape[1], generator=seeded(2))
    place = order.argsort()
    net = network()
    nodes, edges, pairs = net(x, ends, e, PAIRS)
    moved = net(x[order], place[ends][:, shuffle], e[shuffle], place[PAIRS])
    for got, want in zip(moved, (nodes[order], edges[shuffle], pairs), strict=True):
        assert torch.allclose(got, want, atol=1e-5) and want.std() > 0.01


@torch.no_grad()
def test_a_graph_in_a_union_is_as_alone():
    a, b, net = sparse(9, 1), sparse(7, 2), network(time=True)
    x, e = (torch.cat([a[i], b[i]]) for i in (0, 2))
    ends = torch.cat([a[1], b[1] + 9], 1)
    t = torch.tensor([0.2] * 9 + [0.7] * 7)
    nodes, edges, _ = net(x, ends, e, t=t)
    alone = net(*b, PAIRS, t[9:])
    assert torch.allclose(nodes[9:], alone[0], atol=1e-5)
    assert torch.allclose(edges[a[1].shape[1]:], alone[1], atol=1e-5)
    assert torch.allclose(net(x, ends, e, PAIRS + 9, t)[2], alone[2], atol=1e-5)
    assert (nodes[9:] - net(x, ends, e, t=t.flip(0))[0][9:]).abs().max() > 1e-3
    with pytest.raises(ValueError, match=r"t must be \(M,\), got None"):
        net(x, ends, e)


class Largest(TorchDispatchMode):
    """Note the largest tensor that is ever made, in entries."""

    entries = 0

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        out = function(*args, **(kwargs or {}))
        for value in out if isinstance(out, tuple | list) else (out,):
            if isinstance(value, torch.Tensor):
                self.entries = max(self.entries, value.numel())
        return out


@torch.no_grad()
def test_large_sparse_graphs_cost_what_their_edges_cost():
    net, sizes = network(width=64, depth=4), []
    for nodes in (1000, 2000):
        graph = sparse(nodes)
        pairs = absent_pairs(torch.tensor([nodes]), graph[1], graph[1].shape[1], seeded(3))
        started = time.thread_time()
        with Largest() as largest:
            net(*graph, pairs)
        assert time.thread_time() - started < 2
        sizes.append((largest.entries, graph[1].shape[1]))
    (small, few), (large, many) = sizes
    assert large <= 3 * 64 * many and abs(large / small - many / few) < 0.1


def test_absent_pairs_are_even_over_what_is_not_joined():
    sizes = torch.tensor([3, 1, 4])
    joined = torch.tensor([[1, 5, 6], [0, 4, 4]])
    ends = torch.cat([joined, joined.flip(0)], 1)
    drawn = absent_pairs(sizes, ends, 9000, seeded(0))
    counts = torch.zeros(8, 8).index_put_(tuple(drawn), torch.ones(9000), accumulate=True)
    absent = [(2, 0), (2, 1), (6, 5), (7, 4), (7, 5), (7, 6)]
    assert counts.sum() == sum(counts[p] for p in absent) == 9000
    for p in absent:
        assert abs(counts[p] - 1500) < 4 * (9000 / 6 * 5 / 6) ** 0.5


def test_a_full_graph_has_no_absent_pair():
    ends = torch.tensor([[0, 1], [1, 0]])
    with pytest.raises(ValueError, match="every pair is joined"):
        absent_pairs(torch.tensor([2]), ends, 1, seeded(0))
    assert absent_pairs(torch.tensor([2]), ends, 0, seeded(0)).shape == (2, 0)


def test_it_learns_who_is_joined():
    """Two communities of 20: the pair head finds that edges stay inside."""
    side, rng = torch.arange(40) < 20, seeded(0)
    A = (side[:, None] == side) & (torch.rand(40, 40, generator=rng) < 0.4)
    high, low = A.tril(-1).nonzero().T
    ends = torch.stack([torch.cat([high, low]), torch.cat([low, high])])
    x, e = torch.nn.functional.one_hot(side.long(), 3).float(), torch.zeros(ends.shape[1], 2)
    net = network(width=16, depth=1)
    optimizer = torch.optim.Adam(net.parameters(), 1e-2)
    absent = absent_pairs(torch.tensor([40]), ends, len(high), rng)
    pairs = torch.cat([torch.stack([high, low]), absent], 1)
    truth = (torch.arange(pairs.shape[1]) < len(high)).float()
    for _ in range(60):
        logit = net(x, ends[:, :0], e[:0], pairs)[2][:, 0]
        loss = torch.nn.functional.binary_cross_entropy_with_logits(logit, truth)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    inside = side[pairs[0]] == side[pairs[1]]
    assert logit[inside].mean() > logit[~inside].mean() + 2


def test_sizes_below_one_are_refused():
    with pytest.raises(ValueError, match="rank must be at least 1, got 0"):
        MessagePassingConfig(1, 1, 1, 1, rank=0)
