"""What the residual model p_diff(x0 | x_t) exp(-E) / Z gives a row: normalisers from few draws,
and a bound on log p."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from scidiff.core import Rng
from scidiff.data.tokens import TokenState
from scidiff.networks.energy import Energy
from scidiff.processes.masked import MaskedProcess, hide_exactly, stratified_counts
from scidiff.samplers.energy import draw_candidates, log_drawn
from scidiff.samplers.predictions import TokenPredictor, evaluate, everywhere


class LogMean(NamedTuple):
    """Estimates of log E[w] (B,) from n draws: too low, nearly unbiased and too high in mean."""

    low: Tensor
    middle: Tensor
    high: Tensor


def log_mean(log_w: Tensor) -> LogMean:
    """Bound log Z = log E[exp(log_w)] from n draws log_w (B, n), n >= 2.

    With T_n = log mean(w), E[T_n] = log Z - v / (2n) + O(1 / n^2), where v = Var(w) / Z^2. So T_n
    is below for every n (Jensen), the jackknife J = n T_n - (n - 1) T_{n-1} cancels the first
    order, and 2 J - T_n = (2n - 1) T_n - 2 (n - 1) T_{n-1} is as far above as T_n is below, for n
    large enough (Deng et al. 2020, arXiv 2004.11714, theorem 2; EDLM, theorem 1). T_{n-1} is the
    mean over the n sets that leave one draw out. A row without a finite draw is a ValueError.
    """
    n = log_w.shape[1]
    if n < 2:
        raise ValueError(f"leaving one draw out needs at least 2 of them, got {n}")
    lost = (log_w == -math.inf).all(1)
    if lost.any():
        raise ValueError(f"no draw of row {int(lost.int().argmax()) + 1} has a finite energy")
    log_w = log_w.double()
    rest = log_w[:, None].expand(-1, n, n)
    rest = rest.masked_fill(torch.eye(n, dtype=torch.bool, device=log_w.device), -math.inf)
    whole = log_w.logsumexp(1) - math.log(n)
    without = (rest.logsumexp(2) - math.log(n - 1)).mean(1)
    middle = n * whole - (n - 1) * without
    return LogMean(whole, middle, 2 * middle - whole)


@dataclass(frozen=True)
class EnergyBound:
    """Lower bound on log p(x0 | length) of a row that the residual model writes in a random order,
    `tokens_per_step` a step, each time from its joint law:

        log p(x0) >= E_order[ sum_i log p(x_S_i | x_t_i) ],
        log p(x_S | x_t) = log p_diff(x_S | x_t) + log Z_S - log Z,

    with Z = E[exp(-E)] over p_diff(. | x_t) and Z_S the same with x_S given. One step is drawn at
    random and counts for all; Z and Z_S share their `candidates` draws. Weighing the joint
    log p(x0 | x_t) itself by n / k, as masked diffusion weighs single tokens, is no bound: for
    k > 1 the entropy of k tokens given the others is less than k / n of the whole (Han 1978).
    """

    denoiser: TokenPredictor
    energy: Energy
    process: MaskedProcess
    tokens_per_step: int = 1
    candidates: int = 16

    def __post_init__(self) -> None:
        if self.tokens_per_step < 1:
            raise ValueError(f"tokens_per_step must be at least 1, got {self.tokens_per_step}")
        if self.candidates < 2:
            raise ValueError(f"candidates must be at least 2, got {self.candidates}")

    @torch.no_grad()
    def __call__(self, x0: TokenState, rng: Rng) -> LogMean:
        """One draw of the bound (B,) in nats: `low` below it in mean, `middle` nearly unbiased,
        `high` above it for candidates enough."""
        x, now, steps = self._place(x0, rng)
        log_p, hidden = everywhere(self.denoiser, x), x.ids == self.denoiser.mask_id
        free = draw_candidates(log_p, x.ids, hidden, self.candidates, rng)
        given = torch.where(now[:, None], x0.ids[:, None], free)
        alone = log_drawn(log_p, now, x0.ids[:, None])[:, 0]
        z = log_mean(-self.energy(x, free, log_drawn(log_p, hidden, free)))
        z_given = log_mean(-self.energy(x, given, log_drawn(log_p, hidden, given)))
        gaps = (z_given.low - z.high, z_given.middle - z.middle, z_given.high - z.low)
        return LogMean(*(steps * (alone + gap) for gap in gaps))

    def _place(self, x0: TokenState, rng: Rng) -> tuple[TokenState, Tensor, Tensor]:
        """A random step: the row there, evaluated; which positions (B, L) are written next; and
        the number of steps (B,)."""
        eligible = self.process.eligible(x0.ids)
        n, m = eligible.sum(1), self.tokens_per_step
        steps = (n + m - 1) // m
        which = stratified_counts(steps.clamp(min=1), rng)  # 1 is the first
        hidden = hide_exactly(eligible, n - (which - 1) * m, rng)
        now = hide_exactly(hidden, torch.full_like(n, m), rng)
        ids = torch.where(hidden, self.denoiser.mask_id, x0.ids)
        x = TokenState(ids, condition=x0.condition)
        return evaluate(self.denoiser, x, 0), now, steps
