"""The fast path of graph networks says what the plain one says, row by row."""

import pytest
import torch
from gaussian_targets import tiny_graph_denoiser
from torch import nn

from scidiff.core import normal, seeded
from scidiff.data.graphs import GraphState
from scidiff.networks import gdss_execution
from scidiff.networks.gdss_execution import Pairs, columns, in_groups
from scidiff.networks.gdss_weights import read_gdss

COUNTS = [7, 1, 4, 7, 3, 2, 9, 5, 4, 0]


def graphs(counts=COUNTS, nodes=9, features=3, scattered=False):
    """Noisy graphs; scattered ones have their nodes anywhere, not in the first places."""
    place = torch.arange(nodes).expand(len(counts), nodes)
    if scattered:
        orders = [torch.randperm(nodes, generator=seeded(i)) for i in range(len(counts))]
        place = torch.stack(orders)
    mask = place < torch.tensor(counts)[:, None]
    X, A = (normal((len(counts), nodes, d), seeded(d)) for d in (features, nodes))
    A = (A + A.mT).tril(-1)
    pairs = mask[:, :, None] & mask[:, None]
    return GraphState(X * mask[..., None], (A + A.mT) * pairs, mask)


def close(a, b, tolerance=3e-6):
    return all((x - y).abs().max() <= tolerance * y.abs().max() for x, y in zip(a, b, strict=True))


def test_pairs_fold_and_unfold():
    for n in (0, 1, 2, 5):
        full = normal((2, n, n), seeded(n))
        pairs = Pairs(n, full.device)
        folded = pairs.fold(full)
        assert folded.shape == (2, n * (n - 1) // 2)
        back = pairs.unfold(folded, 7.0)
        eye = torch.eye(n)
        assert torch.equal(back, (full + full.mT) / 2 * (1 - eye) + 7 * eye)


def test_columns_are_the_rows_of_the_mlp():
    layers = nn.Sequential(nn.Linear(3, 5), nn.ELU(), nn.Linear(5, 2))
    x = normal((3, 4, 6), seeded(0))
    assert torch.allclose(columns(layers, x), layers(x.movedim(0, -1)).movedim(-1, 0), atol=1e-6)


@pytest.mark.parametrize("attention", [False, True])
@pytest.mark.parametrize("scattered", [False, True])
@torch.no_grad()
def test_groups_say_what_the_whole_batch_says(attention, scattered, monkeypatch):
    monkeypatch.setattr(gdss_execution, "CELLS", 100)
    denoiser, x = tiny_graph_denoiser(attention), graphs(scattered=scattered)
    whole, parts = denoiser._both(*x.parts, x.mask), in_groups(denoiser._both, *x.parts, x.mask)
    assert close(parts, whole)
    pairs = x.mask[:, :, None] & x.mask[:, None] & ~torch.eye(9, dtype=torch.bool)
    assert (parts[0][~x.mask] == 0).all() and (parts[1][~pairs] == 0).all()
    assert torch.equal(parts[1], parts[1].mT) and (parts[1][pairs] != 0).all()


@torch.no_grad()
def test_a_row_does_not_depend_on_its_batch():
    denoiser, x, t = tiny_graph_denoiser(True), graphs(), torch.tensor(0.3)
    batch = denoiser(x, t)
    for i in range(len(x)):
        alone = denoiser(x[torch.tensor([i])], t)
        assert close(alone, [part[i : i + 1] for part in batch], 1e-6)


def test_gradients_come_back_to_their_rows():
    denoiser, x = tiny_graph_denoiser(True), graphs()
    found = []
    for run in (denoiser._both, lambda *a: in_groups(denoiser._both, *a)):
        X, A = (part.clone().requires_grad_() for part in x.parts)
        out = run(X, A, x.mask)
        sum(part.square().sum() for part in out).backward()
        reached = [p.grad for p in denoiser.parameters() if p.grad is not None]
        pairs = x.mask[:, :, None] & x.mask[:, None]  # what is absent may be cut off
        found.append((X.grad * x.mask[..., None], A.grad * pairs, *reached))
        denoiser.zero_grad()
    assert len(found[0]) > 20 and close(*found, 1e-5)


def test_what_goes_with_a_row_stays_with_it():
    x = graphs()
    t = torch.arange(len(x)).float()

    def network(X, A, mask, t):
        return X + t[:, None, None] * mask[..., None], A

    out, _ = in_groups(network, *x.parts, x.mask, t)
    assert torch.equal(out, x.X + t[:, None, None] * x.mask[..., None])
    empty = x[torch.tensor([], dtype=torch.int64)]
    assert in_groups(network, *empty.parts, empty.mask, t[:0])[0].shape == (0, 9, 3)


@pytest.mark.parametrize("name, nodes", [("qm9", 9), ("zinc250k_v2", 38), ("community_small", 20)])
@torch.no_grad()
def test_published_networks_run_fast_and_the_same(shared_data, name, nodes):
    denoiser = read_gdss(shared_data / "gdss_ckpt" / f"gdss_{name}.npz")
    counts = torch.linspace(2, nodes, 12).long().tolist()
    x = graphs(counts, nodes, denoiser.network_x.config.features)
    whole, parts = denoiser._both(*x.parts, x.mask), in_groups(denoiser._both, *x.parts, x.mask)
    assert close(parts, whole)
    weights = torch.cat([p.flatten() for p in denoiser.parameters()])
    assert not ((weights != 0) & (weights.abs() < 1e-30)).any()
