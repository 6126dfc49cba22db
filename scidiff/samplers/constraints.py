"""Hard constraints on token rows: a token is drawn only if the row can still become a good one.

A constraint is one question about rows that may still hide tokens; the sampler asks it for every
token it could write. So a constraint that is never wrong about impossible rows needs no other code
to hold by construction, to be exact as a target, and to check finished rows.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Protocol

import torch
from torch import Tensor

from scidiff.core import Rng, uniform
from scidiff.samplers.automata import Automaton
from scidiff.samplers.orders import NEVER, clocks
from scidiff.samplers.trellis import Trellis, log_accepted


class Constraint(Protocol):
    """Which rows can still become rows that satisfy it.

    It must be exact for rows that hide nothing, and for others never deny a row that has a
    completion. If it also never allows one that has none, no row gets stuck.
    """

    def __call__(self, ids: Tensor) -> Tensor:
        """Rows (B, L), MASK where a token is still hidden -> (B,) bool on their device."""
        ...


class Forbid:
    """Never write these ids."""

    def __init__(self, ids: Tensor | list[int], vocab_size: int) -> None:
        self.forbidden = torch.zeros(vocab_size, dtype=torch.bool)
        self.forbidden[torch.as_tensor(ids, dtype=torch.int64)] = True

    def __call__(self, ids: Tensor) -> Tensor:
        return ~self.forbidden.to(ids.device)[ids].any(1)


class AllowAt:
    """Write only what is allowed at the position's kind: `allowed` (K, V) bool, `kinds` (L,).

    EOS and PAD are tokens like others: allow them at every kind that may lie behind the end.
    """

    def __init__(self, allowed: Tensor, kinds: Tensor) -> None:
        if allowed.dtype != torch.bool or not 0 <= int(kinds.min()) <= int(kinds.max()) < len(
            allowed
        ):
            raise ValueError(
                f"allowed must be (K, V) bool and kinds (L,) in 0..K - 1, "
                f"got {tuple(allowed.shape)} {allowed.dtype} and kinds up to {int(kinds.max())}"
            )
        self.allowed, self.kinds = allowed.clone(), kinds
        self.allowed[:, -1] = True  # MASK

    def __call__(self, ids: Tensor) -> Tensor:
        kinds = self.kinds[: ids.shape[1]].to(ids.device)
        return self.allowed.to(ids.device)[kinds, ids].all(1)


class Count:
    """Hold between `least` and `most` of the tokens `ids`, counted over the whole row.

    `at` (L,) bool says where they may stand, everywhere by default: hidden positions there can
    still bring what is missing.
    """

    def __init__(
        self,
        ids: Tensor | list[int],
        vocab_size: int,
        *,
        least: int = 0,
        most: int | None = None,
        at: Tensor | None = None,
    ) -> None:
        if least < 0 or (most is not None and most < least):
            raise ValueError(f"counts must be 0 <= least <= most, got {least} and {most}")
        self.counted = torch.zeros(vocab_size, dtype=torch.bool)
        self.counted[torch.as_tensor(ids, dtype=torch.int64)] = True
        self.least, self.most, self.at, self.mask_id = least, most, at, vocab_size - 1

    def __call__(self, ids: Tensor) -> Tensor:
        there = ids == self.mask_id
        if self.at is not None:
            there = there & self.at[: ids.shape[1]].to(ids.device)
        has = self.counted.to(ids.device)[ids].sum(1)
        fine = has + there.sum(1) >= self.least
        return fine if self.most is None else fine & (has <= self.most)


def may_write(possible: Constraint, ids: Tensor, position: Tensor, vocab_size: int) -> Tensor:
    """Which tokens (B, V) leave the rows (B, L) possible when written at `position` (B,)."""
    (B, L), V = ids.shape, vocab_size
    token = torch.arange(V, device=ids.device).expand(B, V)[..., None]
    tried = ids[:, None].expand(B, V, L).scatter(2, position[:, None, None].expand(B, V, 1), token)
    return possible(tried.reshape(B * V, L)).view(B, V)


def draw_within(
    possible: Constraint,
    law: Tensor,
    ids: Tensor,
    positions: Tensor,
    live: Tensor,
    rng: Rng,
    temperature: float,
    bent: bool,
) -> tuple[Tensor, Tensor, Tensor | None]:
    """Draw the tokens of `positions` (B, M) one after the other from `law` (B, M, V)^(1 / T),
    each among those that leave its row possible.

    Returns tokens (B, M), which of them may be written (B, M), and the sum of log normalisers
    (B,): of what is allowed, and of the law itself where it is `bent`, that is, not normalised.
    Where no token is allowed it is -inf, and nothing is written. At temperature 0 there is no law
    to weigh by: None.
    """
    scaled = law if temperature == 0 else law / temperature
    keys = scaled
    if temperature > 0:
        keys = scaled - clocks(uniform(law.shape, rng)).log()
    tokens, fine, ratio = [], [], torch.zeros(len(ids), dtype=torch.float64, device=ids.device)
    for m in range(positions.shape[1]):
        here = positions[:, m]
        allowed = may_write(possible, ids, here, law.shape[-1])
        token = keys[:, m].masked_fill(~allowed, NEVER).argmax(-1)
        kept = scaled[:, m].double().masked_fill(~allowed, NEVER).logsumexp(-1)
        whole = 0.0 if bent else scaled[:, m].double().logsumexp(-1)
        write = live[:, m] & (kept > NEVER)
        ratio = ratio + torch.where(live[:, m], kept - whole, 0.0)
        before = ids.gather(1, here[:, None])
        ids = ids.scatter(1, here[:, None], torch.where(write[:, None], token[:, None], before))
        tokens.append(token)
        fine.append(write)
    told = ratio if temperature > 0 else None
    return torch.stack(tokens, 1), torch.stack(fine, 1), told


class Accepted:
    """Rows of a regular set, as a predicate: whether some completion is accepted.

    `samplers.grammar` draws from such a set directly and needs no question a token.
    """

    def __init__(self, automaton: Automaton) -> None:
        self.automaton = automaton
        self._trellis = lru_cache(maxsize=4)(lambda length: Trellis(automaton, length))

    def __call__(self, ids: Tensor) -> Tensor:
        V = self.automaton.vocab_size
        token = torch.arange(V, device=ids.device)
        fits = (ids == V - 1)[..., None] | (ids[..., None] == token)
        law = torch.where(fits, 0.0, NEVER)
        return log_accepted(self._trellis(ids.shape[1]), law) > NEVER
