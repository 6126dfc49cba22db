"""What predictors see of an object, and a Gaussian process as the network of one.

A reader turns objects into a table of small whole numbers, which is what networks take and what a
training set is kept as: letters of sequences, folded fragment counts of molecules.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, ClassVar, Protocol, Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from scidiff.data import alphabets
from scidiff.data.alphabets import Alphabet
from scidiff.data.letters import letter_ids
from scidiff.rewards.minmax import Counts, counted
from scidiff.rewards.surrogates import GaussianProcess

Table = NDArray[np.int8]
MOST = 127  # counts are cut here, as int8 holds them


class Reader(Protocol):
    """How objects of a domain are read."""

    @property
    def domain(self) -> str: ...

    @property
    def unit(self) -> str:
        """What `size` counts."""
        ...

    def spell(self, obj: Any) -> Any:
        """The object as it is read; raises ValueError for what is none."""
        ...

    def table(self, objects: Sequence[Any]) -> Table:
        """Spelled objects as a table (B, W), -1 behind the end of a row."""
        ...

    def size(self, obj: Any) -> int: ...

    def parts(self, obj: Any) -> frozenset[str]:
        """What it is made of, for telling what a training set never held."""
        ...


@dataclass(frozen=True)
class Letters:
    """Sequences as ids of letters."""

    alphabet: Alphabet
    unit: ClassVar[str] = "letters"

    @property
    def domain(self) -> str:
        return self.alphabet.name.lower()

    def spell(self, obj: Any) -> str:
        return self.alphabet.spell(obj)

    def table(self, objects: Sequence[str]) -> Table:
        return letter_ids(objects, self.alphabet.letters)

    def size(self, obj: str) -> int:
        return len(obj)

    def parts(self, obj: str) -> frozenset[str]:
        """All letters of an alphabet count as known: k-mers and filters share them."""
        return frozenset()


@dataclass(frozen=True)
class Fingerprints:
    """Molecules (RDKit's, or SMILES) as counts of Morgan environments up to radius 2, folded to
    2,048."""

    unit: ClassVar[str] = "heavy atoms"
    domain: ClassVar[str] = "smiles"

    def spell(self, obj: Any) -> Any:
        if not isinstance(obj, str):
            return obj
        from scidiff.chem.molecules import parse

        mol = parse(obj)
        if mol is None:
            raise ValueError(f"{obj!r} is no SMILES that RDKit reads")
        return mol

    def table(self, objects: Sequence[Any]) -> Table:
        from scidiff.chem.molecules import without_hydrogens

        make = _folded()
        rows = [make(without_hydrogens(mol)) for mol in objects]
        counts = np.stack(rows) if rows else np.zeros((0, _width()), np.int64)
        return np.minimum(counts, MOST).astype(np.int8)

    def size(self, obj: Any) -> int:
        return int(obj.GetNumHeavyAtoms())

    def parts(self, obj: Any) -> frozenset[str]:
        """Its elements."""
        return frozenset(atom.GetSymbol() for atom in obj.GetAtoms())


@lru_cache(maxsize=1)
def _folded() -> Any:
    from rdkit.Chem.rdFingerprintGenerator import GetMorganGenerator

    return GetMorganGenerator(radius=2, fpSize=_width()).GetCountFingerprintAsNumPy


def _width() -> int:
    from scidiff.rewards.fingerprints import BITS

    return BITS


def find_reader(domain: str) -> Reader:
    """The reader of a domain: smiles, dna, rna or peptide.

    Raises ValueError for another one.
    """
    if domain == Fingerprints.domain:
        return Fingerprints()
    known: dict[str, Alphabet] = {a.name.lower(): a for a in
                                  (alphabets.DNA, alphabets.RNA, alphabets.PEPTIDE)}
    if domain not in known:
        raise ValueError(f"nothing is predicted of domain {domain!r}; expected one of smiles, "
                         f"{', '.join(known)}")
    return Letters(known[domain])


# ---------------------------------------------------------------- a process as a network


@dataclass(frozen=True)
class ProcessOracleConfig:
    """The size of the table that is learned by heart, and whether it holds letters or counts."""

    rows: int
    width: int
    letters: bool


class ProcessOracle(nn.Module):
    """The exact Gaussian process of `surrogates` on a table of up to a few thousand rows: inputs
    (B, W) int64 to the mean (B, 1). It holds its rows and is fitted when it is first asked."""

    def __init__(self, config: ProcessOracleConfig) -> None:
        super().__init__()
        self.config = config
        self.inputs: Tensor
        self.target: Tensor
        self.register_buffer("inputs", torch.zeros(config.rows, config.width, dtype=torch.int8))
        self.register_buffer("target", torch.zeros(config.rows))
        self._process: GaussianProcess | None = None

    @classmethod
    def of(cls, table: Table, target: NDArray[np.float32], letters: bool) -> Self:
        """Learn a table (N, W) and one number a row, (N,)."""
        made = cls(ProcessOracleConfig(len(table), table.shape[1], letters))
        made.inputs.copy_(torch.from_numpy(table))
        made.target.copy_(torch.from_numpy(target))
        return made

    def forward(self, inputs: Tensor) -> Tensor:
        return self._fitted().predict(self._counts(inputs))[0][:, None]

    def spread(self, inputs: Tensor) -> Tensor:
        """Standard deviation of the value, without the noise of a measurement: (B, 1)."""
        return self._fitted().predict(self._counts(inputs))[1][:, None]

    def _fitted(self) -> GaussianProcess:
        if self._process is None:
            self._process = GaussianProcess.fit(self._counts(self.inputs), self.target.double())
        return self._process

    def _counts(self, inputs: Tensor) -> Counts:
        table = inputs.numpy()
        if self.config.letters:  # any letters will do: words are told apart, not named
            return counted("sequence", ["".join(chr(65 + i) for i in row[row >= 0])
                                        for row in table])
        rows, columns = np.nonzero(table)
        counts = table[rows, columns].astype(np.int64)
        return Counts.of(rows, columns.astype(np.uint64), counts, len(table))


__all__ = ["Fingerprints", "Letters", "ProcessOracle", "ProcessOracleConfig", "Reader",
           "find_reader"]
