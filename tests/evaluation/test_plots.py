"""Pictures: equal bytes, no global state, what is drawn is what was given."""

import sys

import matplotlib
import numpy as np
import pytest
from rdkit import Chem

from scidiff.api.results import SampleResult
from scidiff.data.records import Record
from scidiff.domains.smiles import molecule_record
from scidiff.evaluation import plots
from scidiff.evaluation.drawing import Card, grid_svg, molecule_svg

MOLS = [Chem.MolFromSmiles(s) for s in ("CCO", "c1ccccc1O", "CC(=O)Nc1ccc(O)cc1", "CCN", "CCCCC")]


def test_histograms_are_densities_with_medians() -> None:
    values = np.random.default_rng(0).normal(3, 1, 500)
    picture = plots.properties({"logp": values, "mw": values}, {"logp": values[:50]})
    first, second = picture.axes
    area = sum(p.get_width() * p.get_height() for p in first.patches[:-1])
    assert area == pytest.approx(1)
    assert first.lines[0].get_xdata()[0] == pytest.approx(np.median(values))
    assert len(first.lines) == 2 and len(second.lines) == 1  # the reference has no weights
    assert [t.get_text() for t in picture.legends[0].get_texts()] == ["this result", "reference"]


@pytest.mark.parametrize("values", [[], [1.0], [2.0, 2.0]])
def test_histograms_of_little(values) -> None:
    assert plots.properties({"qed": np.array(values)}).png()


def test_scores_are_ranked_and_gaps_left_out() -> None:
    values = np.array([0.2, np.nan, 0.9])
    picture = plots.scores(values, {"mw": np.array([300.0, 250.0, 280.0])})
    assert picture.axes[0].lines[0].get_ydata().tolist() == [0.9, 0.2]
    assert len(picture.axes) == 3  # one scale a term
    assert "no row" in plots.scores(np.array([np.nan]), {}).axes[0].texts[0].get_text()


def test_grids_show_every_row() -> None:
    cards = [Card("CCO", MOLS[0], caption=("score 1",)), Card("C<C", None, "'<' is no atom")]
    picture = plots.grid(cards)
    words = [[t.get_text() for t in a.texts] for a in picture.axes]
    assert words[0] == ["score 1"] and words[1] == ["C<C", "'<' is no atom"]
    svg = grid_svg(cards)
    assert "C&lt;C" in svg and "C<C" not in svg and svg.count("<svg") == 2
    assert "width='10'" not in grid_svg([]) and plots.grid([]).png()


def test_dollars_are_no_mathematics() -> None:
    card = Card("C$x$C", None, "'$' is $no$ atom", ("$a$",))
    assert plots.grid([card]).axes[0].texts[0].get_text() == "C$x$C"
    assert plots.grid([card]).png()


def test_molecules_are_drawn_without_weight() -> None:
    svg = molecule_svg(MOLS[2])
    assert svg.startswith("<svg") and "<?xml" not in svg and "class=" not in svg
    assert svg.count("<path") >= 11  # bonds of paracetamol


@pytest.mark.parametrize("form", ["png", "svg"])
def test_equal_content_equal_bytes_and_no_global_state(form: str) -> None:
    before = dict(matplotlib.rcParams)
    one, two = (getattr(plots.scores(np.array([1.0, 2.0]), {}), form)() for _ in range(2))
    assert one == two and dict(matplotlib.rcParams) == before
    assert "matplotlib.pyplot" not in sys.modules or not sys.modules[
        "matplotlib.pyplot"].get_fignums()


def test_unscored_rows_have_no_colour() -> None:
    rows = [molecule_record(s) for s in ("CCO", "CCN", "CCCC")]
    result = SampleResult([*rows, Record("C(", None, False, "open")], kind="molecule",
                          provenance={}, columns={"score": [1.0, 0.0, 2.0, 0.0],
                                                  "status": ["ok", "failed", "ok", "invalid"]})
    dots = result.plot.space(method="pca").axes[0].collections
    assert dots[1].get_array().tolist() == [1, 2]
    assert result.plot.scores().axes[0].lines[0].get_ydata().tolist() == [2, 1]
