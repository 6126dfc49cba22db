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


def kekulised(mol: Mol, hydrogens: bool = False) -> tuple[list[str], np.ndarray]:
    """Write a molecule as atom symbols (n,), charges kept, and kekulised bond orders (n, n).

    A charge is part of its atom's symbol, where the published encoding (`arrays`) drops it.
    With `hydrogens` every hydrogen is an atom of its own; without, each atom must have as many as
    its symbol and bonds imply. Stereo is left out. Raises ValueError for radicals, isotopes, and
    hydrogens that the graph would not give back.
    """
    mol = Chem.AddHs(mol) if hydrogens else Chem.Mol(mol)
    Chem.Kekulize(mol, clearAromaticFlags=True)
    for atom in mol.GetAtoms():
        if atom.GetNumRadicalElectrons() or atom.GetIsotope():
            kind = "a radical" if atom.GetNumRadicalElectrons() else "an isotope"
            raise ValueError(f"atom {atom.GetIdx() + 1} ({atom.GetSymbol()}) is {kind}")
    symbols = [atom_symbol(a) for a in mol.GetAtoms()]
    orders = Chem.GetAdjacencyMatrix(mol, useBO=True)
    if other := np.setdiff1d(orders, [0, *BONDS]).tolist():
        raise ValueError(f"a bond has order {other[0]:g}, expected 1, 2 or 3")
    if not hydrogens:
        _check_hydrogens(mol, assemble(symbols, orders, charge=False))
    return symbols, orders


def _check_hydrogens(mol: Mol, again: Mol) -> None:
    """Refuse what the graph does not say: metal hydrides, or boron with less than its octet."""
    again.UpdatePropertyCache(strict=False)
    for atom, copy in zip(mol.GetAtoms(), again.GetAtoms(), strict=True):
        if atom.GetTotalNumHs() != copy.GetTotalNumHs():
            raise ValueError(
                f"atom {atom.GetIdx() + 1} ({atom_symbol(atom)}) has {atom.GetTotalNumHs()} "
                f"hydrogens where its bonds imply {copy.GetTotalNumHs()}; write them as atoms"
            )


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


def assemble(symbols: Sequence[str], orders: np.ndarray, charge: bool = True,
             hydrogens: bool = False) -> Mol:
    """Build an unsanitised molecule from atom symbols (C, [N+]) and bond orders (n, n).

    With `charge`, an atom N, O or S whose bonds are exactly one order too many gets charge +1.
    With `hydrogens`, there are no hydrogens but those among the symbols.
    """
    mol = Chem.RWMol()
    for symbol in symbols:
        atom = _atom(symbol)
        atom.SetNoImplicit(hydrogens)
        mol.AddAtom(atom)
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
    if "valence" in rules and (short := _open_valence(mol)):
        return f"valence: {short}"
    fragments = len(Chem.GetMolFrags(mol))
    return f"connected: {fragments} fragments" if "connected" in rules and fragments > 1 else ""


def _open_valence(mol: Mol) -> str:
    """Say which atom lacks hydrogens; only one without implicit hydrogens can."""
    for atom in mol.GetAtoms():
        if atom.GetNoImplicit() and atom.GetNumRadicalElectrons():
            return f"atom # {atom.GetIdx()} {atom.GetSymbol()} has a free valence"
    return ""


def _problem(mol: Mol, operations: int) -> str:
    problems = Chem.DetectChemistryProblems(mol, operations)
    return problems[0].Message() if problems else "RDKit refuses it"
