"""Peptides against a reference of the user's; there is no default one."""

from __future__ import annotations

from scidiff.data.alphabets import PEPTIDE
from scidiff.evaluation.metric import Metric
from scidiff.evaluation.sequences import Law, SequenceSuite, letter_laws, property_law
from scidiff.rewards.peptides import charge, gravy, hydrophobic_moment

LONGEST = 3


def laws() -> list[Law | Metric]:
    """Composition, k-mers, positions, lengths, charge, hydropathy and hydrophobic moment."""
    return [*letter_laws(PEPTIDE.letters, LONGEST),
            property_law("charge", "the net charge at pH 7, elementary charges", charge),
            property_law("gravy", "the grand average of hydropathy", gravy),
            property_law("moment", "the largest hydrophobic moment of 11 residues",
                         hydrophobic_moment)]


PEPTIDE_SUITE = SequenceSuite("peptide", PEPTIDE, laws)
SUITE = PEPTIDE_SUITE.suite()
