"""Logos: information against the formula, and what is drawn of it."""

import numpy as np
import pytest

from scidiff.api.results import SampleResult
from scidiff.data.alphabets import DNA, PEPTIDE, RNA
from scidiff.data.records import Record
from scidiff.evaluation.logos import alphabet_of, information, logo


def test_information_is_log2_V_less_entropy_and_correction():
    rows = ["AC", "AG", "AC", "AT"]
    heights = information(rows, DNA)
    correction = 3 / (2 * np.log(2) * 4)
    assert heights[0] == pytest.approx([2 - correction, 0, 0, 0])
    p = np.array([0, .5, .25, .25])
    assert heights[1] == pytest.approx(p * max(2 - 1.5 - correction, 0))


def test_the_correction_takes_off_what_chance_gives():
    rng = np.random.default_rng(0)
    seen = [information(["".join(r) for r in rng.choice(list("ACGT"), (200, 50))], DNA).sum(1)
            for _ in range(10)]
    # Schneider's correction is exact to first order; cut at 0, what is left is a fraction of it
    assert np.mean(seen) < 3 / (2 * np.log(2) * 200) / 2


def test_positions_that_few_rows_reach_count_those_rows_alone():
    heights = information(["AA", "AA", "A", "A"], DNA)
    assert heights[:, 0] == pytest.approx([2 - 3 / (2 * np.log(2) * n) if n > 2 else 2 - 1.082
                                           for n in (4, 2)], abs=1e-3)
    assert not information(["AAA", "A"], DNA)[1].any()  # one row says nothing


def test_a_single_row_and_none_say_nothing():
    assert not information(["WWW"], PEPTIDE).any()


def test_the_alphabet_is_the_smallest_that_writes_all():
    assert alphabet_of(["ACGT"]) is DNA and alphabet_of(["ACGU"]) is RNA
    assert alphabet_of(["ACGW", "AC"]) is PEPTIDE


def test_a_panel_a_group_on_one_scale():
    picture = logo({"x": ["ACGT"] * 40, "y": ["ACGT", "CAAA"] * 20}, DNA)
    first, second = picture.axes
    heights = information(["ACGT"] * 40, DNA).sum(1)
    assert first.get_ylim() == second.get_ylim() == (0, pytest.approx(1.05 * heights.max()))
    assert first.get_title(loc="left") == "x  (n = 40)"
    assert len(first.patches) == 4
    tops = [p.get_extents().y1 for p in first.patches]
    assert max(tops) - min(tops) < 1e-6  # every position says the same
    box = first.patches[0].get_path().get_extents()
    assert box.height == pytest.approx(heights[0]) and box.width == pytest.approx(0.92)


def test_the_most_frequent_letter_stands_on_top():
    picture = logo({"x": ["A"] * 30 + ["C"] * 10}, DNA)
    low, high = (p.get_path().get_extents() for p in picture.axes[0].patches)
    assert low.y1 == pytest.approx(high.y0) and high.height == pytest.approx(3 * low.height)


def test_a_part_keeps_its_positions():
    picture = logo({"x": ["ACGTACGT"] * 30}, DNA, positions=(3, 5))
    assert picture.axes[0].get_xlim() == (2.5, 5.5) and len(picture.axes[0].patches) == 3
    with pytest.raises(ValueError, match="within 1 and 8, got 3 to 9"):
        logo({"x": ["ACGTACGT"]}, DNA, positions=(3, 9))
    with pytest.raises(ValueError, match="at least one sequence"):
        logo({}, DNA)


def sequences(texts, columns=None):
    valid = [set(t) <= set("ACGT") for t in texts]
    records = [Record(t, None, ok, "" if ok else "letter")
               for t, ok in zip(texts, valid, strict=True)]
    return SampleResult(records, kind="sequence", provenance={}, columns=columns)


def test_results_draw_logos_of_their_valid_rows():
    result = sequences(["ACGT", "ACGA", "ACGT", "A?GT"], {"cell": ["k", "h", "k", "h"]})
    assert result.plot.logo().png()
    titles = [a.get_title(loc="left") for a in result.plot.logo(by="cell").axes]
    assert titles == ["k  (n = 2)", "h  (n = 1)"]
    with pytest.raises(ValueError, match="no column 'cel'; did you mean 'cell'"):
        result.plot.logo(by="cel")
