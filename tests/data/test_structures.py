"""Molecules in space in and out of files: XYZ and SDF."""

import gzip
import json

import numpy as np
import pytest
from placed import METHANE, WATER, placed, qm9_rows
from rdkit import Chem

import scidiff as sd
from scidiff.api.results import SampleResult
from scidiff.chem.constants import BOHR
from scidiff.chem.geometry import mol_of
from scidiff.data import datasets, tables
from scidiff.data.formats import TableError
from scidiff.data.packages import DatasetError
from scidiff.data.points import Points
from scidiff.data.records import Record
from scidiff.data.structures import load_points, read_structures
from scidiff.data.xyz import write_xyz


def written(folder, text, name="x.xyz"):
    (folder / name).write_text(text)
    return folder / name


def test_several_molecules_come_back_as_they_were(tmp_path):
    given = [WATER, METHANE, placed("CC(=O)N")]
    file = written(tmp_path, "".join(write_xyz(p, f"no {i}\n") for i, p in enumerate(given)))
    found = list(read_structures(file))
    assert [(s.number, s.name, s.problem) for s in found] == [
        (i + 1, f"no {i}", "") for i in range(3)]
    for structure, points in zip(found, given, strict=True):
        np.testing.assert_array_equal(structure.points.numbers, points.numbers)
        np.testing.assert_allclose(structure.points.positions, points.positions, atol=5e-7)


def test_a_packed_file_in_bohr(tmp_path):
    file = tmp_path / "x.xyz.gz"
    file.write_bytes(gzip.compress(write_xyz(WATER).encode()))
    found = next(read_structures(file, units="bohr")).points.positions
    np.testing.assert_allclose(found, WATER.positions * BOHR, atol=1e-6)
    with pytest.raises(ValueError, match="units must be one of angstrom, bohr"):
        next(read_structures(file, units="furlong"))


@pytest.mark.parametrize("text, numbers, name", [
    ("1\n\nHe 0 0 0\n", [2], ""),
    ("2\nx y\n8 0 0 0 -0.8\nh\t0 0 1 0.4\n\n\n", [8, 1], "x y"),
    ('1\nProperties=species:S:1:pos:R:3:forces:R:3 pbc="F F F"\nCl 1e0 -2 3. 0 0 0\n', [17],
     'Properties=species:S:1:pos:R:3:forces:R:3 pbc="F F F"'),
    ("  1 \nno last line feed\nNa 0 0 0", [11], "no last line feed")])
def test_what_is_in_use(tmp_path, text, numbers, name):
    found, = read_structures(written(tmp_path, text))
    assert (found.problem, found.name, found.points.numbers.tolist()) == ("", name, numbers)


def test_columns_behind_the_places_are_left_out(tmp_path):
    found, = read_structures(written(tmp_path, "2\n\n8 0 1 2 -0.8\nH 3 4 5 0.4 9\n"))
    assert found.points.positions.tolist() == [[0, 1, 2], [3, 4, 5]]


@pytest.mark.parametrize("text, problems", [
    ("two\n\nHe 0 0 0\n", ["line 1: expected a number of atoms, got 'two'; what follows is not "
                           "read"]),
    ("1\n\nXx 0 0 0\n1\n\nHe 0 0 0\n", ["line 3: 'Xx' is no element", ""]),
    ("1\n\nHe 0 0\n1\n\nHe 0 0 0\n", ["line 3: expected an atom as 'symbol x y z', got "
                                      "'He 0 0'", ""]),
    ("1\n\nHe 0 0 1*^-6\n", ["line 3: expected three numbers behind He, got '0 0 1*^-6'"]),
    ("1\n\nHe 0 0 0\n3\n\nHe 0 0 0\n", ["", "line 4: 3 atoms are announced, the file has 1"]),
    ("1\nProperties=pos:R:3:species:S:1\n0 0 0 He\n",
     ["line 2: expected columns that begin with species:S:1:pos:R:3, got pos:R:3:species:S:1"]),
    ("0\nnothing\n1\n\nHe 0 0 0\n", ["", ""]),
    ("1\n\nHe nan 0 0\n", [""])])
def test_every_molecule_is_a_row_with_its_reason(tmp_path, text, problems):
    assert [s.problem for s in read_structures(written(tmp_path, text))] == problems


def test_sdf_keeps_places_bonds_and_charges(tmp_path):
    mols = [mol_of(placed(s)) for s in ("c1ccoc1", "C[NH3+]")]
    with Chem.SDWriter(str(tmp_path / "x.sdf")) as writer:
        for mol in mols:
            writer.write(mol)
    furan, ammonium = (s.points for s in read_structures(tmp_path / "x.sdf"))
    np.testing.assert_allclose(furan.positions, mols[0].GetConformer().GetPositions(), atol=6e-5)
    assert furan.bonds.sum() == 2 * 11 and furan.bonds.max() == 2
    assert ammonium.charges.tolist() == [0, 1, *[0] * 6]


def test_flat_and_broken_records_have_a_reason(tmp_path):
    flat = Chem.MolToMolBlock(Chem.MolFromSmiles("CCO"))
    text = f"{flat}$$$$\nnonsense\n$$$$\n"
    problems = [s.problem for s in read_structures(written(tmp_path, text, "x.sdf"))]
    assert problems == ["expected a molecule with a structure in space, got one without",
                        "an unreadable record"]


@pytest.mark.parametrize("name, message", [
    ("x.pdb", "expected structures in .xyz or .sdf, got '.pdb'"), ("none.xyz", "no such file")])
def test_other_files_are_refused(tmp_path, name, message):
    with pytest.raises(TableError, match=message):
        next(read_structures(tmp_path / name))


def test_as_a_table_bonds_are_found_and_failures_are_rejects(tmp_path):
    broken = Points.of([7, 1, 1, 1, 1], METHANE.positions)
    file = written(tmp_path, "".join(write_xyz(p, "n") for p in (METHANE, broken, WATER)))
    table = tables.read(file)
    assert table.objects() == ["C", "O"] and table.values("name") == ["n", "n"]
    assert [(p.row, p.reason) for p in table.rejects] == [
        (2, "valence: N0 has valence 4, more than it can carry")]


def test_a_result_is_saved_and_read_back(tmp_path):
    records = [Record("O", mol_of(WATER), True), Record("", None, False, "valence: no"),
               Record("C", mol_of(METHANE), True)]
    result = SampleResult(records, kind="molecule", provenance={},
                          columns={"score": [0.5, float("nan"), 2.0]})
    result.save(tmp_path / "x.xyz")
    found = list(read_structures(tmp_path / "x.xyz"))
    assert [s.name for s in found] == ["row_0 smiles='O' score='0.5'",
                                      "row_2 smiles='C' score='2.0'"]
    np.testing.assert_allclose(found[1].points.positions, METHANE.positions, atol=5e-7)
    beside = json.loads((tmp_path / "x.xyz.json").read_text())
    assert beside["left_out"] == [{"row": 1, "text": "", "reason": "valence: no"}]
    result.save(tmp_path / "x.sdf")
    kept = [s.points.positions for s in read_structures(tmp_path / "x.sdf")]
    np.testing.assert_allclose(kept[0], WATER.positions, atol=6e-5)


def test_a_result_without_structures_is_not_saved_as_xyz(tmp_path):
    flat = Record("O", Chem.MolFromSmiles("O"), True)
    result = SampleResult([flat], kind="molecule", provenance={})
    with pytest.raises(ValueError, match="row 0 has no structure in space: save to .sdf or .csv"):
        result.save(tmp_path / "x.xyz")
    assert not list(tmp_path.iterdir())


def test_qm9_has_structures_in_the_order_of_its_table(shared_data):
    packed = load_points("qm9-3d")
    assert len(packed) == len(datasets.load("qm9-3d")) == 130_831
    rows, names = qm9_rows(shared_data, [5, 100_000])
    for i, points in zip([5, 100_000], rows, strict=True):
        np.testing.assert_array_equal(packed[i].numbers, points.numbers)
        np.testing.assert_allclose(packed[i].positions, points.positions, atol=1e-6)
    assert datasets.info("qm9-3d").rows == 130_831


def test_other_sets_have_no_structures():
    for name in ("qm9", "enhancers"):
        with pytest.raises(DatasetError, match=f"{name} has no structures in space"):
            load_points(name)


def test_the_public_functions_read_xyz(tmp_path):
    file = written(tmp_path, write_xyz(METHANE) + write_xyz(WATER))
    report = sd.evaluate(file, fcd=False)
    assert report["valid"].value == 1.0 and report["valid"].n == 2
