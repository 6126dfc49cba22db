"""The Frechet distance in closed form, and the FCD of real molecules."""

import builtins
import gzip

import numpy as np
import pytest

from scidiff.evaluation.fcd import FcdMissing, activations, bias_floor, frechet_distance, moments
from scidiff.evaluation.reference import shipped


def test_frechet_distance_of_commuting_gaussians():
    a, b = np.array([1.0, 4.0, 9.0]), np.array([4.0, 1.0, 0.0])
    expected = 3 * 0.25 + ((np.sqrt(a) - np.sqrt(b)) ** 2).sum()
    assert frechet_distance(np.zeros(3), np.diag(a), np.full(3, 0.5), np.diag(b)) == pytest.approx(
        expected)


def test_frechet_distance_of_any_gaussians_is_that_of_the_matrix_square_root():
    from scipy.linalg import sqrtm

    rng = np.random.default_rng(0)
    (x, y), m = (rng.normal(size=(2, 6, 6))), np.arange(6.0)
    a, b = x @ x.T, y @ y.T
    expected = m @ m + np.trace(a + b - 2 * np.real(sqrtm(a @ b)))
    assert frechet_distance(m, a, np.zeros(6), b) == pytest.approx(expected)
    assert frechet_distance(m, a, m, a) == pytest.approx(0, abs=1e-6)


def test_real_molecules_score_their_bias_floor(shared_data):
    pytest.importorskip("fcd_torch")
    rows = gzip.decompress((shared_data / "moses_test.csv.gz").read_bytes()).decode().split()
    picked = [r.split(",")[0] for r in rows[1::700]]  # 252 of them
    reference = shipped("moses_test")
    value = frechet_distance(*moments(activations(picked)), reference.fcd_mean, reference.fcd_cov)
    # 1290 / n is the law at large n; with fewer rows than dimensions it is some 10 % more
    assert value == pytest.approx(bias_floor(len(picked)), rel=0.15)
    # what is not a molecule of that kind is far away, also at this n
    chains = ["C" * i for i in range(4, 24)] * 6
    away = frechet_distance(*moments(activations(chains)), reference.fcd_mean, reference.fcd_cov)
    assert away > 30


def test_activations_do_not_depend_on_the_batch():
    pytest.importorskip("fcd_torch")
    some = ["CCO", "c1ccccc1", "CC(=O)Nc1ccc(O)cc1"]
    together = activations(some)
    assert together.shape == (3, 512) and activations([]).shape == (0, 512)
    assert np.allclose(together[1:2], activations(some[1:2]), atol=1e-5)


def test_without_the_extra_the_message_says_how_to_get_it(monkeypatch):
    real = builtins.__import__

    def refuse(name, *args, **kwargs):
        if name.startswith("fcd_torch"):
            raise ImportError(name)
        return real(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", refuse)
    with pytest.raises(FcdMissing, match=r"pip install 'scidiff\[fcd\]'"):
        activations(["CCO"])
