"""Editing and interpolation keep what they promise, row by row."""

import numpy as np
import pytest
import torch
from tiny_models import LENGTH, SYMBOLS, write_tiny_model

from scidiff.api.editing import Part, similarity
from scidiff.api.model import Model
from scidiff.core import ScidiffError, seeded
from scidiff.data.tokens import EOS, PAD


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return Model(write_tiny_model(tmp_path_factory.mktemp("m") / "m"))


# ---------------------------------------------------------------- editing


def test_only_the_chosen_places_change(model):
    result = model.edit(["CCNOC", "NNN"], 200, positions=[1, -1])
    frame = result.to_frame()
    assert frame["parent"].tolist() == ["CCNOC"] * 200 + ["NNN"] * 200
    for text, parent, changed in zip(
        result.texts, frame["parent"], frame["changed"], strict=True
    ):
        kept = [i for i in range(len(parent)) if i not in (1, len(parent) - 1)]
        assert len(text) == len(parent) and all(text[i] == parent[i] for i in kept)
        assert changed == sum(a != b for a, b in zip(text, parent, strict=True))
    assert len(set(result.texts[:200])) == 16 and set(frame["changed"]) == {0, 1, 2}
    assert result.provenance["edited"] == {"positions": [1, -1]}


def test_spans_are_written_again(model):
    texts = model.edit("CCCCCC", 60, spans=[(0, 1), (3, 5)]).texts
    assert all(t[1:3] == "CC" and t[5] == "C" for t in texts)
    assert {len(t) for t in texts} == {6}
    assert all(len({t[i] for t in texts}) == len(SYMBOLS) for i in (0, 3, 4))


@pytest.mark.parametrize("fraction, hidden", [(0.3, 3), (0.01, 1), (1.0, 10)])
def test_a_fraction_is_drawn_anew_for_every_row(fraction, hidden):
    ids = torch.tensor([[2] * 10 + [EOS, PAD]]).repeat(3000, 1)
    where = Part.of(fraction, None, None).drawn(ids, seeded(0))
    assert (where.sum(1) == hidden).all() and not where[:, 10:].any()
    share = where.double().mean(0)[:10]
    p = hidden / 10
    assert (share - p).abs().max() < 4 * (p * (1 - p) / 3000) ** 0.5 + 1e-9


def test_seeds_and_defaults(model):
    a, b = (model.edit("CCNOCC", 20, seed=3) for _ in range(2))
    assert a.texts == b.texts != model.edit("CCNOCC", 20, seed=4).texts
    assert a.provenance["edited"] == {"fraction": 0.3}
    assert max(a.to_frame()["changed"]) <= 2  # round(0.3 * 6)


def test_settings_reach_the_sampler(model):
    with pytest.raises(ValueError, match="order must be one of"):
        model.edit("CC", order="best")


def test_wrong_edits(model, tmp_path):
    with pytest.raises(ValueError, match=r"row 2 has 2 tokens, 3 is not one of their places 0..1"):
        model.edit(["CCCC", "CC"], positions=[3])
    with pytest.raises(ValueError, match="expected one of fraction, positions and spans"):
        model.edit("CC", fraction=0.2, positions=[0])
    with pytest.raises(ValueError, match=r"fraction must be in \(0, 1\], got 0"):
        model.edit("CC", fraction=0.0)
    with pytest.raises(ValueError, match="must not be empty"):
        model.edit("CC", positions=[])
    with pytest.raises(ValueError, match=r"a span is \(start, stop\).* got \(2, 1\)"):
        model.edit("CC", spans=[(2, 1)])
    with pytest.raises(ValueError, match="row 1: unknown token 'X'"):
        model.edit("CX")
    with pytest.raises(ValueError, match="at least one text and n of at least 1, got 0, 1"):
        model.edit([])
    left = Model(write_tiny_model(tmp_path / "ar", "autoregressive"))
    with pytest.raises(ScidiffError, match="writes from left to right and cannot see"):
        left.edit("CC")
    with pytest.raises(ScidiffError, match="writes from left to right"):
        left.interpolate("CC", "CN")


# ---------------------------------------------------------------- interpolation


def test_without_writing_every_differing_token_is_one_of_the_two(model):
    a, b, steps, n = "CCNOCC", "CFNOFN", 5, 400
    result = model.interpolate(a, b, steps, n, write=0.0)
    frame = result.to_frame()
    assert frame["fraction"].tolist() == [0, 0.25, 0.5, 0.75, 1] * n
    assert frame["path"].tolist() == [i for i in range(n) for _ in range(steps)]
    rows = np.array([list(t) for t in result.texts]).reshape(n, steps, 6)
    from_b = rows[:, :, [1, 4, 5]] == np.array(["F", "F", "N"])
    assert (rows[:, :, [0, 2, 3]] == np.array(["C", "N", "O"])).all()
    assert (from_b | (rows[:, :, [1, 4, 5]] == "C")).all()
    assert (np.diff(from_b.astype(int), axis=1) >= 0).all()  # a column changes sides once
    share = from_b.mean((0, 2))
    s = np.linspace(0, 1, steps)
    assert (np.abs(share - s) <= 4 * np.sqrt(s * (1 - s) / (3 * n)) + 1e-12).all()
    assert (rows[:, 0] == list(a)).all() and (rows[:, -1] == list(b)).all()


def test_rows_of_unlike_length_are_aligned(model):
    result = model.interpolate("CCNOCC", "NOC", 6, 50, write=0.0)
    frame = result.to_frame()
    ends = frame.groupby("fraction")["smiles"].unique()
    assert list(ends[0.0]) == ["CCNOCC"] and list(ends[1.0]) == ["NOC"]
    assert all("NOC" in t for t in result.texts)
    lengths = frame.assign(size=frame["smiles"].str.len()).groupby("fraction")["size"].mean()
    assert (np.diff(lengths) < 0).all()


def test_what_is_written_is_the_models_own_and_most_in_the_middle(model):
    a, b, n = "CCCCCC", "NNNNNN", 300
    result = model.interpolate(a, b, 5, n, write=1.0)
    rows = np.array([list(t) for t in result.texts]).reshape(n, 5, 6)
    assert (rows[:, 0] == list(a)).all() and (rows[:, -1] == list(b)).all()
    foreign = ((rows == "O") | (rows == "F")).mean((0, 2))
    p = 0.5  # of the four symbols, which the untrained network draws alike
    expected = p * np.array([0, 0.5, 1, 0.5, 0])
    assert (np.abs(foreign - expected) <= 4 * np.sqrt(expected * (1 - expected) / (6 * n))).all()


def test_similarity_columns(model):
    frame = model.interpolate("CCNOCC", "CFNO", 3, 5).to_frame()
    for text, to_a, to_b in zip(
        frame["smiles"], frame["similarity_a"], frame["similarity_b"], strict=True
    ):
        assert to_a == similarity(text, "CCNOCC") and to_b == similarity(text, "CFNO")
    assert frame["similarity_a"][0] == 1 and frame["similarity_b"][2] == 1


def test_left_to_right_models_mix_without_writing(tmp_path):
    left = Model(write_tiny_model(tmp_path / "ar", "autoregressive"))
    assert left.interpolate("CC", "NN", 2, write=0.0).texts == ["CC", "NN"]


def test_wrong_interpolations(model):
    with pytest.raises(ValueError, match="steps of at least 2 and n of at least 1, got 1 and 1"):
        model.interpolate("CC", "CN", 1)
    with pytest.raises(ValueError, match=r"write must be in \[0, 1\], got 2"):
        model.interpolate("CC", "CN", write=2)
    with pytest.raises(ValueError, match="row 2: unknown token 'X'"):
        model.interpolate("CC", "CX")
    with pytest.raises(ValueError, match=f"with the end, the model takes at most {LENGTH}"):
        model.interpolate("OFCNOFCNOFC", "CNOFCNOFCN")


def test_rows_that_cannot_hold_an_alignment_are_paired_by_place(model):
    a, b = "OFCNOFCNOFC", "FCNOFCNOFCN"  # one shifted by a place: aligned, a column too many
    rows = model.interpolate(a, b, 3, 40, write=0.0).texts
    assert rows[0::3] == [a] * 40 and rows[2::3] == [b] * 40
    assert {len(row) for row in rows} == {11}
    assert all(row[i] in a[i] + b[i] for row in rows for i in range(11))
    assert len(set(rows[1::3])) > 30
