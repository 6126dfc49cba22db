"""DNA against held-out enhancers, or a reference of the user's."""

from __future__ import annotations

from scidiff.data.alphabets import DNA
from scidiff.evaluation.metric import Metric
from scidiff.evaluation.motif_spectrum import motif_law
from scidiff.evaluation.sequences import Law, SequenceSuite, letter_laws, property_law
from scidiff.rewards.sequences import gc

LONGEST = 6


def laws() -> list[Law | Metric]:
    """k-mers, positions, lengths, GC and motifs."""
    return [*letter_laws(DNA.letters, LONGEST),
            property_law("gc", "the share of G and C of a sequence", gc), motif_law()]


DNA_SUITE = SequenceSuite("dna", DNA, laws, "enhancers:test", "enhancers:training", strands=True)
SUITE = DNA_SUITE.suite()
