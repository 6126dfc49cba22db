"""Pictures of sets: the numbers that are drawn against their definitions."""

import numpy as np
import pytest
from rdkit import Chem

from scidiff.chem.molecules import fingerprints
from scidiff.data.alphabets import DNA
from scidiff.evaluation.diversity import circles, diversity, diversity_by_size
from scidiff.evaluation.kmer_plots import kmer, word
from scidiff.evaluation.likeness import similarities
from scidiff.evaluation.neighbours import internal_diversity, nearest_similarity
from scidiff.evaluation.scaffold_plots import scaffold_counts, scaffolds

SMILES = ["CCO", "c1ccccc1O", "CC(=O)Nc1ccc(O)cc1", "CCN", "C1CCCCC1C", "Cc1ccccc1",
          "c1ccc2ccccc2c1"]
MOLS = [Chem.MolFromSmiles(s) for s in SMILES]
OTHERS = [Chem.MolFromSmiles(s) for s in ("CCCO", "c1ccccc1N")]


def test_diversity_of_the_first_rows_is_the_metric() -> None:
    found = diversity_by_size(similarities(MOLS, MOLS, "molecule"), [2, 5, 7])
    exact = [internal_diversity(fingerprints(MOLS[:n]))[0] for n in (2, 5, 7)]
    assert found == pytest.approx(exact, abs=1e-6)
    drawn = diversity(MOLS, "molecule").axes[0].lines[0].get_ydata()
    assert drawn[-1] == pytest.approx(exact[-1], abs=1e-6)


def _packed(similar, threshold) -> bool:
    """Whether all chosen rows can be more than a distance apart: by trying all sets."""
    from itertools import combinations

    n = len(similar)
    apart = 1 - similar > threshold
    return max(k for k in range(1, n + 1) for rows in combinations(range(n), k)
               if all(apart[i, j] for i, j in combinations(rows, 2)))


@pytest.mark.parametrize("threshold", [0.0, 0.3, 0.75, 0.9, 1.0])
def test_circles_are_a_packing_and_at_most_the_largest(threshold: float) -> None:
    similar = similarities(MOLS, MOLS, "molecule")
    found = circles(similar, threshold)
    most = _packed(similar, threshold)
    assert 1 <= found <= most and (threshold < 1 or found == 1)
    order = np.argsort(similar.sum(1))  # the loneliest first packs best
    assert circles(similar[np.ix_(order, order)], threshold) == most


def test_circles_of_a_line_of_points() -> None:
    at = np.arange(10) / 10
    similar = 1 - np.abs(at[:, None] - at)
    assert [circles(similar, t) for t in (0.0, 0.05, 0.25, 0.95)] == [10, 10, 4, 1]


def test_the_nearest_are_those_of_the_metric() -> None:
    axes = diversity(MOLS, "molecule", OTHERS).axes[2]
    outside = nearest_similarity(fingerprints(MOLS), fingerprints(OTHERS))
    assert axes.lines[0].get_xdata() == pytest.approx(np.sort(outside), abs=1e-6)
    within = nearest_similarity(fingerprints(MOLS), fingerprints(MOLS), itself=True)
    assert axes.lines[1].get_xdata() == pytest.approx(np.sort(within), abs=1e-6)
    assert f"reference {np.median(outside):.2f}" in axes.get_legend().get_texts()[0].get_text()


def test_one_row_has_no_diversity() -> None:
    axes = diversity(MOLS[:1], "molecule").axes
    assert all("two valid rows" in a.texts[0].get_text() for a in axes)


def test_scaffolds_are_counted_and_ranked() -> None:
    counts = scaffold_counts(MOLS)
    assert counts == {"": 2, "c1ccccc1": 3, "C1CCCCC1": 1, "c1ccc2ccccc2c1": 1}
    picture = scaffolds(MOLS, OTHERS)
    curve = picture.axes[0]
    assert curve.get_title(loc="left") == "3 scaffolds of 5 molecules, 2 without a ring"
    mine = next(line for line in curve.lines if line.get_label() == "this result")
    assert mine.get_ydata() == pytest.approx([0.6, 0.8, 1.0])
    even = next(line for line in curve.lines if line.get_label() == "all equally often")
    assert even.get_ydata() == pytest.approx([1 / 3, 2 / 3, 1])
    assert [a.texts[0].get_text() for a in picture.axes[1:]] == [
        "3 × (60 %)", "1 × (20 %)", "1 × (20 %)"]
    assert "no molecule has a ring" in scaffolds(MOLS[:1]).axes[0].texts[0].get_text()


def test_every_word_is_a_dot() -> None:
    mine, theirs = ["AAACC", "AC"], ["AACCC", "GA"]
    axes = kmer(mine, theirs, 2, DNA).axes[0]
    x, y = axes.collections[0].get_offsets().T
    # AA, AC, CC, GA of both sides: 2, 2, 1, 0 of 5 here, 1, 1, 2, 1 of 5 there; 0 at half of 1 / 5
    found = np.array(sorted(zip(x, y, strict=True)))
    assert found == pytest.approx(np.array([(0.2, 0.1), (0.2, 0.4), (0.2, 0.4), (0.4, 0.2)]))
    r = np.corrcoef([2, 2, 1, 0] + [0] * 12, [1, 1, 2, 1] + [0] * 12)[0, 1]
    assert f"Pearson r {r:.3f}" in axes.get_title(loc="left")
    assert {t.get_text() for t in axes.texts} <= {"AA", "AC", "CC", "GA"}
    assert [word(c, 3, DNA) for c in (0, 27, 63)] == ["AAA", "CGT", "TTT"]


def test_words_must_fit() -> None:
    with pytest.raises(ValueError, match="k must be between 1 and 7 for DNA, got 8"):
        kmer(["ACGT"], ["ACGT"], 8, DNA)
    assert "no sequence has 5" in kmer(["ACGT"], ["ACGT"], 5, DNA).axes[0].texts[0].get_text()
