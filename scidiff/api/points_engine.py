"""Models of molecules in space: how a system of positions, types and bonds becomes a sampler."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor, nn

from scidiff.api.asking import asked_rows
from scidiff.api.scaffold import around, node_law
from scidiff.api.settings import (
    ConditionRequest,
    PointRequest,
    PointSettings,
    choose,
    chosen,
)
from scidiff.api.spatial import Spatial
from scidiff.chem.assemble import kekulised
from scidiff.chem.molecules import parse
from scidiff.core import ScidiffError
from scidiff.data.graphs import NodeCounts
from scidiff.data.points import (
    PackedPoints,
    PointCanvas,
    Points,
    PointState,
    ToldSizes,
    one_hot_bonds,
)
from scidiff.data.structures import read_structures
from scidiff.data.tokens import Vocabulary
from scidiff.domains.molecule_3d import Molecule3DDomain
from scidiff.networks.points import PointGuess
from scidiff.processes.gaussian import ContinuousDenoiser
from scidiff.processes.points import PointSystem
from scidiff.samplers.gaussian import GaussianSampler
from scidiff.samplers.grids import gathered_times
from scidiff.samplers.held import HeldShape
from scidiff.samplers.inpaint import Scaffold
from scidiff.samplers.solvers import make_sampler
from scidiff.samplers.tempered import Product

FIRST, LAST = 0.999, 0.01  # of the usual times; .01 is noise of .014 A, less than bonds move
GATHERED = (0.37, 0.1, 0.6)  # centre, width, share: the loss of types and bonds falls there
_FORMULA = re.compile(r"([A-Z][a-z]?)(\d*)")


@dataclass(frozen=True)
class PointsEngine(Spatial):
    """A denoiser of molecules in space with its size law and config: makes samplers."""

    network: nn.Module
    denoiser: PointGuess
    vocabulary: Vocabulary
    config: Mapping[str, Any]
    dtype: torch.dtype = torch.float32

    unit = "coordinates"
    can = "sizes=, composition=, graph=, fragment=, sample and design"
    block_causal = False  # it looks ahead by its clean guess

    def __post_init__(self) -> None:
        if self.dtype != torch.float32:
            raise ValueError(f"models of molecules in space run in float32, got {self.dtype}")

    @property
    def device(self) -> torch.device:
        return next(self.network.parameters()).device

    @property
    def system(self) -> PointSystem:
        return self.denoiser.system

    @property
    def weights(self) -> list[float]:
        """How often a training molecule has n atoms, n = 0, 1, ..."""
        return list(self.config["length_counts"])

    @cached_property
    def domain(self) -> Molecule3DDomain:
        return Molecule3DDomain(self.vocabulary, **self.config.get("domain_options", {}))

    # ---- samplers

    def settings(self, overrides: Mapping[str, Any]) -> dict[str, Any]:
        """The settings, the config's with the user's on top, and what is asked beyond them."""
        s, request, told = self._chosen(overrides)
        return {**vars(s), **chosen(request), **chosen(told)}

    def _chosen(
        self, overrides: Mapping[str, Any]
    ) -> tuple[PointSettings, PointRequest, ConditionRequest]:
        given = {**self.config.get("sampling", {}), **overrides}
        s, request, told = choose((PointSettings, PointRequest, ConditionRequest), given)
        return s, request, told

    def sampler(self, **overrides: Any) -> GaussianSampler[PointState]:
        """Build the sampler of the config's settings, with any of them overridden."""
        s, request, told = self._chosen(overrides)
        condition = asked_rows(self.config, told.condition, 1, self.device)
        denoiser, law = self._asked(request, self._guided(told.weight))
        counts = NodeCounts(torch.tensor(law, dtype=torch.float64))
        canvas = PointCanvas(
            counts, len(self.vocabulary.symbols), self.system.num_bonds,
            told=self._told_sizes(told.weight),
        )  # fmt: skip
        usual = gathered_times(s.steps, *GATHERED, LAST, FIRST)
        chain = {**vars(s), "grid": usual if s.grid is None else s.grid}
        made = make_sampler(denoiser, canvas, device=self.device, **chain)
        made.condition = condition
        return cast(GaussianSampler[PointState], made)

    def _told_sizes(self, weight: float) -> ToldSizes | None:
        """What a condition says of the number of atoms, guided as the rest is."""
        found = self.config["process"].get("told_sizes")
        if found is None or weight == 0:
            return None
        mean, spread = (torch.tensor(found[k], dtype=torch.float64) for k in ("mean", "spread"))
        return ToldSizes(mean, spread, weight)

    def _guided(self, weight: float) -> ContinuousDenoiser[PointState]:
        """The denoiser that says what it is told; with a weight, guided by what it says untold:
        q(x | c)^w q(x)^(1 - w) (Ho and Salimans 2022, arXiv 2207.12598)."""
        if weight == 1:
            return self.denoiser
        plain = PointGuess(self.denoiser.network, self.system, told=False)
        if weight == 0:
            return plain
        return cast("ContinuousDenoiser[PointState]",
                    Product([self.denoiser, plain], [weight, 1 - weight]))

    def _asked(
        self, request: PointRequest, denoiser: ContinuousDenoiser[PointState]
    ) -> tuple[Any, list[float]]:
        """The denoiser that knows what is given, and the law of the number of atoms."""
        if request.composition is not None:
            return self._given(denoiser, self._formula(request.composition), None)
        if request.graph is not None:
            mol = parse(request.graph)
            if mol is None:
                raise ValueError(f"graph must be a readable SMILES, got {request.graph!r}")
            return self._given(denoiser, *kekulised(mol, hydrogens=True))
        if request.fragment is not None:
            return self._around(denoiser, _structure(request.fragment), request.sizes)
        return denoiser, self._law(request.sizes)

    def _around(
        self, denoiser: ContinuousDenoiser[PointState], part: Points, atoms: int | None
    ) -> tuple[HeldShape[PointState], list[float]]:
        """A denoiser that knows a part: its shape, its types and its bonds among themselves."""
        n = len(part)
        rest = around(self._law(atoms), n)
        law = rest + [0.0] * (len(self.weights) - len(rest))
        x = self._angstrom(self.domain.state(PackedPoints.of([part]))).widened(len(law) - 1)
        if self.system.bonds and x.bonds is None:
            raise ValueError("the fragment has no bonds, which this model draws: expected an .sdf")
        bonds = x.bonds if self.system.bonds else None
        clean = self.system.inward(replace(x, bonds=bonds).to(self.device)).parts
        given = x.mask.to(self.device)
        pairs = given[:, :, None] & given[:, None]
        known = (torch.zeros_like(given), given, pairs)
        kept = tuple(
            k[..., None].expand_as(p) for k, p in zip(known, clean, strict=False)
        )
        inside: Any = Scaffold(denoiser, clean, kept)
        return HeldShape(inside, clean[0], given), law

    def _law(self, atoms: int | None) -> list[float]:
        """The law of the number of atoms (N + 1,), N the most of the model: every chain has room
        for them, so that states of different requests are of one shape."""
        law = node_law(self.weights, atoms)
        return law + [0.0] * (len(self.weights) - len(law))

    def _given(
        self,
        denoiser: ContinuousDenoiser[PointState],
        symbols: Sequence[str],
        orders: np.ndarray | None,
    ) -> tuple[Scaffold[PointState], list[float]]:
        """A denoiser that knows the types of all atoms and, with `orders`, all bonds."""
        if orders is not None and not self.system.bonds:
            raise ScidiffError("this model has no bonds of its own: it cannot take a graph=")
        n, known = len(symbols), list(self.vocabulary.symbols)
        if foreign := sorted(set(symbols) - set(known)):
            raise ValueError(f"the model knows the atoms {', '.join(known)}, got {foreign[0]}")
        law, mask = self._law(n), torch.ones(1, n, dtype=torch.bool)
        X = torch.eye(len(known))[[known.index(s) for s in symbols]][None]
        blank = torch.zeros(n, n, dtype=torch.int64) if orders is None else torch.tensor(orders)
        A = one_hot_bonds(blank.long()[None], mask) if self.system.bonds else None
        whole = PointState(torch.zeros(1, n, 3), X, mask, A).widened(len(law) - 1)
        clean = self.system.inward(whole.to(self.device)).parts
        fixed = (False, True, orders is not None)
        kept = tuple(torch.full_like(p, f).bool() for p, f in zip(clean, fixed, strict=False))
        return Scaffold(denoiser, clean, kept), law

    def _formula(self, text: str) -> list[str]:
        """The atoms of a formula such as C7H10O2."""
        found = _FORMULA.findall(text)
        if not found or "".join(a + b for a, b in found) != text:
            raise ValueError(f"composition must be a formula such as C7H10O2, got {text!r}")
        return [symbol for symbol, count in found for _ in range(int(count or 1))]

    def typical_steps(self, sampler: GaussianSampler[PointState]) -> int:
        """Steps of every row."""
        return sampler.num_steps

    # ---- structures of objects

    def encode(self, texts: Sequence[str | Points]) -> PointState:
        """Structures, or those of SMILES, with room for the largest molecule of the model, in the
        units of a chain."""
        x = self.domain.encode(texts)
        most, size = len(self.weights) - 1, x.mask.sum(1)
        if x.mask.shape[1] > most:
            row = int(size.gt(most).int().argmax())
            raise ValueError(
                f"row {row + 1} has {int(size[row])} atoms, the model takes at most {most}"
            )
        return self.system.inward(self._angstrom(x).widened(most)).to(self.device)

    def _angstrom(self, x: PointState) -> PointState:
        """A state of the domain in angstrom, as a system takes it."""
        return x.moved((x.positions * self.domain.angstrom, *x.parts[1:]))

    def sizes(self, texts: Sequence[str]) -> list[int]:
        """Free coordinates of each molecule: 3 (n - 1) of places, types, pairs."""
        n = self.encode(texts).mask.sum(1)
        K, E = len(self.vocabulary.symbols), self.system.num_bonds
        return (3 * (n - 1) + K * n + E * n * (n - 1) // 2).tolist()

    def length_log_prob(self, texts: Sequence[str]) -> Tensor:
        """log p of the number of atoms of each molecule (B,)."""
        law = torch.tensor(self.weights, dtype=torch.float64)
        return (law / law.sum())[self.encode(texts).mask.sum(1).cpu()].log()


def _structure(path: str) -> Points:
    """The one structure of a file. Raises ValueError for none, or several."""
    found = list(read_structures(path))
    if len(found) != 1:
        raise ValueError(f"fragment must be a file of one structure, {path} has {len(found)}")
    if found[0].points is None:
        raise ValueError(f"fragment {path}: {found[0].problem}")
    return found[0].points
