"""The GuacaMol suite of distribution learning (Brown et al. 2019): scores, larger is better.

The reference is the training set, which does not ship: give it as `reference=`. The original draws
until it has 10,000 valid, or 10,000 distinct, molecules; here all comes from the rows given, the
first 10,000 valid ones of them.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rdkit.Chem import Mol

from scidiff.chem.molecules import as_mol, canonical
from scidiff.evaluation.chemnet import ChemNet
from scidiff.evaluation.counts import novelty, uniqueness, validity
from scidiff.evaluation.divergence import (
    descriptors,
    distributions,
    divergences,
    packed,
    score,
    without_density,
)
from scidiff.evaluation.fcd import frechet_distance
from scidiff.evaluation.features import Column, collect
from scidiff.evaluation.intervals import SPREAD, SUBSETS, spread_of
from scidiff.evaluation.metric import Metric, Report, absent, versions
from scidiff.evaluation.novelty import Known, KnownSet
from scidiff.evaluation.rows import as_record, first_of_kind
from scidiff.evaluation.suite import Suite, objects_of

N = 10_000
SEED = 42  # of the original's choice of 10,000 training molecules
NEEDS = "needs the training set as reference="
KL = "mean exp(-KL) over nine descriptors and the internal similarity"
FCD = "exp(-0.2 FCD) to 10,000 molecules of the training set"


def guacamol(
    rows: Iterable[Any], *, train: Known | None = None, reference: Any = None, fcd: bool = True,
    device: str = "cpu",
) -> Report:
    """Compute the GuacaMol suite; stereochemistry is left out of uniqueness, novelty and KL.

    `reference`: the training molecules, a list or a file. Novelty is measured against `train`, of
    names without stereochemistry; default: the reference.
    """
    values, bits, flat = Column(descriptors), Column(packed), Column(_names)
    chemnet = ChemNet(device, most=N) if fcd and reference is not None else None
    sample = collect(map(as_record, rows), values, bits, flat,
                     *([] if chemnet is None else [chemnet]))
    keys = [str(k) for k in flat.values()][:N]
    found = [validity(len(sample.keys), sample.n), uniqueness(keys, N)]
    known = [] if reference is None else _names_of(reference)
    train = KnownSet.build(known, "the reference") if train is None and known else train
    if train is not None:
        found.append(novelty(keys, train))
    first = first_of_kind(keys)
    mine = values.values()[first], bits.values()[first]
    found += [kl_score(mine, _subset(known), device), fcd_score(chemnet, _subset(known), device)]
    return Report(tuple(found), {"suite": "guacamol", "rows": sample.n,
                                 "valid": len(sample.keys), "reference_n": len(known),
                                 **versions()})


def kl_score(sample: tuple[NDArray[np.float64], NDArray[np.uint8]], reference: Sequence[str],
             device: str = "cpu") -> Metric:
    """The KL score of distinct molecules; its note names the descriptor that fits worst."""
    values, bits = sample
    n = len(values)
    if not reference or n < 2 * SUBSETS:
        return absent("kl_score_guacamol", n, KL, f"needs {2 * SUBSETS} rows" if reference
                      else NEEDS)
    mols = [m for m in map(as_mol, reference) if m is not None]
    theirs = distributions(descriptors(mols), packed(mols), device)
    mine = distributions(values, bits, device)
    subsets = [{k: v[s::SUBSETS] for k, v in mine.items()} for s in range(SUBSETS)]
    if flat := without_density(theirs, *subsets):
        return absent("kl_score_guacamol", n, KL, f"{flat} is the same for all molecules of the "
                      "reference or of a fifth of the rows: needs more of them")
    found = divergences(theirs, mine)
    parts = [score(divergences(theirs, subset)) for subset in subsets]
    worst = max(found, key=lambda name: found[name])
    return Metric("kl_score_guacamol", score(found), *spread_of(score(found), parts), n, KL,
                  f"worst: {worst}, KL {found[worst]:.3g}", SPREAD)


def fcd_score(chemnet: ChemNet | None, reference: Sequence[str], device: str = "cpu") -> Metric:
    """exp(-0.2 FCD) of the first 10,000 valid rows."""
    if chemnet is None or not reference or chemnet.seen < 2 * SUBSETS:
        why = "not asked for" if reference else NEEDS
        return absent("fcd_score_guacamol", 0 if chemnet is None else chemnet.seen, FCD, why)
    theirs = ChemNet(device)
    theirs.add([], reference)
    there = theirs.moments()
    distance = frechet_distance(*chemnet.moments(), *there)
    parts = [math.exp(-0.2 * frechet_distance(*chemnet.moments(s), *there))
             for s in range(SUBSETS)]
    value = math.exp(-0.2 * distance)
    return Metric("fcd_score_guacamol", value, *spread_of(value, parts), chemnet.seen, FCD,
                  f"FCD {distance:.3f}", SPREAD)


def _names(mols: Sequence[Mol]) -> NDArray[np.object_]:
    return np.array([canonical(m, stereo=False) for m in mols], object)


def _names_of(reference: Any) -> list[str]:
    """Distinct names without stereochemistry, in order; invalid molecules left out."""
    rows = map(as_record, objects_of(reference))
    names = (canonical(r.obj or r.text, stereo=False) for r in rows if r.valid)
    return list(dict.fromkeys(str(name) for name in names))


def _subset(names: Sequence[str]) -> list[str]:
    """The original's choice of 10,000, or all there are."""
    if len(names) <= N:
        return list(names)
    chosen = np.random.RandomState(SEED).choice(len(names), N, replace=False)
    return [names[i] for i in chosen]


def known_names(train: Any) -> KnownSet:
    """The names without stereochemistry of `train=`."""
    name = Path(train).name if isinstance(train, str | Path) else "the molecules given"
    return KnownSet.build(_names_of(train), name)


SUITE = Suite(guacamol, fcd=True, known=known_names, n=N)
