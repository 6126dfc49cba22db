"""The suite of molecules in space: counts by hand, files, and QM9."""

import math

import numpy as np
import pytest
from placed import METHANE, WATER, moved, named, placed, qm9_rows, scaled
from rdkit import Chem

import scidiff as sd
from scidiff.chem.constants import BOHR
from scidiff.chem.geometry import mol_of
from scidiff.core import ScidiffError
from scidiff.data.points import Points
from scidiff.data.records import Record
from scidiff.data.xyz import write_xyz
from scidiff.evaluation import structure_suite
from scidiff.evaluation.geometry_laws import Law
from scidiff.evaluation.geometry_reference import GeometryReference
from scidiff.evaluation.structure_suite import as_geometry, flat_name
from scidiff.rewards.poses import PoseBusters
from scidiff.rewards.singly import ExtraMissing

ETHANOL = placed("CCO")
BROKEN = named(METHANE, 7, 1, 1, 1, 1)  # NH4 without its charge: 4 of 5 atoms stable
APART = moved(METHANE, 1, (3, 0, 0))  # sanitised as CH3 and H; 3 of 5 stable
LOST = moved(WATER, 0, (np.nan, 0, 0))
ROWS = [METHANE, METHANE, WATER, ETHANOL, BROKEN, APART, LOST]


def missing(measure):
    raise ExtraMissing("posebusters needs posebusters: pip install 'scidiff[poses]'")


@pytest.fixture(scope="module", autouse=True)
def without_posebusters():
    """A second a molecule: it is asked for where it is tested."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(structure_suite, "PoseBusters", missing)
        yield


@pytest.fixture(scope="module")
def reference():
    return GeometryReference.fit("three", Law(map(mol_of, (METHANE, WATER, ETHANOL))))


@pytest.fixture(scope="module")
def report(reference):
    return sd.evaluate(ROWS, suite="3d", reference=reference)


@pytest.mark.parametrize("name, value, n", [
    ("atom_stable", (5 + 5 + 3 + 9 + 4 + 3 + 0) / (5 + 5 + 3 + 9 + 5 + 5 + 3), 35),
    ("mol_stable", 4 / 7, 7), ("valid", 5 / 7, 7), ("valid_edm", 5 / 7, 7),
    ("valid_rdkit", 4 / 7, 7), ("valid_unique_edm", 4 / 7, 7), ("connected", 4 / 7, 7),
    ("unique", 4 / 5, 5)])
def test_shares_by_hand(report, name, value, n):
    metric = report[name]
    assert metric.value == pytest.approx(value, abs=1e-12) and metric.n == n
    assert metric.low <= metric.value <= metric.high or math.isnan(metric.low)


def test_reasons_of_invalid_rows_are_told(report):
    assert report.provenance["invalid"]["n"] == 2
    assert "1 x valence: N has valence 4, more than it can carry" in str(report)
    assert "coordinates: 1 of 3 atoms have places that are not finite" in str(report)


def test_sound_structures_are_at_no_distance_and_without_strain(report):
    for name in ("bond_length_w1", "bond_angle_w1"):
        assert report[name].value < 0.05 and report[name].n == 4  # valid by the rule rdkit
    assert report["strain_mmff"].value < 0.1 and report["relaxation_rmsd_mmff"].value < 0.02
    assert report["strain_mmff"].n == 4
    assert report["strain_mmff"].note == "1 of 5 without parameters"  # the methyl radical


def test_posebusters_is_absent_with_the_command_that_installs_it(report):
    for name in ("posebusters", "posebusters_relaxed"):
        assert math.isnan(report[name].value)
        assert "pip install 'scidiff[poses]'" in report[name].note


def test_posebusters_itself(monkeypatch, reference):
    pytest.importorskip("posebusters", reason="needs the extra poses")
    monkeypatch.setattr(structure_suite, "PoseBusters", PoseBusters)
    stretched = mol_of(ETHANOL)
    place = stretched.GetConformer().GetAtomPosition(0)
    stretched.GetConformer().SetAtomPosition(0, [place.x - 1, place.y, place.z])
    found = sd.evaluate([mol_of(ETHANOL), stretched], suite="3d", reference=reference)
    assert (found["posebusters"].value, found["posebusters_relaxed"].value) == (0.5, 1)


def test_posebusters_counts_every_row(monkeypatch, reference):
    class Half:
        def __init__(self, measure):
            assert measure == "all"

        def answers(self, mols):
            class Answer:
                def __init__(self, value):
                    self.value = value

            return [Answer(float(m.GetNumAtoms() == 5)) for m in mols]

    monkeypatch.setattr(structure_suite, "PoseBusters", Half)
    found = sd.evaluate(ROWS, suite="3d", reference=reference)["posebusters"]
    assert found.value == pytest.approx(3 / 7) and found.n == 7  # both methanes and CH3.H
    monkeypatch.setattr(structure_suite, "BUSTED", 2)
    found = sd.evaluate(ROWS, suite="3d", reference=reference)["posebusters"]
    assert found.note == "from 2 valid rows, evenly spaced"
    assert found.n == 3 and found.value == pytest.approx(2 / 3)  # 2 of 5 valid stand for 7 rows


def test_a_unit_taken_for_angstrom_is_reported_and_not_converted(reference):
    given = [scaled(p, 1 / BOHR) for p in (WATER, METHANE, ETHANOL)]
    found = sd.evaluate(given, suite="3d", reference=reference)
    assert found["mol_stable"].value == 0
    assert any("3 of 3 structures look like bohr, not angstrom: read them with units='bohr' "
               "(times 0.5292); nothing was converted" in note for note in found.notes)


def test_rows_of_every_origin_measure_alike(tmp_path, reference, report):
    valid = [METHANE, METHANE, WATER, ETHANOL, APART]
    (tmp_path / "x.xyz").write_text("".join(map(write_xyz, valid)))
    mols = [mol_of(p) for p in valid]
    with Chem.SDWriter(str(tmp_path / "x.sdf")) as writer:
        for mol in mols:
            writer.write(mol)
    records = [Record(Chem.MolToSmiles(m), m, True) for m in mols]
    found = [sd.evaluate(rows, suite="3d", reference=reference)
             for rows in (valid, mols, records, tmp_path / "x.xyz", tmp_path / "x.sdf")]
    for metric in found[0]:
        for other in found[1:]:
            assert other[metric.name].value == pytest.approx(metric.value, abs=2e-3, nan_ok=True)


def test_an_invalid_row_of_a_file_keeps_its_place_and_its_atoms(tmp_path, reference):
    text = "".join(map(write_xyz, (METHANE, BROKEN))) + "1\n\nXx 0 0 0\n"
    (tmp_path / "x.xyz").write_text(text)
    found = sd.evaluate(tmp_path / "x.xyz", suite="3d", reference=reference)
    assert found["valid"].value == pytest.approx(1 / 3)
    assert found["atom_stable"].value == pytest.approx(9 / 10)
    assert "row 2: (nothing): valence: N0 has valence 4" in str(found)
    assert "row 3: (nothing): line 17: 'Xx' is no element" in str(found)


def test_bonds_of_the_rows_own_are_kept(reference):
    double = np.zeros((5, 5), int)
    double[0, 1:] = double[1:, 0] = 2
    found = sd.evaluate([Points.of(METHANE.numbers, METHANE.positions, None, double)],
                        suite="3d", reference=reference)
    assert (found["valid"].value, found["valid_edm"].value) == (0, 1)


def test_points_of_an_invalid_record_count(reference):
    row = Record("", None, False, "radical: no", METHANE, "bonds: model")
    found = sd.evaluate([row, row], suite="3d", reference=reference)
    assert (found["valid"].value, found["mol_stable"].value, found["valid_edm"].value) == (0, 1, 1)


def test_edm_reads_no_charges(reference):
    found = sd.evaluate([placed("C[NH3+]")], suite="3d", reference=reference)
    assert (found["valid_edm"].value, found["valid_rdkit"].value) == (0, 1)
    assert found["atom_stable"].value == 7 / 8


def test_rows_without_a_structure_are_refused(tmp_path):
    (tmp_path / "x.smi").write_text("CCO\nC\n")
    for rows in (["CCO", "C"], [Chem.MolFromSmiles("CCO")], tmp_path / "x.smi"):
        with pytest.raises(ScidiffError, match="has a structure in space: give an .sdf or .xyz"):
            sd.evaluate(rows, suite="3d")


def test_a_name_has_no_stereo_and_no_hydrogen():
    assert flat_name(mol_of(placed("C/C=C/[C@H](O)N"))) == "CC=CC(N)O"
    assert flat_name(mol_of(placed("CC=N"))) == "CC=N"


def test_a_reference_of_ones_own(tmp_path, reference):
    (tmp_path / "x.xyz").write_text("".join(map(write_xyz, (METHANE, WATER, ETHANOL))))
    reference.save(tmp_path / "x.npz")
    for given in (reference, tmp_path / "x.npz", tmp_path / "x.xyz", [METHANE, WATER, ETHANOL]):
        assert as_geometry(given).counts == reference.counts


def test_novelty_against_a_list(reference):
    found = sd.evaluate([METHANE, WATER, ETHANOL], suite="3d", reference=reference,
                        train=["C", "CC"])
    assert found["novelty"].value == pytest.approx(2 / 3)


def test_qm9_itself(shared_data):
    rows = qm9_rows(shared_data, range(0, 130_000, 1300))[0]
    found = sd.evaluate(rows, suite="3d")
    assert found["mol_stable"].value == pytest.approx(0.952, abs=0.03)
    assert found["valid_rdkit"].value == 1
    assert "published values beside yours" in str(found) and "(Train 0.952)" in str(found)
