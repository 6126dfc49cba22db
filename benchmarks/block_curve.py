"""Quality beside cost from autoregression to one block, at equal training.

    python benchmarks/blocks.py curve --parent runs/moses-blocks/stage1-autoregressive/model \\
        --out runs/curve --steps 300 --sizes 4 8 16 32 64 -n 1000

One autoregressive model is adapted to each block size for the same number of steps on the same
rows (the path of SDAR), and each result is drawn from by fixed and
dynamic paces. Cost is counted as calls of the network a row, as rows of the network, and as time
of this thread. A run that was stopped goes on.
"""

from __future__ import annotations

import time
from pathlib import Path

import scidiff as sd
from scidiff.api.infilling import read_rows
from scidiff.core import seeded
from scidiff.data import datasets
from scidiff.guidance.size_learning import written

RECIPE = """
name = "moses-{size}"
init = "{parent}"
[data]
source = "moses"
split = "train"
validation = 1000
limit = {rows}
[[stages]]
process = "block"
block_size = {size}
steps = {steps}
batch_size = 128
lr = 2e-3
warmup = {warmup}
ema = 0.98
compile = true
checkpoint_every = 100
validate_every = {steps}
[sampling]
block_size = {size}
order = "sequential"
"""
METRICS = ("valid", "novelty", "fcd_")
BOUND_ROWS, BOUND_DRAWS = 200, 8


def paces(size: int) -> list[dict]:
    """One token a step, two, and as many as are sure."""
    usual = {"block_size": size, "order": "sequential"}
    if size == 1:
        return [usual]
    return [
        usual,
        {**usual, "tokens_per_step": 2},
        {**usual, "threshold": 0.9},
        {**usual, "threshold": 0.99},
        {**usual, "order": "confidence", "threshold": 0.9},
    ]


def adapted(parent: Path, out: Path, size: int, steps: int) -> Path:
    """The parent adapted to blocks of `size`."""
    folder = out / f"b{size}" / "model"
    if not folder.is_dir():
        recipe = out / f"b{size}.toml"
        recipe.parent.mkdir(parents=True, exist_ok=True)
        rows, warmup = 128 * steps + 1000, max(1, steps // 10)
        recipe.write_text(RECIPE.format(parent=parent, size=size, steps=steps, rows=rows,
                                        warmup=warmup))  # fmt: skip
        sd.train(recipe, out / f"b{size}")
    return folder


def bound(model, texts: list[str]) -> str:
    """-log p of test molecules in nats, or its bound, with its standard error over them."""
    found = model.log_likelihood(texts, draws=BOUND_DRAWS)["log_likelihood"]
    return f"{-found.mean():.2f} +- {found.std() / len(found) ** 0.5:.2f}"


def row(model, n: int, how: dict) -> dict:
    """Draw n rows in one setting: what they are like and what they cost."""
    sampler, start = model.sampler(**how), time.thread_time()
    x, steps = written(sampler, n, seeded(0))
    spent, read = time.thread_time() - start, sampler.denoiser.rows
    result = model.result(read_rows(model, x, {}), 0, n=n)
    found = {m.name: f"{m.value:.4f} [{m.low:.4f}, {m.high:.4f}]"
             for m in sd.evaluate(result).metrics if m.name.startswith(METRICS)}  # fmt: skip
    return {
        **how,
        "calls a row": round(float(steps.mean()), 1),
        "network rows a row": round(read / n, 1),
        "CPU s / 1,000": round(1000 * spent / n, 1),
        **found,
    }


def measured(folder: Path, n: int, settings: list[dict], dtype: str = "float32") -> None:
    """Print what a model is like in each setting."""
    model = sd.load(folder, device="cpu", dtype=dtype)
    texts = datasets.load("moses", "test").objects()[:BOUND_ROWS]
    print(f"{model.name}: -log p {bound(model, texts)} nats a molecule", flush=True)
    for how in settings:
        print(row(model, n, how), flush=True)


def guided(folder: Path, guide: Path, n: int) -> None:
    """Print what a model of blocks costs that drafts for a left-to-right one, whose law its rows
    then have (`guide_rule` exact), by the number of tokens it drafts at once."""
    measured(guide, n, paces(1))
    model = sd.load(folder, device="cpu")
    ours, theirs = (parameters(sd.load(f, device="cpu")) for f in (folder, guide))
    for tokens in (2, 4, model.config["process"]["block_size"]):
        how = {"order": "sequential", "guide": str(guide), "guide_rule": "exact",
               "tokens_per_step": tokens}  # fmt: skip
        told = row(model, n, how)
        steps = told["network rows a row"] / 2  # a row of either network
        found = {"rows of the guide": round(steps, 1),
                 "in rows of the guide": round(steps * (1 + ours / theirs), 1)}  # fmt: skip
        print({**told, "guide": guide.name, **found}, flush=True)


def parameters(model) -> int:
    """Parameters of a model's network."""
    return sum(p.numel() for p in model.engine.network.parameters())


def curve(parent: Path, out: Path, sizes: list[int], steps: int, n: int) -> None:
    """Adapt, draw and print, block size by block size; the parent itself is the first row."""
    measured(parent, n, paces(1))
    for size in sizes:
        measured(adapted(parent.resolve(), out, size, steps), n, paces(size))
