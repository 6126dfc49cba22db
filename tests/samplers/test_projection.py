"""Slopes scaled by what the last one repeated."""

import pytest
import torch
from coupled_runs import SCHEDULES, error, finish, nodes, plain, slopes
from gaussian_targets import Points

from scidiff.core import seeded
from scidiff.processes.gaussian import Component
from scidiff.processes.schedules import VP, lam
from scidiff.samplers.projection import Projection
from scidiff.samplers.rewritten import Rewritten
from scidiff.samplers.schemes import make_scheme


class Straight:
    """A clean guess that is a straight line in lambda, wherever the particle is."""

    def __init__(self, schedule):
        self.components, self.rows = (Component(schedule),), 0

    def __call__(self, x, t):
        line = torch.tensor([0.3, -2.0, 0.7], dtype=torch.float64)
        return ((1 + lam(self.components[0].schedule, t) * line).expand_as(x.parts[0]),)


def test_on_straight_guesses_projection_is_2m():
    oracle = Straight(VP(0.1, 20.0))
    x = Points((torch.randn(4, 3, generator=seeded(0), dtype=torch.float64),))
    for name in ("time", "edm"):  # unequal steps
        scheme = make_scheme("2m", [VP(0.1, 20.0)], 9, 0.0, grid=name)
        (a,) = finish(plain(scheme, oracle), x)
        (b,) = finish(Rewritten(plain(scheme, oracle), Projection()), x)
        assert torch.allclose(a, b, rtol=1e-11)


def projected(steps):
    scheme = make_scheme("2m", SCHEDULES, steps, 0.0, grid=nodes(steps))
    return Rewritten(plain(scheme), Projection())


def test_projection_keeps_second_order():
    assert slopes(projected, (40, 80, 160)) == pytest.approx(2, abs=0.3)
    assert error(projected(20)) != error(
        plain(make_scheme("2m", SCHEDULES, 20, 0.0, grid=nodes(20)))
    )


def test_projection_needs_rows_of_two_guesses():
    sampler = Rewritten(plain(make_scheme("exp1", SCHEDULES, 4)), Projection())
    with pytest.raises(ValueError, match="rows of two guesses, such as those of 2m, got 1"):
        sampler.init(2, seeded(0))
