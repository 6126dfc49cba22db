"""Predictors of molecules and of how sure they are: readers, processes, committees, bounds."""

import math

import numpy as np
import pytest
import torch
from rdkit.Chem import MolFromSmiles
from rdkit.Chem.Crippen import MolLogP

from scidiff.core import normal, seeded
from scidiff.data.alphabets import DNA, PEPTIDE
from scidiff.data.datasets import load
from scidiff.data.records import Record
from scidiff.networks.committee import Committee, CommitteeConfig
from scidiff.networks.fingerprint_oracle import FingerprintOracle, FingerprintOracleConfig
from scidiff.networks.sequence_oracle import SequenceOracleConfig
from scidiff.rewards import learned
from scidiff.rewards.combine import Expression
from scidiff.rewards.fingerprints import fingerprint
from scidiff.rewards.learned import Oracle, OracleReward
from scidiff.rewards.minmax import minmax
from scidiff.rewards.oracle_training import calibrated, train_oracle
from scidiff.rewards.predictors import Fingerprints, Letters, ProcessOracle, find_reader
from scidiff.rewards.scoring import Scorer, Status
from scidiff.rewards.surrogates import Surrogate
from scidiff.training.config import TrainConfig

QUICK = TrainConfig(60, batch_size=32, lr=3e-3, warmup=5, ema=0.9, precision="32-true",
                    validate_every=30)
SMALL = FingerprintOracleConfig(2048, 1, width=32, depth=1)


def molecules(start, stop):
    """SMILES of QM9 in random order and noisy logP."""
    known = load("qm9").objects()
    rows = [known[i] for i in np.random.default_rng(0).permutation(len(known))[start:stop]]
    noise = 0.1 * normal((400,), seeded(0))[start:stop].double().numpy()
    return rows, np.array([MolLogP(MolFromSmiles(s)) for s in rows]) + noise


def words(n, seed):
    """Sequences and how many G they have, give or take."""
    rng = np.random.default_rng(seed)
    rows = ["".join(rng.choice(list("ACGT"), 20)) for _ in range(n)]
    return rows, np.array([r.count("G") for r in rows]) + 0.3 * rng.normal(size=n)


@pytest.fixture(scope="module")
def process():
    return train_oracle(molecules(0, 200), molecules(200, 300), network="process", name="logp")


@pytest.fixture(scope="module")
def committee():
    return train_oracle(molecules(0, 200), molecules(200, 300), network=SMALL, config=QUICK,
                        members=3, name="logp")


@pytest.fixture
def folder(process, tmp_path):
    process.save(tmp_path / "logp", "# card")
    learned.loaded.cache_clear()
    return tmp_path / "logp"


# ---------------------------------------------------------------- readers


def test_fingerprints_are_folded_counts():
    reader, mol = Fingerprints(), MolFromSmiles("CCO" + "C" * 200)
    table = reader.table([mol, reader.spell("c1ccccc1Cl")])
    counts = fingerprint("ECFP4", counts=True)(mol).GetNonzeroElements()
    assert table.shape == (2, 2048) and table.dtype == np.int8
    assert max(counts.values()) > 127 == table[0].max()  # cut, not wrapped
    small = fingerprint("ECFP4", counts=True)(reader.spell("c1ccccc1Cl"))
    assert table[1].sum() == sum(small.GetNonzeroElements().values())
    assert reader.size(mol) == 203 and reader.parts(mol) == {"C", "O"}
    with pytest.raises(ValueError, match="'C1CC' is no SMILES"):
        reader.spell("C1CC")


def test_readers_are_found_by_domain():
    assert find_reader("smiles") == Fingerprints() and find_reader("peptide") == Letters(PEPTIDE)
    with pytest.raises(ValueError, match="domain 'graph'; expected one of smiles, dna, rna, pep"):
        find_reader("graph")


# ---------------------------------------------------------------- networks


def test_a_process_is_the_surrogate_of_what_it_holds():
    """Of letters, and of folded counts of molecules."""
    rows, y = words(60, 0)
    kept = y.astype(np.float32)
    network = ProcessOracle.of(Letters(DNA).table(rows), kept, letters=True)
    surrogate = Surrogate("sequence").fit(rows, kept)
    new = words(20, 1)[0] + ["ACG"]
    inputs = torch.from_numpy(Letters(DNA).table(new)).long()
    mean, sd = surrogate.predict(new)
    assert np.allclose(network(inputs)[:, 0], mean, rtol=1e-6)
    assert np.allclose(network.spread(inputs)[:, 0], sd, rtol=1e-6)
    mols = [MolFromSmiles(s) for s in molecules(0, 30)[0]]
    table = Fingerprints().table(mols)
    made = ProcessOracle.of(table, np.zeros(30, np.float32), letters=False)._counts(
        torch.from_numpy(table).long())
    low = np.minimum(table[:, None], table).sum(2, dtype=int)
    high = np.maximum(table[:, None], table).sum(2, dtype=int)
    assert np.allclose(minmax(made, made), low / high, rtol=1e-12)


def test_a_committee_is_its_members():
    torch.manual_seed(0)
    members = [FingerprintOracle(SMALL).eval() for _ in range(3)]
    committee = Committee.of(members)
    x = torch.randint(0, 3, (5, 2048), generator=seeded(0))
    each = torch.stack([m(x) for m in members])
    assert torch.allclose(committee(x), each.mean(0))
    assert torch.allclose(committee.spread(x), each.std(0))
    assert committee.features(x).shape == (5, 96)
    again = Committee(CommitteeConfig(3, fingerprint=vars(SMALL)))
    again.load_state_dict(committee.state_dict())
    assert torch.equal(again.eval()(x), committee.eval()(x))


@pytest.mark.parametrize("made, said", [
    (lambda: CommitteeConfig(1, fingerprint=SMALL), "at least 2 members, got 1"),
    (lambda: CommitteeConfig(2), "of sequence or of fingerprint"),
    (lambda: FingerprintOracleConfig(2048, 1, depth=0), "depth must be at least 1, got 0"),
])
def test_impossible_networks_are_refused(made, said):
    with pytest.raises(ValueError, match=said):
        made()


# ---------------------------------------------------------------- how sure


def test_calibration_finds_the_variances_of_the_errors():
    rng = np.random.default_rng(0)
    own = rng.uniform(0.1, 2.0, 4000)
    off = rng.normal(size=4000) * np.sqrt(4.0 * own**2 + 0.5)
    gain, rest = calibrated(off, own)
    assert 2.8 < gain < 5.7 and 0.3 < rest < 0.7
    gain, rest = calibrated(off, np.zeros(4000))  # one network: the mean square is all there is
    assert gain == 0 and rest == pytest.approx(np.mean(off**2))
    assert calibrated(np.zeros(9), own[:9]) == (0.0, 0.0)


@pytest.mark.parametrize("kind", ["process", "committee"])
def test_errors_are_as_large_as_said(kind, request):
    """On rows that neither training nor calibration has seen."""
    oracle = request.getfixturevalue(kind)
    rows, y = molecules(300, 400)
    known = [i for i, s in enumerate(rows) if oracle.applies(oracle.reader.spell(s))]
    rows, y = [rows[i] for i in known], y[known]
    off, sd = y - oracle.predict(rows)[:, 0], oracle.sd(rows)[:, 0]
    assert np.sqrt(np.mean(off**2)) < {"process": 0.7, "committee": 0.9}[kind] * y.std()
    inside = np.mean(np.abs(off) < 1.96 * sd)
    assert abs(inside - 0.95) < 4 * math.sqrt(0.95 * 0.05 / len(y))


def test_strands_and_sequences_have_errors_too():
    oracle = train_oracle(words(100, 0), words(60, 1), alphabet=DNA, network="process",
                          strands=True)
    rows, y = words(60, 2)
    assert np.mean(np.abs(y - oracle.predict(rows)[:, 0]) < 2 * oracle.sd(rows)[:, 0]) > 0.8
    one = train_oracle(words(100, 0), words(60, 1), alphabet=DNA, config=QUICK,
                       network=SequenceOracleConfig(4, 1, width=8, kernel=5, dropout=0))
    held, truth = words(60, 1)
    assert one.gain == 0
    error = np.sqrt(np.mean((truth - one.predict(held)[:, 0]) ** 2))
    assert np.allclose(one.sd(held), error)


def test_a_folder_holds_all_of_it(process, folder):
    rows = molecules(300, 320)[0]
    rows = [s for s in rows if process.applies(process.reader.spell(s))]
    again = Oracle.load(folder)
    assert np.allclose(again.predict(rows), process.predict(rows))
    assert np.allclose(again.sd(rows), process.sd(rows))
    for name in ("parts", "gain", "rest", "widest", "floors", "lengths", "reader", "mean"):
        assert getattr(again, name) == getattr(process, name)


# ---------------------------------------------------------------- as a reward


def test_bounds_are_kappa_deviations_away(process, folder):
    rows = molecules(0, 20)[0]
    mols = [MolFromSmiles(s) for s in rows]
    mean, sd = process.predict(rows)[:, 0], process.sd(rows)[:, 0]
    assert OracleReward(str(folder))(mols) == pytest.approx(mean.tolist())
    low = OracleReward(str(folder), kappa=-1.5)
    assert low(mols) == pytest.approx((mean - 1.5 * sd).tolist())
    assert low.name.endswith("logp', None, kappa=-1.5)")
    assert Expression(f"oracle('{folder}', kappa=-1.5)")(mols) == pytest.approx(low(mols))
    held = [s for s in molecules(200, 300)[0] if process.applies(process.reader.spell(s))]
    worst = [MolFromSmiles(s) for s in held]
    assert low.floor <= min(low(worst))
    assert OracleReward(str(folder), kappa=2.0).floor == process.floors[0]


def test_molecules_outside_fail_with_the_reason(folder):
    smiles = [molecules(0, 1)[0][0], "C" * 40, "CC(C)CCCBr"]
    records = [Record(s, MolFromSmiles(s), True) for s in smiles]
    scorer = Scorer(OracleReward(str(folder), kappa=-1.0))
    assert scorer.score(records).status.tolist() == [Status.OK, Status.FAILED, Status.FAILED]
    assert "has 40 heavy atoms, oracle 'logp' was trained on" in scorer.messages["C" * 40]
    assert "holds Br, which no training row of oracle 'logp' does" in scorer.messages["CC(C)CCCBr"]
    with pytest.raises(ValueError, match="row 2 holds Br"):
        Oracle.load(folder).sd([smiles[0], smiles[2]])


def test_an_oracle_that_is_never_unsure_has_no_bounds():
    with pytest.raises(ValueError, match="'enhancer-oracle' does not know how sure it is"):
        OracleReward("enhancer-oracle", "K562", kappa=-1.0)


def test_what_cannot_be_trained_is_said():
    with pytest.raises(ValueError, match="a process learns numbers, got labels"):
        train_oracle((["CCO", "CCC"], ["a", "b"]), (["CCO"], ["a"]), network="process")
    with pytest.raises(ValueError, match="row 2: 'C1' is no SMILES"):
        train_oracle((["CCO", "C1"], [1.0, 2.0]), (["CCO"], [1.0]), network="process")
    with pytest.raises(ValueError, match="no validation row is like .*: the first has 1 heavy"):
        train_oracle((["CCO", "CCC"], [1.0, 2.0]), (["C"], [1.0]), network="process")
