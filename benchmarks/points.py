"""Molecules in space: what one costs by network and by degree of its tensors, and how good it is
by solver and evaluations of the network.

    python benchmarks/points.py --atoms 18 --rows 32
    python benchmarks/points.py --model qm9-3d -n 200

One thread, float32, CPU time (process time, so that other work on the machine counts little); of
networks the median of `--repeats` calls, all of the same widths. Molecules are drawn with seed 0
and taken as they come; stability is EDM's, valid is by the model's own bonds, one fragment and no
free valence.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Callable, Sequence

import torch

import scidiff as sd
from scidiff.api.model import Model
from scidiff.evaluation.intervals import wilson
from scidiff.evaluation.stability import edm
from scidiff.networks.equivariant import PointNetConfig, point_network

NETWORKS: dict[str, dict] = {
    "egnn": {},
    "egnn, width of messages 32": {"edge_width": 32},
    "egnn with bonds": {"edge_features": 5},
    "e3, lmax 1": {"kind": "e3", "lmax": 1},
    "e3, lmax 2": {"kind": "e3", "lmax": 2},
    "e3, lmax 3": {"kind": "e3", "lmax": 3},
}
EVALUATIONS = (25, 50, 100)
CHAINS: dict[str, dict] = {
    "as shipped": {},
    "reverse SDE, 2m": {"solver": "2m", "eta": 1.0, "rho": 1.0},
    "flow, 2m": {"solver": "2m", "eta": 0.0, "rho": 1.0},
    "flow, heun": {"solver": "heun", "eta": 0.0, "rho": 1.0},  # two evaluations a step
}


def cpu_ms(call: Callable[[], object], rows: int, repeats: int) -> float:
    """Median CPU milliseconds of a row."""
    call()
    spent = []
    for _ in range(repeats):
        start = time.process_time()
        call()
        spent.append(time.process_time() - start)
    return 1e3 * statistics.median(spent) / rows


def cost(changes: dict, rows: int, atoms: int, repeats: int) -> dict:
    torch.manual_seed(0)
    config = PointNetConfig(**{"features": 6, **changes})
    net = point_network(config)
    x, f = 1.5 * torch.randn(rows, atoms, 3), torch.randn(rows, atoms, 6)
    mask, t = torch.ones(rows, atoms, dtype=torch.bool), torch.rand(rows)
    bonds = torch.randn(rows, atoms, atoms, config.edge_features) if config.edge_features else None

    def sampled() -> None:
        with torch.no_grad():
            net(x, f, mask, t, bonds)

    def trained() -> None:
        said = net(x, f, mask, t, bonds)
        sum((part.square().sum() for part in said if part is not None), torch.zeros(())).backward()

    return {
        "parameters": sum(p.numel() for p in net.parameters()),
        "ms_forward": cpu_ms(sampled, rows, repeats),
        "ms_forward_backward": cpu_ms(trained, rows, repeats),
    }


def quality(model: Model, chain: dict, evaluations: int, n: int) -> dict:
    """What n molecules of a chain of so many evaluations cost, and how many are sound."""
    steps = evaluations // 2 if chain.get("solver") == "heun" else evaluations
    denoiser = model.engine.denoiser
    before, start = denoiser.rows, time.process_time()
    rows = model.sample(n, seed=0, steps=steps, **chain)
    seconds = time.process_time() - start
    stable = [edm(row.points) for row in rows]
    whole, valid = sum(s for _, s in stable), int(rows.valid.sum())
    atoms = sum(len(s) for s, _ in stable)
    return {
        "evaluations": (denoiser.rows - before) / n,
        "molecules_per_cpu_second": n / seconds,
        "atom_stable": sum(int(s.sum()) for s, _ in stable) / atoms,
        "mol_stable": [whole / n, *wilson(whole, n)],
        "valid": [valid / n, *wilson(valid, n)],
    }


def sampled(name: str, n: int, as_json: bool) -> None:
    """Print the table of solvers and evaluations."""
    model, found = sd.load(name, device="cpu"), {}
    for chain, settings in CHAINS.items():
        for evaluations in EVALUATIONS:
            found[f"{chain}, {evaluations}"] = row = quality(model, settings, evaluations, n)
            share = "  ".join("{:.3f} [{:.3f}, {:.3f}]".format(*row[k])
                              for k in ("mol_stable", "valid"))
            if as_json:
                continue
            print(f"{chain:18} {row['evaluations']:6.1f} evaluations  "
                  f"{row['molecules_per_cpu_second']:6.2f} a CPU second  "
                  f"atoms {row['atom_stable']:.4f}  molecules and valid {share}",
                  flush=True)
    if as_json:
        print(json.dumps(found, indent=1))


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--atoms", type=int, default=18)
    parser.add_argument("--rows", type=int, default=32)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--model", help="sample this model instead of timing networks")
    parser.add_argument("-n", type=int, default=200, help="molecules of every chain")
    args = parser.parse_args(argv)
    torch.set_num_threads(1)
    if args.model:
        return sampled(args.model, args.n, args.json)
    found = {}
    for name, changes in NETWORKS.items():
        found[name] = row = cost(changes, args.rows, args.atoms, args.repeats)
        if not args.json:
            print(
                f"{name:28} {row['parameters']:>9,} parameters  "
                f"forward {row['ms_forward']:6.2f} ms  "
                f"with gradients {row['ms_forward_backward']:6.2f} ms",
                flush=True,
            )
    if args.json:
        print(json.dumps(found, indent=1))


if __name__ == "__main__":
    main()
