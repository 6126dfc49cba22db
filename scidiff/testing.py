"""Certify your own sampler, selection rule or reward, against contracts and against laws known in
closed form.

`Table` is a joint law small enough to enumerate, with its exact denoiser and soft values;
`GaussianMixture` has a closed-form clean guess and score at every noise level. The checks raise
AssertionError with what went wrong.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import fields, is_dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.fx import GraphModule
from torch.nn import functional as F

from scidiff.core import Rng, Sampler, Select, Shared, Tape, normal, seeded, uniform
from scidiff.data.tokens import FIRST_SYMBOL, TokenState
from scidiff.rewards.scoring import evaluate

# ---------------------------------------------------------------- enumerable token laws


class Table:
    """A joint law p (N,) over token rows seqs (N, L), small enough to list every partly hidden
    row.

    `states` (S, L) are all rows over the tokens in use and MASK, `completions` (S, N) the share of
    each sequence among those that a state can still become, before normalising.
    """

    def __init__(self, seqs: Tensor, p: Tensor, mask_id: int) -> None:
        self.seqs, self.mask_id, self.vocab_size = seqs, mask_id, mask_id + 1
        self.length, self.p = seqs.shape[1], p.double() / p.double().sum()
        shown = torch.cat([seqs.unique(), seqs.new_tensor([mask_id])])
        self.states = torch.cartesian_prod(*[shown] * self.length).view(-1, self.length)
        self._digit = seqs.new_zeros(mask_id + 1)
        self._digit[shown] = torch.arange(len(shown), device=seqs.device)
        self._place = len(shown) ** torch.arange(self.length - 1, -1, -1, device=seqs.device)
        states = self.states[:, None]
        self.completions = ((states == seqs) | (states == mask_id)).all(-1) * self.p
        self.log_conditionals = self._conditionals().log()  # (S, L, V)

    def _conditionals(self) -> Tensor:
        one_hot = F.one_hot(self.seqs, self.vocab_size).double()
        joint = torch.einsum("sn,nlv->slv", self.completions, one_hot)
        possible = joint.sum(-1, keepdim=True) > 0  # other states get any token that is in use
        joint = torch.where(possible, joint, one_hot.sum((0, 1)))
        return joint / joint.sum(-1, keepdim=True)

    @classmethod
    def of(cls, p: Tensor) -> Table:
        """Build from p (V, ..., V), an axis a position; token v has id v + 2, MASK is V + 2."""
        symbols = torch.arange(p.shape[0], device=p.device) + FIRST_SYMBOL
        seqs = torch.cartesian_prod(*[symbols] * p.ndim).view(-1, p.ndim)
        return cls(seqs, p.flatten(), p.shape[0] + FIRST_SYMBOL)

    def index(self, ids: Tensor) -> Tensor:
        """Row of `states` that each of ids (B, L) is."""
        return (self._digit[ids] * self._place).sum(-1)

    def denoiser(self) -> TableDenoiser:
        """Make the denoiser that knows every conditional."""
        return TableDenoiser(self)

    def tilted(self, reward: Callable[[TokenState], Tensor], strength: float) -> Tilted:
        """Solve p exp(strength r) / Z exactly."""
        return Tilted(self, reward, strength)

    def frequencies(self, ids: Tensor, weights: Tensor | None = None) -> Tensor:
        """Weighted share of each sequence (N,) among finished rows (B, L)."""
        w = torch.ones_like(ids[:, 0], dtype=torch.float64) if weights is None else weights
        counts = self.p.new_zeros(len(self.states)).index_add_(0, self.index(ids), w)
        return counts[self.index(self.seqs)] / w.sum()


class TableDenoiser:
    """The oracle: its trunk holds the exact log-conditionals, its head hands them out."""

    def __init__(self, table: Table) -> None:
        self.table, self.block_size, self.rows = table, None, 0
        self.mask_id, self.vocab_size = table.mask_id, table.vocab_size

    def __call__(self, x: TokenState, k: int | Tensor) -> Tensor:
        self.rows += len(x.ids)
        return self.table.log_conditionals[self.table.index(x.ids)]

    def log_probs(self, trunk: Tensor) -> Tensor:
        return trunk


class Tilted:
    """The target p exp(strength r) / Z of a table: `p` (N,), `z`, and every soft value."""

    def __init__(
        self, table: Table, reward: Callable[[TokenState], Tensor], strength: float
    ) -> None:
        self.table, self.strength = table, strength
        self.rewards = reward(TokenState(table.seqs)).double()
        weights = (strength * self.rewards).exp()
        self.z = float(table.p @ weights)
        self.p = table.p * weights / self.z
        self._soft = (table.completions @ weights / table.completions.sum(1)).log() / strength

    def soft_value(self, x: TokenState) -> Tensor:
        """log E[exp(strength r) | x] / strength (B,), NaN for rows without a completion."""
        return self._soft[self.table.index(x.ids)]


def chain_table() -> Table:
    """Make the law of a chain of 4 symbols out of 3: p = exp(sum_l h_l[x_l] + J_l[x_l, x_l+1]).

    h and J are standard normal from numpy's default generator with seed 0, h first.
    """
    rng = np.random.default_rng(0)
    h, J = rng.normal(size=(4, 3)), rng.normal(size=(3, 3, 3))
    energy = sum(h[i].reshape([3 if a == i else 1 for a in range(4)]) for i in range(4)) + sum(
        J[i].reshape([3 if a in (i, i + 1) else 1 for a in range(4)]) for i in range(3)
    )
    return Table.of(torch.from_numpy(energy).exp())


def chain_reward(x: TokenState) -> Tensor:
    """Reward of `chain_table`: (matches with 0, 2, 1, 0)^1.5 / 4, and 0.7 for equal ends."""
    symbols = x.ids - FIRST_SYMBOL
    matches = (symbols == symbols.new_tensor([0, 2, 1, 0])).sum(1)
    return matches.double() ** 1.5 / 4 + 0.7 * (symbols[:, 0] == symbols[:, 3])


# ---------------------------------------------------------------- Gaussian mixtures


Level = float | Tensor


class GaussianMixture:
    """sum_m w_m N(mean_m, diag(sd_m^2)) in d dimensions, seen through x_t = alpha x0 + sigma z."""

    def __init__(self, weights: Sequence[float], means: Any, sds: Any) -> None:
        self.weights = torch.tensor(weights, dtype=torch.float64)
        self.weights = self.weights / self.weights.sum()
        M = len(self.weights)
        self.means = torch.as_tensor(means, dtype=torch.float64).view(M, -1)  # (M, d)
        spread = torch.as_tensor(sds, dtype=torch.float64).view(M, -1)
        self.variances = spread.expand_as(self.means) ** 2

    def mean(self) -> Tensor:
        return self.weights @ self.means

    def variance(self) -> Tensor:
        """Marginal variance of each coordinate (d,)."""
        return self.weights @ (self.variances + self.means**2) - self.mean() ** 2

    def sample(self, n: int, rng: Rng) -> Tensor:
        """Draw (n, d)."""
        which = torch.searchsorted(self.weights.cumsum(0), uniform((n,), rng).double(), right=True)
        which = which.clamp(max=len(self.weights) - 1)
        z = normal((n, self.means.shape[1]), rng)
        return self.means[which] + self.variances[which].sqrt() * z

    def log_prob(self, x: Tensor, alpha: Level = 1.0, sigma: Level = 0.0) -> Tensor:
        """log p_t(x) of x (B, d), (B,); alpha and sigma are numbers, () or (B,), here as below."""
        return self._joint(x, *self._levels(alpha, sigma)).logsumexp(1)

    def denoised(self, x: Tensor, alpha: Level, sigma: Level) -> Tensor:
        """The clean guess D = E[x0 | x_t = x], (B, d)."""
        level, variance = self._levels(alpha, sigma)
        gain = level * self.variances / variance
        guesses = self.means + gain * (x[:, None] - level * self.means)
        return torch.einsum("bm,bmd->bd", self._joint(x, level, variance).softmax(1), guesses)

    def score(self, x: Tensor, alpha: Level, sigma: Level) -> Tensor:
        """The gradient of log p_t at x (B, d)."""
        level, variance = self._levels(alpha, sigma)
        pull = (level * self.means - x[:, None]) / variance
        return torch.einsum("bm,bmd->bd", self._joint(x, level, variance).softmax(1), pull)

    def _levels(self, alpha: Level, sigma: Level) -> tuple[Tensor, Tensor]:
        """alpha (1 or B, 1, 1) and the variances alpha^2 sd_m^2 + sigma^2 (1 or B, M, d)."""
        level, noise = (
            torch.as_tensor(v, dtype=torch.float64, device=self.means.device).reshape(-1, 1, 1)
            for v in (alpha, sigma)
        )
        return level, level**2 * self.variances + noise**2

    def _joint(self, x: Tensor, level: Tensor, variance: Tensor) -> Tensor:
        """log of w_m N(x; alpha mean_m, variance), (B, M)."""
        squares = (x[:, None] - level * self.means) ** 2 / variance
        return self.weights.log() - (squares + (2 * torch.pi * variance).log()).sum(-1) / 2


# ---------------------------------------------------------------- contracts


def same(a: Any, b: Any, tolerance: float = 0.0) -> bool:
    """Whether two states hold the same tensors, row for row; floats may differ by `tolerance`."""
    if isinstance(a, Shared) and isinstance(b, Shared):
        return same(a.dense(), b.dense(), tolerance)
    if isinstance(a, Tensor) and isinstance(b, Tensor):
        close = (
            torch.allclose(a, b, rtol=tolerance, atol=tolerance)
            if a.is_floating_point()
            else torch.equal(a, b)
        )
        return a.shape == b.shape and close
    if isinstance(a, tuple) and isinstance(b, tuple):
        return len(a) == len(b) and all(same(x, y, tolerance) for x, y in zip(a, b, strict=True))
    if is_dataclass(a) and type(a) is type(b):
        return all(same(getattr(a, f.name), getattr(b, f.name), tolerance) for f in fields(a))
    return a is None and b is None


def check_sampler(
    sampler: Sampler[Any], n: int = 5, tolerance: float = 1e-5, device: str = "cpu"
) -> None:
    """Walk one chain and check the protocol at every step: sizes, same seed same sample, rows that
    depend on nothing but their own noise, `predict_clean` that draws nothing at the end, and a
    step without a host synchronisation."""
    assert sampler.num_steps >= 1, "num_steps must be at least 1"
    x = sampler.init(n, seeded(0, device=device))
    assert len(x) == n, f"init must return {n} rows, got {len(x)}"
    assert same(x, sampler.init(n, seeded(0, device=device))), (
        "init with the same seed must draw the same"
    )
    for k in range(sampler.num_steps):
        assert len(sampler.predict_clean(x, k, seeded(1, k, device))) == n, (
            f"predict_clean changed the rows at k={k}"
        )
        x = _check_step(sampler, x, k, tolerance, device)
    untouched = seeded(2, device=device)
    before = untouched.get_state()
    assert sampler.predict_clean(x, sampler.num_steps, untouched) is x, (
        "predict_clean must return x at num_steps"
    )
    assert torch.equal(before, untouched.get_state()), (
        "predict_clean must draw nothing at num_steps"
    )


def _check_step(sampler: Sampler[Any], x: Any, k: int, tolerance: float, device: str) -> Any:
    tape = Tape(seeded(3, k, device))
    after = sampler.step(x, k, tape)
    assert len(after) == len(x), f"step {k} must keep {len(x)} rows, got {len(after)}"
    assert same(after, sampler.step(x, k, tape.rewind()), tolerance), (
        f"step {k} must repeat with the same draws"
    )
    rows = torch.tensor([len(x) - 1, 0, 0], device=device)
    alone = sampler.step(x[rows], k, tape[rows])
    assert same(alone, after[rows], tolerance), (
        f"step {k}: a row must depend on its own state and noise alone"
    )
    assert same(type(after).cat([after, alone])[rows], after[rows], tolerance), (
        "cat must keep the order of rows"
    )
    if not sampler.stochastic:
        again = sampler.step(x, k, seeded(4, k, device))
        assert same(after, again, tolerance), f"step {k} draws noise although stochastic is False"
    return after


def check_full_graph(sampler: Sampler[Any], n: int = 3, device: str = "cpu") -> None:
    """Compile one step as a single eager graph that waits for no value on the device.

    A branch on data raises torch's own error, a value read by the host (`.item()`, `nonzero`,
    boolean indexing) an AssertionError that names the operation.
    """
    x, tape = sampler.init(n, seeded(0, device=device)), Tape(seeded(1, device=device))
    expected = sampler.step(x, 0, tape)
    torch.compiler.reset()
    compiled = torch.compile(sampler.step, fullgraph=True, backend=_without_host)
    result = compiled(x, 0, tape.rewind())
    assert same(result, expected, 1e-5), "the compiled step must equal the step"


def _without_host(graph: GraphModule, inputs: Sequence[Any]) -> Callable[..., Any]:
    """Run a graph eagerly; refuse one in which a size or number comes from the data."""
    from torch.fx.experimental.symbolic_shapes import (
        free_unbacked_symbols,  # slow to import
    )

    for node in graph.graph.nodes:
        symbols = free_unbacked_symbols(node.meta.get("example_value"))
        assert not symbols, f"the host waits for the device at: {node.stack_trace or node}"
    return graph.forward


def check_select(select: Select, branch: int = 1, repeats: int = 20_000) -> None:
    """Check shapes, ranges, that populations do not mix and, for a proper rule, that the weighted
    measure is kept: the mean over many populations of (1 / K) sum_j w'_j f(x_j) against (1 / KC)
    sum w f, |z| < 5 for several f."""
    K = 6
    log_w = normal((K, branch), seeded(0)).double()
    index, kept = select(log_w.expand(repeats, K, branch), seeded(1))
    assert index.shape == kept.shape == (repeats, K), (
        f"expected {(repeats, K)}, got {tuple(index.shape)}"
    )
    assert (
        index.dtype == torch.int64 and 0 <= int(index.min()) and int(index.max()) < K * branch
    ), "index out of range"
    assert kept.dtype == torch.float64, f"log weights must stay float64, got {kept.dtype}"
    moved = log_w.expand(repeats, K, branch) + torch.arange(repeats)[:, None, None] % 3
    index_moved, kept_moved = select(moved, seeded(1))
    assert torch.equal(index, index_moved), (
        "a constant added to a population must not change its choices"
    )
    assert torch.allclose(kept_moved - kept, (torch.arange(repeats) % 3).double()[:, None]), (
        "log weights must move with it"
    )
    if select.proper:
        _check_measure(log_w.flatten(), index, kept)


def _check_measure(log_w: Tensor, index: Tensor, kept: Tensor) -> None:
    N = len(log_w)
    tests = torch.cat([torch.eye(N), torch.ones(1, N)]).double()
    for i, f in enumerate(tests):
        estimate = (kept.exp() * f[index]).mean(1)
        gap = float(estimate.mean() - (log_w.exp() * f).mean())
        error = float(estimate.std()) / len(estimate) ** 0.5
        assert abs(gap) < 5 * error + 1e-9, (
            f"measure of test function {i} is off by {gap / max(error, 1e-300):.1f} s.e."
        )


def check_reward(reward: Any, objects: Sequence[Any]) -> None:
    """Check a reward on objects: one finite number or a status each, the same for the same object
    in any order and company."""
    scores = evaluate(reward, objects)
    assert len(evaluate(reward, [])) == 0, "no objects must give no scores"
    backwards = evaluate(reward, objects[::-1])
    assert torch.equal(backwards.status.flip(0), scores.status), (
        "the status must not depend on the order of objects"
    )
    ok = scores.ok
    assert torch.allclose(backwards.values.flip(0)[ok], scores.values[ok]), (
        "a score must not depend on the order of objects"
    )
    for i, obj in enumerate(objects):
        alone = evaluate(reward, [obj, obj])
        assert (alone.status == scores.status[i]).all(), f"object {i} has another status alone"
        assert not ok[i] or torch.allclose(alone.values, scores.values[i]), (
            f"object {i} scores differently alone"
        )
