"""Folding: pairs by hand, Eterna's solutions, and the ensemble by enumerating structures."""

import math

import pytest

from scidiff.data import datasets
from scidiff.rewards.combine import reward
from scidiff.rewards.folding import Fold, base_pairs, mfe
from scidiff.testing import check_reward

RNA = pytest.importorskip("RNA", reason="needs the extra rna: pip install 'scidiff[rna]'")
HAIRPIN, TARGET = "GGGGAAAACCCC", "((((....))))"


def test_pairs_of_a_structure():
    assert sorted(base_pairs("((.(..)))")) == [(0, 8), (1, 7), (3, 6)]
    assert list(base_pairs("...")) == []
    for text, message in {"(()": "position 1 of a structure is not closed", ".)": "position 2",
                          "(A)": "'A' at position 2 of a structure is none", "": "got ''"}.items():
        with pytest.raises(ValueError, match=message):
            list(base_pairs(text))


def test_energy_and_pairs_of_a_hairpin():
    assert RNA.fold(HAIRPIN)[0] == TARGET
    assert mfe([HAIRPIN])[0] == pytest.approx(RNA.fold(HAIRPIN)[1]) and mfe(["AAAA"]) == [0]
    assert mfe.floor is None and reward("-mfe").floor == 0
    fold = Fold(TARGET)
    assert fold([HAIRPIN, "AAAAAAAAAAAA", "GGGG"]) == [1, 0, 0]
    assert fold.solved(HAIRPIN) and Fold("....")(["AAAA"]) == [1]
    wider = Fold("(((......)))")  # three of the four pairs
    assert wider([HAIRPIN]) == [pytest.approx(2 * 3 / 7)]


def test_the_ensemble_is_that_of_all_structures():
    """Boltzmann weights of every suboptimal structure within 40 kcal/mol."""
    fold = RNA.fold_compound(HAIRPIN)
    energies = {s.structure: s.energy for s in fold.subopt(4000)}
    fold.pf()
    kt = fold.exp_params.kT / 1000  # kcal/mol
    weight = {s: math.exp(-e / kt) for s, e in energies.items()}
    total = sum(weight.values())
    for target in (TARGET, "(((......)))", "............"):
        share = weight[target] / total
        assert Fold(target, "probability")([HAIRPIN])[0] == pytest.approx(share, rel=2e-3)
        there = partner(target)
        wrong = sum(w / total * sum(a != b for a, b in zip(partner(s), there, strict=True))
                    for s, w in weight.items())
        assert Fold(target, "defect")([HAIRPIN])[0] == pytest.approx(1 - wrong / 12, abs=2e-3)


def partner(structure):
    found = list(range(len(structure)))
    for i, j in base_pairs(structure):
        found[i], found[j] = j, i
    return found


@pytest.mark.parametrize("measure", ["pairs", "defect", "probability"])
def test_contract(measure):
    made = Fold(TARGET, measure)
    check_reward(made, [HAIRPIN, "AAAAAAAAAAAA", "GGGAAAAAACCC", "GCGCAAAAGCGC", "AC"])
    assert all(0 <= v <= 1 for v in made([HAIRPIN, "AAAAAAAAAAAA", "GGGAAAAAACCC"]))


def test_expressions_name_them():
    assert reward(f"fold('{TARGET}') + 0*mfe")([HAIRPIN]) == [1]
    with pytest.raises(ValueError, match="measure must be one of pairs, defect, probability"):
        reward("fold('(...)', 'energy')")
    with pytest.raises(ValueError, match="position 1 of a structure is not closed"):
        reward("fold('(...')")


def test_published_solutions_fold_into_their_targets(shared_data):
    table = datasets.load("eterna")
    rows = [(t, s) for t, s in zip(table.objects(), table.values("solution"), strict=True)
            if len(t) == len(s) and len(t) <= 120]
    solved = [Fold(t)([s])[0] == 1 for t, s in rows]
    assert len(rows) > 60 and sum(solved) >= len(rows) - 1
