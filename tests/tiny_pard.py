"""Graphs in blocks that are made in a moment: rows, networks with random weights, a directory."""

from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch

from scidiff.data.graph_order import block_laws
from scidiff.data.graph_tokens import bonded_ids, triangle
from scidiff.data.tokens import encode_rows
from scidiff.domains.molecule_graph import MoleculeGraphDomain
from scidiff.networks.ppgn import GraphBlockNetwork
from scidiff.processes.discrete_flow import TokenNoise, graph_kinds
from scidiff.processes.tokens import GraphBlocks, TokenFlow
from scidiff.training.checkpoint import save_model
from scidiff.training.sizes import GraphBlocksSize

ATOMS = ("C", "N", "O", "F")
SMILES = ("CCO", "CC(=O)NC1CC1", "c1ccoc1", "CC#N", "C1CC2CC1O2", "C", "FC(F)F", "CO")
NODES = 7
DOMAIN = MoleculeGraphDomain.of(ATOMS)
VOCABULARY = DOMAIN.vocabulary
BONDED = bonded_ids(VOCABULARY)
LENGTH = triangle(NODES) + 1
SHAPE = {"width": 16, "edge_width": 8, "depth": 2, "heads": 2}


def rows(smiles=SMILES, length: int | None = None) -> torch.Tensor:
    """Token rows of molecules without hydrogens."""
    texts = [DOMAIN.spell(s) for s in smiles]
    return encode_rows(VOCABULARY, texts, length)


def network(causal: bool = True, seed: int = 0, **changes: Any) -> GraphBlockNetwork:
    """A network of random weights, none of them zero."""
    torch.manual_seed(seed)
    walks = {"walks": 0 if causal else 3}
    size = GraphBlocksSize("graph_blocks", NODES, causal, **{**SHAPE, **walks, **changes})
    net = size.build(VOCABULARY, LENGTH)
    for p in net.parameters():  # zero maps would hide what they read
        torch.nn.init.normal_(p, std=0.3)
    return net.eval()


def noise(kind: str = "marginal", length: int = LENGTH) -> TokenNoise:
    """Noise as frequent as in the rows."""
    law = TokenFlow(kind).law(VOCABULARY, rows())
    return TokenNoise(law.laws, graph_kinds(length))


def write_pard(folder: Path, hops: int = 2, causal: bool = True, **changes: Any) -> Path:
    """A model directory of graphs in blocks, of up to seven atoms."""
    ids, mode = rows(length=LENGTH), "parallel" if causal else "sequential"
    blocks = GraphBlocks(hops, mode, flow=TokenFlow("marginal", "identity", 2.0))
    config = {
        "name": "tiny-pard", "domain": "molecule_graph", "sampling": {},
        "vocabulary": {"notation": "graph", "symbols": list(VOCABULARY.symbols)},
        "process": {"kind": "graph_blocks", "blocks": asdict(blocks),
                    "law": noise().laws.tolist(), **block_laws(ids.numpy(), BONDED, hops)},
        "length_counts": [0, 1],
    }  # fmt: skip
    save_model(folder, network(causal), {**config, **changes}, "# tiny-pard\n")
    return folder
