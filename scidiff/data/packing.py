"""Compact forms of shipped data: DNA at two bits a base, QM9 as whole milliangstroms."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import NDArray

BASES = "ACGT"
ELEMENTS = {"H": 1, "C": 6, "N": 7, "O": 8, "F": 9}
QM9_PROPERTIES = (
    "Dipole_debye", "Polarizability_bohr3", "HOMO_au", "LUMO_au", "HOMO_LUMO_gap_au", "R2_bohr2",
    "ZPVE_au", "InternalEnergy_0K_au", "InternalEnergy_298K_au", "Enthalphy_298K_au",
    "GibbsFreeEnergy_298K_au", "Heatcapacity_Cv_cal_mol_K",
)
_SHIFTS = np.array([6, 4, 2, 0], np.uint8)  # the first base is in the high bits


def pack_dna(sequences: Sequence[str]) -> NDArray[np.uint8]:
    """Sequences of one length L, a multiple of 4, over ACGT: (B, L / 4) uint8, A0 C1 G2 T3."""
    lengths = {len(s) for s in sequences}
    if len(lengths) != 1 or next(iter(lengths)) % 4:
        raise ValueError("expected sequences of one length, a multiple of 4, "
                         f"got lengths {sorted(lengths)}")
    code = np.full(256, 255, np.uint8)
    code[[ord(b) for b in BASES]] = range(4)
    letters = np.frombuffer("".join(sequences).encode("ascii", "replace"), np.uint8)
    bases = code[letters].reshape(len(sequences), -1, 4)
    if (bases == 255).any():
        row = int((bases == 255).any((1, 2)).argmax())
        raise ValueError(f"sequence {row} has letters other than {BASES}: {sequences[row]!r}")
    return (bases << _SHIFTS).sum(-1, dtype=np.uint8)


def unpack_dna(packed: NDArray[np.uint8]) -> list[str]:
    """Invert `pack_dna`: (B, W) uint8 -> B sequences of 4 W bases."""
    bases = ((packed[..., None] >> _SHIFTS) & 3).reshape(len(packed), -1)
    letters = np.frombuffer(BASES.encode(), np.uint8)[bases]
    return [row.tobytes().decode() for row in letters]


def pack_qm9(parts: Iterable[bytes]) -> dict[str, NDArray]:
    """The csv files of `qm9pack` as arrays: B molecules, M atoms in all.

    index (B,) int32 from 1, GDB9; n_atoms (B,) uint8; z (M,) uint8; xyz_milliangstrom (M, 3)
    int16; props (B, 12) float32 in the units of their names; prop_names; smiles, joined by line
    feeds.
    """
    rows = [row for part in parts for row in csv.DictReader(io.StringIO(part.decode()))]
    elements = [row["Elements"].strip("[]").replace("'", "").split(",") for row in rows]
    # The numbers are written like "0.", which is not JSON.
    flat = ",".join(row["XYZ_Ang"].replace("[", "").replace("]", "") for row in rows)
    angstrom = np.array(flat.split(","), np.float64).reshape(-1, 3)
    return {
        "index": np.array([row["Index"] for row in rows]).astype(np.int32),
        "n_atoms": np.array([len(e) for e in elements], np.uint8),
        "z": np.array([ELEMENTS[e.strip()] for es in elements for e in es], np.uint8),
        "xyz_milliangstrom": np.rint(angstrom * 1000).astype(np.int16),
        "props": np.array([[float(row[p]) for p in QM9_PROPERTIES] for row in rows], np.float32),
        "prop_names": np.array(QM9_PROPERTIES),
        "smiles": np.frombuffer("\n".join(r["SMILES"] for r in rows).encode(), np.uint8),
    }
