"""Molecules and graphs as the page draws and searches them: a graph with places, no picture."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import networkx as nx
from rdkit import Chem, rdBase
from rdkit.Chem import Mol, rdDepictor

from scidiff.chem.checks import examine
from scidiff.chem.molecules import parse
from scidiff.chem.syntax import TOKEN
from scidiff.data.records import Record

UNITS = 20  # of a drawing, an angstrom: a bond is 30 units long
AROMATIC, SOLID, DASHED, RING = 4, 8, 16, 32  # added to the order of a bond, 0 for no plain one
_ORDERS = {Chem.BondType.SINGLE: 1, Chem.BondType.DOUBLE: 2, Chem.BondType.TRIPLE: 3}
_WEDGES = {Chem.BondDir.BEGINWEDGE: SOLID, Chem.BondDir.BEGINDASH: DASHED}
STRICT: dict[str, Any] = {"allow_charge": False, "allow_disconnected": False,
                          "allow_radicals": False}


def packed_molecule(mol: Mol, marked: Sequence[int] = ()) -> dict[str, Any]:
    """What the page knows of a molecule.

    a: symbols, lower case (or "*a") where aromatic; h: hydrogens not drawn, a digit an atom; q, i:
    charges and isotopes by atom; b: begin, end, code of every bond; p: x, y of every atom, y
    downwards; m: atoms that broke a rule.
    """
    mol = _with_places(mol)
    atoms = list(mol.GetAtoms())
    flat = [round(value * UNITS) for place in mol.GetConformer().GetPositions()
            for value in (place[0], -place[1])]
    found: dict[str, Any] = {
        "a": " ".join(map(_symbol, atoms)),
        "h": "".join(str(min(a.GetTotalNumHs(), 9)) for a in atoms),
        "b": [n for bond in mol.GetBonds() for n in _bond(bond)], "p": flat}
    sparse = {"q": {a.GetIdx(): a.GetFormalCharge() for a in atoms if a.GetFormalCharge()},
              "i": {a.GetIdx(): a.GetIsotope() for a in atoms if a.GetIsotope()},
              "m": list(marked)}
    return found | {name: value for name, value in sparse.items() if value}


def _with_places(mol: Mol) -> Mol:
    """A copy with flat places, wedges and the orders of aromatic bonds where there are any."""
    mol = Chem.Mol(mol)
    with rdBase.BlockLogs():
        if mol.NeedsUpdatePropertyCache():  # it was not sanitised
            mol.UpdatePropertyCache(strict=False)
            Chem.FastFindRings(mol)
        Chem.KekulizeIfPossible(mol, clearAromaticFlags=False)
        rdDepictor.Compute2DCoords(mol)
        Chem.WedgeMolBonds(mol, mol.GetConformer())
    return mol


def _symbol(atom: Chem.Atom) -> str:
    symbol = str(atom.GetSymbol())
    if not atom.GetIsAromatic():
        return symbol
    return "*a" if symbol == "*" else symbol.lower()


def _bond(bond: Chem.Bond) -> tuple[int, int, int]:
    code = _ORDERS.get(bond.GetBondType(), 0) + _WEDGES.get(bond.GetBondDir(), 0)
    code += AROMATIC * bond.GetIsAromatic() + RING * bond.IsInRing()
    return bond.GetBeginAtomIdx(), bond.GetEndAtomIdx(), code


def packed_row(record: Record, mol: Mol | None) -> dict[str, Any] | None:
    """A row of molecules: its molecule where it is valid, else as it was written, with the atoms
    that broke a rule marked; None where nothing can be drawn."""
    if record.valid:
        return None if mol is None else packed_molecule(mol)
    mol = record.obj if isinstance(record.obj, Mol) else parse(record.text, sanitize=False)
    if mol is None or not mol.GetNumAtoms():
        return None
    return packed_molecule(mol, broken_atoms(record))


def broken_atoms(record: Record) -> tuple[int, ...]:
    """The atoms that a row's reason is about; none where the reason is not one of `examine`."""
    read = record.obj if isinstance(record.obj, Mol) else record.text
    every: tuple[dict[str, Any], ...] = ({}, STRICT)
    for options in every:
        report = examine(read, **options)[1]
        if report.message == record.reason:
            return report.atoms
    return ()


def broken_places(record: Record) -> list[tuple[int, int]]:
    """Where in the text of a row that cannot be drawn the atoms of its reason stand: first letter
    and one past the last of each."""
    spans = [m.span() for m in TOKEN.finditer(record.text) if m.lastgroup == "atom"]
    return [spans[a] for a in broken_atoms(record) if a < len(spans)]


def packed_graph(graph: nx.Graph) -> dict[str, Any]:
    """What the page knows of a graph: n nodes, t the name of each one's type where it has one, e
    begin and end of every edge, w its type where it is not 1. The page places the nodes."""
    index = {node: i for i, node in enumerate(graph)}
    types = [str(d.get("type", "")) for _, d in graph.nodes(data=True)]
    weights = [d.get("type", 1) for _, _, d in graph.edges(data=True)]
    found: dict[str, Any] = {"n": len(graph),
                             "e": [index[end] for edge in graph.edges for end in edge]}
    typed = {"t": types if any(types) else [], "w": weights if set(weights) - {1} else []}
    return found | {name: value for name, value in typed.items() if value}
