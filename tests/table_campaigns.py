"""Campaigns over a table: the objects are its rows, written as letters."""

import torch

from scidiff.core import seeded
from scidiff.data.records import Record
from scidiff.data.tokens import FIRST_SYMBOL, TokenState
from scidiff.guidance.campaign import Campaign, Limits, Round
from scidiff.guidance.lookahead import Decoded
from scidiff.guidance.pool import Pool
from scidiff.rewards.scoring import Scorer
from scidiff.samplers.masked import FixedCanvas, MaskedSampler
from scidiff.testing import chain_reward, chain_table

LETTERS = "ACG"
FORBIDDEN = "CC"
TABLE = chain_table()


class LetterDomain:
    """Rows of `chain_table` as words over ACG; words with a `forbidden` part are invalid, and so
    are rows that are not finished."""

    name, kind = "letters", "sequence"

    def __init__(self, forbidden=None):
        self.forbidden = forbidden

    def decode(self, state):
        return [self._read(row) for row in (state.ids - FIRST_SYMBOL).tolist()]

    def _read(self, row):
        if max(row) >= len(LETTERS):
            return Record("", None, False, "unfinished")
        text = "".join(LETTERS[i] for i in row)
        broken = self.forbidden is not None and self.forbidden in text
        return Record(text, None if broken else text, not broken, "forbidden" * broken)

    def key(self, record):
        return record.text


def encode(texts):
    return TokenState(torch.tensor([[LETTERS.index(c) + FIRST_SYMBOL for c in t] for t in texts]))


def told(texts):
    """The reward of `chain_table` on words."""
    return chain_reward(encode(texts)).tolist()


def all_words():
    return ["".join(LETTERS[i - FIRST_SYMBOL] for i in row) for row in TABLE.seqs.tolist()]


def tilt(strength, forbidden=None, floor=0.0):
    """p exp(strength r) of every word, not normalised."""
    words = all_words()
    values = [floor if forbidden and forbidden in w else v
              for w, v in zip(words, told(words), strict=True)]
    return TABLE.p * (strength * torch.tensor(values, dtype=torch.float64)).exp()


def sampler():
    return MaskedSampler(TABLE.denoiser(), FixedCanvas.blank(TABLE.length, TABLE.mask_id))


def table_campaign(strategy, calls, seed=0, reward=told, strength=1.2, forbidden=None, floor=0.0):
    scored = Scorer(Floored(reward, floor), budget=calls)
    return Campaign(strategy, sampler(), Decoded(LetterDomain(forbidden), scored), encode, seed,
                    Limits(calls), strength)


class Floored:
    """A reward on words with a floor."""

    name = "table"

    def __init__(self, reward, floor):
        self.reward, self.floor = reward, floor

    def __call__(self, objects):
        return self.reward(objects)


def pool_of(texts, reward=told):
    scorer = Scorer(Floored(reward, 0.0))
    Decoded(LetterDomain(), scorer)(encode(texts))
    return Pool(scorer)


def table_round(pool, calls, seed, strength, forbidden=None, floor=0.0, reward=told):
    """A round whose reward remembers nothing, so that rounds of many questions can follow."""
    domain = LetterDomain(forbidden)
    return Round(seed, sampler(), Decoded(domain, Scorer(Floored(reward, floor))), pool, calls,
                 strength, encode, seeded(7, seed))
