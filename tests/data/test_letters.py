"""Letters as ids and k-mers, against counting by hand."""

from collections import Counter

import numpy as np
import pytest

from scidiff.data.letters import kmer_codes, kmer_counts, letter_ids


def test_rows_are_filled_from_the_left():
    assert letter_ids(["ACGT", "TT", ""], "ACGT").tolist() == [
        [0, 1, 2, 3], [3, 3, -1, -1], [-1] * 4]
    assert letter_ids([], "ACGT").shape == (0, 0)


@pytest.mark.parametrize("rows, message", [
    (["ACGT", "ACNT"], r"row 2: 'N' at position 3 is not in ACGT"),
    (["ACé"], r"row 1: 'é' at position 3"),
    (["", "A", "", "x"], r"row 4: 'x' at position 1"),
])
def test_a_letter_outside_is_named_by_its_place(rows, message):
    with pytest.raises(ValueError, match=message):
        letter_ids(rows, "ACGT")


@pytest.mark.parametrize("k", [1, 2, 3, 5])
def test_kmers_are_those_of_counting_words(k):
    rng = np.random.default_rng(0)
    rows = ["".join(rng.choice(list("ACGT"), n)) for n in (0, 1, 2, 7, 40)]
    counts = kmer_counts(letter_ids(rows, "ACGT"), k, 4)
    words = ["".join("ACGT"[i // 4 ** (k - 1 - j) % 4] for j in range(k)) for i in range(4**k)]
    for row, found in zip(rows, counts, strict=True):
        expected = Counter(row[i:i + k] for i in range(len(row) - k + 1))
        assert found.tolist() == [expected[w] for w in words]


def test_codes_stop_where_a_row_ends():
    codes = kmer_codes(letter_ids(["ACGT", "AC"], "ACGT"), 2, 4)
    assert codes.tolist() == [[1, 6, 11], [1, -1, -1]]
    assert kmer_codes(letter_ids(["AC"], "ACGT"), 3, 4).shape == (1, 0)
