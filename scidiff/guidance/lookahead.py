"""Values: what a particle on the way is worth, from a guess of where it will end.

A value is called as value(x, k, rng) and returns (B,) values in the reward's units, or `Scores`
whose rows that are not OK keep their parent's score; a search with a clock a row calls it with k
(B,). Any value leaves the law of a guided run
exact; only the variance of its weights is at stake.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Protocol

import torch
from torch import Tensor

from scidiff.core import Rng, Sampler
from scidiff.data.records import Record
from scidiff.rewards.scoring import Scorer, Scores, Status, require_floor, text_key


class Value(Protocol):
    """Scores particles at step k."""

    def __call__(self, x: Any, k: int | Tensor, rng: Rng) -> Tensor | Scores: ...


Reward = Callable[[Any], Tensor | Scores]
"""A reward on clean states: (B,) values, or `Scores`."""


class Drawn(ABC):
    """Score drawn ends x0_j of a particle: log mean_j exp(s r(x0_j)) / s, s being the strength.

    Draws that are not OK are left out of the mean.
    """

    real_ends: bool  # whether an end is one of the sampler's own, so that an invalid one is real

    def __init__(
        self, sampler: Sampler[Any], reward: Reward, draws: int = 1, strength: float = 1.0
    ) -> None:
        self.sampler, self.reward = sampler, reward
        self.draws, self.strength = _positive(draws), strength
        self.asked = 0  # states given to the reward

    @abstractmethod
    def ends(self, x: Any, k: int | Tensor, rng: Rng) -> Any:
        """Draw one end of every particle."""
        ...

    def __call__(self, x: Any, k: int | Tensor, rng: Rng) -> Scores:
        again = k.repeat_interleave(self.draws) if isinstance(k, Tensor) else k
        ends = self.ends(_copies(x, self.draws, rng), again, rng)
        self.asked += len(ends)
        scores = as_scores(getattr(self.reward, "guess", self.reward)(ends))
        return combined(_floored(scores) if self.real_ends else scores, self.draws, self.strength)


class PosteriorMean(Drawn):
    """Score guesses of the end drawn from the stored prediction; costs no network rows.

    For draws of the true posterior the mean of exp(s r) is unbiased for exp(s times the soft
    value); one draw is the published SVDD-PM value (arXiv 2408.08252) with a sample in place of
    the mode.
    """

    real_ends = False

    def ends(self, x: Any, k: int | Tensor, rng: Rng) -> Any:
        return self.sampler.predict_clean(x, k, rng)


class Rollout(Drawn):
    """Score ends reached by running the sampler itself: unbiased for the soft value, and dear.

    The value for block samplers, whose posterior mean stops at the current block. An invalid end
    is a real one, not a poor guess, so it scores the reward's floor where one is declared.
    """

    real_ends = True

    def ends(self, x: Any, k: int | Tensor, rng: Rng) -> Any:
        if isinstance(k, Tensor):  # a finished row is a fixed point of step
            for _ in range(self.sampler.num_steps - int(k.min())):
                x, k = self.sampler.step(x, k, rng), (k + 1).clamp(max=self.sampler.num_steps)
            return x
        for later in range(k, self.sampler.num_steps):
            x = self.sampler.step(x, later, rng)
        return x


class Exact:
    """Look the value up: `table.soft_value(x)` (B,), as `scidiff.testing.Tilted` knows it."""

    def __init__(self, table: Any) -> None:
        self.table = table

    def __call__(self, x: Any, k: int | Tensor, rng: Rng) -> Tensor:
        return self.table.soft_value(x)


class Surrogate:
    """A model of the value that reads the noisy particle itself: model(x, k) -> (B,).

    A cheap reward on clean guesses is `PosteriorMean(sampler, cheap)`: with it on the way and the
    dear reward at the end, a run asks one dear question for each finished object and stays exact.
    """

    def __init__(self, model: Callable[[Any, Any], Tensor]) -> None:
        self.model = model

    @torch.no_grad()
    def __call__(self, x: Any, k: int | Tensor, rng: Rng) -> Tensor:
        return self.model(x, k)


class Domain(Protocol):
    """Decodes states to objects, and writes objects as states."""

    def decode(self, state: Any) -> Sequence[Record]: ...

    def encode(self, objects: Sequence[str]) -> Any: ...


Listener = Callable[[Sequence[Record]], object]


def _nobody(records: Sequence[Record]) -> None:
    """Listen to nothing."""


def why_unscored(reward: Any) -> str:
    """The first reason that a reward on objects gave for having no score, as the end of a
    message."""
    said = getattr(getattr(reward, "scorer", None), "messages", {})
    return f"; the first reason: {next(iter(said.values()))}" if said else ""


class Decoded:
    """A reward on states made of a reward on objects.

    Decodes, sets invalid rows aside and asks for each distinct object once.
    `reward` is any callable on objects, a reward with `score`, or a `Scorer` (budget, cache); the
    canonical key is the domain's `key` if it has one.
    """

    def __init__(self, domain: Domain, reward: Any) -> None:
        self.domain = domain
        key = getattr(domain, "key", text_key)
        self.scorer = reward if isinstance(reward, Scorer) else Scorer(reward, key)
        self.kept = 0  # calls of the budget that guesses leave to finished states
        self._listener: Listener = _nobody

    def __call__(self, x: Any) -> Scores:
        return self.scorer.score(self.domain.decode(x))

    def guess(self, x: Any) -> Scores:
        """Score guesses of the end: SKIPPED once only the calls that are `kept` are left."""
        records = self.domain.decode(x)
        self._listener(records)
        return self.scorer.score(records, self.kept)

    @contextmanager
    def telling(self, listener: Listener) -> Iterator[None]:
        """Tell a listener what guesses decode to, before they are scored."""
        before, self._listener = self._listener, listener
        try:
            yield
        finally:
            self._listener = before

    @contextmanager
    def keeping(self, calls: int) -> Iterator[None]:
        """Keep so many more calls for finished states."""
        self.kept += calls
        try:
            yield
        finally:
            self.kept -= calls

    @property
    def left(self) -> int | None:
        """Calls of the budget that finished states may use now; None where there is no budget."""
        if self.scorer.budget is None:
            return None
        return max(0, self.scorer.budget - self.scorer.asked - self.kept)

    @property
    def asked(self) -> int:
        return self.scorer.asked

    @property
    def cache_hits(self) -> int:
        return self.scorer.cache_hits

    @property
    def disk_hits(self) -> int:
        return self.scorer.disk_hits

    @property
    def floor(self) -> float | None:
        return self.scorer.floor


def sparing(value: Value, reward: Any, calls: int | Callable[[Any], int]) -> Value:
    """A value whose look-aheads leave `calls` of the reward's budget, where it has one, to
    finished states; calls(x) tells how many once the states x are looked at."""
    if not isinstance(reward, Decoded):
        return value

    def spared(x: Any, k: int | Tensor, rng: Rng) -> Tensor | Scores:
        with reward.keeping(calls if isinstance(calls, int) else calls(x)):
            return value(x, k, rng)

    return spared


def end_values(reward: Reward, x: Any) -> Tensor:
    """Values of finished states (B,): the declared floor where INVALID, -inf where none is known.

    Raises RewardError for an INVALID row where the reward declares no floor.
    """
    scores = as_scores(reward(x))
    if len(scores) != len(x):
        raise ValueError(f"expected {len(x)} scores, got {len(scores)}")
    invalid = scores.status == Status.INVALID
    unknown = invalid & ~scores.values.isfinite()
    values = scores.values
    if unknown.any():
        values = values.masked_fill(unknown, require_floor(reward))
    return values.masked_fill(~(scores.ok | invalid), -torch.inf)


class Sight:
    """What a search sees of a particle: its value on the way, its reward at the end, -inf where
    neither is known. `value` is by default `PosteriorMean`; what it asks leaves `spare` calls of a
    budget to finished particles."""

    def __init__(
        self, sampler: Sampler[Any], reward: Reward, value: Value | None = None, spare: int = 0
    ) -> None:
        self.num_steps, self.reward, self.finished = sampler.num_steps, reward, 0
        value = PosteriorMean(sampler, reward) if value is None else value
        self.value = sparing(value, reward, spare)

    def end(self, x: Any) -> Tensor:
        """The reward of finished states (B,)."""
        self.finished += len(x)
        return end_values(self.reward, x)

    def __call__(self, x: Any, k: int | Tensor, rng: Rng) -> Tensor:
        """Values (B,) of particles at k, one step for all or one a row (B,)."""
        if isinstance(k, int):
            return self.end(x) if k >= self.num_steps else self._on_the_way(x, k, rng)
        ended = k >= self.num_steps
        out = torch.full(k.shape, -torch.inf, dtype=torch.float64, device=k.device)
        for rows, done in ((ended.nonzero()[:, 0], True), ((~ended).nonzero()[:, 0], False)):
            if len(rows):
                part = x[rows]
                out[rows] = self.end(part) if done else self._on_the_way(part, k[rows], rng)
        return out

    def _on_the_way(self, x: Any, k: int | Tensor, rng: Rng) -> Tensor:
        scores = as_scores(self.value(x, k, rng))
        return scores.values.masked_fill(~scores.ok, -torch.inf)


def as_scores(answer: Tensor | Scores) -> Scores:
    """Read what a reward or value returned; an error names the row that is not finite."""
    if isinstance(answer, Scores):
        return answer
    if not isinstance(answer, Tensor) or answer.ndim != 1:
        got = tuple(answer.shape) if isinstance(answer, Tensor) else type(answer).__name__
        raise ValueError(f"a reward on states must return a tensor (B,) or Scores, got {got}")
    return Scores(
        answer.detach().double(), torch.zeros(len(answer), dtype=torch.int8, device=answer.device)
    )


def _floored(scores: Scores) -> Scores:
    """Let INVALID rows that carry the reward's floor count as answered."""
    floored = (scores.status == Status.INVALID) & scores.values.isfinite()
    status = scores.status.masked_fill(floored, int(Status.OK))
    return Scores(scores.values, status)


def combined(scores: Scores, draws: int, strength: float) -> Scores:
    """Merge `draws` consecutive rows: log mean exp over OK ones, or the first draw's status."""
    if draws == 1:
        return scores
    values, status = scores.values.view(-1, draws), scores.status.view(-1, draws)
    ok = status == Status.OK
    count = ok.sum(1).clamp(min=1)
    if strength == 0:
        merged = values.masked_fill(~ok, 0.0).sum(1) / count
    else:
        tilted = (strength * values).masked_fill(~ok, -torch.inf)
        merged = (tilted.logsumexp(1) - count.double().log()) / strength
    return Scores(merged, torch.where(ok.any(1), int(Status.OK), status[:, 0]).to(torch.int8))


def _copies(x: Any, draws: int, rng: Rng) -> Any:
    return x if draws == 1 else x[torch.arange(len(x), device=rng.device).repeat_interleave(draws)]


def _positive(draws: int) -> int:
    if draws < 1:
        raise ValueError(f"draws must be at least 1, got {draws}")
    return draws
