"""Molecules in space that are told something: guidance in closed form, hidden and heard."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from point_targets import SIZES, SYSTEM, K, tiny_guess

from scidiff.api.points_engine import PointsEngine
from scidiff.core import seeded
from scidiff.data.graphs import NodeCounts
from scidiff.data.points import PointCanvas, PointState, ToldSizes
from scidiff.data.tokens import Vocabulary
from scidiff.networks.points import PointGuess
from scidiff.processes.conditional import ConditionalProcess
from scidiff.processes.gaussian import per_row
from scidiff.processes.points import PointProcess
from scidiff.processes.schedules import alpha
from scidiff.samplers.gaussian import GaussianSampler
from scidiff.samplers.masked import told_rows
from scidiff.samplers.solvers import make_sampler

FREE, TOLD = 0.0, 0.7  # what stands for a condition that is hidden, and one that is told
STANDARD = ((0.0, 1.0),)
TIMES = [0.05, 0.4, 0.9]


def priors(c: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """log p of types and of bonds given c (B,)."""
    types, bonds = torch.linspace(-1, 1, K), torch.linspace(1, -1, SYSTEM.num_bonds)
    return tuple((c[:, None] * v).log_softmax(-1) for v in (types.double(), bonds.double()))


class Knows:
    """A network that knows a law: places N(0, e^c) where they are free, classes by `priors`."""

    training = True  # in one batch

    def __call__(self, positions, features, mask, t, edges, condition, shown):
        B, n, _ = positions.shape
        c = torch.full((B,), FREE).double() if condition is None else condition[:, 0]
        scales = tiny_guess().scales(t)
        c_in, skip, out = (per_row(v, positions) for v in scales)
        x = positions / c_in
        schedule = SYSTEM.components()[0].schedule
        a, s = (per_row(v, positions) for v in (alpha(schedule, t), schedule.sigma(t)))
        v = per_row(c.exp(), positions)
        types, bonds = priors(c)
        return (
            (a * v / (a**2 * v + s**2) - skip) * x / out,
            types[:, None].expand(B, n, -1), bonds[:, None, None].expand(B, n, n, -1),
        )  # fmt: skip


def engine() -> PointsEngine:
    config = {"length_counts": [0, 0, 0, 1], "conditions": [{"name": "c"}], "process": {}}
    parameters = SimpleNamespace(parameters=lambda: iter([torch.zeros(1)]))
    guess = PointGuess(Knows(), SYSTEM)
    return PointsEngine(parameters, guess, Vocabulary(("A", "B", "C"), "points"), config)


def somewhere(t: float) -> PointState:
    canvas = PointCanvas(NodeCounts.fixed(3), K, SYSTEM.num_bonds, torch.float64)
    x = canvas(4, seeded(0))
    noise = [c.noise(p, x.mask, seeded(1)) for c, p in
             zip(SYSTEM.components(), x.parts, strict=True)]  # fmt: skip
    x = x.moved(tuple(noise))
    return PointState(x.positions, x.types, x.mask, x.bonds,
                      condition=torch.full((4, 1), TOLD).double())


def log_q(parts, t, c):
    """log density (up to a constant) of the law of x_t given c, from its definition."""
    now = torch.tensor(t, dtype=torch.float64)
    schedule = SYSTEM.components()[0].schedule
    a, s = alpha(schedule, now), schedule.sigma(now)
    total = -parts[0].square().sum() / (2 * (a**2 * torch.tensor(c).exp() + s**2))
    for part, log_p in zip(parts[1:], priors(torch.tensor([c]).double()), strict=True):
        means = a * torch.eye(part.shape[-1]).double()
        squares = (part[..., None, :] - means).square().sum(-1)
        mixture = (log_p[0] - squares / (2 * s**2)).logsumexp(-1)
        if part.ndim == 4:
            i, j = torch.triu_indices(3, 3, 1)
            mixture = mixture[:, i, j]
        total = total + mixture.sum()
    return total


@pytest.mark.parametrize("t", TIMES)
@pytest.mark.parametrize("weight", [0.0, 0.5, 1.0, 3.0])
def test_the_guided_score_is_that_of_the_product(weight, t):
    """sum over components of w grad log q(x | c) + (1 - w) grad log q(x), by autograd."""
    denoiser = engine().sampler(condition={"c": TOLD}, weight=weight, steps=4).denoiser
    x, now = somewhere(t), torch.tensor(t, dtype=torch.float64)
    parts = tuple(p.clone().requires_grad_() for p in x.parts)
    bent = weight * log_q(parts, t, TOLD) + (1 - weight) * log_q(parts, t, FREE)
    grads = torch.autograd.grad(bent, parts)
    i, j = torch.triu_indices(3, 3, 1)
    for c, (guess, part, grad) in enumerate(
        zip(denoiser(x, now), x.parts, grads, strict=True)
    ):
        schedule = SYSTEM.components()[c].schedule
        a, s = alpha(schedule, now), schedule.sigma(now)
        score = (a * guess - part) / s**2
        if c == 2:
            score, grad = score[:, i, j], grad[:, i, j]
        assert torch.allclose(score, grad, atol=1e-6 * max(1, float(grad.abs().max())))


def test_a_weight_asks_both_and_counts_both():
    made = engine()
    guided = made.sampler(condition={"c": TOLD}, weight=2.0, steps=2)
    guided.init(3, seeded(0))
    assert guided.denoiser.rows == 6
    assert made.sampler(condition={"c": TOLD}, steps=2).denoiser is made.denoiser


# ---------------------------------------------------------------- heard and hidden


def pair() -> tuple[PointGuess, PointGuess]:
    """A network that was told nothing, and its copy that takes conditions."""
    plain = tiny_guess()
    return plain, plain.network.told(STANDARD).eval().denoiser(SYSTEM)


def noisy(n: int = 6, told: bool = True) -> PointState:
    x = SIZES(n, seeded(3))
    noise = [c.noise(p, x.mask, seeded(4)) for c, p in
             zip(SYSTEM.components(), x.parts, strict=True)]  # fmt: skip
    condition = torch.linspace(-1, 1, n)[:, None] if told else None
    moved = x.moved(tuple(noise))
    return PointState(moved.positions, moved.types, moved.mask, moved.bonds, condition=condition)


def heard(guess: PointGuess) -> PointGuess:
    """The same with weights at which conditions count."""
    asked = guess.network.inner.told.asked
    for p in asked.parameters():
        torch.nn.init.normal_(p, std=2.0, generator=seeded(5))
    return guess


@torch.no_grad()
def test_a_model_that_learns_to_be_told_begins_as_its_parent():
    plain, told = pair()
    t = torch.linspace(0.1, 0.9, 6)
    for a, b in zip(plain(noisy(told=False), t), told(noisy(), t), strict=True):
        assert torch.equal(a, b)
    with pytest.raises(ValueError, match="takes conditions already"):
        told.network.told(STANDARD)


def test_and_what_it_is_told_moves_it():
    _, told = pair()
    network = told.network.train()
    given = network.given(noisy().condition, torch.ones(6, dtype=torch.bool))
    PointProcess().loss(given, clean(), seeded(0)).sum().backward()
    grads = network.inner.told.asked.embed
    assert grads.weight.grad.abs().min() > 0 and grads.bias.grad.abs().min() > 0


def clean() -> PointState:
    """Molecules of several sizes with whole classes and what they are told."""
    x = noisy()
    types = torch.nn.functional.one_hot(x.types.argmax(-1), K) * x.mask[..., None]
    bonds = torch.nn.functional.one_hot(x.bonds.argmax(-1), SYSTEM.num_bonds).float()
    return PointState(x.positions, types.float(), x.mask, bonds, condition=x.condition)


@torch.no_grad()
def test_a_hidden_condition_is_none():
    guess, t = heard(pair()[1]), torch.tensor(0.3)
    network, x = guess.network, noisy()
    nobody = torch.zeros(6, dtype=torch.bool)
    wanted = guess(noisy(told=False), t)
    for other in (PointGuess(network, SYSTEM, told=False),
                  network.given(x.condition, nobody).denoiser(SYSTEM)):  # fmt: skip
        assert all(torch.equal(a, b) for a, b in zip(other(x, t), wanted, strict=True))
    assert not torch.allclose(guess(x, t)[1], wanted[1])


@torch.no_grad()
def test_conditions_stay_with_their_rows_where_a_batch_is_cut_to_size():
    guess, x, t = heard(pair()[1]), noisy(), torch.linspace(0.1, 0.9, 6)
    shown = torch.tensor([True, False, True, True, False, True])
    given = guess.network.given(x.condition, shown).denoiser(SYSTEM)
    cut = given(x, t)
    guess.network.train()  # runs whole
    assert all(torch.allclose(a, b, atol=1e-5) for a, b in zip(cut, given(x, t), strict=True))
    guess.network.eval()
    for i in range(6):
        row = torch.tensor([i])
        alone = x[row] if shown[i] else noisy(told=False)[row]
        for a, b in zip(cut, guess(alone, t[row]), strict=True):
            assert torch.allclose(a[row], b, atol=1e-5)


@torch.no_grad()
def test_what_is_told_turns_with_nobody():
    guess, x, t = heard(pair()[1]), noisy(), torch.tensor(0.3)
    q, _ = torch.linalg.qr(torch.randn(3, 3, generator=seeded(7)))
    turned = x.moved((x.positions @ q.T, x.types, x.bonds))
    places, *classes = guess(x, t)
    found = guess(turned, t)
    assert torch.allclose(found[0], places @ q.T, atol=1e-5)
    assert all(torch.allclose(a, b, atol=1e-5) for a, b in zip(found[1:], classes, strict=True))


def test_training_hides_conditions_as_often_as_asked():
    network, seen = pair()[1].network, []
    given = network.given
    network.given = lambda c, shown: seen.append(shown) or given(c, shown)
    process, x0 = ConditionalProcess(PointProcess(), 0.25), clean()
    for seed in range(300):
        with torch.no_grad():
            process.loss(network, x0, seeded(seed))
    hidden = (~torch.cat(seen)).double().mean()
    assert abs(hidden - 0.25) < 4 * (0.1875 / 1800) ** 0.5
    assert torch.equal(process.noise(x0, torch.full((6,), 0.5), seeded(0)).condition, x0.condition)


def test_a_network_that_was_told_nothing_is_given_nothing():
    network = tiny_guess().network
    with pytest.raises(ValueError, match="made without conditions"):
        network.given(torch.zeros(2, 1), torch.ones(2, dtype=torch.bool))


# ---------------------------------------------------------------- in a chain


@pytest.mark.parametrize("snr", [None, 0.1])
def test_every_row_of_a_chain_is_told_its_own(snr):
    guess = heard(pair()[1])
    sampler = make_sampler(guess, SIZES, steps=3, snr=snr)
    table = torch.tensor([[-1.0], [1.0]])
    told = told_rows(sampler, table)
    with torch.no_grad():
        x = told.step(told.init(4, seeded(0)), 0, seeded(1))
        first = told_rows(sampler, table[:1])
        y = first.step(first.init(4, seeded(0)), 0, seeded(1))
        free = sampler.init(4, seeded(0))
    assert x.condition.flatten().tolist() == [-1, -1, 1, 1] and free.condition is None
    assert torch.equal(x.types[:2], y.types[:2]) and not torch.allclose(x.types[2:], y.types[2:])
    with pytest.raises(ValueError, match="R a divisor of the 3 rows"):
        told.init(3, seeded(0))


def test_a_sampler_is_told_nothing_unless_asked():
    assert GaussianSampler(tiny_guess(), SIZES, steps=2).init(2, seeded(0)).condition is None


# ---------------------------------------------------------------- how many atoms

COUNTS = np.array([1, 1, 3, 3, 3, 3, 4, 4])
NUMBERS = np.array([[0.0], [1], [4], [5], [6], [5], [9], [8]], np.float32)


def test_what_a_size_is_told_is_that_of_its_molecules_and_one_more_that_is_like_all():
    law = ToldSizes.fit(COUNTS, NUMBERS)
    mean, usual = NUMBERS.mean(), NUMBERS.var()
    assert law.mean[3, 0] == pytest.approx((20 + mean) / 5)
    off = ((np.array([4, 5, 6, 5]) - float(law.mean[3, 0])) ** 2).sum()
    assert law.spread[3, 0] == pytest.approx(((off + usual) / 5) ** 0.5)
    assert law.mean[2, 0] == pytest.approx(mean) and law.spread[0, 0] == pytest.approx(usual**0.5)


@pytest.mark.parametrize("weight", [1.0, 2.0])
@pytest.mark.parametrize("asked", [0.5, 4.0])
def test_sizes_follow_bayes_rule(asked, weight):
    n, fitted = 4_000, ToldSizes.fit(COUNTS, NUMBERS)
    law = ToldSizes(fitted.mean, fitted.spread, weight)
    counts = NodeCounts.of(COUNTS.tolist())
    canvas = PointCanvas(counts, K, told=law)
    x = canvas.asked(torch.full((n, 1), asked), seeded(0))
    likelihood = torch.distributions.Normal(law.mean[:, 0], law.spread[:, 0])
    p = counts.weights * likelihood.log_prob(torch.tensor(asked)).mul(weight).exp()
    p = p / p.sum()
    drawn = torch.bincount(x.mask.sum(1), minlength=len(p)) / n
    assert not drawn[p == 0].any() and torch.equal(x.condition, torch.full((n, 1), asked))
    assert ((drawn - p).abs() <= 4 * (p * (1 - p) / n).sqrt()).all()
    assert ((p - counts.weights / 8).abs() > 0.2).any()  # it is not the law of all rows


def test_every_row_has_the_size_of_what_it_is_asked_for():
    canvas = PointCanvas(NodeCounts.of(COUNTS.tolist()), K, told=ToldSizes.fit(COUNTS, NUMBERS))
    x = canvas.asked(torch.tensor([[-2.0], [14.0]]), seeded(1))
    assert x.mask.sum(1).tolist() == [1, 4]
    free = PointCanvas(canvas.counts, K)
    assert torch.equal(free.asked(torch.zeros(9, 1), seeded(2)).mask, free(9, seeded(2)).mask)
