"""Structures of one molecule are one object, but not to a reward that reads places."""

import json

import numpy as np
import pytest
from placed import METHANE, WATER, moved, placed
from rdkit.Chem import Mol

from scidiff.data.points import Points
from scidiff.data.tokens import Vocabulary
from scidiff.domains.molecule_3d import Molecule3DDomain
from scidiff.guidance.campaign import Campaign, Limits
from scidiff.guidance.lookahead import Decoded
from scidiff.rewards.cache import Cache
from scidiff.rewards.combine import Declared, reward
from scidiff.rewards.places import digest, placed_terms
from scidiff.rewards.scores import Status
from scidiff.rewards.scoring import Scorer

DOMAIN = Molecule3DDomain(Vocabulary(("C", "H", "O")), bonds="edm")
STRETCHED = moved(METHANE, 1, (0.05, 0.0, 0.0))


class Reach:
    """The distance between the first two atoms; counts what it is asked."""

    name, version, floor, places = "reach", "1", 0.0, True

    def __init__(self):
        self.asked = []

    def __call__(self, mols: list[Mol]) -> list[float]:
        self.asked += mols
        where = [m.GetConformer().GetPositions() for m in mols]
        return [float(np.linalg.norm(x[0] - x[1])) for x in where]


class Atoms:
    """The number of atoms; counts what it is asked."""

    name, version, floor, bounds = "atoms", "1", 0.0, (0.0, 100.0)

    def __init__(self):
        self.asked = []

    def __call__(self, mols: list[Mol]) -> list[float]:
        self.asked += mols
        return [float(m.GetNumAtoms()) for m in mols]


class Both:
    """A reward of two terms, of which one reads places."""

    name, floor = "both", 0.0

    def __init__(self, reach, atoms):
        self.leaves = {"reach": reach, "atoms": atoms}

    def combine(self, parts):
        reach, atoms = (parts[name] for name in ("reach", "atoms"))
        return type(reach)(reach.values + atoms.values, reach.status)


def rows(*points):
    return [DOMAIN.record(p) for p in points]


def test_the_structures_are_of_one_molecule():
    assert len({DOMAIN.key(r) for r in rows(METHANE, STRETCHED)}) == 1


def test_two_structures_have_two_scores_and_one_structure_is_asked_once():
    reach = Reach()
    scorer = Scorer(reach, DOMAIN.key)
    first = scorer.score(rows(METHANE, STRETCHED, METHANE))
    again = scorer.score(rows(STRETCHED))
    assert first.values.tolist() == pytest.approx([1.09, 1.12, 1.09], abs=0.005)
    assert again.values[0] == first.values[1] != first.values[0]
    assert len(reach.asked) == scorer.asked == 2 and scorer.cache_hits == 2


def test_a_reward_that_reads_no_places_is_asked_once():
    atoms = Atoms()
    scorer = Scorer(atoms, DOMAIN.key)
    scores = scorer.score(rows(METHANE, STRETCHED, WATER))
    assert scores.values.tolist() == [5, 5, 3] and len(atoms.asked) == scorer.asked == 2
    assert list(scorer.texts) == [DOMAIN.key(r) for r in rows(METHANE, WATER)]


def test_of_a_sum_only_the_term_that_reads_places_is_asked_again():
    reach, atoms = Reach(), Atoms()
    scorer = Scorer(Both(reach, atoms), DOMAIN.key)
    found = scorer.score(rows(METHANE, STRETCHED))
    assert found.values.tolist() == pytest.approx([6.09, 6.12], abs=0.005)
    scorer.score(rows(moved(METHANE, 1, (0.1, 0, 0))))
    assert (len(reach.asked), len(atoms.asked), scorer.asked) == (3, 1, 3)
    parts = scorer.parts(rows(METHANE, STRETCHED))
    assert parts["atoms"].values.tolist() == [5, 5]
    assert parts["reach"].status.tolist() == [Status.OK] * 2


def test_the_cache_on_disk_keeps_structures_apart_and_shares_what_is_of_the_molecule(tmp_path):
    file = tmp_path / "scores.db"
    Scorer(Atoms(), DOMAIN.key, cache=Cache(file)).score(rows(METHANE))
    reach, atoms = Reach(), Atoms()
    scorer = Scorer(Both(reach, atoms), DOMAIN.key, cache=Cache(file))
    values = scorer.score(rows(METHANE, STRETCHED)).values.tolist()
    assert len(reach.asked) == 2 and not atoms.asked
    later = Reach()
    scorer = Scorer(Both(later, Atoms()), DOMAIN.key, cache=Cache(file))
    assert scorer.score(rows(STRETCHED, METHANE)).values.tolist() == values[::-1]
    assert not later.asked and scorer.disk_hits == 2


def test_places_are_told_apart_by_a_thousandth_of_an_angstrom():
    places = np.round(METHANE.positions, 3)
    here = Points.of(METHANE.numbers, places)
    assert digest(here) == digest(moved(here, 2, (4e-4, -4e-4, 0)))
    assert digest(here) != digest(moved(here, 2, (6e-4, 0, 0)))
    assert digest(here) == digest(Points.of(here.numbers, np.where(places == 0, -0.0, places)))
    assert digest(here) != digest(Points.of([7, 1, 1, 1, 1], places))


@pytest.mark.parametrize("made, read", [
    ("strain()", {"strain()"}), ("qed + 0.1*strain()", {"strain()"}), ("qed", set()),
    (Reach(), {"reach"}), (Declared(Reach(), "near"), {"reach"}), (Atoms(), set()),
    (Declared(Atoms(), "near", places=True), {"atoms"})],
    ids=["strain", "sum", "qed", "own", "declared own", "flat", "declared"])
def test_which_terms_read_places(made, read):
    assert placed_terms(reward(made)) == read


def test_a_person_declares_it_of_a_function():
    @reward(floor=0.0, places=True)
    def width(mols):
        return [float(np.ptp(m.GetConformer().GetPositions()[:, 0])) for m in mols]

    scorer = Scorer(width, DOMAIN.key)
    a, b = scorer.score(rows(METHANE, STRETCHED)).values.tolist()
    assert a != b and scorer.asked == 2


# ---------------------------------------------------------------- a campaign


def campaign(of) -> Campaign:
    found = Decoded(DOMAIN, Scorer(of, DOMAIN.key))
    return Campaign(None, None, found, DOMAIN.encode, 0, Limits())


def test_the_pool_hands_on_the_structures_that_were_asked():
    ran = campaign(Reach())
    asked_for = ran.reward.scorer.score(rows(METHANE, STRETCHED)).values
    records = ran.records(ran.pool.keys)
    for record, points in zip(records, (METHANE, STRETCHED), strict=True):
        np.testing.assert_array_equal(record.points.positions, points.positions)
    assert ran.reward.scorer.plain(records).values.tolist() == asked_for.tolist()
    assert ran.reward.scorer.asked == 2  # remembered: nothing is asked again


def test_a_campaign_that_goes_on_knows_its_structures():
    first, second = campaign(Reach()), campaign(Reach())
    records = rows(placed("CCO"), placed("CCO", seed=1))
    values = first.reward.scorer.score(records).values.tolist()
    second.reward.scorer.recall(json.loads(json.dumps(first.reward.scorer.memory())))
    again = second.reward.scorer.score(second.records(second.pool.keys))
    assert again.values.tolist() == values and not second.reward.scorer.reward.asked
