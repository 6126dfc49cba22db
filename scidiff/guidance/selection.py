"""Selection rules: what becomes of K parents with C candidates each.

Nothing else changes a population.
A rule maps log weights (P, K, C) to an index (P, K) into K*C and the log weights (P, K) its
choices carry. A rule is proper when the choices represent the same weighted measure in
expectation: E[sum_j w'_j f(x_j)] = (1 / C) sum_kc w_kc f(x_kc). Everything is batched over
populations and nothing waits for the device.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from scidiff.core import Rng, uniform
from scidiff.messages import nearest
from scidiff.samplers.orders import race


def log_mean_exp(log_w: Tensor, dim: int = -1) -> Tensor:
    """log of the mean of exp(log_w) along `dim`."""
    return log_w.logsumexp(dim) - math.log(log_w.shape[dim])


def effective_size(log_w: Tensor) -> Tensor:
    """Effective sample size (sum w)^2 / sum w^2 along the last dimension (Kong et al. 1994)."""
    return (2 * log_w.logsumexp(-1) - (2 * log_w).logsumexp(-1)).exp()


# ---------------------------------------------------------------- probabilities -> index, (P, K)


def _search(probabilities: Tensor, points: Tensor) -> Tensor:
    """Invert the cumulative probabilities (P, K) at `points` (P, M) in [0, 1)."""
    cdf = probabilities.cumsum(-1)
    cdf = cdf / cdf[:, -1:]
    return torch.searchsorted(cdf, points.contiguous(), right=True).clamp(max=cdf.shape[-1] - 1)


def systematic(probabilities: Tensor, rng: Rng) -> Tensor:
    """One uniform shared by K equal strata (Kitagawa 1996): floor or ceil of K p copies each."""
    P, K = probabilities.shape
    strata = torch.arange(K, device=probabilities.device, dtype=probabilities.dtype)
    return _search(probabilities, (strata + uniform((P, 1), rng)) / K)


def stratified(probabilities: Tensor, rng: Rng) -> Tensor:
    """An own uniform in each of K equal strata (Kitagawa 1996)."""
    P, K = probabilities.shape
    strata = torch.arange(K, device=probabilities.device, dtype=probabilities.dtype)
    return _search(probabilities, (strata + uniform((P, K), rng)) / K)


def multinomial(probabilities: Tensor, rng: Rng) -> Tensor:
    """K independent draws; the noisiest scheme, for comparison."""
    return _search(probabilities, uniform(probabilities.shape, rng).to(probabilities.dtype))


def residual(probabilities: Tensor, rng: Rng) -> Tensor:
    """floor(K p) copies each, the other draws independent from the rest (Liu and Chen 1998)."""
    P, K = probabilities.shape
    copies = (K * probabilities).floor()
    slots = torch.arange(K, device=copies.device, dtype=copies.dtype).repeat(P, 1)
    sure = torch.searchsorted(copies.cumsum(-1), slots, right=True).clamp(max=K - 1)
    # positive also where nothing is left to draw, so that the unused search stays finite
    rest = (K * probabilities - copies).clamp(min=torch.finfo(copies.dtype).tiny)
    drawn = _search(rest, uniform((P, K), rng).to(rest.dtype))
    return torch.where(slots < copies.sum(-1, keepdim=True), sure, drawn)


def ssp(probabilities: Tensor, rng: Rng) -> Tensor:
    """Srinivasan sampling process: floor or ceil of K p copies each, negatively associated, so
    that averages converge in whatever order the particles stand (Gerber, Chopin and Whiteley
    2019, arXiv 1707.01845, section 3.2). The fractions of K p meet in pairs, and then those who
    carry what is left of each pair: log2 K rounds.
    """
    P, K = probabilities.shape
    share = K * probabilities
    copies = share.floor()
    share, u = share - copies, uniform((P, K), rng).to(share)
    holder = torch.arange(K, device=share.device).expand(P, K)
    while share.shape[1] > 1:
        met = share.shape[1] // 2 * 2
        (a, b), (i, j) = ((v[:, 0:met:2], v[:, 1:met:2]) for v in (share, holder))
        both, draw, u = a + b, u[:, : met // 2], u[:, met // 2 :]
        full = both >= 1  # one of the two gets a copy and the other what is left, else one all
        first = torch.where(full, draw * (2 - both) < 1 - b, draw * both < a)
        copies = copies.scatter_add(1, torch.where(first, i, j), full.to(copies))
        left, carrier = both - full.to(both), torch.where(first ^ full, i, j)
        share = torch.cat([left, share[:, met:]], 1)
        holder = torch.cat([carrier, holder[:, met:]], 1)
    copies = copies.scatter_add(1, holder, share.round())  # a whole number, but for rounding
    slots = torch.arange(K, device=copies.device, dtype=copies.dtype).repeat(P, 1)
    return torch.searchsorted(copies.cumsum(-1), slots, right=True).clamp(max=K - 1)


SCHEMES: dict[str, Callable[[Tensor, Rng], Tensor]] = {
    "systematic": systematic,
    "stratified": stratified,
    "ssp": ssp,
    "residual": residual,
    "multinomial": multinomial,
}


# ---------------------------------------------------------------- rules


@dataclass(frozen=True)
class KeepAll:
    """Keep every particle with its weight: importance sampling, best-of-n. Takes branch = 1."""

    proper: bool = True
    resamples: bool = False  # whether two particles can come to share a parent

    def __call__(self, log_w: Tensor, rng: Rng) -> tuple[Tensor, Tensor]:
        P, K, C = log_w.shape
        if C > 1:
            raise ValueError(
                f"keep_all takes branch=1, got {C} candidates a parent; use per_parent or nested"
            )
        return torch.arange(K, device=log_w.device).expand(P, K), log_w[..., 0]


@dataclass(frozen=True)
class PerParent:
    """Draw one of C candidates by softmax inside each parent and carry log mean_c w_c.

    The local choice of SVDD (Li et al. 2024, arXiv 2408.08252, algorithm 1), which drops the
    carried weight: SVDD is this rule with the final weights ignored, exact only for the exact soft
    value.
    """

    proper: bool = True
    resamples: bool = False

    def __call__(self, log_w: Tensor, rng: Rng) -> tuple[Tensor, Tensor]:
        P, K, C = log_w.shape
        parents = torch.arange(K, device=log_w.device).expand(P, K)
        if C == 1:
            return parents, log_w[..., 0]
        return parents * C + race(log_w, rng), log_mean_exp(log_w)


@dataclass(frozen=True)
class Resample:
    """Sequential Monte Carlo inside each population: resample the parents where ESS < ess K.

    A resampled particle carries its population's log mean weight, never 0, so that the weights
    hold log Z. Candidates are reduced by `per_parent` first; with C > 1 this is nested SVDD. At
    the end nothing is resampled: the weights say it all.
    """

    ess: float = 0.5
    scheme: str = "systematic"
    proper: bool = True
    resamples: bool = True

    def __post_init__(self) -> None:
        if not 0 <= self.ess <= 1:
            raise ValueError(
                f"ess is a fraction of the particles and must be in [0, 1], got {self.ess}"
            )
        if self.scheme not in SCHEMES:
            raise ValueError(
                f"scheme must be one of {', '.join(SCHEMES)}, got {self.scheme!r}"
                f"{nearest(self.scheme, SCHEMES)}"
            )

    @property
    def final(self) -> PerParent:
        """The rule of the last step."""
        return per_parent

    def __call__(self, log_w: Tensor, rng: Rng) -> tuple[Tensor, Tensor]:
        kept, log_w = per_parent(log_w, rng)
        drawn, log_w = self.by_priority(log_w, torch.zeros_like(log_w), rng)
        return kept.gather(1, drawn), log_w

    def by_priority(self, log_w: Tensor, log_f: Tensor, rng: Rng) -> tuple[Tensor, Tensor]:
        """Resample parents (P, K) in proportion to w f, whatever the factors f > 0 are: j carries
        mean_k(w_k f_k) / f_j, so that E[sum_j w'_j g(x_j)] = sum_k w_k g(x_k) for every g (Pitt
        and Shephard 1999, Chopin and Papaspiliopoulos 2020, section 10.3). The effective size is
        that of w f. Returns an index (P, K) into the parents, and log weights (P, K).
        """
        priority = log_w + log_f
        drawn = SCHEMES[self.scheme](priority.softmax(-1), rng)
        carried = log_mean_exp(priority)[:, None] - log_f.gather(1, drawn)
        low = effective_size(priority)[:, None] < self.ess * log_w.shape[1]
        stay = torch.arange(log_w.shape[1], device=log_w.device)
        return torch.where(low, drawn, stay), torch.where(low, carried, log_w)


@dataclass(frozen=True)
class Greedy:
    """Keep the K best of all K*C candidates with their own weights: beam search.

    Improper: its weights estimate nothing.
    """

    proper: bool = False
    resamples: bool = True

    def __call__(self, log_w: Tensor, rng: Rng) -> tuple[Tensor, Tensor]:
        best = log_w.flatten(1).topk(log_w.shape[1], dim=1)
        return best.indices, best.values


@dataclass(frozen=True)
class Replacing:
    """SVDD-R: the local choice of `per_parent`, then the worst `fraction` of a population is
    replaced by draws from all of it in proportion to exp(score) (Li et al. 2024, arXiv
    2408.08252, algorithm 2; 0.03 to 0.05 there).

    Improper: a row carries its own score as its weight, as if nobody had chosen it.
    """

    fraction: float = 0.05
    proper: bool = False
    resamples: bool = True

    def __post_init__(self) -> None:
        if not 0 <= self.fraction < 1:
            raise ValueError(f"fraction of the population must be in [0, 1), got {self.fraction}")

    @property
    def final(self) -> Replacing:
        """The rule of the last step: nothing is replaced by copies."""
        return Replacing(0.0)

    def __call__(self, log_w: Tensor, rng: Rng) -> tuple[Tensor, Tensor]:
        kept, _ = per_parent(log_w, rng)
        own = log_w.flatten(1).gather(1, kept)
        R = math.ceil(self.fraction * log_w.shape[1])
        worst = own.topk(R, largest=False).indices
        drawn = _search(own.softmax(-1), uniform((len(own), R), rng).to(own))
        source = torch.arange(own.shape[1], device=own.device).expand_as(own)
        source = source.scatter(1, worst, drawn)
        return kept.gather(1, source), own.gather(1, source)


keep_all = KeepAll()
per_parent = PerParent()
greedy = Greedy()


def smc(ess: float = 0.5, scheme: str = "systematic") -> Resample:
    """Resample a population when its effective size falls below ess K; 0 never does, 1 always."""
    return Resample(ess, scheme)


def nested(ess: float = 0.5, scheme: str = "systematic") -> Resample:
    """Nested SVDD: `per_parent` among the candidates, then `smc` over the parents.

    The same rule as `smc`, which reduces candidates in this way; with branch = 1 both are SMC.
    """
    return Resample(ess, scheme)
