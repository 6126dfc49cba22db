"""Energies from networks: one pass of a left-to-right one, and the contrastive transformer."""

from itertools import product

import pytest
import torch

from scidiff.core import seeded
from scidiff.data.tokens import EOS, PAD, TokenState
from scidiff.networks.energy import (
    Autoregressive,
    Contrastive,
    EnergyTransformer,
    EnergyTransformerConfig,
    LeftToRight,
)
from scidiff.networks.token_denoiser import TokenDenoiser
from scidiff.networks.token_transformer import (
    TokenTransformer,
    TokenTransformerConfig,
)

V, L = 6, 7
MASK = V - 1


def awake(net):
    """Random weights everywhere."""
    rng = seeded(0)
    with torch.no_grad():
        for p in net.parameters():
            p.copy_(torch.randn(p.shape, generator=rng) / max(1, p.shape[-1]) ** 0.5)
    return net.eval()


def network(own=True):
    net = awake(TokenTransformer(TokenTransformerConfig(V, L, width=16, depth=2, heads=2)))
    with torch.no_grad():
        net.own.weight.mul_(own)
        net.own.weight[MASK] = 0
    return net


def ended_rows():
    rows = [
        [*w, EOS, *[PAD] * (L - 1 - n)] for n in range(4) for w in product((2, 3, 4), repeat=n)
    ]
    return torch.tensor(rows)


@pytest.mark.parametrize("own", [False, True])
@torch.no_grad()
def test_one_pass_is_what_the_sampler_of_single_tokens_sees(own):
    net, ids = network(own), ended_rows()[[0, 5, 20, 39]]
    denoiser, told = TokenDenoiser(net, 1), torch.zeros(ids.shape)
    for i in range(L):
        x = TokenState(torch.where(torch.arange(L) < i, ids, MASK))
        told[:, i] = denoiser.log_probs(denoiser(x, i))[torch.arange(4), i, ids[:, i]]
    got = LeftToRight(net, MASK, blocks=own)(ids)
    torch.testing.assert_close(got, torch.where(ids == PAD, 0.0, told), atol=2e-5, rtol=1e-5)


def test_rows_are_read_once_and_in_their_place():
    score, ids = LeftToRight(network(False), MASK), ended_rows()
    alone = torch.cat([score(row[None]) for row in ids])
    score.rows = 0
    order = torch.randint(len(ids), (100,), generator=seeded(1))
    torch.testing.assert_close(score(ids[order]), alone[order], atol=2e-5, rtol=1e-5)
    assert score.rows == len(order.unique())


def test_another_vocabulary_is_translated():
    ids = ended_rows()
    translate = torch.tensor([PAD, EOS, 4, 2, 3, MASK])
    plain, told = (LeftToRight(network(False), MASK, translate=t) for t in (None, translate))
    torch.testing.assert_close(told(ids), plain(translate[ids]))


def test_whole_rows_or_hidden_tokens_only():
    score, ids = LeftToRight(network(False), MASK), ended_rows()[[30, 31, 32, 33]].view(2, 2, L)
    x = TokenState(ids[:, 0].clone())
    x.ids[:, 1] = MASK
    each, drawn = score(ids.view(4, L)).view(2, 2, L).double(), torch.full((2, 2), -0.5)
    whole = Autoregressive(score, MASK)(x, ids, drawn)
    torch.testing.assert_close(whole, -0.5 - each.sum(-1))
    carried = Autoregressive(score, MASK, carry_over=True)(x, ids, drawn)
    torch.testing.assert_close(carried, -0.5 - each[..., 1])


def test_an_untrained_energy_is_flat():
    net = EnergyTransformer(EnergyTransformerConfig(V, L, width=16, depth=1, heads=2))
    ids = ended_rows()
    assert not net.energy(ids, ids).any()


@torch.no_grad()
def test_padding_and_other_candidates_change_nothing():
    net = awake(EnergyTransformer(EnergyTransformerConfig(V, L, width=16, depth=2, heads=2)))
    clean = ended_rows()[[30, 31, 32, 33, 35, 36]].view(3, 2, L)
    noisy = clean[:, 0].clone()
    noisy[:, 0] = MASK
    got = Contrastive(net)(TokenState(noisy), clean, torch.zeros(3, 2))
    one_by_one = [[net.energy(noisy[b : b + 1], clean[b, k : k + 1]) for k in range(2)]
                  for b in range(3)]  # fmt: skip
    expected = torch.stack([torch.cat(row) for row in one_by_one])
    torch.testing.assert_close(got, expected, atol=1e-5, rtol=1e-5)
    cut = net.energy(noisy[:, :5], clean[:, 0, :5])
    torch.testing.assert_close(cut, got[:, 0], atol=1e-5, rtol=1e-5)
    seen = Contrastive(net)(TokenState(clean[:, 0]), clean, torch.zeros(3, 2))
    assert (seen - got).abs().min() > 1e-4  # it reads what is hidden


def test_a_width_that_heads_do_not_divide_is_refused():
    with pytest.raises(ValueError, match="multiple of 2 \\* heads = 8, got 12"):
        EnergyTransformerConfig(V, L, width=12)
