"""What each pass of the token transformer may see, and how the sampler evaluates it."""

import pytest
import torch

from scidiff.core import ScidiffError, Tape, seeded
from scidiff.data.tokens import EOS, PAD, TokenState
from scidiff.networks.layers import rotary_table, rotate
from scidiff.networks.token_denoiser import TokenDenoiser
from scidiff.networks.token_transformer import (
    TokenTransformer,
    TokenTransformerConfig,
    block_causal_mask,
    two_copy_mask,
)
from scidiff.samplers.canvas import FixedCanvas, LengthLaw
from scidiff.samplers.masked import MaskedSampler

V, L = 9, 12
MASK = V - 1


def network(own=True, depth=2):
    """A network with random weights everywhere; `own=False` leaves own() at zero as after
    autoregressive training."""
    net = TokenTransformer(TokenTransformerConfig(V, L, width=32, depth=depth, heads=2))
    rng = seeded(0)
    with torch.no_grad():
        for name, p in net.named_parameters():
            if p.ndim == 2 and (own or not name.startswith("own")):
                p.copy_(torch.randn(p.shape, generator=rng) / p.shape[1] ** 0.5)
        net.own.weight[MASK] = 0
    return net.eval()


def clean_rows(n=3, length=L):
    return torch.randint(2, MASK, (n, length), generator=seeded(1))


def close(a, b):
    torch.testing.assert_close(a, b, atol=2e-5, rtol=1e-5)


@torch.no_grad()
def test_pad_never_changes_real_positions():
    net, ids = network(), clean_rows(length=7)
    ids[:, -1] = EOS
    padded = torch.cat([ids, torch.full((3, 5), PAD)], 1)
    close(net.bidirectional(padded)[:, :7], net.bidirectional(ids))


@pytest.mark.parametrize("size", [1, 3, 4, 5])
@torch.no_grad()
def test_later_blocks_leak_nothing(size):
    net, ids = network(), clean_rows()
    changed = ids.clone()
    start = 2 * size
    changed[:, start:] = (changed[:, start:] - 1) % (MASK - 2) + 2
    assert (changed != ids)[:, start:].all()
    a, b = net.prefix(ids, size), net.prefix(changed, size)
    close(a[:, :start], b[:, :start])
    assert not torch.allclose(a[:, start:], b[:, start:], atol=1e-3)


@torch.no_grad()
def test_causal_sees_earlier_tokens_only():
    net, ids = network(), clean_rows()
    changed = ids.clone()
    changed[:, 6] = (changed[:, 6] - 1) % (MASK - 2) + 2
    a, b = net.causal(ids), net.causal(changed)
    close(a[:, :7], b[:, :7])
    assert not torch.allclose(a[:, 7], b[:, 7], atol=1e-3)


@torch.no_grad()
def test_causal_is_two_copy_of_block_one_while_own_is_zero():
    net, ids = network(own=False), clean_rows()
    hidden = torch.full_like(ids, MASK)
    close(net.causal(ids), net.two_copy(hidden, ids, 1))
    trained = network()
    assert not torch.allclose(trained.causal(ids), trained.two_copy(hidden, ids, 1), atol=1e-3)


def test_a_fresh_network_has_own_zero_and_uniform_tokens():
    net = TokenTransformer(TokenTransformerConfig(V, L, width=32, depth=1, heads=2))
    assert not net.own.weight.any()
    p = net.log_probs(net.causal(clean_rows())).exp()
    close(p[..., :MASK], torch.full_like(p[..., :MASK], 1 / (V - 1)))


@pytest.mark.parametrize("size", [1, 3, 4, 5])
@torch.no_grad()
def test_prefix_is_the_noisy_half_of_two_copy(size):
    net, clean = network(), clean_rows()
    hide = torch.rand(clean.shape, generator=seeded(2)) < 0.6
    noisy = torch.where(hide, MASK, clean)
    trained = net.two_copy(noisy, clean, size)
    for start in range(0, L, size):
        stop = min(start + size, L)
        ids = torch.full_like(clean, MASK)
        ids[:, :start], ids[:, start:stop] = clean[:, :start], noisy[:, start:stop]
        close(net.prefix(ids, size)[:, start:stop], trained[:, start:stop])


@torch.no_grad()
def test_one_block_is_the_bidirectional_pass():
    net, clean = network(), clean_rows()
    noisy = torch.where(torch.rand(clean.shape, generator=seeded(2)) < 0.6, MASK, clean)
    close(net.two_copy(noisy, clean, L), net.bidirectional(noisy))
    close(net.prefix(noisy, L), net.bidirectional(noisy))


def test_training_and_evaluation_attend_alike():
    net, ids = network(), clean_rows()
    ids[0, 8:] = PAD
    with_gradients = net.bidirectional(ids).detach(), net.causal(ids).detach()
    with torch.no_grad():
        close(with_gradients[0], net.bidirectional(ids))
        close(with_gradients[1], net.causal(ids))


@torch.no_grad()
def test_log_probs_are_normalised_in_float32_and_never_mask():
    net = network()
    log_p = net.log_probs(net.bidirectional(clean_rows()).bfloat16())
    assert log_p.dtype == torch.float32
    assert torch.isneginf(log_p[..., MASK]).all() and torch.isfinite(log_p[..., :MASK]).all()
    close(log_p.exp().sum(-1), torch.ones(3, L))


def test_masks():
    assert block_causal_mask(4, 2, torch.device("cpu")).int().tolist() == [
        [1, 1, 0, 0],
        [1, 1, 0, 0],
        [1, 1, 1, 1],
        [1, 1, 1, 1],
    ]
    assert two_copy_mask(2, 1, torch.device("cpu")).int().tolist() == [
        [1, 0, 0, 0],
        [0, 1, 1, 0],
        [0, 0, 1, 0],
        [0, 0, 1, 1],
    ]


def test_rotary_scores_depend_on_the_distance_alone():
    angles = rotary_table(20, 8)
    q, k = torch.randn(2, 1, 1, 1, 8, generator=seeded(3))

    def score(i, j):
        a, b = (rotate(x, angles[p].cos(), angles[p].sin()) for x, p in ((q, i), (k, j)))
        return (a * b).sum()

    close(score(3, 7), score(10, 14))
    assert abs(score(3, 7) - score(3, 9)) > 1e-3


# ---------------------------------------------------------------- the denoiser


def half_written(block_size):
    """Rows of different lengths: given, partly hidden, untouched, finished."""
    clean = clean_rows(6)
    for row, n in enumerate((3, 5, 7, 9, 11, 6)):
        clean[row, n], clean[row, n + 1 :] = EOS, PAD
    hide = torch.rand(clean.shape, generator=seeded(4)) < 0.5
    hide[-1] = False
    if block_size is None:
        hide &= clean >= 2
    else:  # left to right: whole blocks behind the one being written are hidden
        written = torch.tensor([0, 1, 1, 2, 2, 99])[:, None]
        block = torch.arange(L)[None, :] // block_size
        hide = ((block == written) & hide) | (block > written)
        hide[torch.arange(5), written[:5, 0] * block_size] = True
    return TokenState(torch.where(hide, MASK, clean))


def where_read(x, block_size):
    """Positions a sampler reads: hidden ones, of the first block that hides any."""
    hidden = x.ids == MASK
    if block_size is None:
        return hidden
    first = hidden.int().argmax(1, keepdim=True) // block_size
    return hidden & (torch.arange(L)[None, :] // block_size == first)


@pytest.mark.parametrize("block_size", [None, 1, 3, 4, 5])
def test_compact_evaluation_changes_nothing(block_size):
    net, x = network(), half_written(block_size)
    read = where_read(x, block_size)
    assert read.any(1)[:5].all() and not read[5].any()
    full = TokenDenoiser(net, block_size, compact=False)(x, 0)
    for micro_batch in (None, 2):
        fast = TokenDenoiser(net, block_size, compact=True, micro_batch=micro_batch)
        close(fast(x, 0)[read], full[read])
        assert fast.rows == 5  # the finished row costs nothing
    small = TokenDenoiser(net, block_size, compact=False, micro_batch=4)
    close(small(x, 0), full)
    assert small.rows == 6


def test_a_pad_inside_a_row_cuts_nothing_off():
    x = TokenState(torch.tensor([[PAD, PAD, MASK, 2, EOS, PAD]]))
    full, fast = (TokenDenoiser(network(), compact=c)(x, 0)[0, 2] for c in (False, True))
    close(fast, full)


def test_bf16_keeps_the_head_in_float32():
    denoiser, x = TokenDenoiser(network(), dtype=torch.bfloat16), half_written(None)
    log_p = denoiser.log_probs(denoiser(x, 0))
    exact = TokenDenoiser(network())
    assert log_p.dtype == torch.float32
    read = where_read(x, None)
    p, q = log_p[read].exp(), exact.log_probs(exact(x, 0))[read].exp()
    assert 0 < (p - q).abs().max() < 0.1


@pytest.mark.parametrize("block_size", [0, L + 1])
def test_impossible_blocks_are_refused(block_size):
    with pytest.raises(ScidiffError, match=rf"must be in 1..{L} .* got {block_size}"):
        TokenDenoiser(network(), block_size)


@pytest.mark.parametrize("block_size", [None, 4])
def test_a_step_never_waits_for_the_device(block_size):
    denoiser = TokenDenoiser(network(depth=1), block_size, compact=False)
    canvas = LengthLaw([0, 0, 1, 2, 3], MASK, L) if block_size is None else None
    sampler = MaskedSampler(
        denoiser, canvas or FixedCanvas.blank(L, MASK), block_size=block_size, tokens_per_step=2
    )
    x, tape = sampler.init(4, seeded(0)), Tape(seeded(1))
    y = sampler.step(x, 0, tape)
    compiled = torch.compile(sampler.step, fullgraph=True, backend="eager")
    assert torch.equal(compiled(x, 0, tape.rewind()).ids, y.ids)
    assert (y.ids != x.ids).any()
