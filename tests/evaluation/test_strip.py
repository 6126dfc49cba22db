"""What stands above the rows in a notebook: numbers with their intervals, every word escaped."""

import math

from scidiff.evaluation.metric import Metric
from scidiff.evaluation.strip import metric_strip, note_lines


def test_strip_formats_shares_intervals_and_gaps() -> None:
    nan = math.nan
    strip = metric_strip([
        Metric("valid", 0.9876, 0.97, 0.99, 100, "valid rows"),
        Metric("qed", nan, nan, nan, 0, ""),
        Metric("unique@1000", 0.99975, nan, nan, 10, "", "a note")])
    assert "98.8 %" in strip and "97 % – 99 %" in strip and "–</div>" in strip
    assert "a note" in strip and "99.98 %" in strip and "nan" not in strip and "QED" in strip


def test_hostile_words_stay_words() -> None:
    made = metric_strip([Metric("<a>", 1, 0, 2, 3, "'\"<b>")]) + note_lines(["<i>x</i>"])
    assert not any(tag in made for tag in ("<a>", "<b>", "<i>", '"<'))
    assert "&lt;i&gt;x" in made and "&lt;a&gt;" in made
