"""What no engine of molecules in space can do, and says."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

from torch import Tensor

from scidiff.api.requests import InfillRequest, LikelihoodRequest
from scidiff.core import Rng, ScidiffError


class Spatial:
    """An engine whose objects have places, of which a text says nothing."""

    can: ClassVar[str]  # what it offers instead

    def log_likelihood(
        self, texts: Sequence[str], how: LikelihoodRequest
    ) -> tuple[Tensor, Tensor]:
        """Not offered: a SMILES has many structures, each with a density of its own."""
        raise ScidiffError(
            "a model of molecules in space knows the density of a structure, not of a SMILES; "
            f"{self.can} are what it can"
        )

    def infill(self, asked: InfillRequest, rng: Rng, **overrides: Any) -> Any:
        """Not possible from a text, which does not say where its atoms are."""
        raise ScidiffError(
            f"a model of molecules in space cannot fill in {asked.pattern!r}, which has no "
            f"places; {self.can} are what it can"
        )
