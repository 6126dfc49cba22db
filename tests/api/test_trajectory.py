"""Trajectories: the row shown is the row that is drawn, and every kind of state is seen."""

from html.parser import HTMLParser
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from tiny_graphs import write_graph_flow, write_graph_sde, write_token_graphs
from tiny_models import write_tiny_model
from tiny_pard import write_pard

import scidiff as sd
from scidiff.api import model as models
from scidiff.api.trajectory import retraced, trajectory
from scidiff.core import ScidiffError, seeded
from scidiff.data.records import Record
from scidiff.domains.smiles import molecule_record
from scidiff.evaluation.trajectories import Frame, Trajectory
from scidiff.evaluation.trajectory_plots import _emerging, atom_tokens, raster, strip
from scidiff.guidance.particles import sample
from scidiff.samplers.recorded import RecordedSampler

MAKERS = {
    "masked": write_tiny_model,
    "left to right": lambda f: write_tiny_model(f, "autoregressive"),
    "block": lambda f: write_tiny_model(f, "block"),
    "token graph": write_token_graphs,
    "graph flow": write_graph_flow,
    "graph SDE": write_graph_sde,
    "graph blocks": write_pard,
}


@pytest.fixture(scope="module", params=MAKERS, ids=lambda name: name.replace(" ", "-"))
def model(request, tmp_path_factory):
    return sd.load(MAKERS[request.param](tmp_path_factory.mktemp("model") / "m"))


def test_the_row_is_the_one_that_is_drawn(model) -> None:
    drawn = model.sample(4, seed=3)
    for row in (0, 3):
        found = trajectory(model, row, 4, seed=3)
        assert found.final.text == drawn.texts[row] and found.final.valid == drawn.valid[row]
        assert found.frames[0].step == 0 and found.frames[-1].step <= found.steps
        steps = [f.step for f in found.frames]
        assert steps == sorted(set(steps))
    assert retraced(drawn, 2, model).final.text == drawn.texts[2]
    assert drawn.plot.trajectory(1, panels=2, model=model).axes


def test_recording_draws_what_is_drawn_without_it(model) -> None:
    inner = model.sampler()
    recorded = RecordedSampler(inner, lambda x, k: k)
    plain = model.domain.decode(sample(inner, 3, seeded(0)))
    assert [r.text for r in model.domain.decode(sample(recorded, 3, seeded(0)))] == [
        r.text for r in plain]
    assert recorded.seen == list(range(inner.num_steps + 1))


def test_chunks_are_those_of_sample(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(models, "CHUNK", 2)
    tiny = sd.load(write_tiny_model(tmp_path / "m"))
    drawn = tiny.sample(5, seed=1).texts
    assert [trajectory(tiny, row, 5, seed=1).final.text for row in range(5)] == drawn


def test_conditions_are_told_row_by_row() -> None:
    dna = sd.load("enhancer-dna", dtype="bfloat16")
    how = {"condition": {"cell": ["K562", "HepG2", "hESCT0"]}, "tokens_per_step": 100}
    drawn = dna.sample(3, seed=0, **how).texts
    assert [trajectory(dna, row, 3, seed=0, **how).final.text for row in (0, 2)] == [
        drawn[0], drawn[2]]


def test_what_a_masked_model_has_written_stays(tmp_path: Path) -> None:
    found = trajectory(sd.load(write_tiny_model(tmp_path / "m")), 1, seed=0)
    assert not any(found[0].symbols) and "".join(found[-1].symbols) == found.final.text
    for before, after in zip(found.frames, found.frames[1:], strict=False):
        written = [(a, b) for a, b in zip(before.symbols, after.symbols, strict=True) if a]
        assert all(a == b for a, b in written)
        assert sum(map(bool, after.symbols)) == sum(map(bool, before.symbols)) + 1


def test_graphs_are_seen_as_graphs(tmp_path: Path) -> None:
    tokens = trajectory(sd.load(write_token_graphs(tmp_path / "t")), 0, seed=0)
    first, last = tokens[0], tokens[-1]
    pairs = ~np.eye(len(first.symbols), dtype=bool)
    assert np.isnan(first.edges[pairs]).all() and not any(first.symbols)
    assert all(last.symbols) and np.isfinite(last.edges).all()
    assert np.array_equal(last.edges, last.edges.T)
    numbers = trajectory(sd.load(write_graph_sde(tmp_path / "s")), 0, seed=0)
    assert all(f.edges.shape == (len(f.symbols),) * 2 for f in numbers.frames)
    assert len(numbers) == numbers.steps + 1  # every step of an SDE is seen


@pytest.mark.parametrize("row, n, message", [
    (4, 4, "row must be one of the 4 rows, 0 to 3, got 4"), (-1, 4, "got -1"),
    ("a", 4, "row must be a whole number")], ids=["behind", "negative", "text"])
def test_a_row_that_is_not_there(row, n, message: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=message):
        trajectory(sd.load(write_tiny_model(tmp_path / "m")), row, n)


def test_rows_of_another_origin_are_not_retraced(tmp_path: Path) -> None:
    tiny = sd.load(write_tiny_model(tmp_path / "m"))
    drawn = tiny.sample(3, seed=0)
    with pytest.raises(ScidiffError, match="no shipped model: give model="):
        drawn.plot.trajectory()
    with pytest.raises(ScidiffError, match="provenance lacks n"):
        tiny.result(drawn.records, 0, sampling={}).plot.trajectory(model=tiny)
    with pytest.raises(ScidiffError, match="row 0 was not drawn by Model.sample"):
        drawn[::-1].plot.trajectory(model=tiny)


# ---------------------------------------------------------------- pictures

FRAMES = tuple(Frame(i, tuple(c if j < i else "" for j, c in enumerate("CC(=O)O")))
               for i in range(8))
ACID = Trajectory(FRAMES, 7, molecule_record("CC(=O)O"), "molecule", "m")


def test_atoms_stand_out_once_they_are_written() -> None:
    assert atom_tokens(["C", "[NH3+]", "(", "=", "Cl", ")", "1", "%10", "c"]) == [0, 1, 4, 8]
    how = _emerging(ACID.final.obj, atom_tokens(tuple("CC(=O)O")), tuple("CC(=O)O"))
    picture = ACID.plot(8)
    bonds = [[line.get_alpha() for line in a.lines] for a in picture.axes]
    # C, C ( =, O and the last O are written after steps 1, 2, 5 and 7; one line a bond order
    assert [sum(alpha == 1 for alpha in panel) for panel in bonds] == [0, 0, 1, 1, 1, 3, 3, 4]
    assert {len(panel) for panel in bonds} == {4} and how.told
    assert "CC(·····" not in [t.get_text() for t in picture.axes[3].texts]
    assert "CC(····" in [t.get_text() for t in picture.axes[3].texts]


def test_other_rows_are_drawn_as_letters_or_graphs() -> None:
    wrong = Trajectory(FRAMES[:3], 7, Record("CC(", None, False, "open"), "molecule")
    assert [t.get_text() for t in strip(wrong, 3).axes[2].texts][:2] == ["C", "C"]
    edges = np.array([[0, np.nan, 0], [np.nan, 0, 2.0], [0, 2.0, 0]])
    frames = (Frame(0, ("", "o", "o"), edges), Frame(1, ("o",) * 3, np.nan_to_num(edges)))
    record = Record("Bw", None, False, "tree: the graph is not")
    graph = Trajectory(frames, 1, record, "graph")
    assert [len(a.lines) for a in strip(graph, 2).axes] == [3, 2]  # a hairline, two of a bond


def test_a_sequence_is_one_picture_of_all_steps() -> None:
    frames = (Frame(0, ("",) * 3), Frame(1, ("A", "", "")), Frame(2, ("A", "C", "T")))
    found = Trajectory(frames, 2, Record("ACT", "ACT", True), "sequence")
    pixels = found.plot().axes[0].images[0].get_array()
    assert pixels.shape == (3, 3, 3) and np.array_equal(pixels[1, 0], pixels[2, 0])
    assert np.array_equal(pixels[0, 1], pixels[1, 1]) and not np.array_equal(*pixels[1:, 1])
    assert [t.get_text() for t in raster(found).axes[0].texts] == ["A", "C", "T"]


def test_an_animation_shows_the_steps_and_holds_the_last(tmp_path: Path) -> None:
    ACID.save(tmp_path / "a.gif")
    with Image.open(tmp_path / "a.gif") as gif:
        assert gif.n_frames == 8 and gif.info["loop"] == 0
        times = [gif.seek(i) or gif.info["duration"] for i in range(8)]
        assert times == [150] * 7 + [2_000]
        last = np.asarray(gif.convert("L"), float)
        gif.seek(0)
        assert np.asarray(gif.convert("L"), float).mean() > last.mean()  # ghosts are paler
    with Image.open(BytesIO(ACID.gif(most=3))) as short:
        assert short.n_frames == 3


class _Tags(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.seen: list[str] = []

    def handle_starttag(self, tag, attrs) -> None:
        self.seen.append(tag)


def test_pages_are_whole_and_escaped(tmp_path: Path) -> None:
    odd = Trajectory(FRAMES[:2], 7, Record("</script><b>", None, False, "no molecule"), "molecule")
    odd.save(tmp_path / "a.html")
    tags = _Tags()
    tags.feed((tmp_path / "a.html").read_text("utf-8"))
    assert tags.seen.count("img") == 2 and tags.seen.count("script") == 1 and "b" not in tags.seen
    shown = _Tags()
    shown.feed(odd._repr_html_())
    assert shown.seen == ["div", "img"]
    with pytest.raises(ValueError, match=r"saved as \.gif, \.html, \.png, got '\.mp4'"):
        ACID.save(tmp_path / "a.mp4")
