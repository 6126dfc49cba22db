"""Graphs in blocks (Pard): validity and stability of molecules with hydrogens, for both ways of
drawing inside a block, beside the published numbers.

    python benchmarks/graph_blocks.py --model runs/qm9-pard/model -n 1000     a table
    python benchmarks/graph_blocks.py --model runs/qm9-pard/model --card      and into the card
    python benchmarks/graph_blocks.py --hops 0 1 3 --out runs/hops     trains what is not there
    python benchmarks/graph_blocks.py --memory 9 18 29 38 64     bytes of a training step a graph

Published: Zhao et al. 2024 (arXiv 2402.03687), QM9 with hydrogens, 140 steps in all. An atom is
stable if its bond orders sum to its valence, a molecule if all its atoms are (Hoogeboom et al.
2022, arXiv 2203.17003); an atom with a charge has the valence of that charge. Validity is RDKit's
sanitisation; connectivity is counted apart.

With --hops the recipe is trained once for each number of hops, alike in all else; a killed run
goes on where it was. With --steps it is its first stage alone, for so many steps.
"""

from __future__ import annotations

import argparse
import re
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from scidiff.api.card import replace_section, table
from scidiff.api.entry import load
from scidiff.api.train import train
from scidiff.data.graph_tokens import read
from scidiff.evaluation.intervals import wilson
from scidiff.files import write_atomically
from scidiff.guidance.chunks import in_chunks
from scidiff.guidance.particles import sample
from scidiff.networks.ppgn import GraphBlockNetworkConfig

VALENCE = {"H": 1, "C": 4, "N": 3, "O": 2, "F": 1,
           "[N+]": 4, "[O-]": 1, "[N-]": 2, "[C-]": 3, "[O+]": 3, "[C+]": 3}  # fmt: skip
PUBLISHED = (
    {"hops": 0, "valid": "0.938", "stable molecules": "0.764", "stable atoms": "0.977"},
    {"hops": 1, "valid": "0.971", "stable molecules": "0.861", "stable atoms": "0.983"},
    {"hops": 3, "valid": "0.970", "stable molecules": "0.863", "stable atoms": "0.984"},
)
CHUNK = 100
ROOT = Path(__file__).parents[1]


def stable(texts: Sequence[str]) -> tuple[list[bool], list[bool]]:
    """Whether each graph has no unstable atom, and each atom of all graphs."""
    whole, atoms = [], []
    for text in texts:
        names, orders = read(text)
        found = [VALENCE.get(a) == int(v) for a, v in zip(names, orders.sum(1), strict=True)]
        whole.append(all(found))
        atoms += found
    return whole, atoms


def sanitised(record: Any) -> bool:
    """Whether RDKit takes the molecule, connected or not."""
    return record.valid or record.reason.startswith("connected")


def share(hits: Sequence[bool]) -> str:
    low, high = wilson(int(sum(hits)), len(hits))
    return f"{np.mean(hits):.3f} [{low:.3f}, {high:.3f}]"


def measure(model: Any, n: int, **settings: Any) -> dict[str, Any]:
    """One row of the table: n molecules, nothing filtered."""
    sampler, texts, records = model.sampler(**settings), [], []
    began = time.process_time()

    def draw(size: int, rng: torch.Generator) -> list[Any]:
        x = sample(sampler, size, rng)
        texts.extend(model.engine.vocabulary.decode(row) for row in x.ids)
        return model.domain.decode(x)

    records = in_chunks(n, CHUNK, 0, draw, device=model.engine.device, denoiser=sampler.denoiser)
    rows = [record for part in records for record in part]
    seconds = time.process_time() - began
    whole, atoms = stable(texts)
    valid = [sanitised(r) for r in rows]
    names = [r.text for r, ok in zip(rows, valid, strict=True) if ok]
    return {
        "hops": model.engine.blocks.hops,
        "kernel": settings.get("kernel", "flow"),
        "steps a block": sampler.steps[0],
        "network rows a molecule": round(sampler.denoiser.rows / n, 1),
        "CPU ms a molecule": round(1000 * seconds / n),
        "valid": share(valid),
        "valid and connected": share([r.valid for r in rows]),
        "unique of valid": f"{len(set(names)) / max(1, len(names)):.3f}",
        "stable molecules": share(whole),
        "stable atoms": share(atoms),
    }


def of_hops(recipe: Path, hops: int, steps: int | None, out: Path) -> Path:
    """The model of a recipe whose blocks are made with that many hops, trained unless it is in
    `out`."""
    folder = out / f"hops{hops}"
    if (folder / "model" / "config.json").is_file():
        return folder / "model"
    text = re.sub(r"(?m)^hops = \d+", f"hops = {hops}", recipe.read_text())
    text = re.sub(r'(?m)^name = "(.*)"', rf'name = "\1-hops{hops}"', text, count=1)
    if steps is not None:
        beginning, first, *_ = re.split(r"(?m)^(?=\[\[stages\]\])", text)
        text = re.sub(r"(?m)^steps = \d+", f"steps = {steps}", beginning + first)
    folder.mkdir(parents=True, exist_ok=True)
    write_atomically(folder / "recipe.toml", text.encode())
    return train(folder / "recipe.toml", folder)


def trained(model: Any) -> str:
    """How far a model was trained, as its recipe says."""
    return "+".join(str(stage["training"]["steps"]) for stage in model.config["recipe"]["stages"])


def memory(nodes: Sequence[int]) -> list[dict[str, Any]]:
    """Bytes that a training step of the GPU recipe keeps for one graph, in both modes."""
    sizes = {"width": 144, "edge_width": 56, "depth": 8, "heads": 8, "walks": 0}
    rows = []
    for n in nodes:
        config = GraphBlockNetworkConfig((0, 0) + (1,) * 13 + (3,), (3,), n, True, **sizes)
        told = [config.training_bytes(1, n, parallel) / 1e6 for parallel in (True, False)]
        rows.append({"nodes": n, "parallel, MB a graph": f"{told[0]:.0f}",
                     "sequential, at most": f"{told[1]:.0f}"})  # fmt: skip
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--model", default="runs/qm9-pard/model")
    parser.add_argument("-n", type=int, default=1000)
    parser.add_argument("--kernels", nargs="+", default=["posterior", "flow"])
    parser.add_argument("--card", action="store_true", help="write the table into the card")
    parser.add_argument("--memory", type=int, nargs="+", metavar="NODES")
    parser.add_argument("--hops", type=int, nargs="+", help="train and compare these")
    parser.add_argument("--recipe", type=Path, default=ROOT / "recipes" / "qm9_pard.toml")
    parser.add_argument("--steps", type=int, help="of the first stage, the only one then")
    parser.add_argument("--out", type=Path, default=Path("runs/hops"), help="of --hops")
    given = parser.parse_args()
    if given.memory:
        print(table(memory(given.memory)))
        return
    torch.set_num_threads(1)
    folders = [given.model]
    if given.hops:
        folders = [of_hops(given.recipe, hops, given.steps, given.out) for hops in given.hops]
    models = [load(folder, device="cpu") for folder in folders]
    rows = [{**measure(model, given.n, kernel=kernel), "trained steps": trained(model)}
            for model in models for kernel in given.kernels]  # fmt: skip
    text = (
        f"{table(rows)}\n\n{given.n:,} molecules a row, seed 0, nothing filtered, 95 % intervals. "
        f"Published, at 140 steps in all:\n\n{table(list(PUBLISHED))}"
    )
    print(text)
    if given.card:
        file = Path(models[0].source) / "README.md"
        write_atomically(file, replace_section(file.read_text(), "Evaluation", text).encode())


if __name__ == "__main__":
    main()
