"""Paths of densities made of denoisers: powers, products, classifier-free guidance, reward tilts.

With q_i the laws of several denoisers at time t and s_i = grad log q_i, a path is

    gamma_t(x) = prod_i q_i(x)^b_i exp(beta_t r(x)),  B = sum_i b_i > 0.

Its score is sum_i b_i s_i + beta_t grad r, but a chain driven by that score does not have the law
gamma_t: what is missing is a weight that can be computed along the way (Skreta et al. 2025, arXiv
2503.02819, propositions 3.1-3.4 and D.5). A path says both, and `feynman_kac` samples it. Called
as a denoiser it says its score only, and any Gaussian sampler takes it, unweighted.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Generic, NamedTuple, Protocol, TypeVar, runtime_checkable

import torch
from torch import Tensor

from scidiff.processes.gaussian import Component, Continuous, ContinuousDenoiser, Parts, per_row
from scidiff.processes.schedules import Schedule, alpha, lam
from scidiff.samplers.probability_flow import slope

X = TypeVar("X", bound=Continuous)
X_in = TypeVar("X_in", bound=Continuous, contravariant=True)

Strength = Callable[[Tensor], Tensor]
"""beta(t) at times () or (K,), 0 where chains start."""


class Bend(NamedTuple):
    """What a path says at a place, with x~ = x / alpha and one entry of `mean`, `push` and `rate`
    a component."""

    mean: Parts  # sum_i b_i D_i / B
    push: Parts  # sigma^2 / alpha beta grad r: what the tilt adds to B (mean - x~)
    rate: Parts  # d log w / d lambda, entry by entry of the free coordinates
    potentials: tuple[Tensor, ...]  # r (B,), one a tilt: d log w = r d beta


@runtime_checkable
class Path(Protocol[X_in]):
    """A path of densities made of denoisers."""

    components: tuple[Component, ...]
    total: float  # B
    strengths: tuple[Strength, ...]  # of the tilts

    @property
    def rows(self) -> int: ...

    def bend(self, x: X_in, t: Tensor, /) -> Bend: ...


class Product(Generic[X]):
    """prod_i q_i^b_i of several denoisers: an anneal is one of them with b = 1 / temperature,
    classifier-free guidance two with (w, 1 - w), a product of experts (1, 1).

    Products inside are multiplied out. The weight of a chain at this score gains, a unit of
    lambda, e^(2 lambda) (B (B - 1) |D - x~|^2 - sum_i b_i |D_i - D|^2) - (B - 1) d with D the mean
    guess and d the number of free coordinates (arXiv 2503.02819, proposition D.5, in clean
    guesses); the last term makes isolated points neutral, so that q^b weighs rows of different
    sizes as a law over points does.

    ValueError: lengths or components that differ, or a sum of exponents that is not positive.
    """

    strengths: tuple[Strength, ...] = ()

    def __init__(
        self, denoisers: Sequence[ContinuousDenoiser[X]], exponents: Sequence[float]
    ) -> None:
        if len(denoisers) != len(exponents) or not denoisers:
            raise ValueError(
                "a product takes an exponent for each denoiser, got "
                f"{len(denoisers)} denoisers and {len(exponents)} exponents"
            )
        pairs = [_factors(d, float(b)) for d, b in zip(denoisers, exponents, strict=True)]
        self.denoisers, self.exponents = (tuple(v) for v in zip(*sum(pairs, []), strict=True))
        self.total = sum(self.exponents)
        if not self.total > 0:
            raise ValueError(f"the exponents must have a positive sum, got {self.exponents}")
        self.components = same_components(self.denoisers)

    @property
    def rows(self) -> int:
        """Network rows evaluated so far, by all; a denoiser that comes twice counts once."""
        return sum(d.rows for d in {id(d): d for d in self.denoisers}.values())

    def bend(self, x: X, t: Tensor) -> Bend:
        """Mean guess and rate of every component at time t, () or (B,)."""
        means, rates = [], []
        guesses = [denoiser(x, t) for denoiser in self.denoisers]
        for c, (component, part) in enumerate(zip(self.components, x.parts, strict=True)):
            each = [guess[c] for guess in guesses]
            mean = sum(b / self.total * d for b, d in zip(self.exponents, each, strict=True))
            gap = mean - part / per_row(alpha(component.schedule, t), part)
            rate = self.total * (self.total - 1) * gap.square()
            for b, d in zip(self.exponents, each, strict=True):
                rate = rate - b * (d - mean).square()
            means.append(mean)
            rates.append(per_row((2 * lam(component.schedule, t)).exp(), part) * rate)
        none = tuple(torch.zeros_like(part) for part in x.parts)
        return Bend(tuple(means), none, tuple(rates), ())

    def __call__(self, x: X, t: Tensor) -> Parts:
        """The guess that has the score of the path, x~ + B (D - x~)."""
        return scored(self, self.bend(x, t), x, t)


def anneal(denoiser: ContinuousDenoiser[X], power: float) -> Product[X]:
    """q^power: the law of a denoiser at temperature 1 / power."""
    return Product([denoiser], [power])


def unfamiliar(denoiser: ContinuousDenoiser[X], control: float) -> Product[X]:
    """q^(1 - sqrt(control)): away from the data, as MOOD draws out of distribution (Lee et al.
    2023, arXiv 2206.07632, whose score is (1 - sqrt(control)) grad log q), and weighed here.

    control is in [0, 1); MOOD takes 0.01 to 0.04.
    """
    if not 0 <= control < 1:
        raise ValueError(f"control must be in [0, 1), got {control}")
    return anneal(denoiser, 1 - control**0.5)


class Tilted(Generic[X]):
    """gamma_t exp(beta_t r(x_t)) of a path and a reward that can be differentiated (arXiv
    2503.02819, proposition 3.4).

    reward: state -> (B,), asked at noisy places. strength: beta at the end, which then grows as
    strength (1 - t), or a function of t that is 0 where chains start. Tilts stack. For a reward
    without a gradient let `guided_sample` weigh instead.
    """

    def __init__(
        self,
        path: Path[X] | ContinuousDenoiser[X],
        reward: Callable[[Any], Tensor],
        strength: float | Strength = 1.0,
    ) -> None:
        inner = as_path(path)
        self.path, self.reward = inner, reward
        self.strength: Strength = strength if callable(strength) else _growing(strength)
        self.components, self.total = inner.components, inner.total
        self.strengths = (*inner.strengths, self.strength)

    @property
    def rows(self) -> int:
        """Network rows evaluated so far."""
        return self.path.rows

    def bend(self, x: X, t: Tensor) -> Bend:
        """The path inside, pushed by the reward: its weight gains beta <grad r, dx>, with dx the
        flow of the path inside, and r d beta."""
        inner = self.path.bend(x, t)
        value, slopes = self._slopes(x)
        strength = self.strength(t)
        pushes, rates = [], []
        for c, part, mean, push, rate, grad in zip(
            self.components, x.parts, inner.mean, inner.push, inner.rate, slopes, strict=True
        ):
            level, sigma = (per_row(v, part) for v in _levels(c.schedule, t))
            held = per_row(c.schedule.drift(t) / slope(c.schedule, t), part)  # d log alpha
            flow = self.total * (level * mean - part) + held * part
            pull = per_row(strength, part) * grad
            pushes.append(push + sigma**2 / level * pull)
            rates.append(rate + pull * flow)
        return Bend(inner.mean, tuple(pushes), tuple(rates), (*inner.potentials, value))

    def _slopes(self, x: X) -> tuple[Tensor, Parts]:
        """r (B,) and its gradient in the free coordinates, as an image of the noise projection."""
        with torch.enable_grad():
            z = tuple(torch.zeros_like(part).requires_grad_() for part in x.parts)
            moved = tuple(
                part.detach() + c.project(shift, x.mask)
                for c, part, shift in zip(self.components, x.parts, z, strict=True)
            )
            value = self.reward(x.moved(moved))
            grads = torch.autograd.grad(value.sum(), z, allow_unused=True, materialize_grads=True)
        images = (c.project(g, x.mask) for c, g in zip(self.components, grads, strict=True))
        return value.detach().double(), tuple(images)

    def __call__(self, x: X, t: Tensor) -> Parts:
        """The guess that has the score of the path."""
        return scored(self, self.bend(x, t), x, t)


def scored(path: Path[X], bend: Bend, x: X, t: Tensor) -> Parts:
    """The clean guess whose score is that of the path: x~ + B (D - x~) + push."""
    guesses = []
    for c, part, mean, push in zip(path.components, x.parts, bend.mean, bend.push, strict=True):
        guess = path.total * mean + push
        if path.total != 1:
            guess = guess + (1 - path.total) * part / per_row(alpha(c.schedule, t), part)
        guesses.append(guess)
    return tuple(guesses)


def as_path(denoiser: Path[X] | ContinuousDenoiser[X]) -> Path[X]:
    """A path as it is, any other denoiser as the path of its own law."""
    if isinstance(denoiser, Path):
        return denoiser
    return Product([denoiser], [1.0])


def same_components(denoisers: Sequence[ContinuousDenoiser[X]]) -> tuple[Component, ...]:
    """The components that all denoisers have; ValueError where they differ."""
    first = denoisers[0].components
    for other in denoisers[1:]:
        if other.components != first:
            raise ValueError(
                f"all denoisers must have the same components, got {first} and {other.components}"
            )
    return first


def _factors(
    denoiser: ContinuousDenoiser[X], exponent: float
) -> list[tuple[ContinuousDenoiser[X], float]]:
    if isinstance(denoiser, Product):
        return [
            (d, b * exponent) for d, b in zip(denoiser.denoisers, denoiser.exponents, strict=True)
        ]
    if isinstance(denoiser, Tilted):
        raise ValueError("a tilt goes outside: multiply the denoisers, then tilt the product")
    return [(denoiser, exponent)]


def _growing(strength: float) -> Strength:
    return lambda t: strength * (1 - t)


def _levels(schedule: Schedule, t: Tensor) -> tuple[Tensor, Tensor]:
    return alpha(schedule, t), schedule.sigma(t)
