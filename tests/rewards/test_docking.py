"""Docking: a law of Vina's energy by hand, determinism, rows that say why, and what is refused."""

import math
import pickle
import re
from importlib.machinery import PathFinder

import pytest
from rdkit import Chem

from scidiff.chem.conformers import ConformerError
from scidiff.chem.molecules import canonical
from scidiff.data.records import Record
from scidiff.rewards import docking, singly
from scidiff.rewards.cache import Cache
from scidiff.rewards.combine import reward
from scidiff.rewards.docking import Dock, Site
from scidiff.rewards.identity import identity
from scidiff.rewards.scores import Status
from scidiff.rewards.scoring import Scorer
from scidiff.rewards.singly import ExtraMissing
from scidiff.rewards.workers import Processes
from scidiff.testing import check_reward

NEEDS = "needs the extra docking: pip install 'scidiff[docking]'"
BOX = {"center": (0, 0, 0), "size": (14, 14, 14)}


def mols(*smiles):
    return [Chem.MolFromSmiles(s) for s in smiles]


def write_receptor(path, places, kind="C"):
    """Atoms without charge at places (angstrom), as a receptor."""
    lines = [f"ATOM  {i + 1:5d}  C   ALA A   1    {x:8.3f}{y:8.3f}{z:8.3f}  1.00  0.00     0.000 "
             f"{kind:<2}" for i, (x, y, z) in enumerate(places)]
    path.write_text("\n".join(lines) + "\n")
    return str(path)


@pytest.fixture
def packages(tmp_path, monkeypatch):
    """Empty folders where the packages would stand, with two targets of dockstring."""
    for name in ("vina", "openbabel", "dockstring"):
        (tmp_path / name / "resources" / "targets").mkdir(parents=True)
        (tmp_path / name / "__init__.py").write_text("")
    for target in ("PARP1", "DRD2"):
        folder = tmp_path / "dockstring" / "resources" / "targets"
        write_receptor(folder / f"{target}_target.pdbqt", [(0, 0, 0)])
        (folder / f"{target}_conf.txt").write_text(
            "".join(f"{what}_{axis} = {value}\n" for what, value in
                    (("center", "1.5"), ("size", "22")) for axis in "xyz"))
    monkeypatch.syspath_prepend(str(tmp_path))
    # on the path, whatever another test has imported
    monkeypatch.setattr(singly, "find_spec", PathFinder.find_spec)


@pytest.fixture(scope="module")
def cage(tmp_path_factory):
    """A cube of 56 carbons with open faces around the origin."""
    for module in ("vina", "openbabel"):
        pytest.importorskip(module, reason=NEEDS)
    side = range(-6, 7, 3)
    walls = [(x, y, z) for x in side for y in side for z in side
             if (abs(x) == 6) + (abs(y) == 6) + (abs(z) == 6) >= 2]
    return write_receptor(tmp_path_factory.mktemp("cage") / "cage.pdbqt", walls)


# ---------------------------------------------------------------- without the packages


def test_missing_packages_name_the_extra(monkeypatch):
    monkeypatch.setattr(singly, "find_spec", lambda name: None)
    with pytest.raises(ExtraMissing, match=r"dock needs dockstring: .*'scidiff\[docking\]'"):
        Dock("PARP1")
    with pytest.raises(ExtraMissing, match="dockstring"):
        reward("dock('PARP1')")


def test_a_target_is_found_by_name(packages):
    made = Dock("PARP1", exhaustiveness=8, seed=3)
    assert made.name == "dock('PARP1', exhaustiveness=8, seed=3)"
    assert made._site.center == (1.5, 1.5, 1.5) and made._site.size == (22, 22, 22)
    assert made.cost == 8 * Dock("PARP1").cost > 1 and made.floor == 0
    for wrong, hint in {"parp": "did you mean 'PARP1'", "xyz": "DRD2, PARP1", 5: "DRD2"}.items():
        with pytest.raises(ValueError, match=f"dock: dockstring has 2 targets and no .*{hint}"):
            Dock(wrong)


def test_expressions_name_it(packages):
    formula = reward("dock('PARP1', 2) * qed")
    assert formula.floor == 0 and list(formula.leaves) == ["dock('PARP1', 2)", "qed"]
    with pytest.raises(ValueError, match="did you mean 'PARP1'"):
        reward("dock('PARB1')")
    with pytest.raises(ValueError, match="reward 'dock' needs parameters: dock"):
        reward("dock")


def test_another_file_is_another_version(packages, tmp_path):
    path = write_receptor(tmp_path / "own.pdbqt", [(0, 0, 0)])
    first = identity(Dock(receptor=path, **BOX))
    assert identity(Dock(receptor=path, **BOX)) == first != identity(Dock("PARP1"))
    write_receptor(tmp_path / "own.pdbqt", [(0, 0, 1)])
    assert identity(Dock(receptor=path, **BOX)).version != first.version
    assert identity(Dock(receptor=path, seed=1, **BOX)).parameters != first.parameters


@pytest.mark.parametrize("asked, message", [
    ({}, r"give a target, as in dock\('PARP1'\)"),
    ({"target": "PARP1", "receptor": "x.pdbqt"}, "give a target"),
    ({"target": "PARP1", "center": (1, 2, 3)}, "has a box of its own"),
    ({"target": "PARP1", "exhaustiveness": 0}, "exhaustiveness must be a whole number .* got 0"),
    ({"target": "PARP1", "exhaustiveness": 1.5}, "got 1.5"),
    ({"target": "PARP1", "seed": -1}, "seed must be a whole number from 0 .* got -1"),
    ({"target": "PARP1", "seed": 2**31 - 2}, "seed must be"),
    ({"target": "PARP1", "ph": 15}, r"ph must lie in \[0, 14\], got 15"),
    ({"receptor": "no.pdbqt", **BOX}, "the receptor 'no.pdbqt' does not exist"),
])
def test_wrong_parameters(packages, asked, message):
    with pytest.raises(ValueError, match=f"^dock: .*{message}"):
        Dock(**asked)


@pytest.mark.parametrize("center, size, message", [
    ((0, 0), (9, 9, 9), "center must be three numbers in angstrom"),
    ((0, 0, math.nan), (9, 9, 9), "center"), ((0, 0, "1"), (9, 9, 9), "center"),
    ((), (), "center"), ((0, 0, 0), (9, 0, 9), "size must be three positive numbers"),
    ((0, 0, 0), 9, "size"),
])
def test_wrong_boxes(packages, tmp_path, center, size, message):
    path = write_receptor(tmp_path / "own.pdbqt", [(0, 0, 0)])
    with pytest.raises(ValueError, match=message):
        Dock(receptor=path, center=center, size=size)
    (tmp_path / "own.txt").write_text("")
    with pytest.raises(ValueError, match="is no PDBQT file"):
        Site.own(str(tmp_path / "own.txt"), (0, 0, 0), (9, 9, 9))


# ---------------------------------------------------------------- with them


def pair_energy(distance):
    """Vina's energy of two hydrophobic carbons, kcal/mol (Trott and Olson 2010, table 1)."""
    apart = distance - 2 * 1.9
    steric = (-0.035579 * math.exp(-((apart / 0.5) ** 2))
              - 0.005156 * math.exp(-(((apart - 3) / 2) ** 2))
              + 0.840245 * min(apart, 0) ** 2)
    return steric - 0.035069 * min(max(1.5 - apart, 0), 1)


def test_energy_of_methane_beside_one_atom(cage, tmp_path):
    """The best pose stands where the published energy of the pair is least."""
    path = write_receptor(tmp_path / "atom.pdbqt", [(0, 0, 0)])
    least = min(pair_energy(3 + 0.001 * i) for i in range(4000))
    found = Dock(receptor=path, **BOX)(mols("C"))[0]
    assert found == pytest.approx(-least, abs=0.002)  # Vina's grid has steps of 0.375 angstrom
    assert found > 0.07


def test_what_fits_nowhere_scores_zero(cage, tmp_path):
    side = [-2.25 + 1.5 * i for i in range(4)]  # a block as wide as the box
    path = write_receptor(tmp_path / "block.pdbqt", [(x, y, z) for x in side for y in side
                                                     for z in side])
    assert Dock(receptor=path, center=(0, 0, 0), size=(4, 4, 4))(mols("CC(C)(C)C")) == [0]


def test_contract(cage):
    made = Dock(receptor=cage, **BOX)
    check_reward(made, mols("C", "c1ccccc1O", "CCN", "OB(O)C", "C.C"))
    assert made(mols("Oc1ccccc1")) == made(mols("c1ccc(O)cc1"))  # one molecule, two spellings


def test_seeds_are_draws_and_searches_help(cage):
    """The best of several searches is as good as one, up to what refining a pose may lose."""
    butanol = docking.prepare(mols("CCCCO")[0], 7.4, seed=0)  # one structure: the search draws
    once = [Dock(receptor=cage, seed=s, **BOX)._energy(butanol) for s in range(4)]
    assert len(set(once)) > 1
    assert Dock(receptor=cage, exhaustiveness=4, **BOX)._energy(butanol) < sum(once) / 4 + 0.05
    assert docking.prepare(mols("CCCCO")[0], 7.4, seed=1) != butanol


def test_rows_say_why(cage):
    made = Dock(receptor=cage, **BOX)
    found = made.answers(mols("CB(O)O", "C.C", "C1#CC1", "[Se]1C=CC=C1", "CO"))
    assert [a.status for a in found] == [Status.FAILED] * 4 + [Status.OK]
    for answer, why in zip(found, ("Vina cannot read the molecule: .*Atom type B", "2 fragments",
                                   "no structure in space", "no force field"), strict=False):
        assert math.isnan(answer.value)
        assert re.search(why, answer.message)


def test_workers_and_disk_give_the_same(cage, tmp_path):
    """And a molecule of ten torsions that a thousand searches are asked for is a row in time."""
    made, cache = Dock(receptor=cage, **BOX), Cache(tmp_path / "docks.db")
    texts = ["CO", "C.C", "c1ccccc1"]
    records = [Record(t, Chem.MolFromSmiles(t), True) for t in texts]
    here = made(mols(*texts))
    with Processes(1, timeout=10) as executor:
        scores = Scorer(made, executor=executor, cache=cache)(records)
        (late,) = executor.run(Dock(receptor=cage, exhaustiveness=1024, **BOX),
                               mols("CCCCCCCCCCCCN"))
    assert scores.values.tolist() == pytest.approx(here, nan_ok=True, abs=0)
    assert late.status == Status.TIMEOUT
    again = Scorer(pickle.loads(pickle.dumps(made)), cache=cache)
    assert again(records).values.tolist() == pytest.approx(here, nan_ok=True, abs=0)
    assert again.disk_hits == 3 and "2 fragments" in again.messages["C.C"]


@pytest.mark.parametrize("smiles, ph, charged", [
    ("CC(=O)O", 7.4, "CC(=O)[O-]"), ("CC(=O)O", 2.0, "CC(=O)O"), ("CCN", 7.4, "CC[NH3+]"),
    ("NC(=N)c1ccccc1", 7.4, "NC(=[NH2+])c1ccccc1"), ("c1c[nH]cn1", 7.4, "c1c[nH]cn1"),
    ("C[N+](=O)[O-]", 7.4, "C[N+](=O)[O-]"), ("NC(C)C(=O)O", 7.4, "[NH3+]C(C)C(=O)[O-]"),
    ("F[C@](Cl)(Br)C", 7.4, "F[C@](Cl)(Br)C"), ("C/C=C/C", 7.4, "C/C=C/C"),
])
def test_charges_at_a_ph(smiles, ph, charged):
    pytest.importorskip("openbabel", reason=NEEDS)
    assert canonical(docking._protonated(smiles, ph)) == canonical(charged)


def test_a_ligand_has_its_charges_and_torsions():
    pytest.importorskip("openbabel", reason=NEEDS)
    text = docking.prepare(mols("NCCc1ccccc1")[0], 7.4, seed=0)
    assert text.count("\nBRANCH") == 3 and "TORSDOF 3" in text  # CC, C-ring, and the NH3+
    assert text.count(" HD\n") == 3
    with pytest.raises(ConformerError, match="2 fragments"):
        docking.prepare(mols("C.C")[0], 7.4, seed=0)


def test_docking_is_silent(cage, capfd):
    found = Dock(receptor=cage, **BOX).answers(mols("CCN", "CB(O)O", "CN(C)(C)->B(F)F"))
    assert found[2].message.startswith("Open Babel does not protonate CN(C)(C)->B(F)F")
    assert capfd.readouterr() == ("", "")


@pytest.mark.slow  # the maps of a receptor of dockstring take 10 seconds, a docking up to 10
def test_olaparib_binds_parp1():
    """Its own receptor, in which fragments of half its size bind less."""
    for module in ("vina", "openbabel", "dockstring"):
        pytest.importorskip(module, reason=NEEDS)
    found = Dock("PARP1")(mols("O=C(c1cc(Cc2n[nH]c(=O)c3ccccc23)ccc1F)N1CCN(C(=O)C2CC2)CC1",
                               "CC(=O)Oc1ccccc1C(=O)O"))
    assert found[0] > 10.5 and found[1] == pytest.approx(6.2, abs=0.3)
