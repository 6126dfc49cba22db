"""The min-max kernel against its definition, the Gaussian process against textbook formulas."""

import math
from collections import Counter

import networkx as nx
import numpy as np
import pytest
import torch
from rdkit.Chem import MolFromSmiles

from scidiff.core import normal, seeded
from scidiff.data.graph_exchange import symbols
from scidiff.data.graph_tokens import write
from scidiff.rewards.fingerprints import fingerprint
from scidiff.rewards.minmax import Counts, counted, minmax
from scidiff.rewards.scoring import Scorer, evaluate
from scidiff.rewards.surrogates import NOISES, GaussianProcess, NotFitted, Surrogate
from scidiff.testing import check_reward

SMILES = ["CCO", "CCCO", "c1ccccc1", "Cc1ccccc1", "CC(=O)Oc1ccccc1C(=O)O",
          "Cn1cnc2c1c(=O)n(C)c(=O)n2C", "C", "N", "CCN(CC)CC", "O=C(O)c1ccccc1"]
MOLS = [MolFromSmiles(s) for s in SMILES]
WORDS = ["ACGTACGT", "ACGTTTTT", "GGGG", "A", "TTTTACGA"]


def by_definition(tables, others):
    """sum min / sum max of every pair of counters."""
    out = np.zeros((len(tables), len(others)))
    for i, a in enumerate(tables):
        for j, b in enumerate(others):
            names = a.keys() | b.keys()
            most = sum(max(a[f], b[f]) for f in names)
            out[i, j] = sum(min(a[f], b[f]) for f in names) / most if most else 1.0
    return out


def words(text):
    return Counter(text[i:i + k] for k in range(1, 5) for i in range(len(text) - k + 1))


# ---------------------------------------------------------------- the kernel


def test_kernel_of_molecules():
    make = fingerprint("ECFP4", counts=True)
    tables = [Counter(make(m).GetNonzeroElements()) for m in MOLS]
    found = minmax(counted("molecule", MOLS), counted("molecule", MOLS[3:]))
    assert np.allclose(found, by_definition(tables, tables[3:]), rtol=1e-12)


def test_kernel_of_sequences():
    found = minmax(counted("sequence", WORDS), counted("sequence", WORDS[1:]))
    tables = [words(w) for w in WORDS]
    assert np.allclose(found, by_definition(tables, tables[1:]), rtol=1e-12)
    tables = [words(w) + Counter(enumerate(w)) for w in WORDS]
    aligned = counted("aligned sequence", WORDS)
    assert np.allclose(minmax(aligned, aligned), by_definition(tables, tables), rtol=1e-12)


@pytest.mark.parametrize("size", [1, 40, 300])
def test_kernel_of_common_and_rare_features(size):
    """Few features are dense, many sparse: both ways of counting meet the definition."""
    rng = np.random.default_rng(size)
    tables = [Counter(rng.integers(0, 5 if i % 2 else 4000, 12).tolist()) for i in range(size)]
    made = Counts.of_tables(tables)
    assert np.allclose(minmax(made, made[np.arange(size)[::-1]]),
                       by_definition(tables, tables[::-1]), rtol=1e-12)


def test_kernel_is_positive_definite_and_one_on_itself():
    made = counted("molecule", MOLS)
    gram = minmax(made, made)
    assert torch.equal(gram, gram.T) and torch.equal(gram.diagonal(), torch.ones(len(MOLS)))
    assert float(torch.linalg.eigvalsh(gram).min()) > 0


def test_objects_without_features_are_alike():
    empty = Counts.of_tables([{}, {}, {7: 1}])
    assert minmax(empty, empty).tolist() == [[1, 1, 0], [1, 1, 0], [0, 0, 1]]


def test_rows_are_taken_with_repeats():
    made = counted("sequence", WORDS)
    assert torch.equal(minmax(made[np.array([4, 0, 4])], made), minmax(made, made)[[4, 0, 4]])


def test_graphs_are_counted_whatever_their_order():
    path, cycle = nx.path_graph(6), nx.cycle_graph(6)
    shuffled = nx.relabel_nodes(path, dict(zip(range(6), [3, 0, 5, 1, 4, 2], strict=True)))
    typed = nx.path_graph(6)
    nx.set_node_attributes(typed, dict.fromkeys(range(6), "N"), "type")
    bonded = nx.path_graph(6)
    nx.set_edge_attributes(bonded, dict.fromkeys(bonded.edges, 2), "type")
    made = counted("graph", [path, shuffled, cycle, typed, bonded])
    k = minmax(made, made)
    assert k[0, 1] == 1 and k[0, 3] == 0
    # of 4 * 6 labels only those of the first round, which see no edge, are shared
    assert float(k[0, 4]) == pytest.approx(6 / (24 + 24 - 6))
    # and of the cycle also the inner nodes that see no end: 4 after one round, 2 after two
    assert float(k[0, 2]) == pytest.approx((6 + 4 + 2) / (48 - 12))


def test_texts_are_read_as_their_objects():
    mols, graphs = counted("molecule", MOLS), [nx.path_graph(5), nx.cycle_graph(4)]
    assert np.array_equal(counted("molecule", SMILES).codes, mols.codes)
    names = [write(*symbols(g)) for g in graphs]
    assert np.array_equal(counted("graph", names).codes, counted("graph", graphs).codes)
    with pytest.raises(ValueError, match="object 1: 'C1CC' is no SMILES"):
        counted("molecule", ["CC", "C1CC"])


def test_counts_of_nothing():
    for kind in ("molecule", "sequence", "aligned sequence", "graph"):
        assert minmax(counted(kind, []), counted(kind, [])).shape == (0, 0)


def test_an_unknown_kind_names_the_nearest():
    with pytest.raises(ValueError, match="'molecules' are not known; did you mean 'molecule'"):
        Surrogate("molecules")


# ---------------------------------------------------------------- the process


def drawn(noise, n=150, seed=0, scale=4.0, mean=10.0):
    """Features, in families of ten, and values of a draw from the model itself."""
    rng = np.random.default_rng(seed)
    families = rng.integers(0, 40, (n // 10, 22))
    made = Counts.of_tables([Counter([*families[i % (n // 10)], *rng.integers(0, 40, 3)])
                             for i in range(n)])
    gram = minmax(made, made) + noise * torch.eye(n, dtype=torch.float64)
    factor = torch.linalg.cholesky(gram)
    return made, mean + scale**0.5 * factor @ normal((n,), seeded(seed)).double()


def test_predictions_are_the_textbook_ones():
    made, y = drawn(0.1, 60)
    seen, new = made[np.arange(50)], made[np.arange(50, 60)]
    process = GaussianProcess.fit(seen, y[:50])
    A = (minmax(seen, seen) + process.noise * torch.eye(50)).inverse()
    k, one = minmax(seen, new), torch.ones(50, dtype=torch.float64)
    m = one @ A @ y[:50] / (one @ A @ one)
    scale = (y[:50] - m) @ A @ (y[:50] - m) / 50
    expected = m + k.T @ A @ (y[:50] - m)
    u = 1 - one @ A @ k
    covariance = scale * (minmax(new, new) - k.T @ A @ k + torch.outer(u, u) / (one @ A @ one))
    mean, sd = process.predict(new)
    assert torch.allclose(mean, expected) and torch.allclose(sd**2, covariance.diagonal())
    joint_mean, joint = process.joint(new)
    assert torch.equal(joint_mean, mean) and torch.allclose(joint, covariance)


def log_likelihood(gram, y, noise):
    """Of N(m, scale (gram + noise)) at the best m and scale, but for a constant."""
    A = gram + noise * torch.eye(len(y))
    inverse, one = A.inverse(), torch.ones_like(y)
    rest = y - one @ inverse @ y / (one @ inverse @ one)
    scale = rest @ inverse @ rest / len(y)
    law = torch.distributions.MultivariateNormal(torch.zeros_like(y), scale * A)
    return float(law.log_prob(rest))


@pytest.mark.parametrize("noise", [1e-3, 0.1, 3.0])
def test_the_noise_is_the_likeliest(noise):
    made, y = drawn(noise)
    process = GaussianProcess.fit(made, y)
    gram = minmax(made, made)
    assert process.noise == max(NOISES, key=lambda v: log_likelihood(gram, y, v))
    assert (process.noise < 1) == (noise < 1)


def test_intervals_cover_what_the_model_draws():
    inside = []
    for seed in range(20):
        made, y = drawn(0.1, 100, seed)
        process = GaussianProcess.fit(made[np.arange(80)], y[:80])
        mean, sd = process.predict(made[np.arange(80, 100)])
        total = (sd**2 + process.scale * process.noise).sqrt()
        inside += ((y[80:] - mean).abs() < 1.96 * total).tolist()
    share = np.mean(inside)
    assert abs(share - 0.95) < 4 * math.sqrt(0.95 * 0.05 / 400)


def test_seen_objects_are_known_and_far_ones_are_not():
    made, y = drawn(1e-4, 100)
    process = GaussianProcess.fit(made, y)
    mean, sd = process.predict(made)
    assert torch.allclose(mean, y, atol=0.2) and float(sd.max()) < 0.1
    far_mean, far_sd = process.predict(Counts.of_tables([{1000: 3}]))
    assert float(far_mean) == pytest.approx(process.mean)
    assert float(far_sd) >= process.scale**0.5


# ---------------------------------------------------------------- the surrogate


def sizes(mols):
    return [float(m.GetNumHeavyAtoms()) for m in mols]


def test_a_surrogate_is_a_reward():
    surrogate = Surrogate("molecule").fit(MOLS, sizes(MOLS))
    check_reward(surrogate, MOLS)
    assert surrogate.floor == 1.0
    mean, sd = surrogate.predict(MOLS)
    assert surrogate(MOLS) == mean.tolist() and (sd >= 0).all()
    assert np.corrcoef(mean, sizes(MOLS))[0, 1] > 0.9
    assert Scorer(surrogate).name == "surrogate"


def test_equal_values_are_no_error():
    surrogate = Surrogate("sequence").fit(WORDS, [2.0] * 5)
    mean, sd = surrogate.predict(["ACGTACGT", "CCCC"])
    assert mean == pytest.approx(2.0) and 0 < sd[0] < sd[1]
    mean, sd = Surrogate("sequence").fit(["A"], [1.5]).predict(["C"])
    assert mean == pytest.approx(1.5) and sd > 0


def test_the_best_rows_and_even_ranks_of_the_others_are_kept():
    rng = np.random.default_rng(0)
    rows = ["".join(rng.choice(list("ACGT"), 12)) for _ in range(100)]
    values = rng.permutation(100).astype(float)
    kept = Surrogate("sequence", rows=10).fit(rows, values)
    best = np.argsort(-values)
    chosen = sorted([*best[:5], *best[[5, 29, 52, 75, 99]]])
    alone = Surrogate("sequence").fit([rows[i] for i in chosen], values[chosen])
    assert kept(rows) == alone(rows)
    assert kept.floor == 0.0


def test_fitting_again_forgets():
    surrogate = Surrogate("sequence").fit(WORDS, [1.0, 2, 3, 4, 5])
    first = surrogate(WORDS)
    surrogate.fit(WORDS[:2], [7.0, 8.0])
    assert surrogate.fit(WORDS, [1.0, 2, 3, 4, 5])(WORDS) == first


@pytest.mark.parametrize("objects, values, said", [
    ([], [], "at least one; got 0 objects"),
    (["A"], [1.0, 2.0], r"got 1 objects and values \(2,\)"),
    (["A", "C"], [1.0, math.nan], "object 1 has the value nan; leave out"),
])
def test_what_cannot_be_learned_is_said(objects, values, said):
    with pytest.raises(ValueError, match=said):
        Surrogate("sequence").fit(objects, values)


def test_an_unfitted_surrogate_says_so():
    with pytest.raises(NotFitted, match=r"call fit\(objects, values\)"):
        evaluate(Surrogate("sequence"), ["A"])
    with pytest.raises(ValueError, match="at least 2 rows, got 1"):
        Surrogate("sequence", rows=1)
