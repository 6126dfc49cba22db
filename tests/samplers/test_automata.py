"""Automata against the definition of the sets they recognise, row by row."""

import re
from itertools import product

import pytest
import torch

from scidiff.core import seeded
from scidiff.data.tokens import EOS, PAD
from scidiff.samplers import automata
from scidiff.samplers.automata import (
    Automaton,
    all_of,
    avoiding,
    containing,
    ended,
    everything,
    spelling,
    symbols_only,
)
from scidiff.samplers.constraints import Accepted, may_write
from scidiff.samplers.trellis import Trellis

V = 6  # PAD, EOS, three symbols a b c, MASK
LETTERS = "pea" + "bc?"
A, B, C = (frozenset({i}) for i in (2, 3, 4))
SYMBOLS = {n: torch.tensor(list(product((2, 3, 4), repeat=n))) for n in range(1, 7)}


def text(row) -> str:
    return "".join(LETTERS[i] for i in row)


CASES = {
    "aba|cc": (containing([[A, B, A], [C, C]], V), r".*(aba|cc).*"),
    "a?c": (containing([[A, None, C]], V), r".*a.c.*"),
    "no ab": (avoiding([[A, B]], V), r"(?!.*ab).*"),
    "no a??a": (avoiding([[A, None, None, A]], V), r"(?!.*a..a).*"),
    "ab or c": (spelling([A | B, None, C], V), r"[ab].c"),
    "gap": (spelling([A, "*", B, None, "*"], V), r"a.*b..*"),
    "gaps": (spelling(["*", A, "*", "*", A, "*"], V), r".*a.*a.*"),
    "all": (all_of([containing([[A]], V), avoiding([[B, B]], V), spelling([None, "*"], V)]),
            r"(?=.*a)(?!.*bb).+"),
    "everything": (everything(V), r".*"),
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_a_set_is_what_its_expression_says(name):
    made, expression = CASES[name]
    for rows in SYMBOLS.values():
        wanted = [bool(re.fullmatch(expression, text(row))) for row in rows.tolist()]
        assert made.accepts(rows).tolist() == wanted


@pytest.mark.parametrize("name", CASES)
def test_lengths_are_those_of_accepted_rows(name):
    made = symbols_only(CASES[name][0])
    wanted = [bool(made.accepts(rows).any()) for rows in SYMBOLS.values()]
    assert made.lengths(6)[1:].tolist() == wanted


def test_automata_are_minimal():
    assert len(everything(V)) == 1 and everything(V).step.shape[1] == 1
    assert len(containing([[A, B, A], [C, A]], V)) == 4  # nothing, a, ab or c, found
    assert len(avoiding([[A], [A, B], [C, A, B]], V)) == 1  # a alone is forbidden
    assert len(containing([[A]], V) & avoiding([[A]], V)) == 0
    twice = containing([[A, B]], V) & containing([[A, B]], V)
    assert len(twice) == 3 and twice.step.tolist() == containing([[A, B]], V).step.tolist()


def test_rows_end_with_eos_and_pad_or_with_the_row():
    made = ended(spelling([A, "*", B], V))
    rows = [[2, 3, EOS, PAD], [2, 4, 3, EOS], [2, 4, 4, 3], [2, 3, PAD, PAD], [2, 3, EOS, EOS],
            [2, 4, EOS, PAD], [2, EOS, 3, EOS], [2, 5, 3, EOS], [2, PAD, 3, EOS]]  # fmt: skip
    assert made.accepts(torch.tensor(rows)).tolist() == [True] * 3 + [False] * 6
    assert len(ended(avoiding([[A]], V) & containing([[A]], V))) == 0


def test_what_is_certain_of_a_row():
    made = symbols_only(spelling([A, None, B, "*"], V))
    assert Trellis(made, 4).certain().tolist() == [2, -1, 3, -1]
    # the gap can only be c where a and b are forbidden beside each other
    tight = symbols_only(spelling([A, None, B], V) & avoiding([[A, A], [A, B], [B, B]], V))
    assert Trellis(tight, 3).certain().tolist() == [2, 4, 3]


def test_a_predicate_says_whether_hidden_rows_can_be_accepted():
    made = containing([[A, B, A]], V) & avoiding([[C]], V)
    accepted = Accepted(symbols_only(made))
    states = torch.tensor(list(product((2, 3, 4, 5), repeat=4)))
    rows = SYMBOLS[4]
    fits = ((states[:, None] == rows) | (states[:, None] == 5)).all(-1)
    assert torch.equal(accepted(states), (fits & made.accepts(rows)).any(1))
    hidden = torch.full((1, 3), 5)
    allowed = may_write(accepted, hidden, torch.tensor([1]), V)[0].tolist()
    assert [i for i, fine in enumerate(allowed) if fine] == [3, 5]  # b, or nothing yet


def test_states_that_cannot_end_in_time_are_left_out():
    made = containing([[A, B, A, B]], V)
    assert [len(table) - 1 for table in Trellis(made, 4).tables] == [1] * 4
    assert not Trellis(made, 3).possible


def test_random_automata_are_kept_by_minimisation():
    rng = seeded(3)
    for _ in range(20):
        step = torch.randint(0, 9, (8, 3), generator=rng)
        fine = torch.rand(8, generator=rng) < 0.3
        raw = Automaton(torch.tensor([0, 1, 2]), step, 0, fine)
        rows = torch.randint(0, 3, (300, 7), generator=rng)
        small = raw & everything(3)
        assert torch.equal(small.accepts(rows), raw.accepts(rows)) and len(small) <= 8


@pytest.mark.parametrize("make, message", [
    (lambda: containing([[]], V), "one place or more"),
    (lambda: avoiding([[A, "*"]], V), "none of them '\\*'"),
    (lambda: everything(4) & everything(5), "got 4 and 5"),
    (lambda: Automaton(torch.tensor([0, 2]), torch.zeros(1, 2).long(), 0, torch.ones(1).bool()),
     "classes up to 2"),
])  # fmt: skip
def test_impossible_automata_are_named(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_too_many_states_are_refused(monkeypatch):
    monkeypatch.setattr(automata, "MOST_STATES", 50)
    with pytest.raises(ValueError, match="more than 50 states"):
        containing([[A, *[None] * 8, B]], V)
