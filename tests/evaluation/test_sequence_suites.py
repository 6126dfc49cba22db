"""The suites of sequences: every number beside its definition, floors, copies, bad rows."""

import math

import numpy as np
import pytest
from scipy.spatial.distance import jensenshannon
from scipy.stats import wasserstein_distance

import scidiff as sd
from scidiff.core import ScidiffError
from scidiff.data.alphabets import DNA
from scidiff.data.strands import reverse_complement
from scidiff.evaluation import motif_spectrum, sequences
from scidiff.evaluation.motif_spectrum import P_VALUE, _threshold, motif_sites
from scidiff.evaluation.sequence_sets import SequenceSet, sequence_set
from scidiff.evaluation.sequences import SequenceSuite, copies, letter_laws, property_law
from scidiff.evaluation.suites.dna import DNA_SUITE
from scidiff.rewards.matrices import GRID, Matrix
from scidiff.rewards.sequences import gc

EVEN, ODD = [.25] * 4, [.4, .2, .2, .2]


def rows(n, p, seed, length=40):
    rng = np.random.default_rng(seed)
    return ["".join(row) for row in rng.choice(list("ACGT"), (n, length), p=p)]


def frequencies(texts, k):
    words = [t[i:i + k] for t in texts for i in range(len(t) - k + 1)]
    return np.array([words.count(a + b) for a in "ACGT" for b in "ACGT"])


def small(**other):
    """The DNA suite without its motifs, which take seconds."""
    return SequenceSuite("small", DNA, lambda: [
        *letter_laws(DNA.letters, 2), property_law("gc", "the GC share", gc)], **other)


@pytest.fixture(scope="module")
def report():
    own, real, train = rows(60, ODD, 0), rows(80, EVEN, 1), rows(90, EVEN, 2)
    found = small(strands=True).measure(
        [*own, own[0], "ACGN", ""], reference=SequenceSet("held-out", tuple(real)),
        train=SequenceSet("seen", tuple(train)))
    return found, [*own, own[0]], real, train


def test_invalid_rows_count_and_do_not_enter(report):
    found, own, *_ = report
    assert found["valid"].value == pytest.approx(61 / 63)
    assert found.provenance["rows"] == 63 and found.provenance["valid"] == 61


def test_laws_are_their_definitions(report):
    found, own, real, train = report
    assert found["kmer2_js_sqrt_nats"].value == pytest.approx(
        jensenshannon(frequencies(own, 2), frequencies(real, 2)))
    assert found["gc_w1"].value == pytest.approx(wasserstein_distance(gc(own), gc(real)))
    assert found["length_ks"].value == 0
    assert found["novelty"].value == 1


def test_a_floor_is_what_as_many_training_rows_score(report):
    found, own, real, train = report
    some = [train[i] for i in sequences.evenly(90, 61)]
    floor = found["kmer2_js_sqrt_nats_floor"]
    assert floor.n == 61 and floor.value == pytest.approx(
        jensenshannon(frequencies(some, 2), frequencies(real, 2)))
    assert floor.value < found["kmer2_js_sqrt_nats"].value
    assert found["discriminator_auroc_kmer_floor"].low < 0.5


def test_the_nearest_training_row_is_looked_for_on_both_strands():
    train = rows(50, EVEN, 2)
    near = "A" * 3 + train[4][3:]
    other = [near, reverse_complement(train[7]), rows(1, EVEN, 5)[0]]
    sets = SequenceSet("held-out", tuple(rows(20, EVEN, 1))), SequenceSet("seen", tuple(train))
    for strands, copied in ((True, 2), (False, 1)):
        found = {m.name: m for m in copies(other, *sets, "ACGT", strands)}
        assert found["copied_hamming"].value == pytest.approx(copied / 3)
        assert found["copied_hamming_floor"].value == 0
        assert found["copied_hamming_floor"].n == 20
        assert found["copied_pieces"].value == pytest.approx(copied / 3)


def test_rows_that_are_shifted_or_cut_are_copies_by_their_pieces():
    train = rows(50, EVEN, 2)
    sets = SequenceSet("held-out", tuple(rows(20, EVEN, 1))), SequenceSet("seen", tuple(train))
    found = {m.name: m for m in copies([train[3][5:35], train[4][10:] + "ACG"], *sets, "ACGT",
                                       False)}
    assert "copied_hamming" not in found and found["copied_pieces"].value == 1


def test_without_training_rows_there_are_no_floors_and_it_is_said():
    real = SequenceSet("held-out", tuple(rows(30, EVEN, 1)))
    found = small().measure(rows(20, EVEN, 0), reference=real)
    assert not [m.name for m in found if m.name.endswith("_floor")]
    assert "train=" in found["nearest_train"].note


def test_a_suite_without_a_reference_asks_for_one():
    with pytest.raises(ValueError, match="'small' needs a reference"):
        small().measure(["ACGT"])
    with pytest.raises(ValueError, match="no valid DNA sequence"):
        sequence_set(["ACGX"], DNA)


def test_no_valid_row_leaves_every_law_undefined():
    real = SequenceSet("held-out", tuple(rows(30, EVEN, 1)))
    found = small().measure(["ACGX"], reference=real, train=real)
    assert math.isnan(found["gc_w1"].value) and found["valid"].value == 0


def test_sets_are_read_from_data_sets_files_and_lists(tmp_path):
    file = tmp_path / "x.fasta"
    file.write_text(">a\nACGT\n>b\nacgtt\n>c\nACGX\n")
    assert sequence_set(file, DNA).sequences == ("ACGT", "ACGTT")
    assert sequence_set(["acgt"], DNA).contains(["ACGT", "ACG"]).tolist() == [True, False]
    held = sequence_set("enhancers:test", DNA)
    assert len(held.sequences) == 4_565 and held.name == "enhancers:test"


def test_dna_is_evaluated_by_name(monkeypatch):
    monkeypatch.setattr(motif_spectrum, "ROWS", 10)
    monkeypatch.setattr(motif_spectrum, "vertebrate_motifs", some_motifs)
    found = sd.evaluate(rows(20, EVEN, 0), suite="dna", reference=rows(25, ODD, 1))
    names = [m.name for m in found]
    assert {f"kmer{k}_js_sqrt_nats" for k in range(1, 7)} < set(names)
    assert {"gc_w1", "kmer3_pearson", "position_js_sqrt_nats"} < set(names)
    assert math.isnan(found["discriminator_auroc_cnn"].value)  # too few rows
    with pytest.raises(ScidiffError, match="nothing to evaluate"):
        sd.evaluate([], suite="dna", reference=["ACGT"])


def test_the_reference_of_dna_is_held_out_chromosomes():
    against, known = DNA_SUITE._sets(None, None)
    assert (against.name, known.name) == ("enhancers:test", "enhancers:training")
    assert not set(against.sequences) & set(known.sequences)


# ---------------------------------------------------------------- motifs


def some_motifs():
    rng = np.random.default_rng(0)
    return [Matrix.of(str(w), rng.integers(0, 60, (w, 4)) + np.eye(4)[rng.integers(0, 4, w)] * 90)
            for w in (6, 7, 7, 9)]


def test_sites_are_where_either_strand_scores_enough():
    motifs = some_motifs()
    best = ["".join("ACGT"[int(i)] for i in m.weights.argmax(1)) for m in motifs]
    texts = [*rows(60, EVEN, 0, 90), *(f"CA{b}GT{reverse_complement(b)}" for b in best), "ACGTA"]
    texts[-1] += best[-1][:-1]  # most of a site, and then the row ends
    found = motif_sites(texts, motifs)
    for m, column in zip(motifs, found.T, strict=True):
        enough = m.scan(texts).amax(1) >= _threshold(m) - motif_spectrum.GRID / 2
        assert column.tolist() == enough.sum(1).tolist()
    assert (found[60:64].diagonal() >= 2).all() and found[:60].any()
    turned = motif_sites([reverse_complement(t) for t in texts], motifs)
    assert np.array_equal(found, turned)


def test_the_coarse_threshold_is_the_exact_one_to_its_grid():
    for m in some_motifs():
        exact = m.threshold(P_VALUE)
        assert abs(_threshold(m) - exact) <= motif_spectrum.GRID * len(m) / 2 + GRID
