"""Intervals: known values, and that they cover what they say they cover."""

import math

import numpy as np
import pytest

from scidiff.evaluation.intervals import (
    mean_interval,
    ratio_interval,
    repeats_interval,
    spread,
    wilson,
)


def test_wilson_against_published_values():
    # Newcombe 1998, table I, method 3 (score without continuity correction)
    assert wilson(81, 263) == pytest.approx((0.2553, 0.3662), abs=1e-4)
    assert wilson(15, 148) == pytest.approx((0.0624, 0.1605), abs=1e-4)
    assert wilson(0, 20) == pytest.approx((0.0, 0.1611), abs=1e-4)
    assert wilson(1, 29) == pytest.approx((0.0061, 0.1718), abs=1e-4)


def test_wilson_at_the_edges():
    assert all(math.isnan(v) for v in wilson(0, 0))
    assert wilson(20, 20)[1] == 1.0
    for k, n in ((-1, 5), (6, 5)):
        with pytest.raises(ValueError, match=rf"in \[0, 5\], got {k}"):
            wilson(k, n)


@pytest.mark.parametrize("statistic, truth", [(np.mean, 0.0), (np.std, 1.0)])
def test_spread_covers_about_as_often_as_it_says(statistic, truth):
    rng = np.random.default_rng(0)
    runs = [rng.normal(size=400) for _ in range(400)]
    hit = [low <= truth <= high for low, high in
           (spread(float(statistic(x)), statistic, x) for x in runs)]
    assert 0.91 < np.mean(hit) < 0.99


SOURCES = {
    "rare repeats": lambda rng: rng.integers(0, 100_000, 1_000),
    "many repeats": lambda rng: rng.integers(0, 1_000, 1_000),
    "heavy tail": lambda rng: rng.zipf(1.3, 1_000),
    "a mode": lambda rng: np.where(rng.random(1_000) < 0.1, 0, rng.integers(1, 10**7, 1_000)),
}


@pytest.mark.parametrize("draw", SOURCES.values(), ids=SOURCES)
def test_repeats_interval_covers_the_uniqueness_of_the_next_sample(draw):
    rng = np.random.default_rng(0)
    truth = np.mean([len(np.unique(draw(rng))) / 1_000 for _ in range(2_000)])
    bounds = np.array([repeats_interval(np.unique(draw(rng), return_counts=True)[1])
                       for _ in range(400)])
    covered = np.mean((bounds[:, 0] <= truth) & (truth <= bounds[:, 1]))
    assert 0.91 < covered < 0.99
    assert (bounds[:, 1] - bounds[:, 0]).mean() < 0.06


def test_repeats_at_the_edges():
    assert all(math.isnan(v) for v in repeats_interval([]))
    low, high = repeats_interval([1] * 1_000)
    assert low == pytest.approx(1 - 3.84 / 1_000, abs=1e-4) and high == 1
    low, high = repeats_interval([1_000])  # one object only: nothing is left to vary
    assert low == high == pytest.approx(1 / 1_000)


def test_spread_of_a_frechet_distance_covers():
    """Between Gaussians with a gap, as of generated and real molecules; its bias is left out."""
    from scidiff.evaluation.fcd import frechet_distance, moments

    rng, gap = np.random.default_rng(1), np.array([1.0, 0.0, 0.5])

    def distance(rows):
        return frechet_distance(*moments(rows), np.zeros(3), np.diag([1.0, 2.0, 0.5]))

    def run():
        rows = rng.normal(size=(400, 3)) + gap
        return distance(rows), rows

    truth = np.mean([run()[0] for _ in range(800)])  # of samples of this size
    hit = [low <= truth <= high for low, high in
           (spread(value, distance, rows) for value, rows in (run() for _ in range(300)))]
    assert 0.91 < np.mean(hit) < 0.99


def test_too_few_rows_have_no_interval():
    assert all(math.isnan(v) for v in spread(1.0, np.mean, np.arange(9)))
    assert all(math.isnan(v) for v in mean_interval([1.0]))


def test_ratio_interval_covers():
    rng, inside = np.random.default_rng(0), 0
    for _ in range(400):
        units = rng.integers(3, 20, 60).astype(float)
        value, low, high = ratio_interval(units * 0.7 + rng.normal(0, 2, 60) + 1, units)
        inside += low < (0.7 * 11 + 1) / 11 < high
    assert 0.92 < inside / 400 < 0.98
