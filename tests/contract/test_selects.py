"""One contract, every selection rule. A new rule is one line in SELECTS."""

import pytest
import torch

from scidiff.guidance.selection import (
    SCHEMES,
    Replacing,
    greedy,
    keep_all,
    nested,
    per_parent,
    smc,
)
from scidiff.testing import check_select

SELECTS = [
    (keep_all, 1),
    (per_parent, 1),
    (per_parent, 5),
    (nested(0.5), 4),
    (nested(1.0), 4),
    (greedy, 1),
    (greedy, 4),
    (Replacing(0.3), 1),
    (Replacing(0.3), 4),
    *[
        (smc(ess, scheme), branch)
        for ess in (0.0, 0.5, 1.0)
        for scheme in SCHEMES
        for branch in (1, 3)
    ],
]


@pytest.mark.parametrize("select, branch", SELECTS)
def test_select_contract(select, branch):
    check_select(select, branch, repeats=4000)


def test_the_contract_catches_a_rule_that_drops_weights():
    class Dropped:
        proper = True

        def __call__(self, log_w, rng):
            index, kept = smc(1.0)(log_w, rng)
            return index, kept - kept.mean(1, keepdim=True) + log_w.mean((1, 2))[:, None]

    with pytest.raises(AssertionError, match="measure"):
        check_select(Dropped())


def test_the_contract_catches_populations_that_mix():
    class Mixed:
        proper = True

        def __call__(self, log_w, rng):
            index, kept = smc(1.0)(log_w, rng)
            return index, (kept + kept.roll(1, 0)) / 2

    with pytest.raises(AssertionError):
        check_select(Mixed())


def test_the_contract_catches_an_index_into_the_wrong_axis():
    class Parents:
        proper = True

        def __call__(self, log_w, rng):
            index, kept = per_parent(log_w, rng)
            return torch.div(index, log_w.shape[2], rounding_mode="floor"), kept

    with pytest.raises(AssertionError, match="measure"):
        check_select(Parents(), branch=3)
