"""Classifiers as a setting of models of token rows: masked, and inside blocks."""

import numpy as np
import pytest
import torch
from token_engines import VOCABULARY, L, engine

from scidiff.api.classifiers import OracleClassifier
from scidiff.core import ScidiffError, seeded
from scidiff.data import alphabets
from scidiff.data.strands import reverse_complement
from scidiff.data.tokens import FIRST_SYMBOL, PAD, Vocabulary
from scidiff.guidance.particles import guided_sample, sample
from scidiff.guidance.selection import keep_all
from scidiff.networks.token_denoiser import TokenDenoiser
from scidiff.rewards.learned import Oracle, _other_strand
from scidiff.rewards.predictors import Letters
from scidiff.samplers.canvas import FixedCanvas
from scidiff.samplers.classifier import ClassifierGuided, ExactChange
from scidiff.samplers.masked import MaskedSampler
from scidiff.samplers.orders import Sequential

DNA = Vocabulary(tuple("ACGT"), "characters")
NITROGEN = FIRST_SYMBOL + 1


class Nitrogens:
    """log p(y | x) where every N makes y more likely."""

    def log_prob(self, ids):
        return -0.5 * (L - (ids == NITROGEN).sum(1)).double()


@pytest.mark.parametrize("weight", [1.0, 2.5])
@pytest.mark.parametrize("block_size", [1, 2, 4])
def test_the_setting_is_the_library_function(block_size, weight):
    e = engine("block")
    told = e.sampler(
        block_size=block_size, classifier=Nitrogens(), classifier_weight=weight,
        order="sequential",
    )  # fmt: skip
    inner = TokenDenoiser(e.network, block_size)
    mine = MaskedSampler(
        ClassifierGuided(inner, ExactChange(Nitrogens()), weight),
        FixedCanvas.blank(L, VOCABULARY.mask_id), block_size=block_size, order=Sequential(),
    )  # fmt: skip
    a, b = (guided_sample(s, None, 64, seeded(0), select=keep_all) for s in (told, mine))
    assert torch.equal(a.x.ids, b.x.ids) and torch.equal(a.log_w, b.log_w)
    assert a.log_w.std() > 0.01


@pytest.mark.parametrize("kind", ["masked", "block", "autoregressive"])
def test_rows_are_led_whatever_the_process(kind):
    e = engine(kind)
    plain, led = (
        (sample(e.sampler(**asked), 200, seeded(1)).ids == NITROGEN).double().sum(1).mean()
        for asked in ({}, {"classifier": Nitrogens(), "classifier_weight": 6.0})
    )
    assert led > plain + 0.5
    told = e.settings({"classifier": Nitrogens(), "classifier_weight": 6.0})
    assert (told["classifier"], told["classifier_weight"]) == ("Nitrogens", 6.0)
    assert "classifier" not in e.settings({})


def test_the_weights_undo_what_a_wrong_classifier_does():
    """Rows of blocks of two, led one way and weighed, have the law p(x) p(y | x)^w / Z."""
    e = engine("block", block_size=2)
    plain = sample(e.sampler(), 40_000, seeded(2)).ids
    tilt = (2 * Nitrogens().log_prob(plain)).exp()
    f = (plain[:, 0] == NITROGEN).double()
    wanted = (tilt * f).mean() / tilt.mean()
    led = e.sampler(classifier=Nitrogens(), classifier_weight=2.0)
    found = []
    for j in range(40):
        run = guided_sample(led, None, 500, seeded(3, j), select=keep_all)
        w = run.log_w.exp()
        found.append((w * (run.x.ids[:, 0] == NITROGEN)).sum() / w.sum())
    z = torch.stack(found)
    residual = tilt / tilt.mean() * (f - wanted)  # of a ratio of means
    error = (z.var() / 40 + residual.var() / len(plain)).sqrt()
    assert abs(z.mean() - wanted) < 4 * error and abs(f.mean() - wanted) > 4 * error


# ---------------------------------------------------------------- oracles


def rows(texts):
    return torch.tensor([[FIRST_SYMBOL + "ACGT".index(c) for c in text] for text in texts])


def test_the_other_strand_keeps_what_is_behind_a_row_behind_it():
    letters = Letters(alphabets.DNA)
    acgt, rows = alphabets.DNA.letters, ["AACG", "ACGTAC", ""]
    ids = torch.full((3, 6), -1)
    for i, row in enumerate(rows):
        ids[i, : len(row)] = torch.tensor([acgt.index(c) for c in row])
    told = _other_strand(ids, letters)
    for row, got in zip(rows, told.tolist(), strict=True):
        other = [acgt.index(c) for c in reverse_complement(row)]
        assert got == other + [-1] * (6 - len(row))
    ids[1, 2] = -1  # hidden, not behind
    assert (_other_strand(ids, letters)[1] < 0).tolist() == [False] * 3 + [True] + [False] * 2


def test_an_oracle_says_of_whole_rows_what_it_predicts():
    rng = np.random.default_rng(0)
    texts = ["".join(rng.choice(list("ACGT"), 200)) for _ in range(5)]
    oracle = Oracle.load("enhancer-oracle")
    assert oracle.strands
    for i, label in enumerate(oracle.outputs):
        log_p = OracleClassifier(oracle, label, DNA).log_prob(rows(texts))
        odds = torch.from_numpy(oracle.predict(texts))[:, i]
        torch.testing.assert_close(log_p, torch.nn.functional.logsigmoid(odds))


def test_hidden_letters_and_those_behind_the_end_are_not_there():
    c = OracleClassifier(Oracle.load("enhancer-judge"), "K562", DNA)
    ids = rows(["ACGTTGCAACGT" * 4])
    cut, hidden = ids.clone(), ids.clone()
    cut[:, 30:], hidden[:, 30:] = PAD, DNA.mask_id
    assert torch.equal(c.log_prob(cut), c.log_prob(hidden))
    torch.testing.assert_close(c.log_prob(cut), c.log_prob(ids[:, :30]))
    assert not torch.equal(c.log_prob(cut), c.log_prob(ids))


@pytest.mark.parametrize(
    "asked, message",
    [
        ({"label": "K562"}, "belong to classifier, got label='K562'"),
        ({"classifier_weight": 2.0}, "classifier_weight=2.0 without one"),
        ({"classifier": 3}, r"an object with log_prob\(ids\) -> \(B,\), got int"),
        ({"classifier": Nitrogens(), "label": "a"}, "'a' beside an own classifier"),
        ({"classifier": "utr-oracle"}, "tells number: expected an oracle of classes"),
        ({"classifier": "enhancer-orakel"}, "did you mean 'enhancer-oracle'"),
        ({"classifier": "enhancer-oracle", "label": "K562"}, "ACGT, this model also writes N"),
    ],
)
def test_refusals(asked, message):
    with pytest.raises((ValueError, ScidiffError), match=message):
        engine("block").sampler(**asked)


def test_a_label_that_is_none_is_refused():
    with pytest.raises(ValueError, match="did you mean 'K562'"):
        OracleClassifier(Oracle.load("enhancer-oracle"), "K56", DNA)
