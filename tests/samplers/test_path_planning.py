"""Path planning: how many positions stand after each step, which ones, and what is never
touched."""

import pytest
import torch
from token_laws import FLAT, MASK, Flat, path

from scidiff.core import seeded
from scidiff.data.tokens import EOS
from scidiff.guidance.particles import sample
from scidiff.samplers.canvas import FixedCanvas, LengthLaw
from scidiff.samplers.path_planning import FullRowPlanner, PathSampler


def blank(length=7):
    return FixedCanvas.blank(length, MASK)


def table_sampler(steps, **options):
    canvas = FixedCanvas.blank(4, FLAT.mask_id)
    return PathSampler(FLAT.denoiser(), canvas, steps=steps, **options)


@pytest.mark.parametrize("curve", ["linear", "cosine"])
@pytest.mark.parametrize("eta", [0.0, 1.0])
def test_rows_show_what_the_curve_says(curve, eta):
    sampler = PathSampler(Flat(0.2), LengthLaw([0, 1, 1, 1, 1, 1], MASK), steps=4, curve=curve,
                          eta=eta)  # fmt: skip
    states = path(sampler, 60)
    total = (states[0].ids == MASK).sum(1)
    assert set(total.tolist()) == {1, 2, 3, 4, 5}
    for k, x in enumerate(states):
        share = {"linear": 1 - k / 4, "cosine": torch.cos(torch.tensor(torch.pi * k / 8))}[curve]
        expected = (total * share + 1e-6).floor().long() if k < 4 else torch.zeros_like(total)
        assert torch.equal((x.ids == MASK).sum(1), expected)


def test_without_doubt_nothing_is_hidden_again_with_doubt_it_is():
    for eta, expected in ((0.0, False), (1.0, True)):
        states, again = path(PathSampler(Flat(0.4), blank(), steps=9, eta=eta), 200), False
        for before, after in zip(states, states[1:], strict=False):
            again |= bool((after.ids[before.ids != MASK] == MASK).any())
        assert again is expected


def test_what_stands_without_doubt_stands_against_certain_tokens_too():
    sampler = PathSampler(Flat(1e4), blank(), steps=7, eta=0.0)
    x = sampler.renoise(path(sampler, 30)[-1], 3, seeded(2))
    after = sampler.step(x, 3, seeded(3)).ids
    assert torch.equal(after[x.ids != MASK], x.ids[x.ids != MASK])


def test_the_best_positions_stand():
    sampler = table_sampler(4, eta=0.0)
    x = sampler.init(300, seeded(0))
    after = sampler.step(x, 0, seeded(1))
    drawn = sampler.draw(x.trunk.dense(), seeded(1))  # the same noise
    score = x.trunk.dense().gather(-1, drawn[..., None])[..., 0]
    kept = after.ids != FLAT.mask_id
    assert (kept.sum(1) == 1).all() and torch.equal(kept.int().argmax(1), score.argmax(1))
    assert torch.equal(after.ids[kept], drawn[kept])


def test_a_planner_judges_the_row_as_it_was_drawn():
    seen = []

    def planner(x):
        seen.append(x)
        return -(x.ids - 3).abs().double() - 0.01 * torch.arange(4)  # rather 3, rather early

    sampler = table_sampler(2, planner=planner)
    x = sampler.init(50, seeded(0))
    after = sampler.step(x, 0, seeded(1)).ids
    full = seen[0].ids
    assert not (full == FLAT.mask_id).any()
    best = planner(seen[0]).topk(2, dim=1).indices
    kept = torch.zeros_like(after, dtype=torch.bool).scatter(1, best, True)
    assert torch.equal(after, torch.where(kept, full, FLAT.mask_id))


def test_another_model_judges_tokens_where_they_stand():
    planner = FullRowPlanner(FLAT.denoiser())
    sampler = table_sampler(3, planner=planner, eta=0.5)
    sample(sampler, 20, seeded(0))
    assert planner.denoiser.rows == 60 and sampler.denoiser.rows == 60
    whole = planner(sampler.init(2, seeded(0)))
    assert whole.shape == (2, 4)


def test_one_step_draws_the_product_of_marginals():
    ids = sample(table_sampler(1), 20_000, seeded(0)).ids
    p = FLAT.log_conditionals[FLAT.index(torch.full((1, 4), FLAT.mask_id))][0].exp()
    for position in range(4):
        share = torch.bincount(ids[:, position], minlength=FLAT.vocab_size) / 20_000
        error = (p[position] * (1 - p[position]) / 20_000).sqrt()
        assert ((share - p[position]).abs() <= 4 * error + 1e-9).all()


def test_given_tokens_are_neither_hidden_nor_counted():
    given = torch.tensor([[5, MASK, MASK, 6, MASK, EOS]])
    sampler = PathSampler(Flat(), FixedCanvas(given, MASK), steps=3)
    for k, x in enumerate(path(sampler, 40)):
        fixed = given != MASK
        assert torch.equal(x.ids[:, fixed[0]], given[:, fixed[0]].expand(40, 3))
        assert ((x.ids == MASK).sum(1) == 3 - k).all()


def test_renoising_hides_as_many_as_the_chain():
    sampler = PathSampler(Flat(0.3), LengthLaw([0, 0, 0, 1, 1, 1], MASK), steps=3)
    states = path(sampler, 60)
    whole = (states[-1].ids == EOS).sum(1) == 1  # others were cut short by an EOS that was drawn
    states = [x[whole.nonzero()[:, 0]] for x in states]
    assert len(states[0]) > 20
    for k, x in enumerate(states):
        back = sampler.renoise(states[-1], k, seeded(9))
        hidden = (back.ids == MASK).sum(1)
        assert torch.equal(hidden, (x.ids == MASK).sum(1))
        assert torch.equal(back.ids[back.ids != MASK], states[-1].ids[back.ids != MASK])


def test_the_last_step_evaluates_nothing():
    sampler = PathSampler(Flat(), blank(), steps=5)
    sample(sampler, 3, seeded(0))
    assert (sampler.denoiser.calls, sampler.denoiser.rows) == (5, 15)


@pytest.mark.parametrize("options, message", [
    ({"eta": -1.0}, "eta must be finite and not negative"),
    ({"steps": 0}, "steps must be at least 1"),
    ({"curve": "sine"}, "schedule must be one of linear, cosine"),
    ({"top_p": 0.0}, "top_p"),
])  # fmt: skip
def test_impossible_arguments_are_named(options, message):
    with pytest.raises(ValueError, match=message):
        PathSampler(Flat(), blank(), **{"steps": 4, **options})
