"""Conditions as they are typed."""

import pytest

from scidiff.cli.options import given


def test_conditions_are_names_and_values():
    typed = given(condition=["cell=K562", "rl=7.5"], weight=2.0, nodes=None, constraints=[])
    assert typed == {"condition": {"cell": "K562", "rl": "7.5"}, "weight": 2.0}


@pytest.mark.parametrize("text", ["K562", "cell=", "=K562"])
def test_what_is_no_condition_is_refused(text):
    with pytest.raises(ValueError, match=f"NAME=VALUE, got '{text}'"):
        given(condition=[text])
