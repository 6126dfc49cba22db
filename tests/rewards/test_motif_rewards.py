"""Motifs: scores by hand, the law of a score by enumeration, both strands, spacing, JASPAR."""

import itertools
import math
from pathlib import Path

import numpy as np
import pytest
import torch

from scidiff.core import seeded, uniform
from scidiff.data.strands import reverse_complement
from scidiff.rewards.combine import reward
from scidiff.rewards.matrices import GRID, Matrix, MotifError, encode_bases, matrix, read_matrix
from scidiff.rewards.motifs import Motif, MotifPair
from scidiff.testing import check_reward

COUNTS = np.array([[80, 5, 5, 0], [0, 9, 90, 1], [20, 20, 25, 35], [0, 10, 90, 0], [10, 88, 1, 1]])
BOX = "AGTGC"  # its best site


@pytest.fixture
def files(tmp_path: Path) -> dict[str, str]:
    """Two motifs as files: of 5 letters, and TATAA nearly for certain."""
    rows = {base: " ".join(map(str, COUNTS[:, i])) for i, base in enumerate("ACGT")}
    (tmp_path / "box.jaspar").write_text(
        ">X1 box\n" + "".join(f"{b} [ {r} ]\n" for b, r in rows.items()))
    tata = [[99 * (x == b) for x in "TATAA"] for b in "ACGT"]
    (tmp_path / "tata.pfm").write_text("".join(" ".join(map(str, r)) + "\n" for r in tata))
    return {name: str(tmp_path / name) for name in ("box.jaspar", "tata.pfm")}


def random_dna(n, size, seed=0):
    return ["".join("ACGT"[int(i)] for i in row * 4) for row in uniform((n, size), seeded(seed))]


def test_scores_by_hand():
    m = Matrix.of("x", COUNTS)
    n = COUNTS.sum(1, keepdims=True)
    expected = np.log2((COUNTS + np.sqrt(n) / 4) / (n + np.sqrt(n)) / 0.25)
    assert np.abs(m.weights.numpy() - expected).max() <= GRID / 2
    sequences = ["TT" + BOX + "A", BOX, "ACG"]
    scores = m.scan(sequences)
    assert scores.shape == (3, 2, 4)
    for b, s in enumerate(sequences):
        for i in range(4):
            for strand, site in enumerate((s[i : i + 5], reverse_complement(s[i : i + 5]))):
                value = sum(float(m.weights[j, "ACGT".index(c)]) for j, c in enumerate(site))
                assert float(scores[b, strand, i]) == pytest.approx(
                    value if len(site) == 5 else -math.inf, abs=1e-9)
    assert m.high == pytest.approx(float(scores[1, 0, 0]), abs=1e-9) and m.low < 0


def test_the_law_of_a_score_is_that_of_all_words():
    m = Matrix.of("x", COUNTS)
    words = ["".join(w) for w in itertools.product("ACGT", repeat=5)]
    every = m.scan(words)[:, 0, 0]
    scores, tail = m.law
    for at in range(0, len(scores), 501):
        assert float(tail[at]) == pytest.approx(
            float((every > float(scores[at]) - GRID / 2).double().mean()), abs=1e-12)
    for p in (1 / 1024, 0.01, 0.1, 0.5):
        t = m.threshold(p)
        assert float((every > t - GRID / 2).double().mean()) <= p
        assert float((every > t - 1.5 * GRID).double().mean()) > p
    assert m.threshold(1e-9) == pytest.approx(m.high, abs=1e-9)


def test_measures(files):
    path = files["box.jaspar"]
    sequences = ["TT" + BOX + "TT", "TT" + reverse_complement(BOX), BOX + BOX, "CCCC", "A"]
    hits, best = Motif(path, "hits", p_value=1e-3), Motif(path, "best")
    assert hits(sequences) == [1, 1, 2, 0, 0]
    assert best(sequences)[:2] == pytest.approx([best.matrix.high] * 2)
    assert math.isnan(best(sequences)[4]) and best.floor == best.matrix.low
    assert Motif(path, "hits", "forward", p_value=1e-3)(sequences) == [1, 0, 2, 0, 0]
    found = Motif(path, p_value=1e-3)
    scores, t = found.matrix.scan(sequences), found.matrix.threshold(1e-3)
    expected = 1 - torch.prod(1 / (1 + 2 ** (scores - t)).flatten(1), 1)
    assert found(sequences) == pytest.approx(expected.tolist(), abs=1e-12)
    assert found(sequences)[4] == 0 and found.bounds == (0, 1)


@pytest.mark.parametrize("measure", ["occupancy", "hits", "best"])
def test_both_strands_are_one_object(files, measure):
    made, texts = Motif(files["box.jaspar"], measure), random_dna(20, 60)
    assert made(texts) == pytest.approx(made([reverse_complement(t) for t in texts]), abs=1e-9)
    check_reward(made, texts)


def test_hits_of_random_sequence_are_as_rare_as_asked(files):
    made, texts = Motif(files["tata.pfm"], "hits", "forward", p_value=0.01), random_dna(400, 104)
    _, tail = made.matrix.law
    p = float(tail[tail <= 0.01].max())
    count, places = sum(made(texts)), 400 * 100
    assert abs(count - p * places) < 4 * math.sqrt(p * places * 1.5)  # sites overlap


def test_pairs_at_a_spacing(files):
    box, tata = files["box.jaspar"], files["tata.pfm"]

    def at(gap, left=BOX, right="TATAA"):
        return "C" * 3 + left + "C" * gap + right + "C" * 3

    near = MotifPair(box, tata, 4, 6)
    values = near([at(g) for g in (3, 4, 6, 7)])
    assert min(values[1:3]) > 0.45 > 0.2 > max(values[0], values[3])
    q = [1 / (1 + 2 ** (m.threshold(1e-4) - m.high)) for m in near.matrices]
    assert values[1] == pytest.approx(math.sqrt(q[0] * q[1]), abs=1e-6)
    turned = reverse_complement(at(5))
    assert near([turned]) == pytest.approx(near([at(5)]))
    first = MotifPair(box, tata, 4, 6, "first")
    assert first([at(5)])[0] > 0.45 > 0.2 > first([at(5, "TATAA", BOX)])[0]
    assert near([at(5, "TATAA", BOX)])[0] > 0.45
    same = MotifPair(box, tata, 4, 6, orientation="same")
    crossed = at(5, BOX, reverse_complement("TATAA"))
    other = MotifPair(box, tata, 4, 6, orientation="opposite")
    assert other([crossed])[0] > 0.45 > 0.2 > same([crossed])[0]
    assert near(["A", "ACGT"]) == [0, 0]
    check_reward(near, [at(5), turned, *random_dna(5, 30)])


@pytest.mark.parametrize("made, message", [
    (lambda f: Motif("GATA1"), "neither a file nor a JASPAR identifier"),
    (lambda f: Motif(f, "sum"), "measure must be one of occupancy, hits, best, got 'sum'"),
    (lambda f: Motif(f, strands="max"), "strands must be one of both, forward"),
    (lambda f: Motif(f, p_value=0), r"p_value must be in \(0, 1\), got 0"),
    (lambda f: MotifPair(f, f, 5, 4), "0 <= low <= high, got 5 to 4"),
    (lambda f: MotifPair(f, f, 0, 4, "last"), "order must be one of any, first"),
])
def test_wrong_parameters(files, made, message):
    with pytest.raises(ValueError, match=message):
        made(files["box.jaspar"])


def test_wrong_files_and_letters(tmp_path):
    (tmp_path / "a.pfm").write_text("1 2\n1 2\n1\n1 2\n")
    with pytest.raises(MotifError, match="a.pfm: expected four lines .* got lines of 2, 2, 1, 2"):
        read_matrix(tmp_path / "a.pfm")
    with pytest.raises(MotifError, match="not all 0 in a position"):
        Matrix.of("x", [[0, 0, 0, 0]])
    with pytest.raises(ValueError, match="read in DNA: 'U' at position 2"):
        Matrix.of("x", COUNTS).scan(["AUG"])
    assert encode_bases(["ACGT", "T"]).tolist() == [[0, 1, 2, 3], [3, -1, -1, -1]]
    assert encode_bases([]).shape == (0, 0)


def test_jaspar_by_identifier():
    pytest.importorskip("pyjaspar", reason="needs the extra motifs: pip install 'scidiff[motifs]'")
    gata = matrix("MA0035.5")
    site, other = gata.scan(["AGATAAG", "CCCCCCC"]).amax((1, 2)).tolist()
    assert len(gata) == 7 and site > 0.8 * gata.high and other < 0
    ctcf = Motif("MA0139.2")
    assert 10 < len(ctcf.matrix) < 25 and ctcf.matrix.high > 15
    formula = reward("motif('MA0035.5') + motif_pair('MA0035.5', 'MA0139.2', 0, 30)")
    high, low = formula(["C" * 15 + "AGATTAG" + "C" * 15, "C" * 37])
    assert high > 0.5 > 0.05 > low and formula.floor == 0
    with pytest.raises(MotifError, match="JASPAR2026 has no motif 'MA9999.1'"):
        matrix("MA9999.1")


def test_sites_are_found_where_they_were_measured(shared_data):
    """CTCF binds in CTCF's ChIP-seq peaks more than in those of PU.1."""
    pytest.importorskip("pyjaspar", reason="needs the extra motifs: pip install 'scidiff[motifs]'")
    from scidiff.data.tables import read

    table = read(shared_data / "dna_chip_ctcf_pu1_100bp.csv.gz")
    rows = list(zip(table.objects(), table.values("set"), strict=True))[::200]
    bound = Motif("MA0139.2", "hits")([s for s, _ in rows])
    share = {name: np.mean([b > 0 for b, (_, n) in zip(bound, rows, strict=True) if n == name])
             for name in {n for _, n in rows}}
    assert share["ctcf"] > 0.5 > 0.1 > min(share.values())
