"""Structural alerts: unwanted substructures, from published catalogues or as SMARTS."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache

from rdkit import Chem, rdBase
from rdkit.Chem import Mol
from rdkit.Chem.FilterCatalog import FilterCatalog, FilterCatalogParams

from scidiff.messages import nearest

CATALOGUES = {
    name.lower(): value
    for name, value in FilterCatalogParams.FilterCatalogs.names.items()
    if name != "ALL"
}


@dataclass(frozen=True)
class Alert:
    """One alert found in a molecule."""

    catalogue: str  # "pains", "brenk", ... or "smarts" for a user's own pattern
    name: str
    atoms: tuple[int, ...]  # indices into the molecule, of the first match


@dataclass(frozen=True)
class Alerts:
    """A set of alerts; call it on a molecule to get those that match.

    `catalogues` are RDKit's: "pains" (Baell and Holloway 2010), "brenk" (Brenk et al. 2008),
    "nih", "zinc" and others. `smarts` are the user's own as (name, SMARTS) pairs; `Alerts.of` also
    takes a mapping or bare patterns. Raises ValueError naming an unknown catalogue or an
    unreadable SMARTS. Only strings are stored: a set can be hashed and sent to worker processes.
    """

    catalogues: tuple[str, ...] = ("pains", "brenk")
    smarts: tuple[tuple[str, str], ...] = ()

    def __post_init__(self) -> None:
        for name in self.catalogues:
            if name not in CATALOGUES:
                raise ValueError(_unknown(name))
        _compiled(self.smarts)

    @classmethod
    def of(
        cls, *catalogues: str, smarts: Mapping[str, str] | Sequence[str] = ()
    ) -> Alerts:
        """Build from names in any case and patterns with or without names."""
        if isinstance(smarts, str):
            smarts = [smarts]
        named = smarts.items() if isinstance(smarts, Mapping) else ((s, s) for s in smarts)
        return cls(tuple(c.lower() for c in catalogues), tuple(named))

    def __call__(self, mol: Mol) -> list[Alert]:
        """Find every alert in `mol`, with the atoms of the first match of each."""
        with rdBase.BlockLogs():
            found = [alert for name in self.catalogues for alert in _in_catalogue(name, mol)]
            for (name, _), query in zip(self.smarts, _compiled(self.smarts), strict=True):
                if match := mol.GetSubstructMatch(query):
                    found.append(Alert("smarts", name, tuple(match)))
        return found


def _unknown(name: str) -> str:
    hint = nearest(name, CATALOGUES, most=3) or f"; known: {', '.join(CATALOGUES)}"
    return f"unknown alert catalogue {name!r}{hint}"


@lru_cache(maxsize=16)
def _catalogue(name: str) -> FilterCatalog:
    params = FilterCatalogParams()
    params.AddCatalog(CATALOGUES[name])
    return FilterCatalog(params)


def _in_catalogue(catalogue: str, mol: Mol) -> list[Alert]:
    found = []
    for entry in _catalogue(catalogue).GetMatches(mol):
        matches = entry.GetFilterMatches(mol)
        # A filter made only of a negated pattern matches no atoms in particular.
        atoms = tuple(sorted({a for _, a in matches[0].atomPairs})) if matches else ()
        found.append(Alert(catalogue, entry.GetDescription(), atoms))
    return found


@lru_cache(maxsize=64)
def _compiled(smarts: tuple[tuple[str, str], ...]) -> tuple[Mol, ...]:
    queries = []
    for name, pattern in smarts:
        with rdBase.BlockLogs():
            query = Chem.MolFromSmarts(pattern) if pattern else None
        if query is None:
            named = "" if name == pattern else f" ({name})"
            raise ValueError(f"not a SMARTS pattern: {pattern!r}{named}")
        queries.append(query)
    return tuple(queries)
