"""Masked samplers against laws known exactly: enumerated, not sampled, wherever the pieces allow
it."""

from itertools import product

import numpy as np
import pytest
import torch
from token_laws import FLAT, PEAKED, chi2_z, distance, exact_law, masked, propagated

from scidiff.core import seeded
from scidiff.data.tokens import EOS, PAD
from scidiff.guidance.particles import sample
from scidiff.samplers.masked import (
    AncestralSampler,
    Confidence,
    FixedCanvas,
    LengthLaw,
    MaskedSampler,
    Sequential,
)
from scidiff.samplers.orders import clocks, race
from scidiff.testing import Table


def ended_table() -> Table:
    """Rows of 4 whose end is generated: symbols 2 and 3, then EOS, then PAD."""
    rows = [
        [*w, *([EOS] + [PAD] * 3)[: 4 - n]] for n in range(5) for w in product((2, 3), repeat=n)
    ]
    p = np.random.default_rng(1).dirichlet(np.ones(len(rows)))
    return Table(torch.tensor(rows), torch.from_numpy(p), mask_id=4)


def on(device: str, table: Table) -> Table:
    """The same table with all that it knows on `device`."""
    return Table(table.seqs.to(device), table.p.to(device), table.mask_id)


@pytest.mark.parametrize("table", [FLAT, PEAKED])
@pytest.mark.parametrize(
    "options",
    [{}, {"block_size": 2}, {"block_size": 1}, {"block_size": 3}, {"order": Confidence()},
     {"order": Sequential()}, {"order": Sequential(), "block_size": 2}],
)
def test_one_token_a_step_is_exact(table, options):
    # with exact conditionals every order is, also the confident one
    assert distance(exact_law(table, **options), table.p) <= 1e-12


@pytest.mark.parametrize("block_size", [None, 1, 2, 3])
def test_generated_ends_are_exact(block_size):
    table = ended_table()
    assert distance(exact_law(table, block_size=block_size), table.p) <= 1e-12


@pytest.mark.parametrize("k, flat, peaked", [(2, 0.194, 0.238), (4, 0.360, 0.637)])
def test_several_tokens_a_step_have_the_known_error(k, flat, peaked):
    assert distance(exact_law(FLAT, tokens_per_step=k), FLAT.p) == pytest.approx(flat, abs=6e-4)
    assert distance(exact_law(PEAKED, tokens_per_step=k), PEAKED.p) == pytest.approx(
        peaked, abs=6e-4
    )


def ancestral_parts(table: Table) -> tuple[torch.Tensor, torch.Tensor]:
    """A (L+1, S, S): write each subset of j hidden positions, summed over subsets; and hidden
    (S,)."""
    S, L, hidden = len(table.states), table.length, table.states == table.mask_id
    p = table.log_conditionals.exp()
    parts = torch.zeros(L + 1, S, S, dtype=torch.float64)
    before, after = table.states[:, None], table.states
    moves = ((before == after) | (before == table.mask_id)).all(-1)
    chosen = p.gather(2, table.states.T.expand(S, L, S)).transpose(
        1, 2
    )  # (S, S, L) of the new token
    filled = torch.where(before == after, 1.0, chosen).prod(-1)
    written = hidden.sum(1)[:, None] - hidden.sum(1)
    for j in range(L + 1):
        parts[j] = torch.where(moves & (written == j), filled, 0.0)
    return parts, hidden.sum(1)


@pytest.mark.parametrize(
    "table, known",
    [(FLAT, [0.122, 0.0327, 0.0083, 0.0021]), (PEAKED, [0.206, 0.0556, 0.0142, 0.0036])],
)
def test_ancestral_steps_have_the_known_error(table, known):
    parts, hidden = ancestral_parts(table)
    j = torch.arange(len(parts))[:, None, None]
    for steps, expected in zip((4, 16, 64, 256), known, strict=True):
        kernels = []
        for i in range(steps):
            r = 1 / (steps - i)
            kernels.append((parts * r**j * (1 - r) ** (hidden[:, None] - j).clamp(min=0)).sum(0))
        assert distance(propagated(table, kernels), table.p) == pytest.approx(
            expected, rel=0.015, abs=6e-5
        )
    ids = sample(
        AncestralSampler(table.denoiser(), FixedCanvas.blank(4, table.mask_id), steps=4),
        40_000,
        seeded(0),
    ).ids
    kernels = [
        (parts * (1 / (4 - i)) ** j * (1 - 1 / (4 - i)) ** (hidden[:, None] - j).clamp(min=0)).sum(
            0
        )
        for i in range(4)
    ]
    assert abs(chi2_z(table, ids, propagated(table, kernels))) < 4


@pytest.mark.parametrize(
    "options", [{}, {"block_size": 2}, {"tokens_per_step": 2}, {"tokens_per_step": 4}]
)
def test_the_sampler_draws_its_law(options, device):
    ids = sample(masked(on(device, FLAT), **options), 100_000, seeded(1, device=device)).ids
    assert ids.device.type == device
    assert abs(chi2_z(FLAT, ids, exact_law(FLAT, **options))) < 4


@pytest.mark.parametrize("block_size", [None, 1, 2])
def test_the_sampler_ends_rows_by_their_law(block_size, device):
    table = ended_table()
    sampler = masked(on(device, table), block_size=block_size)
    ids = sample(sampler, 50_000, seeded(2, device=device)).ids
    assert abs(chi2_z(table, ids, table.p)) < 4


def test_a_posterior_guess_is_a_product_of_marginals(device):
    sampler, n = masked(on(device, PEAKED)), 50_000
    x = sampler.init(n, seeded(0, device=device))
    guess = sampler.predict_clean(x, 0, seeded(1, device=device)).ids
    assert abs(chi2_z(PEAKED, guess, exact_law(PEAKED, tokens_per_step=4))) < 4


@pytest.mark.parametrize("options", [{}, {"block_size": 2}])
@pytest.mark.parametrize("k", [1, 2, 3])
def test_renoising_and_going_on_keeps_the_law(options, k, device):
    sampler = masked(on(device, FLAT), **options)
    clean = sample(sampler, 50_000, seeded(3, device=device))
    x = sampler.renoise(clean, k, seeded(4, device=device))
    assert ((x.ids == FLAT.mask_id).sum(1) == 4 - k).all()
    for step in range(k, sampler.num_steps):
        x = sampler.step(x, step, seeded(5, step, device))
    assert abs(chi2_z(FLAT, x.ids, FLAT.p)) < 4


def test_infilling_draws_the_conditional_law(device):
    given = torch.full((1, 4), FLAT.mask_id)
    given[0, 1] = 3
    sampler = MaskedSampler(on(device, FLAT).denoiser(), FixedCanvas(given, FLAT.mask_id))
    ids = sample(sampler, 50_000, seeded(6, device=device)).ids
    conditional = FLAT.p * (FLAT.seqs[:, 1] == 3)
    assert abs(chi2_z(FLAT, ids, conditional / conditional.sum())) < 4


def test_lengths_follow_their_counts(device):
    counts = [0.0, 3.0, 0.0, 1.0, 2.0]
    ids = LengthLaw(counts, mask_id=9, length=8)(60_000, seeded(0, device=device)).cpu()
    lengths = (ids == 9).sum(1)
    assert (ids.gather(1, lengths[:, None]) == EOS).all()
    expected = torch.tensor(counts) / 6 * 60_000
    seen = torch.bincount(lengths, minlength=5)
    assert (seen[expected == 0] == 0).all()
    assert (
        ((seen - expected) ** 2)[expected > 0] / expected[expected > 0]
    ).sum() < 14  # 2 degrees, p = 1e-3


def win_probability(w: float, clock) -> float:
    """P that a token of probability w beats one of 1 - w, its uniform on torch's float32 grid."""
    j = torch.arange(2**20)
    E = clock(j.float() * 2**-24).double()
    return float((-E * (1 - w) / w).exp().sum() * 2**-24)


@pytest.mark.parametrize("w", [1e-3, 1e-4, 1e-5, 1e-6, 1e-7])
def test_the_race_is_right_for_rare_tokens_in_float32(w):
    assert win_probability(w, clocks) == pytest.approx(w, abs=0, rel=1e-5 + 2**-48 / (12 * w**2))


def test_the_usual_clock_is_wrong_for_rare_tokens():
    # -log(1 - u) cut to the grid's edge wins too often; the test above would see it
    assert win_probability(1e-7, lambda u: -torch.log1p(-u)) > 1.3e-7


def test_the_race_draws_its_law_and_never_the_impossible(device):
    log_p = torch.tensor([0.5, 0.3, 0.2, 0.0, 1e-3]).log()
    n = 200_000
    drawn = race(log_p.to(device).expand(n, 5), seeded(0, device=device))
    seen = torch.bincount(drawn.cpu(), minlength=5)
    expected = n * log_p.softmax(0)
    assert seen[3] == 0
    assert (
        ((seen - expected) ** 2)[expected > 0] / expected[expected > 0]
    ).sum() < 16.3  # p = 1e-3


def test_temperature_sharpens_the_tokens():
    log_p = torch.tensor([0.6, 0.4]).log().expand(100_000, 2)
    share = (race(log_p, seeded(0), temperature=0.5) == 0).double().mean()
    assert abs(share - 0.36 / 0.52) < 4 * (0.25 / 100_000) ** 0.5
    assert (race(log_p, seeded(0), temperature=0) == 0).all()
