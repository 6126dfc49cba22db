"""Where a model comes from: a shipped name, a directory, a weight file of GDSS or the hub."""

from __future__ import annotations

import logging
import re
from pathlib import Path

import torch

from scidiff.core import ScidiffError
from scidiff.messages import closest
from scidiff.training.checkpoint import refuse_pickle

SHIPPED = Path(__file__).parents[1] / "models"
GDSS_SUFFIXES = (".pth", ".npz")
_log = logging.getLogger("scidiff")


class UnknownModel(ScidiffError):
    """A model name that is neither shipped nor a directory."""


def shipped_models() -> list[str]:
    """Names of the models that come with the package."""
    if not SHIPPED.is_dir():
        return []
    return sorted(p.name for p in SHIPPED.iterdir() if (p / "config.json").is_file())


def model_source(name: str | Path) -> Path:
    """Resolve a name as `model_folder` does, but leave a weight file of GDSS as it is."""
    path = Path(name)
    given = path.suffix.lower() in GDSS_SUFFIXES and not str(name).startswith("hf://")
    if given and not path.exists():
        raise FileNotFoundError(f"no such file: {path}")
    return path if given and path.is_file() else model_folder(name)


def model_folder(name: str | Path) -> Path:
    """Resolve a shipped name, a directory or hf://owner/name to a model directory."""
    if str(name).startswith("hf://"):
        from scidiff.training.hub import fetch

        return fetch(str(name))
    path = Path(name)
    if path.exists():
        refuse_pickle(path)
        return path if path.is_dir() else path.parent
    if str(name) in shipped_models():
        return SHIPPED / str(name)
    refuse_pickle(path)
    near = closest(name, shipped_models(), most=3, cutoff=0.3)
    hint = f"nearest: {', '.join(near)}" if near else f"shipped: {', '.join(shipped_models())}"
    raise UnknownModel(
        f"unknown model {str(name)!r}: not a shipped model, a directory, a file of GDSS (.pth, "
        f".npz) or hf://owner/name; {hint}"
    )


def choose_device(device: str | None) -> torch.device:
    """The device asked for, or CUDA if there is one, which is logged."""
    if device is None:
        device = "cuda" if torch.cuda.is_available() else "cpu"
        _log.info("using %s", device)
    if not re.fullmatch(r"cpu|cuda(:\d+)?", str(device)):
        raise ScidiffError(f"device must be cpu, cuda or cuda:0, cuda:1, ..., got {str(device)!r}")
    chosen, there = torch.device(device), torch.cuda.device_count()
    if chosen.type == "cuda" and not torch.cuda.is_available():
        raise ScidiffError(f"device {device!r} was asked for, but torch sees no CUDA device")
    if chosen.type == "cuda" and (chosen.index or 0) >= there:
        raise ScidiffError(f"device {device!r} was asked for, but torch sees {there} CUDA devices")
    return chosen
