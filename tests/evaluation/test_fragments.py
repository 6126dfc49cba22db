"""Fragments, scaffolds and filters by their definitions."""

import math
from collections import Counter

import numpy as np
import pytest
from rdkit import Chem

from scidiff.data import datasets
from scidiff.evaluation import filters
from scidiff.evaluation.features import Counts
from scidiff.evaluation.filters import passes_filters
from scidiff.evaluation.fragments import brics_fragments, cosine, cosine_metric, ring_scaffold


def mol(smiles):
    return Chem.MolFromSmiles(smiles)


def test_brics_cuts_every_bond_and_keeps_what_has_none():
    parts = brics_fragments(mol("CCOc1ccc(OC)cc1"))
    assert sorted(parts) == ["[16*]c1ccc([16*])cc1", "[3*]OC", "[3*]O[3*]", "[4*]CC"]
    assert brics_fragments(mol("CC")) == ["CC"]


def test_scaffolds_have_two_rings_or_more():
    assert ring_scaffold(mol("CCc1ccc(-c2ccccn2)cc1")) == ["c1ccc(-c2ccccn2)cc1"]
    assert ring_scaffold(mol("CCc1ccccc1")) == ring_scaffold(mol("CCO")) == []


def test_cosine_is_that_of_the_vectors():
    a, b = Counter(x=3, y=4), Counter(y=2, z=5)
    assert cosine(a, b) == pytest.approx(8 / (5 * np.sqrt(29)))
    assert cosine(a, Counter(x=6, y=8)) == pytest.approx(1) and math.isnan(cosine(a, {}))
    big = Counter(x=2**40, y=2**40)  # squares beyond 64 bits
    assert cosine(big, big) == pytest.approx(1)


def test_counts_of_subsets_add_up_to_the_whole():
    names = [f"m{i % 7}" for i in range(23)]
    counts = Counts(lambda m: [m])
    for start in range(0, 23, 4):  # blocks that do not fit the subsets
        counts.add(names[start:start + 4], [])
    assert counts.total() == Counter(names)
    assert counts.parts[1] == Counter(names[1::5])
    found = cosine_metric("c", counts.parts, Counter(names), 23, "names")
    assert found.value == pytest.approx(1) and found.low < 1


@pytest.mark.parametrize("smiles, passed", [
    ("CC(C)Cc1ccc(C(C)C(=O)O)cc1", True),
    ("CCO", True),
    ("C1CCCCCCC1", False),  # a ring of eight
    ("C1CCCCCC1", True),
    ("CC(=O)[O-]", False),  # a charge
    ("CCP", False),  # an element
    ("CCI", False),
    ("CC=O", False),  # MCF: an aldehyde; its hydrogen is what the pattern asks for
    ("CC(C)=O", True),
    ("CCCCl", False),  # MCF: a primary halide, seen only with hydrogens added
    ("C1OC1C", False),  # MCF: an epoxide
    ("O=C1C=CC(=O)C=C1", False),  # PAINS: a quinone
])
def test_filters(smiles, passed):
    assert passes_filters(mol(smiles)) is passed


def test_screening_by_fingerprints_loses_no_match():
    patterns, _ = filters._patterns()
    rows = [m for m in map(mol, datasets.load("qm9").objects()[::900]) if m]
    rows += [mol(s) for s in datasets.load("moses_100k").objects()[::2_000]]
    hit = [not any(Chem.AddHs(m).HasSubstructMatch(p) for p in patterns) for m in rows]
    plain = [all(a.GetFormalCharge() == 0 for a in m.GetAtoms())
             and all(len(r) < 8 for r in m.GetRingInfo().AtomRings()) for m in rows]
    assert [passes_filters(m) for m in rows] == [a and b for a, b in zip(hit, plain, strict=True)]
    assert 20 < sum(hit) < len(rows) - 20


def test_a_molecule_is_not_changed_by_its_filters():
    m = mol("CCO")
    passes_filters(m)
    assert m.GetNumAtoms() == 3
