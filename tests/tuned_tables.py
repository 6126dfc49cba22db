"""A network that is a table of logits to be tuned, over rows short enough to enumerate, and what
it draws, exactly."""

import copy

import torch
from torch import nn

from scidiff.data.tokens import EOS, TokenState
from scidiff.testing import Table


class TunedTable(nn.Module):
    """Conditionals of `table` as parameters, one row of logits a partly hidden state; EOS behind
    a row's symbols is certain."""

    def __init__(self, table: Table, dtype=torch.float64):
        super().__init__()
        self.table, self.max_length = table, table.length + 1
        unused = torch.ones(table.vocab_size, dtype=torch.bool)
        unused[table.seqs.unique()] = False
        self.register_buffer("unused", unused)
        self.logits = nn.Parameter(table.log_conditionals.clamp(min=-30).to(dtype))

    def conditionals(self):
        """(S, L, V) log-probabilities of the tokens in use."""
        return self.logits.masked_fill(self.unused, float("-inf")).log_softmax(-1)

    def bidirectional(self, ids):
        L = self.table.length
        told = self.conditionals()[self.table.index(ids[:, :L])]
        if ids.shape[1] == L:
            return told
        end = torch.full_like(told[:, :1], float("-inf"))
        end[..., EOS] = 0
        return torch.cat([told, end], 1)

    def two_copy(self, noisy, clean, block_size):
        columns = []
        for i in range(noisy.shape[1]):
            first = i // block_size * block_size
            at = torch.arange(noisy.shape[1])
            seen = torch.where(at < first, clean, noisy)
            seen = torch.where(at >= first + block_size, self.table.mask_id, seen)
            columns.append(self.bidirectional(seen)[:, i])
        return torch.stack(columns, 1)

    def causal(self, clean):
        return self.two_copy(torch.full_like(clean, self.table.mask_id), clean, 1)

    def log_probs(self, trunk):
        return trunk

    def law(self, order="random"):
        """The law (N,) of rows written one token a step, with a gradient."""
        table, L = self.table, self.table.length
        mass = {(table.mask_id,) * L: torch.ones((), dtype=self.logits.dtype)}
        log_p = self.conditionals()
        for _ in range(L):
            after = {}
            for state, p in mass.items():
                hidden = [i for i in range(L) if state[i] == table.mask_id]
                places = hidden if order == "random" else hidden[:1]
                row = int(table.index(torch.tensor([state]))[0])
                for i in places:
                    for v in table.seqs.unique().tolist():
                        new = (*state[:i], v, *state[i + 1 :])
                        share = p * log_p[row, i, v].exp() / len(places)
                        after[new] = after.get(new, 0) + share
            mass = after
        return torch.stack([mass[tuple(s)] for s in table.seqs.tolist()])


def ended(seqs):
    """Rows with EOS behind them."""
    return TokenState(torch.cat([seqs, torch.full_like(seqs[:, :1], EOS)], 1))


def twins(table, dtype=torch.float64):
    """A network to tune and its reference."""
    network = TunedTable(table, dtype)
    return network, copy.deepcopy(network).requires_grad_(False)


def distance(p, q):
    """Total variation."""
    return float((p - q).abs().sum() / 2)


class TunedPredictor:
    """A tuned table as samplers of rows without EOS see it."""

    def __init__(self, network):
        self.network, self.block_size, self.rows = network, None, 0
        self.mask_id, self.vocab_size = network.table.mask_id, network.table.vocab_size

    @torch.no_grad()
    def __call__(self, x, k):
        return self.network.bidirectional(x.ids)

    def log_probs(self, trunk):
        return trunk
