"""The notebooks of examples/: valid, stripped of outputs, and every cell runs in time."""

import time
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

EXAMPLES = Path(__file__).parents[1] / "examples"
NOTEBOOKS = sorted(EXAMPLES.glob("*.ipynb"))
EXPECTED = {"quick_start", "guided_design", "dna_enhancers", "own_data", "comparing_samplers",
            "own_reward"}
LIMIT = 120  # seconds of CPU that a notebook may take
CELL_LIMIT = 900  # seconds of a clock, on a machine that does other things too
CPU = "import resource; print(sum(resource.getrusage(resource.RUSAGE_SELF)[:2]))"


def test_the_notebooks_are_there() -> None:
    assert {n.stem for n in NOTEBOOKS} == EXPECTED


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda p: p.stem)
def test_a_notebook_is_valid_and_stripped(path: Path) -> None:
    book = nbformat.read(path, as_version=4)
    nbformat.validate(book)
    code = [c for c in book.cells if c.cell_type == "code"]
    assert all(c.outputs == [] and c.execution_count is None for c in code)
    assert book.metadata.kernelspec.name == "python3" and "widgets" not in book.metadata
    ids = [c.id for c in book.cells]
    assert len(set(ids)) == len(ids) and book.cells[0].source.startswith("# ")
    lines = [line for c in code for line in c.source.splitlines()]
    assert 4 <= len(code) <= 12 and len(lines) < 60 and max(map(len, lines)) < 120


@pytest.mark.slow
@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda p: p.stem)
def test_a_notebook_runs(path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    monkeypatch.setenv("MPLBACKEND", "Agg")
    book = nbformat.read(path, as_version=4)
    book.cells.append(nbformat.v4.new_code_cell(CPU, id="spent"))
    start = time.monotonic()
    done = NotebookClient(book, timeout=CELL_LIMIT, kernel_name="python3",
                          resources={"metadata": {"path": str(tmp_path)}}).execute()
    spent = float(done.cells[-1].outputs[0].text)
    assert spent < LIMIT, f"{spent:.0f} s of CPU, {time.monotonic() - start:.0f} s of a clock"
    said = [o for c in done.cells if c.cell_type == "code" for o in c.outputs]
    assert not [o.text for o in said if "Warning" in o.get("text", "")]
    shown = [kind for o in said for kind in o.get("data", {})]
    assert any(kind in ("text/html", "image/png") for kind in shown)
    assert "application/vnd.jupyter.widget-view+json" not in shown
