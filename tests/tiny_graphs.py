"""Graph models that are made in a moment, with random weights: token rows over C, N, O, F
(masked diffusion and discrete flow), a graph SDE directory, and files in the format of GDSS."""

import sys
import types
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch

from scidiff.data.graph_tokens import triangle
from scidiff.data.tokens import encode_rows
from scidiff.domains.molecule_graph import MoleculeGraphDomain
from scidiff.networks.gdss import GDSSNetwork, GDSSNetworkConfig
from scidiff.processes.tokens import TokenFlow
from scidiff.training.checkpoint import save_model
from scidiff.training.sizes import GraphTransformerSize

ATOMS = ("C", "N", "O", "F")
NODES = 5
SHAPE = {"width": 16, "edge_width": 8, "depth": 1, "heads": 2}
VOCABULARY = MoleculeGraphDomain.of(ATOMS).vocabulary
SPEC = {"notation": "graph", "symbols": list(VOCABULARY.symbols)}
LENGTHS = [0.0] * triangle(NODES) + [1.0]
LENGTHS[triangle(3)] = LENGTHS[triangle(4)] = 1.0


def write_token_graphs(folder: Path, seed: int = 0, spread: float = 0.2, **changes: Any) -> Path:
    """A directory of masked diffusion on graphs of 3 to 5 atoms."""
    torch.manual_seed(seed)
    size = GraphTransformerSize("graph_transformer", NODES, **SHAPE)
    network = size.build(VOCABULARY, triangle(NODES) + 1)
    for p in network.parameters():  # zero maps would hide what they read
        torch.nn.init.normal_(p, std=spread)
    config = {
        "name": "tiny-graphs", "domain": "molecule_graph", "vocabulary": SPEC,
        "process": {"kind": "masked", "block_size": None}, "sampling": {},
        "length_counts": LENGTHS,
    }  # fmt: skip
    save_model(folder, network, {**config, **changes}, "# tiny-graphs\n")
    return folder


def write_graph_flow(folder: Path, noise: str = "marginal", **changes: Any) -> Path:
    """A directory of discrete flow on graphs of 3 to 5 atoms, its noise counted from four."""
    torch.manual_seed(0)
    size = GraphTransformerSize("graph_transformer", NODES, time=True, **SHAPE)
    network = size.build(VOCABULARY, triangle(NODES) + 1)
    for p in network.parameters():
        torch.nn.init.normal_(p, std=0.2)
    flow = TokenFlow(noise, edge_weight=2.0)  # type: ignore[arg-type]
    rows = encode_rows(VOCABULARY, ["CC-O.-", "CN=", "CF-", "CC#"], triangle(NODES) + 1)
    law = flow.law(VOCABULARY, rows).laws.tolist()
    config = {
        "name": "tiny-flow", "domain": "molecule_graph", "vocabulary": SPEC, "sampling": {},
        "process": {"kind": "flow", "block_size": None, "flow": asdict(flow), "law": law},
        "length_counts": LENGTHS,
    }  # fmt: skip
    save_model(folder, network, {**config, **changes}, "# tiny-flow\n")
    return folder


def write_graph_sde(folder: Path, seed: int = 0, **changes: Any) -> Path:
    """A directory of a graph SDE, both networks of GDSS, graphs of 3 to 5 atoms."""
    torch.manual_seed(seed)
    network = GDSSNetwork(GDSSNetworkConfig(len(ATOMS), 8, 2, 2, attention_dim=8, heads=2))
    noise = {"kind": "vp", "min": 0.1, "max": 1.0}
    config = {
        "name": "tiny-sde", "domain": "molecule_graph", "vocabulary": SPEC, "sampling": {},
        "process": {"kind": "graph_sde", "sde": {"x": noise, "a": noise, "nodes": "types"}},
        "length_counts": LENGTHS,
    }  # fmt: skip
    save_model(folder, network, {**config, **changes}, "# tiny-sde\n")
    return folder


def gdss_content(data: str = "QM9", features: int = 4, wrap: Any = dict) -> dict[str, Any]:
    """What a file of GDSS holds, random weights in the published layout."""
    torch.manual_seed(0)
    hidden, channels = 8, [2, 8, 8]
    x = _dense({"layers.0": (features, hidden), "layers.1": (hidden, hidden)})
    x |= _mlp("final", features + 2 * hidden, features)
    a: dict[str, torch.Tensor] = {}
    for i, (c_in, c_out) in enumerate(zip(channels, [8, 8, 4], strict=True)):
        wide = features if i == 0 else hidden
        inner = 2 * max(c_in, c_out)
        for c in range(c_in):
            a |= _dense({f"layers.{i}.attn.{c}.gnn_{m}": (wide, hidden) for m in "qkv"})
        a |= _linear({f"layers.{i}.mlp.linears.0": (2 * c_in, inner),
                      f"layers.{i}.mlp.linears.1": (inner, c_out),
                      f"layers.{i}.multi_channel.linears.0": (c_in * hidden, inner),
                      f"layers.{i}.multi_channel.linears.1": (inner, hidden)})  # fmt: skip
    a |= _mlp("final", 2 + 8 + 8 + 4, 1)
    sde = {"type": "VE", "beta_min": 0.1, "beta_max": 1.0, "num_scales": 1000}
    config = wrap({"data": wrap({"data": data}), "sde": wrap({"x": wrap(sde), "adj": wrap(sde)})})
    sizes = {"max_feat_num": features, "nhid": hidden}
    heads = {"num_layers": 3, "num_linears": 2, "c_init": 2, "c_hid": 8, "c_final": 4,
             "adim": 8, "num_heads": 2, "conv": "GCN"}  # fmt: skip
    return {
        "model_config": config,
        "params_x": {"model_type": "ScoreNetworkX", "depth": 2, **sizes},
        "params_adj": {"model_type": "ScoreNetworkA", **sizes, **heads},
        "x_state_dict": x,
        "adj_state_dict": a,
    }


def write_gdss(file: Path, monkeypatch: Any, extra: Any = None, **changes: Any) -> Path:
    """A .pth as GDSS releases them, with the dictionary class of its own package."""
    module = types.ModuleType("easydict")
    kind = type("EasyDict", (dict,), {"__module__": "easydict"})
    module.EasyDict = kind  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "easydict", module)
    content = gdss_content(wrap=kind, **changes)
    torch.save(content if extra is None else {**content, "extra": extra}, file)
    return file


def _dense(shapes: dict[str, tuple[int, int]]) -> dict[str, torch.Tensor]:
    """Graph convolutions store [in, out]."""
    out = {}
    for name, (a, b) in shapes.items():
        out[f"{name}.weight"], out[f"{name}.bias"] = torch.randn(a, b) / a**0.5, torch.zeros(b)
    return out


def _linear(shapes: dict[str, tuple[int, int]]) -> dict[str, torch.Tensor]:
    return {k: v.T.contiguous() if v.ndim == 2 else v for k, v in _dense(shapes).items()}


def _mlp(name: str, total: int, out: int) -> dict[str, torch.Tensor]:
    widths = [total, 2 * total, 2 * total, out]
    return _linear({f"{name}.linears.{j}": (widths[j], widths[j + 1]) for j in range(3)})
