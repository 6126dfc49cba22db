"""Graph models on the command line: files of GDSS, solvers, scaffolds, and what is refused."""

import json

import pytest
from tiny_graphs import write_gdss, write_graph_sde, write_token_graphs


@pytest.fixture
def gdss(tmp_path, monkeypatch):
    return write_gdss(tmp_path / "gdss_qm9.pth", monkeypatch)


def test_a_released_file_is_sampled_with_a_solver(scidiff, gdss):
    typed = ["sample", gdss, "-n", 6, "--solver", "exp1", "--steps", 3, "--eta", 5, "--rho", 0.7]
    done = scidiff(*typed, "--json").document
    used = done["provenance"]["sampling"]
    assert (used["solver"], used["steps"], used["eta"], used["rho"]) == ("exp1", 3, 5.0, 0.7)
    assert len(done["rows"]) == 6 and done["provenance"]["model"] == "gdss_qm9"
    assert "published as validity without correction" in done["notes"][0]
    assert "valence alone" in scidiff(*typed).out
    facts = scidiff("models", "info", gdss, "--json").document
    assert facts["domain"] == "molecule_graph" and facts["process"] == "graph_sde"


def test_correction_is_a_choice_and_counted_by_row(scidiff, gdss):
    typed = ["sample", gdss, "-n", 20, "--steps", 3, "--json"]
    plain, done = scidiff(*typed).document, scidiff(*typed, "--correct").document
    assert "corrected" not in plain["rows"][0]
    for before, after in zip(plain["rows"], done["rows"], strict=True):
        assert after["corrected"] or after["smiles"] == before["smiles"]
        assert 0 < after["atoms_kept"] <= 1 and not (before["valid"] and after["corrected"])
    assert sum(r["corrected"] for r in done["rows"]) > 3 and "rows corrected" in done["notes"][1]


def test_graphs_on_tokens_take_nodes_scaffold_and_constraints(scidiff, tmp_path):
    model = write_token_graphs(tmp_path / "m")
    typed = ["--scaffold", "CO", "--nodes", 4, "--constraint", "valence"]
    done = scidiff("sample", model, "-n", 8, *typed, "--constraint", "connected", "--json")
    used = done.document["provenance"]["sampling"]
    assert used["constraints"] == ["valence", "connected"] and used["nodes"] == 4
    assert all("CO" in r["smiles"] or "OC" in r["smiles"] for r in done.document["rows"][:1])
    filled = scidiff("infill", model, "C[*]", "-n", 3, "--longest", 2, "--json").document
    assert len(filled["rows"]) == 3


def test_designs_with_a_solver(scidiff, tmp_path):
    model, out = write_graph_sde(tmp_path / "m"), tmp_path / "hits.csv"
    typed = ["--reward", "qed", "-n", 2, "--budget", 8, "--method", "smc", "--steps", 3, "-o", out]
    done = scidiff("design", model, *typed, "--json").document
    assert done["provenance"]["design"]["steps"] == 3 and out.is_file()


def test_likelihoods_of_molecules_as_graphs(scidiff, tmp_path):
    (tmp_path / "mols.smi").write_text("CO\nCS\nCCCCCC\nC(\n")
    for write, unit in ((write_token_graphs, "token"), (write_graph_sde, "coordinate")):
        model = write(tmp_path / unit)
        done = scidiff("likelihood", model, tmp_path / "mols.smi", "--json").document
        assert [r["text"] for r in done["rows"]] == ["CO"]
        reasons = {r["text"]: r["reason"] for r in done["rejects"]}
        assert "'S'" in reasons["CS"] and "most" in reasons["CCCCCC"]
        assert "readable SMILES" in reasons["C("] and f"nats a {unit}" in done["summary"]


@pytest.mark.parametrize(
    ("options", "line"),
    [
        (["--solver", "exp2"], "did you mean 'exp1'"),
        (["--steps", 0], "steps must be at least 1, got 0"),
        (["--eta", -1], "eta must be 0 or more, got -1"),
        (["--nodes", 99], "molecules of at most 9 atoms, got 99"),
        (["--temperature", 2], "unknown sampling setting 'temperature'; expected one of solver"),
        (["--constraint", "valence"], "token by token"),
        (["--scaffold", "not smiles"], "not smiles"),
        (["--scaffold", "CS"], "'S'"),
        (["--quality", "best"], "quality must be one of draft, balanced, exact"),
        (["--quality", "draft"], "no frontier"),
        (["--seconds", 5], "no frontier"),
        (["--dtype", "bfloat16"], "float32"),
        (["--correct", "--shards", "-o", "rows"], "--no-shards"),
    ],
)
def test_wrong_options_are_one_line(scidiff, gdss, options, line):
    assert line in scidiff("sample", gdss, "-n", 2, *options).one_line()


class Payload:
    def __reduce__(self):
        return print, ("the pickle was executed",)


def test_wrong_files_are_one_line(scidiff, tmp_path, monkeypatch):
    assert "no such file" in scidiff("sample", tmp_path / "gone.pth").one_line()
    foreign = write_gdss(tmp_path / "bad.pth", monkeypatch, extra=Payload())
    assert "it would run" in scidiff("sample", foreign).one_line()
    (tmp_path / "cut.npz").write_bytes(b"PK")
    assert "cannot read" in scidiff("sample", tmp_path / "cut.npz").one_line()
    model = write_graph_sde(tmp_path / "m")
    config = json.loads((model / "config.json").read_text())
    config["process"]["kind"] = "gsde"
    (model / "config.json").write_text(json.dumps(config))
    assert "'gsde'" in scidiff("sample", model).one_line()


def test_a_setting_of_graphs_is_refused_by_strings(scidiff, tiny_model):
    said = scidiff("sample", tiny_model, "--solver", "exp1").one_line()
    assert "unknown sampling setting 'solver'; expected one of block_size" in said
