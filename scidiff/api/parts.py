"""Token rows around given parts of molecules: what stands before and behind, and how much room is
left between."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from random import Random
from typing import Any

import torch
from rdkit.Chem import Mol
from torch import Tensor

from scidiff.chem.fragments import cut_bonds
from scidiff.chem.given import points, write_part
from scidiff.core import Rng, uniform
from scidiff.data.tokens import EOS, PAD, UnknownToken, Vocabulary
from scidiff.samplers.frames import Ends, frame, least_length

MOST_OWN = 3  # labels that what is written may use for itself; each triples the frame
_BRACKET = re.compile(r"\[\d*([A-Za-z][a-z]?)[^\]]*\]")


@dataclass(frozen=True)
class Arranged:
    """Rows before + rest + behind of up to `length` tokens."""

    vocabulary: Vocabulary
    length: int
    before: str  # text, with its last "."
    behind: str  # text, with its first "."
    ends: Ends
    law: Tensor  # (R,) float64, how often a rest of r tokens is drawn
    shown: dict[str, str] = field(default_factory=dict)  # token -> what the network sees of it

    @property
    def most(self) -> int:
        """The longest rest."""
        return len(self.law) - 1

    @property
    def before_size(self) -> int:
        return len(self.vocabulary.split(self.before))

    @property
    def behind_size(self) -> int:
        return len(self.vocabulary.split(self.behind))

    def rows(self, n: int, rng: Rng) -> Tensor:
        """Rows (n, L) that hide the rest, its length drawn from `law`."""
        before, behind = (self._seen(text) for text in (self.before, self.behind))
        law = self.law.to(rng.device).cumsum(0)
        drawn = torch.searchsorted(law, uniform((n,), rng).double() * law[-1], right=True)
        hide = [self.vocabulary.mask_id]
        rows = [[*before, *(hide * r), *behind, EOS] for r in drawn.clamp(max=self.most).tolist()]
        padded = [row + [PAD] * (self.length - len(row)) for row in rows]
        return torch.tensor(padded, device=rng.device)

    def _seen(self, text: str) -> list[int]:
        tokens = self.vocabulary.split(text)
        return self.vocabulary.encode("".join(self.shown.get(t, t) for t in tokens))


def joined(ids: Tensor, around: Arranged) -> list[str]:
    """The texts of finished rows, the given parts as they were given."""
    ends = (ids == EOS).int().argmax(1) - around.behind_size
    rests = [row[around.before_size : end] for row, end in zip(ids, ends.tolist(), strict=True)]
    return [around.before + around.vocabulary.decode(rest) + around.behind for rest in rests]


def arrange(
    engine: Any, parts: Sequence[Mol], rng: Random, size: tuple[int, int] | None
) -> Arranged:
    """The first part with its attachment points before, the others, with one each, behind.

    Labels are drawn among as many as are in use. The rest's length follows the training set's
    lengths, given what is there, or is uniform over `size`. Raises ValueError where labels or room
    run out, and UnknownToken for a token that nothing in the vocabulary stands in for.
    """
    vocabulary, length = engine.vocabulary, engine.network.config.max_length
    before, behind, ends = _texts(parts, _labels(vocabulary), rng)
    shown = _stand_ins(before + behind, vocabulary)
    given = len(vocabulary.split(before + behind))
    least = least_length(frame(vocabulary, ends), length)
    law = _law(engine.config["length_counts"], given, least or length, length - 1, size)
    return Arranged(vocabulary, length, before, behind, ends, law, shown)


def _labels(vocabulary: Vocabulary) -> list[int]:
    found = (s for s in vocabulary.symbols if re.fullmatch(r"%\d\d", s))
    return sorted(int(s[1:]) for s in found)


def _texts(parts: Sequence[Mol], labels: list[int], rng: Random) -> tuple[str, str, Ends]:
    """What stands before and behind, and the labels between."""
    asked = [len(points(part)) for part in parts]
    if sum(asked) > len(labels):
        raise ValueError(
            f"the given parts have {sum(asked)} attachment points, the model knows "
            f"{len(labels)} labels"
        )
    cuts = [len(cut_bonds(part)) for part in parts]
    if sum(asked) + sum(cuts) > len(labels):
        cuts = [0] * len(parts)  # each stays in one piece
    used, spare = labels[: sum(asked) + sum(cuts)], labels[sum(asked) + sum(cuts) :]
    rng.shuffle(used)
    texts, outer = [], []
    for i, part in enumerate(parts):
        ends, own = [used.pop() for _ in range(asked[i])], [used.pop() for _ in range(cuts[i])]
        texts.append(write_part(part, ends, own, rng, first=0 if i else None))
        outer.append(tuple(f"%{label}" for label in sorted(ends)))
    if not parts:
        return "", "", Ends(own=tuple(f"%{i}" for i in spare[: MOST_OWN + 1]))
    ends_ = Ends(
        outer[0], tuple(sorted(x for o in outer[1:] for x in o)),
        tuple(f"%{i}" for i in spare[:MOST_OWN]),
    )  # fmt: skip
    return f"{texts[0]}.", "".join(f".{text}" for text in texts[1:]), ends_


def _stand_ins(text: str, vocabulary: Vocabulary) -> dict[str, str]:
    """What the network is shown of given tokens that it does not know: the plain atom of a bracket
    atom, a single bond for one with a direction. Raises UnknownToken for any other."""
    shown = {}
    for token in dict.fromkeys(vocabulary.split(text)):
        if token in vocabulary.symbols:
            continue
        found = _BRACKET.fullmatch(token)
        plain = found[1] if found else {"/": "-", "\\": "-"}.get(token, token)
        if plain not in vocabulary.symbols:
            raise UnknownToken(
                f"the model knows nothing like {token!r} of the given parts {text!r}; its "
                f"symbols: {' '.join(vocabulary.symbols)}"
            )
        shown[token] = plain
    return shown


def _law(
    counts: Sequence[float], given: int, least: int, most: int, size: tuple[int, int] | None
) -> Tensor:
    """How often a rest of r tokens is drawn, r = 0 .. the longest, beside `given` tokens."""
    room = most - given
    if size is not None:
        low, high = max(size[0], least), min(size[1], room)
        law = [float(low <= r <= high) for r in range(room + 1)]
    else:
        whole = [*counts, *[0.0] * (most + 1)]
        law = [whole[given + r] * (r >= least) for r in range(room + 1)]
    if not any(law):
        longest = max(i for i, count in enumerate(counts) if count)
        raise ValueError(
            f"the given parts take {given} tokens and what joins them at least {least}: expected "
            f"at most {longest} in all, as in the training set, or a size=(low, high) that fits "
            f"into {most}"
        )
    weights = torch.tensor(law, dtype=torch.float64)
    return weights[: int(weights.nonzero().max()) + 1]
