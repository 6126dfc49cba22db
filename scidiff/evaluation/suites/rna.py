"""RNA against a reference of the user's; there is no default one."""

from __future__ import annotations

from scidiff.data.alphabets import RNA
from scidiff.evaluation.metric import Metric
from scidiff.evaluation.sequences import Law, SequenceSuite, letter_laws, property_law
from scidiff.rewards.sequences import gc

LONGEST = 6


def laws() -> list[Law | Metric]:
    """k-mers, positions, lengths and GC."""
    return [*letter_laws(RNA.letters, LONGEST),
            property_law("gc", "the share of G and C of a sequence", gc)]


RNA_SUITE = SequenceSuite("rna", RNA, laws)
SUITE = RNA_SUITE.suite()
