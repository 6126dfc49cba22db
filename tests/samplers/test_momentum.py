"""Heavy ball and GHVB: rows that read a running mean."""

import pytest
from coupled_runs import SCHEDULES, equal, nodes, plain, slopes

from scidiff.samplers.momentum import Momentum, heavy_ball_scheme
from scidiff.samplers.rewritten import Rewritten
from scidiff.samplers.schemes import make_scheme


def ghvb(order, damping, steps=12, eta=0.0):
    scheme = heavy_ball_scheme(order, SCHEDULES, nodes(steps), damping, eta)
    return Rewritten(plain(scheme), Momentum(damping))


@pytest.mark.parametrize("order, name", [(1, "exp1"), (2, "2m")])
@pytest.mark.parametrize("eta", [0.0, 1.0])
def test_no_momentum_is_the_plain_row_bit_for_bit(order, name, eta):
    scheme = make_scheme(name, SCHEDULES, 12, eta, grid=nodes(12))
    assert equal(ghvb(order, 1.0, eta=eta), plain(scheme))


@pytest.mark.parametrize("damping", [0.5, 0.8])
def test_momentum_keeps_the_order_of_its_rows(damping):
    assert slopes(lambda n: ghvb(2, damping, n), (40, 80, 160)) == pytest.approx(2, abs=0.2)
    assert slopes(lambda n: ghvb(1, damping, n), (40, 80, 160)) == pytest.approx(1, abs=0.2)


@pytest.mark.parametrize(
    "make, message",
    [
        (lambda: Momentum(0.0), r"damping must be in \(0, 1\], got 0.0"),
        (lambda: heavy_ball_scheme(3, SCHEDULES, nodes(3), 0.5), "order must be 1 or 2, got 3"),
    ],
)
def test_wrong_settings_are_named(make, message):
    with pytest.raises(ValueError, match=message):
        make()
