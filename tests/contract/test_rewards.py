"""One contract, every reward on objects. A new reward is one line in REWARDS."""

import pytest

from scidiff.rewards.scoring import RewardError, Scores, Status
from scidiff.testing import check_reward


def lengths(objects):
    return [float(len(o)) for o in objects]


class Partial:
    """Scores what it can and says what became of the rest."""

    def score(self, objects):
        return Scores.of(
            (1.0 / len(o), Status.OK) if o else (float("nan"), Status.FAILED) for o in objects
        )


REWARDS = {"function": lengths, "class": Partial()}


@pytest.mark.parametrize("name", REWARDS)
def test_reward_contract(name):
    check_reward(REWARDS[name], ["CCO", "", "c1ccccc1", "N"])


def test_the_contract_catches_a_reward_that_ranks_its_batch():
    def rank(objects):
        return [float(sorted(objects).index(o)) for o in objects]

    with pytest.raises(AssertionError, match="differently alone"):
        check_reward(rank, ["a", "b", "c"])


def test_the_contract_catches_a_reward_that_reads_the_position():
    with pytest.raises(AssertionError, match="order"):
        check_reward(lambda objects: [float(i) for i, _ in enumerate(objects)], ["a", "b", "c"])


def test_a_reward_of_the_wrong_length_is_named():
    with pytest.raises(RewardError, match="2 objects|3 objects"):
        check_reward(lambda objects: [0.0], ["a", "b", "c"])
