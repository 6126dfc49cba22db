"""Rewards on DNA and RNA against counts by hand, symmetry of strands, and measured contexts."""

import math
import re

import pytest

from scidiff.data import datasets
from scidiff.data.strands import reverse_complement
from scidiff.rewards.combine import reward
from scidiff.rewards.scoring import Status
from scidiff.rewards.sequences import Kmer, StartContext, cpg, gc, length
from scidiff.testing import check_reward

DNA = ["ACGCGT", "AAAA", "CGCGCGTTAAGG", "G", "TTAAGGAAGG"]


@pytest.mark.parametrize("made", [
    length, gc, cpg, Kmer("AAGG"), Kmer("AAGG", "both"), Kmer("AC", "max", density=True)])
def test_contract(made):
    check_reward(made, DNA)
    assert made.floor == 0 and all(made.bounds[0] <= v <= made.bounds[1] for v in made(DNA))


def test_composition_by_hand():
    assert length(DNA) == [6, 4, 12, 1, 10]
    assert gc(["ACGCGT", "AAAA", "GGC", "ACGU"]) == [4 / 6, 0, 1, 0.5]
    assert cpg(["ACGCGT", "CCGG", "AAAA", "CCCC"]) == [2 * 6 / 4, 1 * 4 / 4, 0, 0]


def test_words_overlap_and_stand_on_strands():
    assert Kmer("AA")(["AAAA", "A", ""]) == [3, 0, 0]
    assert Kmer("aag", "both")(["AAGCTT"]) == [2] and Kmer("AAG", "max")(["AAGCTTAAG"]) == [2]
    assert Kmer("AAG")(["AAGCTT"]) == [1] and Kmer("ACGT", "both")(["ACGT"]) == [2]
    assert Kmer("AA", density=True)(["AAAT", "A"]) == [2 / 3, 0]
    assert Kmer("GGU")(["AGGU"]) == [1]
    text = "ACGTTGCATTGGACCA" * 3
    for made in (Kmer("GGA", "both"), Kmer("TTG", "max"), gc, cpg):
        assert made([text]) == made([reverse_complement(text)])
    assert Kmer("ACGT", "forward")([text]) == [len(re.findall("(?=ACGT)", text))]


def test_expressions_name_them():
    formula = reward("0.5*gc + kmer('AAGG', strands='both')")
    assert formula(["AAGG", "CCTT"]) == [1.25, 1.25] and formula.floor == 0
    assert reward("window(cpg, 0.6, 2.0)").floor == 0


@pytest.mark.parametrize("source, message", [
    ("kmer('AANG')", "'N' at position 3"), ("kmer('AA', 'all')", "strands must be one of forward"),
    ("kmer('AUG', 'both')", "RNA has one strand"), ("kmer('')", "an empty sequence"),
    ("start_context('G')", "after must be two letters, got 'G'"), ("kmer", "needs parameters"),
])
def test_wrong_parameters_say_what_and_where(source, message):
    with pytest.raises(ValueError, match=message) as caught:
        reward(source)
    assert "position 1 of" in str(caught.value) and "\n" not in str(caught.value)


def test_start_contexts_are_the_measured_table(shared_data):
    table = datasets.load("tis")
    rows = list(zip(table.objects(), table.numbers("efficiency").tolist(), strict=True))[::997]
    for context, efficiency in rows:
        made = StartContext(after=context[-2:])
        assert made(["GGG" + context[:6], context[:6].replace("U", "T")]) == [efficiency] * 2
        assert made.bounds[0] <= efficiency <= made.bounds[1]
    assert StartContext()(["UUCAUC"]) == [132] and math.isnan(StartContext()(["CCACC"])[0])
    kozak, worst = StartContext()(["GCCACC", "CUUUUU"])
    assert kozak > 80 > worst
    check_reward(StartContext("GG"), ["GCCACC", "AAAAAACC", "UUUUUU"])


def test_without_the_table_the_command_is_named(tmp_path, monkeypatch):
    from scidiff.rewards import sequences

    monkeypatch.setenv("SCIDIFF_CACHE", str(tmp_path))
    monkeypatch.delenv("SCIDIFF_DATA", raising=False)
    sequences._start_contexts.cache_clear()
    with pytest.raises(datasets.DatasetError, match="scidiff data get tis"):
        StartContext()(["GCCACC"])


def test_a_short_utr_failed_and_is_not_zero(shared_data):
    scores = reward("start_context('GC')").score(["GCCACC", "CC"])
    assert scores.status.tolist() == [Status.OK, Status.FAILED]
