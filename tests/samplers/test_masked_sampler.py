"""What the masked samplers do row by row: special cases that coincide, canvases, counts of work,
refusals."""

import pytest
import torch
from token_laws import MASK, Flat, path

from scidiff.core import Tape, seeded
from scidiff.data.tokens import EOS, PAD, TokenState
from scidiff.guidance.particles import sample
from scidiff.samplers.blocks import end_rows, in_current_block
from scidiff.samplers.masked import (
    AncestralSampler,
    Confidence,
    FixedCanvas,
    LengthLaw,
    MaskedSampler,
)
from scidiff.testing import chain_table, same


def blank(length=7):
    return FixedCanvas.blank(length, MASK)


@pytest.mark.parametrize(
    "options", [{}, {"tokens_per_step": 3}, {"order": Confidence()}, {"temperature": 0.5}]
)
@pytest.mark.parametrize("canvas", [blank(), LengthLaw([0, 1, 1, 1, 2], MASK)])
def test_one_block_is_masked_diffusion_bit_for_bit(options, canvas):
    none, one = (
        MaskedSampler(Flat(0.2), canvas, block_size=b, **options) for b in (None, canvas.length)
    )
    assert none.num_steps == one.num_steps
    assert all(same(a, b) for a, b in zip(path(none, 30), path(one, 30), strict=True))


def test_blocks_of_one_are_left_to_right():
    for k, x in enumerate(path(MaskedSampler(Flat(), blank(), block_size=1), 40)):
        hidden = x.ids == MASK
        ended = (x.ids == EOS).any(1)
        assert hidden[~ended, k:].all() and not hidden[:, :k].any() and not hidden[ended].any()
        first = (x.ids == EOS).int().argmax(1)
        behind = torch.arange(7) > first[:, None]
        assert (x.ids[ended][behind[ended]] == PAD).all()


def test_blocks_are_finished_in_order():
    for x in path(MaskedSampler(Flat(), blank(), block_size=3, tokens_per_step=2), 60):
        hidden = (x.ids == MASK).long()
        blocks = torch.stack(
            [hidden[:, :3].sum(1), hidden[:, 3:6].sum(1), hidden[:, 6:].sum(1)], 1
        )
        full = torch.tensor([3, 3, 1])
        assert ((blocks[:, :-1] == 0) | (blocks[:, 1:] == full[1:])).all()


@pytest.mark.parametrize("block_size, per_step, steps", [
    (None, 1, 7), (None, 2, 4), (None, 99, 1), (3, 1, 7), (3, 2, 5), (3, 3, 3), (1, 4, 7),
    (4, 3, 3)])  # fmt: skip
def test_steps_are_enough_and_not_too_many(block_size, per_step, steps):
    sampler = MaskedSampler(Flat(), blank(), block_size=block_size, tokens_per_step=per_step)
    assert sampler.num_steps == steps
    states = path(sampler, 200)
    assert not (states[-1].ids == MASK).any() and (states[-2].ids == MASK).any()


def test_the_network_runs_once_a_step():
    sampler = MaskedSampler(Flat(), blank())
    sample(sampler, 5, seeded(0))
    assert (sampler.denoiser.calls, sampler.denoiser.rows) == (7, 35)


def test_a_guess_evaluates_nothing_and_changes_only_what_is_hidden():
    sampler = MaskedSampler(Flat(), blank())
    x = path(sampler, 6)[3]
    calls = sampler.denoiser.calls
    guess = sampler.predict_clean(x, 3, seeded(0))
    shown = x.ids != MASK
    assert sampler.denoiser.calls == calls and not (guess.ids == MASK).any()
    assert torch.equal(guess.ids[shown], x.ids[shown])


def test_a_guess_of_blocks_ends_behind_the_current_one():
    sampler = MaskedSampler(Flat(0.5), blank(), block_size=3)
    x = sampler.init(50, seeded(0))
    guess = sampler.predict_clean(x, 0, seeded(1)).ids
    assert (guess[:, :3] != PAD).any() and (guess[:, 3:] == PAD).all()


def test_candidates_share_their_parents_prediction():
    sampler = MaskedSampler(Flat(), blank())
    x = sampler.init(3, seeded(0))
    branched = x[torch.arange(3).repeat_interleave(4)]
    assert branched.trunk.values is x.trunk.values
    assert (
        len({tuple(r) for r in sampler.predict_clean(branched, 0, seeded(1)).ids.tolist()}) == 12
    )


def test_finished_rows_are_fixed_points():
    sampler = MaskedSampler(Flat(), LengthLaw([1, 0, 0, 0, 0, 1], MASK))
    states = path(sampler, 40)
    short = ~(states[0].ids == MASK).any(1)
    assert 0 < short.sum() < 40
    assert all(torch.equal(s.ids[short], states[0].ids[short]) for s in states)


def test_given_tokens_are_kept():
    given = torch.tensor([[5, MASK, MASK, 6, EOS, PAD], [MASK, 3, MASK, EOS, PAD, PAD]])
    for options in ({}, {"block_size": 2}, {"tokens_per_step": 2}):
        sampler = MaskedSampler(Flat(), FixedCanvas(given, MASK), **options)
        ids = sample(sampler, 8, seeded(0)).ids
        rows = given.repeat_interleave(4, 0)
        assert torch.equal(ids[rows != MASK], rows[rows != MASK])


def test_confidence_writes_the_surest_position_first():
    table = chain_table()
    sampler = MaskedSampler(
        table.denoiser(), FixedCanvas.blank(4, table.mask_id), order=Confidence()
    )
    x = sampler.init(1, seeded(0))
    surest = x.trunk.dense()[0].amax(-1).argmax()
    after = sampler.step(x, 0, seeded(0))
    assert (after.ids != table.mask_id).nonzero()[0, 1] == surest


@pytest.mark.parametrize("options, stochastic", [
    ({}, True), ({"temperature": 0}, True), ({"temperature": 0, "order": Confidence()}, False),
    ({"temperature": 0, "block_size": 1}, False),
    ({"temperature": 0, "tokens_per_step": 7}, False),
    ({"order": Confidence()}, True)])  # fmt: skip
def test_a_sampler_knows_whether_it_draws(options, stochastic):
    sampler = MaskedSampler(Flat(0.1), blank(), **options)
    assert sampler.stochastic is stochastic
    x = sampler.init(60, seeded(0))
    ends = [sampler.step(x, 0, seeded(s)).ids for s in (1, 2)]
    assert torch.equal(*ends) is not stochastic


@pytest.mark.parametrize(
    "options", [{}, {"block_size": 3}, {"block_size": 3, "tokens_per_step": 2}]
)
def test_renoising_hides_as_many_as_the_chain(options):
    sampler = MaskedSampler(Flat(0.3), blank(), **options)
    states = path(sampler, 300)
    clean = states[-1]
    no_end = ~(clean.ids == EOS).any(1)
    for k, x in enumerate(states):
        back = sampler.renoise(clean, k, seeded(9))
        hidden = (back.ids == MASK).sum(1)
        assert torch.equal(hidden[no_end], (x.ids == MASK).sum(1)[no_end])
        assert torch.equal(back.ids[back.ids != MASK], clean.ids[back.ids != MASK])
        assert (back.trunk is None) == (k == sampler.num_steps)


def test_each_row_can_be_renoised_to_its_own_step():
    sampler = MaskedSampler(Flat(0.3), LengthLaw([0, 0, 0, 1, 1, 1], MASK))
    clean = sample(sampler, 60, seeded(0))
    k = torch.arange(60) % 7
    lengths = (clean.ids == EOS).int().argmax(1)
    hidden = (sampler.renoise(clean, k, seeded(1)).ids == MASK).sum(1)
    assert torch.equal(hidden, (lengths - k).clamp(min=0))


def test_renoising_rows_of_different_canvases_is_refused():
    canvas = FixedCanvas(torch.tensor([[MASK, 3], [3, MASK]]), MASK)
    sampler = MaskedSampler(Flat(), canvas)
    with pytest.raises(ValueError, match="hide different positions"):
        sampler.renoise(TokenState(torch.tensor([[3, 3]])), 0, seeded(0))


def test_ancestral_renoising_has_the_marginal_of_its_step():
    sampler = AncestralSampler(Flat(), blank(50), steps=10)
    clean = sample(sampler, 400, seeded(0))
    assert not (clean.ids == MASK).any()
    share = (sampler.renoise(clean, 3, seeded(1)).ids == MASK).double().mean()
    assert abs(float(share) - 0.7) < 4 * (0.21 / 20_000) ** 0.5


def test_ends_close_only_behind_finished_blocks():
    ids = torch.tensor(
        [
            [EOS, 3, MASK, MASK, MASK],
            [EOS, MASK, MASK, 3, MASK],
            [3, 4, EOS, PAD, MASK],
            [3, 4, MASK, EOS, MASK],
        ]
    )
    closed = end_rows(ids, 2, MASK)
    assert closed.tolist() == [
        [EOS, 3, PAD, PAD, PAD],
        [EOS, MASK, MASK, 3, MASK],
        [3, 4, EOS, PAD, PAD],
        [3, 4, MASK, EOS, MASK],
    ]
    assert torch.equal(end_rows(ids, 5, MASK), ids)
    hidden = in_current_block(ids == MASK, 2)
    assert hidden.int().argmax(1).tolist() == [2, 1, 4, 2] and hidden.sum(1).tolist() == [
        2,
        1,
        1,
        1,
    ]


def test_rows_do_not_depend_on_their_batch():
    sampler = MaskedSampler(Flat(), blank(), block_size=3)
    x, tape = sampler.init(10, seeded(0)), Tape(seeded(1))
    whole = sampler.step(x, 0, tape).ids
    keep = torch.tensor([7, 2])
    assert torch.equal(sampler.step(x[keep], 0, tape[keep]).ids, whole[keep])


def test_lengths_at_the_edges():
    only = LengthLaw([0, 0, 5], MASK)(100, seeded(0))
    assert only.tolist() == [[MASK, MASK, EOS]] * 100
    padded = LengthLaw([1], MASK, length=3)(2, seeded(0))
    assert padded.tolist() == [[EOS, PAD, PAD]] * 2


@pytest.mark.parametrize("make, message", [
    (lambda: MaskedSampler(Flat(), blank(), tokens_per_step=0), "tokens_per_step"),
    (lambda: MaskedSampler(Flat(), blank(), block_size=0), "block_size must be at least 1"),
    (lambda: MaskedSampler(Flat(), blank(), temperature=-1), "temperature"),
    (lambda: MaskedSampler(Flat(), blank(), temperature=float("nan")), "temperature"),
    (lambda: MaskedSampler(Flat(block_size=4), blank()), "network's block_size 4, got None"),
    (lambda: MaskedSampler(Flat(block_size=4), blank(), block_size=3), "must divide"),
    (lambda: AncestralSampler(Flat(), blank(), steps=0), "steps"),
    (lambda: LengthLaw([], MASK), "counts"),
    (lambda: LengthLaw([0, 0], MASK), "counts"),
    (lambda: LengthLaw([1, -1], MASK), "counts"),
    (lambda: LengthLaw([0, 1, 1], MASK, length=2), "length must be at least 3"),
    (lambda: FixedCanvas(torch.zeros(3, dtype=torch.int64), MASK), r"\(R, L\) int64"),
    (lambda: FixedCanvas(torch.zeros(2, 3, dtype=torch.int64), MASK)(3, seeded(0)),
     "multiple of the canvas's 2 rows"),
    (lambda: MaskedSampler(Flat(), blank()).token_law(TokenState(torch.zeros(1, 7).long()), None),
     "no prediction"),
])  # fmt: skip
def test_impossible_arguments_are_named(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_blocks_inside_the_networks_blocks_are_allowed():
    assert MaskedSampler(Flat(block_size=4), blank(8), block_size=2).num_steps == 8
