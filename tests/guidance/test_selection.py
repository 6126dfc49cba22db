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


def test_systematic_copies_are_floor_or_ceil():
    c, p = copies(systematic(weights(), seeded(0))), weights()
    assert ((c >= (7 * p).floor()) & (c <= (7 * p).ceil())).all()


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
