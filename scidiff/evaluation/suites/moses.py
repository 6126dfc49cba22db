"""The MOSES suite."""

from __future__ import annotations

from scidiff.evaluation.molecules import moses
from scidiff.evaluation.suite import Suite

SUITE = Suite(moses, fcd=True, train="moses-smiles", n=30_000)
