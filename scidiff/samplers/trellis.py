"""A product of token laws conditioned exactly on what a finite automaton accepts.

The clean guess of a masked network is prod_l p_l(x_l). Given that an automaton accepts x it is a
hidden Markov chain over the automaton's states, so its normaliser, marginals, draws and best row
come from one pass over the positions each way (forward-backward; Rabiner 1989, section III).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from scidiff.core import Rng, uniform
from scidiff.samplers.automata import Automaton
from scidiff.samplers.orders import NEVER, clocks

FAR = 600.0  # nats
ELEMENTS = 2**21  # states x classes x rows that are worked on at once


@dataclass(frozen=True)
class Messages:
    """What lies ahead: ahead[l] (S_l + 1, B), l = 0 .. L, is the log weight of all accepted ends
    of the row from each state of position l, -inf in the last line (no state)."""

    law: Tensor  # (B, L, V) log p_l, not necessarily normalised
    ahead: tuple[Tensor, ...]

    @property
    def log_normaliser(self) -> Tensor:
        """log sum_x prod_l p_l(x_l) 1[x is accepted], (B,)."""
        return self.ahead[0][0]


class Trellis:
    """An automaton unrolled over rows of `length` positions, with the S_l states at position l
    that an accepted row of this length can be in: those that cannot end in time cost nothing."""

    def __init__(self, automaton: Automaton, length: int) -> None:
        self.automaton, self.length = automaton, length
        self.tables = _unrolled(automaton, length)  # L of (S_l + 1, K), the last line is no state
        self.classes, self.K = automaton.classes, automaton.step.shape[1]

    @property
    def possible(self) -> bool:
        """Whether any row of this length is accepted."""
        return len(self.tables[0]) > 1

    def certain(self) -> Tensor:
        """The only token that can stand at each position (L,), -1 where there are several."""
        open_ = [(t[:-1] < t[-1, 0]).any(0)[self.classes] for t in self.tables]
        allowed = torch.stack(open_)
        return torch.where(allowed.sum(1) == 1, allowed.int().argmax(1), -1)

    @property
    def rows_at_once(self) -> int:
        """How many rows a pass should be given, that it fits into the memory caches."""
        return max(1, ELEMENTS // max(table.numel() for table in self.tables))

    def backward(
        self, law: Tensor, later: Tensor | None = None, *, best: bool = False
    ) -> Messages:
        """Pass the messages of log p_l, law (B, L, V), from the end to the start:

            ahead_l(s) = log sum_v p_l(v) exp ahead_l+1(step(s, v)), or the largest for `best`.

        From positions where `later` (B, L) nothing is told but whether the row can go on at all.
        """
        heard, none = self.of_classes(law, best), law.new_full((1, len(law)), NEVER)
        ahead = [torch.cat([law.new_zeros(self._ends, len(law)), none])]
        for at in reversed(range(self.length)):
            table = self.tables[at][:-1].to(law.device)
            message = (_largest if best else _summed)(ahead[-1], table, heard[at])
            if later is not None:
                message = torch.where(later[:, at] & (message > NEVER), 0.0, message)
            ahead.append(torch.cat([message, none]))
        return Messages(law, tuple(reversed(ahead)))

    def of_classes(self, law: Tensor, best: bool = False) -> Tensor:
        """Log weight of each class at each position (L, K, B): of all its tokens, or the best."""
        columns = law.permute(1, 2, 0)  # (L, V, B)
        index = self.classes.to(law.device)[None, :, None].expand(columns.shape)
        return _grouped(columns, index, self.K, best)

    def walk(self, messages: Messages, choose: Callable[[int, Tensor], Tensor]) -> Tensor:
        """Write rows (B, L) from left to right: `choose(l, log_w)` picks a token (B,) by log_w
        (B, V) = log p_l(v) + ahead_l+1(step(s, v)). Rows that nothing completes are arbitrary."""
        law = messages.law
        classes, row = self.classes.to(law.device), torch.arange(len(law), device=law.device)
        state, tokens = torch.zeros_like(row), []
        for at, table in enumerate(self.tables):
            after = table.to(law.device)[state][:, classes]
            token = choose(at, law[:, at] + messages.ahead[at + 1][after, row[:, None]])
            state = after.gather(1, token[:, None])[:, 0]
            tokens.append(token)
        return torch.stack(tokens, 1)

    def marginals(self, messages: Messages) -> Tensor:
        """log q(x_l = v | x is accepted), (B, L, V); NaN for rows that nothing completes."""
        law, heard = messages.law, self.of_classes(messages.law)
        classes = self.classes.to(law.device)
        behind, told = law.new_zeros(1, len(law)), []
        for at, (table, here) in enumerate(zip(self.tables, heard.unbind(0), strict=True)):
            onward = table[:-1].to(law.device)
            share = (behind[:, None] + messages.ahead[at + 1][onward]).logsumexp(0)  # (K, B)
            told.append(law[:, at] + share[classes].T - messages.log_normaliser[:, None])
            paths = (behind[:, None] + here).flatten(0, 1)
            to = onward.flatten()[:, None].expand(paths.shape)
            behind = _grouped(paths, to, len(messages.ahead[at + 1]))[:-1]
        return torch.stack(told, 1)

    @property
    def _ends(self) -> int:
        return int(self.tables[-1].max()) if self.possible else 0


def _largest(ahead: Tensor, table: Tensor, heard: Tensor) -> Tensor:
    return (ahead[table] + heard).amax(1)


def _summed(ahead: Tensor, table: Tensor, heard: Tensor) -> Tensor:
    """log sum_c exp(ahead[table[s, c]] + heard[c]), (S, B) from (S' + 1, B), (S, K) and (K, B).

    A product of exponentials costs S' + K of them a row in place of S K, and is as good where
    none underflows: a float64 holds a spread of 700 nats. Whether it is enough the host must know,
    so other devices, which do not mind exponentials, never ask.
    """
    tops = [part.amax(0).clamp(min=torch.finfo(part.dtype).min) for part in (ahead, heard)]
    least = [
        part.where(part > NEVER, top).amin(0)
        for part, top in zip((ahead, heard), tops, strict=True)
    ]
    spread = tops[0] + tops[1] - least[0] - least[1]
    if ahead.device.type != "cpu" or bool((spread > FAR).any()):
        return (ahead[table] + heard).logsumexp(1)
    onward, share = (ahead - tops[0]).exp(), (heard - tops[1]).exp()
    return torch.einsum("skb,kb->sb", onward[table], share).log() + tops[0] + tops[1]


def draw(trellis: Trellis, messages: Messages, u: Tensor) -> Tensor:
    """Draw rows (B, L) of the conditioned law with uniforms u (B, L, V): where everything is
    accepted it is the race of `orders.race` with the same ones."""
    noise = clocks(u).log()
    return trellis.walk(messages, lambda at, log_w: (log_w - noise[:, at]).argmax(-1))


def sample_accepted(
    trellis: Trellis, law: Tensor, rng: Rng, later: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """Draw ids (B, L) from prod_l p_l(x_l) 1[x is accepted] / Z, and say log Z (B,): the log
    probability that a row of the product is accepted. Where it is -inf the row is arbitrary.

    `law` (B, L, V) holds log p_l, `later` is as for `Trellis.backward`.
    """
    return drawn_accepted(trellis, law, uniform(law.shape, rng), later)


def drawn_accepted(
    trellis: Trellis, law: Tensor, u: Tensor, later: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """`sample_accepted` with given uniforms u (B, L, V)."""
    rows, log_z = [], []
    for part, noise, behind in _parts(trellis, law, u, later):
        messages = trellis.backward(part, behind)
        rows.append(draw(trellis, messages, noise))
        log_z.append(messages.log_normaliser)
    return torch.cat(rows), torch.cat(log_z)


def log_accepted(trellis: Trellis, law: Tensor, later: Tensor | None = None) -> Tensor:
    """log Z (B,) of `sample_accepted`, without a draw."""
    parts = _parts(trellis, law, law, later)
    return torch.cat([trellis.backward(p, behind).log_normaliser for p, _, behind in parts])


def best_accepted(trellis: Trellis, law: Tensor, later: Tensor | None = None) -> Tensor:
    """The most probable accepted rows (B, L) (Viterbi 1967)."""
    rows = [
        trellis.walk(trellis.backward(part, behind, best=True), lambda _, log_w: log_w.argmax(-1))
        for part, _, behind in _parts(trellis, law, law, later)
    ]
    return torch.cat(rows)


def _parts(
    trellis: Trellis, law: Tensor, other: Tensor, later: Tensor | None
) -> list[tuple[Tensor, Tensor, Tensor | None]]:
    """Cut to as many rows as a pass should be given, in float64."""
    if law.shape[1:] != (trellis.length, trellis.automaton.vocab_size):
        raise ValueError(
            f"the law must be (B, {trellis.length}, {trellis.automaton.vocab_size}) for this "
            f"automaton, got {tuple(law.shape)}"
        )
    n = trellis.rows_at_once
    cut = [None] * -(-len(law) // n) if later is None else later.split(n)
    return [
        (part.double(), beside, behind)
        for part, beside, behind in zip(law.split(n), other.split(n), cut, strict=True)
    ]


def _grouped(values: Tensor, index: Tensor, groups: int, best: bool = False) -> Tensor:
    """log sum exp, or the largest, of what has one index in the last dimension but one."""
    shape = (*values.shape[:-2], groups, values.shape[-1])
    top = values.new_full(shape, NEVER).scatter_reduce(-2, index, values, "amax")
    if best:
        return top
    safe = top.clamp(min=torch.finfo(values.dtype).min)  # -inf - -inf is NaN
    parts = (values - safe.gather(-2, index)).exp()
    return values.new_zeros(shape).scatter_add(-2, index, parts).log() + safe


def _unrolled(automaton: Automaton, length: int) -> list[Tensor]:
    """The steps of every position, among the states reached so far from which a row can still
    end where the length does."""
    S, K = automaton.step.shape
    step = torch.cat([automaton.step, torch.full((1, K), S)])
    reached = torch.zeros(length + 1, S + 1, dtype=torch.bool)
    if S:
        reached[0, automaton.start] = True
    for at in range(length):
        reached[at + 1, step[reached[at]].flatten()] = True
        reached[at + 1, S] = False
    useful = reached.clone()
    useful[length, :S] &= automaton.accepting
    for at in reversed(range(length)):
        useful[at] &= useful[at + 1][step].any(1)
    place = useful.cumsum(1) - 1
    place = torch.where(useful, place, useful.sum(1, keepdim=True))
    return [
        torch.cat([place[at + 1][step[useful[at]]], place[at + 1][step[S:]]])
        for at in range(length)
    ]
