"""Suggestions at the end of messages."""

from scidiff.messages import closest, in_a_line, listed, nearest


def test_the_nearest_name_is_suggested_in_its_own_spelling() -> None:
    assert nearest("herg", ["hERG", "BBB"]) == "; did you mean 'hERG'?"
    assert nearest("SMILE", ["id", "smiles"]) == "; did you mean 'smiles'?"


def test_nothing_is_suggested_that_is_not_alike() -> None:
    assert nearest("xyz", ["qed", "sa"]) == "" and nearest(5, ["qed"]) == ""
    assert nearest("qed", []) == ""


def test_several_names_come_best_first() -> None:
    assert closest("pains", ["pains_b", "nih", "pains"], most=2) == ["pains", "pains_b"]
    assert nearest("painz", ["pains", "pains_a"], most=2) == "; did you mean 'pains' or 'pains_a'?"


def test_errors_and_long_lists_fit_a_line() -> None:
    assert in_a_line(ValueError("two\n  lines")) == "ValueError: two lines"
    assert listed("abc") == "a, b, c"
    assert listed(map(str, range(1234)), 2) == "0, 1, ... (1,234 in all)"
