"""Reference statistics: what ships, what a user fits, and that files come back as written."""

import numpy as np
import pytest
from rdkit import Chem
from scipy.stats import wasserstein_distance

from scidiff.evaluation.reference import (
    PROPERTIES,
    QUANTILES,
    Reference,
    property_table,
    quantiles,
    shipped,
)

MOLS = [Chem.MolFromSmiles(s) for s in ("CCO", "c1ccccc1O", "CC(=O)Nc1ccc(O)cc1", "CCCCCC")]


def test_moses_test_is_the_published_set():
    found = shipped("moses_test")
    means = {k: float(v.mean()) for k, v in found.properties.items()}
    assert found.n == 176_074 and set(means) == set(PROPERTIES)
    assert means == pytest.approx({"logp": 2.4390, "sa": 2.4495, "qed": 0.8066, "mw": 307.23},
                                  rel=1e-4)
    assert found.fcd_mean.shape == (512,) and found.fcd_cov.shape == (512, 512)
    assert np.array_equal(found.fcd_cov, found.fcd_cov.T)
    assert np.linalg.eigvalsh(found.fcd_cov.astype(float)).min() > -1e-5


def test_an_unknown_reference_names_the_nearest():
    with pytest.raises(ValueError, match="'moses_tst'; did you mean 'moses_test'"):
        shipped("moses_tst")


def test_quantiles_keep_the_distribution():
    x = np.random.default_rng(0).gamma(2.0, size=50_000)
    kept = quantiles(x)
    assert len(kept) == QUANTILES and (np.diff(kept) >= 0).all()
    assert wasserstein_distance(kept, x) < 2e-3
    assert quantiles(np.array([3.0, 1.0])).tolist() == [1, 3]


def test_a_fitted_reference_comes_back_as_written(tmp_path):
    fitted = Reference.fit("mine", MOLS)
    fitted.save(tmp_path / "mine.npz")
    back = Reference.load(tmp_path / "mine.npz")
    assert (back.name, back.n, back.fcd_mean) == ("mine", 4, None)
    for name, values in property_table(MOLS).items():
        assert back.properties[name] == pytest.approx(np.sort(values), rel=1e-6)


def test_moments_come_back_whole(tmp_path):
    cov = np.cov(np.random.default_rng(0).normal(size=(5, 40))).astype(np.float32)
    Reference("m", 9, {}, np.arange(5, dtype=np.float32), cov).save(tmp_path / "m.npz")
    back = Reference.load(tmp_path / "m.npz")
    assert back.fcd_mean.tolist() == [0, 1, 2, 3, 4] and np.array_equal(back.fcd_cov, cov)


def test_bad_files_and_too_few_molecules(tmp_path):
    (tmp_path / "x.npz").write_bytes(b"nothing")
    with pytest.raises(ValueError, match="x.npz is not a reference"):
        Reference.load(tmp_path / "x.npz")
    with pytest.raises(ValueError, match="at least two molecules, got 1"):
        Reference.fit("one", MOLS[:1])
