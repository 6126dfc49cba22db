"""Generate molecules, steer them, check them and write a report: `make demo`."""

from __future__ import annotations

import sys
from pathlib import Path

import scidiff as sd

OUT = Path(sys.argv[1] if len(sys.argv) > 1 else "report")
REWARD = "qed * similarity('CC(=O)Nc1ccc(O)cc1')"  # drug-like and close to paracetamol


def main() -> None:
    OUT.mkdir(exist_ok=True)
    model = sd.load("moses-smiles", dtype="bfloat16")
    print(model)

    mols = model.sample(200, seed=0)
    print(mols)
    mols.save(OUT / "samples.csv")
    mols.save(OUT / "samples.png")

    hits = sd.design(model, reward=REWARD, n=16, budget=1600, seed=0)
    print(hits)
    hits.save(OUT / "designs.csv")
    hits.save(OUT / "designs.png")
    hits.save(OUT / "designs.html")

    print(f"\nLook at {OUT}/designs.html (report), {OUT}/samples.png, {OUT}/designs.png")
    print(f"and at the tables {OUT}/samples.csv, {OUT}/designs.csv")


if __name__ == "__main__":
    main()
