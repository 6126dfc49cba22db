"""Maps: axes of every kind of object, UMAP where it is installed, and who is drawn how."""

import sys
from importlib import metadata

import networkx as nx
import numpy as np
import pytest
from rdkit import Chem

from scidiff.evaluation import maps
from scidiff.evaluation.likeness import (
    alphabet_of,
    features,
    measure_of,
    principal_axes,
    similarities,
    spelled,
    word_frequencies,
)

MOLS = [Chem.MolFromSmiles(s) for s in ("CCO", "c1ccccc1O", "CC(=O)Nc1ccc(O)cc1", "CCN", "CCCCC")]
WORDS = ["ACGTACGT", "AAAAAAAA", "ACACACAC", "TTTTGGGG"]
GRAPHS = [nx.cycle_graph(6), nx.path_graph(6), nx.complete_graph(4), nx.empty_graph(3)]
OBJECTS = {"molecule": MOLS, "sequence": WORDS, "graph": GRAPHS}


@pytest.mark.parametrize("kind", OBJECTS)
def test_principal_axes_keep_what_there_is_to_keep(kind: str) -> None:
    vectors, name = features(OBJECTS[kind], kind)
    places, shares = principal_axes(vectors)
    assert name and places.shape == (len(vectors), 2) and shares[0] >= shares[1] > 0
    assert np.allclose(places.mean(0), 0) and abs(places[:, 0] @ places[:, 1]) < 1e-9
    # the two largest singular values of the centred vectors
    singular = np.linalg.svd(vectors - vectors.mean(0), compute_uv=False)
    assert np.linalg.norm(places, axis=0) == pytest.approx(singular[:2])
    assert shares == pytest.approx(singular[:2] ** 2 / (singular**2).sum())
    assert np.array_equal(places, principal_axes(vectors)[0])
    same, none = principal_axes(np.repeat(vectors[:1], 4, 0))
    assert np.allclose(same, 0) and none.tolist() == [0, 0]


def test_sequences_are_as_far_apart_as_their_words() -> None:
    (a, b, c), name = features(["AAAA", "CCCC", "AAAACCCC"], "sequence")
    assert name == "4-mer frequencies" and a.shape == (256,)
    assert a @ a == pytest.approx(1) and a @ b == 0  # Hellinger: unit vectors
    assert c @ c == pytest.approx(1) and a @ c == pytest.approx((1 / 5) ** 0.5)
    assert features(["ACDW", "AC"], "sequence")[1] == "2-mer frequencies"


def test_graphs_differ_by_shape_and_not_by_the_order_of_nodes() -> None:
    turned = nx.relabel_nodes(GRAPHS[1], {0: 3, 3: 0})
    vectors, _ = features([*GRAPHS, turned], "graph")
    assert np.allclose(vectors[1], vectors[4]) and not np.allclose(vectors[0], vectors[1])


def test_word_frequencies_are_pooled() -> None:
    dna = alphabet_of(["ACGT"])
    found = word_frequencies(["AAC", "AA", "G"], 2, dna)
    assert found[[0, 1]].tolist() == pytest.approx([2 / 3, 1 / 3]) and found.sum() == 1
    assert np.isnan(word_frequencies(["A", "C"], 3, dna)).all()
    assert spelled(["acgt", "ACX"], dna) == ["ACGT"]


def test_likeness_is_tanimoto_hamming_or_edits() -> None:
    alike = similarities(MOLS, MOLS[:2], "molecule")
    assert alike.shape == (5, 2) and alike[0, 0] == alike[1, 1] == 1 > alike[0, 1]
    assert similarities(["ACGT"], ["ACGA", "TGCA"], "sequence").tolist() == [[0.75, 0]]
    assert similarities(["ACGT"], ["CGT", "ACGTACGT"], "sequence").tolist() == [[0.75, 0.5]]
    assert "Hamming" in measure_of(["AC", "GT"], "sequence")
    with pytest.raises(ValueError, match="molecules and sequences, got rows of the kind 'graph'"):
        similarities(GRAPHS, GRAPHS, "graph")


def test_space_colours_scored_objects_and_greys_the_others() -> None:
    scores = np.array([0.1, 0.9, np.nan, 0.5, np.nan])
    picture = maps.space(MOLS, "molecule", scores, reference=MOLS[:2], method="pca")
    dots = picture.axes[0].collections
    assert [len(d.get_offsets()) for d in dots] == [2, 2, 3]
    assert dots[2].get_array().tolist() == [0.1, 0.5, 0.9]  # the best is drawn last
    assert "three objects" in maps.space(MOLS[:1], "molecule").axes[0].texts[0].get_text()
    with pytest.raises(ValueError, match="method must be one of umap, pca, got 'tsne'"):
        maps.space(MOLS, "molecule", method="tsne")


def _installed() -> bool:
    return any(True for _ in metadata.distributions(name="umap-learn"))


@pytest.mark.skipif(_installed(), reason="umap-learn is installed")
def test_umap_that_is_missing_is_named() -> None:
    with pytest.raises(maps.UmapMissing, match=r"scidiff\[umap\]"):
        maps.space(MOLS, "molecule", method="umap")
    assert "variance" in maps.space(MOLS, "molecule").axes[0].get_xlabel()


def test_umap_is_asked_for_the_same_map_every_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """A stand-in for umap-learn, so that what it is given is tested where it is not installed."""
    told: dict = {}

    class Stub:
        class UMAP:
            def __init__(self, **given):
                told.update(given)

            def fit_transform(self, vectors):
                told["vectors"] = vectors
                return vectors[:, :2]

    monkeypatch.setitem(sys.modules, "umap", Stub)
    vectors = np.random.default_rng(0).normal(size=(40, 5))
    assert maps.place(vectors, "umap").axes[0] == "first axis of UMAP"
    assert told["random_state"] == 0 and told["init"].shape == (40, 2) and told["n_jobs"] == 1
    assert np.abs(told["init"]).max() == 10
    assert "variance" in maps.place(vectors[:15], "umap").axes[0]  # too few for neighbours


@pytest.mark.skipif(not _installed(), reason="needs the extra umap")
def test_umap_keeps_clusters_apart_and_does_not_turn() -> None:
    rng = np.random.default_rng(0)
    vectors = np.concatenate([rng.normal(size=(30, 8)), 20 + rng.normal(size=(30, 8))])
    places = maps.place(vectors, "umap").places
    assert np.array_equal(places, maps.place(vectors, "umap").places)
    gap = np.linalg.norm(places[:30].mean(0) - places[30:].mean(0))
    assert gap > 2 * max(places[:30].std(0).max(), places[30:].std(0).max())
