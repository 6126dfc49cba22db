"""Oracles: what they predict, how they are saved, and that they learn what there is to learn."""

import json
import math

import numpy as np
import pytest
import torch

from scidiff.core import seeded
from scidiff.data.alphabets import DNA, RNA
from scidiff.data.datasets import load
from scidiff.data.letters import letter_ids
from scidiff.data.strands import reverse_complement
from scidiff.networks.sequence_oracle import (
    KmerOracle,
    KmerOracleConfig,
    SequenceOracle,
    SequenceOracleConfig,
)
from scidiff.processes.supervised import LabelledRows, Supervised
from scidiff.rewards import learned
from scidiff.rewards.combine import Expression
from scidiff.rewards.learned import Oracle, OracleReward, log_odds
from scidiff.rewards.oracle_training import train_oracle
from scidiff.rewards.scoring import Status, evaluate
from scidiff.training.checkpoint import CheckpointError
from scidiff.training.config import TrainConfig
from scidiff.training.labelled import LabelledBatches

SMALL = SequenceOracleConfig(4, 2, width=8, kernel=5, pool=2, depth=1, dropout=0)
QUICK = TrainConfig(60, batch_size=32, lr=1e-2, warmup=5, ema=0.9, precision="32-true",
                    validate_every=30)


def labelled(n, seed, length=24):
    """Half of the rows carry TATAA somewhere, on either strand."""
    rng, rows = np.random.default_rng(seed), []
    labels = ["plain", "tata"] * (n // 2)
    for label in labels:
        row = "".join(rng.choice(list("ACGT"), length, p=[.15, .35, .35, .15]))
        if label == "tata":
            at = int(rng.integers(0, length - 5))
            row = row[:at] + "TATAA" + row[at + 5:]
        rows.append(row if rng.random() < 0.5 else reverse_complement(row))
    return rows, labels


@pytest.fixture(scope="module")
def oracle():
    return train_oracle(labelled(400, 0), labelled(100, 1), alphabet=DNA, strands=True,
                        network=KmerOracleConfig(4, 2, k=4), name="tata")


@pytest.fixture
def folder(oracle, tmp_path):
    oracle.save(tmp_path / "tata", "# card")
    learned.loaded.cache_clear()
    return tmp_path / "tata"


def test_kmers_learn_a_motif_on_both_strands(oracle):
    rows, labels = labelled(200, 2)
    found = oracle.predict(rows)
    truth = np.array([oracle.index(label) for label in labels])
    assert (found.argmax(1) == truth).mean() > 0.9
    other = oracle.predict([reverse_complement(s) for s in rows])
    assert np.allclose(found, other, rtol=1e-9)
    assert np.allclose(found[:, 0], -found[:, 1])  # log-odds of two classes


def test_convolutions_learn_and_repeat_themselves():
    settings = {"alphabet": DNA, "network": SMALL, "config": QUICK}
    first, again = (train_oracle(labelled(400, 0), labelled(100, 1), **settings)
                    for _ in range(2))
    rows, labels = labelled(200, 2)
    found = first.predict(rows)
    assert (found.argmax(1) == [first.index(c) for c in labels]).mean() > 0.7
    assert np.array_equal(found, again.predict(rows))


def test_a_ridge_regression_is_the_closed_form():
    rng = np.random.default_rng(0)
    rows = ["".join(rng.choice(list("ACGU"), 15)) for _ in range(60)]
    y = rng.normal(size=60) * 3 + 7
    oracle = train_oracle((rows, y), (rows, y), alphabet=RNA, ridge=0.1,
                          network=KmerOracleConfig(4, 1, k=2))
    x = oracle.network.features(torch.from_numpy(letter_ids(rows, "ACGU")).long()).double().numpy()
    z = (y - y.mean()) / y.std()
    # min |x w + c - z|^2 / 2n + ridge |w|^2 / 2; the columns of x have mean 0
    w = np.linalg.solve(x.T @ x / 60 + 0.1 * np.eye(x.shape[1]), x.T @ z / 60)
    assert np.allclose(oracle.predict(rows)[:, 0], y.mean() + y.std() * (x @ w), atol=2e-2)


def test_log_odds_are_those_of_the_softmax():
    logits = torch.randn(5, 4, generator=seeded(0)).double()
    p = logits.softmax(1)
    assert torch.allclose(log_odds(logits), p.log() - (1 - p).log())


def test_a_folder_holds_all_of_it(oracle, folder):
    rows = labelled(20, 3)[0]
    again = Oracle.load(folder)
    assert np.allclose(again.predict(rows), oracle.predict(rows))
    for name in ("outputs", "task", "strands", "temperature", "floors", "lengths", "reader"):
        assert getattr(again, name) == getattr(oracle, name)
    assert again.features(rows).shape == (20, 4 + 16 + 64 + 256)


def test_what_is_no_oracle_is_refused(folder, tiny_model):
    with pytest.raises(CheckpointError, match="expected an oracle"):
        Oracle.load(tiny_model)
    with pytest.raises(CheckpointError, match="no oracle 'nowhere'"):
        Oracle.load("nowhere")
    config = json.loads((folder / "config.json").read_text())
    config["network"]["config"]["k"] = 3
    (folder / "config.json").write_text(json.dumps(config))
    with pytest.raises(CheckpointError, match="do not fit"):
        Oracle.load(folder)


def test_a_reward_is_one_output(oracle, folder):
    rows = labelled(10, 4)[0]
    reward = OracleReward(str(folder), "tata")
    column = oracle.predict(rows)[:, 1]
    assert reward(rows) == pytest.approx(column.tolist())
    assert reward([r.lower() for r in rows]) == pytest.approx(column.tolist())
    assert reward.floor == oracle.floors[1]
    with pytest.raises(ValueError, match="predicts plain, tata, got 'tatta'; did you mean 'tata'"):
        OracleReward(str(folder), "tatta")


def test_an_unknown_length_fails_alone(folder):
    scores = evaluate(OracleReward(str(folder), "tata"), ["A" * 24, "A" * 23])
    assert scores.status.tolist() == [Status.OK, Status.FAILED]
    with pytest.raises(ValueError, match="row 2 has 23 letters, .*trained on 24 to 24"):
        Oracle.load(folder).predict(["A" * 24, "A" * 23])


def test_floors_are_the_lowest_of_the_validation_rows(oracle):
    assert oracle.floors == tuple(oracle.predict(labelled(100, 1)[0]).min(0).tolist())


def test_bad_training_rows_are_named():
    good = labelled(10, 0)
    with pytest.raises(ValueError, match="row 2: 'N' at position 3"):
        train_oracle((["ACGT", "ACNT"], ["a", "b"]), good, alphabet=DNA)
    with pytest.raises(ValueError, match="as many labels as objects .* got 1 for 2"):
        train_oracle((["ACGT", "ACGT"], ["a"]), good, alphabet=DNA)
    with pytest.raises(ValueError, match="predicts a, b, got 'plain'"):
        train_oracle((["ACGT" * 6] * 2, ["a", "b"]), good, alphabet=DNA,
                     network=KmerOracleConfig(4, 2, k=1))


# ---------------------------------------------------------------- the parts


def test_padding_changes_nothing():
    ids = torch.from_numpy(letter_ids(["ACGTACG", "ACGTACGTTTTACC"], "ACGT")).long()
    for network in (SequenceOracle(SequenceOracleConfig(4, 3, pool=1, frames=3)).eval(),
                    KmerOracle(KmerOracleConfig(4, 3, k=3, frames=3))):
        alone = network(ids[:1, :7])
        assert torch.allclose(network(ids)[:1], alone, atol=1e-6)


def test_frames_are_counted_from_the_end():
    """Three letters in front move no codon to another frame, one does."""
    network = KmerOracle(KmerOracleConfig(4, 1, k=3, frames=3))

    def counted(text):
        table = network.counts(torch.from_numpy(letter_ids([text], "ACGT")).long())[0]
        atg = (0 * 16 + 3 * 4 + 2) * 3  # of the 3-mers, behind 4 * 3 letters and 16 * 3 pairs
        return table[3 * (4 + 16) + atg:][:3].tolist()

    assert counted("ATGCC") == [0, 1, 0]  # four letters follow the A
    assert counted("CCCATGCC") == counted("ATGCC")
    assert counted("ATGCCA") == [0, 0, 1]


def test_supervised_losses():
    x0 = LabelledRows(torch.zeros(2, 3, dtype=torch.int64), torch.tensor([0, 2]))
    logits = torch.tensor([[1.0, 0, 0], [0, 1.0, 2.0]])
    loss = Supervised("classes").loss(lambda letters: logits, x0, seeded(0))
    assert torch.allclose(loss, -logits.log_softmax(1)[[0, 1], [0, 2]])
    numbers = LabelledRows(x0.letters, torch.tensor([[1.0], [3.0]]))
    loss = Supervised("number").loss(lambda letters: logits[:, :1], numbers, seeded(0))
    assert loss.tolist() == [0, 4.5]


def test_batches_see_every_row_once_an_epoch():
    batches = LabelledBatches(np.arange(10, dtype=np.int8)[:, None], np.arange(10), 3, seed=1)
    epoch = torch.cat([batches(i).target for i in range(3)]).tolist()
    assert len(set(epoch)) == 9
    assert torch.cat([batches(i).target for i in range(3, 6)]).tolist() != epoch
    parts = [batches(4, rank, 2).target.tolist() for rank in range(2)]
    assert sorted(parts[0] + parts[1]) == sorted(batches(4).target.tolist())
    with pytest.raises(ValueError, match="got 9 for 10"):
        LabelledBatches(np.zeros((10, 1), np.int8), np.zeros(9), 3)


def test_nan_is_for_rows_without_a_value_only(folder):
    assert [math.isnan(v) for v in OracleReward(str(folder), "tata")(["A" * 24, "A"])] == [
        False, True]


def test_an_expression_names_it(folder):
    formula = Expression(f"oracle('{folder}', 'tata')")
    assert formula(["A" * 24]) == OracleReward(str(folder), "tata")(["A" * 24])


# ---------------------------------------------------------------- what ships


@pytest.mark.parametrize("name, least", [("enhancer-oracle", 0.69), ("enhancer-judge", 0.74)])
def test_a_shipped_oracle_knows_held_out_enhancers(name, least):
    """As its card says of all of chromosome 1, on every tenth row of it (457)."""
    table = load("enhancers", "test")
    rows, cells = table.objects()[::10], table.values("cell")[::10]
    oracle = Oracle.load(name)
    found = oracle.predict(rows)
    right = (found.argmax(1) == [oracle.index(c) for c in cells]).mean()
    assert right > least - 4 * 0.02  # four standard errors of 457 rows
    assert np.allclose(found, oracle.predict([reverse_complement(s) for s in rows]), atol=1e-4)
    size = sum(p.stat().st_size for p in (learned.SHIPPED / name).iterdir())
    assert size < 400_000 and (learned.SHIPPED / name / "README.md").is_file()


def test_shipped_oracles_are_found_by_name_in_an_expression():
    row = load("enhancers", "test").objects()[:1]
    value = Expression("oracle('enhancer-oracle', 'K562')")(row)
    assert value == [Oracle.load("enhancer-oracle").predict(row)[0, 2]]
    with pytest.raises(CheckpointError, match="did you mean 'enhancer-judge'"):
        Oracle.load("enhancer-jugde")


def test_its_version_is_that_of_its_weights():
    versions = {OracleReward(name).version for name in ("utr-oracle", "utr-judge")}
    assert len(versions) == 2 and all(len(v) == 64 for v in versions)
