"""Fine-tuning as a person does it: pools of any origin, every family of model, runs that are
killed, errors of one line."""

import shutil
from types import SimpleNamespace

import pandas as pd
import pytest
import torch
from odd_rewards import Elsewhere
from tiny_graphs import write_graph_flow, write_graph_sde, write_token_graphs
from tiny_models import write_tiny_model

from scidiff.api.finetuning import METHODS, finetune, pool_states
from scidiff.api.likelihoods import likelihood_of, policy_of
from scidiff.api.model import Model
from scidiff.api.scored_pool import read_pool
from scidiff.core import ScidiffError, seeded
from scidiff.data.tables import TableError
from scidiff.guidance.finetune_likelihoods import Bounded, Causal, Implicit, Sequential
from scidiff.guidance.policy_gradient import Replay
from scidiff.training.checkpoint import read_config

TEXTS = ["CCO", "CCN", "CNC", "CCC", "COC", "CCCO", "NCCO", "OCC", "CCCC", "CNCC"]
SCORES = [float(text.count("O")) for text in TEXTS]


def pool(**more):
    return pd.DataFrame({"smiles": TEXTS, "score": SCORES, **more})


def oxygens(mols):
    """How many oxygen atoms."""
    return [float(sum(a.GetSymbol() == "O" for a in m.GetAtoms())) for m in mols]


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tuned")
    return {kind: write_tiny_model(folder / kind, kind) for kind in ("masked", "block")}


def likelihood(folder, texts):
    told = Model(folder, device="cpu").log_likelihood(texts, draws=64, seed=1)
    return torch.tensor(told["log_likelihood"].tolist())


# ---------------------------------------------------------------- what comes out


@pytest.mark.parametrize("kind", ["masked", "block"])
@pytest.mark.parametrize("method", ["group", "weighted", "log-variance", "augmented"])
def test_better_objects_become_likelier(models, tmp_path, kind, method):
    folder = finetune(
        models[kind], pool(), out=tmp_path / "run", method=method, steps=12, batch_size=10, lr=5e-3
    )
    found = likelihood(folder, TEXTS) - likelihood(models[kind], TEXTS)
    better = torch.tensor(SCORES) > 0
    assert float(found[better].mean()) > float(found[~better].mean()) + 0.3
    assert len(Model(folder, device="cpu").sample(3)) == 3


def test_the_directory_says_where_it_comes_from(models, tmp_path):
    folder = finetune(models["block"], pool(), out=tmp_path / "run", steps=2, strength=3.0, seed=5)
    assert folder == tmp_path / "run" / "model"
    config, parent = read_config(folder), read_config(models["block"])
    told = config["finetuned"]
    expected = {"parent": "tiny-block", "parent sha256": parent["sha256"], "method": "group",
                "strength": 3.0, "objects": 10, "seed": 5, "steps": 2}  # fmt: skip
    assert {k: told[k] for k in expected} == expected
    assert config["sampling"] == parent["sampling"] and config["name"] == "run"
    assert config["sha256"] != parent["sha256"]
    card = (folder / "README.md").read_text()
    assert "| parent | tiny-block |" in card and "### tiny-block" in card
    assert told["pool sha256"] in card


def test_the_strength_is_two_deviations_of_the_pool(models, tmp_path):
    folder = finetune(models["masked"], pool(), out=tmp_path / "run", steps=1)
    spread = torch.tensor(SCORES).std(correction=0)
    assert read_config(folder)["finetuned"]["strength"] == pytest.approx(2 / float(spread))


def test_the_model_that_is_given_stays_as_it_was(models, tmp_path):
    model = Model(models["block"], device="cpu")
    before = {k: v.clone() for k, v in model.engine.network.state_dict().items()}
    finetune(model, pool(), out=tmp_path / "run", steps=2, lr=1e-2)
    for name, value in model.engine.network.state_dict().items():
        assert torch.equal(value, before[name]), name


def test_a_killed_run_ends_as_a_whole_one(models, tmp_path):
    def run(out, **more):
        return finetune(models["block"], pool(), out=out, steps=6, batch_size=5, seed=2, **more)

    class Killed(Exception):
        pass

    def kill(stage, step, row):
        raise Killed

    whole = read_config(run(tmp_path / "a"))["sha256"]
    from scidiff.training.trainer import Trainer

    step = Trainer._advance
    try:
        def stopping(trainer):
            if trainer.step == 3:
                trainer.save()
                raise Killed
            return step(trainer)

        Trainer._advance = stopping
        with pytest.raises(Killed):
            run(tmp_path / "b")
    finally:
        Trainer._advance = step
    assert not (tmp_path / "b" / "model").exists()
    assert read_config(run(tmp_path / "b"))["sha256"] == whole
    with pytest.raises(ScidiffError, match="was started with other settings"):
        finetune(models["block"], pool(), out=tmp_path / "b", steps=6, batch_size=5, seed=2,
                 strength=9.0)  # fmt: skip


# ---------------------------------------------------------------- rewards


@pytest.mark.parametrize("kind", ["masked", "block"])
def test_a_policy_learns_from_a_reward(models, tmp_path, kind):
    asked = []

    def counted(mols):
        asked.extend(mols)
        return oxygens(mols)

    folder = finetune(
        models[kind], out=tmp_path / "run", method="policy", reward=counted, floor=0.0,
        strength=5.0, steps=10, batch_size=24, lr=5e-3,
    )  # fmt: skip
    before, after = (
        sum(t.count("O") for t in Model(f, device="cpu").sample(200, seed=1).texts)
        for f in (models[kind], folder)
    )
    assert asked and after > 1.3 * before
    assert read_config(folder)["finetuned"]["method"] == "policy"


def test_a_policy_that_was_killed_asks_for_the_rest(models, tmp_path):
    asked = []

    def counted(mols):
        asked.extend(mols)
        return oxygens(mols)

    counted.version = "1"
    how = dict(out=tmp_path / "run", method="policy", reward=counted, floor=0.0, steps=2,
               batch_size=16, lr=5e-3)  # fmt: skip
    weights, first = (finetune(models["masked"], **how) / "model.safetensors"), len(asked)
    learned = weights.read_bytes()
    for part in ("finetune", "model"):
        shutil.rmtree(tmp_path / "run" / part)
    finetune(models["masked"], **how)
    assert 0 < first == len(asked) and weights.read_bytes() == learned


def test_a_policy_asks_in_processes(models, tmp_path):
    def tenths(mols):
        return [m.GetNumAtoms() / 10 for m in mols]

    found = [
        finetune(models["masked"], out=tmp_path / str(workers), method="policy", reward=reward,
                 floor=0.0, workers=workers, steps=1, batch_size=24) / "model.safetensors"
        for reward, workers in ((tenths, 1), (Elsewhere(), 2))
    ]  # fmt: skip
    assert found[0].read_bytes() == found[1].read_bytes()


def test_why_nothing_has_a_score_is_said(tmp_path):
    def broken(mols):
        raise OSError("no licence")

    always_valid = {"notation": "smiles", "symbols": ["C", "N", "O", "S"]}
    model = write_tiny_model(tmp_path / "model", vocabulary=always_valid)
    how = dict(out=tmp_path / "run", method="policy", reward=broken, floor=0.0, steps=1)
    with pytest.raises(ValueError, match="scored 0 of 8 .*; the first reason: OSError: no licen"):
        finetune(model, batch_size=8, **how)


@pytest.mark.parametrize("method", ["group", "drakes"])
def test_only_a_policy_asks(models, tmp_path, method):
    what = {"pool": pool()} if method == "group" else {"reward": sum}
    with pytest.raises(ValueError, match=f"how method 'policy' asks its reward, got .*'{method}'"):
        finetune(models["masked"], out=tmp_path / "run", method=method, workers=2, **what)
    assert not (tmp_path / "run").exists()


def test_a_gradient_of_soft_rows_is_followed(models, tmp_path):
    symbols = Model(models["masked"], device="cpu").engine.vocabulary.symbols

    def many_oxygens(soft):
        return soft[..., symbols.index("O") + 2].sum(1)

    folder = finetune(
        models["masked"], out=tmp_path / "run", method="drakes", reward=many_oxygens,
        strength=5.0, steps=10, batch_size=24, lr=5e-3,
    )  # fmt: skip
    before, after = (
        sum(t.count("O") for t in Model(f, device="cpu").sample(200, seed=1).texts)
        for f in (models["masked"], folder)
    )
    assert after > 1.3 * before
    assert read_config(folder)["finetuned"]["reward"] == "many_oxygens"
    with pytest.raises(ValueError, match="needs a differentiable function of soft token rows"):
        finetune(models["masked"], out=tmp_path / "b", method="drakes", reward="qed")


# ---------------------------------------------------------------- likelihoods


def test_every_family_has_its_likelihood(models, tmp_path):
    block, masked = (Model(models[k], device="cpu") for k in ("block", "masked"))
    assert isinstance(likelihood_of(masked), Bounded) and likelihood_of(masked).symbols
    assert isinstance(likelihood_of(block), Bounded)  # inside a block in random order
    in_order = write_tiny_model(
        tmp_path / "a", "block", sampling={"block_size": 4, "order": "sequential"}
    )
    found = likelihood_of(Model(in_order, device="cpu"))
    assert isinstance(found, Sequential) and (found.block_size, found.offsets) == (4, 1)
    alone = Model(write_tiny_model(tmp_path / "b", "autoregressive"), device="cpu")
    assert isinstance(likelihood_of(alone), Causal)  # own() is zero
    assert isinstance(policy_of(alone, alone.engine.network, {})[1], Causal)
    assert isinstance(policy_of(masked, masked.engine.network, {})[1], Replay)


GRAPHS = {
    "masked": (write_token_graphs, Bounded),
    "flow": (write_graph_flow, Implicit),
    "sde": (write_graph_sde, Implicit),
}


@pytest.mark.parametrize("kind", GRAPHS)
def test_graphs_are_tuned_by_the_loss_of_their_process(tmp_path, kind):
    write, expected = GRAPHS[kind]
    parent = write(tmp_path / "graphs")
    model = Model(parent, device="cpu")
    found = likelihood_of(model)
    assert isinstance(found, expected)
    folder = finetune(parent, pool(), out=tmp_path / "run", steps=12, lr=1e-2)
    states = pool_states(model.engine, [model.domain.spell(text) for text in TEXTS], None)
    tuned = Model(folder, device="cpu")
    with torch.no_grad():
        gain = sum(
            found(tuned.engine.network, states, seeded(s))
            - found(model.engine.network, states, seeded(s))
            for s in range(8)
        )
    better = torch.tensor(SCORES) > 0
    assert float(gain[better].mean()) > float(gain[~better].mean())
    assert len(tuned.sample(2)) == 2


@pytest.mark.parametrize("kind", ["flow", "sde"])
def test_models_that_are_not_written_token_by_token_have_no_policy(tmp_path, kind):
    parent = GRAPHS[kind][0](tmp_path / "graphs")
    with pytest.raises(ScidiffError, match="a policy gradient needs a model whose rows"):
        finetune(parent, out=tmp_path / "run", method="policy", reward=oxygens, floor=0.0)


def test_other_families_are_refused():
    model = SimpleNamespace(
        name="odd", engine=SimpleNamespace(config={"process": {"kind": "energy"}})
    )
    with pytest.raises(ScidiffError, match="odd: models of energy have no loss to be tuned by"):
        likelihood_of(model)
    with pytest.raises(ScidiffError, match="odd: a policy gradient needs a model whose rows"):
        policy_of(model, None, {})


# ---------------------------------------------------------------- pools


def test_pools_of_every_origin(models, tmp_path):
    model = Model(models["masked"], device="cpu")
    frame = pool()
    frame.to_csv(tmp_path / "pool.csv", index=False)
    frame.to_parquet(tmp_path / "pool.parquet")
    campaign = tmp_path / "campaign"
    campaign.mkdir()
    frame.assign(status="ok").to_csv(campaign / "asked.csv", index=False)
    result = SimpleNamespace(asked=SimpleNamespace(to_frame=lambda: frame))
    places = (tmp_path / "pool.csv", str(tmp_path / "pool.parquet"), campaign, result, frame)
    for place in places:
        found = read_pool(place, model)
        assert (found.texts, found.values) == (TEXTS, SCORES)
        assert found.digest == read_pool(frame, model).digest
    assert read_pool(frame.assign(score=-frame.score), model).digest != found.digest
    named = frame.rename(columns={"smiles": "what", "score": "worth"})
    assert read_pool(named, model, column="what", score="worth").texts == TEXTS


def test_rows_that_cannot_be_used_are_listed(models, tmp_path, caplog):
    odd = pd.DataFrame({
        "smiles": [*TEXTS, "CS", "CCCCCCCCCCCCCC", "CCF", "CCN", None, "CCO"],
        "score": [*SCORES, 1.0, 1.0, float("nan"), 2.0, 1.0, ">8"],
        "status": ["ok"] * 13 + ["failed", "ok", "ok"],
    })  # fmt: skip
    folder = finetune(models["masked"], odd, out=tmp_path / "run", steps=1)
    told = read_config(folder)["finetuned"]
    assert (told["objects"], told["left out"]) == (10, 6)
    rejects = pd.read_csv(tmp_path / "run" / "rejects.csv")
    reasons = dict(zip(rejects.row, rejects.reason, strict=True))
    assert "unknown token 'S'" in reasons[11] and "takes at most 11" in reasons[12]
    assert [reasons[i] for i in (13, 14, 15)] == ["no score", "its status is failed", "no object"]
    assert reasons[16] == "its score '>8' is not a number"
    assert "6 of 16 rows left out" in caplog.text


def test_rows_of_a_file_are_found_by_their_lines(models, tmp_path):
    lines = ["smiles;score", "CCO;1,5", "", "CCN;", "COC;>3", "CCC;0,25", "", "CNC;2"]
    (tmp_path / "pool.csv").write_text("\n".join(lines) + "\n")
    found = read_pool(tmp_path / "pool.csv", Model(models["masked"], device="cpu"))
    assert found.values == [1.5, 0.25, 2.0]
    assert [(p.row, p.reason) for p in found.problems] == [
        (3, "empty line"), (4, "no score"), (5, "its score '>3' is not a number"),
        (7, "empty line")]


BAD_POOLS = {
    "unscored": (pd.DataFrame({"smiles": TEXTS}), "pool is not scored: it has no column 'score'"),
    "nearly named": (pd.DataFrame({"smiles": TEXTS, "Score_1": SCORES}), "mean score='Score_1'"),
    "one score": (pool().assign(score=0.5), "all 10 scores are 0.5; there is nothing to prefer"),
    "none": (pool().assign(score=float("nan")), "no row can be learned from: no score"),
    "text": (pool().assign(score="good"), "column 'score' is not numeric: 10 of 10 values"),
    "a list": (TEXTS, "pool must be a file, a DataFrame, a result or a campaign's folder"),
}


@pytest.mark.parametrize("name", BAD_POOLS)
def test_pools_that_teach_nothing_are_refused(models, tmp_path, name):
    bad, message = BAD_POOLS[name]
    with pytest.raises((ScidiffError, TableError, ValueError), match=message) as error:
        finetune(models["masked"], bad, out=tmp_path / "run", steps=1)
    assert "\n" not in str(error.value)
    assert not (tmp_path / "run").exists()


def test_a_folder_without_a_campaign_is_refused(models, tmp_path):
    with pytest.raises(FileNotFoundError, match="not the folder of a finished campaign"):
        finetune(models["masked"], tmp_path, out=tmp_path / "run")


BAD_CALLS = {
    "method": ({"pool": pool(), "method": "grup"}, "unknown method 'grup'.*'group'"),
    "no pool": ({}, "method 'group' learns from a pool of scored objects, got none"),
    "a reward too": ({"pool": pool(), "reward": "qed"}, "got a reward; expected a pool"),
    "no reward": ({"method": "policy"}, "asks a reward, got no reward"),
    "a pool too": ({"method": "policy", "reward": "qed", "pool": pool()}, "got a pool"),
    "strength": ({"pool": pool(), "strength": -1.0}, "strength must be finite and positive"),
    "steps": ({"pool": pool(), "steps": 0}, "training.steps must be at least 1"),
    "type": ({"pool": pool(), "steps": "many"}, "steps must be a whole number"),
    "condition": ({"pool": pool(), "condition": {"cell": "K562"}}, "takes no condition"),
}


@pytest.mark.parametrize("name", BAD_CALLS)
def test_calls_that_make_no_sense_are_refused(models, tmp_path, name):
    arguments, message = BAD_CALLS[name]
    with pytest.raises((ScidiffError, ValueError), match=message):
        finetune(models["masked"], out=tmp_path / "run", **arguments)


def test_methods_are_named_in_the_documentation():
    for name in METHODS:
        assert name in (finetune.__doc__ or "")
