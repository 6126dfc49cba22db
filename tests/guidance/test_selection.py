"""Resampling schemes and rules, beyond the contract."""

import pytest
import torch

from scidiff.core import seeded
from scidiff.guidance.selection import (
    SCHEMES,
    effective_size,
    greedy,
    keep_all,
    log_mean_exp,
    nested,
    per_parent,
    residual,
    smc,
    ssp,
    systematic,
)


def weights(P=3000, K=7):
    p = torch.tensor([0.4, 0.05, 0.0, 0.3, 0.05, 0.19, 0.01], dtype=torch.float64)
    return p.expand(P, K)


def copies(index, K=7):
    return torch.nn.functional.one_hot(index, K).sum(1).double()


@pytest.mark.parametrize("scheme", SCHEMES)
def test_expected_copies_are_k_times_p(scheme):
    p = weights()
    c = copies(SCHEMES[scheme](p, seeded(0)))
    error = (c.std(0) / len(c) ** 0.5).clamp(min=1e-12)
    assert ((c.mean(0) - 7 * p[0]).abs() < 4.5 * error + 1e-9).all()
    assert (c[:, 2] == 0).all()


def test_schemes_are_ordered_by_their_noise():
    noise = {s: float(copies(SCHEMES[s](weights(), seeded(0))).var(0).sum()) for s in SCHEMES}
    assert noise["systematic"] <= noise["stratified"] < noise["residual"] < noise["multinomial"]
    assert noise["ssp"] == pytest.approx(noise["systematic"], rel=0.03)  # floor or ceil, both


@pytest.mark.parametrize("scheme", [systematic, ssp])
def test_copies_are_floor_or_ceil(scheme):
    c, p = copies(scheme(weights(), seeded(0))), weights()
    assert ((c >= (7 * p).floor()) & (c <= (7 * p).ceil())).all()


def covariance(scheme, p, runs=40_000):
    """Of the copies (K, K), in standard errors."""
    c = copies(scheme(p.expand(runs, -1), seeded(3)), len(p))
    c = c - c.mean(0)
    each = c[:, :, None] * c[:, None, :]
    return each.mean(0) / (each.std(0) / runs**0.5).clamp(min=1e-12)


def test_copies_by_ssp_are_negatively_associated_and_systematic_ones_are_not():
    even = torch.full((6,), 1 / 12, dtype=torch.float64)
    p = torch.cat([even, even.new_tensor([0.5])])
    apart = ~torch.eye(7, dtype=torch.bool)
    assert (covariance(ssp, p)[apart] < 4).all()
    assert (covariance(systematic, p)[apart] > 4).any()


@pytest.mark.parametrize("K", [1, 2, 3, 13, 64])
def test_ssp_gives_out_all_places_whatever_the_rounding(K):
    p = torch.linspace(-3, 4, K, dtype=torch.float64).softmax(0).expand(500, K)
    index = ssp(p, seeded(K))
    assert index.shape == (500, K) and (index.diff(dim=1) >= 0).all()
    c = copies(index, K)
    assert ((c >= (K * p - 1e-9).floor()) & (c <= (K * p + 1e-9).ceil())).all()


def test_ssp_draws_two_together_as_its_duels_do():
    p = torch.tensor([0.7, 0.5, 0.8, 1.0], dtype=torch.float64) / 3
    a, b, c, d = (4 * p - (4 * p).floor()).tolist()  # 2 in all, a + b > 1 > c + d
    law = (a + b - 1) / (a + b - 1 + c + d)  # who lost of the first pair beats the second pair's
    drawn = copies(ssp(p.expand(40_000, 4), seeded(5)), 4) - (4 * p).floor()
    both = float((drawn[:, 0] * drawn[:, 1]).mean())
    assert abs(both - law) < 4 * (law * (1 - law) / 40_000) ** 0.5


def test_residual_keeps_the_whole_parts():
    assert (copies(residual(weights(), seeded(0))) >= (7 * weights()).floor()).all()
    even = torch.full((4, 8), 0.125, dtype=torch.float64)
    assert (residual(even, seeded(0)).sort(1).values == torch.arange(8)).all()


@pytest.mark.parametrize("scheme", SCHEMES)
def test_one_heavy_particle_takes_all(scheme):
    log_w = torch.tensor([[[0.0], [2000.0], [-2000.0]]], dtype=torch.float64)
    index, kept = smc(1.0, scheme)(log_w, seeded(0))
    assert index.tolist() == [[1, 1, 1]]
    assert torch.allclose(
        kept, torch.tensor(2000.0 - torch.log(torch.tensor(3.0)).item(), dtype=torch.float64)
    )


def test_only_degenerate_populations_are_resampled():
    log_w = torch.zeros(2, 4, 1, dtype=torch.float64)
    log_w[1, 0] = 50
    index, kept = smc(0.5)(log_w, seeded(0))
    assert index.tolist() == [[0, 1, 2, 3], [0, 0, 0, 0]]
    assert torch.equal(kept[0], log_w[0, :, 0]) and torch.allclose(
        kept[1], log_mean_exp(log_w[1, :, 0])
    )


def test_nested_picks_among_the_chosen_parents_own_choices():
    log_w = torch.zeros(1, 3, 4, dtype=torch.float64)
    log_w[0, 1, 2] = 80
    index, _ = nested(1.0)(log_w, seeded(0))
    assert index.tolist() == [[6, 6, 6]]


def test_per_parent_draws_by_softmax_inside_each_parent():
    log_w = torch.tensor([0.5, 0.3, 0.2], dtype=torch.float64).log().expand(50_000, 1, 3)
    index, kept = per_parent(log_w, seeded(0))
    share = torch.bincount(index[:, 0], minlength=3) / 50_000
    assert (share - torch.tensor([0.5, 0.3, 0.2])).abs().max() < 0.01
    assert torch.allclose(kept, torch.tensor(1 / 3, dtype=torch.float64).log())


def test_greedy_keeps_the_best_of_all_candidates():
    log_w = torch.tensor([[[1.0, 5.0], [4.0, 0.0], [2.0, 3.0]]], dtype=torch.float64)
    index, kept = greedy(log_w, seeded(0))
    assert index.tolist() == [[1, 2, 5]] and kept.tolist() == [[5, 4, 3]]


def test_effective_size():
    assert effective_size(torch.zeros(5).double()) == pytest.approx(5)
    assert effective_size(torch.tensor([900.0, 0, 0]).double()) == pytest.approx(1)


@pytest.mark.parametrize("make, message", [
    (lambda: smc(1.2), "ess is a fraction"), (lambda: smc(-0.1), "ess is a fraction"),
    (lambda: nested(0.5, "systematik"), "did you mean 'systematic'"),
    (lambda: smc(0.5, "?"), "scheme must be one of"),
    (lambda: keep_all(torch.zeros(1, 2, 3), seeded(0)), "keep_all takes branch=1, got 3"),
])  # fmt: skip
def test_impossible_arguments_are_named(make, message):
    with pytest.raises(ValueError, match=message):
        make()
