"""Tuning: what is searched, what a frontier is, and how it is chosen from."""

import json
import math

import pytest
from tiny_graphs import write_gdss, write_graph_sde, write_token_graphs

from scidiff.api import distances, frontier, tuning
from scidiff.api.distances import FcdDistance, GraphDistance, PropertyDistance, find_distance
from scidiff.api.entry import load
from scidiff.core import ScidiffError
from scidiff.data.records import Record
from scidiff.domains.graph import GraphDomain
from scidiff.domains.smiles import molecule_record
from scidiff.evaluation.fcd import FcdMissing


def point(distance, seconds, valid=1.0, half=0.1, **settings):
    return {"settings": settings, "distance": [distance, distance - half, distance + half],
            "valid": [valid, valid, valid], "evaluations": 1, "seconds": seconds}  # fmt: skip


POINTS = [
    point(3.0, 0.01, steps=10), point(1.0, 0.04, steps=50), point(1.05, 0.02, steps=20),
    point(2.0, 0.03, steps=30), point(0.1, 0.001, valid=0.2, steps=1),
]  # fmt: skip


class Toy:
    """The mean number of atoms: smaller is better."""

    name = "atoms"

    def __call__(self, records):
        value = sum(len(r.text) for r in records) / len(records)
        return value, value, value


# ---------------------------------------------------------------- the frontier


def test_a_frontier_leaves_out_what_is_beaten_or_seldom_valid():
    steps = [p["settings"]["steps"] for p in frontier.undominated(POINTS)]
    assert steps == [10, 20, 50]


@pytest.mark.parametrize(
    ("asked", "steps"),
    [
        ({"quality": "draft"}, 10),
        ({"quality": "balanced"}, 20),  # its interval holds the best
        ({"quality": "exact"}, 50),
        ({"seconds": 100.0}, 50),
        ({"seconds": 25.0}, 20),
        ({"seconds": 10.0}, 10),
    ],
)
def test_settings_are_chosen_by_quality_or_time(asked, steps):
    asked = {"quality": None, "seconds": None, **asked}
    assert frontier.choose({"points": POINTS}, "m", 1000, **asked) == {"steps": steps}
    assert frontier.choose({"points": POINTS}, "m", 1000, None, None) == {}


@pytest.mark.parametrize(
    ("quality", "seconds", "line"),
    [
        ("best", None, "one of draft, balanced, exact, got 'best'"),
        ("ballanced", None, "did you mean 'balanced'"),
        ("draft", 5.0, "got both"),
        (None, 5.0, "m cannot draw 1,000 rows in 5 s: its fastest settings need about 10 s"),
    ],
)
def test_wrong_choices(quality, seconds, line):
    with pytest.raises((ValueError, ScidiffError), match=line):
        frontier.choose({"points": POINTS}, "m", 1000, quality, seconds)


# ---------------------------------------------------------------- the search


def test_the_search_climbs_to_the_best_noise_at_every_cost():
    """A bowl in log eta and rho with its floor at eta = 2.5, rho = 0.9, lower for more steps."""
    seen = []

    def full(s):
        return {"solver": "exp1", "eta": 10.0, "rho": 0.7, "steps": 1, **s}

    def measure(s):
        eta, rho = full(s)["eta"], full(s)["rho"]
        gap = 9.0 if eta == 0 else math.log2(eta / 2.5) ** 2 + 25 * (rho - 0.9) ** 2
        seen.append(json.dumps(s, sort_keys=True))
        return point(gap + 10 / s["steps"], s["steps"], **s)

    found = list(tuning.search(measure, full, math.inf))
    assert len(seen) == len(set(seen)) < 150
    for steps in (10, 20, 35, 50, 100):
        here = [p for p in found if p["settings"]["steps"] == steps]
        best = min(here, key=lambda p: p["distance"][0])["settings"]
        assert (best["eta"], best["rho"]) == (2.5, 0.9)


def test_nothing_begins_after_the_budget_but_the_first_point():
    full = {"tokens_per_step": 1}.__or__
    found = tuning.search(lambda s: point(1.0, 1.0, **s), full, -math.inf)
    assert [p["settings"] for p in found] == [{"tokens_per_step": 8}]


def test_a_point_that_is_seldom_valid_is_not_better():
    assert not tuning.better(point(0.1, 1, valid=0.5), point(1.0, 1, valid=0.9))
    assert tuning.better(point(0.9, 1, valid=0.85), point(1.0, 1, valid=0.9))


# ---------------------------------------------------------------- from a model to its frontier

REAL = ["CCO", "CCN", "CO", "CCF", "C=O", "CNC", "COC", "CC", "CCC"] * 3


@pytest.mark.parametrize("write", [write_graph_sde, write_token_graphs])
def test_a_tuned_model_is_chosen_from(tmp_path, monkeypatch, write):
    monkeypatch.setitem(tuning.LADDERS, "steps", (2, 4))
    monkeypatch.setitem(tuning.LADDERS, "tokens_per_step", (8,))
    monkeypatch.setattr(tuning, "NEIGHBOURS", dict.fromkeys(tuning.NEIGHBOURS, lambda *s: []))
    folder = write(tmp_path / "m")
    before = json.loads((folder / "config.json").read_text())
    seen = []
    tuning.tune(load(folder, device="cpu"), REAL, n=20, distance=Toy(), on_point=seen.append)
    config = json.loads((folder / "config.json").read_text())
    assert all("steps" in p["settings"] or "order" in p["settings"] for p in seen)  # whole
    assert config["frontier"]["points"] == seen and config["frontier"]["metric"] == "atoms"
    assert {k: v for k, v in config.items() if k != "frontier"} == before
    assert all(p["seconds"] > 0 and p["evaluations"] > 0 for p in seen)
    result = load(folder, device="cpu").sample(3, quality="draft")
    chosen = frontier.choose(config["frontier"], "m", 3, "draft", None)
    assert chosen and result.provenance["sampling"].items() >= chosen.items()


def test_points_hold_every_setting_that_is_set(tmp_path):
    model = load(write_graph_sde(tmp_path / "m"), device="cpu")
    found = tuning.Measure(model, Toy(), 20, 0)({"solver": "2m", "steps": 2, "eta": 0.0})
    used = found["settings"]
    assert used["eta"] == 0.0 and used["rho"] == model.engine.settings({"solver": "2m"})["rho"]
    assert "nodes" not in used and "constraints" not in used
    assert load(model.source, device="cpu").engine.settings(used).items() >= used.items()


def test_a_frontier_of_a_file_lies_beside_it(tmp_path, monkeypatch):
    monkeypatch.setitem(tuning.LADDERS, "steps", (2,))
    monkeypatch.setattr(tuning, "NEIGHBOURS", dict.fromkeys(tuning.NEIGHBOURS, lambda *s: []))
    file = write_gdss(tmp_path / "g.pth", monkeypatch)
    found = tuning.tune(load(file, device="cpu"), REAL, n=20, distance=Toy())
    assert found["saved"] == tmp_path / "g.frontier.json" and found["saved"].is_file()
    sampling = load(file, device="cpu").sample(2, quality="exact").provenance["sampling"]
    assert sampling["steps"] == 2
    found["saved"].write_text("{")
    with pytest.raises(ScidiffError, match="g.frontier.json is damaged"):
        load(file, device="cpu")


def test_a_shipped_model_is_copied(tmp_path, monkeypatch):
    monkeypatch.setitem(tuning.LADDERS, "steps", (2,))
    monkeypatch.setattr(tuning, "NEIGHBOURS", dict.fromkeys(tuning.NEIGHBOURS, lambda *s: []))
    monkeypatch.setattr(tuning, "SHIPPED", tmp_path / "shipped")
    model = load(write_graph_sde(tmp_path / "shipped" / "m"), device="cpu")
    with pytest.raises(ScidiffError, match="m is shipped|tiny-sde is shipped"):
        tuning.tune(model, REAL, n=20, distance=Toy())
    tuning.tune(model, REAL, n=20, distance=Toy(), out=tmp_path / "copy")
    assert "frontier" not in json.loads((model.source / "config.json").read_text())
    assert load(tmp_path / "copy", device="cpu").sample(2, quality="draft").valid.shape == (2,)


def test_the_command_prints_the_frontier(scidiff_run, tmp_path, monkeypatch):
    monkeypatch.setitem(tuning.LADDERS, "steps", (2,))
    monkeypatch.setattr(tuning, "NEIGHBOURS", dict.fromkeys(tuning.NEIGHBOURS, lambda *s: []))
    monkeypatch.setattr(tuning, "find_distance", lambda kind, real: Toy())
    (tmp_path / "real.smi").write_text("\n".join(REAL))
    model = write_graph_sde(tmp_path / "m")
    typed = ["tune", str(model), "--reference", str(tmp_path / "real.smi"), "-n", "20"]
    code, out, _ = scidiff_run(typed)
    assert code == 0 and "steps=2" in out and "1 settings measured" in out
    code, out, err = scidiff_run([*typed[:3], str(tmp_path / "gone.smi")])
    assert code == 2 and "gone.smi" in err and not out
    code, _, err = scidiff_run([*typed[:-1], "3"])
    assert code == 2 and "n must be at least 20 to rank settings, got 3" in err


@pytest.fixture
def scidiff_run(capsys):
    from scidiff.cli.main import run

    return lambda typed: (run(typed), *capsys.readouterr())


# ---------------------------------------------------------------- distances


def records(*smiles):
    return [molecule_record(s) for s in smiles]


def test_properties_rank_molecules(monkeypatch):
    monkeypatch.setattr(distances, "activations", _missing)
    real = records(*REAL)
    distance = find_distance("molecule", real)
    assert isinstance(distance, PropertyDistance)
    same, far = distance(real), distance(records(*("C" * n + "O" for n in range(8, 28))))
    assert same[0] == pytest.approx(0, abs=1e-9) and far[0] > 1 and far[1] < far[0] < far[2]
    assert math.isnan(distance(records("C("))[0])


def _missing(smiles):
    raise FcdMissing("the FCD needs ChemNet")


def test_fcd_ranks_molecules_where_it_can():
    pytest.importorskip("fcd_torch")
    distance = FcdDistance(records(*REAL))
    assert distance(records(*REAL))[0] == pytest.approx(0, abs=1e-3)
    assert distance(records(*["c1ccccc1CCCCCC"] * 12, *["CCN"] * 12))[0] > 1


def test_graphs_are_ranked_by_mmd():
    domain = GraphDomain.of()
    import networkx as nx

    real = domain.decode(domain.encode([nx.cycle_graph(n) for n in range(5, 17)]))
    near = domain.decode(domain.encode([nx.cycle_graph(n) for n in range(6, 16)]))
    far = domain.decode(domain.encode([nx.complete_graph(6)] * 10))
    distance = find_distance("graph", real)
    assert isinstance(distance, GraphDistance) and distance(near)[0] < distance(far)[0]
    with pytest.raises(ValueError, match="molecules or graphs, got 'sequence'"):
        find_distance("sequence", [Record("ACGT", None, True)])


def test_every_third_object_is_used(tmp_path):
    model = load(write_token_graphs(tmp_path / "m"), device="cpu")
    third = tuning.validation_third(model, ["CCO", "C", "N", "CCN", "O"])
    assert [r.text for r in third] == ["CCO", "CCN"]
