"""Generate molecules, steer them, check them and write a report: `make demo`."""

from __future__ import annotations

import argparse
from pathlib import Path

import scidiff as sd

REWARD = "qed * similarity('CC(=O)Nc1ccc(O)cc1')"  # drug-like and close to paracetamol


def main(out: Path, samples: int, designs: int) -> None:
    out.mkdir(parents=True, exist_ok=True)
    model = sd.load("moses-smiles", dtype="bfloat16")
    print(model)

    print(f"\nDrawing {samples} molecules ...", flush=True)
    mols = model.sample(samples, seed=0)
    print(mols)
    mols.save(out / "samples.csv")
    mols.save(out / "samples.png")

    print(f"\nDesigning {designs} with a high {REWARD} ...", flush=True)
    hits = sd.design(model, reward=REWARD, n=designs, budget=25 * designs, seed=0)
    print(hits)
    hits.save(out / "designs.csv")
    hits.save(out / "designs.png")
    hits.save(out / "designs.html")

    print(f"\nLook at {out}/designs.html (report), {out}/samples.png, {out}/designs.png")
    print(f"and at the tables {out}/samples.csv, {out}/designs.csv")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("out", nargs="?", type=Path, default=Path("report"), help="a folder")
    parser.add_argument("--quick", action="store_true", help="fewer molecules, in seconds")
    typed = parser.parse_args()
    main(typed.out, *((30, 4) if typed.quick else (200, 16)))
