"""Likeness in shape and strain of molecules in space."""

import numpy as np
import pytest
from placed import METHANE, moved, placed
from rdkit import Chem
from rdkit.Chem import rdShapeAlign

from scidiff.chem.conformers import embed
from scidiff.chem.geometry import mol_of
from scidiff.chem.relaxation import relaxed
from scidiff.rewards import singly
from scidiff.rewards.gfn2_relaxation import KCAL, minimise, relaxed_gfn2
from scidiff.rewards.scores import Status
from scidiff.rewards.shapes import Shape, Strain
from scidiff.rewards.singly import ExtraMissing, Refused
from scidiff.testing import check_reward

ASPIRIN = "CC(=O)Oc1ccccc1C(=O)O"
BENT = mol_of(moved(METHANE, 1, (-0.25, 0.1, 0.1)))


def smi(*texts):
    return [Chem.MolFromSmiles(t) for t in texts]


def test_a_molecule_is_itself_in_shape_and_others_are_less():
    score = Shape(ASPIRIN)
    same, isomer, other = score(smi(ASPIRIN, "CC(=O)Oc1cccc(C(=O)O)c1", "CCO"))
    assert same > 0.99 > isomer > other > 0
    assert score(smi(ASPIRIN))[0] == same  # one seed, one structure


def test_turning_and_moving_change_nothing_and_the_molecule_stays_where_it_is():
    own = embed(smi("CCOC(=O)C")[0])
    places = np.array(own.GetConformer().GetPositions())
    turned = Chem.Mol(own)
    q, _ = np.linalg.qr(np.random.default_rng(0).normal(size=(3, 3)))
    far = places @ (q * np.sign(np.linalg.det(q))) + 20
    turned.GetConformer().SetPositions(far)
    assert Shape("CCOC(=O)C")([turned])[0] == pytest.approx(1, abs=0.02)
    np.testing.assert_array_equal(turned.GetConformer().GetPositions(), far)


def test_features_tell_equal_shapes_apart():
    plain, told = Shape("c1ccccc1O"), Shape("c1ccccc1O", features=True)
    assert plain(smi("Cc1ccccc1"))[0] > 0.9 > told(smi("Cc1ccccc1"))[0]
    assert told(smi("c1ccccc1O"))[0] > 0.97


def test_with_features_molecules_are_superposed_for_the_mean_of_both():
    """Superposed for the shape alone, or for the features alone, that mean is smaller."""
    ligand, other = (embed(m) for m in smi(ASPIRIN, "CC(C)CO"))
    one_sided = []
    for weight in (0.0, 1.0):
        turned = Chem.Mol(other)
        one_sided.append(sum(rdShapeAlign.AlignMol(ligand, turned, opt_param=weight)) / 2)
    assert Shape(ASPIRIN, features=True)([other])[0] > max(one_sided) + 0.003


def test_the_pose_of_a_file_is_the_reference(tmp_path):
    bent = mol_of(placed("CCCCCC", seed=3))
    with Chem.SDWriter(str(tmp_path / "x.sdf")) as writer:
        writer.write(bent)
    given = Shape(str(tmp_path / "x.sdf"))
    assert given([bent])[0] > 0.99
    assert given.version != Shape("CCCCCC").version


@pytest.mark.parametrize("reference, message", [
    ("no such ligand", "must be a SMILES or an .sdf file"), ("none.sdf", "does not exist")])
def test_references_that_are_none(reference, message):
    with pytest.raises(ValueError, match=message):
        Shape(reference)


def test_contract():
    check_reward(Shape("CCO"), smi("CCO", "c1ccccc1", "CN"))
    check_reward(Strain(), [BENT, mol_of(METHANE)])


def test_strain_is_what_relaxation_gives_up_with_a_sign_and_an_end():
    values = Strain()([BENT, mol_of(METHANE), mol_of(METHANE.__class__.of(
        METHANE.numbers, METHANE.positions * 0.7))])
    assert values[0] == pytest.approx(-relaxed(BENT).strain) and values[0] < -1
    assert -0.1 < values[1] <= 0 and values[2] == -100


def test_a_molecule_without_a_structure_has_no_strain():
    (answer,) = Strain().answers(smi("CCO"))
    assert answer.status is Status.FAILED and "no structure of its own" in answer.message


def test_wrong_parameters_and_missing_packages(monkeypatch):
    with pytest.raises(ValueError, match="method must be one of mmff, gfn2, got 'dft'"):
        Strain("dft")
    monkeypatch.setattr(singly, "find_spec", lambda name: None)
    with pytest.raises(ExtraMissing, match=r"strain needs tblite: pip install 'scidiff\[qm\]'"):
        Strain("gfn2")
    with pytest.raises(ExtraMissing, match="relaxation by gfn2 needs tblite"):
        relaxed_gfn2(BENT)


# ---------------------------------------------------------------- the way downhill


def test_a_quadratic_is_minimised_exactly():
    rng = np.random.default_rng(0)
    half = rng.normal(size=(9, 9))
    matrix, at = half @ half.T + np.eye(9), rng.normal(size=9)

    def surface(x):
        gap = x.ravel() - at
        return float(gap @ matrix @ gap / 2), (matrix @ gap).reshape(-1, 3)

    start = np.zeros((3, 3))
    found, before, after, converged = minimise(surface, start, force=1e-8)
    assert converged and before == pytest.approx(surface(start)[0])
    np.testing.assert_allclose(found.ravel(), at, atol=1e-7)
    assert abs(after) < 1e-12
    assert not minimise(surface, start, steps=2, force=1e-8)[3]


def test_a_saddle_is_left_downhill():
    def surface(x):  # two wells at x = +-1, a ridge at 0
        return float(((x[:, 0] ** 2 - 1) ** 2 + x[:, 1] ** 2 + x[:, 2] ** 2).sum()), np.stack(
            [4 * x[:, 0] * (x[:, 0] ** 2 - 1), 2 * x[:, 1], 2 * x[:, 2]], 1)

    found, before, after, converged = minimise(surface, np.array([[0.05, 0.3, -0.2]]))
    assert converged and after < 1e-5 < before
    np.testing.assert_allclose(found, [[1, 0, 0]], atol=1e-3)


@pytest.fixture(scope="module")
def tblite():
    return pytest.importorskip("tblite", reason="needs the extra qm: pip install 'scidiff[qm]'")


def test_gfn2_relaxes_methane_to_its_tetrahedron(tblite):
    done = relaxed_gfn2(BENT)
    assert done.converged and done.method == "gfn2" and done.strain > 1
    places = np.array(done.mol.GetConformer().GetPositions())
    np.testing.assert_allclose(np.linalg.norm(places[1:] - places[0], axis=1), 1.085, atol=0.01)
    again = relaxed_gfn2(done.mol)
    assert abs(again.strain) < 0.01 and again.rmsd < 0.01
    assert Strain("gfn2")([BENT]) == [pytest.approx(-done.strain)]
    assert KCAL == pytest.approx(627.5, abs=0.01)


def test_gfn2_refuses_radicals_and_flat_molecules(tblite):
    with pytest.raises(Refused, match="unpaired"):
        relaxed_gfn2(mol_of(moved(METHANE, 1, (3, 0, 0))))
    with pytest.raises(Refused, match="no structure of its own"):
        relaxed_gfn2(smi("CC")[0])
