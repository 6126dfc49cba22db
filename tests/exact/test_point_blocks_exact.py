"""Sequence, then structure: what one block, blocks of one atom and a kept cache must equal."""

from __future__ import annotations

from dataclasses import replace
from itertools import product

import pytest
import torch
from torch import nn

from scidiff.core import normal, seeded
from scidiff.data.tokens import EOS, FIRST_SYMBOL, PAD, TokenState
from scidiff.guidance.particles import sample
from scidiff.networks.block_guesses import NetworkGuesses
from scidiff.networks.point_blocks import PointBlockNetwork, PointBlockNetworkConfig
from scidiff.networks.token_denoiser import TokenDenoiser
from scidiff.processes.block import AutoregressiveProcess, BlockProcess
from scidiff.processes.continuous_blocks import (
    BlockwiseGaussian,
    Items,
    block_of,
    clean_guess,
    even_blocks,
    levels,
)
from scidiff.processes.point_blocks import PointBlockProcess, PointBlocks, with_end
from scidiff.samplers.canvas import FixedCanvas
from scidiff.samplers.continuous_blocks import ContinuousBlockSampler, make_front
from scidiff.samplers.gaussian import GaussianSampler
from scidiff.samplers.masked import MaskedSampler
from scidiff.samplers.point_blocks import SequenceThenBlocks

N, K = 4, 2  # atoms at most, types
VOCABULARY = K + 3


def network(head: int = 0, spatial: int = 1, width: int = 16) -> PointBlockNetwork:
    torch.manual_seed(3)  # which finds no token unlikely
    sizes = {"width": width, "heads": 2, "sequence_depth": 1, "depth": 2}
    config = PointBlockNetworkConfig(VOCABULARY, N, head_depth=head, spatial=spatial, **sizes)
    net = PointBlockNetwork(config)
    for name, p in net.named_parameters():
        if not p.any() and "own" not in name:  # what autoregression never trains stays zero
            nn.init.normal_(p, std=0.3)
    return net.eval().requires_grad_(False)


def sampler(net, sizes, steps=3, compact=False, guesses=None, **how) -> SequenceThenBlocks:
    denoiser = TokenDenoiser(net.sequence, 1, compact=compact, prefix_cache=False)
    atoms = MaskedSampler(denoiser, FixedCanvas.blank(N, VOCABULARY - 1), block_size=1)
    component = PointBlocks().component
    guesses = guesses or NetworkGuesses(net.structure, component, compact)
    front = make_front(component, sizes, steps, **how)
    places = ContinuousBlockSampler(guesses, lambda n, rng: None, front)
    return SequenceThenBlocks(atoms, places, net.read, K)


def molecules(rows: int = 6, seed: int = 1) -> Items:
    """Molecules of 1 to N atoms, in angstrom."""
    mask = torch.arange(N) < (torch.arange(rows) % N + 1)[:, None]
    x = 2 * normal((rows, N, 3), seeded(seed)) * mask[..., None]
    kind = torch.randint(K, (rows, N), generator=seeded(seed, 1)) + FIRST_SYMBOL
    return Items(x, kind.masked_fill(~mask, PAD), mask)


# ---------------------------------------------------------------- the sequence


def test_the_loss_of_atoms_is_minus_the_log_of_what_autoregression_draws() -> None:
    # all sequences of at most N atoms: their probabilities sum to one where N atoms end a row
    net, total = network().double(), 0.0
    for n in range(N + 1):
        for kinds in product(range(K), repeat=n):
            ids = torch.full((1, N + 1), PAD)
            ids[0, :n] = torch.tensor(kinds, dtype=torch.int64) + FIRST_SYMBOL
            ids[0, n] = EOS
            shown = torch.full((1, N + 1), VOCABULARY - 1)
            logs = 0.0
            for i in range(min(n + 1, N)):  # one call an atom, of what was written before
                said = net.sequence.log_probs(net.sequence.prefix(shown, 1))[0, i]
                logs, shown[0, i] = logs + said[ids[0, i]], ids[0, i]
            total += float(torch.exp(torch.as_tensor(logs)))
            whole = AutoregressiveProcess(VOCABULARY - 1).loss(
                net.sequence, TokenState(ids[:, : n + 1]), seeded(0)
            )
            if n < N:
                assert torch.allclose(whole[0], -logs, atol=1e-10)
    # PAD is no atom: what the network gives it is missing from the sum
    assert total == pytest.approx(1.0 - pad_share(net), abs=1e-9)


def pad_share(net: PointBlockNetwork) -> float:
    """Probability that autoregression writes PAD, or no symbol, before the end."""
    missing, prefixes = 0.0, [((), 1.0)]
    for i in range(N):
        following = []
        for kinds, p in prefixes:
            shown = torch.full((1, N + 1), VOCABULARY - 1)
            shown[0, :i] = torch.tensor(kinds, dtype=torch.int64)
            law = net.sequence.log_probs(net.sequence.prefix(shown, 1))[0, i].exp()
            missing += p * float(law[PAD])
            following += [((*kinds, s), p * float(law[s]))
                          for s in range(FIRST_SYMBOL, FIRST_SYMBOL + K)]  # fmt: skip
        prefixes = following
    return missing


def test_the_loss_is_that_of_atoms_and_of_places_apart() -> None:
    net, x0 = network().double(), molecules()
    x0 = replace(x0, features=x0.features.double())
    process = PointBlockProcess(PointBlocks(sizes=(2,), structure=0.7))
    rng = seeded(3)
    found = process.loss(net, x0, rng)
    ids, again = with_end(x0), seeded(3)
    torch.rand((), generator=again)  # which block size
    nats = AutoregressiveProcess(VOCABULARY - 1).loss(net.sequence, TokenState(ids), again)
    told = replace(process.settings.inward(x0), told=net.sequence.causal(ids)[:, 1:])
    gaussian = BlockwiseGaussian(process.settings.component, 2)
    places = gaussian.loss(net.structure, told, again)
    assert torch.allclose(found, nats + 0.7 * x0.mask.sum(1) * places, atol=1e-10)
    one = BlockProcess(VOCABULARY - 1, 1).loss(net.sequence, TokenState(ids), seeded(0))
    assert torch.allclose(one, nats, atol=1e-10)


def test_a_hidden_state_has_read_its_atom_and_none_behind_it() -> None:
    chain, x = sampler(network(), (N,)), molecules()
    whole = replace(x, tokens=x.tokens[3:4], features=x.features[3:4], mask=x.mask[3:4])
    other = replace(whole, tokens=whole.tokens.clone())
    other.tokens[0, 2] = 5 - other.tokens[0, 2]  # the other of two kinds
    a, b = (chain._items(chain._types(m.tokens), m.tokens).told for m in (whole, other))
    same = (a == b).all(-1)[0].tolist()
    assert same == [True, True, False, False]
    expected = network().sequence.causal(with_end(whole))[:, 1:]
    assert torch.allclose(a, expected, atol=1e-6)


def test_atoms_are_drawn_by_their_law() -> None:
    net, n = network(), 4000
    x = sample(sampler(net, (N,), 1), n, seeded(5))
    shown = torch.full((1, N + 1), VOCABULARY - 1)
    law = net.sequence.log_probs(net.sequence.prefix(shown, 1))[0, 0].exp()
    for kind in range(K):
        share = float(x.types[:, 0, kind].mean())
        p = float(law[FIRST_SYMBOL + kind])
        assert abs(share - p) < 4 * (p * (1 - p) / n) ** 0.5


def test_a_row_ends_at_the_first_token_that_is_no_atom() -> None:
    ids = torch.tensor([[2, EOS, 3, 2], [3, PAD, 2, 2], [2, 3, 2, VOCABULARY - 1], [3, 2, 2, 3]])
    types = sampler(network(), (N,))._types(ids)
    assert types.sum((1, 2)).tolist() == [1, 1, 3, 4]
    assert types[2].argmax(-1)[:3].tolist() == [0, 1, 0]


# ---------------------------------------------------------------- places


@pytest.mark.parametrize("head", [0, 1], ids=["whole", "head"])
@pytest.mark.parametrize("solver, eta", [("2m", 0.0), ("2m", 1.0), ("heun", 0.0)])
def test_one_block_is_the_plain_sampler_under_the_same_seed(solver, eta, head) -> None:
    net, component = network(head), PointBlocks().component
    ours = sampler(net, (N,), 5, solver=solver, eta=eta)
    rng = seeded(7)
    x = ours.init(6, rng)
    for k in range(ours.written - 1):
        x = ours.step(x, k, rng)
    state = rng.get_state()
    ended = x
    for k in range(ours.written - 1, ours.num_steps):
        ended = ours.step(ended, k, rng)
    rng.set_state(state)
    written = ours.atoms.step(x.atoms, ours.written - 1, rng)  # the draw of the last atom
    items = ours._items(ours._types(written.ids), written.ids)
    plain = GaussianSampler(Plain(net, items, component), lambda n, rng: items, steps=5,
                            solver=solver, eta=eta)  # fmt: skip
    assert torch.allclose(sample(plain, 6, rng).features, ended.positions, atol=1e-6)


class Plain:
    """The network's guesses of whole rows, as the plain engine asks for them."""

    rows = 0

    def __init__(self, net, items, component) -> None:
        self.net, self.items, self.components = net.structure, items, (component,)

    def __call__(self, x, t):
        L = x.features.shape[1]
        times = t.expand(len(x), L)
        a, sigma = levels(self.components[0], times, x.features)
        scale = (a.square() + sigma.square()).sqrt()
        blank = replace(self.items, features=torch.zeros_like(x.features))
        said = self.net(blank, x.features / scale, times.float(), block_of((L,)))
        return (clean_guess(said, x.features, a, sigma) * x.mask[..., None],)


@pytest.mark.parametrize("head", [0, 1], ids=["whole", "head"])
@pytest.mark.parametrize("size", [1, 2, 3, 4])
def test_what_is_kept_and_what_is_left_out_changes_nothing(size, head) -> None:
    net, sizes = network(head), even_blocks(N, size)
    plain = sampler(net, sizes, eta=1.0, guesses=Recomputed(net, sizes))
    kept = sampler(net, sizes, eta=1.0, compact=False)
    compact = sampler(net, sizes, eta=1.0, compact=True)
    found = [sample(s, 12, seeded(2)) for s in (plain, kept, compact)]
    assert found[0].mask.any() and not found[0].mask.all()
    for other in found[1:]:
        assert torch.equal(other.types, found[0].types)
        assert torch.allclose(other.positions, found[0].positions, atol=1e-5)
    assert compact.denoiser.rows < kept.denoiser.rows


class Recomputed:
    """Both copies of the whole row at every step."""

    def __init__(self, net, sizes) -> None:
        self.net, self.component = net.structure, PointBlocks().component
        self.blocks = block_of(sizes)

    def begin(self, x):
        return x

    def open(self, x, lo, hi):
        return x

    keep = open

    def __call__(self, x, t, lo, hi):
        a, sigma = levels(self.component, t, x.features)
        noisy = x.features / (a.square() + sigma.square()).sqrt()
        said = self.net(x, noisy, t.float().expand(len(x), -1), self.blocks)
        return clean_guess(said, x.features, a, sigma)[:, lo:hi]


# ---------------------------------------------------------------- frames


def test_the_loss_does_not_depend_on_where_a_molecule_is() -> None:
    net, x0 = network().double(), molecules()
    x0 = replace(x0, features=x0.features.double())
    q, _ = torch.linalg.qr(normal((3, 3), seeded(9)).double())
    q = q * torch.linalg.det(q).sign()
    moved = replace(x0, features=(x0.features @ q.T + 3.0) * x0.mask[..., None])
    process = PointBlockProcess(PointBlocks(sizes=(1, 2, 4)))
    for seed in range(4):
        one, other = (process.loss(net, x, seeded(seed)) for x in (x0, moved))
        assert torch.allclose(one, other, atol=1e-9)
    mirrored = replace(x0, features=-x0.features)
    big = x0.mask.sum(1) > 3
    differs = process.loss(net, mirrored, seeded(0)) - process.loss(net, x0, seeded(0))
    assert (differs[big].abs() > 1e-6).all() and big.any()


def test_attention_depends_on_differences_of_places() -> None:
    # told equal atoms without an order, a common shift of all places changes no attention
    net = network(spatial=2, width=32).structure.double()
    x = molecules()
    a = net._angles(0, N, x.features.double(), x)
    b = net._angles(0, N, x.features.double() + 1.5, x)
    order = a.shape[-1] - 2 * 3
    assert torch.equal(a[..., :order], b[..., :order])
    turn = (b - a)[..., order:]
    assert torch.allclose(turn, turn[:1, :, :1].expand_as(turn), atol=1e-12) and turn.all()
