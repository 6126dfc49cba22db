"""The graph transformer over token rows: what it may say where, and its symmetries."""

from dataclasses import replace

import pytest
import torch

from scidiff.core import seeded
from scidiff.data.graph_tokens import bonded_ids, kinds, places, triangle
from scidiff.data.tokens import EOS, PAD, TokenState
from scidiff.domains.molecule_graph import QM9, MoleculeGraphDomain
from scidiff.networks.graph_tokens import GraphTokenNetwork, GraphTokenNetworkConfig
from scidiff.networks.token_denoiser import TokenDenoiser
from scidiff.processes.conditional import ConditionalProcess
from scidiff.processes.discrete_flow import TokenNoise
from scidiff.processes.flow_bounds import JumpBound, StepBound
from scidiff.processes.masked import MaskedProcess
from scidiff.samplers.canvas import LengthLaw
from scidiff.samplers.compose import ClassifierFree, ConditionalDenoiser
from scidiff.samplers.masked import MaskedSampler
from scidiff.training.sizes import GraphTransformerSize

DOMAIN = MoleculeGraphDomain.of(QM9)
V = DOMAIN.vocabulary


def network(seed=0, **changes):
    torch.manual_seed(seed)
    size = {"width": 32, "edge_width": 16, "depth": 2, "heads": 4, **changes}
    net = GraphTransformerSize("graph_transformer", **size).build(V, triangle(6) + 1)
    for p in net.parameters():  # zero maps would hide what they read
        torch.nn.init.normal_(p, std=0.3)
    return net.eval()


def hidden(smiles, share=0.5, seed=0):
    ids = DOMAIN.encode(smiles).ids
    t = torch.full((len(ids),), share)
    return MaskedProcess(V.mask_id).noise(TokenState(ids), t, seeded(seed)).ids


def permuted(ids, n, order):
    """Rows whose first n nodes are taken in `order`; the end stays."""
    place = places(n)
    triangle_ids = ids[:, place][:, order][:, :, order]
    out = ids.clone()
    out[:, place] = triangle_ids
    return out


def test_every_position_is_given_what_may_stand_there_and_the_rest_is_certain():
    ids = hidden(["CCO", "CCOC=O"])
    log_p = network().bidirectional(ids)
    assert torch.allclose(log_p.exp().sum(-1), torch.ones(ids.shape))
    nodes, pairs = [V.encode(s)[0] for s in QM9], [V.encode(s)[0] for s in ".-=#"]
    assert log_p[0, 0, nodes].isfinite().all() and (log_p[0, 0, pairs] == -torch.inf).all()
    assert log_p[0, 1, nodes].isfinite().all() and (log_p[0, 2, nodes] == -torch.inf).all()
    assert (log_p[0, triangle(3) :, [PAD, EOS]]).isfinite().all()
    assert (log_p[..., V.mask_id] == -torch.inf).all()


@pytest.mark.parametrize("changes", [{}, {"orthogonal": True}, {"triangle": False, "walks": 0}])
def test_log_probabilities_follow_a_permutation_of_the_nodes(changes):
    net, ids, order = network(**changes), hidden(["CCOC=O", "C1CCN1F"]), [3, 1, 4, 0, 2]
    a, b = net.bidirectional(ids), net.bidirectional(permuted(ids, 5, order))
    place = places(5)
    assert torch.allclose(a[:, place][:, order][:, :, order], b[:, place], atol=1e-5)


def test_padding_does_not_change_what_a_graph_is_told():
    net, ids = network(), hidden(["CCO", "CCOC=O"])
    alone = net.bidirectional(ids[:1, : triangle(3) + 1])
    assert torch.allclose(net.bidirectional(ids)[:1, : triangle(3)], alone[:, :-1], atol=1e-6)


def test_a_hidden_pair_hears_of_the_bonds_around_it():
    net, ids = network(), DOMAIN.encode(["CCOC"]).ids
    ids[0, 1:3] = V.mask_id
    other = ids.clone()
    other[0, 5] = V.encode("=")[0]
    assert not torch.allclose(net.bidirectional(ids)[0, 1:3], net.bidirectional(other)[0, 1:3])


def test_time_is_read_where_asked_for():
    net, ids = network(time=True), hidden(["CCO"])
    with pytest.raises(ValueError, match=r"t must be \(B,\)"):
        net.bidirectional(ids)
    with pytest.raises(ValueError, match="does not read the time"):
        network().bidirectional(ids, torch.tensor([0.5]))
    early, late = (net.bidirectional(ids, torch.tensor([t])) for t in (0.1, 0.9))
    assert not torch.allclose(early[0, 0], late[0, 0])


def test_first_hitting_fills_graphs_of_every_size():
    denoiser = TokenDenoiser(network())
    law = LengthLaw([0.0] * 6 + [1.0] + [0.0] * 8 + [1.0], V.mask_id)  # 3 and 5 nodes
    sampler = MaskedSampler(denoiser, law)
    x, rng = sampler.init(12, seeded(0)), seeded(1)
    for k in range(sampler.num_steps):
        x = sampler.step(x, k, rng)
    records = DOMAIN.decode(x)
    assert not any("unfinished" in r.reason for r in records)
    assert {int((row == EOS).int().argmax()) for row in x.ids} == {triangle(3), triangle(5)}


def test_the_loss_is_finite_and_trains():
    net = network()
    x0 = DOMAIN.encode(["CCO", "CCOC=O", "C1CCN1F"])
    losses = MaskedProcess(V.mask_id).loss(net, x0, seeded(0))
    losses.sum().backward()
    assert losses.isfinite().all()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in net.parameters())


def test_an_extended_network_says_the_same_of_what_it_knew():
    wider = V.extended(["[N+]"])
    net, ids = network(), hidden(["CCO", "CCOC=O"])
    bigger = net.extended(wider).eval()
    again = torch.where(ids == V.mask_id, wider.mask_id, ids)
    old, new = net.bidirectional(ids), bigger.bidirectional(again)
    known = [i for i in range(len(V) - 1) if i > 1]
    pair = old[0, 1, known].softmax(-1)
    assert torch.allclose(new[0, 1, known].softmax(-1), pair, atol=1e-6)
    assert new[0, 0, wider.encode("[N+]")[0]].isfinite()


# ---------------------------------------------------------------- conditions


def conditional(time=False, seed=0):
    """A network that is told two numbers of every graph."""
    torch.manual_seed(seed)
    net = GraphTokenNetwork(
        GraphTokenNetworkConfig(
            tuple(kinds(V)), bonded_ids(V), 6, width=32, edge_width=16, depth=2, heads=4,
            time=time, conditions=((0.5, 0.1), (20.0, 5.0)),
        )
    )  # fmt: skip
    for p in net.parameters():
        torch.nn.init.normal_(p, std=0.3)
    return net.eval()


ASKED = torch.tensor([[0.4, 30.0], [0.7, 18.0]])
SHOWN, HIDDEN = torch.tensor([True, True]), torch.tensor([False, False])


def test_each_row_is_told_its_own_condition_and_hidden_ones_are_not_read():
    net, ids = conditional(), hidden(["CCO", "CCO"])[:1].expand(2, -1)
    told = net.given(ASKED, SHOWN).bidirectional(ids)
    place = triangle(3)
    assert not torch.allclose(told[0, :place, 2:-1], told[1, :place, 2:-1])
    swapped = net.given(ASKED.flip(0), SHOWN).bidirectional(ids)
    assert torch.allclose(swapped.flip(0), told, atol=1e-6)
    plain = net.bidirectional(ids)
    assert torch.equal(net.given(ASKED, HIDDEN).bidirectional(ids), plain)
    mixed = net.given(ASKED, torch.tensor([True, False])).bidirectional(ids)
    assert torch.equal(mixed, torch.stack([told[0], plain[1]]))
    with torch.no_grad():
        net.asked.not_shown += 1
    assert not torch.allclose(net.bidirectional(ids)[0, 0], plain[0, 0])


def test_conditions_are_standardised():
    """In units of another size, with mean and spread to match, the network says the same."""
    net, ids = conditional(), hidden(["CCO", "CCOC=O"])
    config = replace(net.config, conditions=((50.0, 10.0), (20.0, 5.0)))
    other = GraphTokenNetwork(config).eval()
    other.load_state_dict(net.state_dict())
    percent = ASKED * torch.tensor([100.0, 1.0])
    a, b = net.given(ASKED, SHOWN), other.given(percent, SHOWN)
    assert torch.allclose(a.bidirectional(ids), b.bidirectional(ids), atol=1e-4)


@pytest.mark.parametrize("time", [False, True])
def test_classifier_free_weights_0_and_1_are_the_two_branches(time):
    net = conditional(time)
    told, plain = (ConditionalDenoiser(net, V.mask_id, shown=s, timed=time) for s in (True, False))
    x, k = TokenState(hidden(["CCO", "CCOC=O"]), condition=ASKED), torch.tensor(0.5)
    bent = {w: ClassifierFree(told, plain, w) for w in (0.0, 1.0, 2.0)}
    log_p = {w: d.log_probs(d(x, k)) for w, d in bent.items()}
    assert torch.allclose(log_p[0.0].exp(), plain(x, k).exp(), atol=1e-6)
    assert torch.allclose(log_p[1.0].exp(), told(x, k).exp(), atol=1e-6)
    more = told(x, k).exp() ** 2 / plain(x, k).exp().clamp(min=1e-30)  # p_c^2 / p_u
    more = more / more.sum(-1, keepdim=True)
    assert torch.allclose(log_p[2.0].exp(), more, atol=1e-5)
    assert not torch.allclose(log_p[0.0].exp(), log_p[1.0].exp(), atol=1e-2)


def test_conditional_training_reaches_every_parameter():
    net = conditional()
    x0 = replace(DOMAIN.encode(["CCO", "CCOC=O"] * 8), condition=ASKED.repeat(8, 1))
    losses = ConditionalProcess(MaskedProcess(V.mask_id), 0.5).loss(net, x0, seeded(0))
    losses.sum().backward()
    assert losses.isfinite().all()
    assert all(p.grad is not None and bool((p.grad != 0).any()) for p in net.parameters())


def test_an_extended_conditional_network_says_the_same():
    wider = V.extended(["[N+]"])
    net, ids = conditional(), hidden(["CCO", "CCOC=O"])
    again = torch.where(ids == V.mask_id, wider.mask_id, ids)
    a = net.given(ASKED, SHOWN).bidirectional(ids)[..., 2:-1]
    b = net.extended(wider).eval().given(ASKED, SHOWN).bidirectional(again)[..., 2:-2]
    assert torch.allclose(a.softmax(-1)[0, :6], b.softmax(-1)[0, :6], atol=1e-5)


def test_impossible_conditions():
    with pytest.raises(ValueError, match=r"condition must be \(B, 2\) .* got \(2, 1\)"):
        conditional().given(ASKED[:, :1], SHOWN)
    with pytest.raises(ValueError, match="made without conditions"):
        network().given(ASKED, SHOWN)
    with pytest.raises(ValueError, match="spread > 0"):
        GraphTokenNetworkConfig(tuple(kinds(V)), bonded_ids(V), 6, conditions=((0.0, 0.0),))


@pytest.mark.parametrize("bound", [lambda law: StepBound(law, 4), JumpBound])
def test_bounds_over_symbols_have_gradients_for_rows_of_different_sizes(bound):
    """Behind a graph no symbol is possible: what is said there must not reach the weights."""
    net, ids = network(time=True), DOMAIN.encode(["CCO", "CCOC=O"]).ids
    kind = torch.ones(ids.shape[1], dtype=torch.int64)
    kind[places(6).diagonal()] = 0
    process = bound(TokenNoise.marginal(ids, kind, len(V)))
    loss = process.loss(net, TokenState(ids), seeded(1)).sum()
    loss.backward()
    assert loss.isfinite()
    assert all(p.grad.isfinite().all() for p in net.parameters() if p.grad is not None)
    grown = sum(float(p.grad.square().sum()) for p in net.parameters() if p.grad is not None)
    assert grown > 0
