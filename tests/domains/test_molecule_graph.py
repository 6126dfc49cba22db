"""Molecules to graphs and back, as token rows and as dense arrays."""

import pytest
import torch

from scidiff.chem.molecules import canonical
from scidiff.data.graph_tokens import EDGES
from scidiff.data.graphs import GraphState
from scidiff.data.tokens import TokenState, Vocabulary
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
    [("C1CC", "row 2: 'C1CC'"), ("CCl", "row 2: 'CCl' has an unknown token 'Cl'"),
     ("[13CH4]", "isotope"), ("C[CH2]", "radical")],
)  # fmt: skip
def test_what_cannot_be_written_is_named_with_its_row(smiles, message):
    with pytest.raises(ValueError, match="row 2") as caught:
        MoleculeGraphDomain.of(QM9).encode(["CC", smiles])
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
