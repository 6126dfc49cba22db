"""Atoms and bonds as arrays, and molecules made from them: no torch, one molecule at a time."""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np
from rdkit import Chem, rdBase
from rdkit.Chem import BondType, Mol

BONDS = {1: BondType.SINGLE, 2: BondType.DOUBLE, 3: BondType.TRIPLE}
CHARGED = {"N": 4, "O": 3, "S": 7}  # one bond order above what RDKit permits a neutral atom
_CHARGED_SYMBOL = re.compile(r"\[(?P<element>[A-Z][a-z]?)(?P<sign>[+-])(?P<size>\d*)\]")
RULES = ("atoms", "valence", "sanitise", "connected")


def arrays(mol: Mol, elements: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
    """Write a molecule as one-hot atoms (n, F) and kekulised bond orders (n, n).

    Charges, hydrogens and stereo are left out. Raises ValueError for an element that is not in
    `elements`.
    """
    mol = Chem.Mol(mol)
    Chem.Kekulize(mol, clearAromaticFlags=True)
    symbols = [atom.GetSymbol() for atom in mol.GetAtoms()]
    foreign = sorted(set(symbols) - set(elements))
    if foreign:
        raise ValueError(f"elements {', '.join(foreign)} not among {', '.join(elements)}")
    X = np.eye(len(elements))[[elements.index(symbol) for symbol in symbols]]
    return X, Chem.GetAdjacencyMatrix(mol, useBO=True)


def atom_symbol(atom: Chem.Atom) -> str:
    """Name an atom with its formal charge: C, [N+], [O-], [Fe+2]."""
    charge, symbol = atom.GetFormalCharge(), str(atom.GetSymbol())
    if charge == 0:
        return symbol
    size = str(abs(charge)) if abs(charge) > 1 else ""
    return f"[{symbol}{'+' if charge > 0 else '-'}{size}]"


def kekulised(mol: Mol) -> tuple[list[str], np.ndarray]:
    """Write a molecule as atom symbols (n,), charges kept, and kekulised bond orders (n, n).

    Hydrogens on their atoms and stereo are left out; radicals and isotopes raise ValueError.
    """
    mol = Chem.Mol(mol)
    Chem.Kekulize(mol, clearAromaticFlags=True)
    for atom in mol.GetAtoms():
        if atom.GetNumRadicalElectrons() or atom.GetIsotope():
            kind = "a radical" if atom.GetNumRadicalElectrons() else "an isotope"
            raise ValueError(f"atom {atom.GetIdx() + 1} ({atom.GetSymbol()}) is {kind}")
    return [atom_symbol(a) for a in mol.GetAtoms()], Chem.GetAdjacencyMatrix(mol, useBO=True)


def quantise(X: np.ndarray, A: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Round features (N, F) and edge values (N, N) to atom classes (n,) and bond orders (n, n).

    A feature counts where it is above .5, what is left to 1 is the class 'no atom', and the
    largest wins, the first among equals; bonds change order at .5, 1.5 and 2.5 (Jo et al. 2022).
    """
    on = (X > 0.5).astype(int)
    classes = np.concatenate([on, 1 - on.sum(1, keepdims=True)], 1).argmax(1)
    present = classes < X.shape[1]
    orders = np.digitize(A, [0.5, 1.5, 2.5])
    return classes[present], orders[np.ix_(present, present)]


def assemble(symbols: Sequence[str], orders: np.ndarray, charge: bool = True) -> Mol:
    """Build an unsanitised molecule from atom symbols (C, [N+]) and bond orders (n, n).

    With `charge`, an atom N, O or S whose bonds are exactly one order too many gets charge +1.
    """
    mol = Chem.RWMol()
    for symbol in symbols:
        mol.AddAtom(_atom(symbol))
    for i, j in zip(*np.nonzero(np.triu(orders, 1)), strict=True):
        mol.AddBond(int(i), int(j), BONDS[int(orders[i, j])])
    if charge:
        for atom, total in zip(mol.GetAtoms(), orders.sum(1), strict=True):
            if CHARGED.get(atom.GetSymbol()) == total:
                atom.SetFormalCharge(1)
    return mol.GetMol()


def _atom(symbol: str) -> Chem.Atom:
    found = _CHARGED_SYMBOL.fullmatch(symbol)
    if found is None:
        return Chem.Atom(symbol)
    atom = Chem.Atom(found["element"])
    atom.SetFormalCharge(int(found["sign"] + (found["size"] or "1")))
    return atom


def broken_rule(mol: Mol, rules: Sequence[str] = RULES) -> str:
    """Say in one line which of `rules` an assembled molecule breaks first; "" if none.

    'valence' alone is the published validity without correction. The molecule is sanitised in
    place as far as the rules ask.
    """
    if "atoms" in rules and mol.GetNumAtoms() == 0:
        return "atoms: there are none"
    with rdBase.BlockLogs():
        if "valence" in rules:
            failed = Chem.SanitizeMol(mol, Chem.SANITIZE_PROPERTIES, catchErrors=True)
            if failed:
                return f"valence: {_problem(mol, Chem.SANITIZE_PROPERTIES)}"
        if "sanitise" in rules and Chem.SanitizeMol(mol, catchErrors=True):
            return f"sanitise: {_problem(mol, Chem.SANITIZE_ALL)}"
    fragments = len(Chem.GetMolFrags(mol))
    return f"connected: {fragments} fragments" if "connected" in rules and fragments > 1 else ""


def _problem(mol: Mol, operations: int) -> str:
    problems = Chem.DetectChemistryProblems(mol, operations)
    return problems[0].Message() if problems else "RDKit refuses it"
