"""Molecules as graphs whose hydrogens are nodes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import ClassVar

from scidiff.data.graph_tokens import write
from scidiff.data.graphs import GraphState
from scidiff.data.records import Record
from scidiff.data.tokens import TokenState, Vocabulary
from scidiff.domains.molecule_graph import MoleculeGraphDomain, typed_graph


@dataclass(frozen=True)
class ExplicitGraphDomain:
    """`MoleculeGraphDomain` with hydrogens="explicit", under a name that recipes can give."""

    vocabulary: Vocabulary
    name: str = "molecule_graph_h"
    kind: str = "molecule"
    notation: ClassVar[str] = "graph"

    @cached_property
    def inner(self) -> MoleculeGraphDomain:
        return MoleculeGraphDomain(self.vocabulary, hydrogens="explicit")

    @property
    def atoms(self) -> tuple[str, ...]:
        return self.inner.atoms

    @staticmethod
    def spell(smiles: str) -> str:
        """Write a SMILES as the text of its graph, every hydrogen a node. Raises ValueError where
        it cannot be."""
        return write(*typed_graph(smiles, hydrogens=True))

    def encode(self, objects: Sequence[str], max_nodes: int | None = None) -> TokenState:
        return self.inner.encode(objects, max_nodes)

    def decode(self, state: TokenState | GraphState) -> list[Record]:
        return self.inner.decode(state)

    def key(self, record: Record) -> str:
        return self.inner.key(record)

    def keys(self, objects: Sequence[str]) -> list[str]:
        return self.inner.keys(objects)


DOMAIN = ExplicitGraphDomain
