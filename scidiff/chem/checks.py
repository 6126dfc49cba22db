"""Which chemical rule a molecule breaks, and where: an invalid one is data, not an exception."""

from __future__ import annotations

from dataclasses import dataclass

from rdkit import Chem, rdBase
from rdkit.Chem import Mol

from scidiff.chem.alerts import Alerts
from scidiff.chem.molecules import parse
from scidiff.chem.syntax import fault

RULES = (
    "empty", "syntax", "parentheses", "ring closure", "valence", "kekulisation", "sanitisation",
    "disconnected", "charge", "radical", "alert",
)
_KINDS = {
    "AtomValenceException": "valence",
    "KekulizeException": "kekulisation",
    "AtomKekulizeException": "kekulisation",
}


@dataclass(frozen=True)
class CheckReport:
    """Whether a molecule is valid and, if not, the first rule it breaks."""

    valid: bool
    rule: str = ""  # one of RULES, "" for a valid molecule
    atoms: tuple[int, ...] = ()  # indices from 0, in the order written
    message: str = ""  # one line, "" for a valid molecule


VALID = CheckReport(True)


def check(
    molecule: str | Mol,
    *,
    allow_charge: bool = True,
    allow_disconnected: bool = True,
    allow_radicals: bool = True,
    alerts: Alerts | None = None,
) -> CheckReport:
    """Say whether a SMILES or a molecule is valid, with the options of `examine`."""
    return examine(molecule, allow_charge=allow_charge, allow_disconnected=allow_disconnected,
                   allow_radicals=allow_radicals, alerts=alerts)[1]


def examine(
    molecule: str | Mol,
    *,
    allow_charge: bool = True,
    allow_disconnected: bool = True,
    allow_radicals: bool = True,
    alerts: Alerts | None = None,
) -> tuple[Mol | None, CheckReport]:
    """Sanitise a molecule and check it: (the molecule or None where RDKit refuses it, the report).

    With the defaults a molecule is valid where MOSES counts it valid (RDKit sanitises it), except
    that an empty one is not. "charge" means an atom whose formal charge no bonded neighbour
    balances, so nitro groups and N-oxides pass `allow_charge=False`; ions and betaines do not.
    The argument is never changed.
    """
    mol, report = _read(molecule) if isinstance(molecule, str) else _sanitised(molecule)
    if mol is None:
        return None, report
    if not allow_disconnected and (report := _disconnected(mol)) is not VALID:
        return mol, report
    if not allow_charge and (report := _charged(mol)) is not VALID:
        return mol, report
    if not allow_radicals and (report := _radical(mol)) is not VALID:
        return mol, report
    return mol, VALID if alerts is None else _alerted(mol, alerts)


def _broken(rule: str, atoms: tuple[int, ...], message: str) -> CheckReport:
    return CheckReport(False, rule, atoms, message)


def _read(smiles: str) -> tuple[Mol | None, CheckReport]:
    if not smiles.strip():
        return None, _broken("empty", (), "nothing is written")
    if (mol := parse(smiles)) is not None:
        return mol, VALID
    raw = parse(smiles, sanitize=False)
    if raw is None:
        wrong = fault(smiles)
        return None, _broken(wrong.rule, wrong.atoms, wrong.message)
    return None, _problem(raw)


def _sanitised(mol: Mol) -> tuple[Mol | None, CheckReport]:
    if mol.GetNumAtoms() == 0:
        return None, _broken("empty", (), "the molecule has no atoms")
    copy = Chem.Mol(mol)
    with rdBase.BlockLogs():
        failed = Chem.SanitizeMol(copy, catchErrors=True)
    if failed == Chem.SanitizeFlags.SANITIZE_NONE:
        return copy, VALID
    return None, _problem(mol)


def _problem(raw: Mol) -> CheckReport:
    """The first kind of problem in an unsanitised molecule, and all atoms that have it."""
    with rdBase.BlockLogs():
        problems = Chem.DetectChemistryProblems(raw)
    if not problems:
        return _broken("sanitisation", (), "RDKit cannot sanitise it")
    rule = _KINDS.get(problems[0].GetType(), "sanitisation")
    same = [p for p in problems if p.GetType() == problems[0].GetType()]
    atoms = sorted({a for p in same for a in _atoms_of(p)})
    return _broken(rule, tuple(atoms), _explain(rule, raw, atoms, same[0].Message()))


def _atoms_of(problem: Chem.MolSanitizeException) -> tuple[int, ...]:
    if hasattr(problem, "GetAtomIndices"):
        return tuple(problem.GetAtomIndices())
    return (problem.GetAtomIdx(),) if hasattr(problem, "GetAtomIdx") else ()


def _explain(rule: str, mol: Mol, atoms: list[int], rdkit_says: str) -> str:
    if rule == "valence":
        # RDKit words it "Explicit valence for atom # 1 N, 5, is greater than permitted".
        found = rdkit_says.split(",")[1].strip() if rdkit_says.count(",") >= 2 else "too many"
        charge = mol.GetAtomWithIdx(atoms[0]).GetFormalCharge()
        sign = f" with charge {charge:+d}" if charge else ""
        return f"{_names(mol, atoms[:1])}{sign} has valence {found}, more than it can carry"
    if rule == "kekulisation":
        return f"aromatic atoms {_names(mol, atoms)} cannot alternate single and double bonds"
    return rdkit_says.strip().splitlines()[0]


def _names(mol: Mol, atoms: list[int] | tuple[int, ...]) -> str:
    return " ".join(f"{mol.GetAtomWithIdx(a).GetSymbol()}{a}" for a in atoms)


def _disconnected(mol: Mol) -> CheckReport:
    pieces = sorted(Chem.GetMolFrags(mol), key=len, reverse=True)
    if len(pieces) == 1:
        return VALID
    others = tuple(sorted(a for piece in pieces[1:] for a in piece))
    return _broken("disconnected", others, f"{len(pieces)} pieces, expected one")


def _charged(mol: Mol) -> CheckReport:
    def balanced(atom: Chem.Atom) -> bool:
        own = atom.GetFormalCharge()
        return any(n.GetFormalCharge() * own < 0 for n in atom.GetNeighbors())

    charged = [a for a in mol.GetAtoms() if a.GetFormalCharge() and not balanced(a)]
    if not charged:
        return VALID
    named = " ".join(f"{a.GetSymbol()}{a.GetIdx()} ({a.GetFormalCharge():+d})" for a in charged)
    return _broken("charge", tuple(a.GetIdx() for a in charged), f"charged: {named}")


def _radical(mol: Mol) -> CheckReport:
    atoms = tuple(a.GetIdx() for a in mol.GetAtoms() if a.GetNumRadicalElectrons())
    if not atoms:
        return VALID
    return _broken("radical", atoms, f"unpaired electrons on {_names(mol, atoms)}")


def _alerted(mol: Mol, alerts: Alerts) -> CheckReport:
    found = alerts(mol)
    if not found:
        return VALID
    more = f" and {len(found) - 1} more" if len(found) > 1 else ""
    first = found[0]
    return _broken("alert", first.atoms, f"{first.catalogue} alert {first.name}{more}")
