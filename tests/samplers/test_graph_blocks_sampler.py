"""The sampler of graphs in blocks: one block is discrete flow, rows end and stay, steps back, and
what is refused."""

from dataclasses import replace
from functools import partial

import pytest
import torch
from tiny_pard import BONDED, LENGTH, NODES, VOCABULARY, network, noise, rows

from scidiff.core import seeded
from scidiff.data.graph_order import at_positions, in_block_order
from scidiff.data.graph_tokens import read, triangle
from scidiff.data.tokens import EOS, TokenState
from scidiff.guidance.chunks import in_chunks
from scidiff.guidance.lookahead import Rollout
from scidiff.guidance.particles import guided_sample, sample
from scidiff.guidance.selection import smc
from scidiff.samplers.canvas import LengthLaw
from scidiff.samplers.discrete_flow import (
    DiscreteFlowSampler,
    FlowRate,
    Posterior,
    TimedDenoiser,
)
from scidiff.samplers.graph_blocks import GraphBlockDenoiser, GraphBlockSampler
from scidiff.samplers.graph_states import WrittenGraphs
from scidiff.testing import check_sampler


def first(*sizes):
    counts = torch.zeros(triangle(max(sizes)) + 1)
    counts[[triangle(n) for n in sizes]] = 1.0
    return LengthLaw(counts, VOCABULARY.mask_id, LENGTH)


def chain(net=None, canvas=None, **options):
    usual = {"steps": 3, "hops": 2, "blocks": 4, "bonded": BONDED, "kernel": Posterior()}
    net = network() if net is None else net
    return GraphBlockSampler(
        GraphBlockDenoiser(net), canvas or first(1, 2, 3), noise(), **{**usual, **options}
    )


@pytest.mark.parametrize("causal", [True, False])
@pytest.mark.parametrize("kernel", [FlowRate(eta=0.5), Posterior()])
def test_contract(causal, kernel):
    check_sampler(chain(network(causal), kernel=kernel))
    check_sampler(chain(network(causal), kernel=kernel, nodes=4))


@pytest.mark.parametrize("kernel", [FlowRate(eta=0.5, omega=0.1), Posterior()])
@pytest.mark.parametrize("distortion", ["identity", "polydec"])
def test_one_block_draws_what_discrete_flow_draws(kernel, distortion):
    """The same network, noise and seed; also on the way, and on the way back."""
    net, canvas = network(), first(2, 3, 6)
    how = {"steps": 5, "kernel": kernel, "distortion": distortion}
    blocks = chain(net, canvas, hops=0, blocks=1, **how)
    flow = DiscreteFlowSampler(TimedDenoiser(net, VOCABULARY.mask_id), canvas, noise(), **how)
    assert blocks.num_steps == flow.num_steps
    a, b = blocks.init(60, seeded(1)), flow.init(60, seeded(1))
    for k in range(5):
        assert torch.equal(a.ids, b.ids)
        assert torch.equal(blocks.predict_clean(a, k, seeded(9)).ids,
                           flow.predict_clean(b, k, seeded(9)).ids)  # fmt: skip
        a, b = blocks.step(a, k, seeded(2, k)), flow.step(b, k, seeded(2, k))
    assert torch.equal(a.ids, b.ids)
    assert torch.equal(blocks.renoise(a, 2, seeded(3)).ids, flow.renoise(b, 2, seeded(3)).ids)


def test_rows_are_graphs_all_along_and_end_for_good():
    s = chain()
    x = s.init(40, seeded(0))
    for k in range(s.num_steps):
        was, x = x, s.step(x, k, seeded(1, k))
        ended = ~WrittenGraphs.of(was).live
        assert torch.equal(x.ids[ended], was.ids[ended])
        for row, block in zip(x.ids, x.memory[0], strict=True):
            names, _ = read(VOCABULARY.decode(row))
            assert len(names) == int((block >= 0).sum())
        if (k + 1) % s.steps[0]:
            assert torch.equal(x.memory[0], was.memory[0])
    assert not WrittenGraphs.of(x).live.any() and x.trunk is None
    counts = set((x.memory[0].amax(1) + 1).tolist())
    assert counts > {1} and max(counts) <= 4


def test_finished_rows_cost_no_network_rows():
    s = chain(blocks=NODES)
    x = s.init(30, seeded(0))
    while WrittenGraphs.of(x).live.any():
        x = s.step(x, int(x.memory[0].amax()) * s.steps[0] + s.steps[0] - 1, seeded(1))
    before = s.denoiser.rows
    s.step(x, s.steps[0], seeded(2))
    s.step(x, s.steps[0] - 1, seeded(2))
    assert s.denoiser.rows == before > 0


def calls_of(net, monkeypatch):
    """Rows and nodes of every evaluation of a network from here on."""
    found, seen = [], net.seen
    monkeypatch.setattr(
        net, "seen", lambda view: (found.append(tuple(view.block.shape)), seen(view))[1]
    )
    return found


@pytest.mark.parametrize("causal", [True, False])
@pytest.mark.parametrize("micro_batch", [1, 3, 8, 100])
def test_rows_do_not_depend_on_micro_batches(causal, micro_batch, monkeypatch):
    s = chain(network(causal))
    usual = sample(s, 30, seeded(0))
    s.denoiser.micro_batch = micro_batch
    calls = calls_of(s.denoiser.network, monkeypatch)
    found = sample(s, 30, seeded(0))
    assert torch.equal(found.ids, usual.ids)
    assert max(rows for rows, _ in calls) <= micro_batch
    x = s.init(30, seeded(1))
    told = [
        GraphBlockDenoiser(s.denoiser.network, most)(x, 0).exp() for most in (None, micro_batch)
    ]
    assert torch.allclose(*told, atol=1e-5)


def test_a_call_takes_no_more_large_graphs_than_fit(monkeypatch):
    from scidiff.samplers import graph_blocks

    s = chain()
    usual = sample(s, 30, seeded(0))
    monkeypatch.setattr(graph_blocks, "PAIRS_A_CALL", 100)
    calls = calls_of(s.denoiser.network, monkeypatch)
    assert torch.equal(sample(s, 30, seeded(0)).ids, usual.ids)
    assert max(rows * nodes**2 for rows, nodes in calls) <= 100


def test_out_of_memory_halves_the_rows_of_a_call(monkeypatch):
    s = chain()
    usual, net, seen = sample(s, 8, seeded(0, 0)), s.denoiser.network, s.denoiser.network.seen

    def small(view):
        if len(view.block) > 4:
            raise torch.OutOfMemoryError("out of memory")
        return seen(view)

    monkeypatch.setattr(net, "seen", small)
    with pytest.warns(UserWarning, match="out of memory: now 4 rows a network call"):
        draw = partial(sample, s)
        (found,) = in_chunks(8, 8, 0, draw, denoiser=s.denoiser)
    assert torch.equal(found.ids, usual.ids)


def test_what_is_written_stays():
    s = chain()
    x = s.init(30, seeded(0))
    for k in range(s.num_steps):
        was, x = x, s.step(x, k, seeded(1, k))
        done = at_positions(was.memory[0], LENGTH)
        done = (done >= 0) & (done < was.memory[0].amax(1, keepdim=True))
        assert torch.equal(x.ids[done], was.ids[done])
        guess = s.predict_clean(was, k, seeded(3))
        assert torch.equal(guess.ids[done], was.ids[done])
        assert torch.equal(guess.ids == EOS, was.ids == EOS)


def test_each_row_can_be_at_its_own_step():
    s = chain()
    together = [s.init(6, seeded(0))]
    for k in range(8):
        together.append(s.step(together[-1], k, seeded(1, k)))
    at = torch.tensor([0, 2, 3, 5, 6, 7])
    mixed = TokenState.cat(
        [replace(together[k], log_ratio=None)[torch.tensor([i])] for i, k in enumerate(at)]
    )
    after = s.step(mixed, at, seeded(7))
    for i, k in enumerate(at.tolist()):
        alone = s.step(replace(together[k], log_ratio=None), torch.full((6,), k), seeded(7))
        assert torch.equal(after.ids[i], alone.ids[i])
        assert torch.equal(after.memory[0][i], alone.memory[0][i])
    end = torch.full((6,), s.num_steps)
    stays = s.step(mixed, end, seeded(8))
    assert torch.equal(stays.ids, mixed.ids) and not WrittenGraphs.of(stays).live.any()


def test_going_back_keeps_the_blocks_before_and_noises_the_one_that_is_reached():
    s = chain(blocks=6)
    clean = TokenState(rows(length=LENGTH))
    ids, blocks = in_block_order(clean.ids, BONDED, s.hops)
    for k in range(s.num_steps + 1):
        x, b = s.renoise(clean, k, seeded(1)), k // s.steps[0]
        live = (blocks.count > b) & torch.tensor(k < s.num_steps)
        assert torch.equal(WrittenGraphs.of(x).live, live)
        where = at_positions(blocks.block, LENGTH)
        kept = (where >= 0) & (~live[:, None] | (where < b))
        assert torch.equal(x.ids[kept], ids[kept])
        expected = torch.where(live, (blocks.block <= b).logical_and(blocks.block >= 0).sum(1),
                               (blocks.block >= 0).sum(1))  # fmt: skip
        assert torch.equal((x.memory[0] >= 0).sum(1), expected)
        assert ((x.ids == EOS).int().argmax(1) == expected * (expected + 1) // 2).all()
    begun = s.renoise(clean, 0, seeded(2))
    assert (begun.ids[begun.memory[0][:, 0] == 0] != ids).any()
    assert (s.renoise(clean, 4, seeded(2)).ids != s.renoise(clean, 4, seeded(3)).ids).any()


def test_at_the_end_nothing_is_taken_away_from_graphs_of_more_blocks():
    s, clean = chain(blocks=1), TokenState(rows(length=LENGTH))
    x = s.renoise(clean, s.num_steps, seeded(0))
    assert torch.equal(x.ids, in_block_order(clean.ids, BONDED, s.hops)[0])
    assert not WrittenGraphs.of(x).live.any()


def test_degrees_of_the_first_block_are_drawn_and_one_block_has_none():
    x = chain().init(500, seeded(0))
    assert len(x.memory[1][:, 0].unique()) > 2
    assert (x.memory[1] == x.memory[1].amax(1, keepdim=True) * (x.memory[0] == 0)).all()
    assert not chain(hops=0, blocks=1).init(50, seeded(0)).memory[1].any()


def test_asked_numbers_of_nodes_are_had_and_weighed():
    s = chain(blocks=5, nodes=5)
    x = s.init(200, seeded(0))
    total = torch.zeros(200)
    for k in range(s.num_steps):
        x = s.step(x, k, seeded(1, k))
        total = total + (0.0 if x.log_ratio is None else x.log_ratio)
    assert ((x.memory[0] >= 0).sum(1) == 5).all()
    assert (total < 0).all() and total.isfinite().all()


def test_guidance_works_with_look_ahead_to_the_end():
    s = chain()

    def carbons(x):
        return (x.ids == VOCABULARY.encode("C")[0]).sum(1).double()

    plain = carbons(sample(s, 64, seeded(0)))
    value = Rollout(s, carbons)
    found = guided_sample(s, carbons, 64, seeded(0), select=smc(0.5), value=value, every=3,
                          strength=2.0)  # fmt: skip
    assert (found.log_w.exp() * carbons(found.x)).mean() / found.log_w.exp().mean() > plain.mean()


@pytest.mark.parametrize(
    "options, message",
    [
        ({"steps": 0}, "^steps must be at least 1, got 0$"),
        ({"blocks": 0}, "^blocks must be at least 1, got 0$"),
        ({"hops": -1}, "^hops must be at least 0, got -1$"),
        ({"hops": 0}, "hops = 0 is one block, got blocks = 4"),
    ],
)
def test_settings_are_checked(options, message):
    with pytest.raises(ValueError, match=message):
        chain(**options)


def test_a_foreign_state_is_refused():
    s = chain()
    with pytest.raises(ValueError, match="does not say what its blocks are"):
        s.predict_clean(TokenState(rows(length=LENGTH)), 0, seeded(0))
