"""GFN2-xTB: symmetry, conjugation, published numbers, and rows that say why."""

import math

import numpy as np
import pytest
from rdkit import Chem
from rdkit.Geometry import Point3D

from scidiff.chem.conformers import embed
from scidiff.rewards import singly
from scidiff.rewards.combine import reward
from scidiff.rewards.identity import identity
from scidiff.rewards.quantum import Dipole, Gap, ground_state
from scidiff.rewards.scores import Status
from scidiff.rewards.singly import ExtraMissing
from scidiff.testing import check_reward


def mols(*smiles):
    return [Chem.MolFromSmiles(s) for s in smiles]


@pytest.fixture(scope="module")
def tblite():
    return pytest.importorskip("tblite", reason="needs the extra qm: pip install 'scidiff[qm]'")


def test_missing_packages_name_the_extra(monkeypatch):
    monkeypatch.setattr(singly, "find_spec", lambda name: None)
    for name in ("gfn2_gap()", "gfn2_dipole(seed=2)"):
        with pytest.raises(ExtraMissing, match=r"gfn2 needs tblite: .*'scidiff\[qm\]'"):
            reward(name)


@pytest.mark.parametrize("seed", [-1, 2**31 - 2, 1.5, True, "0"])
def test_a_seed_is_a_whole_number(seed):
    with pytest.raises(ValueError, match="gfn2: seed must be a whole number from 0 to"):
        Gap(seed)


def test_symmetric_molecules_have_no_dipole(tblite):
    found = Dipole()(mols("C", "O=C=O", "c1ccccc1", "FC(F)(F)F"))
    assert found == pytest.approx([0] * 4, abs=0.01)


def test_dipoles_as_measured_in_the_gas_phase(tblite):
    """Water 1.85 D, ammonia 1.47, hydrogen fluoride 1.83, hydrogen cyanide 2.98 (CRC Handbook),
    within the half debye that GFN2-xTB is good for; charges the wrong way round would not be."""
    found = Dipole()(mols("O", "N", "F", "C#N"))
    assert found == pytest.approx([1.85, 1.47, 1.83, 2.98], abs=0.8)
    assert Dipole()(mols("CNC(=O)c1ccccc1")) == [pytest.approx(4.09, abs=0.02)]


def test_a_longer_conjugated_system_has_a_smaller_gap(tblite):
    rings = Gap()(mols("c1ccccc1", "c1ccc2ccccc2c1", "c1ccc2cc3ccccc3cc2c1"))
    assert rings == sorted(rings, reverse=True) and rings[0] > 2 * rings[2]
    assert Gap()(mols("CNC(=O)c1ccccc1")) == [pytest.approx(3.49, abs=0.01)]


def test_nothing_depends_on_where_a_molecule_lies(tblite):
    here = embed(mols("NCC=O")[0])
    there, turn = Chem.Mol(here), np.linalg.qr(np.random.default_rng(0).normal(size=(3, 3)))[0]
    for i, place in enumerate(here.GetConformer().GetPositions() @ turn + 5):
        there.GetConformer().SetAtomPosition(i, Point3D(*place))
    for made in (Gap(), Dipole()):
        assert made([there])[0] == pytest.approx(made([here])[0], abs=1e-4)
        assert made([here]) != made([embed(mols("NCC=O")[0], 7)])  # its own structure counts


def test_an_ion_has_its_electrons(tblite):
    """Ammonium is methane with another nucleus: four full orbitals."""
    for molecule in mols("C", "[NH4+]", "[BH4-]"):
        full = np.asarray(ground_state(embed(molecule)).get("orbital-occupations"))
        assert full.tolist() == pytest.approx([2] * 4 + [0] * (len(full) - 4), abs=1e-3)


def test_rows_say_why(tblite):
    found = Gap().answers(mols("C[CH2]", "C.C", "[Na+]", "C[N+](C)(C)C"))
    assert [a.status for a in found] == [Status.FAILED] * 3 + [Status.OK]
    assert [a.message for a in found[:3]] == [
        "has unpaired electrons", "2 fragments: a structure is of one connected molecule",
        "GFN2-xTB gives it 0 full orbitals of 4: no gap"]
    (ion, acid) = Dipole().answers(mols("CC(=O)[O-]", "[NH3+]CC(=O)[O-]"))
    assert "has charge -1, so no dipole" in ion.message and acid.status == Status.OK
    crowded = embed(mols("CC")[0])
    crowded.GetConformer().SetAtomPosition(0, crowded.GetConformer().GetAtomPosition(1))
    (answer,) = Gap().answers([crowded])
    assert answer.message.startswith("GFN2-xTB fails: ") and math.isnan(answer.value)


@pytest.mark.parametrize("made", [Gap, Dipole])
def test_contract(tblite, made, capfd):
    check_reward(made(), mols("CCO", "C.C", "c1ccncc1", "[Na+]"))
    assert made()(mols("OCC")) == made()(mols("CCO"))
    assert capfd.readouterr() == ("", "")


def test_expressions_name_them(tblite):
    formula = reward("window(gfn2_gap(), 2, 4) * window(gfn2_dipole(seed=1), 0, 3)")
    assert formula.floor == 0 and 0 <= formula(mols("c1ccccc1O"))[0] <= 1
    assert reward("-gfn2_gap()").floor is None and reward("gfn2_gap()").floor == 0
    assert identity(Gap(1)) != identity(Gap()) and "tblite" in identity(Gap()).version


def test_dipoles_and_gaps_of_qm9(tblite, shared_data):
    """On its own structures, against B3LYP: dipoles correlate by .97 over 52 molecules, and gaps
    by .83 (.90 over 49 others), which are a third smaller."""
    with np.load(shared_data / "qm9_3d.npz") as file:
        table = {name: file[name] for name in file.files if name != "smiles"}
    starts = np.cumsum(table["n_atoms"].astype(int)) - table["n_atoms"]
    rows = range(500, 130_000, 2_500)
    some = [bare(table, starts[i], table["n_atoms"][i]) for i in rows]
    columns = table["prop_names"].tolist()
    for made, name, least in ((Dipole(), "Dipole_debye", 0.95), (Gap(), "HOMO_LUMO_gap_au", 0.8)):
        wanted = table["props"][list(rows), columns.index(name)]
        assert np.corrcoef(made(some), wanted)[0, 1] > least


def bare(table, start, n):
    """A molecule of QM9 as atoms in space."""
    made, conformer = Chem.RWMol(), Chem.Conformer(int(n))
    conformer.Set3D(True)
    for i in range(int(n)):
        made.AddAtom(Chem.Atom(int(table["z"][start + i])))
        made.GetAtomWithIdx(i).SetNoImplicit(True)
        conformer.SetAtomPosition(i, Point3D(*(table["xyz_milliangstrom"][start + i] / 1000)))
    made.AddConformer(conformer)
    made.UpdatePropertyCache(strict=False)
    return made.GetMol()
