"""Scores made for other programs give the numbers that those programs would."""

import json
import math

import pytest
from rdkit import Chem

from scidiff.data.records import Record
from scidiff.rewards import pmo
from scidiff.rewards.adapters import OnText, molscore
from scidiff.rewards.combine import reward
from scidiff.rewards.identity import identity
from scidiff.rewards.molecules import logp, mw, qed
from scidiff.rewards.scores import RewardError, Status
from scidiff.rewards.scoring import Scorer

MOLS = [Chem.MolFromSmiles(s) for s in (
    "CC(=O)Oc1ccccc1C(=O)O", pmo.RANOLAZINE, pmo.OSIMERTINIB, pmo.PERINDOPRIL, pmo.AMLODIPINE)]


class Oracle:
    """Signature of TDC's: a SMILES or a list of SMILES."""

    name = "carbons"

    def __call__(self, smiles):
        return smiles.count("C") if isinstance(smiles, str) else [s.count("C") for s in smiles]


def test_callables_on_smiles_are_rewards():
    mols = [Chem.MolFromSmiles(s) for s in ("OCC", "C")]
    for each in (False, True):
        made = OnText(Oracle(), floor=0.0, each=each)
        assert made(mols) == [2, 1] and made.name == "carbons" and made.floor == 0
    assert identity(OnText(Oracle())) is None and identity(OnText(Oracle(), version="2"))
    with pytest.raises(RewardError, match="'carbons' returned 1 values for 2 objects"):
        Scorer(OnText(lambda s: [1.0], label="carbons")).score(
            [Record("a", "a", True), Record("b", "b", True)])


def config(tmp_path, functions, metrics, method="gmean"):
    path = tmp_path / "task.json"
    path.write_text(json.dumps({"task": "t", "scoring_functions": functions,
                                "scoring": {"method": method, "metrics": metrics}}))
    return path


DESCRIPTORS = {"name": "RDKitDescriptors", "run": True, "parameters": {"prefix": "desc"}}


def like(prefix, smiles, radius=2, features=False):
    return {"name": "TanimotoSimilarity", "run": True, "parameters": {
        "prefix": prefix, "ref_smiles": [smiles], "radius": radius, "bits": None,
        "features": features, "counts": True, "method": "max"}}


def metric(name, modifier="raw", weight=1.0, **parameters):
    return {"name": name, "weight": weight, "modifier": modifier, "parameters": parameters}


def test_osimertinib_and_amlodipine_in_molscore_are_the_objectives(tmp_path):
    path = config(tmp_path, [like("F", pmo.OSIMERTINIB, 2, True), like("E", pmo.OSIMERTINIB, 3),
                             DESCRIPTORS], [
        metric("F_Sim", "lin_thresh", objective="maximize", upper=0.8, lower=0.0, buffer=0.8),
        metric("E_Sim", "gauss", objective="minimize", mu=0.85, sigma=0.1),
        metric("desc_TPSA", "gauss", objective="maximize", mu=100.0, sigma=10.0),
        metric("desc_CLogP", "gauss", objective="minimize", mu=1.0, sigma=1.0)])
    expected = pmo.OBJECTIVES["osimertinib_mpo"](MOLS)
    assert reward(molscore(path))(MOLS) == pytest.approx(expected) and max(expected) > 0.5
    path = config(tmp_path, [like("A", pmo.AMLODIPINE), DESCRIPTORS], [
        metric("A_Sim"), metric("desc_RingCount", "gauss", objective="range", mu=3.0, sigma=0.5)])
    assert reward(molscore(path))(MOLS) == pytest.approx(pmo.OBJECTIVES["amlodipine_mpo"](MOLS))


def bent(tmp_path, modifier, **parameters):
    path = config(tmp_path, [DESCRIPTORS], [metric("desc_CLogP", modifier, **parameters)],
                  "single")
    return reward(molscore(path))(MOLS)


@pytest.mark.parametrize("objective, side", [("maximize", 1), ("minimize", -1)])
def test_transformations_are_the_published_ones(tmp_path, objective, side):
    x = logp(MOLS)
    at = sorted(x)[2]
    found = bent(tmp_path, "step", objective=objective, upper=at, lower=at)
    assert found == [float(side * v >= side * at) for v in x] and 0 < sum(found) < 5
    found = bent(tmp_path, "lin_thresh", objective=objective, upper=at, lower=at, buffer=4.0)
    assert found == pytest.approx([min(max(1 + side * (v - at) / 4, 0), 1) for v in x])
    found = bent(tmp_path, "sigmoid", objective=objective, upper=at, lower=at, scale=2.0)
    assert found == pytest.approx([1 / (1 + math.exp(-2 * side * (v - at) - 5)) for v in x])
    found = bent(tmp_path, "norm", objective=objective, min=-1.0, max=7.0)
    assert found == pytest.approx([0.5 + side * (v - 3) / 8 for v in x])


def test_ranges(tmp_path):
    x = logp(MOLS)
    found = bent(tmp_path, "step", objective="range", upper=3.0, lower=1.2)
    assert found == [float(1.2 <= v <= 3) for v in x] and 0 < sum(found) < 5
    found = bent(tmp_path, "lin_thresh", objective="range", upper=2.0, lower=1.5, buffer=3.0)
    assert found == pytest.approx([min(max(1 - max(1.5 - v, v - 2, 0) / 3, 0), 1) for v in x])


@pytest.mark.parametrize("method, mean", [
    ("wsum", lambda a, b: (3 * a + b) / 4), ("wprod", lambda a, b: (a**3 * b) ** 0.25),
    ("amean", lambda a, b: (a + b) / 2), ("gmean", lambda a, b: math.sqrt(a * b)),
    ("prod", lambda a, b: a * b)])
def test_methods_and_filters(tmp_path, method, mean):
    metrics = [metric("desc_QED", weight=3.0), metric("desc_MolWt", weight=1.0)]
    expected = [mean(a, b) for a, b in zip(qed(MOLS), mw(MOLS), strict=True)]
    path = config(tmp_path, [DESCRIPTORS], metrics, method)
    assert reward(molscore(path))(MOLS) == pytest.approx(expected)
    only = metric("desc_MolWt", "step", objective="minimize", lower=400.0) | {"filter": True}
    path = config(tmp_path, [DESCRIPTORS], [*metrics, only], method)
    kept = [e * (w <= 400) for e, w in zip(expected, mw(MOLS), strict=True)]
    assert reward(molscore(path))(MOLS) == pytest.approx(kept)


def test_isomers_patterns_and_several_references(tmp_path):
    functions = [
        {"name": "Isomer", "parameters": {"prefix": "I", "molecular_formula": "C9H8O4"}},
        {"name": "SubstructureMatch", "parameters": {"prefix": "S", "smarts": ["c1ccccc1", "N"],
                                                     "method": "all"}},
        {"name": "TanimotoSimilarity", "parameters": {
            "prefix": "T", "ref_smiles": ["CCO", pmo.RANOLAZINE], "radius": 2, "counts": False,
            "bits": 2048, "method": "max"}}]
    for name, expected in [("I_isomer_score", [1, 0, 0, 0, 0]),
                           ("S_substruct_match", [0, 1, 1, 0, 1])]:
        found = reward(molscore(config(tmp_path, functions, [metric(name)], "single")))(MOLS)
        assert found == pytest.approx(expected, abs=1e-3)
    found = reward(molscore(config(tmp_path, functions, [metric("T_Sim")], "single")))(MOLS)
    assert found[1] == 1 and max(found[0], *found[2:]) < 0.5


@pytest.mark.parametrize("functions, metrics, method, message", [
    ([{"name": "GlideDock", "parameters": {"prefix": "dock"}}], [metric("dock_score")], "single",
     "'GlideDock' .metric 'dock_score'. has no counterpart"),
    ([DESCRIPTORS], [metric("desc_QEDD")], "single", "'desc_QEDD' has no .* mean 'desc_"),
    ([DESCRIPTORS], [metric("desc_QED", "spline")], "single", "modifier 'spline' has no"),
    ([DESCRIPTORS], [metric("desc_QED", "norm", objective="maximize")], "single", "min and max"),
    ([DESCRIPTORS], [metric("desc_QED", "step", objective="up", upper=1)], "single", "'up' has"),
    ([DESCRIPTORS], [metric("desc_QED")], "pareto_front", "method 'pareto_front' has no")])
def test_what_has_no_counterpart_is_named(tmp_path, functions, metrics, method, message):
    with pytest.raises(ValueError, match=message) as caught:
        molscore(config(tmp_path, functions, metrics, method))
    assert "\n" not in str(caught.value)


def test_files_that_are_no_configuration_are_one_line(tmp_path):
    for text in ("not json", "{}", "[]"):
        (tmp_path / "bad.json").write_text(text)
        with pytest.raises(ValueError, match="bad.json is not a MolScore configuration"):
            molscore(tmp_path / "bad.json")
    with pytest.raises(ValueError, match="gone.json is not a MolScore configuration"):
        molscore(tmp_path / "gone.json")


def test_a_failed_score_is_no_zero(tmp_path):
    scores = Scorer(OnText(lambda s: [math.nan] * len(s))).score([Record("C", "C", True)])
    assert scores.status.tolist() == [Status.FAILED]


PLAIN = [metric("desc_QED")]


def on(functions=(DESCRIPTORS,), metrics=PLAIN, method="wsum"):
    return functions if isinstance(functions, dict) else list(functions), metrics, method


@pytest.mark.parametrize("wrong, message", [
    (on(metrics=[{"weight": 1.0}]), "entry 1 of scoring.metrics must be an object with a 'name'"),
    (on([{"run": True}]), "entry 1 of scoring_functions must be an object with a 'name', got {"),
    (on(["qed"]), "entry 1 of scoring_functions must be an object with a 'name', got 'qed'"),
    (on(dict(DESCRIPTORS)), "scoring_functions must be a list of at least one object, got {"),
    (on(metrics=[]), r"scoring.metrics must be a list of at least one object, got \[\]"),
    (on(metrics=[metric("desc_QED", "sigmoid", objective="maximize", upper=1)]),
     "modifier 'sigmoid' of metric 'desc_QED' needs the parameter 'scale', got objective, upper"),
    (on(metrics=[metric("desc_QED", "sigmoid", objective="maximize", scale=0)]),
     "modifier 'sigmoid' of metric 'desc_QED' cannot be used with .* division by 0"),
    (on(metrics=[metric("desc_QED", "gauss", objective="maximize")]), "needs the parameter 'mu'"),
    (on(metrics=[metric("desc_QED", "lin_thresh", objective="maximize", buffer="a")]), "numbers"),
    (on(metrics=[metric("desc_QED", "gauss") | {"parameters": None}]), "an object, got None"),
    (on([{"name": "Isomer", "parameters": {}}]), "'Isomer' needs the parameter 'molecular_form"),
    (on(metrics=[metric("desc_QED", weight=0.0)] * 2), "weights of wsum add up to 0, got 0, 0"),
    (on(metrics=[metric("desc_QED", weight="a")]), "weight of metric 'desc_QED' must be a number"),
    (on(method=None), "method None has no counterpart")])
def test_what_a_configuration_lacks_is_named(tmp_path, wrong, message):
    with pytest.raises(ValueError, match=f"MolScore: .*{message}") as caught:
        molscore(config(tmp_path, *wrong))
    assert "\n" not in str(caught.value)
