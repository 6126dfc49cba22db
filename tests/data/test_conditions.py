"""Named labels and numbers as rows a network reads."""

import math

import numpy as np
import pytest

from scidiff.data.conditions import Column, Conditions, per_row, unheard, varies

TOLD = {"cell": ["b", "a", "b", "c"], "load": [1.0, 2.0, 3.0, 6.0]}
KNOWN = Conditions.fit(TOLD)


def test_labels_are_one_hot_and_numbers_are_standardised_by_the_network():
    rows = KNOWN.encode(TOLD, 4)
    assert rows.dtype == np.float32
    assert rows.tolist() == [[0, 1, 0, 1], [1, 0, 0, 2], [0, 1, 0, 3], [0, 0, 1, 6]]
    assert KNOWN.names == ["cell", "load"]
    assert KNOWN.standard[:3] == ((0.0, 1.0),) * 3
    assert KNOWN.standard[3] == (3.0, pytest.approx(math.sqrt(3.5)))


def test_one_value_stands_for_every_row():
    assert KNOWN.encode({"load": 5, "cell": "c"}, 2).tolist() == [[0, 0, 1, 5]] * 2
    assert not varies({"load": 5, "cell": "c"}) and varies({"load": [5], "cell": "c"})
    assert per_row({"load": [5, 6], "cell": "c"}, 2) == {"load": [5, 6], "cell": ["c", "c"]}


def test_a_config_holds_all_of_it():
    again = Conditions.of_config(KNOWN.to_config())
    assert again == KNOWN
    assert again.columns[1].quantiles[0] == 1 and again.columns[1].quantiles[-1] == 6


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ({"cell": "a"}, "must say cell, load, load is missing"),
        ({"cell": "a", "lod": 1}, "unknown condition 'lod'; .* did you mean 'load'"),
        ({"cell": "A", "load": 1}, "must be one of a, b, c, got 'A'"),
        ({"cell": "a", "load": "much"}, "'load' must be a number, got 'much'"),
        ({"cell": "a", "load": math.nan}, "'load' must be a finite number, got nan"),
        ({"cell": "a", "load": None}, "'load' must be a finite number, got None"),
        ({"cell": {"a": 1}, "load": 1}, "must be one of a, b, c, got {'a': 1}"),
        ({"cell": "a", "load": 1, 5: 1}, "unknown condition 5; this model takes cell, load"),
        ({"cell": ["a"], "load": 1}, "'cell' must have one value or 2, got 1"),
    ],
)
def test_what_cannot_be_asked_is_named(asked, message):
    with pytest.raises(ValueError, match=message):
        KNOWN.encode(asked, 2)


def test_one_row_has_one_value():
    with pytest.raises(ValueError, match="'cell' must have one value, got 2"):
        KNOWN.encode({"cell": ["a", "b"], "load": 1}, 1)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ([1.0, None], "row 2 has no finite number"),
        ([2.0, 2.0], "is 2.0 in every row"),
        ([f"{i}" for i in range(70)], "70 different labels"),
    ],
)
def test_what_cannot_be_learnt_is_named(values, message):
    with pytest.raises(ValueError, match=message):
        Column.fit("x", values)


def test_a_number_says_its_unit_and_how_far_it_goes():
    known = Conditions.fit({"gap": [1.0, 2.5, 7.0], "cell": ["a", "b", "a"]}, {"gap": "eV"})
    assert [str(c) for c in known.columns] == ["gap (1 to 7 eV)", "cell (a, b)"]
    assert Conditions.of_config(known.to_config()) == known
    assert unheard(known, {"gap": 1.0, "cell": "a"}) == ""
    assert unheard(known, {"gap": [2.0, 7.5], "cell": "b"}) == (
        "gap = 7.5 lies outside of the training rows: gap (1 to 7 eV)"
    )


def test_columns_of_older_models_have_no_unit():
    old = [{"name": "rl", "labels": [], "mean": 1.0, "spread": 2.0, "quantiles": [0.0, 9.0]}]
    assert str(Conditions.of_config(old).columns[0]) == "rl (0 to 9)"
