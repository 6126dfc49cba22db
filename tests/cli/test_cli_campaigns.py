"""`scidiff design` in a folder and from a file: progress, interruptions, resuming."""

import json

import pytest

from scidiff.cli.watching import Board

RATED = """
class Rated:
    floor, name, version, cost = 0.0, "rated", "1", 1.0
    left = None

    def __call__(self, mols):
        for _ in mols:
            if Rated.left is not None:
                Rated.left -= 1
                if Rated.left < 0:
                    raise KeyboardInterrupt
        return [m.GetNumAtoms() / 10 for m in mols]
"""


@pytest.fixture
def rated(tmp_path, monkeypatch):
    """A module with a reward that dies after `left` objects."""
    (tmp_path / "rated_atoms.py").write_text(RATED)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr("scidiff.api.plans.ROWS", 12)
    monkeypatch.setattr("scidiff.api.design_result.DesignResult.to_html", lambda result: "")
    import importlib

    module = importlib.import_module("rated_atoms")
    module.Rated.left = None
    return module.Rated


def test_a_folder_keeps_everything_and_is_resumed(scidiff, tiny_model, tmp_path, rated):
    typed = ["design", tiny_model, "--reward", "rated_atoms:Rated", "-n", 6, "--budget", 180,
             "--method", "smc", "-o", tmp_path / "run"]
    rated.left = 20
    cut = scidiff(*typed)
    assert cut.code == 130
    last = cut.err.splitlines()[-1]
    assert "run holds" in last and "rounds done" in last and "--resume goes on" in last
    rated.left = None
    said = scidiff(*typed).one_line()
    assert "holds this campaign" in said and "resume it" in said
    done = scidiff(*typed, "--resume", "--json")
    whole = scidiff(*typed[:-1], tmp_path / "whole", "--json")
    assert done.document["summary"] == whole.document["summary"]
    for name in ("designs.csv", "asked.csv"):
        assert (tmp_path / "run" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()


def test_rounds_are_told_where_no_terminal_is(scidiff, tiny_model, rated):
    ran = scidiff("design", tiny_model, "--reward", "rated_atoms:Rated", "-n", 6, "--budget", 180,
                  "--method", "smc")
    lines = [x for x in ran.err.splitlines() if x.startswith("round")]
    assert len(lines) == 3 and "asked" in lines[0] and "best 0." in lines[-1]
    assert "of 180" in lines[0] and "diversity" in lines[0]


def test_a_campaign_file_runs(scidiff, tiny_model, tmp_path, rated):
    file = tmp_path / "campaign.toml"
    said = {"version": 1, "model": str(tiny_model), "reward": "rated_atoms:Rated", "n": 4,
            "budget": 80, "method": "smc", "out": str(tmp_path / "run")}
    file.write_text("".join(f"{k} = {json.dumps(v)}\n" for k, v in said.items()))
    assert scidiff("design", file, "--json").document["saved"] == str(tmp_path / "run")
    assert "--resume" not in scidiff("design", file, "--resume").err
    for option in (("--budget", 3), ("--seed", 0), ("-n", 9), ("--max-rows", 5)):
        assert f"leave out {option[0]}" in scidiff("design", file, *option).one_line()
    assert "cannot read the campaign" in scidiff("design", tmp_path / "no.toml").one_line()


def test_the_board_tells_how_long_it_will_take(tiny_model):
    from types import SimpleNamespace as Some

    board = Board("designing")
    assert board.facts() == {"": "loading"}
    scorer = Some(asked=0, cache_hits=1, disk_hits=2)
    campaign = Some(ledger=Some(asked=0), limits=Some(calls=100), history=[], number=0,
                    reward=Some(scorer=scorer))
    board.see(campaign)
    assert board.facts()["left"] == "–"
    scorer.asked, board.begun = 50, board.begun - 60
    assert board.facts()["left"] == "about 60 s" and board.facts()["cache hits"] == "3"
    scorer.asked = 10
    assert board.facts()["left"] == "about 9 min" and "hypervolume" not in board.facts()
    campaign.history.append({"hypervolume": 0.25})
    assert board.facts()["hypervolume"] == "0.250"
    assert board.table().row_count == 2
