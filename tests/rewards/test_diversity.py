"""Memory of designs: which objects are alike, and what a discount does to scores."""

import random

import numpy as np
import pytest
from rdkit import Chem

from scidiff.data.alignment import edit_distance
from scidiff.data.records import Record
from scidiff.rewards.diversity import (
    LEAST,
    DiversityMemory,
    NearFingerprint,
    NearSequence,
    SameScaffold,
    text_distances,
)
from scidiff.rewards.molecules import Similarity, logp, qed
from scidiff.rewards.scores import RewardError, Status
from scidiff.rewards.scoring import Scorer

SMILES = ["CC(=O)Oc1ccccc1C(=O)O", "Cc1ccccc1", "CCO", "C1CCNCC1", "CC(=O)Oc1ccccc1C(=O)OC"]
MOLS = {s: Chem.MolFromSmiles(s) for s in SMILES}


def test_edit_distances_are_those_of_the_table():
    draw = random.Random(0)
    words = ["".join(draw.choice("ACGU") for _ in range(draw.randrange(12))) for _ in range(30)]
    for word in [*words[:8], "", "ACGUACGUACGU"]:
        assert text_distances(word, words).tolist() == [edit_distance(word, w) for w in words]
    assert text_distances("AC", []).tolist() == [] and text_distances("AC", ["", ""]).sum() == 4


def test_scaffolds_fill_a_bucket_and_a_known_object_counts_once():
    memory = DiversityMemory("scaffold", bucket=2)
    assert memory(list(MOLS.values())) == [1.0] * 5 and len(memory) == 0
    memory.add({s: MOLS[s] for s in SMILES[:1]})
    memory.add({s: MOLS[s] for s in SMILES[:1]})
    assert memory(list(MOLS.values())) == [0.5, 0.5, 1.0, 1.0, 0.5] and len(memory) == 1
    memory.add(MOLS)
    assert memory(list(MOLS.values())) == [0.0, 0.0, 0.5, 0.5, 0.0]
    assert memory.keys == tuple(SMILES)


def test_fingerprints_count_neighbours_above_the_threshold():
    memory = DiversityMemory("fingerprint", bucket=4, threshold=0.55)
    memory.add(MOLS)
    near = [sum(t >= 0.55 for t in Similarity(s)(list(MOLS.values()))) for s in SMILES]
    assert memory(list(MOLS.values())) == [1 - n / 4 for n in near] and near == [2, 1, 1, 1, 2]


def test_sequences_count_neighbours_within_a_share_of_the_length():
    memory = DiversityMemory("edit", bucket=2, threshold=0.25)
    known = ["ACGTACGT", "TTTTTTTT", "ACGTAC"]
    memory.add({s: s for s in known})
    for word in ("ACGTACGA", "ACGAACGA", "ACGTACG", "TTTT", ""):
        near = sum(edit_distance(word, s) <= 0.25 * max(len(word), len(s)) for s in known)
        assert memory([word]) == [1 - near / 2]
    assert memory(["ACGTACG"]) == [0.0] and memory(["TTTT"]) == [1.0]


def test_no_more_of_a_kind_than_the_bucket_holds_are_to_be_copied():
    memory = DiversityMemory("scaffold", bucket=3)
    mols = [Chem.MolFromSmiles(s) for s in ("Cc1ccccc1", "CCc1ccccc1", "C1CCCC1", "CCO")]
    factors = memory.among([*mols, None], [4.0, 2.0, 1.0, 1.0, 9.0])
    assert factors == [0.5, 0.5, 1.0, 1.0, 1.0]
    memory.add({"a": Chem.MolFromSmiles("c1ccccc1O"), "b": Chem.MolFromSmiles("c1ccccc1N")})
    assert memory.among(mols, [4.0, 2.0, 3.0, 1.0]) == pytest.approx([1 / 6, 1 / 6, 1.0, 1.0])
    memory.add({"c": Chem.MolFromSmiles("c1ccccc1F")})
    assert memory.among(mols[:2], [0.0, 2.0]) == [LEAST, LEAST]
    assert memory.among([None], [3.0]) == [1.0] and memory.among([], []) == []


@pytest.mark.parametrize(("like", "alike"), [
    (SameScaffold(), [[1, 1, 0], [1, 1, 0], [0, 0, 1]]),
    (NearFingerprint(1.0), [[1, 0, 0], [0, 1, 0], [0, 0, 1]]),
    (NearFingerprint(0.0), [[1, 1, 1]] * 3),
])
def test_which_molecules_are_alike(like, alike):
    mols = [Chem.MolFromSmiles(s) for s in ("Cc1ccccc1", "CCc1ccccc1", "C1CCCC1")]
    assert like.alike(mols).tolist() == np.array(alike, dtype=bool).tolist()


def test_which_sequences_are_alike():
    found = NearSequence(0.25).alike(["ACGT", "ACGA", "TTTT", "ACG"])
    assert found[0].tolist() == [True, True, False, True] and (found == found.T).all()


def records(*smiles):
    return [Record(s, MOLS[s], True) for s in smiles] + [Record("(", None, False, "broken")]


def test_a_discount_pulls_scores_to_the_floor_and_is_not_remembered():
    memory = DiversityMemory("scaffold", bucket=2)
    scorer = Scorer(qed, discount=memory)
    plain = scorer.score(records(*SMILES))
    memory.add({SMILES[0]: MOLS[SMILES[0]]})
    scores = scorer.score(records(*SMILES))
    assert scores.values[:5].tolist() == pytest.approx(
        [v * f for v, f in zip(plain.values.tolist(), [0.5, 0.5, 1, 1, 0.5], strict=False)])
    assert scores.status.tolist() == [0, 0, 0, 0, 0, Status.INVALID] and scorer.asked == 5
    assert scorer.plain(records(*SMILES)).values.tolist() == plain.values.tolist()
    shifted = Scorer(Penalty(), discount=memory)
    assert shifted.score(records(SMILES[0])).values.tolist() == [-2.5, -4.0]  # halfway down


class Penalty:
    floor = -4.0

    def __call__(self, mols):
        return [-1.0 for _ in mols]


def test_a_discount_needs_a_floor_to_fall_to():
    with pytest.raises(RewardError, match="'logp' has no floor"):
        Scorer(logp, discount=DiversityMemory())


@pytest.mark.parametrize("wrong, message", [
    (dict(like="scafold"), "unknown likeness 'scafold'; did you mean 'scaffold'"),
    (dict(bucket=0), "at least 1, got 0"),
    (dict(like="edit", threshold=2.0), "in .0, 1. .* got 2.0 for edit"),
    (dict(threshold=0.5), "belongs to fingerprint and edit, got 0.5 for scaffold")])
def test_settings_are_checked(wrong, message):
    with pytest.raises(ValueError, match=message):
        DiversityMemory(**wrong)
