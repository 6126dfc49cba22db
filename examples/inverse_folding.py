"""Inverse RNA folding: sequences that ViennaRNA folds into a target (extra `rna`), by guidance of
a law that was never trained, in which only the target's pairs know of each other. Of 14 puzzles of
Eterna it solves 12 in at most 700 foldings, 144 on average.

    python examples/inverse_folding.py "((((....))))"  # or --eterna 14, once `data get eterna` ran
"""

import argparse

import torch

from scidiff.core import seeded, uniform
from scidiff.data import datasets
from scidiff.data.tokens import FIRST_SYMBOL, TokenState, Vocabulary
from scidiff.domains.rna import RnaDomain
from scidiff.guidance.lookahead import Decoded
from scidiff.guidance.particles import sample
from scidiff.rewards.folding import Fold
from scidiff.rewards.scoring import Scorer
from scidiff.samplers.masked import FixedCanvas, MaskedSampler

DOMAIN = RnaDomain(Vocabulary(RnaDomain.symbols(), RnaDomain.notation))  # A C G U
MASK, ALONE = DOMAIN.vocabulary.mask_id, torch.tensor([0.7, 0.1, 0.1, 0.1])
PAIRED = torch.tensor([[0, 0, 0, .1], [0, 0, .35, 0], [0, .35, 0, .05], [.1, 0, .05, 0]])
GIVEN = torch.cat([PAIRED / PAIRED.sum(1, keepdim=True), PAIRED.sum(1)[None]])
CHAINS, HIDDEN, STRENGTH = 10, 0.15, 100.0


class Pairs:
    """The law prod_pairs p(x_i, x_j) prod_others p(x_i): what its hidden letters are, exactly."""

    mask_id, vocab_size, block_size, rows = MASK, len(DOMAIN.vocabulary), None, 0

    def __init__(self, target: Fold) -> None:
        self.mate = torch.arange(len(target.target))  # a letter without a pair is its own
        for i, j in target.pairs:
            self.mate[i], self.mate[j] = j, i

    def __call__(self, x, k):
        """log p(letter | what is written), (B, L, V)."""
        beside = (x.ids - FIRST_SYMBOL)[:, self.mate]  # 0 .. 3, and 4 where hidden
        alone = (self.mate == torch.arange(len(self.mate)))[:, None]
        return torch.nn.functional.pad(torch.where(alone, ALONE, GIVEN[beside]),
                                       (FIRST_SYMBOL, 1)).log()

    def log_probs(self, trunk):
        return trunk


def solve(structure: str, calls: int = 700):
    """The best of ten Metropolis chains on p(x) exp(strength r(x)), its score, and the foldings.

    A move hides a part of a row, pairs together, and the law writes it again: that leaves p as it
    is, so what is accepted with probability min(1, exp(strength * gain)) leaves the product.
    """
    law, scorer, rng = Pairs(Fold(structure)), Scorer(Fold(structure), budget=calls), seeded(0)
    reward, rows = Decoded(DOMAIN, scorer), torch.full((CHAINS, len(structure)), MASK)
    score = torch.full((CHAINS,), -torch.inf)
    for _ in range(2 * calls // CHAINS):
        hide = (rows == MASK) | (uniform(rows.shape, rng) < HIDDEN)
        canvas = FixedCanvas(torch.where(hide | hide[:, law.mate], MASK, rows), MASK)
        found = sample(MaskedSampler(law, canvas), CHAINS, rng)
        value = reward(found).values
        accept = uniform(value.shape, rng).log() < STRENGTH * (value - score)
        rows, score = torch.where(accept[:, None], found.ids, rows), value.where(accept, score)
        if score.max() == 1 or scorer.asked + CHAINS > calls:
            break
    best = int(score.argmax())
    return DOMAIN.decode(TokenState(rows))[best].text, float(score[best]), scorer.asked


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("structure", nargs="*", default=["((((...((((....))))...))))"])
    parser.add_argument("--eterna", type=int, help="so many puzzles of at most 60 letters")
    typed = parser.parse_args()
    short = [t for t in datasets.load("eterna").objects() if len(t) <= 60] if typed.eterna else []
    for target in short[: typed.eterna] or typed.structure:
        print("{}\n{}  {:.3f} after {} foldings\n".format(target, *solve(target)))
