"""Rewards are asked once per distinct object, inside the budget; what they return is checked."""

import math

import numpy as np
import pytest
import torch
from rdkit.Chem import MolFromSmiles

from scidiff.data.records import Record
from scidiff.rewards.combine import reward
from scidiff.rewards.scores import require_kind
from scidiff.rewards.scoring import (
    NamedReward,
    RewardError,
    Scorer,
    Scores,
    Status,
    bounded,
    evaluate,
    require_floor,
)


def records(*texts):
    return [Record(t, t, True) if t != "!" else Record(t, None, False, "broken") for t in texts]


class Length:
    """Counts what it is asked."""

    floor = 0.0

    def __init__(self):
        self.seen = []

    def __call__(self, objects):
        self.seen += objects
        return [len(o) for o in objects]


def test_each_distinct_object_is_asked_once_and_rows_keep_their_place():
    reward = Length()
    scorer = Scorer(reward, key=lambda r: r.text.lower())
    first = scorer.score(records("aa", "AA", "!", "bbb", "aa"))
    second = scorer.score(records("bbb", "c"))
    assert reward.seen == ["aa", "bbb", "c"]
    assert first.values.tolist() == [2, 2, 0, 3, 2] and second.values.tolist() == [3, 1]
    assert first.status.tolist() == [0, 0, Status.INVALID, 0, 0]
    assert (scorer.asked, scorer.cache_hits, scorer.calls) == (3, 3, 2)


def test_budget_is_a_hard_stop_in_order_of_appearance():
    scorer = Scorer(Length(), budget=3)
    assert not scorer.spent
    scorer.score(records("a", "bb"))
    scores = scorer.score(records("ccc", "dddd", "a", "!"))
    assert scores.status.tolist() == [Status.OK, Status.SKIPPED, Status.OK, Status.INVALID]
    assert math.isnan(scores.values[1]) and scorer.asked == 3 and scorer.spent
    assert scorer.score(records("dddd")).status.tolist() == [Status.SKIPPED]
    assert scorer.asked == 3


@pytest.mark.parametrize("budget", [0, -5])
def test_budget_must_be_positive(budget):
    with pytest.raises(ValueError, match=f"at least 1, got {budget}"):
        Scorer(Length(), budget=budget)


def test_one_object_that_raises_does_not_cost_its_batch_and_is_not_asked_again():
    asked = []

    def reward(objects):
        asked.append(list(objects))
        return [1 / (len(o) - 2) for o in objects]

    scorer = Scorer(reward)
    scores = scorer.score(records("a", "bb", "ccc"))
    assert scores.status.tolist() == [Status.OK, Status.FAILED, Status.OK]
    assert scorer.messages == {"bb": "ZeroDivisionError: division by zero"}
    scorer.score(records("bb"))
    assert asked == [["a", "bb"], ["a"], ["bb"], ["ccc"]] and scorer.asked == 3


def test_a_reward_that_raises_on_everything_is_an_error():
    def broken(objects):
        raise KeyError("colour")

    scorer = Scorer(broken, patience=3)
    assert scorer.score(records("a", "b")).status.tolist() == [Status.FAILED] * 2
    with pytest.raises(RewardError, match="'broken' raised on each .* KeyError: 'colour'"):
        scorer.score(records("c", "d"))


def texts(count, first=0):
    return records(*(f"x{i}" for i in range(first, first + count)))


def test_a_reward_without_a_number_for_anything_is_an_error_later():
    def silent(objects):
        return [math.nan] * len(objects)

    scorer = Scorer(silent, patience=3)
    assert scorer.score(texts(23)).status.tolist() == [Status.FAILED] * 23
    with pytest.raises(RewardError, match="'silent' has no value for any of its first 24 objects"):
        scorer.score(texts(1, first=23))


def test_a_reward_that_knows_few_objects_is_no_error():
    scorer = Scorer(lambda objects: [1.0 if o == "x20" else None for o in objects], patience=3)
    for first in range(0, 200, 20):
        scores = scorer.score(texts(20, first))
        assert scores.ok.sum() == (first == 20)


def test_a_reward_of_the_wrong_kind_of_object_says_what_it_is_given():
    with pytest.raises(RewardError, match="no attribute 'count'; a reward is given a list of RD"):
        Scorer(lambda mols: [m.count("C") for m in mols], patience=1).score(
            [Record("C", MolFromSmiles("C"), True)])


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf, None])
def test_what_is_not_a_finite_number_is_failed_not_zero(value):
    scores = evaluate(lambda objects: [1.5, value], ["a", "b"])
    assert scores.status.tolist() == [Status.OK, Status.FAILED] and math.isnan(scores.values[1])


@pytest.mark.parametrize("returned", [[1, 2], (1.0, 2.0), np.array([1, 2]), torch.tensor([1., 2.]),
                                      np.float32([1, 2]), (x for x in (1, 2))])
def test_any_sequence_of_numbers_is_accepted(returned):
    assert evaluate(lambda objects: returned, ["a", "b"]).values.tolist() == [1, 2]


@pytest.mark.parametrize("returned, message", [
    ([1.0], "returned 1 values for 2 objects"),
    (3.0, "returned float"),
    (np.float64(3.0), "returned float64"),
    ("ab", "returned str"),
    ({"a": 1, "b": 2}, "returned dict"),
    (["1", "2"], "returned str '1' for object 0"),
    ([1.0, [2.0]], "returned list"),
    (Scores.of([(1.0, Status.OK)]), "returned 1 values for 2 objects"),
])
def test_wrong_returns_name_the_reward_and_what_was_expected(returned, message):
    def mine(objects):
        return returned

    with pytest.raises(RewardError, match=f"'mine' {message}"):
        Scorer(mine).score(records("a", "b"))


def test_a_reward_may_report_its_own_statuses():
    class Slow:
        def score(self, objects):
            return Scores.of([(math.nan, Status.TIMEOUT), (2.0, Status.OK)])

    scores = Scorer(Slow()).score(records("a", "b"))
    assert scores.status.tolist() == [Status.TIMEOUT, Status.OK]


def test_an_undeclared_floor_is_nan_until_it_is_required():
    scorer = Scorer(lambda objects: [1.0 for _ in objects])
    scores = scorer.score(records("!", "a"))
    assert math.isnan(scores.values[0]) and scorer.floor is None
    with pytest.raises(RewardError, match=r"no floor.*reward\(your_function, floor=0\.0\)"):
        require_floor(scorer)


def test_bounded_declares_the_floor():
    @bounded(-2, 5)
    def depth(objects):
        return [0.0 for _ in objects]

    assert isinstance(depth, NamedReward) and depth.name == "depth"
    assert require_floor(depth) == -2
    assert Scorer(depth).score(records("!")).values.tolist() == [-2]


def test_scores_check_themselves_and_index_like_a_state():
    scores = Scores.of([(1.0, Status.OK), (math.nan, Status.FAILED)])
    picked = scores[torch.tensor([1, 0, 0])]
    assert picked.status.tolist() == [2, 0, 0] and picked.ok.tolist() == [False, True, True]
    assert len(Scores.cat([scores, picked])) == 5
    with pytest.raises(ValueError, match="finite value, got nan in row 0"):
        Scores.of([(math.nan, Status.OK)])
    with pytest.raises(ValueError, match="values must be torch.float64"):
        Scores(torch.zeros(2), torch.zeros(2, dtype=torch.int8))


def test_nothing_to_score():
    assert len(Scorer(Length()).score([])) == 0 and len(evaluate(Length(), [])) == 0


# ---------------------------------------------------------------- one object is no list


@pytest.mark.parametrize("made", [
    reward("qed"), reward("qed", floor=-1.0), NamedReward(lambda found: [0.0] * len(found), "qed"),
    reward("strain()")], ids=["expression", "declared", "named", "one by one"])
@pytest.mark.parametrize("lone, said", [
    ("CCO", r"got 'CCO'; for one object write \['CCO'\]"), ("", "got ''"),
    (MolFromSmiles("CCO"), "got Mol")], ids=["text", "empty", "molecule"])
def test_a_lone_object_is_refused(made, lone, said):
    with pytest.raises(ValueError, match=f"is asked about a list of objects, {said}"):
        made(lone)
    assert list(made([])) == []


class Kinded:
    """Scores what it says."""

    floor, bounds, name = 0.0, (0.0, 1.0), "kinded"

    def __init__(self, kind):
        self.kind = kind

    def __call__(self, objects):
        raise AssertionError("never asked")


@pytest.mark.parametrize(("term", "domain", "said"), [
    (reward("qed"), ("sequence", "dna"), "'qed' scores molecule, and the model writes dna"),
    (reward("logp * qed"), ("graph", "graph"), "scores molecule, and the model writes graph"),
    (reward("gc"), ("molecule", "smiles"), "scores dna or rna, and the model writes molecule"),
    (reward("0.5*length + 0.5*gc"), ("sequence", "peptide"), "'gc' scores dna or rna"),
    (reward("length"), ("molecule", "selfies"), "scores sequence, and the model writes molecule"),
    (reward("charge"), ("sequence", "dna"), "'charge' scores peptide, and the model writes dna"),
    (reward("zaleplon_mpo"), ("sequence", "rna"), "scores molecule"),
    (Kinded("graph"), ("molecule", "smiles"), "'kinded' scores graph")])
def test_what_scores_other_objects_is_refused(term, domain, said):
    with pytest.raises(RewardError, match=said):
        require_kind(term, *domain)


@pytest.mark.parametrize(("term", "domain"), [
    (reward("qed"), ("molecule", "safe")), (reward("gc + length"), ("sequence", "rna")),
    (reward("charge"), ("sequence", "peptide")), (Kinded(("peptide", "rna")), ("sequence", "rna")),
    *((Kinded(kind), ("graph", "graph")) for kind in ("a kernel", None, 5, ["dna"], ("dna", 1)))])
def test_what_says_nothing_of_the_sort_is_asked(term, domain):
    require_kind(term, *domain)


def test_what_a_reward_raises_is_one_line():
    def broken(objects):
        raise ValueError("two\n  lines")

    found = Scorer(broken, patience=3)
    found.score(records("a"))
    assert found.messages == {"a": "ValueError: two lines"}
