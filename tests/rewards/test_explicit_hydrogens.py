"""What the graph of a molecule is asked does not change where its hydrogens are atoms, as they are
in space."""

from __future__ import annotations

import numpy as np
import pytest
from rdkit import Chem

from scidiff.chem.molecules import canonical, fingerprints, inchikey, scaffold
from scidiff.evaluation.description import property_values
from scidiff.rewards.fingerprints import NAMES, fingerprint
from scidiff.rewards.molecules import REWARDS
from scidiff.rewards.predictors import Fingerprints
from scidiff.rewards.programs import text_of

SMILES = ("CC(=O)Oc1ccccc1C(=O)O", "CCO", "C1CC1C#N", "c1ccncc1NC(=O)C", "C[N+](C)(C)CC(=O)[O-]")
FLAT = [Chem.MolFromSmiles(s) for s in SMILES]
FULL = [Chem.AddHs(m) for m in FLAT]
MADE = {"similarity": lambda c: c("CCO"), "substructure": lambda c: c("[CH3]")}


@pytest.mark.parametrize("name", REWARDS)
def test_rewards_are_of_the_graph(name):
    found = REWARDS[name]
    reward = MADE.get(name, lambda c: c())(found) if isinstance(found, type) else found
    assert np.allclose(reward(FULL), reward(FLAT), rtol=1e-12)


@pytest.mark.parametrize("counts", [False, True])
@pytest.mark.parametrize("name", NAMES)
def test_fingerprints_are_of_the_graph(name, counts):
    make = fingerprint(name, counts)
    assert all(make(a) == make(b) for a, b in zip(FULL, FLAT, strict=True))


def test_names_and_numbers_are_of_the_graph():
    assert np.array_equal(fingerprints(FULL), fingerprints(FLAT))
    assert np.array_equal(Fingerprints().table(FULL), Fingerprints().table(FLAT))
    for of in (canonical, inchikey, scaffold):
        assert [of(m) for m in FULL] == [of(m) for m in FLAT]
    for name, values in property_values(FULL).items():
        assert np.allclose(values, property_values(FLAT)[name], rtol=1e-12)


def test_programs_read_the_same_line():
    assert [text_of(m) for m in FULL] == [text_of(m) for m in FLAT]
