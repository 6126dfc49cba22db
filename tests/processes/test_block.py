"""Block diffusion's loss against enumeration, and its limits: autoregression and one block."""

from itertools import permutations, product

import pytest
import torch

from scidiff.core import seeded
from scidiff.data.tokens import EOS, PAD, TokenState
from scidiff.networks.token_transformer import TokenTransformer, TokenTransformerConfig
from scidiff.processes.block import AutoregressiveProcess, BlockProcess
from scidiff.processes.masked import MaskedProcess

L, V = 4, 6
MASK = V - 1


class TableNetwork:
    """Arbitrary conditionals given (clean blocks before, this block half hidden); later blocks are
    never seen, so their ids are replaced by MASK."""

    max_length = L

    def __init__(self):
        logits = 2 * torch.randn(V**L, L, V, generator=seeded(7), dtype=torch.float64)
        logits[..., MASK] = float("-inf")
        self.log_p = logits.log_softmax(-1)

    def _at(self, ids):
        return self.log_p[(ids * V ** torch.arange(L)).sum(1)]

    def bidirectional(self, ids):
        return self._at(ids)

    def two_copy(self, noisy, clean, block_size):
        out = torch.empty(*noisy.shape, V, dtype=torch.float64)
        for start in range(0, L, block_size):
            stop = start + block_size
            tail = torch.full_like(clean[:, stop:], MASK)
            ids = torch.cat([clean[:, :start], noisy[:, start:stop], tail], 1)
            out[:, start:stop] = self._at(ids)[:, start:stop]
        return out

    def log_probs(self, trunk):
        return trunk


def block_bound(network, row, block_size, end):
    """-log p, the mean over all orders inside each block, of the positions before `end`."""
    total = 0.0
    for start in range(0, end, block_size):
        block = range(start, min(start + block_size, L))
        orders = list(permutations(block))
        for order in orders:
            ids = torch.where(torch.arange(L) < start, row, MASK)
            for i in order:
                total -= float(network._at(ids[None])[0, i, row[i]]) / len(orders)
                ids[i] = row[i]
    return total


ROWS = [[2, 3, 4, EOS], [2, EOS, PAD, PAD], [EOS, PAD, PAD, PAD]]


def z_score(process, network, row, exact):
    """Of the mean loss over 150 batches."""
    x0 = TokenState(row.expand(64, L))
    means = torch.stack([process.loss(network, x0, seeded(0, j)).mean() for j in range(150)])
    return abs(float((means.mean() - exact) / (means.std() / 150**0.5)))


@pytest.mark.parametrize("block_size, row", list(product([2, 3, 4], ROWS)))
def test_loss_is_unbiased_for_the_enumerated_bound(block_size, row):
    network, row = TableNetwork(), torch.tensor(row)
    last = row.tolist().index(EOS) // block_size
    exact = block_bound(network, row, block_size, min((last + 1) * block_size, L))
    assert z_score(BlockProcess(MASK, block_size), network, row, exact) < 4
    clipped = BlockProcess(MASK, block_size, (0.3, 0.8))
    assert z_score(clipped.whole, network, row, exact) < 4


@pytest.mark.parametrize("row", ROWS)
def test_blocks_of_one_are_exact(row):
    network, row = TableNetwork(), torch.tensor(row)
    losses = [
        BlockProcess(MASK, 1).loss(network, TokenState(row[None]), seeded(j)) for j in range(3)
    ]
    assert losses[0] == losses[1] == losses[2]
    exact = block_bound(network, row, 1, row.tolist().index(EOS) + 1)
    assert float(losses[0]) == pytest.approx(exact, rel=1e-6)


def test_one_block_is_masked_diffusion():
    network, ids = TableNetwork(), torch.randint(2, MASK, (50, L), generator=seeded(1))
    block = BlockProcess(MASK, L).loss(network, TokenState(ids), seeded(0))
    masked = MaskedProcess(MASK).loss(network, TokenState(ids), seeded(0))
    torch.testing.assert_close(block, masked)


def test_the_last_block_is_filled_up_to_what_the_network_reads():
    ids = torch.tensor([[2, 3, EOS]])
    assert BlockProcess(MASK, 2).padded(ids, 8).tolist() == [[2, 3, EOS, PAD]]
    assert BlockProcess(MASK, 8).padded(ids, 5).tolist() == [[2, 3, EOS, PAD, PAD]]
    assert BlockProcess(MASK, 3).padded(ids, 8).tolist() == ids.tolist()
    assert BlockProcess(MASK, 2).padded(ids, 3).tolist() == ids.tolist()


def tiny():
    net = TokenTransformer(TokenTransformerConfig(V, 7, width=16, depth=1, heads=2))
    with torch.no_grad():
        for name, p in net.named_parameters():
            if p.ndim == 2 and not name.startswith("own"):
                p.copy_(torch.randn(p.shape, generator=seeded(3)) / 4)
    return net


def test_a_block_size_that_does_not_divide_the_length_trains():
    ids = torch.tensor([[2, 3, 4, 2, 3, 4, EOS], [2, 3, EOS, PAD, PAD, PAD, PAD]])
    loss = BlockProcess(MASK, 4).loss(tiny(), TokenState(ids), seeded(0))
    assert loss.shape == (2,) and torch.isfinite(loss).all()
    loss.sum().backward()


def test_what_lies_behind_the_end_costs_nothing():
    short = torch.tensor([[2, 3, EOS]])
    wide = torch.tensor([[2, 3, EOS, PAD, PAD, PAD, PAD]])
    one = BlockProcess(MASK, 1)
    a, b = (one.loss(tiny(), TokenState(ids), seeded(0)) for ids in (short, wide))
    torch.testing.assert_close(a, b)


def test_autoregression_is_blocks_of_one_before_own_is_trained():
    ids = torch.tensor([[2, 3, 4, 2, 3, 4, EOS], [2, 3, EOS, PAD, PAD, PAD, PAD]])
    a = AutoregressiveProcess(MASK).loss(tiny(), TokenState(ids), seeded(0))
    b = BlockProcess(MASK, 1).loss(tiny(), TokenState(ids), seeded(0))
    torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-5)


def test_noise_stays_inside_the_text():
    ids = torch.tensor([[2, EOS, PAD, PAD, PAD]])
    gone = BlockProcess(MASK, 2).noise(TokenState(ids), torch.ones(1), seeded(0))
    assert gone.ids.tolist() == [[MASK, MASK, PAD, PAD, PAD]]
    kept = BlockProcess(MASK, 2).noise(TokenState(ids), torch.zeros(1), seeded(0))
    assert torch.equal(kept.ids, ids)
    half = AutoregressiveProcess(MASK).noise(TokenState(ids), torch.tensor([0.5]), seeded(0))
    assert half.ids.tolist() == [[2, MASK, PAD, PAD, PAD]]


def test_impossible_block_size():
    with pytest.raises(ValueError, match="block_size must be at least 1, got 0"):
        BlockProcess(MASK, 0)


def test_a_row_without_an_end_is_text_up_to_its_last_token():
    rows = torch.tensor([[2, 3, 2, 3], [2, EOS, PAD, PAD], [2, 3, 2, PAD], [2, PAD, PAD, PAD]])
    told = BlockProcess(MASK, 2).eligible(rows)
    assert told.int().tolist() == [[1, 1, 1, 1], [1, 1, 0, 0], [1, 1, 1, 1], [1, 1, 0, 0]]
    network = TableNetwork()
    exact = block_bound(network, rows[0], 1, L)
    loss = BlockProcess(MASK, 1).loss(network, TokenState(rows[:1]), seeded(0))
    torch.testing.assert_close(loss, torch.tensor([exact], dtype=torch.float64))
