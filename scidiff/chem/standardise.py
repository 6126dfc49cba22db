"""Bring molecules to one convention, step by step, saying for each row what was changed."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from rdkit import Chem, rdBase
from rdkit.Chem import Mol
from rdkit.Chem.MolStandardize import rdMolStandardize

from scidiff.chem.checks import CheckReport, examine
from scidiff.chem.molecules import canonical


@dataclass(frozen=True)
class Standardised:
    """One row after standardisation."""

    smiles: str | None  # canonical; None where the input was invalid
    done: tuple[str, ...]  # the steps that changed something, in the order they ran
    report: CheckReport  # of the input


@dataclass(frozen=True)
class Standard:
    """Which steps to run, in this order; all but `tautomers` and `stereo` are on.

    `cleanup` rewrites functional groups to RDKit's normal forms and disconnects metals; `salts`
    keeps the largest organic fragment; `charges` neutralises by adding and removing protons;
    `tautomers` takes RDKit's canonical tautomer (slow: about 10 ms a molecule); `stereo` removes
    chiral centres and double bond geometry (MOSES has none, most users' files do).
    """

    cleanup: bool = True
    salts: bool = True
    charges: bool = True
    tautomers: bool = False
    stereo: bool = False

    def __call__(self, molecule: str | Mol) -> Standardised:
        """Standardise one SMILES or molecule; the argument is not changed."""
        mol, report = examine(molecule)
        if mol is None:
            return Standardised(None, (), report)
        done: list[str] = []
        smiles = canonical(mol)
        for name, step in STEPS.items():
            if not getattr(self, name):
                continue
            try:
                with rdBase.BlockLogs():
                    mol = step(mol)
            except (ValueError, RuntimeError) as error:  # RDKit gives up on some metal complexes
                why = f"{name}: {str(error).strip().splitlines()[0]}"
                return Standardised(None, tuple(done), CheckReport(False, "sanitisation", (), why))
            before, smiles = smiles, canonical(mol)
            if smiles != before:
                done.append(name)
        return Standardised(smiles, tuple(done), report)

    def describe(self) -> str:
        """One line for a model card: the steps that are on and those that are off."""
        on = ", ".join(name for name in STEPS if getattr(self, name)) or "nothing"
        off = ", ".join(name for name in STEPS if not getattr(self, name)) or "nothing"
        return f"standardised: {on}; left as is: {off}"


def _largest(mol: Mol) -> Mol:
    return rdMolStandardize.LargestFragmentChooser(preferOrganic=True).choose(mol)


def _neutral(mol: Mol) -> Mol:
    return rdMolStandardize.Uncharger().uncharge(mol)


def _canonical_tautomer(mol: Mol) -> Mol:
    return rdMolStandardize.TautomerEnumerator().Canonicalize(mol)


def _flat(mol: Mol) -> Mol:
    copy = Chem.Mol(mol)
    Chem.RemoveStereochemistry(copy)
    return copy


STEPS: dict[str, Callable[[Mol], Mol]] = {
    "cleanup": rdMolStandardize.Cleanup,
    "salts": _largest,
    "charges": _neutral,
    "tautomers": _canonical_tautomer,
    "stereo": _flat,
}
AS_WRITTEN = Standard(cleanup=False, salts=False, charges=False)
