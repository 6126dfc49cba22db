"""Graph models through `sd.load`: token rows, trained SDEs and files of GDSS answer the same
calls, and say what they cannot do."""

import math
import pickle

import pytest
import torch
from tiny_graphs import (
    ATOMS,
    NODES,
    VOCABULARY,
    gdss_content,
    write_gdss,
    write_graph_sde,
    write_token_graphs,
)

from scidiff.api.constraining import graph_constraints
from scidiff.api.design import design
from scidiff.api.entry import load
from scidiff.api.gdss_files import known_sets
from scidiff.api.requests import InfillRequest
from scidiff.api.scaffold import RowLaw, Scaffold
from scidiff.core import ScidiffError, seeded
from scidiff.data.graph_tokens import node_count, triangle
from scidiff.data.tokens import EOS
from scidiff.domains.molecule_graph import MoleculeGraphDomain
from scidiff.guidance.particles import sample
from scidiff.networks.gdss_weights import WeightsError, read_gdss
from scidiff.training.checkpoint import CheckpointError

spell = MoleculeGraphDomain.spell
FEW = {"token": {}, "sde": {"steps": 3}, "gdss": {"steps": 3}}  # settings of a quick run


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    folder = tmp_path_factory.mktemp("graphs")
    with pytest.MonkeyPatch.context() as patch:
        file = write_gdss(folder / "gdss_qm9.pth", patch)
    made = {
        "token": write_token_graphs(folder / "token"),
        "sde": write_graph_sde(folder / "sde"),
        "gdss": file,
    }
    return {kind: load(path, device="cpu") for kind, path in made.items()}


@pytest.fixture(params=["token", "sde", "gdss"])
def kind(request):
    return request.param


# ---------------------------------------------------------------- every kind


def test_rows_depend_on_the_seed_alone_and_keep_their_reasons(models, kind):
    model, few = models[kind], FEW[kind]
    a, b = model.sample(12, 3, **few), model.sample(12, 4, **few)
    assert a.texts == model.sample(12, 3, **few).texts != b.texts
    assert a.kind == "molecule" and all(r.valid == (not r.reason) for r in a)
    used = a.provenance["sampling"]
    assert "nodes" not in used and all(used[name] == value for name, value in few.items())


def test_the_number_of_nodes_can_be_given(models, kind):
    states = sample(models[kind].sampler(nodes=4, **FEW[kind]), 6, seeded(0))
    counts = (states.ids > EOS).sum(1) if kind == "token" else states.mask.sum(1)
    assert set(counts.tolist()) == {triangle(4) if kind == "token" else 4}
    most = 9 if kind == "gdss" else NODES
    with pytest.raises(ValueError, match=f"molecules of at most {most} atoms, got 40"):
        models[kind].sample(1, nodes=40)
    with pytest.raises(ValueError, match="nodes must be at least 1, got 0"):
        models[kind].sample(1, nodes=0)


def test_a_scaffold_stays_and_the_law_of_sizes_is_cut_to_what_is_larger(models, kind):
    """Every graph holds O=C at its first two nodes, and has at least one more."""
    model = models[kind]
    x = sample(model.sampler(scaffold="O=C", **FEW[kind]), 30, seeded(1))
    if kind == "token":
        assert (x.ids[:, :3] == torch.tensor(VOCABULARY.encode("OC="))).all()
        sizes = {node_count(int(n)) for n in (x.ids > EOS).sum(1)}
    else:
        hot = torch.eye(len(ATOMS))[[ATOMS.index("O"), ATOMS.index("C")]]
        assert torch.equal(x.X[:, :2], hot.expand(30, 2, -1)) and (x.A[:, 0, 1] == 2).all()
        sizes = set(x.mask.sum(1).tolist())
    assert min(sizes) >= 3 and sizes <= ({*range(3, 10)} if kind == "gdss" else {3, 4, 5})
    with pytest.raises(ValueError, match=r"9 atoms and molecules of at most \d+ are drawn"):
        model.sample(1, scaffold="CCCCCCCCC")


def test_infilling_joins_new_nodes_at_the_open_end_only(models, kind):
    """The carbon of [*]CO is open and its oxygen is not: nothing new is joined to the oxygen."""
    model = models[kind]
    state = model.engine.infill(InfillRequest("[*]CO", 20, range(1, 3), 1), seeded(2))
    x = state if kind != "token" else _arrays(state)
    assert set(x.mask.sum(1).tolist()) == {3, 4}
    assert (x.A[:, 1, 2:] == 0).all() and (x.A[:, 0, 1] == 1).all()
    assert (x.A[:, 0, 2:] != 0).any()
    result = model.infill("[*]CO", 5, gap=(1, 2))
    assert len(result) == 5 and result.provenance["pattern"] == "[*]CO"


def _arrays(state):
    from scidiff.data.graph_tokens import to_graphs

    return to_graphs(state.ids, VOCABULARY)


METHODS = ["svdd", "smc", "nested", "best-of-n", "refine", "evolve", "surrogate"]


@pytest.mark.parametrize("method", METHODS)
def test_designs_run_through_the_same_call(models, kind, method):
    run = [design(models[kind], _atoms, 2, method, 40, 1, floor=0.0, **FEW[kind]) for _ in "ab"]
    assert run[0].to_frame().equals(run[1].to_frame())
    asked = run[0].asked.to_frame()  # read again from their texts: the same objects
    assert len(asked) == run[0].ledger.asked and asked["canonical"].is_unique
    few = method in ("evolve", "surrogate") and len(run[0]) == run[0].ledger.asked == 1
    assert len(run[0]) == 2 or few  # searches hand on what they met
    assert run[0].ledger.asked <= 40 and run[0].ledger.network_rows > 0
    frame = run[0].to_frame()
    for row in frame[frame["status"] == "ok"].itertuples():
        assert row.score == pytest.approx(sum(c.upper() in "CNOF" for c in row.smiles) / 10)


@pytest.mark.parametrize("method", ["smc", "best-of-n"])
def test_screened_designs_run_through_the_same_call(models, kind, method):
    how = dict(floor=0.0, screen={"reward": _atoms, "candidates": 2}, **FEW[kind])
    run = [design(models[kind], _atoms, 2, method, 40, 1, **how) for _ in "ab"]
    assert run[0].to_frame().equals(run[1].to_frame())
    assert len(run[0]) == 2 and run[0].ledger.asked <= 40


def _atoms(mols):
    return [m.GetNumAtoms() / 10 for m in mols]


def test_likelihoods_say_what_they_count(models, kind):
    frame = models[kind].log_likelihood(["CO", "C"], draws=4)
    assert frame["log_likelihood"].map(math.isfinite).all()
    if kind == "token":
        assert frame["tokens"].tolist() == [4, 2]  # C O - and the end
    else:
        assert frame["coordinates"].tolist() == [2 * 4 + 1, 4]
        assert frame["standard_error"].tolist() == [0, 0]  # few enough for the exact trace


def test_unknown_settings_are_named_with_those_of_this_kind_of_model(models, kind):
    wrong = {"token": "solver", "sde": "tokens_per_step", "gdss": "temperature"}[kind]
    known = {"token": "temperature", "sde": "solver", "gdss": "solver"}[kind]
    with pytest.raises(ValueError, match=f"unknown sampling setting '{wrong}'; .*{known}"):
        models[kind].sample(1, **{wrong: 1})


@pytest.mark.parametrize(
    ("wrong", "line"),
    [
        ({"solver": "exp2"}, "unknown solver 'exp2'.*did you mean 'exp1'"),
        ({"steps": 0}, "steps must be at least 1, got 0"),
        ({"eta": -1.0}, "eta must be 0 or more, got -1"),
        ({"rho": -0.5}, "rho must be 0 or more"),
        ({"eta": math.nan}, "eta must be a number or None, got nan"),
        ({"grid": "lamda"}, "unknown grid 'lamda'.*'lambda'"),
        ({"snr": -1.0}, "snr"),
        ({"constraints": ("valence",)}, "token by token"),
        ({"constraints": "valence"}, "must be a list, got the text"),
    ],
)
def test_wrong_settings_of_a_continuous_model(models, wrong, line):
    with pytest.raises((ValueError, ScidiffError), match=line):
        models["sde"].sample(1, **wrong)


def test_eta_and_rho_fit_the_solver_unless_they_are_given(models):
    used = models["gdss"].engine.settings({})
    assert (used["solver"], used["eta"], used["rho"]) == ("2m", 3.0, 0.85)
    used = models["gdss"].engine.settings({"solver": "reverse", "snr": 0.2})
    assert (used["eta"], used["rho"]) == (1.0, 1.0)
    published = models["gdss"].sampler(solver="reverse", snr=0.2, steps=5, compat=True)
    assert published.evaluations == 10  # two network calls a step
    assert models["gdss"].engine.settings({"eta": 3.0})["eta"] == 3.0


def test_nothing_remembers_gradients_and_bf16_is_refused(models, tmp_path):
    x = sample(models["gdss"].sampler(steps=2), 2, seeded(0))
    assert not x.X.requires_grad and not x.guesses[0][1].requires_grad
    with pytest.raises(ValueError, match="run in float32, got torch.bfloat16"):
        load(models["sde"].source, device="cpu", dtype="bfloat16")


# ---------------------------------------------------------------- files of GDSS


def test_a_released_file_is_the_network_it_holds(models):
    model = models["gdss"]
    own, read = model.engine.network.state_dict(), read_gdss(model.source).state_dict()
    assert own.keys() == read.keys() and all(torch.equal(own[k], read[k]) for k in own)
    assert model.name == "gdss_qm9" and model.novelty is None and "GDSS" not in repr(model)
    assert model.config["node_counts"] == known_sets()["QM9"]["node_counts"]
    assert len(model.config["sha256"]) == 64 and model.domain.charge


def test_node_counts_of_the_published_sets():
    """Sizes of the training sets (Jo et al. 2022), and the largest graph of each."""
    law = {name: known["node_counts"] for name, known in known_sets().items()}
    assert sum(law["QM9"]) == 133_885 - 13_082 and len(law["QM9"]) - 1 == 9
    assert sum(law["ZINC250k"]) == 249_455 - 24_887 and len(law["ZINC250k"]) - 1 == 38
    assert {k: sum(law[k]) for k in ("community_small", "ego_small", "grid", "ENZYMES")} == {
        "community_small": 80, "ego_small": 160, "grid": 80, "ENZYMES": 470,
    }  # fmt: skip


def test_plain_graphs_of_a_released_file_are_networkx_graphs(tmp_path, monkeypatch):
    file = write_gdss(tmp_path / "c.pth", monkeypatch, data="community_small", features=10)
    result = load(file, device="cpu").sample(3, steps=2, nodes=12)
    assert result.kind == "graph" and [len(g) for g in result.objects] == [12, 12, 12]


class Payload:
    def __reduce__(self):
        return print, ("the pickle was executed",)


def test_foreign_objects_are_refused_and_named(tmp_path, monkeypatch, capsys):
    with pytest.raises(WeightsError, match="refused: it would run .*print"):
        load(write_gdss(tmp_path / "bad.pth", monkeypatch, extra=Payload()), device="cpu")
    (tmp_path / "raw.pth").write_bytes(pickle.dumps({"x": Payload()}, protocol=2))
    with pytest.raises(WeightsError, match="raw.pth"):
        load(tmp_path / "raw.pth", device="cpu")
    assert "executed" not in capsys.readouterr().out


def test_files_that_are_no_models(tmp_path, monkeypatch):
    with pytest.raises(FileNotFoundError, match="no such file: .*gone.pth"):
        load(tmp_path / "gone.pth", device="cpu")
    with pytest.raises(WeightsError, match="trained on 'QM10', expected one of QM9, ZINC250k"):
        load(write_gdss(tmp_path / "q.pth", monkeypatch, data="QM10"), device="cpu")
    content = gdss_content()
    del content["x_state_dict"]["final.linears.2.bias"]
    torch.save(content, tmp_path / "cut.pth")
    with pytest.raises(WeightsError, match="the x weights do not fit"):
        load(tmp_path / "cut.pth", device="cpu")
    folder = write_token_graphs(tmp_path / "t", process={"kind": "gds"})
    with pytest.raises(CheckpointError, match="process 'gds', expected .*graph_sde"):
        load(folder, device="cpu")


# ---------------------------------------------------------------- what is given


def test_a_scaffold_row_hides_what_may_be_written_and_nothing_else():
    scaffold = Scaffold.of("[*]C=O", spell)
    assert scaffold.nodes == ("C", "O") and scaffold.open.tolist() == [True, False]
    mask, no_edge = VOCABULARY.mask_id, VOCABULARY.encode(".")[0]
    row = scaffold.row(4, VOCABULARY)
    assert row[:3] == VOCABULARY.encode("CO=")
    assert row[3:6] == [mask, mask, no_edge]  # node 2, its pair with C, its pair with O
    assert row[6:] == [mask, mask, no_edge, mask]
    assert Scaffold.of("CO", spell).open.all()
    with pytest.raises(ValueError, match="at least one node"):
        Scaffold.of("[*]", spell)


def test_a_row_law_draws_by_weight_and_knows_its_rows_by_their_length():
    scaffold, mask = Scaffold.of("C", spell), VOCABULARY.mask_id
    from scidiff.api.scaffold import scaffold_rows

    rows = scaffold_rows(scaffold, [2, 3], VOCABULARY, triangle(3) + 1)
    law = RowLaw(rows, [1.0, 3.0], mask)
    ids = law(4000, seeded(0))
    share = (ids[:, triangle(2)] != EOS).double().mean()
    assert abs(float(share) - 0.75) < 4 * (0.75 * 0.25 / 4000) ** 0.5
    clean = torch.where(ids == mask, VOCABULARY.encode("N")[0], ids)
    assert torch.equal(law.free(clean), ids == mask)


@pytest.mark.parametrize("how, said", [
    ({"nodes": 3, "constraints": ["nodes:N=4"]}, "'nodes:N=4' can hold for none of the molecules "
                                                 "of 3 atoms that are drawn"),
    ({"constraints": ["connected", "edges:90-99"]}, "'edges:90-99' can hold for none"),
    ({"scaffold": "CO", "constraints": ["nodes:O=0"]}, "atoms around the scaffold that are drawn"),
])
def test_a_constraint_that_no_row_can_satisfy_is_refused(models, how, said):
    with pytest.raises(ValueError, match=said):
        models["token"].sample(2, **how)


def test_a_gap_that_is_too_large_says_how_large_it_may_be(models):
    with pytest.raises(ValueError, match=f"a gap is of at most {NODES - 2} new ones, got 12"):
        models["token"].infill("C[*]O", 2)


def test_constraints_by_name(models):
    model = models["token"]
    plain = model.sample(60, 0)
    held = model.sample(60, 0, constraints=["valence", "connected"])
    assert plain.valid.mean() < 0.3 < 0.9 < held.valid.mean()
    assert any(r.reason.startswith("valence") for r in plain)
    obeyed = model.sample(60, constraints=["valence"])
    assert not any(r.reason.startswith("valence") for r in obeyed)
    x = sample(model.sampler(constraints=["edges:3-4"], nodes=4), 40, seeded(0))
    assert set((_arrays(x).A > 0).sum((1, 2)).tolist()) == {6, 8}
    x = sample(model.sampler(constraints=["degree:2"]), 40, seeded(0))
    assert (_arrays(x).A > 0).sum(2).max() == 2
    one = model.sample(60, 0, constraints=["nodes:N=1,F=0-1"])
    assert all(text.count("N") == 1 and text.count("F") <= 1 for text in one.texts)


@pytest.mark.parametrize(
    ("name", "line"),
    [
        ("valance", "unknown constraint 'valance'.*did you mean 'valence'"),
        ("degree", "must be written as 'degree:4'"),
        ("valence:3", "must be written as 'valence'"),
        ("degree:x", "needs a whole number, got 'x'"),
        ("nodes:N", "expected TYPE=NUMBER, got 'N'"),
        ("nodes:S=1", "node types must be among C N O F, got 'S'"),
    ],
)
def test_wrong_constraints(name, line):
    with pytest.raises(ValueError, match=line):
        graph_constraints([name], VOCABULARY, triangle(NODES) + 1)


def test_a_constraint_is_said_once():
    with pytest.raises(ValueError, match="'edges' is given twice, '8-12' and '20-30'"):
        graph_constraints(["edges:8-12", "valence", "edges:20-30"], VOCABULARY, 15)
