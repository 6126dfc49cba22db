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


def test_a_condition_has_one_value():
    with pytest.raises(ValueError, match="'cell' is given twice, 'K562' and 'HepG2'"):
        given(condition=["cell=K562", "cell=HepG2"])


def test_ranges_are_a_property():
    assert str(given(condition=["logP=1..3", "qed=0.6.."])["condition"]) == "logp=1..3, qed=0.6.."
    with pytest.raises(ValueError, match="values or ranges, not both, got logp=1..3, cell=K562"):
        given(condition=["logp=1..3", "cell=K562"])


@pytest.mark.parametrize("asked", ["cell=K562", "logp=1..3"])
def test_likelihoods_are_told_conditions(scidiff, tiny_model, tmp_path, asked):
    (tmp_path / "mols.smi").write_text("CCO\nCCN\n")
    typed = ["likelihood", tiny_model, tmp_path / "mols.smi", "--condition"]
    assert "condition" in scidiff(*typed, asked).one_line()
