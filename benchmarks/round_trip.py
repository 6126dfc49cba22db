"""Spell every molecule of files in pieces (domain "safe"), read it back, and count.

    python benchmarks/round_trip.py moses_train.csv.gz moses_test.csv.gz qm9_133885.smi.gz

Files hold SMILES in their first column. `pieces` are read back as the same molecule by RDKit,
`whole` have bonds to cut but are not read back in pieces and are written as a plain SMILES,
`refused` are not written at all. `wrong` must be 0. Those that are not written in pieces are
listed with the reason. Needs rdkit only; one core, about 1,000 molecules a second.
"""

from __future__ import annotations

import argparse
import gzip
import time
from collections import Counter
from collections.abc import Iterator

from rdkit import Chem

from scidiff.chem.fragments import cut_bonds, spell
from scidiff.chem.molecules import canonical, parse


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("files", nargs="+")
    parser.add_argument("--every", type=int, default=1, help="take every n-th molecule")
    parser.add_argument("--listed", type=int, default=50, help="most molecules listed a file")
    args = parser.parse_args()
    for file in args.files:
        counts, start = Counter(), time.thread_time()
        for i, smiles in enumerate(molecules(file)):
            if i % args.every:
                continue
            kind, reason = outcome(smiles)
            counts[kind] += 1
            if reason and sum(counts[k] for k in ("whole", "refused", "wrong")) <= args.listed:
                print(f"  {kind}: {smiles}  {reason}", flush=True)
            if counts.total() % 100_000 == 0:
                print(said(file, counts, start), flush=True)
        print(said(file, counts, start), flush=True)


def molecules(file: str) -> Iterator[str]:
    """SMILES of the first column; a header that is no molecule is left out."""
    with (gzip.open if file.endswith(".gz") else open)(file, "rt") as lines:
        for i, line in enumerate(lines):
            smiles = line.split()[0].split(",")[0]
            if i or parse(smiles) is not None:
                yield smiles


def outcome(smiles: str) -> tuple[str, str]:
    """What became of a molecule, and why if it is not written in pieces as it should."""
    try:
        text = spell(smiles)
    except ValueError as error:
        return "refused", str(error)
    read = Chem.MolFromSmiles(text)
    back = None if read is None else Chem.MolToSmiles(read)
    if back != smiles and back != Chem.CanonSmiles(smiles):
        return "wrong", f"{text} is read as {back}"
    if text.count(".") > smiles.count("."):
        return "pieces", ""
    mol = parse(canonical(smiles) or "")
    if mol is not None and cut_bonds(mol):
        return "whole", "not the same molecule in pieces"
    return "one piece", ""


def said(file: str, counts: Counter[str], start: float) -> str:
    speed = counts.total() / (time.thread_time() - start)
    parts = ", ".join(f"{counts[k]:,} {k}" for k in ("pieces", "one piece", "whole", "refused",
                                                     "wrong"))  # fmt: skip
    return f"{file.split('/')[-1]}: {counts.total():,} molecules: {parts}; {speed:,.0f} a second"


if __name__ == "__main__":
    main()
