"""Suites of RNA and peptides: names, floors, copies; sets that are made to differ in one law."""

import math

import numpy as np
import pytest

from scidiff.api.entry import evaluate
from scidiff.core import ScidiffError

RESIDUES = "ACDEFGHIKLMNPQRSTVWY"


def words(n, length, letters, seed=0, weights=None):
    rng = np.random.default_rng(seed)
    sizes = rng.integers(length[0], length[1] + 1, n)
    return ["".join(rng.choice(list(letters), int(size), p=weights)) for size in sizes]


@pytest.fixture(scope="module")
def rna():
    return words(60, (30, 30), "ACGU"), words(200, (30, 30), "ACGU", 1)


@pytest.fixture(scope="module")
def peptides():
    return words(60, (8, 20), RESIDUES), words(200, (8, 20), RESIDUES, 1)


def test_rna_has_kmers_gc_copies_and_classifiers_beside_their_floors(rna):
    own, held = rna
    train = words(300, (30, 30), "ACGU", 2)
    report = evaluate([*own, train[0], "ACGN"], "rna", reference=held, train=train)
    names = {m.name for m in report}
    laws = {*(f"kmer{k}_js_sqrt_nats" for k in range(1, 7)), "kmer3_pearson", "length_ks",
            "position_js_sqrt_nats", "nearest_train_hamming", "copied_hamming"}
    assert laws | {f"{law}_floor" for law in laws} <= names
    assert any(n.startswith("gc") for n in names)
    assert {"discriminator_auroc_cnn", "discriminator_auroc_kmer"} <= names
    assert report["valid"].value == pytest.approx(61 / 62)
    assert report["copied_hamming"].value == pytest.approx(1 / 61)
    assert report["novelty"].value == pytest.approx(60 / 61)
    assert report["length_ks"].value == 0
    assert "'N' at position 4 (IUPAC for A or C or G or U)" in "\n".join(report.notes)


def test_a_law_grows_where_rna_differs_in_it(rna):
    own, held = rna
    richer = words(60, (30, 30), "ACGU", 3, [0.1, 0.4, 0.4, 0.1])
    a, b = (evaluate(rows, "rna", reference=held) for rows in (own, richer))
    for name in ("kmer1_js_sqrt_nats", "kmer3_js_sqrt_nats", "gc_w1"):
        assert b[name].value > 3 * a[name].value
    assert b["discriminator_auroc_kmer"].low > 0.8 > a["discriminator_auroc_kmer"].value


def test_dna_letters_are_read_as_rna(rna):
    own, held = rna
    a = evaluate(own, "rna", reference=held)
    b = evaluate([s.replace("U", "t") for s in own], "rna", reference=held)
    assert [m.value for m in a] == pytest.approx([m.value for m in b], nan_ok=True)


def test_peptides_have_composition_charge_hydropathy_and_moment(peptides):
    own, held = peptides
    report = evaluate(own, "peptide", reference=held, train=words(100, (8, 20), RESIDUES, 2))
    for name in ("charge_w1", "gravy_w1", "moment_w1"):
        assert 0 < report[name].value < 1 and f"{name}_floor" in {m.name for m in report}
    assert report["nearest_train_edit"].value > 0.5 and report["copied_edit"].value == 0
    cationic = [s[:-3] + "KRK" for s in own]
    changed = evaluate(cationic, "peptide", reference=held)
    # three residues of mean charge 0 become three of charge 1
    assert changed["charge_w1"].value == pytest.approx(3, abs=0.5)
    assert changed["kmer1_js_sqrt_nats"].value > report["kmer1_js_sqrt_nats"].value


@pytest.mark.parametrize("suite, letters", [("rna", "ACGU"), ("peptide", RESIDUES)])
def test_there_is_no_default_reference_and_nothing_is_no_set(suite, letters, tmp_path):
    rows = words(5, (10, 10), letters)
    with pytest.raises(ValueError, match=f"suite '{suite}' needs a reference: a file, seq"):
        evaluate(rows, suite)
    with pytest.raises(ValueError, match="has no valid .* sequence to compare with"):
        evaluate(rows, suite, reference=["123"])
    with pytest.raises(ScidiffError, match="there is nothing to evaluate: 0 rows"):
        evaluate([], suite, reference=rows)
    report = evaluate(["1", ""], suite, reference=rows)
    assert report["valid"].value == 0 and math.isnan(report["kmer1_js_sqrt_nats"].value)
