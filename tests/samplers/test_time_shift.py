"""Asking at the time whose noise a particle has."""

import pytest
import torch
from coupled_runs import MIXTURE, SCHEDULES, equal, nodes, plain
from gaussian_targets import Points

from scidiff.core import seeded
from scidiff.processes.gaussian import Component
from scidiff.processes.schedules import VE
from scidiff.samplers.schemes import make_scheme
from scidiff.samplers.time_shift import TimeShift


def test_a_window_of_zero_is_the_plain_denoiser_bit_for_bit():
    scheme = make_scheme("2m", SCHEDULES, 12, 0.0, grid=nodes(12))
    assert equal(plain(scheme, TimeShift(MIXTURE, 0.0)), plain(scheme))


def test_a_particle_asks_at_the_time_whose_noise_it_has():
    schedule = VE(0.01, 5.0)
    oracle = type("Silent", (), {"components": (Component(schedule),), "rows": 0})()
    shift = TimeShift(oracle, 0.4, candidates=41)
    t = torch.tensor([0.4, 0.5, 0.65], dtype=torch.float64)
    noise = torch.randn(3, 20_000, generator=seeded(0), dtype=torch.float64)
    x = Points((schedule.sigma(t)[:, None] * noise,))
    asked = shift.shifted(x, torch.tensor(0.5, dtype=torch.float64))
    assert asked.tolist() == pytest.approx([0.4, 0.5, 0.65], abs=0.011)
    far = shift.shifted(x, torch.tensor(0.9, dtype=torch.float64))
    assert far.tolist() == pytest.approx([0.7, 0.7, 0.7])  # the edge of the window
    calm = TimeShift(oracle, 0.4, cutoff=0.6)
    assert calm.shifted(x, torch.tensor(0.5, dtype=torch.float64)).tolist() == [0.5] * 3
    alone = TimeShift(oracle, 0.4).shifted(Points((x.parts[0][:, :1],)), t)
    assert torch.equal(alone, t)  # one coordinate has no variance


@pytest.mark.parametrize(
    "make, message",
    [
        (lambda: TimeShift(MIXTURE, 2.0), r"expected a window in \[0, 1\]"),
    ],
)
def test_wrong_settings_are_named(make, message):
    with pytest.raises(ValueError, match=message):
        make()
