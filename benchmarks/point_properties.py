"""Do molecules in space have the properties that they were asked for?

    scidiff data get qm9_3d && scidiff train recipes/qm9_3d_cond.toml --out runs/qm9-3d-cond
    python benchmarks/point_properties.py --model runs/qm9-3d-cond/model --folder runs/properties

The protocol of Hoogeboom et al. 2022 (arXiv 2203.17003, section 5.3): QM9 in halves; a predictor
learnt on one judges a generator that was told the properties of the other; properties are asked
for together with the number of atoms, as held-out molecules have them. Errors are means of
absolute differences between what is asked and what the judge says of each row, valid or not.

The judge knows half a and is never asked; the oracle, which is the reward of SVDD, and the told
model know half b. The parent of the told model has seen the structures of both, without
properties. Both predictors are small networks of their own kind (`descriptors`), so they share
nothing with the generators. They and every finished row stay in --folder: a run that was killed
goes on where it was.
"""

from __future__ import annotations

import argparse
import json
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

import scidiff as sd
from scidiff.api.card import table
from scidiff.core import seeded
from scidiff.data import datasets
from scidiff.data.points import PackedPoints, PointState
from scidiff.data.qm9_properties import HALF, QM9, column
from scidiff.data.structures import load_points
from scidiff.domains.molecule_3d import species
from scidiff.evaluation.intervals import mean_interval
from scidiff.evaluation.stability import edm
from scidiff.guidance.particles import guided_sample, sample
from scidiff.guidance.selection import per_parent

NAMES = ("gap", "alpha", "mu")
ELEMENTS = torch.tensor([1, 6, 7, 8, 9])
RADII = torch.tensor([0.31, 0.76, 0.71, 0.66, 0.57])  # angstrom, covalent (Cordero et al. 2008)
CENTRES = torch.linspace(1.0, 5.5, 16)  # angstrom
MOST = 4  # neighbours that are told apart
HELD = 2000  # molecules of each half that its predictor has not seen
PUBLISHED = """published, asked for one at a time, second-hand (Hoogeboom et al. 2022, table 3):
  EDM gap 0.655, alpha 2.76, mu 1.11"""

# ---------------------------------------------------------------- predictors


def descriptors(x: Tensor, element: Tensor, mask: Tensor) -> Tensor:
    """What does not depend on how a molecule is turned, nor on the order of its atoms: (B, W).

    An atom's kind is its element with its number of neighbours. For every pair of kinds: how many
    pairs are how far apart, as histograms (Faber et al. 2017, arXiv 1702.05532), and c_k . c_l
    with c_k the sum of the places of kind k about the centre (any dipole of point charges by kind
    is a quadratic form of these). x (B, N, 3) angstrom, element (B, N) of ELEMENTS, mask (B, N).
    """
    there = mask.float()
    pairs = there[:, :, None] * there[:, None] * (1 - torch.eye(x.shape[1]))
    d = torch.cdist(x, x)
    reach = 1.2 * (RADII[element][:, :, None] + RADII[element][:, None])
    near = ((d < reach) * pairs).sum(2).long().clamp(max=MOST)
    kind = element * (MOST + 1) + near
    k = F.one_hot(kind, len(ELEMENTS) * (MOST + 1))[..., KINDS] * there[..., None]
    phi = torch.exp(-(((d[..., None] - CENTRES) / 0.25) ** 2) / 2) * pairs[..., None]
    B, N, K = k.shape
    half = (k.mT @ phi.flatten(2)).view(B, K, N, -1).permute(0, 3, 1, 2) @ k[:, None]
    middle = (x * there[..., None]).sum(1, keepdim=True) / there.sum(1)[:, None, None]
    c = k.mT @ ((x - middle) * there[..., None])
    i, j = torch.triu_indices(K, K)
    return torch.cat([k.sum(1), half[:, :, i, j].flatten(1), (c @ c.mT)[:, i, j]], 1)


# hydrogen with 1, carbon with 2 to 4, nitrogen with 1 to 4, oxygen with 1 or 2, fluorine with 1
KINDS = torch.tensor([e * (MOST + 1) + n for e, n in
                      [(0, 1), (1, 2), (1, 3), (1, 4), (2, 1), (2, 2), (2, 3), (2, 4), (3, 1),
                       (3, 2), (4, 1)]])  # fmt: skip


class Predictor(nn.Module):
    """Two hidden layers over `descriptors`, all numbers in units of their spread."""

    def __init__(self, width: int = 256) -> None:
        super().__init__()
        W = len(KINDS) + len(KINDS) * (len(KINDS) + 1) // 2 * (len(CENTRES) + 1)
        self.layers = nn.Sequential(nn.Linear(W, width), nn.SiLU(), nn.Linear(width, width),
                                    nn.SiLU(), nn.Linear(width, len(NAMES)))
        for name, size in (("inputs", W), ("outputs", len(NAMES))):
            self.register_buffer(name, torch.stack([torch.zeros(size), torch.ones(size)]))

    def forward(self, x: Tensor) -> Tensor:
        """(B, W) -> (B, 3); what lies far outside of training is cut back to 6 spreads."""
        return self.layers(((x - self.inputs[0]) / self.inputs[1]).clamp(-6, 6))

    @torch.no_grad()
    def predict(self, x: Tensor, element: Tensor, mask: Tensor) -> Tensor:
        """Properties (B, 3) in their units."""
        rows = torch.arange(len(x)).split(256)
        said = torch.cat([self(descriptors(x[r], element[r], mask[r])) for r in rows])
        return (self.outputs[0] + self.outputs[1] * said).double()


def half(name: str, held: bool) -> tuple[PackedPoints, np.ndarray]:
    """Molecules of a half of QM9 and their properties (N, 3)."""
    data = datasets.load("qm9_3d")
    halves, *values = (np.array(column(data, n)[0]) for n in (HALF, *NAMES))
    rows = np.random.default_rng(0).permutation(np.flatnonzero(halves == name))
    rows = rows[:HELD] if held else rows[HELD:]
    return load_points("qm9_3d").take(rows), np.stack(values, 1)[rows]


def laid_out(points: PackedPoints) -> tuple[Tensor, Tensor, Tensor]:
    """Places, elements and mask of real molecules."""
    element = np.searchsorted(ELEMENTS.numpy(), points.numbers)
    x = points.padded(np.arange(len(points)), element, len(ELEMENTS))
    return x.positions, x.types.argmax(-1), x.mask


def predictor(file: Path, name: str, seed: int, epochs: int) -> Predictor:
    """Learn a half of QM9, or read what was learnt before."""
    made = Predictor()
    if file.exists():
        made.load_state_dict(torch.load(file, weights_only=True))
        return made.eval()
    points, values = half(name, False)
    blocks = [np.arange(len(points))[i:i + 512] for i in range(0, len(points), 512)]
    x = torch.cat([descriptors(*laid_out(points.take(rows))) for rows in blocks])
    y = torch.from_numpy(values).float()
    torch.manual_seed(seed)
    made = Predictor()
    made.inputs.copy_(torch.stack([x.mean(0), x.std(0).clamp(min=0.05)]))
    made.outputs.copy_(torch.stack([y.mean(0), y.std(0)]))
    wanted, size, steps = (y - made.outputs[0]) / made.outputs[1], 256, epochs * (len(x) // 256)
    adam = torch.optim.AdamW(made.parameters(), 2e-3, weight_decay=1e-2)
    pace = torch.optim.lr_scheduler.OneCycleLR(adam, 2e-3, steps)
    for step in range(steps):
        if step % (len(x) // size) == 0:
            order = torch.randperm(len(x))
        rows = order[step % (len(x) // size) * size:][:size]
        loss = (made(x[rows]) - wanted[rows]).abs().mean()
        adam.zero_grad()
        loss.backward()
        adam.step()
        pace.step()
    file.parent.mkdir(parents=True, exist_ok=True)
    torch.save(made.state_dict(), file)
    return made.eval()


# ---------------------------------------------------------------- generators


@dataclass(frozen=True)
class Asked:
    """Rows of held-out molecules: how many atoms, and which properties, each. As a canvas it draws
    blank molecules of these sizes."""

    counts: Tensor  # (n,)
    values: Tensor  # (n, 3)
    blank: Any = None  # the canvas of a model

    @classmethod
    def of(cls, points: PackedPoints, values: np.ndarray) -> Asked:
        return cls(torch.from_numpy(points.counts), torch.from_numpy(values))

    def __len__(self) -> int:
        return len(self.counts)

    def __call__(self, n: int, rng: Any) -> PointState:
        x = self.blank(n, rng)
        return replace(x, mask=torch.arange(x.mask.shape[1]) < self.counts[:, None])

    def asked(self, condition: Tensor, rng: Any) -> PointState:
        return replace(self(len(condition), rng), condition=condition)

    def sampler(self, model: Any, steps: int, weight: float) -> Any:
        """A sampler of these rows, each of its own size and told what it is asked for."""
        if model.conditions is None:
            sampler = model.sampler(steps=steps)
        else:
            first = {n: float(self.values[0, i]) for i, n in enumerate(NAMES)}
            sampler = model.sampler(steps=steps, condition=first, weight=weight)
            order = [NAMES.index(name) for name in model.conditions.names]
            sampler.condition = self.values[:, order].float()
        sampler.canvas = replace(self, blank=sampler.canvas)
        return sampler


class Says:
    """A predictor asked about states of a model: properties (B, 3)."""

    def __init__(self, model: Any, predictor: Predictor) -> None:
        numbers = torch.from_numpy(species(model.domain.atoms)[0])
        self.element, self.predictor = torch.searchsorted(ELEMENTS, numbers), predictor
        self.system = model.engine.system

    def __call__(self, x: PointState) -> Tensor:
        places = self.system.outward(x).positions
        return self.predictor.predict(places, self.element[x.types.argmax(-1)], x.mask)


def svdd(sampler: Any, says: Says, asked: Asked, wanted: list[int], args: Any) -> PointState:
    """Each row chosen step by step among candidates (Li et al. 2024, arXiv 2408.08252), by how
    near the oracle says that their look-ahead is to what the row is asked for, in spreads."""
    spread = says.predictor.outputs[1]

    def near(x: PointState) -> Tensor:
        values = asked.values.repeat_interleave(len(x) // len(asked), 0)
        return -((says(x) - values).abs() / spread)[:, wanted].sum(1)

    n = len(asked)
    return guided_sample(sampler, near, n, seeded(args.seed), select=per_parent, every=args.every,
                         strength=args.strength, branch=args.branch, populations=n).x


def measured(model: Any, x: PointState, judge: Predictor, asked: Asked) -> dict[str, Any]:
    """One row of the table."""
    off = (Says(model, judge)(x) - asked.values).abs()
    stable = [edm(points) for points in model.domain.points(x)]
    return {
        **{f"{p} ({QM9[p].unit})": between(off[:, i]) for i, p in enumerate(NAMES)},
        "stable atoms": f"{np.mean(np.concatenate([a for a, _ in stable])):.3f}",
        "stable molecules": f"{np.mean([s for _, s in stable]):.3f}",
        "valid": f"{np.mean([record.valid for record in model.domain.decode(x)]):.3f}",
    }


def between(values: Tensor) -> str:
    low, high = mean_interval(values.tolist())
    return f"{values.mean():.3f} [{low:.3f}, {high:.3f}]"


# ---------------------------------------------------------------- the table


def real(judge: Predictor, oracle: Predictor) -> None:
    """What the predictors say of molecules that they have not seen."""
    points, values = half("a", True)
    shuffled = values[np.random.default_rng(1).permutation(len(values))]
    rows = laid_out(points)
    for name, by, wanted in (("judge, held-out molecules", judge, values),
                             ("oracle, the same", oracle, values),
                             ("judge, properties shuffled", judge, shuffled)):
        off = (by.predict(*rows) - torch.from_numpy(wanted)).abs().mean(0).tolist()
        said = ", ".join(f"{n} {v:.3f}" for n, v in zip(NAMES, off, strict=True))
        print(f"{name}: {said}")
    print(PUBLISHED, flush=True)


def ways(args: Any, made: Any, free: Any) -> dict[str, tuple[Any, float, list[int] | None]]:
    """Model, weight and, of SVDD, the properties that are looked at."""
    found: dict[str, tuple[Any, float, list[int] | None]] = {
        "qm9-3d, number of atoms alone": (free, 0.0, None),
        "qm9-3d, SVDD": (free, 0.0, [0, 1, 2]),
    }
    for i in args.each:
        found[f"qm9-3d, SVDD for {i} alone"] = (free, 0.0, [NAMES.index(i)])
    if made is not None:
        found |= {f"told, weight {w:g}": (made, w, None) for w in args.weights}
        found["told, weight 1, SVDD"] = (made, 1.0, [0, 1, 2])
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", help="one that is told gap, alpha and mu")
    parser.add_argument("--folder", type=Path, default=Path("properties"))
    parser.add_argument("-n", type=int, default=200)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--steps", type=int, default=50)
    parser.add_argument("--weights", type=float, nargs="*", default=[0, 1, 2])
    parser.add_argument("--each", nargs="*", default=[], choices=NAMES, help="SVDD for one alone")
    parser.add_argument("--branch", type=int, default=4, help="candidates of SVDD")
    parser.add_argument("--every", type=int, default=2, help="steps between choices")
    parser.add_argument("--strength", type=float, default=20.0)
    parser.add_argument("--epochs", type=int, default=15, help="of the predictors")
    args = parser.parse_args()
    torch.set_num_threads(1)
    judge, oracle = (predictor(args.folder / f"{name}.pt", h, seed, args.epochs)
                     for name, h, seed in (("judge", "a", 0), ("oracle", "b", 1)))
    real(judge, oracle)
    points, values = half("a", True)
    rows = np.arange(args.n)
    asked, rest = Asked.of(points.take(rows), values[rows]), []
    made = None if args.model is None else sd.load(args.model, device="cpu")
    for name, (model, weight, wanted) in ways(args, made, sd.load("qm9-3d", device="cpu")).items():
        file = args.folder / f"{name.replace(' ', '_')}_{args.n}_{args.steps}_{args.seed}.json"
        if not file.exists():
            start, sampler = time.process_time(), asked.sampler(model, args.steps, weight)
            x = sample(sampler, args.n, seeded(args.seed)) if wanted is None else svdd(
                sampler, Says(model, oracle), asked, wanted, args)
            spent = {"CPU s": round(time.process_time() - start)}
            file.write_text(json.dumps({**measured(model, x, judge, asked), **spent}))
        rest.append({"rows": name, **json.loads(file.read_text())})
        print(json.dumps(rest[-1]), flush=True)
    print(table(rest))


if __name__ == "__main__":
    main()
