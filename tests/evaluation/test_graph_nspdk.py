"""NSPDK: equal to EDeN where its features are not folded, a slow reference by definition, laws of
a distance."""

from collections import Counter

import numpy as np
import pytest
from rdkit import Chem

from scidiff.evaluation.nspdk import BLOCK, MeanMap, features

ALCOHOLS, OTHERS = ["CCO", "c1ccccc1O", "CC(=O)N"], ["CC#N", "C1CC1", "O=CC=O", "CCO"]
SMILES = [*ALCOHOLS, *OTHERS, "CC(C)(C)c1ccc2occ(CC(=O)Nc3ccccc3F)c2c1", "C", "CC.O.O",
          "C1CCCCCCC1CCCCCN", "N#CC1=C(SCC(=O)Nc2cccc(Cl)c2)N=C([O-])[C@H](C#N)C12CCCCC2"]


def mols(smiles):
    return [Chem.MolFromSmiles(s) for s in smiles]


@pytest.mark.parametrize("a, b, expected", [
    (ALCOHOLS, OTHERS, 0.3377645676646957), (["C"], ["N"], 2.0),
    (["CC.O"], ["CCO"], 1.7506105036868382)])
def test_values_recorded_with_eden(a, b, expected):
    """EDeN 0.3.1350, complexity=4, discrete=True, with nbits=60 in place of 16; labels as in
    Jo et al. 2022 (symbols, int of the bond order after sanitisation)."""
    assert MeanMap.of(mols(a)).distance(MeanMap.of(mols(b))) == pytest.approx(expected, rel=1e-9)


def slow_vector(mol):
    """The definition, one atom at a time, with tuples for hashes."""
    D = Chem.GetDistanceMatrix(mol)
    around = {}
    for v in range(mol.GetNumAtoms()):
        rings = []
        for s in range(5):
            rings.append(tuple(sorted((a.GetSymbol(), a.GetDegree()) for a in mol.GetAtoms()
                                      if D[v, a.GetIdx()] == s)))
            around[v, s] = tuple(rings) if rings[-1] else None
            rings.append(tuple(sorted(
                int(b.GetBondTypeAsDouble()) for b in mol.GetBonds()
                if min(D[v, b.GetBeginAtomIdx()], D[v, b.GetEndAtomIdx()]) == s)))
    blocks = {}
    for v, u in np.argwhere(D <= 4).tolist():
        for r in range(5):
            if around[v, r] and around[u, r]:
                block = blocks.setdefault((r, int(D[v, u])), Counter())
                block[tuple(sorted((around[v, r], around[u, r])))] += 1
                block[around[u, r]] += 1
    vector = {}
    for key, block in blocks.items():
        length = np.sqrt(sum(n * n for n in block.values()) * len(blocks))
        vector.update({(key, name): n / length for name, n in block.items()})
    return vector


def slow_distance(a, b):
    means = []
    for side in (a, b):
        mean = Counter()
        for mol in side:
            for key, value in slow_vector(mol).items():
                mean[key] += value / len(side)
        means.append(mean)
    x, y = means
    return sum((x[k] - y[k]) ** 2 for k in x.keys() | y.keys())


def test_the_definition_atom_by_atom():
    a, b = mols(SMILES[:6]), mols(SMILES[6:])
    assert MeanMap.of(a).distance(MeanMap.of(b)) == pytest.approx(slow_distance(a, b), rel=1e-9)


def test_feature_vectors_have_unit_length():
    row, _, value = features(mols(SMILES))
    assert np.bincount(row, value**2) == pytest.approx(1)


def test_atoms_and_molecules_may_come_in_any_order():
    rng = np.random.default_rng(0)
    shuffled = [Chem.RenumberAtoms(m, rng.permutation(m.GetNumAtoms()).tolist())
                for m in mols(SMILES)]
    assert MeanMap.of(shuffled[::-1]).distance(MeanMap.of(mols(SMILES))) == pytest.approx(0)


def test_blocks_and_subsets_are_parts_of_one_mean():
    many = mols(SMILES * 30)
    assert len(many) > 2 * BLOCK
    whole = MeanMap.of(many)
    assert whole.distance(MeanMap.of(mols(SMILES))) == pytest.approx(0)
    piecewise, other = MeanMap(), MeanMap.of(mols(OTHERS))
    for start in range(0, len(many), 77):
        piecewise.add(many[start:start + 77])
    assert piecewise.seen == whole.seen == len(many)
    for s in range(5):
        assert piecewise.distance(other, s) == pytest.approx(whole.distance(other, s))
        assert whole.distance(other, s) == pytest.approx(
            MeanMap.of(many[s::5]).distance(other))


def test_distance_falls_with_the_number_of_molecules_of_one_law(shared_data):
    """V-statistic of two samples of one law: (1 / m + 1 / n) (1 - E k), the floor."""
    import gzip

    lines = gzip.decompress((shared_data / "qm9_133885.smi.gz").read_bytes()).decode().split()
    lines = np.random.default_rng(0).choice(lines, 900, replace=False)
    some = [m for m in mols(lines) if m is not None]
    few = MeanMap.of(some[:100]).distance(MeanMap.of(some[100:200]))
    many = MeanMap.of(some[:400]).distance(MeanMap.of(some[400:800]))
    assert few / many == pytest.approx(4, rel=0.15)
