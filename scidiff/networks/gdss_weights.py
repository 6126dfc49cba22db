"""Read the published weights of GDSS: `.pth` as released, or the same arrays as `.npz`.

Nothing is unpickled but tensors and plain containers: the released files hold one foreign class,
EasyDict, which is read as an ordered dictionary; anything else is refused and named.
"""

from __future__ import annotations

import json
import pickle
import zipfile
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from scidiff.core import ScidiffError
from scidiff.networks.gdss import EdgeScore, GDSSConfig, GraphDenoiser, NodeScore
from scidiff.processes.schedules import VE, VP, Schedule

_PARTS = ("model_config", "params_x", "params_adj", "x_state_dict", "adj_state_dict")
Weights = Mapping[str, Tensor]


class WeightsError(ScidiffError):
    """A weight file that is unreadable, refused, or of another network."""


def read_gdss(path: str | PathLike[str], ema: bool = False) -> GraphDenoiser:
    """Build both networks, with their schedules, from a file of GDSS.

    `ema=True` takes the averaged weights, which only the generic graph sets have. Raises
    WeightsError for a file that is damaged, refused or incomplete.
    """
    return gdss_denoiser(read_content(path), path, ema)


def read_content(path: str | PathLike[str]) -> dict[str, Any]:
    """Read a file of GDSS as it is: weights, and under model_config, params_x and params_adj how
    they were trained."""
    path = Path(path)
    content = _read_npz(path) if path.suffix == ".npz" else _read_pth(path)
    held = content if isinstance(content, Mapping) else {}
    missing = [part for part in _PARTS if part not in held]
    if missing:
        raise WeightsError(f"{path} is no GDSS checkpoint: {', '.join(missing)} missing")
    return content


def gdss_denoiser(
    content: Mapping[str, Any], path: str | PathLike[str], ema: bool = False
) -> GraphDenoiser:
    """Build both networks from what `read_content` found in `path`."""
    path, sde = Path(path), content["model_config"]["sde"]
    return GraphDenoiser(
        _network(NodeScore, content, "x", ema, path),
        _network(EdgeScore, content, "adj", ema, path),
        _schedule(sde["x"]),
        _schedule(sde["adj"]),
    ).eval()


# ---------------------------------------------------------------- files


def _read_npz(path: Path) -> dict[str, Any]:
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as arrays:
            content = json.loads(str(arrays["meta_json"]))
            for name in arrays.files:
                part, _, key = name.partition("/")
                if key:
                    content.setdefault(part, {})[key] = torch.from_numpy(arrays[name])
    except (OSError, ValueError, KeyError, zipfile.BadZipFile) as error:
        raise WeightsError(f"cannot read {path} as GDSS arrays: {error}") from error
    for part in content.keys() & {"ema_x", "ema_adj"}:
        shadow = content[part]
        content[part] = {"shadow_params": [shadow[str(i)] for i in range(len(shadow))]}
    return content


def _read_pth(path: Path) -> dict[str, Any]:
    with torch.serialization.safe_globals([(OrderedDict, "easydict.EasyDict")]):
        try:
            return torch.load(path, map_location="cpu", weights_only=True)
        except pickle.UnpicklingError as error:
            raise WeightsError(f"{path} is refused: {_foreign(path, error)}") from error
        except (OSError, RuntimeError, EOFError) as error:
            raise WeightsError(f"cannot read {path}: {error}") from error


def _foreign(path: Path, error: Exception) -> str:
    if not zipfile.is_zipfile(path):
        return str(error).splitlines()[0]
    names = torch.serialization.get_unsafe_globals_in_checkpoint(path)
    return f"it would run {', '.join(names)}; only tensors and plain containers are read"


# ---------------------------------------------------------------- networks


def _network(
    kind: type[NodeScore] | type[EdgeScore],
    content: Mapping[str, Any],
    part: str,
    ema: bool,
    path: Path,
) -> nn.Module:
    weights, params = _bare(content[f"{part}_state_dict"]), content[f"params_{part}"]
    if ema:
        weights = _averaged(weights, content.get(f"ema_{part}"), path)
    try:
        network = kind(_config(params))
        network.load_state_dict({k: _flushed(v) for k, v in _stacked(weights).items()})
    except (RuntimeError, KeyError) as error:
        raise WeightsError(f"{path}: the {part} weights do not fit {dict(params)}") from error
    return network


def _bare(weights: Weights) -> dict[str, Tensor]:
    """Strip the prefix that a data-parallel run leaves."""
    return {name.removeprefix("module."): value for name, value in weights.items()}


def _flushed(value: Tensor) -> Tensor:
    """Put zeros for magnitudes below 1e-30, which no sum in float32 can feel.

    Weight decay has left up to a quarter of the published weights denormal, and a CPU multiplies
    those many times slower.
    """
    return value.masked_fill(value.abs() < 1e-30, 0)


def _averaged(weights: Weights, ema: Mapping[str, Any] | None, path: Path) -> dict[str, Tensor]:
    """Give the averaged parameters, stored in parameter order, their names."""
    if ema is None:
        raise WeightsError(f"{path} holds no averaged weights; read it with ema=False")
    shadow: Sequence[Tensor] = ema["shadow_params"]
    if [v.shape for v in shadow] != [v.shape for v in weights.values()]:
        raise WeightsError(f"{path}: the averaged weights do not match the weights in shape")
    return dict(zip(weights, shadow, strict=True))


def _config(params: Mapping[str, Any]) -> GDSSConfig:
    if params.get("conv", "GCN") != "GCN":
        raise WeightsError(f"graph convolution must be GCN, got {params['conv']!r}")
    sizes = {
        "linears": params.get("num_linears"),
        "c_init": params.get("c_init"),
        "c_hidden": params.get("c_hid"),
        "c_final": params.get("c_final"),
        "attention_dim": params.get("adim"),
        "heads": params.get("num_heads"),
    }
    return GDSSConfig(
        features=params["max_feat_num"],
        hidden=params["nhid"],
        depth=params["num_layers"] if "num_layers" in params else params["depth"],
        attention=params["model_type"] != "ScoreNetworkX",
        **{name: size for name, size in sizes.items() if size is not None},
    )


def _schedule(sde: Mapping[str, Any]) -> Schedule:
    kinds: dict[str, type[VP] | type[VE]] = {"VP": VP, "VE": VE}
    if sde["type"] not in kinds:
        raise WeightsError(f"SDE must be VP or VE, got {sde['type']!r}")
    return kinds[sde["type"]](float(sde["beta_min"]), float(sde["beta_max"]))


def _stacked(weights: Weights) -> dict[str, Tensor]:
    """Rename to our modules; channels of one layer become one tensor.

    `layers.l.attn.c.gnn_{q,k,v}` -> `layers.l.qkv`, `mlp` -> `edges`, `multi_channel` -> `nodes`,
    `linears.j` -> `2 j` (an ELU between two), `layers.i` -> a single channel.
    """
    out: dict[str, Tensor] = {}
    attention: dict[tuple[int, int, str, str], Tensor] = {}
    for name, value in weights.items():
        *path, kind = name.split(".")
        if "attn" in path:
            attention[int(path[1]), int(path[3]), path[4], kind] = value
        elif "linears" in path:
            block = {"mlp": "edges", "multi_channel": "nodes"}.get(path[-3], path[-3])
            out[".".join([*path[:-3], block, str(2 * int(path[-1])), kind])] = value
        else:
            out[name] = value[None]
    for layer in {key[0] for key in attention}:
        own = sorted({c for i, c, *_ in attention if i == layer})
        for kind in ("weight", "bias"):
            rows = [[attention[layer, c, f"gnn_{m}", kind] for m in "qkv"] for c in own]
            out[f"layers.{layer}.qkv.{kind}"] = torch.stack([torch.cat(r, -1) for r in rows])
    return out
