"""Tables of mixed orders, and the search over them."""

import pytest
import torch
from coupled_runs import MIXTURE, SCHEDULES, T_END, error, nodes, plain

from scidiff.core import seeded
from scidiff.samplers.schemes import make_scheme
from scidiff.samplers.solver_search import mixed_order_scheme, search_table
from scidiff.samplers.tables import multistep_table


@pytest.mark.parametrize("corrected, names", [(False, "exp1 2m"), (True, "unipc1 unipc2 unipc3")])
def test_one_order_throughout_is_the_named_table(corrected, names):
    for name in names.split():
        order = {"exp1": 1, "2m": 2}.get(name) or int(name[-1])
        orders = tuple(min(order, k + 1) for k in range(9))
        got = mixed_order_scheme(orders, SCHEDULES, nodes(9), 0.3, 0.9, corrected=corrected)
        want = make_scheme(name, SCHEDULES, 9, 0.3, 0.9, nodes(9))
        for a, b in zip(got.tables, want.tables, strict=True):
            assert torch.allclose(a.stacked(), b.stacked(), atol=1e-14, rtol=0)


def test_mixed_orders_take_each_row_from_its_own_table():
    scheme = mixed_order_scheme((1, 2, 1, 3), SCHEDULES, nodes(4))
    for table, schedule in zip(scheme.tables, SCHEDULES, strict=True):
        for k, p in enumerate((1, 2, 1, 3)):
            want = multistep_table(p, schedule, nodes(4), 0.0, 1.0).w[k]
            assert torch.equal(table.w[k, : len(want)], want)


@pytest.mark.parametrize("steps", [5, 8])
def test_the_search_beats_uniform_grids_on_chains_it_has_not_seen(steps):
    found = search_table(MIXTURE, MIXTURE.canvas, steps, seeded(5), n=48, t_end=T_END, rounds=2)
    uniform = min(
        error(plain(make_scheme(name, SCHEDULES, steps, 0.0, grid=nodes(steps, group))))
        for name in ("exp1", "2m", "unipc2", "unipc3")
        for group in (SCHEDULES[:1], SCHEDULES)
    )
    assert error(plain(found.scheme(SCHEDULES))) < 0.9 * uniform
    assert found.tried > 20 and len(found.orders) == steps and found.eta == 0


def test_a_score_may_choose_the_noise():
    def warm(x):  # likes chains that end far out
        return -float(x.parts[0].abs().mean())

    options = dict(n=16, rounds=0, score=warm, etas=(5.0,), rhos=(0.5, 1.0))
    found = search_table(MIXTURE, MIXTURE.canvas, 4, seeded(0), t_end=T_END, **options)
    again = search_table(MIXTURE, MIXTURE.canvas, 4, seeded(0), t_end=T_END, **options)
    assert found.error == again.error and found.rho == 1.0
    with pytest.raises(ValueError, match="give a score"):
        search_table(MIXTURE, MIXTURE.canvas, 4, seeded(0), etas=(1.0,))


@pytest.mark.parametrize(
    "make, message",
    [
        (lambda: mixed_order_scheme((1, 4), SCHEDULES, nodes(2)), r"of 1 to 3.*got \[1, 4\]"),
    ],
)
def test_wrong_settings_are_named(make, message):
    with pytest.raises(ValueError, match=message):
        make()
