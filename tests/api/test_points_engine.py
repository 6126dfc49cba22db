"""Molecules in space from a recipe to designs: trained, continued, sampled, saved, asked."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from rdkit import Chem
from rdkit.Chem.rdDistGeom import EmbedMolecule

import scidiff as sd
from scidiff.api.model import Model
from scidiff.api.point_intake import load_molecules
from scidiff.api.recipes import read
from scidiff.core import ScidiffError, seeded
from scidiff.data import datasets
from scidiff.data.points import Points
from scidiff.guidance.particles import sample

SMILES = ["C", "O", "N", "CO", "C=O", "CC", "C#N", "CN", "OO", "FC", "[NH4+]", "C=C"]
RECIPE = """
name = "toy-3d"
domain = "molecule_3d"
[data]
source = "{source}"
validation = 2
[network]
kind = "points"
width = 16
edge_width = 8
depth = 1
heads = 2
vectors = 4
radial = 4
[[stages]]
process = "points"
steps = {steps}
batch_size = 4
checkpoint_every = 2
validate_every = 2
warmup = 1
precision = "32-true"
"""


def structures(folder: Path) -> Path:
    file = folder / "toy.sdf"
    with Chem.SDWriter(str(file)) as out:
        for smiles in SMILES:
            mol = Chem.AddHs(Chem.MolFromSmiles(smiles))
            assert EmbedMolecule(mol, randomSeed=1) == 0
            out.write(mol)
    return file


@pytest.fixture(scope="module")
def trained(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("points")
    (folder / "toy.toml").write_text(RECIPE.format(source=structures(folder), steps=4))
    return sd.train(folder / "toy.toml", folder / "run", device="cpu")


@pytest.fixture(scope="module")
def model(trained) -> Model:
    return sd.load(trained, device="cpu")


def test_a_run_leaves_all_that_a_model_needs(trained) -> None:
    config = json.loads((trained / "config.json").read_text())
    assert config["process"]["kind"] == "points"
    assert config["domain_options"] == {"angstrom": 1.4}
    assert sum(config["length_counts"]) == len(SMILES) - 2
    assert config["vocabulary"]["symbols"] == ["C", "F", "H", "N", "O", "[N+]"]
    assert "bonds as written" in (trained / "README.md").read_text()


def test_a_run_goes_on_where_it_was(tmp_path, trained) -> None:
    source = structures(tmp_path)
    recipe = tmp_path / "toy.toml"
    recipe.write_text(RECIPE.format(source=source, steps=4))
    sd.train(recipe, tmp_path / "run", device="cpu")
    log = (tmp_path / "run" / "stage1-points" / "log.jsonl").read_text()
    again = sd.train(recipe, tmp_path / "run", device="cpu")
    assert (tmp_path / "run" / "stage1-points" / "log.jsonl").read_text() == log
    assert (again / "model.safetensors").read_bytes() == (
        trained / "model.safetensors"
    ).read_bytes()


def test_samples_are_rows_with_their_atoms_in_space(model) -> None:
    result = model.sample(6, seed=3, steps=4)
    assert result.kind == "molecule" and len(result) == 6
    assert all(r.points is not None and r.note == "bonds: model" for r in result)
    assert [r.text for r in model.sample(6, seed=3, steps=4)] == result.texts
    assert result.provenance["sampling"]["steps"] == 4


def test_sizes_and_composition_are_kept(model) -> None:
    assert {len(r.points) for r in model.sample(5, sizes=4, steps=3)} == {4}
    for record in model.sample(4, composition="CH4", steps=3):
        assert sorted(record.points.numbers) == [1, 1, 1, 1, 6]
        assert not record.points.charges.any()


def test_structures_of_a_given_graph_have_its_bonds(model) -> None:
    result = model.sample(4, graph="CO", steps=3)
    assert all(r.valid and r.text == "CO" for r in result)
    places = np.stack([r.points.positions for r in result])
    assert np.abs(places.mean(1)).max() < 1e-4
    assert np.abs(places[0] - places[1]).max() > 0.1


@pytest.mark.parametrize(
    "asked, why",
    [
        ({"sizes": 40}, "at most"),
        ({"sizes": 3, "graph": "C"}, "each say the atoms"),
        ({"composition": "Xx2"}, "knows the atoms"),
        ({"composition": "C 2"}, "formula such as"),
        ({"graph": "C("}, "readable SMILES"),
        ({"solver": "2mm"}, "did you mean"),
        ({"atoms": 3}, "unknown sampling setting"),
    ],
    ids=["many", "two", "element", "formula", "smiles", "solver", "name"],
)
def test_what_cannot_be_asked_says_why(model, asked, why) -> None:
    with pytest.raises(ValueError, match=why):
        model.sample(2, **asked)


def test_a_saved_sdf_keeps_every_atom_in_its_place(model, tmp_path) -> None:
    result = model.sample(3, graph="CO", steps=3)
    result.save(tmp_path / "x.sdf")
    read = list(Chem.SDMolSupplier(str(tmp_path / "x.sdf"), removeHs=False))
    assert len(read) == 3
    for mol, record in zip(read, result, strict=True):
        assert np.allclose(mol.GetConformer().GetPositions(), record.points.positions, atol=1e-3)
    result.save(tmp_path / "x.xyz")
    assert (tmp_path / "x.xyz").read_text().startswith("6\n")


@pytest.mark.parametrize("method", ["evolve", "svdd", "smc", "best-of-n", "refine"])
def test_designs_are_chosen_by_any_reward(model, method) -> None:
    designed = sd.design(model, "qed", n=2, method=method, budget=8, graph="CO", steps=3)
    alcohol = sd.reward("qed")([Chem.MolFromSmiles("CO")])[0]
    assert [r.text for r in designed if r.valid][:1] == ["CO"]
    assert designed.to_frame()["score"].max() == pytest.approx(alcohol)


def _spread(mols):
    """How far the places of a molecule lie apart, in angstrom."""
    return [float(np.ptp(mol.GetConformer().GetPositions())) for mol in mols]


def test_parents_keep_the_places_that_were_scored(model, monkeypatch) -> None:
    """What is varied is what the reward has seen, not a new structure of its SMILES."""
    parents = []
    encode = type(model.engine).encode

    def seen(engine, objects):
        parents.extend(o for o in objects if isinstance(o, Points))
        return encode(engine, objects)

    monkeypatch.setattr(type(model.engine), "encode", seen)
    reward = sd.reward(_spread, places=True, floor=0.0)
    found = sd.design(model, reward, n=2, method="evolve", budget=24, graph="CO", steps=3)
    asked = [r.points.positions for r in found.asked.records]
    assert parents and all(
        min(np.abs(p.positions - places).max() for places in asked) < 1e-9 for p in parents
    )


def test_encoded_structures_fit_a_chain(model) -> None:
    x = model.engine.encode(["CO", "O"])
    drawn = sample(model.sampler(steps=2), 2, seeded(0))
    assert x.positions.shape == drawn.positions.shape
    assert torch.allclose(x.positions.sum(1), torch.zeros(2, 3), atol=1e-5)
    records = model.domain.decode(x)
    assert [r.text for r in records] == ["CO", "O"] and all(r.valid for r in records)


def test_what_it_cannot_do_says_what_it_can(model) -> None:
    for do in (
        lambda: model.log_likelihood(["C"]),
        lambda: model.infill("C[*]C"),
    ):
        with pytest.raises((ScidiffError, ValueError), match="composition"):
            do()


def test_rows_that_cannot_be_used_are_listed(tmp_path) -> None:
    source = structures(tmp_path)
    broken = source.read_text().replace(" C ", " Q ", 1)
    source.write_text(broken)
    (tmp_path / "toy.toml").write_text(RECIPE.format(source=source, steps=1))
    sd.train(tmp_path / "toy.toml", tmp_path / "run", device="cpu")
    rejects = (tmp_path / "run" / "rejects.csv").read_text().splitlines()
    assert rejects[0] == "row,text,reason" and len(rejects) == 2


def test_a_network_with_bonds_needs_a_system_with_bonds(tmp_path) -> None:
    source = structures(tmp_path)
    text = RECIPE.format(source=source, steps=1) + "points = {bonds = false}\n"
    (tmp_path / "toy.toml").write_text(text)
    with pytest.raises(ValueError, match=r"network\.bonds must be false"):
        sd.train(tmp_path / "toy.toml", tmp_path / "run", device="cpu")


def test_rows_of_qm9_are_trained_on(tmp_path, shared_data) -> None:
    content = RECIPE.format(source="qm9_3d", steps=1) + "\n"
    content = content.replace("validation = 2", "validation = 5\nlimit = 50")
    (tmp_path / "toy.toml").write_text(content)
    folder = sd.train(tmp_path / "toy.toml", tmp_path / "run", device="cpu")
    model = sd.load(folder, device="cpu")
    assert sum(model.config["length_counts"]) == 45
    assert "bonds and charges by the SMILES" in (folder / "README.md").read_text()
    assert model.novelty.contains(["C" * 40]).tolist() == [False]


def test_a_model_is_continued_on_other_molecules(tmp_path, trained) -> None:
    source = structures(tmp_path)
    folder = sd.train(source, tmp_path / "run", init=str(trained), steps=2, device="cpu")
    config = json.loads((folder / "config.json").read_text())
    assert config["vocabulary"] == json.loads((trained / "config.json").read_text())["vocabulary"]
    assert "Memorisation" in (folder / "README.md").read_text()
    foreign = tmp_path / "foreign.xyz"
    foreign.write_text("3\n\nS 0 0 0\nH 1.34 0 0\nH -0.05 1.33 0\n" * 3)
    with pytest.raises(ValueError, match="has atom type S"):
        sd.train(foreign, tmp_path / "other", init=str(trained), steps=1, device="cpu")


def test_a_bare_file_of_structures_is_enough(tmp_path) -> None:
    file = tmp_path / "water.xyz"
    file.write_text("3\n\nO 0 0 0\nH 0.96 0 0\nH -0.24 0.93 0\n" * 40)
    folder = sd.train(file, tmp_path / "run", steps=1, device="cpu")
    assert json.loads((folder / "config.json").read_text())["domain"] == "molecule_3d"


def fragment(folder: Path, smiles: str = "CO") -> tuple[Path, np.ndarray]:
    """The heavy atoms of a structure as a file, and where they are."""
    mol = Chem.AddHs(Chem.MolFromSmiles(smiles))
    assert EmbedMolecule(mol, randomSeed=2) == 0
    part = Chem.RemoveHs(mol)
    file = folder / "part.sdf"
    file.write_text(Chem.MolToMolBlock(part) + "$$$$\n")
    return file, part.GetConformer().GetPositions()


def test_a_fragment_keeps_its_shape_and_its_bonds(model, tmp_path) -> None:
    file, places = fragment(tmp_path)
    for record in model.sample(5, fragment=str(file), steps=4):
        points = record.points
        assert points.numbers[:2].tolist() == [6, 8] and points.bonds[0, 1] == 1
        assert len(points) > 2
        shift = points.positions[:2] - places
        assert np.allclose(shift[0], shift[1], atol=1e-4)
    assert {len(r.points) for r in model.sample(3, fragment=str(file), sizes=5, steps=2)} == {5}


def test_a_fragment_that_cannot_be_held_says_why(model, tmp_path) -> None:
    (tmp_path / "two.xyz").write_text("1\n\nC 0 0 0\n" * 2)
    (tmp_path / "bare.xyz").write_text("1\n\nC 0 0 0\n")
    file, _ = fragment(tmp_path)
    for asked, why in (
        ({"fragment": str(tmp_path / "two.xyz")}, "one structure"),
        ({"fragment": str(tmp_path / "bare.xyz")}, "has no bonds"),
        ({"fragment": str(file), "sizes": 2}, "nothing is left"),
        ({"fragment": str(file), "graph": "C"}, "each say the atoms"),
    ):
        with pytest.raises(ValueError, match=why):
            model.sample(1, **asked)


# ---------------------------------------------------------------- told something


def told_recipe(folder: Path, init: Path | None = None, condition: str = '["qed"]') -> Path:
    text = RECIPE.format(source=structures(folder), steps=3)
    text = text.replace("validation = 2", f"validation = 2\ncondition = {condition}")
    file = folder / "told.toml"
    file.write_text((f'init = "{init}"\n' if init else "") + text)
    return file


@pytest.fixture(scope="module")
def told(tmp_path_factory, trained) -> Model:
    folder = tmp_path_factory.mktemp("told")
    made = sd.train(told_recipe(folder, trained), folder / "run", device="cpu")
    return sd.load(made, device="cpu")


def test_a_model_that_was_told_nothing_learns_to_be_told(told, trained) -> None:
    column = told.conditions.columns[0]
    quality = [sd.reward("qed")([Chem.MolFromSmiles(s)])[0] for s in SMILES]
    assert column.name == "qed" and min(quality) <= column.quantiles[0]
    assert "told | qed (" in (Path(told.source) / "README.md").read_text()
    assert told.config["recipe"]["init"] == str(trained)


def test_a_model_is_sampled_as_the_one_it_goes_on_from(trained, tmp_path) -> None:
    parent = Path(shutil.copytree(trained, tmp_path / "parent"))
    config = json.loads((parent / "config.json").read_text())
    config["sampling"] = {"solver": "exp1", "steps": 3, "eta": 5.0}
    (parent / "config.json").write_text(json.dumps(config))
    usual = sd.load(parent, device="cpu").engine.settings({})
    file = told_recipe(tmp_path, parent)
    made = sd.train(file, tmp_path / "told", device="cpu")
    assert sd.load(made, device="cpu").engine.settings({}) == usual
    own = sd.train(structures(tmp_path), tmp_path / "own", init=str(parent), steps=2, device="cpu")
    assert sd.load(own, device="cpu").engine.settings({}) == usual
    file.write_text(file.read_text() + "\n[sampling]\nsteps = 2\n")
    said = sd.load(sd.train(file, tmp_path / "said", device="cpu"), device="cpu")
    assert said.engine.settings({}) == sd.load(trained, device="cpu").engine.settings({"steps": 2})


def test_rows_are_told_and_say_what(told) -> None:
    asked = told.sample(4, seed=1, condition={"qed": 0.4}, steps=3, sizes=4)
    assert asked.columns["qed"] == [0.4] * 4
    assert asked.provenance["sampling"]["condition"] == {"qed": 0.4}
    values = [0.3, 40.0, 0.36, 0.4]
    each = told.sample(4, seed=1, condition={"qed": values}, steps=3, sizes=4)
    places = [r.points.positions for r in each]
    assert each.columns["qed"] == values
    assert np.allclose(places[3], asked[3].points.positions, atol=1e-5)
    assert not np.allclose(places[1], asked[1].points.positions, atol=1e-3)


def test_the_number_of_atoms_goes_with_what_is_asked(told) -> None:
    law = told.config["process"]["told_sizes"]
    assert len(law["mean"]) == len(law["spread"]) == len(told.config["length_counts"])
    asked = {"condition": {"qed": [-40.0, 40.0] * 10}, "steps": 2}
    sizes = [len(r.points) for r in told.sample(20, **asked)]
    assert len(set(sizes[::2])) == 1 and len(set(sizes[1::2])) == 1
    assert {len(r.points) for r in told.sample(4, sizes=5, condition={"qed": 0.3}, steps=2)} == {5}


def test_weight_zero_is_the_law_of_all_rows(told) -> None:
    how = {"seed": 2, "steps": 3, "sizes": 5}
    free = told.sample(3, **how)
    none = told.sample(3, condition={"qed": 0.4}, weight=0.0, **how)
    hard = told.sample(3, condition={"qed": 0.3}, weight=400.0, **how)
    for a, b, c in zip(free, none, hard, strict=True):
        assert np.array_equal(a.points.positions, b.points.positions)
        assert not np.allclose(a.points.positions, c.points.positions, atol=1e-3)


def test_a_condition_goes_with_a_given_graph_and_with_designs(told) -> None:
    rows = told.sample(2, graph="CO", condition={"qed": 0.4}, weight=2.0, steps=3)
    assert all(r.valid and r.text == "CO" for r in rows)
    designed = sd.design(told, "qed", n=2, method="svdd", budget=8, graph="CO", steps=3,
                         condition={"qed": 0.4})  # fmt: skip
    assert [r.text for r in designed if r.valid][:1] == ["CO"]
    evolved = sd.design(told, sd.reward(_spread, places=True, floor=0.0), n=1, budget=12,
                        graph="CO", steps=3, condition={"qed": 0.4})  # fmt: skip
    assert len(evolved.asked) == 12  # children of the first five stand beside new draws


@pytest.mark.parametrize(
    "asked, why",
    [
        ({"condition": {"qd": 1.0}}, "unknown condition 'qd'; this model takes qed"),
        ({"condition": {"qed": "high"}}, "must be a number"),
        ({"weight": 2.0}, "weight belongs to condition"),
    ],
    ids=["name", "text", "weight"],
)
def test_what_a_told_model_cannot_be_asked_says_why(told, asked, why) -> None:
    with pytest.raises(ValueError, match=why):
        told.sample(2, steps=2, **asked)


def test_what_lies_outside_of_the_training_rows_is_said(told, caplog) -> None:
    told.sample(1, steps=2, condition={"qed": 0.36})
    assert not caplog.messages
    told.sample(1, steps=2, condition={"qed": 40.0})
    assert "qed = 40.0 lies outside of the training rows: qed (" in caplog.text


def test_a_told_model_goes_on_with_what_it_was_told(told, tmp_path) -> None:
    again = sd.train(told_recipe(tmp_path, told.source), tmp_path / "run", device="cpu")
    assert sd.load(again).config["conditions"] == told.config["conditions"]
    other = told_recipe(tmp_path, told.source, '["logp"]')
    with pytest.raises(ScidiffError, match="is told qed: data.condition must name just that"):
        sd.train(other, tmp_path / "other", device="cpu")
    with pytest.raises(ScidiffError, match="told rewards by name, and 'gap' is none"):
        sd.train(told_recipe(tmp_path, None, '["gap"]'), tmp_path / "third", device="cpu")


def test_properties_of_qm9_have_their_units(tmp_path, shared_data) -> None:
    content = told_recipe(tmp_path, None, '["gap", "mu", "n_heavy"]').read_text()
    where = 'source = "qm9_3d"\nlimit = 40\nwhere = {half = "b"}'
    content = content.replace(f'source = "{tmp_path / "toy.sdf"}"', where)
    (tmp_path / "qm9.toml").write_text(content)
    with pytest.raises(ScidiffError, match="no column 'n_heavy', expected one of mu, alpha"):
        load_molecules(read(tmp_path / "qm9.toml"), tmp_path)
    (tmp_path / "qm9.toml").write_text(content.replace(', "n_heavy"', ', "logp"'))
    found, data = load_molecules(read(tmp_path / "qm9.toml"), tmp_path)
    table = datasets.load("qm9_3d")
    rows = {s: i for i, s in enumerate(table.objects())}
    gaps, index = table.values("HOMO_LUMO_gap_au"), table.values("index")
    for smiles, gap, logp in zip(
        found.strings, found.told["gap"], found.told["logp"], strict=True
    ):
        assert gap == pytest.approx(27.2114 * gaps[rows[smiles]], rel=1e-4)
        assert logp == pytest.approx(sd.reward("logp")([Chem.MolFromSmiles(smiles)])[0])
        assert index[rows[smiles]] % 2 == 0
    assert [c.unit for c in data.conditions.columns] == ["eV", "debye", ""]
    assert str(data.conditions.columns[0]).endswith(" eV)")
    assert len(data.told[0]) == 38 and data.told[0].shape[1] == 3
