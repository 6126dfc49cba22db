"""Score matching on graphs that are token rows."""

import pytest
import torch

from scidiff.core import Tape, seeded
from scidiff.data.graph_tokens import to_graphs
from scidiff.data.tokens import EOS, PAD, TokenState, Vocabulary, encode_rows
from scidiff.networks.gdss import GDSSNetwork, GDSSNetworkConfig
from scidiff.processes.gaussian import per_row
from scidiff.processes.graph_sde import (
    GraphSDE,
    GraphSDEProcess,
    Noise,
    graph_components,
    graph_sde,
)
from scidiff.processes.schedules import VE, VP, alpha

ROWS = ["C", "CC-", "CC-O.-", "CO=N.-F..."]
VOCABULARY = Vocabulary(("C", "N", "O", "F", ".", "-", "="), "graph")
IDS = encode_rows(VOCABULARY, ROWS)
SDE = GraphSDE(Noise("vp", 0.1, 1.0), Noise("ve", 0.2, 1.0))


class Fixed:
    """A network whose clean guess is a function of the noisy state."""

    features = 4

    def __init__(self, guess):
        self.guess = guess

    def denoiser(self, schedule_x, schedule_a):
        components = graph_components(schedule_x, schedule_a)

        class Guess:
            rows = 0

            def __call__(_, x, t):
                return self.guess(x, t, components)

        Guess.components = components
        return Guess()


def process(**changes):
    return GraphSDEProcess(VOCABULARY, GraphSDE(SDE.x, SDE.a, **changes))


def test_the_record_makes_the_schedules():
    assert SDE.schedules() == (VP(0.1, 1.0), VE(0.2, 1.0))
    table = {"x": {"kind": "vp", "min": 0.1, "max": 1.0},
             "a": {"kind": "ve", "min": 0.2, "max": 1.0}, "nodes": "types"}  # fmt: skip
    assert GraphSDE.of(table) == SDE


@pytest.mark.parametrize(
    "make, message",
    [
        (lambda: Noise("vpp"), "noise must be one of vp, ve, got 'vpp'"),
        (lambda: Noise("ve", 1.0, 0.2), "0 < sigma_min < sigma_max, got 1.0 and 0.2"),
        (lambda: GraphSDE(nodes="type"), "nodes must be types or degrees, got 'type'"),
    ],
)
def test_wrong_settings_are_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_nodes_are_types_or_degrees():
    types, numbers = process().graphs(IDS, 4), process(nodes="degrees").graphs(IDS, 3)
    assert types.X.argmax(-1)[3].tolist() == [0, 2, 1, 3]
    chain = [1, 2, 1, 0]  # C = O - N, and F alone
    assert [int(row.argmax()) for row in numbers.X[3]] == chain
    assert torch.equal(numbers.X.sum(-1).bool(), numbers.mask) and torch.equal(types.A, numbers.A)


def test_what_the_network_cannot_read_is_refused():
    with pytest.raises(ValueError, match="reads 5 node features, but the data has 4 node types"):
        process().graphs(IDS, 5)
    with pytest.raises(ValueError, match="degree 2, but 2 features hold degrees up to 1"):
        process(nodes="degrees").graphs(IDS, 2)


def test_only_what_is_there_has_a_loss():
    """A guess of zero costs 1/2 SNR |x0|^2 over the entries of present nodes."""
    clean, tape = to_graphs(IDS, VOCABULARY), Tape(seeded(0))
    silent = Fixed(lambda x, t, c: (torch.zeros_like(x.X), torch.zeros_like(x.A)))
    got = process().loss(silent, TokenState(IDS), tape)
    t = 1e-5 + (1 - 1e-5) * tape.draws[0][1]
    want = sum(
        (alpha(s, t) / s.sigma(t)) ** 2 * part.double().square().flatten(1).sum(1) / 2
        for s, part in zip(SDE.schedules(), clean.parts, strict=True)
    )
    assert torch.allclose(got.double(), want, rtol=1e-5)
    exact = Fixed(lambda x, t, c: clean.parts)
    assert (process().loss(exact, TokenState(IDS), seeded(1)) == 0).all()


def test_noise_is_symmetric_and_stays_off_the_padding():
    clean = process().graphs(torch.nn.functional.pad(IDS, (0, 9), value=PAD), 4)
    x = process().noise(clean, torch.full((4,), 0.7), seeded(0))
    pairs = x.mask[:, :, None] & x.mask[:, None] & ~torch.eye(5, dtype=torch.bool)
    assert torch.equal(x.A, x.A.mT) and torch.equal(x.A != 0, pairs)
    assert torch.equal((x.X != 0).any(-1), x.mask)


def coin_posterior(p):
    """The exact clean guess where every pair of C nodes is bonded with probability p."""

    def guess(x, t, components):
        level, sigma = (per_row(f(t), x.A) for f in (
            lambda t: alpha(components[1].schedule, t), components[1].schedule.sigma))  # fmt: skip
        odds = p / (1 - p) * ((2 * level * x.A - level**2) / (2 * sigma**2)).exp()
        pairs = x.mask[:, :, None] & x.mask[:, None] & ~torch.eye(3, dtype=torch.bool)
        X = torch.zeros_like(x.X)
        X[..., 0] = x.mask
        return X, odds / (1 + odds) * pairs

    return guess


def test_the_exact_guess_has_the_least_loss():
    n = 4000
    none, bond, c = (VOCABULARY.encode(symbol)[0] for symbol in ".-C")
    ids = torch.full((n, 7), c)
    ids[:, [2, 4, 5]] = torch.where(torch.rand(n, 3, generator=seeded(0)) < 0.3, bond, none)
    ids[:, 6] = EOS
    x0 = TokenState(ids)
    losses = {
        p: process().loss(Fixed(coin_posterior(p)), x0, seeded(1)).double().mean()
        for p in (0.2, 0.3, 0.42)
    }
    assert losses[0.3] == min(losses.values()) > 0


def test_the_loss_of_x_leaves_the_network_of_a_alone():
    torch.manual_seed(0)
    network = GDSSNetwork(GDSSNetworkConfig(4, 8, 1, 2, c_hidden=4, attention_dim=4, heads=2))
    whole = process()
    denoiser = network.denoiser(*SDE.schedules())
    parts = graph_sde(*SDE.schedules()).losses(denoiser, whole.graphs(IDS, 4), seeded(0))
    parts[0].sum().backward()
    assert all(p.grad is None or not p.grad.any() for p in network.network_a.parameters())
    assert any(p.grad is not None and p.grad.any() for p in network.network_x.parameters())
    assert torch.allclose(whole.loss(network, TokenState(IDS), seeded(0)), sum(parts))
