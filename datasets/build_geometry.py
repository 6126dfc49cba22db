"""Fit scidiff/evaluation/_data/qm9_geometry.npz: lengths, angles and dihedrals of QM9.

    scidiff data get qm9_3d
    python datasets/build_geometry.py
"""

from pathlib import Path

import numpy as np

from scidiff.chem.geometry import examine_points
from scidiff.data.structures import load_points
from scidiff.evaluation.geometry_laws import KINDS, Law
from scidiff.evaluation.geometry_reference import GeometryReference

FITTED, HELD, TIMES = 40_000, 1_000, 10  # molecules of the reference; others for the floors
TARGET = Path(__file__).parents[1] / "scidiff" / "evaluation" / "_data" / "qm9_geometry.npz"


def main() -> None:
    packed = load_points("qm9_3d")
    drawn = np.random.default_rng(0).permutation(len(packed))[: FITTED + HELD * TIMES]
    fitted, held = Law(), [Law() for _ in range(TIMES)]
    for place, row in enumerate(drawn.tolist()):
        one = packed[row]
        mol, report = examine_points(one, "rdkit")
        if mol is not None and report.valid:
            (fitted if place < FITTED else held[(place - FITTED) // HELD]).add(mol)
    reference = GeometryReference.fit("QM9", fitted)
    reference.floors = {
        kind: float(np.mean([reference.distance(kind, law.total()[kind]) * law.n**0.5
                             for law in held])) for kind in KINDS}
    reference.save(TARGET)
    print(reference.n, reference.floors, {k: len(v) for k, v in reference.counts.items()},
          TARGET.stat().st_size)


if __name__ == "__main__":
    main()
