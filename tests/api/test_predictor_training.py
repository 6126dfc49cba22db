"""From a file of measured objects to an oracle: recipes, columns that cannot be learned, cards."""

import csv
import json
import math
from pathlib import Path

import numpy as np
import pytest
from rdkit.Chem import MolFromSmiles
from rdkit.Chem.Crippen import MolLogP

import scidiff as sd
from scidiff.api.predictor_training import measured, predictor_recipe
from scidiff.cli.main import run
from scidiff.core import ScidiffError
from scidiff.data.datasets import load
from scidiff.data.tables import TableError
from scidiff.networks.committee import Committee
from scidiff.rewards.learned import Oracle, OracleReward
from scidiff.rewards.predictors import ProcessOracle

ROOT = Path(__file__).parents[2]


def written(path, column, values, objects=None, name="smiles"):
    with path.open("w", newline="") as file:
        rows = csv.writer(file)
        rows.writerow([name, column])
        rows.writerows(zip(objects or smiles(len(values)), values, strict=True))
    return path


def smiles(n):
    known = load("qm9").objects()
    return [known[i] for i in np.random.default_rng(1).permutation(len(known))[:n]]


def logp(n):
    return [MolLogP(MolFromSmiles(s)) for s in smiles(n)]


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    folder = tmp_path_factory.mktemp("run")
    file = written(folder / "mine.csv", "activity", logp(240))
    return sd.train(file, folder / "out", predicts="activity")


def test_a_file_becomes_an_oracle(trained):
    oracle = Oracle.load(trained)
    assert isinstance(oracle.network, ProcessOracle) and oracle.outputs == ("activity",)
    rows = smiles(400)[240:]
    found = measured(oracle, rows, logp(400)[240:])
    assert found["Pearson r"] > 0.6 and found["RMSE"] < 0.8 * found["RMSE of the mean"]
    assert found["rows"] + found["rows outside"] == 160
    assert abs(found["in the 95 % interval"] - 0.95) < 4 * math.sqrt(0.0475 / found["rows"])
    mols = [MolFromSmiles(s) for s in rows if oracle.applies(MolFromSmiles(s))]
    bounds = OracleReward(str(trained), kappa=-1.0)(mols)
    assert all(a < b for a, b in zip(bounds, OracleReward(str(trained))(mols), strict=True))


def test_the_card_says_what_and_how_good(trained):
    text = (trained / "README.md").read_text()
    assert "192 rows trained on, 24 for calibration, 24 for the measurements below" in text
    assert "in the 95 % interval" in text and "| predicts | activity |" in text
    assert f"oracle('{trained}')" in text


def test_the_same_file_makes_the_same_oracle(trained, tmp_path):
    again = sd.train(trained.parent.parent / "mine.csv", tmp_path, predicts="activity")
    sums = [json.loads((f / "config.json").read_text())["sha256"] for f in (again, trained)]
    assert sums[0] == sums[1]


def test_labels_become_classes(tmp_path):
    classes = ["greasy" if v > 0.5 else "polar" for v in logp(200)]
    recipe = tmp_path / "recipe.toml"
    recipe.write_text(f"""
name = "greasy"
predicts = "kind"
[data]
source = "{written(tmp_path / 'a.csv', 'kind', classes)}"
[predictor]
members = 2
steps = 40
split = "scaffold"
""")
    oracle = Oracle.load(sd.train(recipe, tmp_path / "out"))
    assert isinstance(oracle.network, Committee) and oracle.outputs == ("greasy", "polar")
    rows, truth = smiles(300)[200:], ["greasy" if v > 0.5 else "polar" for v in logp(300)[200:]]
    found = measured(oracle, rows, truth)
    assert found["mean AUROC"] > 0.75 and found["accuracy"] > 0.6
    assert oracle.uncertain and (oracle.sd(smiles(5)) > 0).all()


def test_sequences_are_read_with_their_alphabet(tmp_path):
    rng = np.random.default_rng(0)
    rows = ["".join(rng.choice(list("ACGU"), 15)) for _ in range(80)]
    file = written(tmp_path / "a.csv", "load", [r.count("G") for r in rows], rows, "sequence")
    oracle = Oracle.load(sd.train(file, tmp_path / "out", predicts="load", domain="rna"))
    assert oracle.reader.domain == "rna" and oracle.lengths == (15, 15)
    assert oracle.predict(["G" * 15])[0, 0] > oracle.predict(["A" * 15])[0, 0] + 2


def test_rewards_can_be_predicted_and_rows_can_be_chosen(tmp_path):
    file = written(tmp_path / "a.csv", "half", ["a", "b"] * 40)
    recipe = tmp_path / "recipe.toml"
    recipe.write_text(f"""
name = "surrogate"
predicts = "logp"
[data]
source = "{file}"
where = {{half = "a"}}
validation = 5
[predictor]
test = 5
""")
    oracle = Oracle.load(sd.train(recipe, tmp_path / "out"))
    assert oracle.network.config.rows == 30


def test_rows_without_a_value_are_counted(tmp_path, caplog):
    values = [v if i % 4 else "" for i, v in enumerate(logp(100))]
    file = written(tmp_path / "a.csv", "y", values, ["C1CC", *smiles(100)[1:]])
    folder = sd.train(file, tmp_path / "out", predicts="y")
    assert "24 rows have no value of y and are left out" in caplog.text
    assert "1 rejected, 24 without a value" in (folder / "README.md").read_text()
    assert "C1CC" in (tmp_path / "out/rejects.csv").read_text()


@pytest.mark.parametrize("values, said", [
    ([1.5] * 60, "holds one value, 1.5, in all 60 rows: there is nothing to learn"),
    ([*range(30), *["n/a"] * 31], "holds 31 different texts in 61 rows; classes must be met"),
    ([7.0] * 58 + [">8", "n.d."], "holds one value, 7.0, in all 58 rows: there is nothing"),
    ([f"batch {i}" for i in range(60)], "60 different texts in 60 rows; classes must be met"),
    ([*range(59), "inf"], "holds an infinite value"),
    ([*range(20), *[""] * 40], "has a value in 20 usable rows; an oracle needs at least 30"),
])
def test_columns_that_cannot_be_learned_are_said(tmp_path, values, said):
    with pytest.raises(ScidiffError, match=said):
        sd.train(written(tmp_path / "a.csv", "y", values), tmp_path / "out", predicts="y")
    assert not (tmp_path / "out/model").exists()


@pytest.mark.parametrize("task", ["auto", "number"])
def test_cells_without_a_number_are_counted(tmp_path, caplog, task):
    values = [*[f"{v:.2f}".replace(".", ",") for v in logp(60)], ">8,0", "n.d."]
    file = written(tmp_path / "a.csv", "y", values)
    recipe = tmp_path / "recipe.toml"
    recipe.write_text(f'name = "x"\npredicts = "y"\n[data]\nsource = "{file}"\n'
                      f'[predictor]\ntask = "{task}"\n')
    folder = sd.train(recipe, tmp_path / "out")
    assert "2 cells of y hold no number, the first '>8,0', and are left out" in caplog.text
    assert "no value of y" not in caplog.text
    assert "2 without a number" in (folder / "README.md").read_text()
    oracle = Oracle.load(folder)
    assert oracle.task != "classes" and oracle.mean == pytest.approx(np.mean(logp(60)), abs=0.2)


def test_a_column_of_text_is_no_number(tmp_path):
    file = written(tmp_path / "a.csv", "y", ["low", "high"] * 30)
    recipe = tmp_path / "recipe.toml"
    recipe.write_text(f'name = "x"\npredicts = "y"\n[data]\nsource = "{file}"\n'
                      '[predictor]\ntask = "number"\n')
    with pytest.raises(ScidiffError, match="is not numeric: 60 of 60 .* the first 'low'"):
        sd.train(recipe, tmp_path / "out")


def test_classes_that_no_training_row_has_are_left_out(tmp_path, caplog):
    values = ["low", "high"] * 40 + ["rare"]
    for seed in range(20):  # until the rare one is not trained on
        caplog.clear()
        file = written(tmp_path / f"{seed}.csv", "y", values)
        folder = sd.train(file, tmp_path / f"out{seed}", predicts="y", seed=seed, steps=2)
        if "1 rows of y rare are left out: no row that is trained on" in caplog.text:
            break
    assert set(Oracle.load(folder).outputs) == {"low", "high"}


def test_a_missing_column_names_the_nearest(tmp_path):
    file = written(tmp_path / "a.csv", "activity", logp(40))
    with pytest.raises(TableError, match="no column 'activty'.*did you mean 'activity'"):
        sd.train(file, tmp_path / "out", predicts="activty")


def recipe_of(tmp_path, extra="", data=""):
    file = tmp_path / "r.toml"
    file.write_text(f'name = "x"\npredicts = "y"\n{extra}\n[data]\nsource = "a.csv"\n{data}\n')
    return file


@pytest.mark.parametrize("extra, data, said", [
    ('domian = "dna"', "", "domian: .*did you mean 'domain'"),
    ('domain = "graph"', "", "nothing is predicted of domain 'graph'"),
    ("", "[predictor]\nmembers = 0", "members must be at least 1, got 0"),
    ("", "[predictor]\nmember = 2", "did you mean 'members'"),
    ("", '[predictor]\nkind = "forest"', "predictor.kind: .*'auto', 'process' or 'network'"),
    ('domain = "dna"', '[predictor]\nsplit = "scaffold"', "sequences have no scaffolds"),
])
def test_recipes_that_say_nonsense(tmp_path, extra, data, said):
    with pytest.raises(ScidiffError, match=said):
        predictor_recipe(recipe_of(tmp_path, extra, data))


def test_what_belongs_to_models_is_refused(tmp_path):
    file = written(tmp_path / "a.csv", "y", logp(40))
    with pytest.raises(ScidiffError, match="leave out init"):
        sd.train(file, tmp_path / "out", predicts="y", init="moses-smiles")
    with pytest.raises(ScidiffError, match="a recipe says predicts itself"):
        sd.train(ROOT / "recipes/qm9_graph.toml", tmp_path / "out", predicts="y")
    recipe = recipe_of(tmp_path, data="validation = 38")
    recipe.write_text(recipe.read_text().replace("a.csv", str(file)))
    with pytest.raises(ScidiffError, match="40 rows cannot be split into training -2, valid"):
        sd.train(recipe, tmp_path / "out")


@pytest.mark.parametrize("file", sorted((ROOT / "recipes/predictors").glob("*.toml")),
                         ids=lambda p: p.name)
def test_shipped_recipes_of_oracles_parse(file):
    assert predictor_recipe(file).predicts


@pytest.mark.parametrize("letters, domain",
                         [("ACGT", "dna"), ("ACGU", "rna"), ("GIKF", "peptide")])
def test_letters_say_what_an_oracle_of_a_fasta_reads(tmp_path, letters, domain):
    file = tmp_path / "a.fasta"
    file.write_text(f">a y=1\n{letters}\n")
    assert predictor_recipe(file, "y").domain == domain
    assert predictor_recipe(file, "y", "peptide").domain == "peptide"


def test_it_is_typed_in_one_line(tmp_path, capsys):
    file = written(tmp_path / "a.csv", "y", logp(60))
    assert run(["train", str(file), "--predicts", "y", "-o", str(tmp_path / "out"), "--json"]) == 0
    folder = json.loads(capsys.readouterr().out)["model"]
    assert Oracle.load(folder).outputs == ("y",)
    assert run(["train", str(file), "--predicts", "z", "-o", str(tmp_path / "b")]) == 2
    assert "no column 'z'" in capsys.readouterr().err
