"""Model directories that are made in a moment: random weights over C, N, O, F, so that most rows
are molecules and some (fluorine in the middle of a chain) are not."""

from pathlib import Path
from typing import Any

import torch

from scidiff.networks.token_transformer import TokenTransformer, TokenTransformerConfig
from scidiff.training.checkpoint import save_model

SYMBOLS = ["C", "N", "O", "F"]
LENGTH = 12


def write_tiny_model(folder: Path, kind: str = "masked", seed: int = 0, **changes: Any) -> Path:
    """A model directory of process `kind`, 64 wide, weights drawn from `seed`; `changes` go over
    its config."""
    block = {"masked": None, "autoregressive": 1, "block": 4}[kind]
    torch.manual_seed(seed)
    network = TokenTransformer(
        TokenTransformerConfig(
            vocab_size=len(SYMBOLS) + 3, max_length=LENGTH, width=64, depth=1, heads=2, expand=2
        )
    )
    config = {
        "name": f"tiny-{kind}",
        "domain": "smiles",
        "vocabulary": {"notation": "smiles", "symbols": SYMBOLS},
        "process": {"kind": kind, "block_size": block},
        "sampling": {"block_size": block},
        "length_counts": [0, 0, 0, 1, 2, 2, 1],
    }
    save_model(folder, network, {**config, **changes}, f"# tiny-{kind}\n\nrandom weights\n")
    return folder
