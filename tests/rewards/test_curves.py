"""Curves go through the points their docstrings promise."""

import pytest
import torch

from scidiff.rewards.combine import reward
from scidiff.rewards.curves import CURVES, double_sigmoid, gaussian, ramp, sigmoid, window


def at(curve, x, *args, **kwargs):
    return curve(torch.tensor([x], dtype=torch.float64), *args, **kwargs).item()


def test_window():
    assert [at(window, x, 1, 3) for x in (1, 2, 3)] == [1, 1, 1]
    assert at(window, 4, 1, 3) == at(window, 0, 1, 3) == pytest.approx(0.1353, abs=1e-4)
    assert at(window, 3.001, 1, 3, width=0) == 0


def test_ramp_and_sigmoid_fall_when_their_ends_are_swapped():
    assert [at(ramp, x, 0, 10) for x in (-1, 2.5, 11)] == [0, 0.25, 1]
    assert at(ramp, 2.5, 10, 0) == 0.75
    assert at(sigmoid, 5, 5, 9) == pytest.approx(0.05)
    assert at(sigmoid, 9, 5, 9) == pytest.approx(0.95)
    assert at(sigmoid, 5, 9, 5) == pytest.approx(0.95)


def test_double_sigmoid_and_gaussian():
    assert at(double_sigmoid, 5, 0, 10) > 0.99
    assert at(double_sigmoid, 0, 0, 10) == pytest.approx(0.5, abs=1e-6)
    assert at(double_sigmoid, 11, 0, 10) == pytest.approx(0.05, abs=1e-6)
    assert at(gaussian, 2, 2, 0.5) == 1
    assert at(gaussian, 3, 2, 0.5) == pytest.approx(0.1353, abs=1e-4)


@pytest.mark.parametrize("name, args", [
    ("window", (3, 1)), ("window", (1, 3, -1)), ("ramp", (1, 1)), ("sigmoid", (2, 2)),
    ("double_sigmoid", (0, 1, 0)), ("gaussian", (0, 0)), ("piecewise", (0, 0)),
    ("piecewise", (0, 0, 1)), ("piecewise", (1, 0, 1, 1)), ("piecewise", (0, 0, 1, 2))])
def test_bad_parameters_name_the_curve(name, args):
    with pytest.raises(ValueError, match=name):
        at(CURVES[name], 1.0, *args)


def test_a_step_holds_at_its_edge_and_may_fall():
    x = torch.tensor([0.9, 1.0, 1.1], dtype=torch.float64)
    assert CURVES["step"](x, 1.0).tolist() == [0, 1, 1]
    assert CURVES["step"](x, 1.0, falling=1).tolist() == [1, 1, 0]


def test_a_piecewise_curve_goes_through_its_points():
    points = (0, 0.2, 100, 1, 300, 1, 500, 0)
    found = [at(CURVES["piecewise"], x, *points) for x in (-9, 0, 50, 100, 200, 400, 500, 900)]
    assert found == pytest.approx([0.2, 0.2, 0.6, 1, 1, 0.5, 0, 0])


def test_a_curve_of_ones_own_stands_in_an_expression():
    made = reward("piecewise(mw, 100, 0, 300, 1, 500, 0)")
    assert made.floor == 0
    with pytest.raises(ValueError, match=r"rising x.*usage piecewise\(reward, \*points\)"):
        reward("piecewise(mw, 3, 0, 1, 1)")
