"""The suites of sequences: laws of letters, k-mers and properties against a reference, copies of
the training set, and whether a classifier can tell. Each beside its floor: what the same number of
training rows scores, or for copies what real held-out rows score.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.stats import wasserstein_distance

from scidiff.data.alphabets import Alphabet
from scidiff.data.letters import kmer_codes, letter_ids
from scidiff.data.records import Record
from scidiff.data.strands import reverse_complement
from scidiff.evaluation.counts import novelty, proportion, uniqueness, validity
from scidiff.evaluation.discriminator import KINDS, discriminability
from scidiff.evaluation.intervals import SPREAD, STUDENT, mean_interval, spread
from scidiff.evaluation.kmers import kmer_distance, kmer_pearson, ks_distance, position_distance
from scidiff.evaluation.metric import Metric, Report, absent, versions
from scidiff.evaluation.rows import as_record, evenly
from scidiff.evaluation.sequence_neighbours import (
    PIECE,
    known_pieces,
    nearest_edit,
    nearest_hamming,
)
from scidiff.evaluation.sequence_sets import SequenceSet, sequence_set, spelling_fault
from scidiff.evaluation.suite import Suite

NEAR_ROWS = 1_000  # of rows whose nearest neighbour is looked for, evenly spaced
COPY = 0.1  # a row this near to a training row is a copy of it
PIECES = 0.5  # and so is one with this share of its 20-mers in the training set
_NONE = "needs a valid row"
_TRAIN = "needs the training sequences: train="
Features = Callable[[Sequence[str]], NDArray[Any]]


@dataclass(frozen=True)
class Law:
    """A comparison of two sets: features (B, ...) of each, one row a sequence, and a number."""

    name: str
    definition: str
    features: Features
    compare: Callable[[NDArray[Any], NDArray[Any]], float]


def letter_laws(alphabet: str, longest: int) -> list[Law]:
    """k-mers up to `longest`, 3-mer correlation, letters by position, and lengths."""
    V, ids = len(alphabet), partial(letter_ids, alphabet=alphabet)

    def codes(k: int) -> Features:
        return lambda sequences: kmer_codes(ids(sequences), k, V)

    found = [Law(f"kmer{k}_js_sqrt_nats", "square root of the Jensen-Shannon divergence in nats "
                 f"of pooled {k}-mer frequencies", codes(k), partial(kmer_distance, width=V**k))
             for k in range(1, longest + 1)]
    return [*found,
            Law("kmer3_pearson", "Pearson correlation of the pooled 3-mer frequencies", codes(3),
                partial(kmer_pearson, width=V**3)),
            Law("position_js_sqrt_nats", "mean over positions that half of the rows reach of the "
                "Jensen-Shannon distance of the letters there", ids,
                partial(position_distance, letters=V)),
            Law("length_ks", "Kolmogorov-Smirnov distance of lengths",
                lambda sequences: np.array([len(s) for s in sequences], np.float64), ks_distance)]


def property_law(name: str, what: str, f: Callable[[Sequence[str]], Any]) -> Law:
    """The 1-Wasserstein distance of a number that every sequence has."""
    return Law(f"{name}_w1", f"1-Wasserstein distance of {what}",
               lambda sequences: np.asarray(f(sequences), np.float64), _wasserstein)


def _wasserstein(values: NDArray[np.float64], other: NDArray[np.float64]) -> float:
    return float(wasserstein_distance(values, other)) if len(values) and len(other) else math.nan


@dataclass(frozen=True)
class SequenceSuite:
    """What is measured of one kind of sequence. `laws` is called when the suite is: some laws
    need an extra."""

    name: str
    alphabet: Alphabet
    laws: Callable[[], Sequence[Law | Metric]]  # a Metric: a law that cannot be had, and why
    reference: str = ""  # default data sets, "" for none
    train: str = ""
    strands: bool = False  # copies are looked for on both
    after: Callable[[Sequence[str], Sequence[str]], Sequence[Metric]] = lambda own, other: ()

    def measure(
        self, rows: Iterable[Any], *, train: Any = None, reference: Any = None, fcd: bool = True,
        device: str = "cpu",
    ) -> Report:
        """Compute the suite of every row, valid or not.

        `reference` is what laws are compared with; `train`, where it holds the sequences
        themselves, gives floors and copies. Without a reference both are the suite's own.
        Raises ValueError where there is no reference.
        """
        against, known = self._sets(reference, train)
        n, own = self._read(rows)
        found = [validity(len(own), n), uniqueness(own)]
        if train is not None or known is not None:
            given: Any = known if train is None else train
            found.append(novelty(own, given))
        for law in self.laws():
            found += [law] if isinstance(law, Metric) else compared(law, own, against, known)
        found += copies(own, against, known, self.alphabet.letters, self.strands)
        for kind in KINDS:
            found += told_apart(own, against, known, self.alphabet.letters, kind)
        found += self.after(own, against.sequences)
        return Report(tuple(found), {
            "suite": self.name, "rows": n, "valid": len(own), "references": [against.facts()],
            "train": None if known is None else known.facts(), **versions()})

    def suite(self) -> Suite:
        """As `evaluate` asks for it."""
        return Suite(self.measure, kind="sequence", check=self.check, known=self.set_of,
                     against=self.set_of)

    def set_of(self, given: Any) -> SequenceSet:
        """What `measure` takes for a training set or a reference of the user's."""
        return sequence_set(given, self.alphabet)

    def check(self, text: str) -> str:
        """Why a row is invalid, or ""."""
        return spelling_fault(text, self.alphabet)

    def _sets(self, reference: Any, train: Any) -> tuple[SequenceSet, SequenceSet | None]:
        if reference is None and not self.reference:
            raise ValueError(f"suite {self.name!r} needs a reference: a file, sequences or "
                             "dataset:split of held-out rows, got None")
        known = train if isinstance(train, SequenceSet) else None
        if known is None and reference is None:
            known = self.set_of(self.train)
        return self.set_of(self.reference if reference is None else reference), known

    def _read(self, rows: Iterable[Any]) -> tuple[int, list[str]]:
        """How many rows there are, and the valid ones as the alphabet spells them."""
        n, own = 0, []
        for row in rows:
            record: Record = as_record(row, "sequence")
            n += 1
            if record.valid and not self.check(record.text):
                own.append(self.alphabet.spell(record.text))
        return n, own


def compared(
    law: Law, own: Sequence[str], against: SequenceSet, known: SequenceSet | None
) -> list[Metric]:
    """A law against the reference and, with training sequences, its floor."""
    if not own:
        return [absent(law.name, 0, law.definition, _NONE)]
    other = law.features(against.sequences)
    note = f"against {against.name}, {len(against.sequences):,} rows"
    metric = _distance(law.name, law, law.features(own), other, law.definition, note)
    if known is None:
        return [metric]
    some = [known.sequences[i] for i in evenly(len(known.sequences), len(own))]
    floor = _distance(f"{law.name}_floor", law, law.features(some), other,
                      f"{law.name} of training rows")
    return [metric, floor]


def _distance(name: str, law: Law, own: NDArray[Any], other: NDArray[Any], what: str,
              note: str = "") -> Metric:
    value = law.compare(own, other)
    low, high = spread(value, lambda rows: law.compare(rows, other), own)
    return Metric(name, value, low, high, len(own), what, note, "" if math.isnan(low) else SPREAD)


def copies(
    own: Sequence[str], against: SequenceSet, known: SequenceSet | None, alphabet: str,
    strands: bool,
) -> list[Metric]:
    """Distance to the nearest training row, and the share of rows that are copies; the floors are
    those of the reference, which nobody trained on."""
    if known is None or not own:
        why = _NONE if known is not None else _TRAIN
        return [absent("nearest_train", len(own), "distance to the nearest training row", why)]
    theirs = list(known.sequences)
    if strands:
        theirs += [reverse_complement(s) for s in theirs]
    floor = () if against.sequences == known.sequences else against.sequences
    mine = [rows[i] for rows in (own, floor) for i in evenly(len(rows), NEAR_ROWS)]
    n = min(len(own), NEAR_ROWS)
    found = []
    for name, copied, what, values, near in _nearness(mine, theirs, alphabet):
        for suffix, part in (("", slice(0, n)), ("_floor", slice(n, None))):
            if len(values[part]):
                found += [_mean(name + suffix, values[part], f"mean {what}"),
                          proportion(copied + suffix, int(near[part].sum()), len(near[part]),
                                     f"rows with {COPIED[copied]} / rows")]
    return found


COPIED = {"copied_hamming": f"at most {COPY:.0%} of the positions unlike a training row",
          "copied_edit": f"at most {COPY:.0%} edits to a training row",
          "copied_pieces": f"{PIECES:.0%} of the {PIECE}-mers in training rows"}


def _nearness(
    mine: list[str], theirs: list[str], alphabet: str
) -> Iterator[tuple[str, str, str, NDArray[np.float64], NDArray[np.bool_]]]:
    """Names, definition, a value for each row, and which rows are copies."""
    nucleic = len(alphabet) == 4
    if len({len(s) for s in (*mine, *theirs)}) == 1:
        distances = nearest_hamming(mine, theirs, alphabet)
        yield ("nearest_train_hamming", "copied_hamming",
               "share of positions unlike the nearest training row", distances, distances <= COPY)
    elif not nucleic:  # of long rows of many lengths the pieces say it, at a bearable cost
        distances = nearest_edit(mine, theirs, alphabet)
        yield ("nearest_train_edit", "copied_edit", "edits to the nearest training row / the "
               "longer length", distances, distances <= COPY)
    if nucleic:
        pieces = known_pieces(mine, theirs, alphabet)
        yield (f"train_{PIECE}mers", "copied_pieces", f"share of the {PIECE}-mers of a row that "
               "occur in a training row", pieces, pieces >= PIECES)


def _mean(name: str, values: NDArray[np.float64], what: str) -> Metric:
    low, high = mean_interval(values.tolist())
    return Metric(name, float(values.mean()), low, high, len(values), what,
                  method="" if math.isnan(low) else STUDENT)


def told_apart(
    own: Sequence[str], against: SequenceSet, known: SequenceSet | None, alphabet: str, kind: str
) -> list[Metric]:
    """A discriminator against the reference and, with training sequences, its floor."""
    metric = discriminability(own, against.sequences, alphabet, kind)
    if known is None or math.isnan(metric.value):
        return [metric]
    some = [known.sequences[i] for i in evenly(len(known.sequences), len(own))]
    floor = discriminability(some, against.sequences, alphabet, kind)
    return [metric, Metric(f"{metric.name}_floor", floor.value, floor.low, floor.high, floor.n,
                           f"{metric.name} of training rows", floor.note, floor.method)]
