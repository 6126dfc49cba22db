"""Molecules to graphs and back, as token rows and as dense arrays."""

import gzip

import numpy as np
import pytest
import torch

from scidiff.chem.molecules import canonical
from scidiff.data import datasets
from scidiff.data.graph_tokens import EDGES
from scidiff.data.graphs import GraphState
from scidiff.data.tokens import TokenState, Vocabulary
from scidiff.domains.domain import find_domain, spelled
from scidiff.domains.molecule_graph import QM9, ZINC250K, MoleculeGraphDomain

CHARGED = MoleculeGraphDomain(Vocabulary((*EDGES, *QM9, "[N+]", "[O-]"), "graph"))
SMILES = ["CCO", "C#N", "c1ccccc1", "C[N+](=O)[O-]", "[NH3+]CC([O-])=O", "O"]


def test_text_of_a_graph_is_its_lower_triangle():
    assert MoleculeGraphDomain.spell("CCO") == "CC-O.-"


def test_molecules_survive_the_round_trip_with_their_charges():
    records = CHARGED.decode(CHARGED.encode(SMILES))
    assert [r.text for r in records] == [canonical(s) for s in SMILES]
    assert all(r.valid for r in records)
    assert CHARGED.keys([CHARGED.spell(s) for s in SMILES]) == [canonical(s) for s in SMILES]


def test_dense_arrays_hold_the_same_molecules():
    state = CHARGED.encode_graphs(SMILES)
    assert state.mask.sum(1).tolist() == [3, 2, 6, 4, 5, 1]
    assert [r.text for r in CHARGED.decode(state)] == [canonical(s) for s in SMILES]


def test_an_absent_atom_or_a_fragment_is_a_row_with_a_reason():
    domain = MoleculeGraphDomain.of(QM9)
    state = domain.encode_graphs(["CCO", "CCO", "CCO"])
    X, A = state.X.clone(), state.A.clone()
    A[0, 0, 1] = A[0, 1, 0] = 0
    X[1] = 0
    A[2, 0, 1] = A[2, 1, 0] = 3
    A[2, 1, 2] = A[2, 2, 1] = 2
    records = domain.decode(GraphState(X, A, state.mask))
    assert [r.valid for r in records] == [False, False, False]
    assert [r.reason.split(":")[0] for r in records] == ["connected", "atoms", "valence"]
    published = MoleculeGraphDomain.of(QM9, rules=("valence",))
    assert [r.valid for r in published.decode(GraphState(X, A, state.mask))] == [True, True, False]


def test_a_row_that_is_not_finished_is_not_repaired():
    ids = CHARGED.encode(["CCO"]).ids
    ids[0, 1] = CHARGED.vocabulary.mask_id
    record = CHARGED.decode(TokenState(ids))[0]
    assert not record.valid and record.reason.startswith("unfinished")


@pytest.mark.parametrize(
    ("smiles", "message"),
    [("C1CC", "row 2: 'C1CC'"), ("CCl", "row 2: 'CCl': has atom type Cl"),
     ("[13CH4]", "isotope"), ("C[CH2]", "radical"),
     ("CCCCC", "has 5 atoms, the model takes at most 4"),
     ("[PH5]", "atom 1 (P) has 5 hydrogens where its bonds imply 3"),
     ("C$C", "order 4, expected 1, 2 or 3")],
)  # fmt: skip
def test_what_cannot_be_written_is_named_with_its_row(smiles, message):
    with pytest.raises(ValueError, match="row 2") as caught:
        MoleculeGraphDomain.of(QM9).encode(["CC", smiles], max_nodes=4)
    assert message in str(caught.value)


def test_wrong_rules_and_features_are_refused():
    with pytest.raises(ValueError, match="tidy"):
        MoleculeGraphDomain.of(QM9, rules=("tidy",))
    with pytest.raises(ValueError, match="expected 9 features, got 4"):
        MoleculeGraphDomain.of(ZINC250K).decode(MoleculeGraphDomain.of(QM9).encode_graphs(["C"]))


def test_hidden_entries_are_blank_in_the_dense_arrays():
    ids = CHARGED.encode(["CCO"]).ids
    ids[0, 0] = ids[0, 2] = CHARGED.vocabulary.mask_id
    from scidiff.data.graph_tokens import to_graphs

    state = to_graphs(ids, CHARGED.vocabulary)
    assert state.mask.tolist() == [[True, True, True]]
    assert float(state.X[0, 0].sum()) == 0 and float(state.A[0, 0, 1]) == 0
    assert torch.equal(state.A, state.A.mT)


def explicit(*atoms):
    vocabulary = Vocabulary((*EDGES[:4], "H", *QM9, "[N+]", "[O-]", *atoms), "graph")
    return MoleculeGraphDomain(vocabulary, hydrogens="explicit")


def test_hydrogens_can_be_nodes():
    domain = explicit()
    state = domain.encode(SMILES)
    assert domain.encode_graphs(SMILES).mask.sum(1).tolist() == [9, 3, 12, 7, 10, 3]
    records = domain.decode(state)
    assert [r.text for r in records] == [canonical(s) for s in SMILES]
    assert [domain.key(r) for r in records] == [canonical(s) for s in SMILES]
    by_name = find_domain("molecule_graph_h")
    again = by_name(domain.vocabulary)
    texts = spelled(by_name, SMILES)
    assert texts[-1] == "OH-H-." and again.keys(texts) == [canonical(s) for s in SMILES]
    assert [r.text for r in again.decode(again.encode(SMILES))] == [r.text for r in records]


def test_explicit_hydrogens_are_not_made_up():
    domain = explicit()
    ids = domain.encode(["CO"]).ids
    last = domain.vocabulary.symbols.index("H") + 2
    assert int((ids == last).sum()) == 4
    state = domain.encode_graphs(["CO"])
    state.mask[0, -1] = False
    record = domain.decode(state)[0]
    assert not record.valid and "free valence" in record.reason
    implicit = MoleculeGraphDomain(domain.vocabulary)
    assert implicit.decode(state)[0].valid
    with pytest.raises(ValueError, match="hydrogens must be implicit or explicit, got 'none'"):
        MoleculeGraphDomain(domain.vocabulary, hydrogens="none")


FEW_OR_MANY = [1, pytest.param(20, marks=pytest.mark.slow)]


@pytest.mark.parametrize("many", FEW_OR_MANY)
@pytest.mark.parametrize("hydrogens", ["implicit", "explicit"])
def test_data_sets_come_back_whole(hydrogens, many):
    """Every 400th molecule of QM9, or every 20th: decode(encode(x)) is x without stereo."""
    check_round_trip(datasets.load("qm9").objects()[:: 400 // many], hydrogens)


@pytest.mark.parametrize("many", FEW_OR_MANY)
@pytest.mark.parametrize("hydrogens", ["implicit", "explicit"])
def test_zinc_comes_back_whole(shared_data, hydrogens, many):
    with gzip.open(shared_data / "zinc250k.smi.gz", "rt") as file:
        check_round_trip(file.read().split()[:: 2500 // many], hydrogens)


def check_round_trip(smiles, hydrogens):
    name = {"implicit": "molecule_graph", "explicit": "molecule_graph_h"}[hydrogens]
    texts = spelled(find_domain(name), smiles)
    domain = MoleculeGraphDomain(Vocabulary.build(texts, "graph"), hydrogens=hydrogens)
    plain = [canonical(s, stereo=False) for s in smiles]
    assert [r.text for r in domain.decode(domain.encode(smiles))] == plain
    assert domain.keys(texts) == plain


def test_keys_do_not_depend_on_the_order_of_atoms():
    rng = np.random.default_rng(0)
    state = CHARGED.encode_graphs(["CC(=O)NC1CC1"])
    for _ in range(5):
        order = torch.from_numpy(rng.permutation(7))
        moved = GraphState(
            state.X[:, order], state.A[:, order][:, :, order], state.mask[:, order])
        assert CHARGED.key(CHARGED.decode(moved)[0]) == canonical("CC(=O)NC1CC1")
