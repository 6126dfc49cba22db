"""Methods of `sd.finetune` on one pool of a model's own draws, at equal steps.

    python benchmarks/finetuning.py --reward osimertinib_mpo --pool 2000 --steps 100 --out DIR

All of them move a model p towards p_ref exp(strength r), the law with the largest

    J = strength E_p[r] - KL(p || p_ref),

log Z for that law itself, which the pool estimates. So J on fresh draws says how far each came;
the likelihoods are exact for the settings that draw. Beside it: the mean score, the best tenth,
how many are valid and what the steps cost. An invalid row scores the floor of the reward.
"""

from __future__ import annotations

import argparse
import math
import statistics
import time
from pathlib import Path
from typing import Any

import pandas as pd
import torch

import scidiff as sd
from scidiff.api.finetuning import OBJECTIVES, TILT, finetune, pool_states
from scidiff.api.likelihoods import likelihood_of
from scidiff.core import seeded
from scidiff.guidance.finetune_likelihoods import in_parts
from scidiff.guidance.selection import log_mean_exp

ROWS = 64  # of one pass of a likelihood


def scored(model: Any, reward: Any, n: int, seed: int) -> pd.DataFrame:
    """Draws with their scores, the floor where they are invalid."""
    drawn = model.sample(n, seed=seed)
    told = reward.score([r.obj for r in drawn if r.valid]).values.tolist()
    values = iter(told)
    score = [next(values) if r.valid else float(reward.floor) for r in drawn]
    return pd.DataFrame({"smiles": drawn.texts, "score": score, "valid": [r.valid for r in drawn]})


def log_p(parent: Any, network: Any, texts: list[str]) -> torch.Tensor:
    """Log-likelihoods (B,) of texts under a network, as the parent's settings draw."""
    states = pool_states(parent.engine, texts, None)
    with torch.no_grad():
        return in_parts(likelihood_of(parent), network, states, seeded(0), ROWS).double()


def line(parent: Any, tuned: Any, reward: Any, strength: float, n: int) -> dict[str, str]:
    """What a model draws, beside its parent."""
    found = scored(tuned, reward, n, seed=1)
    known = found[[not parent.unreadable(t) for t in found["smiles"]]]
    texts = known["smiles"].tolist()
    gap = log_p(parent, tuned.engine.network, texts) - log_p(parent, parent.engine.network, texts)
    worth = strength * torch.tensor(known["score"].to_numpy()) - gap
    error = float(worth.std()) / math.sqrt(len(worth))
    best = found["score"].nlargest(max(1, n // 10)).mean()
    return {
        "J": f"{float(worth.mean()):.2f} +- {error:.2f}", "KL, nats": f"{float(gap.mean()):.2f}",
        "mean score": f"{found['score'].mean():.3f}", "best tenth": f"{best:.3f}",
        "valid": f"{found['valid'].mean():.3f}",
        "distinct": f"{found['smiles'].nunique() / n:.3f}",
    }  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", default="moses-smiles")
    parser.add_argument("--reward", default="osimertinib_mpo")
    parser.add_argument("--pool", type=int, default=2000)
    parser.add_argument("--steps", type=int, default=100)
    parser.add_argument("-n", type=int, default=1000, help="fresh draws a method")
    parser.add_argument("--methods", nargs="*", default=list(OBJECTIVES))
    parser.add_argument("--out", type=Path, required=True)
    args = parser.parse_args()
    torch.set_num_threads(1)
    parent, reward = sd.load(args.model, device="cpu"), sd.reward(args.reward)
    pool = scored(parent, reward, args.pool, seed=0)
    usable = pool[pool["valid"]]
    strength = TILT / statistics.pstdev(usable["score"])
    log_z = float(log_mean_exp(strength * torch.tensor(pool["score"].to_numpy())))
    print(f"{args.reward}: strength {strength:.1f}, log Z of the pool {log_z:.2f}", flush=True)
    print("none", line(parent, parent, reward, strength, args.n), flush=True)
    for method in args.methods:
        start = time.thread_time()
        made = finetune(parent, usable, out=args.out / args.reward / method,
                        method=method, strength=strength, steps=args.steps)  # fmt: skip
        spent = time.thread_time() - start
        told = line(parent, sd.load(made, device="cpu"), reward, strength, args.n)
        print(method, {**told, "CPU s": round(spent)}, flush=True)


if __name__ == "__main__":
    main()
