"""Draws by rank: their weights, with and without replacement."""

import pytest
import torch

from scidiff.core import seeded
from scidiff.guidance.ranks import by_rank


def weights(ranks: int, k: float) -> torch.Tensor:
    weight = 1 / (k * ranks + torch.arange(1, ranks + 1))
    return weight / weight.sum()


def test_ranks_are_drawn_with_their_weights():
    n, ranks = 200_000, 7
    p = weights(ranks, 0.5)
    seen = torch.bincount(by_rank(ranks, n, seeded(3), k=0.5), minlength=ranks) / n
    assert ((seen - p).abs() < 4 * (p * (1 - p) / n).sqrt()).all()


def test_the_first_of_a_draw_without_replacement_has_the_same_weights():
    n, p = 4000, weights(4, 0.25)
    first = torch.stack([by_rank(4, 1, seeded(s), k=0.25, again=False)[0] for s in range(n)])
    seen = torch.bincount(first, minlength=4) / n
    assert ((seen - p).abs() < 4 * (p * (1 - p) / n).sqrt()).all()


@pytest.mark.parametrize("n", [1, 4, 9])
def test_without_replacement_no_rank_comes_twice(n):
    drawn = by_rank(4, n, seeded(0), again=False).tolist()
    assert len(drawn) == len(set(drawn)) == min(n, 4)


def test_with_replacement_there_are_as_many_as_asked():
    assert len(by_rank(2, 9, seeded(0))) == 9
