"""Campaigns in a folder: whatever stops one, it goes on and ends with the same designs."""

import json
import os
import random
import re
import sqlite3
import subprocess
import sys
import time
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest

import scidiff as sd
from scidiff.api.campaigns import read_campaign
from scidiff.api.entry import load
from scidiff.core import ScidiffError
from scidiff.guidance.journal import CampaignError, Journal
from scidiff.rewards.diversity import LIKENESS

OUTPUTS = ("designs.csv", "asked.csv")


class Atoms:
    """Heavy atoms / 10; dies when it is asked for its `fatal`-th object."""

    floor, name, version, cost = 0.0, "atoms", "1", 1.0

    def __init__(self, fatal=None):
        self.fatal, self.count = fatal, 0

    def __call__(self, mols):
        self.count += len(mols)
        if self.fatal is not None and self.count >= self.fatal:
            raise KeyboardInterrupt
        return [m.GetNumAtoms() / 10 for m in mols]


@pytest.fixture(autouse=True)
def several_rounds(monkeypatch):
    monkeypatch.setattr("scidiff.api.plans.ROWS", 12)  # two designs a round


@pytest.fixture(autouse=True)
def without_the_page(request, monkeypatch):
    """Its map and its drawings take seconds; one test looks at it."""
    if "page" not in request.node.name:
        monkeypatch.setattr("scidiff.api.design_result.DesignResult.to_html", lambda result: "")


@pytest.fixture
def model(tiny_model):
    return load(tiny_model, device="cpu")


def run(model, folder, reward=None, **changes):
    how = {"n": 6, "method": "smc", "budget": 180, "seed": 3, **changes}
    return sd.design(model, reward or Atoms(), out=folder, **how)


def files(folder: Path) -> list[bytes]:
    return [(folder / name).read_bytes() for name in OUTPUTS]


def test_a_campaign_is_the_same_design_with_everything_kept(model, tmp_path):
    plain = sd.design(model, Atoms(), 6, "smc", 180, 3)
    kept = run(model, tmp_path / "run")
    assert kept.to_frame().equals(plain.to_frame()) and kept.provenance == plain.provenance
    assert len(kept.history) == 3 and kept.history["asked"].is_monotonic_increasing
    asked = kept.asked.to_frame()
    assert len(asked) == kept.ledger.asked and set(asked["round"]) == {0, 1, 2}
    assert asked["score"].max() == kept.history["best"].iloc[-1]
    named = {"designs.csv", "asked.csv", "history.csv", "ledger.json", "summary.html", "scores.db"}
    assert named <= {p.name for p in (tmp_path / "run").iterdir()}
    assert json.loads((tmp_path / "run" / "ledger.json").read_text())["ended"] == "rounds"


@pytest.mark.parametrize(("method", "fatal"), [("smc", 1), ("smc", 23), ("refine", 9),
                                               ("best-of-n", 40), ("halving", 30)])
def test_an_interrupted_campaign_ends_with_the_same_files(model, tmp_path, method, fatal):
    run(model, tmp_path / "whole", method=method)
    with pytest.raises(KeyboardInterrupt):
        run(model, tmp_path / "cut", Atoms(fatal), method=method)
    again = Atoms()
    run(model, tmp_path / "cut", again, method=method, resume=True)
    assert files(tmp_path / "cut") == files(tmp_path / "whole")
    asked = len((tmp_path / "whole" / "asked.csv").read_text().splitlines()) - 1
    assert again.count == asked - fatal + 1  # every answer that was given is kept


def test_an_interrupted_campaign_leaves_the_tables_of_what_it_found(model, tmp_path):
    with pytest.raises(KeyboardInterrupt):
        run(model, tmp_path, Atoms(40), method="evolve")
    so_far = (tmp_path / "asked.csv").read_text()
    assert 1 + 30 < len(so_far.splitlines()) < 1 + 40
    assert len((tmp_path / "designs.csv").read_text().splitlines()) == 1 + 6
    assert json.loads((tmp_path / "ledger.json").read_text())["ended"] == "interrupted"
    run(model, tmp_path, method="evolve", resume=True)
    assert json.loads((tmp_path / "ledger.json").read_text())["ended"] != "interrupted"
    assert (tmp_path / "asked.csv").read_text().startswith(so_far)


def test_another_version_of_the_reward_does_not_go_on(model, tmp_path):
    with pytest.raises(KeyboardInterrupt):
        run(model, tmp_path, Atoms(20))
    other = Atoms()
    other.version = "2"
    with pytest.raises(CampaignError, match="versions .*'1'.* there, .*'2'.* now"):
        run(model, tmp_path, other, resume=True)


def test_a_finished_campaign_is_read_and_not_run_again(model, tmp_path):
    first = run(model, tmp_path)
    again = Atoms(fatal=1)
    assert run(model, tmp_path, again, resume=True).to_frame().equals(first.to_frame())
    assert again.count == 0


def test_a_limit_can_be_raised_and_what_is_not_said_stays(model, tmp_path):
    whole = run(model, tmp_path / "whole")
    early = run(model, tmp_path / "cut", seconds=1e-6)
    assert len(early) < len(whole) and early.provenance["ended"] == "seconds"
    same = run(model, tmp_path / "cut", resume=True)
    assert same.to_frame().equals(early.to_frame()) and same.provenance["ended"] == "seconds"
    on = run(model, tmp_path / "cut", seconds=1e6, resume=True)
    assert on.to_frame().equals(whole.to_frame())
    assert json.loads((tmp_path / "cut" / "campaign.json").read_text())["limits"] == {
        "calls": 180, "rows": None, "seconds": 1e6}


def test_a_search_goes_on_under_a_larger_budget(model, tmp_path):
    first = sd.design(model, Atoms(), 4, budget=20, out=tmp_path / "run")
    more = sd.design(model, Atoms(), 4, budget=50, out=tmp_path / "run", resume=True)
    assert more.ledger.asked == 50 == len(more.asked) and first.ledger.asked == 20
    assert more.asked.to_frame().iloc[:20].equals(first.asked.to_frame())
    again = sd.design(model, Atoms(fatal=1), 4, out=tmp_path / "run", resume=True)
    assert again.to_frame().equals(more.to_frame())
    less = sd.design(model, Atoms(fatal=1), 4, budget=30, out=tmp_path / "run", resume=True)
    assert less.provenance["ended"] == "calls" and less.ledger.asked == 50


def test_populations_keep_the_budget_that_was_spread_over_them(model, tmp_path):
    run(model, tmp_path, method="smc")
    with pytest.raises(ValueError, match="smc spread its budget of 180 objects .* got 200; exp"):
        run(model, tmp_path, method="smc", budget=200, resume=True)


@pytest.mark.parametrize("name", ["campaign.json", "state.json", "strategy.safetensors"])
def test_a_damaged_file_is_named(model, tmp_path, name):
    run(model, tmp_path, method="evolve")
    (file,) = tmp_path.rglob(name)
    file.write_bytes(b"[1")
    with pytest.raises(CampaignError, match=f"{name} is damaged: "):
        run(model, tmp_path, method="evolve", resume=True)


def test_one_folder_holds_one_campaign(model, tmp_path):
    run(model, tmp_path / "a")
    with pytest.raises(CampaignError, match="this campaign, 3 rounds done, .* asked: resume"):
        run(model, tmp_path / "a")
    with pytest.raises(CampaignError, match="seed 3 there, 4 now"):
        run(model, tmp_path / "a", seed=4, resume=True)
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / "thesis.tex").write_text("")
    with pytest.raises(CampaignError, match="not empty .it holds thesis.tex."):
        run(model, tmp_path / "b")
    manifest = tmp_path / "a" / "campaign.json"
    manifest.write_text(manifest.read_text().replace('"format": 1', '"format": 7'))
    with pytest.raises(CampaignError, match="another version of scidiff .format 7, expected 1"):
        run(model, tmp_path / "a", resume=True)


def test_the_second_process_is_refused(model, tmp_path):
    with Journal(tmp_path / "run").held(), pytest.raises(CampaignError, match=str(os.getpid())):
        run(model, tmp_path / "run")


def test_a_round_that_was_half_written_is_not_believed(model, tmp_path):
    run(model, tmp_path / "whole")
    with pytest.raises(KeyboardInterrupt):
        run(model, tmp_path / "cut", Atoms(fatal=20))
    left = tmp_path / "cut" / "rounds" / ".00002.tmp"
    left.mkdir(parents=True)
    (left / "state.json").write_text("{")
    run(model, tmp_path / "cut", resume=True)
    assert files(tmp_path / "cut") == files(tmp_path / "whole")


# ---------------------------------------------------------------- limits, memory, windows


def test_limits_end_a_campaign_between_rounds(model, tmp_path):
    by_rows = sd.design(model, Atoms(), 6, "best-of-n", 36, 3, network_rows=1)
    assert len(by_rows) == 2 and by_rows.provenance["ended"] == "rows"
    by_time = sd.design(model, Atoms(), 6, "best-of-n", 36, 3, seconds=1e-6)
    assert len(by_time) == 2 and by_time.provenance["ended"] == "seconds"
    with pytest.raises(ValueError, match="limit of seconds must be positive, got -1"):
        sd.design(model, Atoms(), 6, seconds=-1.0)


def test_a_memory_makes_rounds_differ_from_each_other(model):
    """Chains have one scaffold, the empty one: after the first round they are all worth 0."""
    how = {"like": "scaffold", "bucket": 1}
    plain, told = (sd.design(model, Atoms(), 6, "smc", 180, 3, memory=m) for m in (None, how))
    assert told.scores.mean() < plain.scores.mean() - 0.1
    first = [d.asked.to_frame().query("round == 0") for d in (plain, told)]
    assert first[0].equals(first[1])
    with pytest.raises(ValueError, match="threshold and as, got 'buket'; did you mean 'bucket'"):
        sd.design(model, Atoms(), 6, memory={"buket": 2})


class Chains:
    """Two likes: molecules with nitrogen, and others. Remembers nothing."""

    def add(self, obj):
        pass

    def count(self, obj):
        return 0

    def alike(self, mols):
        kinds = np.array([any(a.GetSymbol() == "N" for a in m.GetAtoms()) for m in mols])
        return kinds[:, None] == kinds


@pytest.mark.parametrize("method", ["smc", "nested", "fk", "surrogate"])
def test_a_memory_for_resampling_leaves_scores_as_they_are(model, method, monkeypatch):
    monkeypatch.setitem(LIKENESS, "scaffold", Chains)
    how = dict(n=6, method=method, budget=240, seed=3, strength=20.0)
    memory = {"like": "scaffold", "bucket": 1, "as": "resampling"}
    discounts = []
    plain, told = (sd.design(model, Atoms(), **how, memory=m,
                             watch=lambda c: discounts.append(c.reward.scorer.discount))
                   for m in (None, memory))  # fmt: skip
    assert discounts and not any(d is not None for d in discounts)
    scores = told.asked.to_frame().query("status == 'ok'")
    assert (scores["score"] == [len(s) / 10 for s in scores["smiles"]]).all()
    assert not told.asked.to_frame().equals(plain.asked.to_frame())
    assert told.provenance["design"]["memory"] == memory
    same = sd.design(model, Atoms(), **how, memory="scaffold:bucket=1,as=resampling")
    assert told.to_frame().equals(same.to_frame())


@pytest.mark.parametrize(("method", "memory", "said"), [
    ("svdd", {"as": "resampling"}, "no memory as resampling; nested, smc, fk, surrogate do"),
    ("evolve", {"like": "fingerprint", "as": "resampling"}, "evolve takes no memory as"),
    ("smc", {"as": "resample"}, "penalty or resampling, got 'resample'; did you mean"),
])
def test_a_memory_for_resampling_needs_populations(model, method, memory, said):
    with pytest.raises(ValueError, match=said):
        sd.design(model, Atoms(), 6, method, memory=memory)


def test_a_memory_compares_what_the_model_writes(model):
    with pytest.raises(ValueError, match="kind sequence, got a model of the kind molecule, for "
                                         "which there is 'scaffold' or 'fingerprint'"):
        sd.design(model, Atoms(), 6, memory="edit")


def test_windows_choose_what_is_looked_at(model):
    early = sd.design(model, Atoms(), 6, "smc", 180, 3, window=(0.0, 0.3))
    late = sd.design(model, Atoms(), 6, "smc", 180, 3, window=(0.7, 1.0))
    assert not early.to_frame().equals(late.to_frame())
    with pytest.raises(ValueError, match=r"0 <= first < last <= 1, got \(0.7, 0.2\)"):
        sd.design(model, Atoms(), 6, window=(0.7, 0.2))


# ---------------------------------------------------------------- what is told


def test_the_page_and_its_pictures(model, tmp_path):
    how = {"n": 6, "method": "smc", "budget": 180, "seed": 3}
    made = sd.design(model, "0.5*qed + 0.5*sa", out=tmp_path / "run", **how)
    page = (tmp_path / "run" / "summary.html").read_text()
    document = json.loads(re.search(r"id='data'>(.*?)</script>", page, re.DOTALL)[1])
    (campaign,) = document["campaigns"]
    assert campaign["asked"] == made.ledger.asked and document["text"] == made.texts
    assert campaign["history"]["best"] == pytest.approx(made.history["best"].tolist(), rel=1e-5)
    assert "http://" not in page.replace("http://www.w3.org", "")
    line = made.plot.curves(by="network_rows").axes[0].lines[0]
    assert line.get_xdata().tolist() == made.history["network_rows"].tolist()
    assert line.get_ydata().tolist() == made.history["best"].tolist()
    asked = made.asked.to_frame()[["qed", "sa"]].to_numpy()
    front = made.plot.pareto("qed", "sa").axes[0].lines[0].get_xydata()
    for point in front:
        assert not ((asked >= point).all(1) & (asked > point).any(1)).any()
    assert len(front) >= 1
    with pytest.raises(ValueError, match="two terms of the reward, got qde; did you mean 'qed'"):
        made.plot.pareto("qde")
    with pytest.raises(ValueError, match="by must be one of asked, network_rows, seconds"):
        made.plot.curves("time")


def test_a_hypervolume_is_told_where_there_are_several_terms(model):
    two = sd.design(model, "0.5*qed + 0.5*sa", 4, "best-of-n", 16)
    values = two.asked.to_frame()[["qed", "sa"]].to_numpy()
    assert 0 < two.hypervolume <= values.max(0).prod() + 1e-12
    assert two.summary()["hypervolume"] == two.hypervolume
    one = sd.design(model, "qed", 4, "best-of-n", 16)
    assert one.hypervolume is None and "hypervolume" not in one.summary()


# ---------------------------------------------------------------- files


def written(tmp_path, model, **changes) -> Path:
    said = {"version": 1, "model": str(model), "reward": "qed", "n": 4, "method": "smc",
            "budget": 32, "out": str(tmp_path / "run"), **changes}
    path = tmp_path / "campaign.toml"
    path.write_text("".join(f"{k} = {json.dumps(v)}\n" for k, v in said.items()))
    return path


def test_a_file_says_what_the_arguments_say(tiny_model, tmp_path):
    file = written(tmp_path, tiny_model, strength=30.0)
    made = sd.campaign(file)
    asked = sd.design(load(tiny_model), "qed", 4, "smc", 32, strength=30.0)
    assert made.to_frame().equals(asked.to_frame())
    other = sd.campaign(file, out=tmp_path / "other")
    assert other.to_frame().equals(made.to_frame())
    assert (tmp_path / "other" / "asked.csv").is_file()


@pytest.mark.parametrize(("changes", "said"), [
    ({"version": 2}, "version: got 2, this scidiff reads .* of version 1; upgrade scidiff"),
    ({"version": "1"}, "version: got '1', .*; begin the file with `version = 1`"),
    ({"budgte": 3}, "budgte: Extra inputs are not permitted; did you mean 'budget'"),
    ({"n": "4"}, "n: Input should be a valid integer, got '4'"),
    ({"quality": "finest"}, "has no measured frontier|quality must be one of"),
    ({"method": "smcc"}, "unknown method 'smcc'.*did you mean 'smc'"),
])
def test_a_wrong_file_is_told_in_one_line(tiny_model, tmp_path, changes, said):
    with pytest.raises((ScidiffError, ValueError), match=said) as caught:
        sd.campaign(written(tmp_path, tiny_model, **changes))
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "run").exists()


def test_a_file_says_how_populations_are_run(tiny_model, tmp_path):
    shape = {"particles": 3, "ess": 0.9, "every": 6}
    made = sd.campaign(written(tmp_path, tiny_model, **shape, screen="logp"))
    asked = sd.design(load(tiny_model), "qed", 4, "smc", 32, **shape, screen="logp")
    assert made.to_frame().equals(asked.to_frame())
    manifest = json.loads((tmp_path / "run" / "campaign.json").read_text())
    assert {name: manifest[name] for name in shape} == shape
    assert manifest["screen"]["reward"] == "logp" and manifest["screen"]["candidates"] == 4


def test_settings_are_those_of_the_sampler(tiny_model, tmp_path):
    file = written(tmp_path, tiny_model)
    file.write_text(file.read_text() + "\n[settings]\nseed = 3\n")
    with pytest.raises(ScidiffError, match="settings.seed: .*of the campaign: write it above"):
        sd.campaign(file)


def test_a_file_needs_a_folder_and_must_be_one(tmp_path):
    bare = tmp_path / "bare.toml"
    bare.write_text('version = 1\nmodel = "x"\nreward = "qed"\n')
    with pytest.raises(ScidiffError, match="out: a campaign needs a folder"):
        sd.campaign(bare)
    with pytest.raises(ScidiffError, match="cannot read the campaign .*missing.toml"):
        read_campaign(tmp_path / "missing.toml")


# ---------------------------------------------------------------- killed

SLOW = """
import sys, time
from pathlib import Path
import scidiff as sd
import scidiff.api.methods as methods

methods.ROWS = 12

class Slow:
    floor, name, version, cost = 0.0, "slow", "1", 1.0
    def __call__(self, mols):
        time.sleep(0.01)
        return [m.GetNumAtoms() / 10 for m in mols]

sd.design(sd.load(sys.argv[1], device="cpu"), Slow(), 8, "smc", 240, 3, out=sys.argv[2],
          resume=Path(sys.argv[2], "campaign.json").exists())
"""


def answers(folder: Path) -> int:
    """How many answers of the reward are on the disk."""
    if not (folder / "scores.db").is_file():
        return 0
    with closing(sqlite3.connect(f"file:{folder}/scores.db?mode=ro", uri=True)) as file:
        try:
            return int(file.execute("SELECT count(*) FROM scores").fetchone()[0])
        except sqlite3.OperationalError:  # the tables are not there yet
            return 0


@pytest.mark.slow
def test_a_campaign_killed_again_and_again_ends_with_the_same_files(tiny_model, tmp_path):
    def start(folder):
        command = [sys.executable, "-c", SLOW, str(tiny_model), str(folder)]
        return subprocess.Popen(command)

    assert start(tmp_path / "whole").wait(300) == 0
    chance, kills = random.Random(0), 0
    while kills < 30:
        wanted = answers(tmp_path / "cut") + chance.randrange(12)  # 0: perhaps before the first
        process = start(tmp_path / "cut")
        while process.poll() is None and answers(tmp_path / "cut") < wanted:
            time.sleep(0.01)
        time.sleep(chance.uniform(0, 0.1))
        if process.poll() is not None:
            break
        process.kill()
        process.wait()
        kills += 1
    assert process.returncode == 0 and kills >= 3
    assert files(tmp_path / "cut") == files(tmp_path / "whole")
