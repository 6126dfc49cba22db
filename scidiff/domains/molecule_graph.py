"""Molecules as dense graphs: node features are elements, edge values are bond orders."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from rdkit import Chem

from scidiff.chem.assemble import RULES, arrays, assemble, broken_rule, quantise
from scidiff.chem.molecules import canonical_key, parse
from scidiff.data.graphs import GraphState, encode
from scidiff.data.records import Record

QM9 = ("C", "N", "O", "F")
ZINC250K = ("C", "N", "O", "F", "P", "S", "Cl", "Br", "I")


@dataclass(frozen=True)
class MoleculeGraphDomain:
    """Features are one-hot `elements`, edges kekulised bond orders; nothing is corrected.

    rules: what a valid molecule obeys, of atoms (there are some), valence, sanitise, connected.
    ("valence",) is the validity without correction of Jo et al. 2022, which lets fragments pass.
    """

    elements: tuple[str, ...] = QM9
    max_nodes: int | None = None
    rules: tuple[str, ...] = RULES
    name: str = "molecule_graph"
    kind: str = "molecule"

    def __post_init__(self) -> None:
        unknown = [rule for rule in self.rules if rule not in RULES]
        if unknown:
            raise ValueError(f"rules must be among {', '.join(RULES)}, got {', '.join(unknown)}")

    def decode(self, state: GraphState) -> list[Record]:
        """Round, assemble and check every row; the record of an invalid one says which rule it
        broke."""
        if state.X.shape[2] != len(self.elements):
            raise ValueError(f"expected {len(self.elements)} features, got {state.X.shape[2]}")
        X, A, mask = (v.cpu().numpy() for v in (state.X, state.A, state.mask))
        return [self._record(x[m], a[np.ix_(m, m)]) for x, a, m in zip(X, A, mask, strict=True)]

    def encode(self, objects: Sequence[str]) -> GraphState:
        """Write SMILES as graphs; an error names the first row that cannot be written."""
        return encode([self._arrays(i, s) for i, s in enumerate(objects, start=1)], self.max_nodes)

    def key(self, record: Record) -> str:
        """Canonical SMILES of a valid record."""
        return canonical_key(record.text if record.obj is None else record.obj)

    def _arrays(self, row: int, smiles: str) -> tuple[np.ndarray, np.ndarray]:
        mol = parse(smiles)
        if mol is None:
            raise ValueError(f"row {row}: expected a readable SMILES, got {smiles!r}")
        try:
            return arrays(mol, self.elements)
        except ValueError as error:
            raise ValueError(f"row {row}: {smiles!r} has {error}") from None

    def _record(self, X: np.ndarray, A: np.ndarray) -> Record:
        classes, orders = quantise(X, A)
        mol = assemble([self.elements[c] for c in classes], orders)
        reason = broken_rule(mol, self.rules)
        text = Chem.MolToSmiles(mol)
        return Record(text, None if reason else mol, not reason, reason)


DOMAIN = MoleculeGraphDomain
