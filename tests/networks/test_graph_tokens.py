"""The graph transformer over token rows: what it may say where, and its symmetries."""

import pytest
import torch

from scidiff.core import seeded
from scidiff.data.graph_tokens import places, triangle
from scidiff.data.tokens import EOS, PAD, TokenState
from scidiff.domains.molecule_graph import QM9, MoleculeGraphDomain
from scidiff.networks.token_transformer import TokenDenoiser
from scidiff.processes.masked import MaskedProcess
from scidiff.samplers.canvas import LengthLaw
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
