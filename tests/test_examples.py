"""Every script in examples/ runs from an empty folder; the demo in its quick form."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).parents[1] / "examples"
SCRIPTS = sorted(EXAMPLES.glob("*.py"))
LINES = 80
EXTRAS = {"inverse_folding": "RNA"}  # what a script needs besides
QUICK = {"enhancers"}  # what takes minutes otherwise


def _run(script: Path, folder: Path, *arguments: str) -> str:
    done = subprocess.run(
        [sys.executable, script, *arguments],
        cwd=folder,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    assert "Traceback" not in done.stderr
    return done.stdout


def test_there_are_examples() -> None:
    assert {"demo.py", "infill.py", "own_reward.py"} <= {s.name for s in SCRIPTS}


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda s: s.stem)
def test_an_example_is_short(script: Path) -> None:
    assert len(script.read_text().splitlines()) < LINES


@pytest.mark.parametrize("script", [s for s in SCRIPTS if s.stem != "demo"], ids=lambda s: s.stem)
def test_an_example_runs(script: Path, tmp_path: Path) -> None:
    if script.stem in EXTRAS:
        pytest.importorskip(EXTRAS[script.stem])
    arguments = ["--quick"] if script.stem in QUICK else []
    assert _run(script, tmp_path, *arguments).strip()


def test_inverse_folding_finds_a_sequence_for_its_target(tmp_path: Path) -> None:
    pytest.importorskip("RNA", reason="needs the extra rna: pip install 'scidiff[rna]'")
    target = "((((...)))).(((....)))"
    said = _run(EXAMPLES / "inverse_folding.py", tmp_path, target).split()
    assert said[0] == target and said[2] == "1.000" and len(said[1]) == len(target)
    assert int(said[4]) <= 700


def test_the_demo_makes_what_it_says(tmp_path: Path) -> None:
    said = _run(EXAMPLES / "demo.py", tmp_path, "made/here", "--quick")
    made = {p.name for p in (tmp_path / "made/here").iterdir()}
    pictures = {"samples.png", "designs.png", "designs.html"}
    assert pictures | {"samples.csv", "designs.csv"} <= made
    assert all(f"made/here/{name}" in said for name in pictures)
    assert (tmp_path / "made/here/designs.html").stat().st_size > 10_000
