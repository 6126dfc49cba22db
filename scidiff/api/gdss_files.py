"""Published weights of GDSS as models: what the file does not say (elements, node counts) is known
by the name of the data set it was trained on."""

from __future__ import annotations

import hashlib
import json
from functools import cache
from pathlib import Path
from typing import Any

import torch

from scidiff.api.graph_engine import GraphEngine
from scidiff.data.tokens import Vocabulary
from scidiff.domains.domain import find_domain
from scidiff.networks.gdss_weights import WeightsError, gdss_denoiser, read_content

SUFFIXES = (".pth", ".npz")
_KNOWN = Path(__file__).parent / "_data" / "gdss.json"


@cache
def known_sets() -> dict[str, Any]:
    """Data sets of the published checkpoints: domain, atoms, node counts of the training graphs,
    and whether averaged weights were sampled from."""
    return json.loads(_KNOWN.read_text())


def open_gdss(file: Path, device: torch.device, dtype: torch.dtype) -> GraphEngine:
    """Read a file of GDSS, with its frontier if one lies beside it.

    Raises WeightsError where it is refused, damaged or of an unknown data set.
    """
    content = read_content(file)
    config = gdss_config(file, content)
    denoiser = gdss_denoiser(content, file, ema=config["process"]["ema"]).to(device)
    vocabulary = Vocabulary(tuple(config["vocabulary"]["symbols"]), "graph")
    return GraphEngine(
        denoiser, denoiser, content["params_x"]["max_feat_num"], tuple(config["node_counts"]),
        vocabulary, config, dtype,
    )  # fmt: skip


def gdss_config(file: Path, content: dict[str, Any]) -> dict[str, Any]:
    """What config.json would say of this model."""
    trained = content["model_config"]
    data = trained.get("data", {}).get("data")
    if data not in known_sets():
        raise WeightsError(
            f"{file}: trained on {data!r}, expected one of {', '.join(known_sets())}"
        )
    known = known_sets()[data]
    molecular = known["domain"] == "molecule_graph"
    noise = {own: _noise(trained["sde"][theirs]) for own, theirs in (("x", "x"), ("a", "adj"))}
    sde = {**noise, "nodes": "types" if molecular else "degrees"}
    domain = find_domain(known["domain"])
    vocabulary = (domain.of(known["atoms"]) if molecular else domain.of()).vocabulary
    return {
        "name": file.stem,
        "domain": known["domain"],
        "domain_options": {"charge": True} if molecular else {},
        "vocabulary": {"notation": "graph", "symbols": list(vocabulary.symbols)},
        "process": {"kind": "graph_sde", "data": data, "ema": known["ema"], "sde": sde},
        "sampling": {},
        "node_counts": known["node_counts"],
        "sha256": hashlib.sha256(file.read_bytes()).hexdigest(),
        **read_sidecar(file),
    }


def _noise(sde: dict[str, Any]) -> dict[str, Any]:
    """A component's noise as our configs give it."""
    return {"kind": sde["type"].lower(), "min": sde["beta_min"], "max": sde["beta_max"]}


def sidecar(file: Path) -> Path:
    """Where the frontier of a file's settings is kept."""
    return file.with_name(f"{file.stem}.frontier.json")


def read_sidecar(file: Path) -> dict[str, Any]:
    """The frontier that `tune` left beside a file, as a part of its config."""
    there = sidecar(file)
    try:
        return {"frontier": json.loads(there.read_text())} if there.is_file() else {}
    except (UnicodeDecodeError, json.JSONDecodeError) as error:
        raise WeightsError(f"{there} is damaged: {error}") from error
