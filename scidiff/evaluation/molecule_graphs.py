"""The suite of molecular graphs: what breaks, what molecules are made of, NSPDK and FCD against a
reference, each beside what training molecules score at the same n.

Every row is in the denominator of the four validity shares; nothing is corrected. Distances are
those of the sanitizable rows as they were drawn, fragments included, where many papers first
repair molecules and keep their largest fragment.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from rdkit import Chem, rdBase
from rdkit.Chem import Mol

from scidiff.chem.molecules import parse
from scidiff.data.records import Record
from scidiff.evaluation.chemnet import ChemNet
from scidiff.evaluation.counts import novelty, proportion, uniqueness
from scidiff.evaluation.fcd import frechet_distance, require_chemnet
from scidiff.evaluation.features import Counts, Sample, collect
from scidiff.evaluation.intervals import SPREAD, SUBSETS, spread_of
from scidiff.evaluation.metric import Metric, Report, absent, versions
from scidiff.evaluation.molecule_laws import LAWS, shares
from scidiff.evaluation.novelty import Known
from scidiff.evaluation.nspdk import MeanMap
from scidiff.evaluation.rows import as_record, evenly
from scidiff.evaluation.suite import known_molecules

Between = Callable[["Kept", "Kept", int | None], float]  # of one subset of the first, or of all
NSPDK = "|mean a - mean b|^2 of NSPDK feature vectors, radius and distance to 4"
FCD = "Frechet distance of 512 ChemNet activations"


def molecule_graph_suite(
    generated: Iterable[Any], reference: Sequence[Any], *,
    train: Known | Sequence[Any] | None = None, floor: Sequence[Any] | None = None,
    fcd: bool = True, device: str = "cpu",
) -> Report:
    """Compare molecular graphs with a reference: SMILES, unsanitised or sanitised molecules,
    records, or None for a row that is lost; a GraphState is decoded first (`domain.decode`).

    `train` is what novelty is measured against; `floor` are training molecules of which as many
    as there are valid rows, evenly spaced, are put beside every distance (`train` itself where it
    is a list). Raises ValueError for a reference without a molecule, FcdMissing for an FCD without
    the extra `fcd`.
    """
    if fcd:
        require_chemnet()
    causes = Causes()
    own, against = Kept(fcd, device), Kept(fcd, device)
    own.read(causes.watch(generated))
    against.read(map(as_record, reference))
    if not against.keys:
        raise ValueError(f"reference must hold at least one molecule, got {len(reference)} rows "
                         "of which none is valid")
    floor = train if floor is None and isinstance(train, Sequence) else floor
    beside = None if floor is None else _sample(floor, len(own.keys), fcd, device)
    found = [*causes.metrics(), uniqueness(own.keys)]
    if train is not None:
        found.append(novelty(own.keys, _known(train)))
    for name, (what, between) in _distances(fcd).items():
        found += _compared(name, what, between, own, against, beside)
    return Report(tuple(found), {
        "suite": "molecule_graph", "rows": causes.n, "valid": len(own.keys),
        "reference_n": len(against.keys), "reference_hash": _hash(against.keys), **versions()})


@dataclass
class Causes:
    """Why rows are no valid, connected molecule; a row can fail for several reasons."""

    n: int = 0
    valence: int = 0  # no atom with more bonds than it can carry: validity in Jo et al. 2022
    sanitizable: int = 0  # and rings that kekulise: what RDKit accepts
    connected: int = 0  # one piece, sanitizable or not
    both: int = 0

    def watch(self, rows: Iterable[Any]) -> Iterator[Record]:
        """Pass rows on as records, valid where RDKit sanitises them, and count."""
        for row in rows:
            mol = _raw(row)
            self.n += 1
            if mol is None or mol.GetNumAtoms() == 0:
                yield Record("", None, False, "no molecule")
                continue
            one = len(Chem.GetMolFrags(mol)) == 1
            with rdBase.BlockLogs():
                valence = not Chem.SanitizeMol(mol, Chem.SANITIZE_PROPERTIES, catchErrors=True)
                sane = valence and not Chem.SanitizeMol(mol, catchErrors=True)
            self.valence += valence
            self.sanitizable += sane
            self.connected += one
            self.both += sane and one
            yield Record("", mol if sane else None, sane, "" if sane else "not sanitizable")

    def metrics(self) -> list[Metric]:
        """Four shares of all rows, with Wilson intervals."""
        said = {"valence_ok": (self.valence, "RDKit finds no atom with too many bonds"),
                "sanitizable": (self.sanitizable, "RDKit sanitises it"),
                "connected": (self.connected, "one piece"),
                "valid_and_connected": (self.both, "RDKit sanitises it and it is one piece")}
        return [proportion(name, hits, self.n, f"{what} / all rows, nothing corrected")
                for name, (hits, what) in said.items()]


class Kept:
    """What is kept of a set of molecules: see features.py."""

    def __init__(self, fcd: bool, device: str) -> None:
        self.keys: list[str] = []
        self.nspdk = MeanMap()
        self.laws = {name: Counts(f) for name, (f, _, _) in LAWS.items()}
        self.chemnet, self.fcd = ChemNet(device), fcd

    def read(self, rows: Iterable[Record]) -> Sample:
        """Read rows once, block by block."""
        chemnet = [self.chemnet] if self.fcd else []
        sample = collect(rows, self.nspdk, *self.laws.values(), *chemnet)
        self.keys = sample.keys
        return sample


def _distances(fcd: bool) -> dict[str, tuple[str, Between]]:
    """Name -> definition and distance of kept molecules."""
    found: dict[str, tuple[str, Between]] = {
        "nspdk": (NSPDK, lambda a, b, subset: a.nspdk.distance(b.nspdk, subset))}
    if fcd:
        found["fcd"] = FCD, _fcd
    for name, (_, distance, what) in LAWS.items():
        def between(a: Kept, b: Kept, subset: int | None, name: str = name,
                    distance: Callable[..., float] = distance) -> float:
            law = a.laws[name]
            return distance(law.total() if subset is None else law.parts[subset],
                            b.laws[name].total())

        found[name] = what, between
    return found


def _fcd(a: Kept, b: Kept, subset: int | None) -> float:
    return frechet_distance(*a.chemnet.moments(subset), *b.chemnet.moments())


def _compared(
    name: str, what: str, between: Between, own: Kept, against: Kept, beside: Kept | None
) -> list[Metric]:
    """A distance and, where there are training molecules, its floor."""
    note = f"reference {len(against.keys):,}"
    if name == "ring_size_tv" and own.laws[name].total() and against.laws[name].total():
        note += (f"; rings {shares(own.laws[name].total())}; "
                 f"reference {shares(against.laws[name].total())}")
    if beside is None:
        return [_metric(name, what, between, own, against, note)]
    floor = _metric(f"{name}_floor", f"{name} of training molecules", between, beside, against, "")
    if not math.isnan(floor.value):
        note += f"; {floor.n:,} training molecules score {floor.value:.4f}"
    return [_metric(name, what, between, own, against, note), floor]


def _metric(
    name: str, what: str, between: Between, own: Kept, against: Kept, note: str
) -> Metric:
    n = len(own.keys)
    if n < 2 * SUBSETS:
        return absent(name, n, what, f"needs {2 * SUBSETS} valid rows")
    value = between(own, against, None)
    if math.isnan(value):
        return absent(name, n, what, "one side has none")
    low, high = spread_of(value, [between(own, against, s) for s in range(SUBSETS)])
    return Metric(name, value, low, high, n, what, note, "" if math.isnan(low) else SPREAD)


def _raw(row: Any) -> Mol | None:
    """A copy of the row's molecule, not yet sanitised where it came as text."""
    if isinstance(row, Record):
        row = row.obj if isinstance(row.obj, Mol) else row.text
    return Chem.Mol(row) if isinstance(row, Mol) else parse(row or "", sanitize=False)


def _sample(rows: Sequence[Any], n: int, fcd: bool, device: str) -> Kept:
    found = Kept(fcd, device)
    found.read(as_record(rows[i]) for i in evenly(len(rows), n))
    return found


def _known(train: Known | Sequence[Any]) -> Known:
    return known_molecules(train) if isinstance(train, Sequence) else train


def _hash(keys: Sequence[str]) -> str:
    return hashlib.sha256("\n".join(sorted(keys)).encode()).hexdigest()[:12]
