"""Networks that are tables: arbitrary or exact conditionals of rows short enough to enumerate."""

from itertools import permutations

import torch

from scidiff.core import seeded

L, V = 4, 6
MASK = V - 1


class TableNetwork:
    """Arbitrary conditionals, one row of logits for every partly hidden state: no joint law need
    agree with them, so the loss depends on the order it averages over."""

    max_length = L

    def __init__(self):
        logits = 2 * torch.randn(V**L, L, V, generator=seeded(7), dtype=torch.float64)
        logits[..., MASK] = float("-inf")
        self.log_p = logits.log_softmax(-1)

    def bidirectional(self, ids):
        return self.log_p[(ids * V ** torch.arange(L)).sum(1)]

    def log_probs(self, trunk):
        return trunk


class ExactNetwork:
    """The conditionals of a joint law."""

    def __init__(self, table):
        self.table, self.max_length = table, table.length

    def bidirectional(self, ids):
        return self.table.log_conditionals[self.table.index(ids)]

    def log_probs(self, trunk):
        return trunk


def any_order_bound(network, row, free):
    """The mean over all orders of the `free` positions of -log of the product of conditionals."""
    total, orders = 0.0, list(permutations(free))
    for order in orders:
        ids = row.clone()
        ids[list(free)] = MASK
        for i in order:
            total -= float(network.log_probs(network.bidirectional(ids[None]))[0, i, row[i]])
            ids[i] = row[i]
    return total / len(orders)


def z_score(values, expected):
    return float((values.mean() - expected) / (values.std() / len(values) ** 0.5))
