"""Ancestral steps over any schedule, with and without remasking: the law of every partly hidden
row is propagated exactly, and row compaction changes nothing but the cost."""

import math

import numpy as np
import pytest
import torch
from token_laws import FLAT, MASK, PEAKED, Flat, chi2_z, distance

from scidiff.core import seeded
from scidiff.data.tokens import TokenState
from scidiff.guidance.particles import sample
from scidiff.samplers.ancestral import AncestralSampler
from scidiff.samplers.canvas import FixedCanvas, LengthLaw
from scidiff.samplers.predictions import remembering
from scidiff.samplers.remasking import (
    Capped,
    Corrector,
    LeastSure,
    Loop,
    Rescaled,
    sigma_max,
    write_chance,
)
from scidiff.testing import Table

RULES = {"cap": Capped(0.3), "rescale": Rescaled(0.5), "loop": Loop(0.1), "dfm": Corrector(2.0)}


def cosine(t: torch.Tensor) -> torch.Tensor:
    return (torch.pi * t / 2).cos()


def ancestral(table: Table, steps: int, **options) -> AncestralSampler:
    blank = FixedCanvas.blank(table.length, table.mask_id)
    return AncestralSampler(table.denoiser(), blank, steps=steps, **options)


def kernel(sampler: AncestralSampler, table: Table, k: int) -> torch.Tensor:
    """Exact law (S, S) of step k from every state to every state, from the sampler's chances."""
    S, L = table.states.shape
    everywhere = torch.ones(S, L, dtype=torch.bool)
    x = remembering(TokenState(table.states), everywhere, torch.ones(S, L))
    write, hide = (torch.as_tensor(c).double().expand(S, L) for c in sampler.chances(x, k))
    hidden = table.states == table.mask_id
    stay = torch.where(hidden, 1 - write, 1 - hide)
    move = torch.nn.functional.one_hot(table.states, table.vocab_size).double() * stay[..., None]
    told = table.log_conditionals.exp() * (write * hidden)[..., None]
    move = move + told
    move[..., table.mask_id] += hide * ~hidden
    found = torch.ones(S, S, dtype=torch.float64)
    for position in range(L):
        found = found * move[:, position, table.states[:, position]]
    return found


def laws(sampler: AncestralSampler, table: Table) -> list[torch.Tensor]:
    """The law (S,) of the state after each step."""
    law = torch.zeros(len(table.states), dtype=torch.float64)
    law[table.index(torch.full((1, table.length), table.mask_id))] = 1.0
    found = []
    for k in range(sampler.num_steps):
        found.append(law := law @ kernel(sampler, table, k))
    return found


def of_sequences(law: torch.Tensor, table: Table) -> torch.Tensor:
    return law[table.index(table.seqs)]


def independent_table() -> Table:
    """A law whose positions know nothing of each other, so that each prediction is exact."""
    rows = np.random.default_rng(1).dirichlet([1, 1, 1], size=3)
    return Table.of(torch.from_numpy(np.einsum("a,b,c->abc", *rows)))


@pytest.mark.parametrize("alpha", [None, cosine])
@pytest.mark.parametrize("rule", [None, *RULES])
def test_every_rule_keeps_the_marginals_of_its_schedule(rule, alpha):
    if rule == "loop" and alpha is not None:
        pytest.skip("it has a schedule of its own")
    table = independent_table()
    sampler = ancestral(table, 9, remask=RULES.get(rule), alpha=alpha)
    hidden = table.states == table.mask_id
    single = table.log_conditionals[table.index(torch.full((1, 3), table.mask_id))][0].exp()
    token = single[torch.arange(3), table.states.clamp(max=table.mask_id - 1)]
    for law, level in zip(laws(sampler, table), sampler.levels[1:], strict=False):
        expected = torch.where(hidden, 1 - level, level * token).prod(1)
        assert (law - expected).abs().max() < 1e-12


@pytest.mark.parametrize("table, known", [(FLAT, 0.0327), (PEAKED, 0.0556)])
def test_without_remasking_the_error_is_the_known_one(table, known):
    law = of_sequences(laws(ancestral(table, 16), table)[-1], table)
    assert distance(law, table.p) == pytest.approx(known, rel=0.01)


@pytest.mark.parametrize("table, plain", [(FLAT, 0.0327), (PEAKED, 0.0556)])
@pytest.mark.parametrize("rule", RULES)
def test_remasking_takes_back_no_mistake_where_conditionals_are_exact(rule, table, plain):
    # what it writes again it writes beside other tokens: it needs a network that errs
    law = of_sequences(laws(ancestral(table, 16, remask=RULES[rule]), table)[-1], table)
    assert 1.2 * plain < distance(law, table.p) < 4 * plain


@pytest.mark.parametrize("options", [
    {"alpha": cosine}, {"remask": Capped(0.3)}, {"remask": Rescaled(0.5)},
    {"remask": Loop(0.1)}, {"remask": Corrector(2.0)}, {"remask": Capped(0.3), "alpha": cosine},
])  # fmt: skip
def test_the_sampler_draws_its_law(options):
    sampler = ancestral(FLAT, 6, **options)
    law = of_sequences(laws(sampler, FLAT)[-1], FLAT)
    ids = sample(sampler, 40_000, seeded(0)).ids
    assert abs(chi2_z(FLAT, ids, law)) < 4


def test_the_least_sure_token_is_hidden_most():
    now, then = torch.tensor(0.4).double(), torch.tensor(0.6).double()
    shown = torch.tensor([[True, True, True, False], [False] * 4])
    sure = torch.tensor([[0.9, 0.1, 0.5, 0.0], [0.5] * 4])
    sigma = LeastSure()(now, then, shown, sure)
    expected = torch.tensor([-0.9, -0.1, -0.5]).double().softmax(0) * float(sigma_max(now, then))
    assert torch.allclose(sigma[0, :3], expected, atol=1e-7)
    assert sigma[0, 3] == 0 and not sigma[1].any()


def test_how_sure_a_token_was_is_remembered_until_it_is_written_again():
    sampler = ancestral(FLAT, 6, remask=Capped(0.9))
    x = sampler.init(200, seeded(0))
    for k in range(4):
        told, before = x.trunk.dense(), x
        x = sampler.step(x, k, seeded(1, k))
        new = (before.ids == FLAT.mask_id) & (x.ids != FLAT.mask_id)
        p = told.gather(-1, x.ids[..., None])[..., 0].exp()
        assert new.any() and torch.allclose(x.memory[1][new].double(), p[new], atol=1e-6)
        assert torch.equal(x.memory[1][~new], before.memory[1][~new])


@pytest.mark.parametrize("rule", [*RULES.values(), LeastSure()])
def test_tokens_that_were_given_are_never_hidden(rule):
    given = torch.tensor([[MASK, 3, MASK, MASK, 6]])
    sampler = AncestralSampler(Flat(), FixedCanvas(given, MASK), steps=12, remask=rule)
    x, again = sampler.init(50, seeded(0)), torch.zeros(50, 5, dtype=torch.bool)
    for k in range(12):
        before, x = x.ids, sampler.step(x, k, seeded(1, k))
        again |= (before != MASK) & (x.ids == MASK)
        assert torch.equal(x.ids[:, [1, 4]], given[:, [1, 4]].expand(50, 2))
    assert again.any() and not (x.ids == MASK).any()


def test_chances_are_chances_at_the_ends():
    zero, one = torch.zeros(()).double(), torch.ones(()).double()
    assert write_chance(zero, zero + 0.25, zero) == 0.25
    assert write_chance(one, one, zero) == 1 and sigma_max(zero, zero) == 1
    assert sigma_max(one / 2, one * 0.75) == 0.5
    assert sigma_max(one, one) == 0
    strong = Corrector(1e6)(one / 2, one * 0.6, None, None)
    assert strong == sigma_max(one / 2, one * 0.6)


# ---------------------------------------------------------------- row compaction


@pytest.mark.parametrize("options", [{}, {"alpha": cosine}, {"remask": Capped(0.1)}])
def test_compaction_draws_the_same_rows(options):
    canvas = LengthLaw([0, 1, 1, 1, 2], MASK, length=7)
    plain, compact = (
        AncestralSampler(Flat(0.3), canvas, steps=20, compact=c, **options) for c in (False, True)
    )
    a, b = (sample(s, 300, seeded(0)).ids for s in (plain, compact))
    assert torch.equal(a, b)
    assert compact.denoiser.rows < 0.4 * plain.denoiser.rows


def test_compaction_has_the_law_of_exact_conditionals():
    sampler = ancestral(FLAT, 6, compact=True)
    law = of_sequences(laws(ancestral(FLAT, 6), FLAT)[-1], FLAT)
    assert abs(chi2_z(FLAT, sample(sampler, 40_000, seeded(2)).ids, law)) < 4


@pytest.mark.parametrize("alpha", [None, cosine])
@pytest.mark.parametrize("n, steps", [(7, 20), (7, 4), (30, 48)])
def test_a_row_costs_what_the_schedule_says(alpha, n, steps):
    runs, rows = 30, 20
    counts = []
    for seed in range(runs):
        sampler = AncestralSampler(
            Flat(), FixedCanvas.blank(n, MASK), steps=steps, alpha=alpha, compact=True
        )
        sample(sampler, rows, seeded(seed))
        counts.append(sampler.denoiser.rows / rows)
    grid = [1 - i / steps for i in range(steps + 1)]
    level = [1 - t if alpha is None else math.cos(math.pi * t / 2) for t in grid]
    level[0], level[-1] = 0.0, 1.0
    q = np.diff(level)
    expected = steps - ((1 - q) ** n).sum()
    if alpha is None:
        assert expected == pytest.approx(steps * (1 - (1 - 1 / steps) ** n))
    z = (np.mean(counts) - expected) / (np.std(counts, ddof=1) / runs**0.5)
    assert abs(z) < 4
