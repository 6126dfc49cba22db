"""What a report's page is told: molecules as graphs, columns, published values, and nothing that
can run."""

import base64
import hashlib
import json
import math
import re

import networkx as nx
import numpy as np
import pytest
from rdkit import Chem

from scidiff.data.records import Record
from scidiff.domains.smiles import molecule_record
from scidiff.evaluation.baselines import baselines
from scidiff.evaluation.metric import Metric
from scidiff.evaluation.web.contents import Campaign, Contents, Run
from scidiff.evaluation.web.document import as_json, document
from scidiff.evaluation.web.molecules import (
    AROMATIC,
    DASHED,
    RING,
    SOLID,
    broken_places,
    packed_graph,
    packed_molecule,
    packed_row,
)
from scidiff.evaluation.web.page import page, policy, script, subtitle
from scidiff.evaluation.web.standing import (
    NEAR,
    comparable_values,
    metrics_table,
    nearest,
    refused,
)

SMILES = ["CCO", "c1ccccc1O", "C[N+](C)(C)C", "[2H]C([2H])O", "C/C=C/C", "O=C([O-])c1ccccn1",
          "N[C@@H](C)C(=O)O", "c1ccc2[nH]ccc2c1", "C#N", "[Na+].[Cl-]", "*c1ccccc1"]


def run(records, name="a", **more):
    return Run(name, "molecule", records, range(2, 2 + len(records)), len(records), **more)


def contents(*runs, **more):
    return Contents("title", runs, **more)


@pytest.mark.parametrize("smiles", SMILES)
def test_a_packed_molecule_is_its_graph(smiles):
    mol = Chem.MolFromSmiles(smiles)
    told = packed_molecule(mol)
    symbols = [("*a" if a.GetSymbol() == "*" else a.GetSymbol().lower()) if a.GetIsAromatic()
               else a.GetSymbol() for a in mol.GetAtoms()]
    assert told["a"].split(" ") == symbols
    assert [int(h) for h in told["h"]] == [a.GetTotalNumHs() for a in mol.GetAtoms()]
    charges = {a.GetIdx(): a.GetFormalCharge() for a in mol.GetAtoms() if a.GetFormalCharge()}
    assert told.get("q", {}) == charges
    assert told.get("i", {}) == {a.GetIdx(): 2 for a in mol.GetAtoms() if a.GetIsotope()}
    assert len(told["p"]) == 2 * mol.GetNumAtoms()
    for k, bond in enumerate(mol.GetBonds()):
        a, b, code = told["b"][3 * k:3 * k + 3]
        assert {a, b} == {bond.GetBeginAtomIdx(), bond.GetEndAtomIdx()}
        assert bool(code & AROMATIC) == bond.GetIsAromatic()
        assert bool(code & RING) == bond.IsInRing()
        if not bond.GetIsAromatic():
            assert code & 3 == bond.GetBondTypeAsDouble()


def test_aromatic_bonds_have_an_order_to_be_drawn_with():
    told = packed_molecule(Chem.MolFromSmiles("c1ccccc1"))
    assert sorted(code & 3 for code in told["b"][2::3]) == [1, 1, 1, 2, 2, 2]


def test_a_stereocentre_has_a_wedge_and_the_given_molecule_none():
    mol = Chem.MolFromSmiles("N[C@@H](C)C(=O)O")
    assert any(code & (SOLID | DASHED) for code in packed_molecule(mol)["b"][2::3])
    assert mol.GetNumConformers() == 0
    flat = packed_molecule(Chem.MolFromSmiles("NC(C)C(=O)O"))
    assert not any(code & (SOLID | DASHED) for code in flat["b"][2::3])


def test_places_are_those_of_a_drawing():
    x = np.reshape(packed_molecule(Chem.MolFromSmiles("c1ccccc1"))["p"], (6, 2))
    lengths = np.linalg.norm(x - np.roll(x, 1, 0), axis=1)
    assert np.all(np.abs(lengths - 30) < 1)  # 1.5 angstrom, 20 units each


def packed(smiles):
    record = molecule_record(smiles)
    return packed_row(record, Chem.MolFromSmiles(smiles) if record.valid else None)


def test_a_broken_molecule_is_drawn_as_written_with_the_atoms_of_the_rule():
    assert packed("CN(C)(C)(C)C")["m"] == [1]
    ring = packed("c1ccncc1c")
    assert ring["m"] and all(code & AROMATIC for code in ring["b"][2::3])
    apart = Record("CCO.C", None, False, "2 pieces, expected one")
    assert packed_row(apart, None)["m"] == [3]
    other = Record("CCO", None, False, "a rule of somebody else")
    assert "m" not in packed_row(other, None)


def test_a_text_that_cannot_be_drawn_says_where_it_is_wrong():
    record = molecule_record("CCBr(C")
    assert packed_row(record, None) is None
    assert [record.text[a:b] for a, b in broken_places(record)] == ["Br"]
    assert packed_row(Record("", None, False, "nothing"), None) is None


def test_graphs_keep_types_of_nodes_and_edges():
    graph = nx.path_graph(3)
    assert packed_graph(graph) == {"n": 3, "e": [0, 1, 1, 2]}
    nx.set_node_attributes(graph, {0: "C", 1: "N", 2: "C"}, "type")
    graph.edges[0, 1]["type"] = 2
    assert packed_graph(graph) == {"n": 3, "e": [0, 1, 1, 2], "t": ["C", "N", "C"], "w": [2, 1]}


# ---------------------------------------------------------------- the document


def test_rows_of_all_runs_stand_in_one_table():
    first = run([molecule_record(s) for s in ("CCO", "CC(C", "CCN")],
                columns={"score": [0.5, math.nan, 1], "kind": ["x", "y", None],
                         "none": ["", None, ""]})
    second = run([molecule_record("c1ccccc1")], "b", columns={"other": [2.123456789]})
    told = document(contents(first, second))
    assert told["run"] == [0, 0, 0, 1] and told["place"] == [2, 3, 4, 2]
    assert told["why"] == [0, 1, 0, 0] and told["reasons"] == ["'(' at position … is never closed"]
    assert told["full"] == {1: "'(' at position 3 is never closed"}
    columns = {c["name"]: c["values"] for c in told["columns"]}
    assert columns["score"] == [0.5, None, 1, None]
    assert columns["kind"] == ["x", "y", "", ""]
    assert columns["other"] == [None, None, None, 2.12346]
    assert "none" not in columns
    assert columns["weight, g/mol"][0] == pytest.approx(46.069, abs=1e-3)
    assert columns["QED"][1] is None and columns["map 1"][1] is None
    assert told["drawn"][1] is None and told["marks"] == {1: [[1, 2]]}


def test_a_column_of_the_input_keeps_its_name_and_values():
    told = document(contents(run([molecule_record("CCO")], columns={"QED": [7.0]})))
    columns = {c["name"]: c["values"] for c in told["columns"]}
    assert columns["QED"] == [7.0] and 0 < columns["QED (scidiff)"][0] < 1


def test_two_molecules_have_no_map():
    told = document(contents(run([molecule_record("CCO"), molecule_record("CC(C")])))
    assert told["about"] == "" and "map 1" not in [c["name"] for c in told["columns"]]


def test_all_invalid_and_one_row_are_pages_too():
    for records in ([molecule_record("CC(C")] * 3, [molecule_record("CCO")]):
        assert "Rows and plots" in page(contents(run(records)))


def test_a_reference_lies_behind_the_plots_and_in_no_table():
    behind = run([molecule_record(s) for s in ("CCC", "CCCC")], "reference")
    told = document(contents(run([molecule_record("CCO")]), reference=behind))
    assert told["text"] == ["CCO"] and all(len(c["values"]) == 1 for c in told["columns"])
    assert [len(told["behind"]["columns"][name]) for name in ("QED", "map 1")] == [2, 2]


def test_sequences_name_their_alphabet_and_their_measures():
    rows = [Record(s, s, True) for s in ("ACGT", "GGGG", "ATAT", "ACACAC")]
    told = document(Contents("t", [Run("a", "sequence", rows, range(4), 4)]))
    columns = {c["name"]: c["values"] for c in told["columns"]}
    assert told["letters"] == "DNA" and columns["length"] == [4, 4, 4, 6]
    assert columns["GC"] == [0.5, 1, 0, 0.5] and told["drawn"] == []


def test_of_a_campaign_all_that_nothing_beats_is_kept():
    terms = {"a": [0.0, 1.0, 0.9, math.nan], "b": [1.0, 0.0, -0.1, 2.0]}
    campaign = Campaign({"asked": [2, 4], "best": [0.5, 0.9]}, {}, ["CCO", "CCN", "CCC", "CCF"],
                        terms)
    told = document(contents(run([molecule_record("CCO")], campaign=campaign)))["campaigns"][0]
    assert told["best"] == [1, 1, 0, 0] and sorted(told["drawn"]) == [0, 1]
    assert told["terms"]["a"] == [0, 1, 0.9, None] and told["history"]["best"] == [0.5, 0.9]


def test_equal_contents_give_equal_bytes():
    made = [page(contents(run([molecule_record(s) for s in SMILES]))) for _ in range(2)]
    assert made[0] == made[1]


# ---------------------------------------------------------------- nothing runs, nothing is fetched

HOSTILE = "</script><script>window.hacked=1</script><img src=x onerror=alert(1)>&\u2028"


def test_no_text_can_end_the_document_or_begin_an_element():
    text = as_json({"text": HOSTILE})
    assert not set("<>&\u2028") & set(text) and json.loads(text) == {"text": HOSTILE}
    row = Record("C", None, False, HOSTILE)
    made = page(Contents(HOSTILE, [run([row, molecule_record("CCO")], HOSTILE, notes=[HOSTILE],
                                       metrics=[Metric(HOSTILE, 1, 0, 2, 3, HOSTILE, HOSTILE)],
                                       reasons={HOSTILE: 2}, columns={HOSTILE: [HOSTILE, None]},
                                       provenance={HOSTILE: HOSTILE})]))
    assert made.count("</script>") == 2 and made.count("<script") == 2
    assert "<img" not in made


def test_the_policy_allows_this_script_alone():
    digest = base64.b64encode(hashlib.sha256(script().encode()).digest()).decode()
    assert f"script-src 'sha256-{digest}'" in policy() and "default-src 'none'" in policy()
    made = page(contents(run([molecule_record("CCO")])))
    assert f"<script>{script()}</script>" in made
    assert not re.search(r"(src|href)\s*=\s*['\"]?(https?:|//)|@import|url\(", made)
    assert not re.search(r"[.]innerHTML|insertAdjacent|document[.]write|\beval\(|new Function",
                         script())


# ---------------------------------------------------------------- metrics beside published values


def metric(name, value, n=30_000):
    return Metric(name, value, value - 0.01, value + 0.01, n, "what it is")


def measured(*metrics, rows, name="a"):
    return Run(name, "molecule", [molecule_record("CCO")], [1], rows, {}, metrics, rows)


def test_published_values_of_the_same_convention_stand_beside_a_metric():
    told = contents(measured(metric("fcd_test", 0.1), metric("valid", 0.9), rows=30_000),
                    suite="moses")
    known = comparable_values([metric("fcd_test", 0.1)], told.runs, "moses")
    assert known == baselines("moses", metric="fcd_test") and known
    table = metrics_table(told)
    assert "Train 0.008" in table and "CharRNN" in table and "Polykovskiy et al. 2020" in table
    assert refused(told) == []
    assert "Train" not in metrics_table(contents(*told.runs))  # a description has no convention


def test_far_values_do_not_squeeze_the_axis():
    known = baselines("moses", metric="valid")
    found = [metric("valid", 0.94), metric("valid", 0.6)]
    near = nearest(found, known)
    assert near[0].model == "Train" and len(near) == NEAR + 1
    far = max(min(abs(b.value - m.value) for m in found) for b in near[1:])
    left_out = [b for b in known if b not in near]
    assert left_out and all(min(abs(b.value - m.value) for m in found) >= far for b in left_out)
    assert nearest(found, []) == []


def test_values_of_another_convention_are_refused():
    told = contents(measured(metric("fcd_test", 0.1), metric("valid", 0.9), rows=30_000),
                    measured(metric("fcd_test", 0.2), metric("valid", 0.8), rows=1_000, name="b"),
                    suite="moses")
    assert comparable_values([m.metrics[0] for m in told.runs], told.runs, "moses") == []
    assert comparable_values([m.metrics[1] for m in told.runs], told.runs, "moses")
    (line,) = refused(told)
    assert "fcd_test" in line and "valid" not in line and "30,000" in line and "1,000" in line
    assert "different numbers of rows" in metrics_table(told)


def test_a_metric_one_run_lacks_is_a_dash():
    told = contents(measured(metric("valid", 0.9), rows=10), measured(
        metric("valid", 0.8), metric("novelty", math.nan), rows=10, name="b"))
    table = metrics_table(told)
    assert table.count("–</td>") == 1 and "<b>–</b>" in table


def test_the_subtitle_says_what_is_left_out():
    some = Run("a", "molecule", [molecule_record("CCO"), molecule_record("C(")], [1, 9], 20)
    assert subtitle(contents(some)) == "a: 20 rows, 2 of them shown, 1 valid of these"
