"""Classifier guidance of token predictions: denoisers bent towards p(y | x).

What decides the cost is where the classifier is asked. A hidden position is drawn from what the
network says there, so nothing has to be known at the others; the exact rule therefore packs the
row itself into the trunk's channels and asks only for the positions that a sampler reads.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any, Protocol

import torch
from torch import Tensor
from torch.nn import functional as F

from scidiff.core import Rng
from scidiff.data.tokens import TokenState
from scidiff.samplers.compose import Weight, read_weights, weight_channel
from scidiff.samplers.masked import MaskedSampler, TokenPredictor
from scidiff.samplers.predictions import recalled

_EXACT = 2**24  # float32 holds every integer up to here


class Classifier(Protocol):
    """What is known of a label y: log p(y | x_t) of rows that may still hide tokens."""

    def log_prob(self, ids: Tensor) -> Tensor:
        """Rows (B, L), MASK where hidden -> (B,)."""
        ...


class Change(Protocol):
    """How log p(y | x) changes when one hidden position of x is written."""

    asked: int  # rows the classifier was given so far

    def features(self, ids: Tensor, mask_id: int) -> Tensor:
        """What must be known of rows (B, L) to answer later: (B, L, F)."""
        ...

    def read(self, features: Tensor, wanted: Tensor) -> Tensor:
        """log p(y | x with the token v there) - log p(y | x), (B, M, V), of features (B, M, F); 0
        where not `wanted` (B, M, V)."""
        ...

    def value(self, ids: Tensor) -> Tensor:
        """log p(y | x) (B,)."""
        ...


class ExactChange:
    """Ask the classifier for every single change (D-CBG, Schiff et al. 2024, arXiv 2412.10193):
    a row a token that may be written at a position that is read, not one a token a position.

    `micro_batch` bounds the rows of one question. `compact` (the default on the CPU) tries only
    tokens that can be written; without it every token is tried, so that nothing waits for the
    device.
    """

    def __init__(
        self, classifier: Classifier, *, micro_batch: int = 4096, compact: bool | None = None
    ) -> None:
        self.classifier, self.micro_batch, self.asked = classifier, micro_batch, 0
        self.compact = compact
        self._mask_id = self._length = -1

    def features(self, ids: Tensor, mask_id: int) -> Tensor:
        """The row in as few numbers as hold it, its value, and which position this is."""
        self._mask_id, self._length = mask_id, ids.shape[1]
        packed = _packed(ids, mask_id + 1)
        told = torch.cat([packed, self.value(ids)[:, None]], 1)
        here = torch.arange(ids.shape[1], device=ids.device).to(packed).expand(ids.shape)
        return torch.cat([told[:, None].expand(-1, ids.shape[1], -1), here[..., None]], 2)

    def read(self, features: Tensor, wanted: Tensor) -> Tensor:
        packed, before, here = features[..., :-2], features[..., -2], features[..., -1].long()
        ids = _unpacked(packed, self._mask_id + 1, self._length).flatten(0, 1)
        position = here.flatten()
        open_here = ids.gather(1, position[:, None]) == self._mask_id
        tried = wanted.flatten(0, 1) & open_here
        after = self._tried(ids, position, tried).view(wanted.shape)
        return torch.where(tried.view(wanted.shape), _gain(before[..., None], after), 0.0)

    def _tried(self, ids: Tensor, position: Tensor, tried: Tensor) -> Tensor:
        """log p(y | row with v at its position) (N, V) of rows (N, L); 0 where not tried."""
        if ids.device.type == "cpu" if self.compact is None else self.compact:
            row, token = tried.nonzero(as_tuple=True)
        else:
            place, V = torch.arange(tried.numel(), device=ids.device), tried.shape[1]
            row, token = place // V, place % V
        out = torch.zeros(tried.shape, dtype=torch.float64, device=ids.device)
        for r, v in zip(
            row.split(self.micro_batch), token.split(self.micro_batch), strict=True
        ):
            rows = ids[r].scatter(1, position[r, None], v[:, None])
            out[r, v] = self.value(rows).double()
        return out

    def value(self, ids: Tensor) -> Tensor:
        self.asked += len(ids)
        return self.classifier.log_prob(ids)


class FirstOrderChange:
    """One gradient instead of a row a token: the first-order Taylor expansion of log p(y | x) in
    the one-hot row (Schiff et al. 2024; Grathwohl et al. 2021, arXiv 2102.04509).

    `log_prob` maps one-hot rows (B, L, V) to (B,) and can be differentiated.
    """

    def __init__(self, log_prob: Callable[[Tensor], Tensor], vocab_size: int) -> None:
        self.log_prob, self.vocab_size, self.asked = log_prob, vocab_size, 0

    def features(self, ids: Tensor, mask_id: int) -> Tensor:
        """<1[v] - 1[MASK], gradient> for every token v."""
        self.asked += len(ids)
        with torch.enable_grad():
            soft = self._one_hot(ids).requires_grad_()
            (slope,) = torch.autograd.grad(self.log_prob(soft).sum(), soft)
        return slope - slope[..., mask_id, None]

    def read(self, features: Tensor, wanted: Tensor) -> Tensor:
        return torch.where(wanted, features, 0.0)

    @torch.no_grad()
    def value(self, ids: Tensor) -> Tensor:
        self.asked += len(ids)
        return self.log_prob(self._one_hot(ids))

    def _one_hot(self, ids: Tensor) -> Tensor:
        return F.one_hot(ids, self.vocab_size).float()


class ClassifierGuided:
    """Classifier guidance of tokens (Dhariwal and Nichol 2021; for discrete states Schiff et al.
    2024, arXiv 2412.10193, and Nisonoff et al. 2024, arXiv 2406.01572):

        log p_w(v at l | x) = log p(v at l | x) + w (log p(y | x, l := v) - log p(y | x)) - log Z.

    With an exact classifier, weight 1 and one token a step, Z is 1 and the rows are p(x | y)
    exactly. Otherwise Z is what `log_ratio` tells, and as the differences telescope along the
    chain, the weights of `guided_sample` are exact for p(x) p(y | x)^w whatever the classifier
    says on the way, up to the constant p(y | nothing)^w: with one token a step and `ExactChange`
    as it stands, and for several tokens or `FirstOrderChange` inside a `Telescoped` sampler. A
    token that makes y impossible stays excluded for any weight but 0; where y is impossible
    already, the inner denoiser goes on alone.
    """

    def __init__(self, inner: TokenPredictor, change: Change, weight: Weight = 1.0) -> None:
        self.inner, self.change, self.weight = inner, change, weight
        self.mask_id, self.vocab_size = inner.mask_id, inner.vocab_size
        self.block_size = inner.block_size
        self._width = 0  # of the inner trunk, known once it has spoken

    @property
    def rows(self) -> int:
        """Network rows evaluated so far; those of the classifier are `change.asked`."""
        return self.inner.rows

    def __call__(self, x: TokenState, k: int | Tensor) -> Tensor:
        """The inner trunk, the weight, and what the classifier has to be told (B, L, D + 1 +
        F)."""
        return self._beside(self.inner(x, k), x, k)

    def recall(self, x: TokenState, k: int | Tensor) -> tuple[Tensor, Any]:
        """The same, and what the inner denoiser keeps of finished blocks; the classifier is told
        the row as it stands."""
        trunk, cache = recalled(self.inner, x, k)
        return self._beside(trunk, x, k), cache

    def _beside(self, trunk: Tensor, x: TokenState, k: int | Tensor) -> Tensor:
        self._width = trunk.shape[-1]
        told = self.change.features(x.ids, self.mask_id).to(trunk.device)
        return torch.cat([trunk, weight_channel(self.weight, x, k), told], -1)

    def log_weights(self, trunk: Tensor) -> Tensor:
        """(B, M, D + 1 + F) -> (B, M, V)."""
        plain = read_weights(self.inner, trunk[..., : self._width])
        return self._bent(trunk, plain)

    def log_probs(self, trunk: Tensor) -> Tensor:
        return self.log_weights(trunk).log_softmax(-1)

    def bend(self, trunk: Tensor) -> Tensor:
        """What was added to the inner log-probabilities (B, M, V), -inf where excluded."""
        plain = read_weights(self.inner, trunk[..., : self._width])
        possible = plain > float("-inf")
        return torch.where(possible, self._bent(trunk, plain) - plain, float("-inf"))

    def _bent(self, trunk: Tensor, plain: Tensor) -> Tensor:
        weight, features = trunk[..., [self._width]], trunk[..., self._width + 1 :]
        possible = plain > float("-inf")
        change = self.change.read(features, possible & (weight != 0))
        impossible = change == float("-inf")
        bent = plain + weight * change.masked_fill(impossible, 0.0)
        return bent.masked_fill((impossible & (weight != 0)) | ~possible, float("-inf"))


class Telescoped:
    """A masked sampler of `ClassifierGuided` that weighs by what the classifier said, not by what
    the denoiser foretold.

    A step that wrote the tokens v_l changed the classifier by c(x_s) - c(x_t); the denoiser
    promised the sum of its bends, which differs for several tokens at once and at first order.
    `log_ratio` gains w (c(x_s) - c(x_t)) - sum_l bend_l(v_l) / T: the weights of `guided_sample`
    are then exact for p(x)^(1 / T) p(y | x)^w, p being the law of the sampler without the
    classifier. Costs two classifier rows a particle a step. The weight must be a number, the
    temperature positive, and the row one block, so that nothing is written that was not drawn.
    """

    def __init__(self, inner: MaskedSampler) -> None:
        guided = inner.denoiser
        if not isinstance(guided, ClassifierGuided) or callable(guided.weight):
            raise ValueError(
                "Telescoped takes a sampler of a ClassifierGuided denoiser whose weight is a "
                f"number, got {type(guided).__name__}"
            )
        if not inner.temperature > 0 or inner.block_size < inner.canvas.length:
            raise ValueError(
                "to weigh, temperature must be positive and block_size None, got "
                f"{inner.temperature} and {inner.block_size}"
            )
        self.inner, self.guided, self.weight = inner, guided, float(guided.weight)
        self.denoiser, self.canvas = inner.denoiser, inner.canvas
        self.num_steps, self.stochastic = inner.num_steps, inner.stochastic

    def init(self, n: int, rng: Rng) -> TokenState:
        """Draw n rows of the canvas."""
        return self.inner.init(n, rng)

    def step(self, x: TokenState, k: int | Tensor, rng: Rng) -> TokenState:
        """Step the sampler inside and correct `log_ratio`."""
        y = self.inner.step(x, k, rng)
        wrote = x.ids != y.ids
        bends = self.guided.bend(_stored(x)).gather(2, y.ids[..., None])[..., 0]
        promised = torch.where(wrote, bends, 0.0).double().sum(1) / self.inner.temperature
        change = self.guided.change
        gained = self.weight * _gain(change.value(x.ids), change.value(y.ids)).double()
        extra = gained - promised
        return replace(y, log_ratio=extra if y.log_ratio is None else y.log_ratio + extra)

    def predict_clean(self, x: TokenState, k: int | Tensor, rng: Rng) -> TokenState:
        """Guess as the sampler inside does."""
        return self.inner.predict_clean(x, k, rng)

    def renoise(self, clean: TokenState, k: int | Tensor, rng: Rng) -> TokenState:
        """Hide as the sampler inside does."""
        return self.inner.renoise(clean, k, rng)


def _gain(before: Tensor, after: Tensor) -> Tensor:
    """after - before of log probabilities; a row that was impossible already gains nothing."""
    return torch.where(before == float("-inf"), 0.0, after - before)


def _stored(x: TokenState) -> Any:
    if x.trunk is None:
        raise ValueError("the state stores no prediction; make it with init or step")
    return x.trunk.dense()


def _digits(vocab_size: int) -> int:
    """How many token ids one float32 holds exactly."""
    digits = 1
    while vocab_size ** (digits + 1) <= _EXACT:
        digits += 1
    return digits


def _packed(ids: Tensor, vocab_size: int) -> Tensor:
    """Rows (B, L) as numbers of base V, several tokens a float: (B, ceil(L / digits))."""
    digits = _digits(vocab_size)
    spare = -ids.shape[1] % digits
    groups = F.pad(ids, (0, spare)).unflatten(1, (-1, digits))
    return (groups * _powers(vocab_size, ids)).sum(-1).float()


def _unpacked(packed: Tensor, vocab_size: int, length: int) -> Tensor:
    """Undo `_packed`: (..., C) -> ids (..., L)."""
    whole = packed.long()[..., None]
    ids = whole // _powers(vocab_size, whole) % vocab_size
    return ids.flatten(-2)[..., :length]


def _powers(vocab_size: int, like: Tensor) -> Tensor:
    return vocab_size ** torch.arange(_digits(vocab_size), device=like.device)
