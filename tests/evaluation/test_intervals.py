"""Intervals: known values, and that they cover what they say they cover."""

import math

import numpy as np
import pytest

from scidiff.evaluation.intervals import mean_interval, spread, wilson


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


def test_too_few_rows_have_no_interval():
    assert all(math.isnan(v) for v in spread(1.0, np.mean, np.arange(9)))
    assert all(math.isnan(v) for v in mean_interval([1.0]))
