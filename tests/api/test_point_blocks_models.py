"""Sequence then structure from a recipe to designs: trained, continued, sampled, saved, asked."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from rdkit import Chem
from rdkit.Chem.rdDistGeom import EmbedMolecule

import scidiff as sd
from scidiff.api.model import Model
from scidiff.api.point_blocks_intake import as_items, as_written, written
from scidiff.cli.main import run
from scidiff.core import ScidiffError, seeded
from scidiff.data.points import PackedPoints, Points
from scidiff.data.tokens import Vocabulary
from scidiff.domains.molecule_3d import placed
from scidiff.guidance.particles import sample
from scidiff.training.points import prepare_points

SMILES = ["C", "O", "N", "CO", "C=O", "CC", "C#N", "CN", "OO", "FC", "C=C", "CCO"]
RECIPE = """
name = "toy-blocks"
domain = "molecule_3d"
[data]
source = "{source}"
validation = 2
[network]
kind = "point_blocks"
width = 16
heads = 2
sequence_depth = 1
depth = 1
head_depth = {head}
spatial = 1
[[stages]]
process = "point_blocks"
steps = {steps}
batch_size = 4
checkpoint_every = 2
validate_every = 2
warmup = 1
precision = "32-true"
[stages.point_blocks]
sizes = [1, 3, 9]
"""


def recipe(folder: Path, steps: int = 4, head: int = 0, more: str = "") -> Path:
    with Chem.SDWriter(str(folder / "toy.sdf")) as out:
        for smiles in SMILES:
            mol = Chem.AddHs(Chem.MolFromSmiles(smiles))
            assert EmbedMolecule(mol, randomSeed=1) == 0
            out.write(mol)
    text = RECIPE.format(source=folder / "toy.sdf", steps=steps, head=head) + more
    (folder / "toy.toml").write_text(text)
    return folder / "toy.toml"


@pytest.fixture(scope="module")
def trained(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("blocks")
    return sd.train(recipe(folder), folder / "run", device="cpu")


@pytest.fixture(scope="module")
def model(trained) -> Model:
    return sd.load(trained, device="cpu")


# ---------------------------------------------------------------- training


def test_a_run_leaves_all_that_a_model_needs(trained) -> None:
    config = json.loads((trained / "config.json").read_text())
    assert config["process"]["kind"] == "point_blocks"
    assert config["process"]["point_blocks"]["sizes"] == [1, 3, 9]
    assert config["domain_options"] == {"angstrom": 1.9} and config["sampling"] == {}
    assert config["network"]["config"]["max_atoms"] == 9
    assert sum(config["length_counts"]) == len(SMILES) - 2
    card = (trained / "README.md").read_text()
    assert "point_blocks" in card and "bonds as written" in card


def test_a_killed_run_ends_as_one_that_was_not(tmp_path, trained) -> None:
    file = recipe(tmp_path)

    class Killed(Exception):
        pass

    def kill(stage: str, step: int, row: dict[str, float]) -> None:
        if step == 2:
            raise Killed

    with pytest.raises(Killed):
        sd.train(file, tmp_path / "run", device="cpu", on_log=kill)
    again = sd.train(file, tmp_path / "run", device="cpu")
    weights = "model.safetensors"
    assert (again / weights).read_bytes() == (trained / weights).read_bytes()


@pytest.mark.parametrize(
    "more, why",
    [
        ("scale = 0.0", "scale must be positive"),
        ("structure = -1.0", "structure must be positive"),
        ("times = 'sorted'", "times must be one of block, rising"),
        ("size = 3", "did you mean 'sizes'"),
    ],
    ids=["scale", "structure", "times", "key"],
)
def test_a_recipe_that_makes_no_sense_is_refused(tmp_path, more, why) -> None:
    with pytest.raises(ScidiffError, match=why):
        sd.train(recipe(tmp_path, more=more), tmp_path / "run", device="cpu")


def test_a_recipe_for_another_process_or_too_few_atoms_is_refused(tmp_path) -> None:
    file = recipe(tmp_path)
    text = file.read_text()
    file.write_text(text.replace('kind = "point_blocks"', 'kind = "point_blocks"\nmax_atoms = 5'))
    with pytest.raises(ValueError, match="max_atoms must be at least 9"):
        sd.train(file, tmp_path / "run", device="cpu")
    other = text.split("[[stages]]")[0] + "[[stages]]\nprocess = 'points'\nsteps = 1\n"
    file.write_text(other)
    with pytest.raises(ValueError, match="'point_blocks' is trained by point_blocks"):
        sd.train(file, tmp_path / "run", device="cpu")


def test_a_model_is_continued_on_other_molecules(tmp_path, trained) -> None:
    recipe(tmp_path)
    folder = sd.train(
        tmp_path / "toy.sdf", tmp_path / "run", init=str(trained), steps=2, device="cpu"
    )
    config = json.loads((folder / "config.json").read_text())
    assert config["process"]["point_blocks"]["sizes"] == [1, 3, 9]


# ---------------------------------------------------------------- the order of atoms


def turned(points: Points, rng: np.random.Generator) -> Points:
    """The same molecule, its atoms numbered anew, elsewhere and turned."""
    order = rng.permutation(len(points))
    q, _ = np.linalg.qr(rng.normal(size=(3, 3)))
    x = points.positions[order] @ (q * np.sign(np.linalg.det(q))).T + 2.0
    bonds = points.bonds[np.ix_(order, order)]
    return Points(points.numbers[order], x, points.charges[order], bonds)


@pytest.mark.parametrize("smiles", ["CCO", "c1ccncc1C(=O)O", "C[NH2+]CC([O-])=O", "OC1CC1C#N"])
def test_the_order_is_of_the_molecule_and_not_of_its_numbering(smiles) -> None:
    one, rng = placed(smiles), np.random.default_rng(0)
    first = as_written(one)
    assert sorted(first.numbers) == sorted(one.numbers)
    for _ in range(5):
        again = as_written(turned(one, rng))
        assert again.numbers.tolist() == first.numbers.tolist()
        assert again.charges.tolist() == first.charges.tolist()
        heavy = first.numbers > 1
        apart = [np.linalg.norm(p.positions[heavy][:, None] - p.positions[heavy], axis=-1)
                 for p in (first, again)]  # fmt: skip
        assert np.allclose(*apart, atol=1e-6) or smiles.startswith("C[NH2+]")


def test_hydrogens_stand_behind_their_atom() -> None:
    found = as_written(placed("OCC#N")).numbers.tolist()
    heavy = [i for i, z in enumerate(found) if z > 1]
    owned = dict(zip(heavy, np.diff([*heavy, len(found)]) - 1, strict=True))
    assert sorted((found[i], int(n)) for i, n in owned.items()) == [(6, 0), (6, 2), (7, 0), (8, 1)]
    alone = as_written(Points.of([1, 1], np.eye(3)[:2], bonds=[[0, 1], [1, 0]]))
    assert alone.numbers.tolist() == [1, 1]


def test_a_table_is_written_row_by_row_and_types_can_follow() -> None:
    molecules = [placed(s) for s in ("CCO", "N")]
    table, at = written(PackedPoints.of(molecules))
    packed = PackedPoints.of(molecules)
    assert np.array_equal(table.numbers, packed.numbers[at]) and table.bond_counts is None
    for row, one in enumerate(molecules):
        assert np.allclose(table[row].positions, as_written(one).positions, atol=1e-5)
    with pytest.raises(ScidiffError, match="follows bonds"):
        written(table)
    with pytest.raises(ValueError, match="without"):
        as_written(table[0])


def test_types_stay_with_their_atoms_and_conditions_are_refused() -> None:
    table = PackedPoints.of([placed(s) for s in ("CCO", "N", "CO", "C=O")])
    numbers = [6, 1, 7, 8]
    kinds = np.array([numbers.index(int(z)) for z in table.numbers])
    vocabulary = Vocabulary(("C", "H", "N", "O"), "points")
    data = prepare_points(table, ["a", "b", "c", "d"], vocabulary, kinds, 1, 0)
    found = as_items(data)
    for held, points in ((False, found.train), (True, found.validation)):
        assert [numbers[k] for k in found.species[held]] == points.numbers.tolist()
    assert not np.array_equal(found.train.numbers, data.train.numbers)
    told = prepare_points(
        table, ["a"] * 4, vocabulary, kinds, 1, 0, told={"gap": [1.0, 2.0, 3.0, 4.0]}
    )
    with pytest.raises(ScidiffError, match="takes no conditions, got data.condition = gap"):
        as_items(told)


# ---------------------------------------------------------------- sampling


def test_samples_are_rows_with_their_atoms_in_space(model) -> None:
    result = model.sample(6, seed=3, steps=3, block_size=2)
    assert result.kind == "molecule" and len(result) == 6
    assert all(r.points is not None and r.note == "bonds: edm" for r in result)
    assert all(r.valid or r.reason for r in result)
    assert [r.text for r in model.sample(6, seed=3, steps=3, block_size=2)] == result.texts
    assert result.provenance["sampling"]["block_size"] == 2


def test_a_given_sequence_is_kept_in_its_order(model) -> None:
    for record in model.sample(4, sequence="COHHHH", steps=3, block_size=3):
        assert record.points.numbers.tolist() == [6, 8, 1, 1, 1, 1]
        assert len(np.unique(record.points.positions.round(3), axis=0)) == 6


def test_annealing_takes_fewer_steps(model) -> None:
    flat = model.sampler(block_size=3, steps=6)
    annealed = model.sampler(block_size=3, steps=6, last_steps=2)
    assert flat.num_steps == 9 + 3 * 7 and annealed.num_steps == 9 + 7 + 5 + 3
    assert model.sampler(block_size=3, steps=6, lag=2).num_steps == 9 + 3 * (7 + 4)


@pytest.mark.parametrize(
    "asked, why",
    [
        ({"block_size": 0}, r"block_size must be in 1\.\.9, got 0"),
        ({"block_size": 10}, r"block_size must be in 1\.\.9, got 10"),
        ({"steps": 0}, "steps must be at least 1, got 0"),
        ({"steps": 5, "last_steps": 6}, r"last_steps must be in 1 \.\. 5"),
        ({"last_steps": 0}, r"last_steps must be in 1 \.\. 30"),
        ({"annealing": "linaer"}, "did you mean 'linear'"),
        ({"solver": "2mm"}, "did you mean '2m'"),
        ({"lag": -1}, "lag must be 0 or more"),
        ({"sequence": "C" * 10}, "at most 9"),
        ({"sequence": "CX"}, "unknown token 'X'"),
        ({"sequence": ""}, "at least 1 atom"),
        ({"blocks": 3}, "did you mean 'block_size'"),
        ({"block_size": 2.5}, "whole number"),
    ],
    ids=lambda v: next(iter(v)) if isinstance(v, dict) else "",
)
def test_what_cannot_be_asked_says_why(model, asked, why) -> None:
    with pytest.raises(ValueError, match=why):
        model.sample(2, **asked)


def test_what_it_cannot_do_says_what_it_can(model) -> None:
    for do in (lambda: model.log_likelihood(["C"]), lambda: model.infill("C[*]C")):
        with pytest.raises((ScidiffError, ValueError), match="sequence="):
            do()
    with pytest.raises(ValueError, match="row 2 has 14 atoms, the model takes at most 9"):
        model.engine.encode(["C", "CCCC"])


def test_a_saved_file_keeps_every_atom_in_its_place(model, tmp_path) -> None:
    records = model.domain.decode(model.engine.encode(["O", "CO"]))
    result = model.result(records, 0)
    result.save(tmp_path / "x.xyz")
    lines = (tmp_path / "x.xyz").read_text().splitlines()
    assert lines[0] == "3" and lines[2].split()[0] == "O"
    places = np.array([line.split()[1:4] for line in lines[2:5]], float)
    assert np.allclose(places, records[0].points.positions, atol=1e-3)
    result.save(tmp_path / "x.sdf")
    read = list(Chem.SDMolSupplier(str(tmp_path / "x.sdf"), removeHs=False))
    assert [m.GetNumAtoms() for m in read] == [3, 6]


def test_a_row_that_ends_at_once_is_a_row_with_a_reason(model) -> None:
    x = sample(model.sampler(steps=2), 2, seeded(0))
    none = x.moved((x.positions * 0, x.types * 0))
    assert [r.reason for r in model.domain.decode(none)] == ["empty: there are no atoms"] * 2


def test_encoded_structures_can_be_taken_back(model) -> None:
    x, sampler = model.engine.encode(["CCO", "O"]), model.sampler(steps=3, block_size=3)
    assert [r.text for r in model.domain.decode(x)] == ["CCO", "O"]
    for k in (0, 4, 9, 13, sampler.num_steps):
        back = sampler.renoise(x, k, seeded(1))
        for j in range(k, sampler.num_steps):
            back = sampler.step(back, j, seeded(2, j))
        if k >= 9:
            assert torch.equal(back.types, x.types)
        if k == 13:  # the first block is done, and stays
            assert torch.equal(back.positions[:, :3], x.positions[:, :3])


@pytest.mark.parametrize("method", ["best-of-n", "smc", "svdd", "refine", "rollover", "evolve"])
def test_designs_are_chosen_by_any_reward(model, method) -> None:
    # little noise puts two atoms so close that some are bonded, untrained as the model is
    asked = {"sequence": "FH", "steps": 2, "block_size": 1, "rho": 0.3}
    designed = sd.design(
        model, size_of, n=2, method=method, budget=100, floor=0.0, seed=1, **asked
    )
    assert designed.to_frame()["score"].max() == 2.0
    assert {r.text for r in designed if r.valid} == {"F"}


def size_of(mols) -> list[float]:
    return [float(m.GetNumAtoms()) for m in mols]


def test_the_page_runs_from_top_to_bottom(trained, tmp_path, monkeypatch, capsys) -> None:
    page = Path(__file__).parents[2] / "docs" / "point_blocks.md"
    monkeypatch.chdir(tmp_path)
    shutil.copytree(trained, tmp_path / "runs" / "qm9-point-blocks" / "model")
    blocks = re.findall(r"^```python\n(.*?)^```$", page.read_text(), re.DOTALL | re.MULTILINE)
    names: dict[str, object] = {}
    for block in blocks:
        exec(compile(block, "docs/point_blocks.md", "exec"), names)
    assert "model toy-blocks, seed 0" in capsys.readouterr().out and len(names["hits"]) == 2
    assert (tmp_path / "drawn.xyz").exists()


def test_the_command_line_takes_every_setting(trained, tmp_path, capsys) -> None:
    out = tmp_path / "x.xyz"
    asked = ["--sequence", "FH", "--block-size", "1", "--steps", "4", "--last-steps", "2",
             "--annealing", "cosine", "--lag", "0", "--eta", "1"]  # fmt: skip
    assert run(["sample", str(trained), "-n", "3", "-o", str(out), *asked]) == 0
    side = json.loads((tmp_path / "x.xyz.json").read_text())
    sampling = side.get("provenance", side)["sampling"]
    assert (sampling["block_size"], sampling["last_steps"]) == (1, 2)
    capsys.readouterr()
    assert run(["sample", str(trained), "-n", "3", "--block-size", "0"]) == 2
    assert "block_size must be in 1..9, got 0" in capsys.readouterr().err
