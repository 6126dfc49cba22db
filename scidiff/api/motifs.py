"""Motifs and patterns as a person writes them, read as token sets: what automata are made of, and
what finished strings are searched for.

`?` is any one token, and so is N in models of bases. Sequences may be written in lower case.
"""

from __future__ import annotations

import re

from scidiff.data.tokens import FIRST_SYMBOL, Vocabulary
from scidiff.samplers.automata import Place

ANY, GAP = "?", ("*", "[*]")
_ANY_BASE, _BASES = "N", frozenset("ACGTU")


def spelled(token: str, vocabulary: Vocabulary) -> str:
    """A token as the model writes it."""
    if vocabulary.notation != "characters" or token in vocabulary.symbols:
        return token
    large = token.upper()
    return ANY if large == _ANY_BASE and set(vocabulary.symbols) <= _BASES else large


def places(text: str, vocabulary: Vocabulary, gaps: bool = False) -> list[Place]:
    """What may stand at every place of a motif or pattern; with `gaps` "*" is any number of any.

    Raises ValueError that names the first token the model lacks and its position from 1.
    """
    index = {symbol: i + FIRST_SYMBOL for i, symbol in enumerate(vocabulary.symbols)}
    found: list[Place] = []
    for number, token in enumerate(vocabulary.split(text), start=1):
        symbol = spelled(token, vocabulary)
        if symbol == ANY:
            found.append(None)
        elif gaps and symbol in GAP:
            found.append("*")
        elif symbol in index:
            found.append(frozenset({index[symbol]}))
        else:
            raise ValueError(
                f"{token!r} at position {number} of {text!r} is no token of this model; expected "
                f"{' '.join(vocabulary.symbols)}, or ? for any{' and * for a gap' * gaps}"
            )
    return found


def occurs(motif: str, text: str, vocabulary: Vocabulary, whole: bool = False) -> bool:
    """Whether a motif occurs in a string, or a pattern is the whole of it: a regular expression in
    which every token is one character."""
    private = {symbol: chr(0xE000 + i) for i, symbol in enumerate(vocabulary.symbols)}
    special = {ANY: ".", **dict.fromkeys(GAP if whole else (), ".*")}
    tokens = [spelled(token, vocabulary) for token in vocabulary.split(motif)]
    expression = "".join(special.get(token) or private[token] for token in tokens)
    written = "".join(private.get(token, " ") for token in vocabulary.split(text))
    return bool((re.fullmatch if whole else re.search)(expression, written))
