"""GDSS score networks against a transcription channel by channel, and the readers of their
published weights."""

import collections
import json
import math
import pickle
import sys
import types

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from gaussian_targets import tiny_graph_denoiser

from scidiff.core import seeded
from scidiff.data.graphs import GraphCanvas, NodeCounts
from scidiff.networks.gdss_weights import WeightsError, read_gdss
from scidiff.processes.gaussian import Component, GaussianProcess, iid, symmetric
from scidiff.processes.schedules import VE, VP

# ---------------------------------------------------------------- the published names and shapes

FEATURES, HIDDEN, ATTENTION, HEADS, LINEARS = 3, 8, 4, 2, 3
CHANNELS = {"c_init": 2, "c_hid": 4, "c_final": 3}
ATTENTIVE = {"num_linears": LINEARS, **CHANNELS, "adim": ATTENTION, "num_heads": HEADS}


def linear(weights, name, a, b, transposed=False):
    shape = (a, b) if transposed else (b, a)  # graph convolutions store [in, out]
    weights[f"{name}.weight"] = torch.randn(shape, generator=weights["rng"]) / math.sqrt(a)
    weights[f"{name}.bias"] = torch.randn(b, generator=weights["rng"]) / 10


def attention_weights(weights, depth, final):
    channels = [2, *[4] * (depth - 1), final]
    for i, (c_in, c_out) in enumerate(zip(channels, channels[1:], strict=False)):
        width, inner = (HIDDEN if i else FEATURES), 2 * max(c_in, c_out)
        for c in range(c_in):
            for m, out in zip("qkv", (ATTENTION if i else HIDDEN,) * 2 + (HIDDEN,), strict=True):
                linear(weights, f"layers.{i}.attn.{c}.gnn_{m}", width, out, transposed=True)
        widths = [2 * c_in, *[inner] * (LINEARS - 1), c_out]
        for j, (a, b) in enumerate(zip(widths, widths[1:], strict=False)):
            linear(weights, f"layers.{i}.mlp.linears.{j}", a, b)
        linear(weights, f"layers.{i}.multi_channel.linears.0", c_in * HIDDEN, inner)
        linear(weights, f"layers.{i}.multi_channel.linears.1", inner, HIDDEN)


def final_weights(weights, total, out):
    for j, (a, b) in enumerate([(total, 2 * total), (2 * total, 2 * total), (2 * total, out)]):
        linear(weights, f"final.linears.{j}", a, b)


def published(kind, seed):
    """Random weights in the published layout, and the parameters beside them."""
    weights = {"rng": seeded(seed)}
    if kind == "ScoreNetworkX":
        params = {"depth": 2}
        linear(weights, "layers.0", FEATURES, HIDDEN, transposed=True)
        linear(weights, "layers.1", HIDDEN, HIDDEN, transposed=True)
        final_weights(weights, FEATURES + 2 * HIDDEN, FEATURES)
    elif kind == "ScoreNetworkX_GMH":
        params = {"depth": 2, **ATTENTIVE}
        attention_weights(weights, 2, 3)
        final_weights(weights, FEATURES + 2 * HIDDEN, FEATURES)
    else:
        params = {"num_layers": 3, "conv": "GCN", **ATTENTIVE}
        attention_weights(weights, 3, 3)
        final_weights(weights, 2 + 4 + 4 + 3, 1)
    del weights["rng"]
    sizes = {"model_type": kind, "max_feat_num": FEATURES, "nhid": HIDDEN}
    return weights, {**sizes, **params}


def checkpoint(kind_x="ScoreNetworkX", wrap=dict, prefix=""):
    x, params_x = published(kind_x, 0)
    a, params_a = published("ScoreNetworkA", 1)
    sde = {
        "x": {"type": "VP", "beta_min": 0.1, "beta_max": 1.0},
        "adj": {"type": "VE", "beta_min": 0.2, "beta_max": 1.0},
    }
    return {
        "model_config": wrap({"sde": wrap({k: wrap(v) for k, v in sde.items()})}),
        "params_x": params_x,
        "params_adj": params_a,
        "x_state_dict": {prefix + k: v for k, v in x.items()},
        "adj_state_dict": {prefix + k: v for k, v in a.items()},
    }


def write_npz(path, content, **more):
    meta = {k: v for k, v in content.items() if not k.endswith("state_dict")}
    arrays = {
        f"{part}/{k}": v.numpy()
        for part in ("x_state_dict", "adj_state_dict")
        for k, v in content[part].items()
    }
    np.savez(path, meta_json=json.dumps(meta), **arrays, **more)
    return path


# ---------------------------------------------------------------- one channel at a time


def convolve(w, name, X, A):
    A = A.clone()
    A[:, range(A.shape[1]), range(A.shape[1])] = 1
    d = A.sum(-1).clamp(min=1) ** -0.5
    return (d[:, :, None] * A * d[:, None]) @ X @ w[f"{name}.weight"] + w[f"{name}.bias"]


def perceptron(w, name, x):
    count = sum(k.startswith(f"{name}.linears.") for k in w) // 2
    for j in range(count):
        x = F.linear(x, w[f"{name}.linears.{j}.weight"], w[f"{name}.linears.{j}.bias"])
        x = F.elu(x) if j < count - 1 else x
    return x


def attend(w, layer, X, channels, mask):
    pairs = mask[:, :, None] & mask[:, None]
    maps, values = [], []
    for c, A in enumerate(channels):
        q, k, v = (convolve(w, f"layers.{layer}.attn.{c}.gnn_{m}", X, A) for m in "qkv")
        heads = [
            (a @ b.mT / math.sqrt(v.shape[-1])).tanh()
            for a, b in zip(q.chunk(HEADS, -1), k.chunk(HEADS, -1), strict=True)
        ]
        attention = sum(heads) / HEADS
        maps.append((attention + attention.mT) / 2)
        values.append(v)
    X = perceptron(w, f"layers.{layer}.multi_channel", torch.cat(values, -1)) * mask[..., None]
    A = perceptron(w, f"layers.{layer}.mlp", torch.stack([*maps, *channels], -1))
    A = (A + A.transpose(1, 2)) * pairs[..., None]
    return X.tanh(), list(A.unbind(-1))


def reference_x(w, X, A, mask, attention):
    seen, channels = [X], [A, A @ A]
    for i in range(2):
        if attention:
            X, channels = attend(w, i, X, channels, mask)
        else:
            X = convolve(w, f"layers.{i}", X, A)
        X = X.tanh()
        seen.append(X)
    return perceptron(w, "final", torch.cat(seen, -1)) * mask[..., None]


def reference_a(w, X, A, mask):
    channels = [A, A @ A]
    seen = list(channels)
    for i in range(3):
        X, channels = attend(w, i, X, channels, mask)
        seen += channels
    score = perceptron(w, "final", torch.stack(seen, -1)).squeeze(-1)
    return score * (mask[:, :, None] & mask[:, None]) * (1 - torch.eye(A.shape[1]))


def noisy_graphs(features, n=6):
    canvas = GraphCanvas(NodeCounts(torch.tensor([0.0, 1, 0, 1, 1, 1])), features)
    x, rng = canvas(n, seeded(7)), seeded(8)
    parts = (Component(VP(), iid), Component(VE(), symmetric))
    return x.moved(tuple(c.noise(p, x.mask, rng) for c, p in zip(parts, x.parts, strict=True)))


@pytest.mark.parametrize("kind", ["ScoreNetworkX", "ScoreNetworkX_GMH"])
@pytest.mark.parametrize("prefix", ["", "module."])
def test_networks_equal_the_equations_channel_by_channel(tmp_path, kind, prefix):
    content = checkpoint(kind, prefix=prefix)
    denoiser = read_gdss(write_npz(tmp_path / "w.npz", content))
    x, bare = noisy_graphs(FEATURES), checkpoint(kind)
    with torch.no_grad():
        got_x, got_a = denoiser.network_x(*x.parts, x.mask), denoiser.network_a(*x.parts, x.mask)
    want_x = reference_x(bare["x_state_dict"], *x.parts, x.mask, "GMH" in kind)
    want_a = reference_a(bare["adj_state_dict"], *x.parts, x.mask)
    assert want_x.abs().max() > 0.1 and want_a.abs().max() > 0.1
    assert torch.allclose(got_x, want_x, atol=1e-5) and torch.allclose(got_a, want_a, atol=1e-5)


def test_the_denoiser_turns_heads_into_clean_guesses():
    """D = (x + sigma^2 score) / alpha, score = -net / sigma for VP and net for VE."""
    denoiser, x = tiny_graph_denoiser(), noisy_graphs(3)
    (vp, ve), t = (c.schedule for c in denoiser.components), torch.tensor(0.4)
    with torch.no_grad():
        guess_x, guess_a = denoiser(x, t)
        net_x = denoiser.network_x(x.X, x.A, x.mask)
        net_a = denoiser.network_a(x.X, x.A, x.mask)
    sigma, level = vp.sigma(t).float(), vp.log_alpha(t).exp().float()
    assert torch.allclose(guess_x, (x.X + sigma**2 * (-net_x / sigma)) / level, atol=1e-6)
    assert torch.allclose(guess_a, x.A + ve.sigma(t).float() ** 2 * net_a, atol=1e-6)
    assert guess_x.dtype == torch.float32 and denoiser.rows == len(x)
    rows = denoiser(x, torch.full((len(x),), 0.4))
    assert torch.allclose(rows[0], guess_x, atol=1e-6)


# ---------------------------------------------------------------- files


@pytest.fixture
def easydict(monkeypatch):
    """The class that released files hold, as its package would define it."""
    module = types.ModuleType("easydict")
    kind = type("EasyDict", (dict,), {"__module__": "easydict"})
    module.EasyDict = kind
    monkeypatch.setitem(sys.modules, "easydict", module)
    return kind


def test_released_files_are_read_like_their_arrays(tmp_path, easydict):
    content = checkpoint(wrap=easydict)
    content["x_state_dict"] = collections.OrderedDict(content["x_state_dict"])
    torch.save(content, tmp_path / "w.pth")
    a = read_gdss(tmp_path / "w.pth").state_dict()
    b = read_gdss(write_npz(tmp_path / "w.npz", checkpoint())).state_dict()
    assert a.keys() == b.keys() and all(torch.equal(a[k], b[k]) for k in a)


class Payload:
    def __reduce__(self):
        return (print, ("executed",))


def test_anything_else_in_a_file_is_refused_and_named(tmp_path, easydict, capsys):
    torch.save({**checkpoint(wrap=easydict), "extra": Payload()}, tmp_path / "w.pth")
    with pytest.raises(WeightsError, match="refused: it would run .*print"):
        read_gdss(tmp_path / "w.pth")
    (tmp_path / "raw.pth").write_bytes(pickle.dumps({"extra": Payload()}, protocol=2))
    with pytest.raises(WeightsError, match="raw.pth"):
        read_gdss(tmp_path / "raw.pth")
    np.savez(tmp_path / "w.npz", meta_json=np.array([Payload()], dtype=object))
    with pytest.raises(WeightsError, match="cannot read .*w.npz"):
        read_gdss(tmp_path / "w.npz")
    assert "executed" not in capsys.readouterr().out


def test_damaged_and_foreign_files_are_one_line_errors(tmp_path):
    whole = write_npz(tmp_path / "w.npz", checkpoint()).read_bytes()
    (tmp_path / "cut.npz").write_bytes(whole[: len(whole) // 2])
    for name in ("cut.npz", "absent.npz", "absent.pth"):
        with pytest.raises(WeightsError, match=f"cannot read .*{name}"):
            read_gdss(tmp_path / name)
    torch.save({"weights": torch.zeros(1)}, tmp_path / "other.pth")
    with pytest.raises(WeightsError, match="no GDSS checkpoint: model_config.*missing"):
        read_gdss(tmp_path / "other.pth")
    wrong = checkpoint()
    del wrong["adj_state_dict"]["final.linears.2.bias"]
    with pytest.raises(WeightsError, match="the adj weights do not fit"):
        read_gdss(write_npz(tmp_path / "wrong.npz", wrong))


def test_averaged_weights_are_numbered_in_parameter_order(tmp_path):
    content = checkpoint()
    shadow = {
        f"ema_{part}/{i}": 2 * v.numpy()
        for part in ("x", "adj")
        for i, v in enumerate(content[f"{part}_state_dict"].values())
    }
    path = write_npz(tmp_path / "w.npz", content, **shadow)
    plain, averaged = read_gdss(path).state_dict(), read_gdss(path, ema=True).state_dict()
    assert all(torch.equal(2 * plain[k], averaged[k]) for k in plain)
    with pytest.raises(WeightsError, match="no averaged weights"):
        read_gdss(write_npz(tmp_path / "none.npz", content), ema=True)


# ---------------------------------------------------------------- the published weights


@pytest.mark.parametrize(
    "name, parameters_x, parameters_a",
    [
        ("qm9", 8_564, 23_825),
        ("zinc250k_v2", 22_721, 62_873),
        ("community_small", 72_434, 134_369),
    ],
)
def test_published_files_have_the_published_sizes(shared_data, name, parameters_x, parameters_a):
    denoiser = read_gdss(shared_data / "gdss_ckpt" / f"gdss_{name}.npz", ema=name[0] == "c")
    sizes = [
        sum(p.numel() for p in net.parameters())
        for net in (denoiser.network_x, denoiser.network_a)
    ]
    assert sizes == [parameters_x, parameters_a]


def test_published_networks_explain_community_graphs(shared_data):
    """The loss on their own training graphs is far below the loss of silence: the equations above
    are the ones the weights were trained with."""
    from scidiff.data.graphs import encode

    with np.load(shared_data / "graphs_community_small.npz") as file:
        ends = zip(file["edge_ptr"], file["edge_ptr"][1:], strict=False)
        edges = [file["edges"][a:b] for a, b in ends]
        counts = file["n_nodes"].tolist()
    graphs = []
    for n, pairs in zip(counts, edges, strict=True):
        A = np.zeros((n, n))
        A[tuple(pairs.T)] = 1
        A = np.maximum(A, A.T)
        graphs.append((np.eye(10)[A.sum(1).astype(int).clip(max=9)], A))
    x0 = encode(graphs[20:], max_nodes=20)
    denoiser = read_gdss(shared_data / "gdss_ckpt" / "gdss_community_small.npz", ema=True)
    process = GaussianProcess(denoiser.components)
    with torch.no_grad():
        losses = [loss.mean() for loss in process.losses(denoiser, x0, seeded(0))]
    free = [
        x0.mask.sum(1).double().mul(10).mean(),
        (x0.mask.sum(1) * (x0.mask.sum(1) - 1)).double().mean(),
    ]
    assert losses[0] < 0.5 * free[0] / 2 and losses[1] < 0.5 * free[1] / 2
