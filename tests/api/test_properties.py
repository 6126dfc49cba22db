"""Properties in a range: what is asked for, and what is measured."""

import math

import numpy as np
import pytest
from rdkit import Chem
from rdkit.Chem import QED, Crippen

from scidiff.api.properties import Property
from scidiff.core import seeded
from scidiff.data.conditions import Conditions
from scidiff.data.records import Record

RNG = np.random.default_rng(0)
LOGP = RNG.normal(2, 1, 5000)
RINGS = RNG.integers(0, 4, 5000).astype(float)
CELLS = ["K562", "HepG2"] * 2500
MODEL = Conditions.fit({"logp": LOGP.tolist(), "qed": RINGS.tolist(), "cell": CELLS})


def test_properties_as_they_are_typed():
    wanted = Property(logP=(1, 3), qed=(0.6, None))
    assert wanted.ranges == {"logp": (1.0, 3.0), "qed": (0.6, math.inf)}
    assert str(wanted) == "logp=1..3, qed=0.6.." and repr(wanted) == f"Property({wanted})"
    for text in ("logP=1..3,qed=.6..", " logp = 1.0 .. 3 , QED=6e-1.. "):
        assert Property.parse(text).ranges == wanted.ranges
    assert Property.parse("logp=..-1.5").ranges == {"logp": (-math.inf, -1.5)}


@pytest.mark.parametrize(
    "text, said",
    [
        ("logp=3", "NAME=LOW..HIGH, .* got 'logp=3'"),
        ("logp=3..1", r"low < high, got \(3.0, 1.0\)"),
        ("logp=..", "low < high"),
        ("logp=1..2, logp=1..3", "logp has two ranges"),
        ("lgp=1..2", "no reward is called 'lgp'; did you mean 'logp'"),
        ("similarity=0..1", "'similarity' is a reward with parameters"),
        ("", "NAME=LOW..HIGH"),
    ],
)
def test_wrong_texts(text, said):
    with pytest.raises(ValueError, match=said):
        Property.parse(text)


def test_wrong_ranges():
    with pytest.raises(ValueError, match="at least one range"):
        Property()
    for pair in (3, (1,), "12", (2, 2), (None, None)):
        with pytest.raises(ValueError, match=r"logp must be \(low, high\)"):
            Property(logp=pair)


def asked(wanted, n=20_000, given=None, **options):
    given = {"cell": "K562"} if given is None else given
    return wanted.targets(MODEL, n, seeded(0), given=given, **options)


def test_targets_follow_the_training_law_inside_the_range():
    found = asked(Property(logp=(1, 3)))
    values = np.array(found["logp"])
    assert 1 <= values.min() and values.max() <= 3
    inside = LOGP[(LOGP >= 1) & (LOGP <= 3)]
    for level in (0.1, 0.5, 0.9):
        edge = np.quantile(inside, level)
        assert abs((values <= edge).mean() - level) < 0.02  # 33 quantiles, straight between them
    assert found["cell"] == ["K562"] * 20_000
    free = np.array(found["qed"])  # not asked for: its own law
    assert {round(v) for v in free} == {0, 1, 2, 3}
    assert abs((free == 0).mean() - (RINGS == 0).mean()) < 0.04


def test_a_value_that_many_rows_share_is_drawn_as_often():
    values = np.array(asked(Property(qed=(0.5, 2.5)))["qed"])
    ones, twos = (values == 1).mean(), (values == 2).mean()
    assert 0.85 < ones + twos < 1 and abs(ones - twos) < 0.05
    assert 0.5 <= values.min() and values.max() <= 2.5


def test_targets_may_be_uniform():
    values = np.array(asked(Property(logp=(1, 3)), law="uniform")["logp"])
    share = (values < 1.5).mean()
    assert abs(share - 0.25) < 4 * (0.25 * 0.75 / len(values)) ** 0.5
    edge = np.array(asked(Property(logp=(None, LOGP.min() + 0.01)), law="uniform")["logp"])
    assert LOGP.min() <= edge.min() and edge.max() <= LOGP.min() + 0.01


def test_what_is_given_is_not_drawn():
    found = asked(Property(logp=(1, 3)), 3, {"qed": 2.0, "cell": ["K562", "HepG2", "K562"]})
    assert found["qed"] == [2.0] * 3 and found["cell"] == ["K562", "HepG2", "K562"]
    assert MODEL.encode(found, 3).shape == (3, 4)


def test_targets_that_cannot_be_drawn():
    with pytest.raises(ValueError, match=r"no training row has logp in 9..12: .* meets -"):
        asked(Property(logp=(9, 12)))
    with pytest.raises(ValueError, match="cannot be asked for 'mw': it is told logp, qed, cell"):
        asked(Property(mw=(100, 200)))
    with pytest.raises(ValueError, match="law must be one of training, uniform, got 'flat'"):
        asked(Property(logp=(1, 3)), law="flat")


def test_what_was_written_is_measured_again():
    smiles = ["CCCCCC", "c1ccccc1", "O", "C("]
    mols = [Chem.MolFromSmiles(s) if s != "C(" else None for s in smiles]
    records = [
        Record(s, m, m is not None, "" if m else "syntax")
        for s, m in zip(smiles, mols, strict=True)
    ]
    wanted = Property(logp=(1.0, 3.0), qed=(0.4, None))
    found = wanted.check(records)
    logp = [Crippen.MolLogP(m) for m in mols[:3]]
    assert found["logp_measured"][:3] == pytest.approx(logp)
    assert math.isnan(found["logp_measured"][3])
    qed = [QED.qed(m) for m in mols[:3]]
    ok = [1 <= p <= 3 and q >= 0.4 for p, q in zip(logp, qed, strict=True)]
    assert found["property_ok"] == [*ok, False] and set(ok) == {True, False}
