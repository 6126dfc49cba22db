"""Infilling: patterns, the law of gap lengths, and what is written against known conditionals."""

from collections import Counter
from itertools import product

import numpy as np
import pytest
import torch
from tiny_models import write_tiny_model
from token_engines import VOCABULARY, L, engine, left_to_right

from scidiff.api.gaps import GapLaw, Gapped, gap_law
from scidiff.api.infilling import gumbel_top
from scidiff.api.model import Model
from scidiff.api.requests import InfillRequest as Asked
from scidiff.core import ScidiffError, seeded
from scidiff.data.alphabets import DNA, PEPTIDE, RNA
from scidiff.data.tokens import EOS, PAD, Vocabulary, encode_rows

MASK = VOCABULARY.mask_id
BASES = Vocabulary(tuple("ACGT"), "characters")

# ---------------------------------------------------------------- patterns


def test_a_pattern_is_read_token_by_token():
    read = Gapped.read("C[*]N?[*]", VOCABULARY)
    assert read.parts == ((2,), (3, MASK), ()) and read.gaps == 2 and read.fixed == 3
    rows = read.rows(torch.tensor([[1, 2], [3, 1]]), 9)
    assert rows.tolist() == [
        [2, MASK, 3, MASK, MASK, MASK, EOS, PAD, PAD],
        [2, MASK, MASK, MASK, 3, MASK, MASK, EOS, PAD],
    ]


def test_bases_may_be_open_as_question_marks_or_n():
    for pattern in ("ACG??T", "acgNnt", "ACGN?T"):
        assert Gapped.read(pattern, BASES, DNA).parts == ((2, 3, 4, 6, 6, 5),)
    rna = Vocabulary(tuple("ACGU"), "characters")
    assert Gapped.read("TN", rna, RNA).parts == ((5, 6),)
    residues = Vocabulary(tuple("KNR"), "characters")
    assert Gapped.read("N?", residues, PEPTIDE).parts == ((3, 5),)


@pytest.mark.parametrize(
    "pattern, said",
    [
        ("C[*]NO", "'O' at character 6 of the pattern 'C[*]NO'; the vocabulary has 2 symbols"),
        ("xC[*]", "'x' at character 1"),
        ("C[*]N[nH]?", "'[nH]' at character 6"),
    ],
)
def test_a_wrong_character_is_named_with_its_place(pattern, said):
    with pytest.raises(ValueError) as error:
        Gapped.read(pattern, VOCABULARY)
    assert said in str(error.value)


def test_a_pattern_must_leave_something_open():
    with pytest.raises(ValueError, match="got neither in 'CC'"):
        Gapped.read("CC", VOCABULARY)
    with pytest.raises(ValueError, match="unknown token 'R' at character 2"):
        Gapped.read("AR??", BASES, DNA)


# ---------------------------------------------------------------- lengths


def drawn(law, n=20_000):
    return Counter(map(tuple, law.draw(n, seeded(0)).tolist()))


def check(found, expected, n=20_000):
    total = sum(expected.values())
    assert set(found) == {k for k, w in expected.items() if w > 0}
    for key, weight in expected.items():
        p = weight / total
        assert abs(found[key] / n - p) < 4 * (p * (1 - p) / n) ** 0.5 + 1e-12


def test_gaps_of_given_ranges_are_uniform_and_independent():
    choices = [range(1, 4), [2, 5]]
    check(drawn(GapLaw(choices, None)), {g: 1.0 for g in product(*choices)})


def test_a_combination_weighs_as_much_as_the_length_it_makes():
    choices = [range(1, 5), [1, 3], range(2, 4)]
    weights = np.random.default_rng(0).integers(0, 9, 12).astype(float)
    weights[6] = 0.0
    expected = {g: weights[sum(g)] for g in product(*choices) if sum(g) < len(weights)}
    check(drawn(GapLaw(choices, weights)), expected)


def test_the_training_law_counts_the_whole_row():
    # 4 tokens are given: rows of 6 and 8 tokens leave 2 and 4 to both gaps
    read = Gapped.read("CC[*]N[*]C", VOCABULARY)
    law = gap_law(read, None, [0, 5, 5, 5, 5, 5, 3, 0, 1, 0], 9)
    check(drawn(law), {(1, 1): 3, (1, 3): 1, (2, 2): 1, (3, 1): 1})


def test_a_pattern_without_gaps_draws_nothing():
    read = Gapped.read("C??", VOCABULARY)
    assert gap_law(read, range(1, 50), [1], L).draw(3, seeded(0)).shape == (3, 0)


def test_lengths_that_do_not_fit_are_refused():
    read = Gapped.read("CC[*]N[*]C", VOCABULARY)
    with pytest.raises(ValueError, match="gaps of 6 tokens has 11 tokens .* at most 8: 'CC"):
        gap_law(read, range(1, 4), [], L)
    with pytest.raises(ValueError, match="has 2 gaps, got lengths for 1"):
        gap_law(read, [range(1, 2)], [], 12)
    with pytest.raises(ValueError, match="no training row is as long .* expected 6 tokens"):
        gap_law(read, None, [1, 1, 1], L)
    with pytest.raises(ValueError, match="at least 7 tokens with its end, the model takes at"):
        gap_law(read, None, [], 6)


# ---------------------------------------------------------------- rows


@pytest.mark.parametrize("kind", ["masked", "autoregressive"])
def test_several_gaps_are_written_and_all_else_is_kept(kind):
    x = engine(kind).infill(Asked("C[*]N[*]C", 40, [range(1, 2), range(1, 3)], 30), seeded(0))
    texts = [VOCABULARY.decode(row) for row in x.ids]
    assert {len(t) for t in texts} == {5, 6} and len(set(texts)) > 5
    for t in texts:
        assert t[0] == "C" and t[2] == "N" and t[-1] == "C" and set(t) <= {"C", "N"}


def test_two_gaps_left_to_right_follow_their_posterior():
    e, n = engine(), 400
    x = e.infill(Asked("C[*]N[*]C", n, [[1], [1]], 60), seeded(0))
    fillings = list(product("CN", repeat=2))
    rows = encode_rows(VOCABULARY, [f"C{a}N{b}C" for a, b in fillings], L)
    p = torch.stack([left_to_right(e, row)[1:6].sum() for row in rows]).softmax(0)
    texts = [VOCABULARY.decode(row) for row in x.ids]
    found = torch.tensor([texts.count(f"C{a}N{b}C") / n for a, b in fillings])
    z = (found - p) / (p * (1 - p) / n).sqrt()
    assert z.abs().max() < 4 and found.sum() == pytest.approx(1)


def test_single_open_tokens_are_written_in_place():
    x = engine("masked").infill(Asked("C?N?", 400, range(1, 9), 1), seeded(0))
    texts = {VOCABULARY.decode(row) for row in x.ids}
    assert texts == {"CCNC", "CCNN", "CNNC", "CNNN"}


@pytest.mark.parametrize("kind", ["masked", "autoregressive", "block"])
def test_the_text_around_the_gap_is_kept(kind):
    x = engine(kind).infill(Asked("CN[*]NNC", 40, range(1, 3), 20), seeded(0))
    assert x.ids.shape == (40, L)
    lengths = set()
    for row in x.ids.tolist():
        n = row.index(EOS, 6)  # behind the shortest gap and the text on both sides
        gap = n - 5
        lengths.add(gap)
        assert row[:2] == [2, 3] and row[n - 3 : n + 1] == [3, 3, 2, EOS]
        assert not any(row[n + 1 :]) and VOCABULARY.mask_id not in row
        text = VOCABULARY.decode(row)
        assert text.startswith("CN") and text.endswith("NNC") and len(text) == n
    assert lengths == {1, 2}


def test_a_left_to_right_infilling_follows_its_posterior():
    e, n = engine(), 400
    x = e.infill(Asked("C[*]NC", n, [2], 60), seeded(0))
    fillings = ["".join(s) for s in product("CN", repeat=2)]
    rows = encode_rows(VOCABULARY, [f"C{s}NC" for s in fillings], L)
    log_p = torch.stack([left_to_right(e, row)[1:6].sum() for row in rows])
    p = log_p.softmax(0)
    texts = [VOCABULARY.decode(row)[1:3] for row in x.ids]
    found = torch.tensor([texts.count(s) / n for s in fillings])
    assert found.sum() == pytest.approx(1)
    z = (found - p) / (p * (1 - p) / n).sqrt()
    assert z.abs().max() < 4
    blind = torch.stack([left_to_right(e, row)[1:3].sum() for row in rows]).softmax(0)
    assert (blind - p).abs().max() > 0.1  # the suffix matters here, so the test could fail


@torch.no_grad()
def test_a_masked_infilling_follows_its_conditionals():
    e, n = engine("masked"), 3000
    x = e.infill(Asked("C[*]NC", n, [1], 1), seeded(0))
    canvas = torch.tensor([[2, VOCABULARY.mask_id, 3, 2, EOS, PAD, PAD, PAD]])
    p = e.network.log_probs(e.network.bidirectional(canvas))[0, 1].exp()
    assert p[:2].sum() > 0.1  # of EOS and PAD, which would cut off what is given behind the gap
    p[:2] = 0
    p /= p.sum()
    found = x.ids[:, 1].bincount(minlength=len(p)) / n
    assert found[:2].sum() == 0
    z = ((found - p) / (p * (1 - p) / n).sqrt())[2:-1]
    assert z.abs().max() < 4


def test_drafts_are_drawn_at_the_temperature_of_their_weights():
    asked = Asked("C[*]NC", 20, [2], 10)
    a, b = (engine(temperature=t).infill(asked, seeded(0)).ids for t in (1.0, 0.2))
    assert torch.equal(a, b)


def test_infill_errors():
    e = engine()
    with pytest.raises(ValueError, match=r"has \[\*\] where .* got neither in 'CC'"):
        e.infill(Asked("CC", 1, [1], 1), seeded(0))
    with pytest.raises(ValueError, match="gap of 6 tokens has 9 tokens .* at most 8"):
        e.infill(Asked("C[*]N", 1, range(1, 7), 1), seeded(0))
    with pytest.raises(ValueError, match="unknown token 'O'"):
        e.infill(Asked("O[*]", 1, [1], 1), seeded(0))
    with torch.no_grad():  # a network that always ends at once
        e.network.norm.weight.zero_()
        e.network.head.weight.zero_()
    with pytest.raises(ScidiffError, match="drafts went on to the end of the gap, 30 are needed"):
        e.infill(Asked("C[*]N", 30, [5], 1), seeded(0))


def test_drafts_take_no_settings_that_bend_them():
    with pytest.raises(ValueError, match="only condition can be set, got temperature"):
        engine().infill(Asked("C[*]N", 1, [1], 1), seeded(0), temperature=0.5)
    warm = engine("masked").infill(Asked("C[*]N", 400, [1], 1), seeded(0), temperature=0.05)
    assert len({VOCABULARY.decode(row) for row in warm.ids}) == 1


def test_rows_without_weight_are_never_drawn():
    log_w = torch.tensor([0.0, -1.0, float("-inf"), float("-inf")], dtype=torch.float64)
    for j in range(200):
        assert sorted(gumbel_top(log_w, 2, seeded(j)).tolist()) == [0, 1]
    first = torch.stack([gumbel_top(log_w, 1, seeded(j)) for j in range(2000)]).double().mean()
    p = 1 / (1 + torch.e)
    assert abs(float(first) - p) < 4 * (p * (1 - p) / 2000) ** 0.5


# ---------------------------------------------------------------- as it is typed


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    folder = tmp_path_factory.mktemp("m")
    return Model(write_tiny_model(folder / "m", length_counts=[0, 0, 0, 0, 0, 0, 1, 2]))


def test_gaps_as_they_are_typed(model):
    one = model.infill("C[*]N", 30, gap=(2, 3))
    assert {len(t) for t in one.texts} == {4, 5} and one.provenance["gap"] == [2, 3]
    each = model.infill("C[*]N[*]", 30, gap=[(2, 2), (1, 3)])
    assert {len(t) for t in each.texts} == {5, 6, 7} and each.provenance["gap"] == [[2, 2], [1, 3]]
    law = model.infill("C[*]N[*]", 60, gap=None)
    assert {len(t) for t in law.texts} == {6, 7} and law.provenance["gap"] is None
    assert all(t[0] == "C" and "N" in t[2:] for t in law.texts)


def test_wrong_gaps(model):
    for gap in ((0, 3), (4, 3), [(1, 2), (3, 1)], [(1, 2, 3), (1, 2)], (1, 2, 3)):
        with pytest.raises(ValueError, match=r"gap must be \(low, high\) with 0 < low <= high"):
            model.infill("C[*]", gap=gap)
