"""Rows of molecules in pieces (`chem.fragments`) around given parts: which rows are one connected
molecule, and a sampler that writes no others.

A row is before + rest + behind. What stands before leaves labels open, what stands behind opens
none that it does not close or the rest has to open. Two automata say what the rest may be: `frame`
where its pieces part and which labels they share, `filling` what stands between.
"""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass, replace
from functools import lru_cache

import torch
from torch import Tensor

from scidiff.core import Rng
from scidiff.data.tokens import EOS, FIRST_SYMBOL, PAD, TokenState, Vocabulary
from scidiff.samplers.around import Around
from scidiff.samplers.automata import Automaton, ended, explored
from scidiff.samplers.masked import MaskedSampler
from scidiff.samplers.orders import NEVER
from scidiff.samplers.predictions import evaluate
from scidiff.samplers.trellis import Trellis, best_accepted, log_accepted, sample_accepted

MOST_IN_A_RUN, MOST_ON_ONE = 2, 3  # labels in a row: a carbon in a chain has room for two


@dataclass(frozen=True)
class Ends:
    """The labels that a rest has to do with."""

    close: tuple[str, ...] = ()  # left open by what stands before
    open: tuple[str, ...] = ()  # closed by what stands behind
    own: tuple[str, ...] = ()  # free for the rest's own use


@dataclass(frozen=True)
class _At:
    """Where the reader of a rest stands."""

    close: frozenset[str]
    open: frozenset[str]
    own: tuple[str, ...] = ()  # of each own label in use: "here", "before" or "done"
    joined: bool = False  # whether the piece has its label from before
    atoms: int = 0  # tokens of the piece that are no labels: 0, 1, or 2 for more
    run: int = 0  # labels in a row


@dataclass(frozen=True)
class _FrameRule:
    """Reads labels and dots: every piece but the first of all has one label from before."""

    own: tuple[str, ...]
    free: bool  # nothing stands before: the first piece joins nothing

    def __call__(self, at: _At, label: tuple[str, str]) -> _At | None:
        kind, name = label
        if kind == "other":
            return replace(at, atoms=min(2, at.atoms + 1), run=0)
        if kind == "dot":
            done = tuple("before" if s == "here" else s for s in at.own)
            return replace(at, own=done, joined=False, atoms=0, run=0) if self._whole(at) else None
        most = MOST_ON_ONE if at.atoms == 1 else MOST_IN_A_RUN
        return self._label(at, name) if at.atoms and at.run < most else None

    def _whole(self, at: _At) -> bool:
        return at.joined and at.atoms > 0

    def _label(self, at: _At, name: str) -> _At | None:
        at = replace(at, run=at.run + 1)
        if name in at.open:
            return replace(at, open=at.open - {name})
        if name in at.close:
            return None if at.joined else replace(at, close=at.close - {name}, joined=True)
        if name not in self.own:
            return None  # used up
        i, used = self.own.index(name), len(at.own)
        if i == used:
            return replace(at, own=(*at.own, "here"))
        if i > used or at.own[i] != "before" or at.joined:
            return None  # opened in order, closed in a later piece, one a piece
        return replace(at, own=(*at.own[:i], "done", *at.own[i + 1 :]), joined=True)

    def accepts(self, at: _At) -> bool:
        used = all(s == "done" for s in at.own)
        return self._whole(at) and used and not at.close and not at.open


@lru_cache(maxsize=32)
def frame(vocabulary: Vocabulary, ends: Ends) -> Automaton:
    """Rests that close, open and use the labels of `ends` so that all is one connected molecule
    whose pieces form a tree; what stands between labels is anything but other labels."""
    known = {*ends.close, *ends.open, *ends.own}

    def seen(symbol: str) -> tuple[str, str] | None:
        if symbol == ".":
            return "dot", ""
        if symbol.startswith("%"):
            return ("label", symbol) if symbol in known else None
        return "other", ""

    labels: list[Hashable] = [None] * len(vocabulary)
    labels[FIRST_SYMBOL:-1] = [seen(symbol) for symbol in vocabulary.symbols]
    rule = _FrameRule(ends.own, not ends.close)
    first = _At(frozenset(ends.close), frozenset(ends.open), joined=rule.free)
    return ended(explored(first, rule, rule.accepts, labels))


def least_length(automaton: Automaton, most: int) -> int | None:
    """The fewest tokens, up to `most`, of an accepted row; None where there is none so short."""
    step, fine = automaton.step, automaton.accepting
    reached = torch.zeros(len(automaton) + 1, dtype=torch.bool)
    reached[automaton.start] = True
    for length in range(most + 1):
        if bool((reached[:-1] & fine).any()):
            return length
        onward = step[reached[:-1]].unique()
        reached = torch.zeros_like(reached).index_fill(0, onward, True)
        reached[-1] = False
    return None


class FramedSampler(Around):
    """The inner sampler, which writes only what an automaton accepts between what stands before
    and behind.

    The steps are those of `grammar.GrammarSampler`, drawn from the product of the network's
    marginals given acceptance, but given parts may hold what the automaton does not know. All rows
    have `before` given tokens in front and `behind` at the end, and differ in what lies between.
    """

    def __init__(
        self, inner: MaskedSampler, automaton: Automaton, before: int, behind: int, most: int
    ) -> None:
        super().__init__(inner)
        self.before, self.behind = before, behind
        self.trellis = Trellis(automaton, most)

    def step(self, x: TokenState, k: int | Tensor, rng: Rng) -> TokenState:
        """Write the next positions of every row, then evaluate the network.

        A row that nothing completes keeps its MASKs.
        """
        positions, live = self.inner.choose(x, rng)
        law = self._told(x)
        rows, before = self._draw(x.ids, law, rng)
        tokens = torch.where(
            live & (before > NEVER)[:, None], rows.gather(1, positions), x.ids.gather(1, positions)
        )
        ids, log_ratio = self.inner.commit(x.ids, positions, live, tokens), None
        if self.inner.temperature:
            after = log_accepted(self.trellis, self._window(ids, law))
            log_ratio = torch.where(before > NEVER, before - after, NEVER)
        x = replace(x, ids=ids, log_ratio=log_ratio)
        if isinstance(k, int) and k + 1 >= self.num_steps:
            return replace(x, trunk=None)
        return evaluate(self.denoiser, x, k + 1)

    def predict_clean(self, x: TokenState, k: int | Tensor, rng: Rng) -> TokenState:
        """Draw accepted rows from the stored prediction, plain ones where nothing is accepted."""
        if isinstance(k, int) and k >= self.num_steps:
            return x
        rows, before = self._draw(x.ids, self._told(x), rng)
        plain = self.inner.predict_clean(x, k, rng).ids
        return replace(x, ids=torch.where(before[:, None] > NEVER, rows, plain), trunk=None)

    def _told(self, x: TokenState) -> Tensor:
        """What the inner sampler draws from at every position, (B, L, V) float64."""
        everywhere = torch.arange(x.ids.shape[1], device=x.ids.device).expand(x.ids.shape)
        return self.inner.draw.law(self.inner.token_law(x, everywhere)).double().log_softmax(-1)

    def _places(self, ids: Tensor) -> tuple[Tensor, Tensor]:
        """Positions (W,) between what is given, and which of them (B, W) lie in the row."""
        at = self.before + torch.arange(self.trellis.length, device=ids.device)
        end = (ids == EOS).int().argmax(1) - self.behind
        return at, at < end[:, None]

    def _window(self, ids: Tensor, law: Tensor) -> Tensor:
        """The law of the rest (B, W, V): the network's where it hides something, else one token;
        EOS and PAD behind its end."""
        at, inside = self._places(ids)
        size = inside.sum(1, keepdim=True)
        end = torch.where(torch.arange(len(at), device=at.device) == size, EOS, PAD)
        token = torch.where(inside, ids[:, at], end)
        is_it = token[..., None] == torch.arange(law.shape[-1], device=law.device)
        known = torch.where(is_it, 0.0, NEVER).to(law)
        return torch.where((token == self.denoiser.mask_id)[..., None], law[:, at], known)

    def _draw(self, ids: Tensor, law: Tensor, rng: Rng) -> tuple[Tensor, Tensor]:
        """Accepted rows (B, L), the best ones at temperature 0, and log Z (B,)."""
        here = self._window(ids, law)
        if self.inner.temperature:
            rest, log_z = sample_accepted(self.trellis, here, rng)
        else:
            rest, log_z = best_accepted(self.trellis, here), log_accepted(self.trellis, here)
        at, inside = self._places(ids)
        return ids.index_copy(1, at, torch.where(inside, rest, ids[:, at])), log_z
