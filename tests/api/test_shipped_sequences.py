"""The shipped models of 5'UTRs and peptides, and the oracles of load, by name."""

import numpy as np
import pytest

from scidiff.api.entry import load
from scidiff.rewards.combine import reward
from scidiff.rewards.learned import Oracle

LOADED = "CAACAACAACAACAACAACAACAACAACAACAACAACAACAACAACAACA"


def started(at):
    """LOADED with a start codon at `at`; one 30 letters before the end is in frame."""
    return LOADED[:at] + "AUG" + LOADED[at + 3:]


@pytest.mark.parametrize("name", ["utr-oracle", "utr-judge"])
def test_oracles_of_load_know_upstream_start_codons_and_their_frame(name):
    free, inside, outside = Oracle.load(name).predict([LOADED, started(20), started(19)])[:, 0]
    assert free > outside + 1.5 and abs(free - inside) < 0.6
    assert reward(f"oracle('{name}')")([LOADED, "ACGU"])[0] == pytest.approx(free)


def test_utrs_are_written_for_a_load():
    model, judge = load("utr-rna"), Oracle.load("utr-judge")
    few, many = (model.sample(12, condition={"rl": rl}, weight=3.0) for rl in (3.0, 8.0))
    assert few.valid.all() and {len(s) for s in few.texts} == {50}
    assert judge.predict(many.texts).mean() > judge.predict(few.texts).mean() + 1
    assert np.mean(["AUG" in s for s in few.texts]) > np.mean(["AUG" in s for s in many.texts])


def test_peptides_are_cationic():
    rows = load("amp-peptide").sample(12)
    assert rows.valid.all() and np.mean(reward("charge")(rows.texts)) > 0
    assert all(7 <= len(s) <= 174 for s in rows.texts)
