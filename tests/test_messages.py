"""Suggestions at the end of messages."""

from scidiff.messages import closest, nearest


def test_the_nearest_name_is_suggested_in_its_own_spelling() -> None:
    assert nearest("herg", ["hERG", "BBB"]) == "; did you mean 'hERG'?"
    assert nearest("SMILE", ["id", "smiles"]) == "; did you mean 'smiles'?"


def test_nothing_is_suggested_that_is_not_alike() -> None:
    assert nearest("xyz", ["qed", "sa"]) == "" and nearest(5, ["qed"]) == ""
    assert nearest("qed", []) == ""


def test_several_names_come_best_first() -> None:
    assert closest("pains", ["pains_b", "nih", "pains"], most=2) == ["pains", "pains_b"]
    assert nearest("painz", ["pains", "pains_a"], most=2) == "; did you mean 'pains' or 'pains_a'?"
