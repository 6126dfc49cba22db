"""Objects as vectors, and how alike two of them are: what maps and pictures of diversity stand
on."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import networkx as nx
import numpy as np
from numpy.typing import NDArray

from scidiff.chem.molecules import fingerprints, tanimoto
from scidiff.data.alphabets import DNA, PEPTIDE, RNA, Alphabet
from scidiff.data.letters import kmer_counts, letter_ids
from scidiff.evaluation.adjacency import adjacency
from scidiff.evaluation.orbits import orbit_counts
from scidiff.rewards.diversity import text_distances

Matrix = NDArray[np.float64]
MAP_WORDS = 400  # k-mers of a map: the largest k with no more of them
TANIMOTO, HAMMING, EDIT = ("Tanimoto similarity, Morgan radius 2", "1 - Hamming distance / length",
                           "1 - edit distance / longer length")
COMPARED = ("molecule", "sequence")  # kinds with a similarity in [0, 1]


def alphabet_of(sequences: Sequence[str]) -> Alphabet:
    """The smallest of the alphabets DNA, RNA and peptide that writes all sequences."""
    letters = set().union(*sequences)
    return next((a for a in (DNA, RNA, PEPTIDE) if letters <= set(a.letters)), PEPTIDE)


def spelled(sequences: Sequence[str], alphabet: Alphabet) -> list[str]:
    """Sequences as the alphabet writes them; those that it cannot write are passed over."""
    found = []
    for text in sequences:
        try:
            found.append(alphabet.spell(text))
        except ValueError:
            continue
    return found


def features(objects: Sequence[Any], kind: str) -> tuple[Matrix, str]:
    """Vectors (B, W) whose Euclidean distances say how different objects are, and their name.

    Molecules: Morgan bits. Sequences: square roots of k-mer frequencies (k = 4 for bases, 2 for
    residues), whose distances are Hellinger's. Graphs: log(1 + x) of the numbers of nodes and
    edges, the mean counts of 15 orbits and the clustering, each scaled to unit variance.
    """
    return FEATURES[kind](objects)


def _bits(mols: Sequence[Any]) -> tuple[Matrix, str]:
    return np.unpackbits(fingerprints(mols), axis=1).astype(np.float64), "Morgan fingerprints"


def _words(texts: Sequence[str]) -> tuple[Matrix, str]:
    alphabet = alphabet_of(texts)
    k = int(np.log(MAP_WORDS) / np.log(len(alphabet.letters)))
    counts = kmer_counts(letter_ids(texts, alphabet.letters), k, len(alphabet.letters))
    total = np.maximum(counts.sum(1, keepdims=True), 1)
    return np.sqrt(counts / total), f"{k}-mer frequencies"


def _shapes(graphs: Sequence[nx.Graph]) -> tuple[Matrix, str]:
    rows = np.array([_shape(g) for g in graphs], np.float64)
    spread = rows.std(0)
    return (rows - rows.mean(0)) / np.where(spread > 0, spread, 1.0), "graph descriptors"


def _shape(graph: nx.Graph) -> NDArray[np.float64]:
    A = adjacency(graph)
    clustering = float(np.mean(list(nx.clustering(graph).values()))) if len(graph) else 0.0
    orbits = orbit_counts(A).mean(0) if len(A) else np.zeros(15)
    return np.log1p([len(A), A.sum() / 2, *orbits, clustering])


FEATURES: Mapping[str, Callable[[Sequence[Any]], tuple[Matrix, str]]] = {
    "molecule": _bits, "sequence": _words, "graph": _shapes}


def principal_axes(vectors: Matrix) -> tuple[Matrix, NDArray[np.float64]]:
    """Places (B, 2) on the two main axes of vectors (B, W), and their share of the variance.

    Signs are fixed (the largest entry of an axis is positive), so that a map does not flip.
    """
    centred = vectors - vectors.mean(0)
    variance, directions = np.linalg.eigh(centred.T @ centred)
    top = directions[:, [-1, -2]]
    top = top * np.sign(top[np.abs(top).argmax(0), [0, 1]])
    total = variance.sum()
    return centred @ top, variance[[-1, -2]] / total if total > 0 else np.zeros(2)


def similarities(objects: Sequence[Any], others: Sequence[Any], kind: str) -> Matrix:
    """How alike objects are to others in [0, 1], (B, C), by `measure_of` both.

    Raises ValueError for a kind that has no such measure.
    """
    measure = measure_of([*objects, *others], kind)
    if measure == TANIMOTO:
        return tanimoto(fingerprints(objects), fingerprints(others)).astype(np.float64)
    if measure == HAMMING:
        letters = "".join(sorted(set().union(*objects, *others)))
        mine, theirs = (np.eye(len(letters), dtype=np.float32)[letter_ids(rows, letters)]
                        .reshape(len(rows), -1) for rows in (objects, others))
        return (mine @ theirs.T / len(objects[0])).astype(np.float64)
    lengths = np.array([len(o) for o in others], np.float64)
    rows = [1 - text_distances(text, others) / np.maximum(lengths, max(len(text), 1))
            for text in objects]
    return np.array(rows, np.float64).reshape(len(objects), len(others))


def measure_of(objects: Sequence[Any], kind: str) -> str:
    """What similarity is: of sequences of one length the share of positions that agree."""
    if kind not in COMPARED:
        raise ValueError("similarities are those of molecules and sequences, got rows of the kind "
                         f"{kind!r}")
    if kind == "molecule":
        return TANIMOTO
    return HAMMING if len({len(o) for o in objects}) == 1 else EDIT


def word_frequencies(sequences: Sequence[str], k: int, alphabet: Alphabet) -> Matrix:
    """Pooled frequencies of all k-mers, (letters^k,); NaN where no row is as long as k."""
    letters = alphabet.letters
    total = kmer_counts(letter_ids(sequences, letters), k, len(letters)).sum(0, dtype=np.float64)
    return total / total.sum() if total.any() else np.full(len(total), np.nan)
