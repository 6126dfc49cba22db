"""Rows with a learned share of the last guess."""

import pytest
import torch
from coupled_runs import FEW, MIXTURE, SCHEDULES, START, equal, error, nodes, plain

from scidiff.samplers.compensation import compensate, fit_ratios
from scidiff.samplers.schemes import make_scheme


def test_ratios_of_one_are_the_plain_rows():
    scheme = make_scheme("2m", SCHEDULES, 12, 0.0, grid=nodes(12))
    assert equal(plain(compensate(scheme, torch.ones(2, 12))), plain(scheme))


@pytest.mark.parametrize("name", ["exp1", "2m", "unipc2"])
def test_fitted_ratios_bring_other_trajectories_closer(name):
    scheme = make_scheme(name, SCHEDULES, 8, 0.0, grid=nodes(8))
    ratios = fit_ratios(MIXTURE, FEW, scheme)
    assert ratios.shape == (2, 8) and (ratios[:, 0] == 1).all() and (ratios[:, 1:] != 1).all()
    assert error(plain(compensate(scheme, ratios))) < 0.95 * error(plain(scheme))


def test_a_fit_needs_the_flow_without_noise():
    with pytest.raises(ValueError, match="expected eta = 0"):
        fit_ratios(MIXTURE, START, make_scheme("2m", SCHEDULES, 4, 1.0))
    with pytest.raises(ValueError, match=r"ratios must be \(2, 4\).*got \(4,\)"):
        compensate(make_scheme("2m", SCHEDULES, 4, 0.0), torch.ones(4))
