"""Reference statistics: what ships, what a user fits, and that files come back as written."""

import numpy as np
import pytest
from rdkit import Chem
from scipy.stats import wasserstein_distance

from scidiff.evaluation import fitted
from scidiff.evaluation.properties import PROPERTIES, property_table
from scidiff.evaluation.reference import QUANTILES, Reference, as_reference, quantiles, shipped

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
    assert wasserstein_distance(kept, x) < 1e-3
    assert quantiles(np.array([3.0, 1.0])).tolist() == [1, 3]


def test_a_fitted_reference_comes_back_as_written(tmp_path):
    first = Reference.fit("mine", MOLS, fcd=False)
    first.save(tmp_path / "mine.npz")
    back = as_reference(tmp_path / "mine.npz")
    assert (back.name, back.n, back.fcd_mean, back.sha256) == ("mine", 4, None, first.sha256)
    assert np.array_equal(back.bits, first.bits) and back.bits.shape == (4, 128)
    assert back.fragments == first.fragments and sum(back.fragments.values()) > 4
    assert back.scaffolds == {}  # no two rings
    for name, values in property_table(MOLS).items():
        assert back.properties[name] == pytest.approx(np.sort(values), rel=1e-6)


def test_moments_come_back_whole(tmp_path):
    cov = np.cov(np.random.default_rng(0).normal(size=(5, 40))).astype(np.float32)
    Reference("m", 9, {}, np.arange(5, dtype=np.float32), cov).save(tmp_path / "m.npz")
    back = Reference.load(tmp_path / "m.npz")
    assert back.fcd_mean.tolist() == [0, 1, 2, 3, 4] and np.array_equal(back.fcd_cov, cov)


def test_moses_testsf_ships_too():
    found = shipped("moses_testsf")
    assert found.name == "testsf" and found.n == 176_225 and found.fcd_cov.shape == (512, 512)
    assert not np.allclose(found.fcd_mean, shipped("moses_test").fcd_mean)


def test_bad_files_and_too_few_molecules(tmp_path):
    (tmp_path / "x.npz").write_bytes(b"nothing")
    with pytest.raises(ValueError, match="x.npz is not a reference"):
        Reference.load(tmp_path / "x.npz")
    with pytest.raises(ValueError, match="at least two molecules, got 1"):
        Reference.fit("one", [*MOLS[:1], "C("], fcd=False)


def test_a_changed_file_is_damaged(tmp_path):
    Reference.fit("mine", MOLS, fcd=False).save(tmp_path / "mine.npz")
    with np.load(tmp_path / "mine.npz") as file:
        content = dict(file)
    content["property_mw"][0] += 1
    np.savez(tmp_path / "mine.npz", **content)
    with pytest.raises(ValueError, match="its checksum is another"):
        Reference.load(tmp_path / "mine.npz")


def test_a_file_of_molecules_is_a_reference(tmp_path):
    (tmp_path / "mine.smi").write_text("CCO\nc1ccccc1O\nC(\n")
    found = as_reference(tmp_path / "mine.smi", fcd=False)
    assert (found.name, found.n) == ("mine", 2)


def test_fitting_moses_adds_molecules_to_what_ships(tmp_path, monkeypatch):
    import gzip

    monkeypatch.setenv("SCIDIFF_CACHE", str(tmp_path))
    files = []
    for name in ("moses_train.csv.gz", *fitted.SPLITS.values()):
        files.append(tmp_path / name)
        files[-1].write_bytes(gzip.compress(b"SMILES,SPLIT\nCCO,t\nc1ccc2ccccc2c1,t\n"))
    assert fitted.moses_references()[0].bits is None
    assert fitted.moses_train() is None
    assert fitted.fit("qm9", files) == [] and len(fitted.fit("moses", files)) == 3
    assert fitted.moses_train().contains(["CCO", "OCC"]).tolist() == [True, False]
    test, testsf = fitted.moses_references()
    assert test.bits.shape == (2, 128) and test.scaffolds == {"c1ccc2ccccc2c1": 1}
    assert (test.name, test.n, testsf.name, testsf.n) == ("test", 176_074, "testsf", 176_225)
    assert np.array_equal(test.fcd_mean, shipped("moses_test").fcd_mean)
