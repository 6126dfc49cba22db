"""Fewer steps in later blocks: one schedule for tokens and for graphs (coordinates:
`test_continuous_blocks_sampler.py`)."""

import pytest
import torch
from tiny_pard import BONDED, LENGTH, VOCABULARY, network, noise, rows
from token_engines import engine
from token_laws import FLAT, exact_law, masked

from scidiff.core import ScidiffError, seeded
from scidiff.data.graph_order import in_block_order
from scidiff.data.graph_tokens import triangle
from scidiff.data.tokens import TokenState
from scidiff.guidance.particles import guided_sample, sample
from scidiff.guidance.selection import keep_all
from scidiff.samplers.canvas import FixedCanvas, LengthLaw
from scidiff.samplers.discrete_flow import Posterior
from scidiff.samplers.graph_blocks import GraphBlockDenoiser, GraphBlockSampler
from scidiff.samplers.graph_states import WrittenGraphs
from scidiff.samplers.masked import MaskedSampler
from scidiff.samplers.orders import Sequential
from scidiff.samplers.paces import Scheduled
from scidiff.samplers.step_annealing import annealed_steps
from scidiff.samplers.strided import BlockStridedSampler
from scidiff.testing import check_full_graph, check_sampler


def two_blocks(steps, **options):
    pace = Scheduled(steps, "linear")
    return masked(FLAT, block_size=2, tokens_per_step=pace, **options)


# ---------------------------------------------------------------- tokens


@pytest.mark.parametrize("size", [1, 2, 3, 4])
def test_a_flat_schedule_is_the_sampler_without_one(size):
    flat, one = (
        masked(FLAT, block_size=size, tokens_per_step=Scheduled(steps, "cosine"))
        for steps in ((3, 3, 3), 3)
    )
    assert flat.num_steps == one.num_steps and flat.widest == one.widest
    a, b = (guided_sample(s, None, 200, seeded(0), select=keep_all) for s in (flat, one))
    assert torch.equal(a.x.ids, b.x.ids) and torch.equal(a.log_w, b.log_w)
    for k in range(one.num_steps + 1):
        x, y = (s.renoise(TokenState(FLAT.seqs), k, seeded(1)) for s in (flat, one))
        assert torch.equal(x.ids, y.ids)


def test_network_calls_are_those_of_the_blocks():
    calls = {}
    for steps in (2, (2, 1), (1, 1)):
        s = two_blocks(steps)
        sample(s, 10, seeded(0))
        calls[steps] = s.denoiser.rows // 10
        assert s.num_steps == calls[steps]
    assert calls == {2: 4, (2, 1): 3, (1, 1): 2}


def test_the_first_block_is_exact_and_the_annealed_one_as_its_steps_are():
    law = exact_law(FLAT, block_size=2, tokens_per_step=Scheduled((2, 1), "linear"))
    shape = [int(round(len(FLAT.p) ** 0.25))] * 4
    p = FLAT.p.reshape(shape)
    first = p.sum((2, 3), keepdim=True)
    third, fourth = p.sum(3, keepdim=True) / first, p.sum(2, keepdim=True) / first
    torch.testing.assert_close(law, (first * third * fourth).flatten(), atol=1e-12, rtol=0)


@pytest.mark.parametrize("order", [Sequential(), None])
@pytest.mark.parametrize("steps", [(2, 1), (2, 2)])
def test_contract_and_steps_back(steps, order):
    s = two_blocks(steps, order=order)
    check_sampler(s)
    if steps == (2, 1) and order is None:
        check_full_graph(s)
    hidden = [(s.renoise(TokenState(FLAT.seqs), k, seeded(0)).ids == FLAT.mask_id).sum(1) for k in
              range(s.num_steps + 1)]  # fmt: skip
    assert [int(h[0]) for h in hidden] == {(2, 1): [4, 3, 2, 0], (2, 2): [4, 3, 2, 1, 0]}[steps]


def test_looking_at_the_ends_of_annealed_blocks_changes_nothing():
    s = two_blocks((2, 1))
    ends = BlockStridedSampler(s)
    assert ends.num_steps == 2
    assert torch.equal(sample(s, 300, seeded(4)).ids, sample(ends, 300, seeded(4)).ids)
    for k, left in enumerate((4, 2, 0)):
        ids = ends.renoise(TokenState(FLAT.seqs), k, seeded(0)).ids
        assert ((ids == FLAT.mask_id).sum(1) == left).all()


def test_models_that_write_in_blocks_take_it_as_a_setting():
    e = engine("block")  # rows of 8 in blocks of 4, training rows of one block
    asked = {"steps": 4, "schedule": "linear", "last_steps": 1}
    e = type(e)(e.network, e.vocabulary, {**e.config, "length_counts": [0] * 6 + [1]})
    assert e.sampler(**asked).pace == Scheduled((4, 1), "linear")
    assert e.typical_steps(e.sampler(**asked)) == 5
    flat = e.sampler(steps=4, schedule="linear", last_steps=4)
    plain = e.sampler(steps=4, schedule="linear")
    assert torch.equal(sample(flat, 100, seeded(0)).ids, sample(plain, 100, seeded(0)).ids)
    rows = {}
    for name, s in (("annealed", e.sampler(**asked)), ("plain", plain)):
        sample(s, 100, seeded(0))
        rows[name] = s.denoiser.rows
    assert rows["annealed"] < rows["plain"]
    assert e.settings(asked)["last_steps"] == 1


@pytest.mark.parametrize(
    "kind, asked, message",
    [
        ("block", {"last_steps": 2}, "last_steps needs steps"),
        ("block", {"steps": 2, "last_steps": 3}, r"last_steps must be in 1 \.\. 2"),
        ("block", {"steps": 2, "annealing": "cosine"}, "without them"),
        ("block", {"steps": 2, "last_steps": 1, "annealing": "lin"}, "mean 'linear'"),
        ("block", {"steps": 2, "last_steps": 1, "block_entropy": 0.5}, "exclude each other"),
        ("masked", {"steps": 2, "last_steps": 1}, "for models that write in blocks"),
        ("masked", {"steps": 2, "last_steps": 1, "schedule": "ancestral"}, "got last_steps=1"),
    ],
)
def test_refusals(kind, asked, message):
    with pytest.raises((ValueError, ScidiffError), match=message):
        engine(kind).sampler(**asked)


@pytest.mark.parametrize("steps", [(), (2, 0), (1, 2)])
def test_paces_that_make_no_sense(steps):
    with pytest.raises(ValueError, match="steps must"):
        Scheduled(steps)


# ---------------------------------------------------------------- graphs


def chain(**options):
    counts = torch.zeros(triangle(3) + 1)
    counts[[triangle(n) for n in (1, 2, 3)]] = 1.0
    usual = {"hops": 2, "bonded": BONDED, "kernel": Posterior()}
    return GraphBlockSampler(
        GraphBlockDenoiser(network()), LengthLaw(counts, VOCABULARY.mask_id, LENGTH), noise(),
        **{**usual, **options},
    )  # fmt: skip


def test_a_flat_schedule_of_graphs_is_the_sampler_without_one():
    flat, one = chain(steps=(3, 3), blocks=4), chain(steps=3, blocks=4)
    assert flat.num_steps == one.num_steps == 12
    assert torch.equal(sample(flat, 60, seeded(0)).ids, sample(one, 60, seeded(0)).ids)


def test_graphs_take_the_steps_of_their_blocks():
    steps = annealed_steps(4, 1, 3)
    s, x = chain(steps=steps, blocks=5), None
    assert steps == (4, 2, 1) and s.steps == (4, 2, 1, 1, 1) and s.num_steps == 9
    x, opened = s.init(60, seeded(0)), {}
    for k in range(s.num_steps):
        was, x = WrittenGraphs.of(x), s.step(x, k, seeded(1, k))
        more = WrittenGraphs.of(x).blocks.count - was.blocks.count
        if more.any():
            opened[k + 1] = set(was.blocks.count[more > 0].tolist())
    assert opened == {4: {1}, 6: {2}, 7: {3}, 8: {4}}
    assert not WrittenGraphs.of(x).live.any()


def test_annealed_graphs_ask_the_network_less():
    asked = {}
    for steps in (4, (4, 1)):
        s = chain(steps=steps, blocks=4)
        x = sample(s, 80, seeded(0))
        count = WrittenGraphs.of(x).blocks.count
        each = torch.tensor([sum(s.steps[:n]) for n in count.tolist()])
        ends = int((count < 4).sum())  # rows that were asked of a next block and had none
        asked[steps] = s.denoiser.rows
        opened = int((count - 1).sum()) + ends + 80
        assert s.denoiser.rows == int(each.sum()) + opened
    assert asked[4, 1] < 0.75 * asked[4]


def test_contract_and_steps_back_of_graphs():
    s = chain(steps=(3, 2, 1), blocks=4)
    check_sampler(s)
    check_sampler(chain(steps=(3, 1), blocks=4, nodes=5))
    clean = TokenState(rows(length=LENGTH))
    _, blocks = in_block_order(clean.ids, BONDED, s.hops)
    begins = (0, 0, 0, 1, 1, 2, 3)
    for k, b in enumerate(begins):
        x = s.renoise(clean, k, seeded(1))
        assert torch.equal(WrittenGraphs.of(x).live, blocks.count > b)
    both = torch.tensor([k % 7 for k in range(len(clean))])
    for i, k in enumerate(both.tolist()):
        x = s.renoise(clean, both, seeded(2))
        assert bool(WrittenGraphs.of(x).live[i]) == bool(blocks.count[i] > begins[k])


def test_blank_rows_of_one_block_have_nothing_to_anneal():
    s = MaskedSampler(
        FLAT.denoiser(), FixedCanvas.blank(4, FLAT.mask_id),
        tokens_per_step=Scheduled((3, 1), "linear"),
    )  # fmt: skip
    assert s.num_steps == 3
