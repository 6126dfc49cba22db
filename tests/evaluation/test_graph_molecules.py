"""The suite of molecular graphs: causes counted by hand, laws on small sets, floors beside."""

import math
from collections import Counter

import numpy as np
import pytest
from rdkit import Chem
from scipy.stats import wasserstein_distance

from scidiff.data.records import Record
from scidiff.evaluation.molecule_graphs import Causes, molecule_graph_suite
from scidiff.evaluation.molecule_laws import (
    atom_types,
    bond_orders,
    ring_motifs,
    ring_sizes,
    total_variation,
    wasserstein,
)
from scidiff.evaluation.novelty import NoveltyFilter
from scidiff.evaluation.suite import find_suite

LINEAR = ["C" * n for n in range(1, 21)]
CYCLIC = ["C1" + "C" * n + "1" for n in range(2, 8)] * 4


def test_causes_by_hand():
    kekule = Chem.MolFromSmiles("C1=CC=CC=C1", sanitize=False)
    pentavalent = Chem.MolFromSmiles("CC(C)(C)(C)C", sanitize=False)
    rows = [
        "CCO",  # all right
        "CC.O",  # sanitizable, two pieces
        "c1cccc1",  # no atom has too many bonds, but the ring does not kekulise
        pentavalent,
        Record("CN(C)(C)C.C", None, False, "valence: of N"),  # broken and in pieces
        Record("ignored", Chem.MolFromSmiles("C1CC1"), True),
        None, "", "(((",
    ]
    causes = Causes()
    records = list(causes.watch(rows))
    assert [r.valid for r in records] == [True, True, False, False, False, True, *3 * [False]]
    assert (causes.n, causes.valence, causes.sanitizable, causes.connected, causes.both) == (
        9, 4, 3, 4, 2)
    assert "nothing corrected" in causes.metrics()[0].definition
    assert list(Causes().watch([kekule]))[0].obj.GetBondWithIdx(0).GetIsAromatic()
    assert not kekule.GetBondWithIdx(0).GetIsAromatic()  # the caller's molecule is as it was


def test_all_rows_are_in_the_denominator():
    report = molecule_graph_suite([*CYCLIC, *16 * ["F(F)F"]], CYCLIC, fcd=False)
    for name in ("valence_ok", "sanitizable", "valid_and_connected"):
        assert (report[name].value, report[name].n) == (24 / 40, 40)
        assert report[name].low < 24 / 40 < report[name].high
        assert report[name].method == "Wilson"
    assert report["connected"].value == 1
    assert report["unique"].value == 6 / 24
    assert report["nspdk"].value == pytest.approx(0, abs=1e-12)


def test_what_molecules_are_made_of():
    nitrobenzene = Chem.MolFromSmiles("c1ccccc1[N+](=O)[O-]")
    assert Counter(atom_types(nitrobenzene)) == {"C": 6, "[N+]": 1, "O": 1, "[O-]": 1}
    assert Counter(bond_orders(nitrobenzene)) == {"1": 5, "2": 4}
    assert nitrobenzene.GetBondWithIdx(0).GetIsAromatic()
    indole = Chem.MolFromSmiles("c1ccc2[nH]ccc2c1")
    assert sorted(ring_sizes(indole)) == ["5", "6"]
    assert Counter(ring_motifs(indole)) == {"c1cc[nH]c1": 1, "c1ccccc1": 1}
    assert ring_sizes(Chem.MolFromSmiles("C1CCCCCCCCCC1")) == ["9"]


def test_distances_of_laws():
    a, b = Counter({"1": 3, "4": 1}), Counter({"2": 5, "3": 5})
    assert total_variation(a, b) == 1
    assert total_variation(a, Counter({"1": 1, "4": 1})) == 0.25
    assert wasserstein(a, b) == wasserstein_distance([1, 1, 1, 4], [2, 3])
    assert math.isnan(total_variation(a, Counter()))
    assert math.isnan(wasserstein(Counter(), a))


def test_every_distance_sees_what_it_is_for():
    """Alkanes against rings: same atoms and bonds, no ring in common; aromatic ones differ in
    bonds too."""
    report = molecule_graph_suite(LINEAR, CYCLIC, fcd=False)
    assert report["atom_type_tv"].value == 0
    assert report["bond_order_tv"].value == 0
    assert report["rings_per_molecule_w1"].value == 1
    assert math.isnan(report["ring_size_tv"].value)  # there are no rings to compare
    assert report["nspdk"].value > 0.3
    rings = molecule_graph_suite(10 * ["c1ccccc1", "C1CC1"], CYCLIC, fcd=False)
    assert rings["ring_size_tv"].value == pytest.approx(2 / 3)
    assert rings["ring_motif_tv"].value == pytest.approx(5 / 6)
    assert "rings 3 0.500, 6 0.500; reference 3 0.167" in rings["ring_size_tv"].note
    # 10 x 3 double bonds of 10 x 9
    assert rings["bond_order_tv"].value == pytest.approx(1 / 3)


def test_training_molecules_stand_beside():
    train = [*LINEAR, *CYCLIC] * 3
    report = molecule_graph_suite(CYCLIC, [*LINEAR, *CYCLIC], train=train, fcd=False)
    assert report["nspdk_floor"].n == report["nspdk"].n == 24
    assert report["nspdk_floor"].value < report["nspdk"].value
    assert f"{report['nspdk_floor'].value:.4f}" in report["nspdk"].note
    assert report["novelty"].value == 0
    known = NoveltyFilter.build(["C1CC1"])
    alone = molecule_graph_suite(CYCLIC, CYCLIC, train=known, fcd=False)
    assert alone["novelty"].value == pytest.approx(5 / 6, abs=0.02)
    assert "nspdk_floor" not in [m.name for m in alone]


def test_fcd_and_its_floor():
    pytest.importorskip("fcd_torch")
    report = molecule_graph_suite(LINEAR, CYCLIC, floor=CYCLIC, fcd=True)
    assert report["fcd"].value > 5
    assert report["fcd_floor"].value < 0.5 * report["fcd"].value
    assert report["fcd"].n == report["fcd_floor"].n == 20


def test_few_rows_give_nan_and_say_why():
    report = molecule_graph_suite(["CCO"], CYCLIC, fcd=False)
    assert math.isnan(report["nspdk"].value)
    assert report["nspdk"].note == "needs 10 valid rows"
    assert molecule_graph_suite(CYCLIC, CYCLIC, floor=["CCO"], fcd=False)["nspdk"].note == (
        f"reference {len(CYCLIC)}")
    assert molecule_graph_suite(LINEAR, CYCLIC, fcd=False)["ring_size_tv"].note == (
        "one side has none")
    nothing = molecule_graph_suite([None, "((("], CYCLIC, fcd=False)
    assert nothing["sanitizable"].value == 0
    assert nothing["sanitizable"].n == 2
    with pytest.raises(ValueError, match="reference must hold at least one molecule, got 2 rows"):
        molecule_graph_suite(LINEAR, [None, "((("], fcd=False)


def test_suites_are_found_by_name():
    found = find_suite("molecule_graph").measure(LINEAR, reference=CYCLIC, fcd=False)
    assert found.provenance["suite"] == "molecule_graph"
    path, square = np.eye(4, k=1) + np.eye(4, k=-1), 1 - np.eye(4)
    found = find_suite("graph").measure(iter([Record("", path, True)]), reference=[square],
                                        train=NoveltyFilter.build(["C"]))
    assert found["mmd_degree_emd"].value > 0
    assert "novel" not in [m.name for m in found]  # names of molecules know no graphs
    for name in ("graph", "molecule_graph"):
        with pytest.raises(ValueError, match=f"suite '{name}' needs a reference"):
            find_suite(name).measure(LINEAR)
