"""How many puzzles of Eterna100 are solved for a number of foldings (extra `rna`).

    scidiff data get eterna --source FILE && python benchmarks/inverse_folding.py

Every second puzzle of at most 100 letters. A puzzle counts as solved when a sequence that was
asked for folds into it; the foldings that RNAinverse makes inside are not counted.
"""

import argparse
import random
import sys
import time
from pathlib import Path

import torch

from scidiff.core import seeded
from scidiff.data import datasets
from scidiff.data.tokens import FIRST_SYMBOL
from scidiff.guidance.lookahead import Decoded, Rollout
from scidiff.guidance.particles import guided_sample, sample
from scidiff.guidance.selection import per_parent, smc
from scidiff.rewards.folding import Fold, vienna
from scidiff.rewards.scoring import Scorer
from scidiff.samplers.masked import FixedCanvas, MaskedSampler
from scidiff.samplers.strided import StridedSampler

sys.path.insert(0, str(Path(__file__).parents[1] / "examples"))
import inverse_folding as example  # noqa: E402

STRENGTH, LOOKS, STARTS = 30.0, 7, 3


class Watched:
    """A reward that remembers at which call its target was met first."""

    bounds, floor = (0.0, 1.0), 0.0

    def __init__(self, target: Fold) -> None:
        self.target, self.name, self.asked, self.at = target, target.name, 0, None

    def __call__(self, sequences):
        values = self.target(sequences)
        for sequence, value in zip(sequences, values, strict=True):
            self.asked += 1
            met = value == 1 if self.target.measure == "pairs" else self.target.solved(sequence)
            self.at = self.asked if met and self.at is None else self.at
        return values


class Uniform(example.Pairs):
    """All letters alike: pairs are not given."""

    def __call__(self, x, k):
        law = torch.full((*x.ids.shape, 4), 0.25)
        return torch.nn.functional.pad(law, (FIRST_SYMBOL, 1)).log()


def drawn(law, select=None, measure="pairs", parents=None):
    """Best of n, or a guided population: calls / LOOKS particles, or `parents` that branch."""

    def run(structure, calls):
        reward = Watched(Fold(structure, measure))
        asked = Decoded(example.DOMAIN, Scorer(reward, budget=calls))
        canvas = FixedCanvas.blank(len(structure), example.MASK)
        sampler = MaskedSampler(law(Fold(structure)), canvas)
        if select is None:
            asked(sample(sampler, calls, seeded(0)))
            return reward.at
        strided = StridedSampler(sampler, -(-len(structure) // LOOKS))
        each = calls // strided.num_steps
        n = parents or each
        guided_sample(strided, asked, n, seeded(0), select=select, branch=each // n,
                      strength=STRENGTH, value=Rollout(strided, asked, strength=STRENGTH))
        return reward.at

    return run


def rewritten(structure, calls):
    """The example: Metropolis chains that hide a part and write it again."""
    _, score, asked = example.solve(structure, calls)
    return asked if score == 1 else None


def rna_inverse(structure, calls):
    """ViennaRNA's own adaptive walk from random starts (Hofacker et al. 1994)."""
    for start in range(STARTS):
        letters = "".join(random.choice("ACGU") for _ in structure)
        if vienna().inverse_fold(letters, structure)[1] == 0:
            return start + 1
    return None


METHODS = {
    "best of n, letters uniform": drawn(Uniform),
    "SMC, letters uniform": drawn(Uniform, smc(0.5)),
    "best of n": drawn(example.Pairs),
    "SMC": drawn(example.Pairs, smc(0.5)),
    "SVDD": drawn(example.Pairs, per_parent, parents=10),
    "SMC, ensemble defect": drawn(example.Pairs, smc(0.5), "defect"),
    "hide and rewrite": rewritten,
    f"RNAinverse, {STARTS} starts": rna_inverse,
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--calls", type=int, default=700)
    parser.add_argument("--longest", type=int, default=100)
    parser.add_argument("--methods", nargs="*", default=list(METHODS))
    typed = parser.parse_args()
    random.seed(0)
    puzzles = [t for t in datasets.load("eterna").objects() if len(t) <= typed.longest][::2]
    print(f"| method | solved of {len(puzzles)} | within 100 foldings | CPU s |")
    print("| --- | --- | --- | --- |")
    for name in typed.methods:
        started = time.process_time()
        found = [METHODS[name](t, typed.calls) for t in puzzles]
        within = sum(at <= 100 for at in found if at)
        print(f"| {name} | {sum(map(bool, found))} | {within} | "
              f"{time.process_time() - started:.0f} |", flush=True)


if __name__ == "__main__":
    main()
