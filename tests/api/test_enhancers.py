"""The shipped model of enhancers: what its card says, on a few rows."""

import math

import pytest

import scidiff as sd
from scidiff.api.model import SHIPPED
from scidiff.api.perplexity import perplexity
from scidiff.data.datasets import load


@pytest.fixture(scope="module")
def model():
    return sd.load("enhancer-dna")


def test_it_ships_small_with_its_card():
    folder = SHIPPED / "enhancer-dna"
    assert sum(p.stat().st_size for p in folder.iterdir()) < 3_000_000
    card = (folder / "README.md").read_text()
    titles = ("Evaluation", "Design", "Precision", "Use", "Recipe", "Licence")
    assert [t for t in titles if f"\n## {t}\n" not in card] == []


def test_held_out_rows_are_likelier_than_chance(model):
    """By its card 263.6 nats a row; 40 rows have a standard error of 1.5."""
    table = load("enhancers", "test")
    rows, cells = table.objects()[::115], table.values("cell")[::115]
    nats = perplexity(model, rows, draws=2, condition={"cell": cells})["nats"]
    assert nats.value < 200 * math.log(4) - 4 * 1.5
    assert abs(nats.value - 263.6) < 4 * 1.5


def test_every_cell_line_can_be_asked_for(model):
    cells = ["GM12878", "HepG2", "K562", "hESCT0"]
    found = model.sample(4, condition={"cell": cells}, weight=2.0, tokens_per_step=100)
    assert found.valid.all() and {len(text) for text in found.texts} == {200}
    assert found.columns["cell"] == cells
    with pytest.raises(ValueError, match="K562"):
        model.sample(1, condition={"cell": "K526"})
