"""The loss of graphs in blocks: one block is the process inside, both modes have one mean, and
what is refused before it runs."""

from dataclasses import replace

import pytest
import torch
from tiny_graphs import VOCABULARY as OTHER
from tiny_pard import BONDED, LENGTH, NODES, VOCABULARY, network, noise, rows

from scidiff.core import seeded
from scidiff.data.graph_order import in_block_order
from scidiff.data.tokens import TokenState, Vocabulary
from scidiff.processes.discrete_flow import DiscreteFlowProcess
from scidiff.processes.flow_bounds import JumpBound, StepBound
from scidiff.processes.free_memory import free_bytes
from scidiff.processes.graph_blocks import (
    EveryBlock,
    GraphBlockProcess,
    OneBlock,
    TooMuchMemory,
    next_block,
)
from scidiff.processes.tokens import GraphBlocks, TokenFlow, check_process, token_process
from scidiff.training.sizes import GraphTransformerSize

X0 = TokenState(rows(length=LENGTH))
INSIDE = {
    "cross entropy": DiscreteFlowProcess(noise(), (1.0, 5.0), "polydec"),
    "steps": StepBound(noise(), 4),
    "nelbo": JumpBound(noise("uniform")),
}
FREE = 2**60


@pytest.mark.parametrize("inside", INSIDE.values(), ids=INSIDE)
def test_one_block_is_the_process_inside_whatever_the_network(inside):
    """The same network, noise and seed: the network of blocks, and the one of discrete flow."""
    process = GraphBlockProcess(inside, BONDED, hops=0, structure=3.0)
    torch.manual_seed(0)
    size = GraphTransformerSize("graph_transformer", NODES, time=True, width=16, depth=1, heads=2)
    for net in (network(), network(causal=False), size.build(VOCABULARY, LENGTH)):
        told = process.loss(net, X0, seeded(3))
        assert torch.equal(told, inside.loss(net, X0, seeded(3)))
        assert torch.isfinite(told).all() and told.shape == (len(X0),)


@pytest.mark.parametrize("inside", INSIDE.values(), ids=INSIDE)
def test_one_block_at_a_time_sums_to_all_blocks_at_once(inside):
    net, process = network(), GraphBlockProcess(inside, BONDED, 2, structure=0.7, memory=FREE)
    ids, blocks = in_block_order(X0.ids, BONDED, 2)
    with torch.no_grad():
        whole = process.loss(net, X0, seeded(3))
        total = torch.zeros_like(whole)
        for at in range(int(blocks.count.max()) + 1):
            one = OneBlock(net, ids, blocks, torch.full((len(ids),), at))
            part = inside.loss(one, TokenState(ids), seeded(3)) + 0.7 * one.structure()
            total = total + torch.where(at <= blocks.count, part, 0.0)
    assert torch.allclose(whole, total, rtol=1e-5)


def test_a_drawn_block_has_the_mean_of_all():
    """Every block is drawn as often as the others, and weighted by how many there are."""
    ids, blocks = in_block_order(X0.ids, BONDED, 2)
    n = 4000
    many = torch.arange(len(ids)).repeat_interleave(n)
    drawn = OneBlock.drawn(network(), ids[many], blocks[many], seeded(0))
    choices = blocks.count + 1
    assert torch.equal(drawn.weight, choices[many].float())
    for row, c in enumerate(choices.tolist()):
        found = torch.bincount(drawn.at[many == row], minlength=c)
        assert len(found) == c
        assert ((found - n / c).abs() < 4 * (n / c * (1 - 1 / c)) ** 0.5).all()


def test_sequential_training_reads_no_later_block():
    """What comes after the block changes neither its loss nor that of its size."""
    net, ids = network(causal=False), rows(["CCO", "CC(C)O"], LENGTH)
    ids, blocks = in_block_order(ids, BONDED, 1)
    ids = ids[:1]
    other = ids.clone()
    other[0, 3], other[0, 4] = ids[0, 1], ids[0, 2]
    at = torch.tensor([0])
    inside = DiscreteFlowProcess(noise(), (1.0, 1.0))
    losses = []
    for row in (ids, other):
        one = OneBlock(net, row, blocks[:1], at)
        losses.append(inside.loss(one, TokenState(row), seeded(1)) + one.structure())
    assert not torch.equal(ids, other) and torch.equal(*losses)


def test_structure_is_the_law_of_sizes_and_degrees():
    """-log p of every block's size and degree, the first size being given."""

    class Law:
        def state(self, x, prefix, last):
            return torch.stack([prefix.sum(-1), last.sum(-1)], -1).float()

        def log_size(self, state, nodes):
            assert torch.equal(state[..., 0].long(), nodes)
            return -(nodes[..., None] * 100 + torch.arange(9.0))

        def log_degree(self, state, size):
            return -(size[..., None] * 1e4 + state[..., 1:] * 1e5 + torch.arange(9.0) * 1e-2)

    class Net:
        next = Law()

        def all_blocks(self, clean, noisy, blocks, t):
            return torch.zeros(*clean.shape, 2), torch.zeros(*blocks.block.shape, 2)

    ids, blocks = in_block_order(rows(["CC(C)O", "CC"]), BONDED, 1)
    assert blocks.block[0].tolist() == [0, 1, 1, 1] and blocks.block[1].tolist() == [0, 0, -1, -1]
    every = EveryBlock(Net(), ids, blocks)
    every.bidirectional(ids, torch.ones(2))
    star = 1e4 * 1 + (100 + 3) + (1e4 * 3 + 1e5 + 1e-2) + 400
    pair = 1e4 * 2 + 1e-2 + 200
    assert every.structure().tolist() == pytest.approx([star, pair])


def test_the_end_of_a_graph_is_a_size_of_nothing():
    net = network()
    ids, blocks = in_block_order(rows(["CCO"], LENGTH), BONDED, 1)
    end = OneBlock(net, ids, blocks, blocks.count)
    with torch.no_grad():
        inside = DiscreteFlowProcess(noise(), (1.0, 1.0)).loss(end, TokenState(ids), seeded(0))
        told = end.structure()
        prefix = (blocks.block >= 0)[:, None]
        last = (blocks.block == 1)[:, None]
        state = net.next.state(end.features, prefix, last)
        expected = -net.next.log_size(state, prefix.sum(-1))[:, 0, 0]
    assert float(inside) == 0 and torch.allclose(told, expected)
    assert next_block(net.next, end.features, prefix, last, torch.zeros(1, 1).long(),
                      torch.zeros(1, 1).long()).shape == (1, 1)  # fmt: skip


@pytest.mark.parametrize("mode", ["parallel", "sequential"])
def test_gradients_reach_everything_and_are_finite(mode):
    net = network(causal=mode == "parallel").train()
    process = GraphBlockProcess(INSIDE["steps"], BONDED, 2, mode, memory=FREE)
    sum(process.loss(net, X0, seeded(i)).sum() for i in range(3)).backward()
    for name, p in net.named_parameters():
        assert p.grad is not None and p.grad.isfinite().all() and p.grad.any(), name


def test_a_step_that_would_not_fit_is_refused_before_it_runs():
    class Huge:
        def training_bytes(self, rows, nodes, parallel):
            return rows * nodes**2 * (4 if parallel else 1)

    process = GraphBlockProcess(INSIDE["steps"], BONDED, 2, memory=1000)
    cpu = torch.device("cpu")
    fits = r"1.57e-06 GB, 1e-06 GB are allowed \(blocks.memory_gb\): batch_size at most 5, or mode"
    with pytest.raises(TooMuchMemory, match=f"parallel training of 8 graphs of 7 .* {fits}"):
        process.check(Huge(), 8, 7, cpu)
    one = replace(process, mode="sequential", memory=40)
    with pytest.raises(TooMuchMemory, match=r"sequential training .*memory_gb\): smaller graphs$"):
        one.check(Huge(), 8, 7, cpu)
    with pytest.raises(TooMuchMemory, match="of 100000 nodes .* GB are free: "):
        replace(process, memory=None).check(network(), 10**6, 10**5, cpu)


def test_a_step_does_not_ask_how_much_memory_is_free():
    """What is kept for reuse counts as taken, so training would stop in the middle."""
    process = GraphBlockProcess(INSIDE["steps"], BONDED, 2, memory=1)
    assert process.loss(network(), X0, seeded(0)).isfinite().all()


def test_memory_that_can_be_taken_back_is_free(tmp_path, monkeypatch):
    cpu, told = torch.device("cpu"), tmp_path / "meminfo"
    told.write_text("MemTotal:  9 kB\nMemFree:  1 kB\nMemAvailable:   5 kB\nHugePages_Free: 0\n")
    assert free_bytes(cpu, told) == 5 * 1024
    told.write_text("MemTotal:  9 kB\n")  # an old kernel
    for file in (told, tmp_path / "none"):
        assert free_bytes(cpu, file) > 10**6
    cuda = {"mem_get_info": (100, 900), "memory_reserved": 70, "memory_allocated": 30}
    for name, value in cuda.items():
        monkeypatch.setattr(torch.cuda, name, lambda device, value=value: value)
    assert free_bytes(torch.device("cuda")) == 140


@pytest.mark.parametrize(
    "changes, message",
    [
        ({"mode": "both"}, "mode must be one of parallel, sequential, got 'both'"),
        ({"hops": -1}, "hops and structure must be 0 or more, got -1"),
        ({"structure": -0.5}, "hops and structure must be 0 or more"),
        ({"flow": TokenFlow("uniform", loss="nelbo")}, "loss must be cross_entropy or steps"),
    ],
)
def test_settings_that_mean_nothing_are_refused(changes, message):
    with pytest.raises(ValueError, match=message):
        GraphBlocks(**changes)


def test_recipes_name_the_process():
    blocks = GraphBlocks(2, "sequential", 0.5, 1.5, TokenFlow(edge_weight=2.0))
    made = token_process("graph_blocks", VOCABULARY, blocks=blocks, law=noise())
    assert isinstance(made, GraphBlockProcess) and made.memory == 1_500_000_000
    assert (made.hops, made.mode, made.structure, made.bonded) == (2, "sequential", 0.5, BONDED)
    assert made.inside.weights == (1.0, 2.0)
    with pytest.raises(ValueError, match="blocks belongs to process = 'graph_blocks'"):
        check_process("flow", flow=TokenFlow(), blocks=blocks)
    with pytest.raises(ValueError, match="blocks belongs to process = 'graph_blocks' and is req"):
        check_process("graph_blocks")
    with pytest.raises(ValueError, match="a flow and the law of its noise go together"):
        token_process("graph_blocks", OTHER, blocks=blocks)
    with pytest.raises(ValueError, match="graph_blocks are of graphs, got rows in the notation"):
        token_process("graph_blocks", Vocabulary(("C",)), blocks=blocks, law=noise())


def test_noise_is_that_of_the_process_inside():
    process = GraphBlockProcess(INSIDE["steps"], BONDED, 2)
    t = torch.full((len(X0),), 0.5)
    assert torch.equal(process.noise(X0, t, seeded(1)).ids,
                       process.inside.noise(X0, t, seeded(1)).ids)  # fmt: skip
