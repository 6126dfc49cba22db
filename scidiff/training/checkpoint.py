"""Model directories: model.safetensors, config.json (all that is needed to rebuild the model) and
README.md (the card).

No pickle is ever read. A checksum in config.json finds a truncated or exchanged weight file before
anything is built.
"""

from __future__ import annotations

import hashlib
import importlib
import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load as load_tensors
from safetensors.torch import save as save_tensors
from torch import Tensor, nn

from scidiff.core import ScidiffError
from scidiff.files import write_atomically

FORMAT = 1
_PICKLES = {".pt", ".pth", ".pkl", ".pickle", ".ckpt", ".bin", ".joblib"}


class CheckpointError(ScidiffError):
    """A model directory that is missing, incomplete, damaged, or of a kind that is refused."""


def class_path(obj: object) -> str:
    return f"{type(obj).__module__}:{type(obj).__qualname__}"


def resolve_class(path: str) -> type:
    """Import `package.module:Class` named by a config; only scidiff's own modules are allowed."""
    module, _, name = path.partition(":")
    if module.split(".")[0] != "scidiff" or not name:
        raise CheckpointError(
            f"config names the class {path!r}; expected 'scidiff.<module>:<Class>'"
        )
    try:
        found = getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError) as error:
        raise CheckpointError(
            f"config names the class {path!r}, which this version of scidiff lacks"
        ) from error
    if not isinstance(found, type):
        raise CheckpointError(f"config names {path!r}, which is not a class")
    return found


def save_model(
    folder: Path,
    network: nn.Module,
    config: Mapping[str, Any],
    card: str,
    *,
    dtype: torch.dtype = torch.float32,
) -> None:
    """Write the three files; floating-point weights are stored in `dtype`, and config gains
    format, network and checksum."""
    tensors = {
        k: v.detach().cpu().to(dtype if v.is_floating_point() else v.dtype).contiguous()
        for k, v in network.state_dict().items()
    }
    weights = save_tensors(tensors)
    shape: Any = network.config
    full = {
        "format": FORMAT,
        **config,
        "sha256": hashlib.sha256(weights).hexdigest(),
        "network": {"class": class_path(network), "config": asdict(shape)},
    }
    write_atomically(folder / "model.safetensors", weights)
    write_atomically(folder / "README.md", card.encode())
    write_atomically(folder / "config.json", (json.dumps(full, indent=1) + "\n").encode())


def refuse_pickle(path: Path) -> None:
    if path.suffix.lower() in _PICKLES:
        raise CheckpointError(
            f"{path} is a {path.suffix} file, which may hold a pickle and is never opened; "
            "expected a model directory with model.safetensors and config.json"
        )


def _instead(folder: Path) -> str:
    """What a folder holds that may have been meant, as the end of a message."""
    near = [folder / name for name in ("model", "designs.csv") if (folder / name).exists()]
    return f"; did you mean {near[0]}?" if near else ""


def read_config(folder: Path) -> dict[str, Any]:
    """Read and check config.json."""
    refuse_pickle(folder)
    file = folder / "config.json"
    if not file.is_file():
        raise CheckpointError(f"{folder} is not a model directory: config.json is missing"
                              f"{_instead(folder)}")
    try:
        config = json.loads(file.read_text())
    except (UnicodeDecodeError, json.JSONDecodeError) as error:
        raise CheckpointError(f"{file} is damaged: {error}") from error
    keys = ("format", "domain", "network", "sha256")
    missing = [key for key in keys if not isinstance(config, dict) or key not in config]
    if missing:
        raise CheckpointError(f"{file} lacks {', '.join(missing)}")
    if config["format"] not in range(FORMAT + 1):
        raise CheckpointError(
            f"{file} has format {config['format']}, this scidiff reads up to {FORMAT}: "
            "update scidiff"
        )
    return config


def read_weights(folder: Path, sha256: str) -> dict[str, Tensor]:
    """Read model.safetensors as float32 after its checksum has been verified."""
    file = folder / "model.safetensors"
    if not file.is_file():
        others = [p.name for p in folder.iterdir() if p.suffix.lower() in _PICKLES]
        hint = f" ({others[0]} is there, but pickles are never opened)" if others else ""
        raise CheckpointError(f"{folder} has no model.safetensors{hint}")
    content = file.read_bytes()
    if hashlib.sha256(content).hexdigest() != sha256:
        raise CheckpointError(
            f"{file} is corrupt or truncated: its checksum differs from config.json "
            f"({len(content):,} bytes read)"
        )
    return {k: v.float() if v.is_floating_point() else v for k, v in load_tensors(content).items()}


def _frozen(value: Any) -> Any:
    """What JSON made lists are tuples again."""
    if isinstance(value, dict):
        return {k: _frozen(v) for k, v in value.items()}
    return tuple(_frozen(v) for v in value) if isinstance(value, list) else value


def load_network(folder: Path, config: Mapping[str, Any]) -> nn.Module:
    """Build the network that `config` names and fill it; a wrong set of tensors is an error that
    names them."""
    spec = config["network"]
    if not isinstance(spec, dict) or not spec.keys() >= {"class", "config"}:
        raise CheckpointError(f"{folder}: config.json must give the network's class and config")
    network_class = resolve_class(spec["class"])
    config_class = resolve_class(spec["class"] + "Config")
    if not issubclass(network_class, nn.Module):
        raise CheckpointError(f"config names {spec['class']!r}, which is not a network")
    try:
        network = network_class(config_class(**_frozen(spec["config"])))
        network.load_state_dict(read_weights(folder, config["sha256"]))
    except (TypeError, ValueError, RuntimeError) as error:
        why = " ".join(str(error).split())
        raise CheckpointError(f"{folder}: weights and config do not fit: {why}") from error
    return network.eval()
