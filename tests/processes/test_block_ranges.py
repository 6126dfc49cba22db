"""Noise levels that training of blocks looks at: their law, what the loss then is, and which are
chosen."""

from itertools import combinations

import pytest
import torch

from scidiff.core import seeded
from scidiff.data.tokens import EOS, TokenState
from scidiff.processes.block import BlockProcess
from scidiff.processes.conditional import ConditionalProcess
from scidiff.processes.noise_ranges import CANDIDATES, WHOLE, Moments, count_law, counts
from scidiff.training.plan import Stage, TrainConfig, nested_stage

MASK, N = 6, 4
RANGES = [(0.0, 0.5), (0.3, 0.8), (0.5, 1.0), (0.45, 0.95)]


class Told:
    """A network whose loss at a position is a given number, by what is hidden in the block."""

    max_length = 2 * N

    def __init__(self, spread=1.0, low=0.0):
        self.costs = low + spread * torch.rand(2**N, N, generator=seeded(1)).double()

    def two_copy(self, noisy, clean, block_size):
        blocks = noisy.unflatten(1, (-1, N)) == MASK
        state = (blocks * 2 ** torch.arange(N)).sum(-1)
        return self.costs[state].flatten(1)

    def log_probs(self, trunk):
        return -trunk[..., None].expand(*trunk.shape, MASK + 1)


def rows(n):
    """Two whole blocks each."""
    ids = torch.full((n, 2 * N), 3)
    ids[:, -1] = EOS
    return TokenState(ids)


def states(k):
    """The places of k hidden positions in a block, and the number of each such state."""
    return [(list(c), sum(2**i for i in c)) for c in combinations(range(N), k)]


def block_costs(network, k):
    """n / k times the loss of what is hidden, of every state that hides k, a token."""
    return torch.stack([network.costs[s, places].sum() / k for places, s in states(k)])


def exact(network, noise_range):
    """Mean and variance of a block's loss a token."""
    law = count_law(N, noise_range)
    found = [(law[k], block_costs(network, k)) for k in range(1, N + 1)]
    mean = sum(p * c.mean() for p, c in found)
    return float(mean), float(sum(p * (c**2).mean() for p, c in found) - mean**2)


@pytest.mark.parametrize("noise_range", [WHOLE, *RANGES])
@pytest.mark.parametrize("n", [1, 4, 9])
def test_counts_follow_binomials_over_the_range(noise_range, n):
    t = torch.linspace(*noise_range, 200_001, dtype=torch.float64)
    binomial = torch.distributions.Binomial(n, t, validate_args=False)
    k = torch.arange(n + 1, dtype=torch.float64)
    numeric = torch.stack([torch.trapezoid(binomial.log_prob(v).exp(), t) for v in k])
    numeric[0] = 0
    torch.testing.assert_close(count_law(n, noise_range), numeric / numeric.sum(), atol=1e-8,
                               rtol=0)  # fmt: skip


def test_the_whole_range_is_uniform():
    torch.testing.assert_close(count_law(5, WHOLE)[1:], torch.full((5,), 0.2).double())


@pytest.mark.parametrize("noise_range", RANGES)
def test_draws_are_stratified(noise_range):
    """Over a batch every number comes as often as its law says, but for one at either end."""
    for limit in (torch.full((1000,), 5), torch.arange(1000) % 2 + 4):
        drawn = counts(limit, noise_range, seeded(3))
        assert (drawn >= 1).all() and (drawn <= limit).all()
        if limit.unique().numel() == 1:
            seen = torch.bincount(drawn, minlength=6).double()
            assert (seen - 1000 * count_law(5, noise_range)).abs().max() < 2


@pytest.mark.parametrize("noise_range", [WHOLE, *RANGES])
def test_the_clipped_loss_and_its_variance_are_those_of_the_law(noise_range):
    network, process = Told(), BlockProcess(MASK, N, noise_range)
    x0 = rows(50)
    draws = torch.stack([process.loss(network, x0, seeded(5, j)) for j in range(400)]) / N
    mean, variance = exact(network, noise_range)
    per_batch = draws.mean(1)
    assert abs(float(per_batch.mean()) - 2 * mean) < 4 * float(per_batch.std()) / 20
    singles = (draws.flatten() - 2 * mean) ** 2 / 2  # two independent blocks a row
    assert abs(float(singles.mean()) - variance) < 4 * float(singles.std()) / 20_000**0.5


def test_one_look_tells_the_variance_of_every_range():
    network, process = Told(), BlockProcess(MASK, N, (0.3, 0.8))
    x0 = rows(4000)
    seen = process._moments(network, x0, seeded(6)) + process._moments(network, x0, seeded(7))
    for noise_range in [WHOLE, *RANGES]:
        assert seen.variance(noise_range) == pytest.approx(exact(network, noise_range)[1], rel=0.1)
    best = min(CANDIDATES, key=lambda r: exact(network, r)[1])
    found = process.least_variable(network, [x0, x0], seeded(8))
    assert exact(network, found)[1] <= 1.1 * exact(network, best)[1]


@pytest.mark.parametrize("noisy, expected", [(1, (0.5, 1.0)), (4, (0.0, 0.5))])
def test_the_range_avoids_what_varies(noisy, expected):
    """Blocks are alike but for those with `noisy` hidden."""
    k, n = torch.arange(1, 5).repeat(500), 4
    losses = torch.ones(2000) + (k == noisy) * torch.randn(2000, generator=seeded(9))
    assert Moments.of(k, losses, n).least_variable() == expected


def test_equal_ranges_leave_the_whole():
    k = torch.arange(1, 5).repeat(50)
    assert Moments.of(k, torch.ones(200), 4).least_variable() == WHOLE
    assert Moments.of(k[:0], torch.ones(0), 4).least_variable() == WHOLE  # nothing seen


def test_the_whole_range_is_the_process_as_it_was():
    plain = BlockProcess(MASK, N)
    assert plain.whole is plain
    clipped = plain.within((0.3, 0.8))
    x0, network = rows(50), Told()
    assert torch.equal(clipped.whole.loss(network, x0, seeded(4)),
                       plain.loss(network, x0, seeded(4)))  # fmt: skip
    assert ConditionalProcess(clipped).whole.inner == clipped.whole
    assert not torch.equal(
        clipped.loss(network, x0, seeded(4)), plain.loss(network, x0, seeded(4))
    )


def stage(**given):
    return Stage(**{"process": "block", "block_size": 4, "training": TrainConfig(1), **given})


@pytest.mark.parametrize("given, message", [
    ({"noise_range": (0.8, 0.3)}, "noise_range must be two levels, 0 <= lowest < highest <= 1"),
    ({"noise_range": (0.5, 1.2)}, "noise_range must be two levels"),
    ({"noise_range": (0.5,)}, "noise_range must be two levels"),
    ({"noise_range": (0, 1), "process": "autoregressive", "block_size": None},
     "noise_range belongs to process = 'block'"),
])  # fmt: skip
def test_wrong_ranges_are_refused(given, message):
    with pytest.raises(ValueError, match=message):
        stage(**given)


def test_a_recipe_names_a_range_beside_the_block_size():
    told = nested_stage({"process": "block", "block_size": 4, "noise_range": "auto", "steps": 3})
    assert told["noise_range"] == "auto" and told["training"] == {"steps": 3}
    assert stage(noise_range="auto").spec["noise_range"] == "auto"
    assert "noise_range" not in stage().spec
