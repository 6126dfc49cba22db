"""Networks on points: what a molecule costs by network and by degree of its tensors.

    python benchmarks/points.py --atoms 18 --rows 32

One thread, float32, CPU time of a row (process time, so that other work on the machine counts
little); the median of `--repeats` calls. All networks have the same widths.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Callable, Sequence

import torch

from scidiff.networks.equivariant import PointNetConfig, point_network

NETWORKS: dict[str, dict] = {
    "egnn": {},
    "egnn, width of messages 32": {"edge_width": 32},
    "egnn with bonds": {"edge_features": 5},
    "e3, lmax 1": {"kind": "e3", "lmax": 1},
    "e3, lmax 2": {"kind": "e3", "lmax": 2},
    "e3, lmax 3": {"kind": "e3", "lmax": 3},
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


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--atoms", type=int, default=18)
    parser.add_argument("--rows", type=int, default=32)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args(argv)
    torch.set_num_threads(1)
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
