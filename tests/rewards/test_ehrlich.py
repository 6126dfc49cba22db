"""Ehrlich functions by enumeration: what they are worth, what they forbid, where their top is."""

import itertools
import math

import pytest
import torch

from scidiff.data.records import Record
from scidiff.rewards.combine import reward
from scidiff.rewards.ehrlich import Ehrlich
from scidiff.rewards.scores import Status
from scidiff.rewards.scoring import Scorer
from scidiff.testing import check_reward

AMINO = "ACDEFGHIKLMNPQRSTVWY"
SMALL = Ehrlich("ACGT", 6, motifs=2, motif_length=2, banned=0.4, seed=3)


def everything(f):
    return ["".join(s) for s in itertools.product(f.letters, repeat=f.length)]


def by_definition(f, sequence):
    """Spelled out over motifs, starts and places."""
    if any(sequence[i:i + 2] in f.forbidden for i in range(len(sequence) - 1)):
        return None
    total = 1.0
    for letters, places in f.parts:
        best = 0
        for start in range(len(sequence)):
            if start + places[-1] < len(sequence):
                hits = [sequence[start + p] == a for a, p in zip(letters, places, strict=True)]
                best = max(best, math.floor(f.levels * sum(hits) / len(letters)) / f.levels)
        total *= best
    return total


@pytest.mark.parametrize("f", [SMALL, Ehrlich("ACGT", 5, 1, 4, 2, seed=1),
                               Ehrlich("ABCD", 6, 2, 2, 1, banned=0.6, seed=5),
                               Ehrlich("ACG", 7, 2, 3, banned=0.6, seed=2)])
def test_every_sequence_scores_its_definition_and_the_top_is_one(f):
    sequences = everything(f)
    scores, expected = f.score(sequences), [by_definition(f, s) for s in sequences]
    assert scores.ok.tolist() == [e is not None for e in expected]
    assert [v for v in scores.values.tolist() if v == v] == pytest.approx(
        [e for e in expected if e is not None])
    assert scores.values[scores.ok].max() == 1 and f([f.solution]) == [1.0]
    steps = scores.values[scores.ok] * f.levels**f.motifs
    assert torch.equal(steps, steps.round())


def test_feasible_sequences_are_the_paths_of_the_transition_matrix():
    """Their number is 1' A^(L-1) 1, A being 1 where a transition is allowed."""
    f = SMALL
    A = torch.tensor([[float(a + b not in f.forbidden) for b in f.letters] for a in f.letters])
    assert 0 < len(f.forbidden) and (A.diag() == 1).all()
    paths = torch.linalg.matrix_power(A, f.length - 1).sum()
    assert sum(map(f.feasible, everything(f))) == paths
    assert (torch.linalg.matrix_power(A, len(f.letters)) > 0).all()  # all reach all


@pytest.mark.parametrize("seed", range(20))
def test_large_ones_have_their_solution_and_lose_a_step_for_a_letter(seed):
    f = Ehrlich(AMINO, 64, motifs=4, motif_length=4, banned=0.5, seed=seed)
    best = f.solution
    assert len(best) == 64 and f([best]) == [1.0]
    letters, places = f.parts[0]
    assert all(p < q for p, q in itertools.pairwise(places)) and places[-1] < 16
    # the second letter of the first motif gives way to the first: repeats are always allowed
    cut = best[:places[1]] + letters[0] * (places[2] - places[1]) + best[places[2]:]
    assert f.quality(cut, f.parts[0]) == 0.75 and f.quality(cut, f.parts[1]) == 1


def test_a_seed_is_a_function_and_another_seed_another_one():
    a, b, c = (Ehrlich(AMINO, 32, seed=s) for s in (0, 0, 1))
    assert (a.parts, a.forbidden) == (b.parts, b.forbidden) and a == b
    assert (a.parts, a.forbidden) != (c.parts, c.forbidden)
    assert abs(len(a.forbidden) / 380 - 0.2 * 360 / 380) < 0.1


def test_it_is_a_reward():
    found = [SMALL.solution, "AAAAAA", "TTTTTT", "NNNNNN"]
    check_reward(SMALL, found)
    scorer = Scorer(reward("1*ehrlich('ACGT', 6, motif_length=2, banned=0.4, seed=3)"))
    scores = scorer.score([Record(s, s, True) for s in found])
    assert scores.values.tolist() == [1, 0, 0, 0] and scorer.floor == 0
    assert scores.status.tolist() == [0, 0, 0, Status.INVALID]
    assert SMALL([SMALL.solution[0]]) == [0.0]  # too short for any motif


@pytest.mark.parametrize("wrong, message", [
    (dict(letters="AAC"), "two or more, each once, got 'AAC'"),
    (dict(motif_length=5), "motif_length <= letters, got 2, 5 and 4"),
    (dict(motifs=0), "got 0, 2 and 4"),
    (dict(length=3), "2 motifs of 2 letters do not fit 3 places"),
    (dict(quantization=3), "got 3 and 0.2"), (dict(banned=1.0), "got 2 and 1.0")])
def test_parameters_are_checked(wrong, message):
    with pytest.raises(ValueError, match=message):
        Ehrlich(**dict(letters="ACGT", length=6, motifs=2, motif_length=2) | wrong)
