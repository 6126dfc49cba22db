"""Molecules as graphs: nodes are atoms with their charges, edges kekulised bond orders."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal, Self

import numpy as np
from rdkit import Chem

from scidiff.chem.assemble import RULES, assemble, broken_rule, kekulised, quantise
from scidiff.chem.molecules import canonical_key, parse
from scidiff.data.graph_tokens import BONDS, node_symbols, read, to_graphs, write
from scidiff.data.graphs import GraphState
from scidiff.data.records import Record
from scidiff.data.tokens import MASK_TEXT, TokenState, UnknownToken, Vocabulary, encode_rows

QM9 = ("C", "N", "O", "F")
ZINC250K = ("C", "N", "O", "F", "P", "S", "Cl", "Br", "I")


@dataclass(frozen=True)
class MoleculeGraphDomain:
    """Token rows (`data.graph_tokens`) or dense arrays over the symbols of `vocabulary`; nothing
    is corrected.

    rules: what a valid molecule obeys, of atoms (there are some), valence, sanitise, connected.
    ("valence",) is the validity without correction of Jo et al. 2022, which lets fragments pass.
    charge: atoms N, O, S with one bond order too many are read as cations, as published there.
    hydrogens: "explicit" ones are nodes and no atom has others; objects and keys leave them out
    either way. Models with them are trained in the domain `molecule_graph_h`.
    """

    vocabulary: Vocabulary
    rules: tuple[str, ...] = RULES
    charge: bool = False
    hydrogens: Literal["implicit", "explicit"] = "implicit"
    name: str = "molecule_graph"
    kind: str = "molecule"
    notation: ClassVar[str] = "graph"

    def __post_init__(self) -> None:
        unknown = [rule for rule in self.rules if rule not in RULES]
        if unknown:
            raise ValueError(f"rules must be among {', '.join(RULES)}, got {', '.join(unknown)}")
        if self.hydrogens not in ("implicit", "explicit"):
            raise ValueError(f"hydrogens must be implicit or explicit, got {self.hydrogens!r}")

    @classmethod
    def of(cls, atoms: Sequence[str], rules: tuple[str, ...] = RULES, charge: bool = True) -> Self:
        """A domain of the given atom symbols; features of a GraphState follow their order."""
        return cls(Vocabulary((*atoms, *BONDS), "graph"), rules, charge)

    @property
    def atoms(self) -> tuple[str, ...]:
        """Atom symbols, in the order of a GraphState's features."""
        return node_symbols(self.vocabulary)

    # ---- objects to states

    @staticmethod
    def spell(smiles: str) -> str:
        """Write a SMILES as the text of its graph, hydrogens left out. Raises ValueError where it
        cannot be."""
        return write(*typed_graph(smiles))

    def encode(self, objects: Sequence[str], max_nodes: int | None = None) -> TokenState:
        """Write SMILES as token rows; an error names the first row that cannot be written."""
        texts = []
        for number, smiles in enumerate(objects, start=1):
            try:
                symbols, orders = typed_graph(smiles, self.hydrogens == "explicit")
                self._check(symbols, max_nodes)
            except ValueError as error:
                raise type(error)(f"row {number}: {smiles!r}: {error}") from None
            texts.append(write(symbols, orders))
        return TokenState(encode_rows(self.vocabulary, texts))

    def _check(self, symbols: Sequence[str], max_nodes: int | None) -> None:
        if foreign := sorted(set(symbols) - set(self.atoms)):
            raise UnknownToken(f"has atom type {foreign[0]}, the model knows "
                               f"{', '.join(self.atoms)}")
        if max_nodes is not None and len(symbols) > max_nodes:
            raise ValueError(f"has {len(symbols)} atoms, the model takes at most {max_nodes}")

    def encode_graphs(self, objects: Sequence[str]) -> GraphState:
        """Write SMILES as dense arrays."""
        return to_graphs(self.encode(objects).ids, self.vocabulary)

    # ---- states to objects

    def decode(self, state: TokenState | GraphState) -> list[Record]:
        """Assemble and check every row; the record of an invalid one says which rule it broke."""
        if isinstance(state, TokenState):
            return [self._read(self.vocabulary.decode(row)) for row in state.ids.tolist()]
        if state.X.shape[2] != len(self.atoms):
            raise ValueError(f"expected {len(self.atoms)} features, got {state.X.shape[2]}")
        X, A, mask = (v.cpu().numpy() for v in (state.X, state.A, state.mask))
        return [self._round(x[m], a[np.ix_(m, m)]) for x, a, m in zip(X, A, mask, strict=True)]

    def key(self, record: Record) -> str:
        """Canonical SMILES of a valid record."""
        return canonical_key(record.text if record.obj is None else record.obj)

    def keys(self, objects: Sequence[str]) -> list[str]:
        """Canonical SMILES of graphs given as text."""
        return [self.key(self._read(text)) for text in objects]

    def _read(self, text: str) -> Record:
        if MASK_TEXT in text:
            return Record(text, None, False, "unfinished: some nodes or pairs are hidden")
        return self._record(*read(text))

    def _round(self, X: np.ndarray, A: np.ndarray) -> Record:
        classes, orders = quantise(X, A)
        return self._record([self.atoms[c] for c in classes], orders)

    def _record(self, symbols: Sequence[str], orders: np.ndarray) -> Record:
        mol = self._assembled(symbols, orders)
        reason = broken_rule(mol, self.rules)
        if self.hydrogens == "explicit" and not reason:
            mol = Chem.RemoveHs(mol, sanitize="sanitise" in self.rules)
        text = Chem.MolToSmiles(mol)
        return Record(text, None if reason else mol, not reason, reason)

    def _assembled(self, symbols: Sequence[str], orders: np.ndarray) -> Chem.Mol:
        return assemble(symbols, orders, self.charge, self.hydrogens == "explicit")


def typed_graph(smiles: str, hydrogens: bool = False) -> tuple[list[str], np.ndarray]:
    """Atom symbols and kekulised bond orders of a SMILES; raises ValueError where it has none."""
    mol = parse(smiles)
    if mol is None:
        raise ValueError(f"expected a readable SMILES, got {smiles!r}")
    return kekulised(mol, hydrogens)


DOMAIN = MoleculeGraphDomain
