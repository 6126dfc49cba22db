"""Time grids: where the nodes lie, by name and by hand."""

import pytest
import torch

from scidiff.processes.schedules import EDM, VE, VP, Linear, SubVP, lam, total_lam
from scidiff.samplers.grids import (
    GRIDS,
    edm_times,
    first_time,
    gathered_times,
    make_nodes,
    uniform_lambdas,
)

SCHEDULES = [VP(0.1, 20.0), VE(0.01, 5.0), SubVP(), EDM(), Linear()]


@pytest.mark.parametrize("name", GRIDS)
@pytest.mark.parametrize("schedule", SCHEDULES, ids=str)
def test_nodes_fall_from_the_prior_to_the_data(name, schedule):
    nodes = make_nodes(name, [schedule], 9)
    assert nodes.shape == (10,) and nodes.dtype == torch.float64
    assert (nodes.diff() < 0).all() and nodes[-1] == 1e-4
    assert nodes[0] == (0.999 if schedule == Linear() else 1)
    assert lam(schedule, nodes).isfinite().all()


def test_several_components_share_their_summed_lambda():
    pair = SCHEDULES[:2]
    steps = total_lam(pair, uniform_lambdas(pair, 7, 1e-3)).diff()
    assert torch.allclose(steps, steps.mean().expand(7), rtol=1e-9)
    roots = (-total_lam(pair, edm_times(pair, 7, 1e-3)) / 2 / 7).exp().diff()
    assert torch.allclose(roots, roots.mean().expand(7), rtol=1e-9)


def test_edm_nodes_have_the_published_closed_form():
    """sigma_i = (80^(1/7) + i / K (0.002^(1/7) - 80^(1/7)))^7."""
    times, i = edm_times([EDM(80.0)], 18, 0.002 / 80), torch.arange(19) / 18
    want = (80 ** (1 / 7) + i.double() * (0.002 ** (1 / 7) - 80 ** (1 / 7))) ** 7
    assert torch.allclose(EDM(80.0).sigma(times), want, rtol=1e-6)


def test_a_chain_starts_below_one_where_no_signal_is_left():
    assert first_time(SCHEDULES[:4]) == 1 and first_time(SCHEDULES) == 0.999


def test_given_nodes_are_checked_and_names_are_known():
    given = torch.tensor([0.9, 0.5, 0.1])
    assert torch.equal(make_nodes(given, SCHEDULES, 2), given.double())
    given_floats = torch.tensor([0.75, 0.5, 0.25]).double()
    assert torch.equal(make_nodes([0.75, 0.5, 0.25], [VP()], 2), given_floats)
    with pytest.raises(ValueError, match="times must be 4 decreasing nodes"):
        make_nodes(given, SCHEDULES, 3)
    with pytest.raises(ValueError, match="unknown grid 'tme'; expected time, lambda, edm or"):
        make_nodes("tme", SCHEDULES, 3)


def test_gathered_nodes_fall_through_both_laws():
    t = gathered_times(200, 0.37, 0.05, 0.6, 0.01, 0.999)
    assert float(t[0]) == pytest.approx(0.999) and float(t[-1]) == pytest.approx(0.01)
    assert (t.diff() < 0).all()
    even = gathered_times(200, 0.37, 0.05, 0.0, 0.01, 0.999)
    assert torch.allclose(even, torch.linspace(0.999, 0.01, 201).double())
    inside = ((t > 0.32) & (t < 0.42)).double().mean()  # one deviation: .683 of .6, and .1 of .4
    assert float(inside) == pytest.approx(0.6 * 0.683 + 0.4 * 0.1 / 0.989, abs=0.01)
