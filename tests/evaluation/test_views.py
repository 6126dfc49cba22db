"""Pictures of molecules in space."""

import sys
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
from matplotlib.figure import Figure
from placed import METHANE, WATER, moved, placed
from rdkit import Chem

from scidiff.chem.geometry import mol_of
from scidiff.evaluation.views import atoms_of, draw_structure, frames_figure, view, viewpoint


@pytest.fixture(autouse=True)
def without_py3dmol(monkeypatch):
    monkeypatch.setitem(sys.modules, "py3Dmol", None)


def test_every_atom_and_every_line_of_a_bond_is_drawn():
    ax = draw_structure(placed("CC#N"))
    assert len(ax.patches) == 6 and len(ax.lines) == 3 + 1 + 3
    colours = sorted(p.get_facecolor()[:3] for p in ax.patches)
    assert len(set(colours)) == 3  # H, C, N


def test_a_molecule_lies_flat_in_the_picture():
    places = placed("c1ccccc1").positions
    look = viewpoint(places)
    np.testing.assert_allclose(look.T @ look, np.eye(3), atol=1e-12)
    assert np.linalg.det(look) == pytest.approx(1)
    spread = ((places - places.mean(0)) @ look).std(0)
    assert spread[0] >= spread[1] > 100 * spread[2]


def test_near_atoms_are_over_far_ones_and_all_are_inside():
    ethanol = placed("CCO")  # of no symmetry, so that there is one way to look at it
    places = ethanol.positions + 30
    ax = draw_structure(replace(ethanol, positions=places))
    seen = (places - places.mean(0)) @ viewpoint(places)
    order = sorted(range(9), key=lambda i: seen[i, 2])
    assert [p.zorder for p in ax.patches] == sorted(p.zorder for p in ax.patches)
    for patch, i in zip(ax.patches, order, strict=True):
        np.testing.assert_allclose(patch.center, seen[i, :2], atol=1e-9)
    low, high = ax.get_xlim()
    assert low < seen[:, 0].min() - 0.3 and high > seen[:, 0].max() + 0.3


def test_bonds_are_the_molecules_own_or_found():
    benzene = mol_of(placed("c1ccoc1"))
    assert atoms_of(benzene)[2].max() == 2  # kekulised
    assert atoms_of(WATER)[2].sum() == 4
    assert atoms_of(moved(WATER, 0, (np.nan, 0, 0)))[2].sum() == 0
    with pytest.raises(ValueError, match="a structure in space"):
        draw_structure(Chem.MolFromSmiles("CC"))


def test_frames_share_one_viewpoint():
    frames = [moved(METHANE, 1, (0.0, 0.0, 0.2 * k)) for k in (2, 1, 0)]
    figure = frames_figure(frames, ["k=0", "k=1", "k=2"], columns=2)
    axes = figure.axes
    assert len(axes) == 4 and [a.get_title() for a in axes] == ["k=0", "k=1", "k=2", ""]
    carbon = [next(p for p in a.patches if p.get_radius() > 0.4) for a in axes[:3]]
    centres = np.array([c.center for c in carbon])
    assert np.abs(np.diff(centres, axis=0)).max() < 0.1  # it only moves with the centre
    with pytest.raises(ValueError, match="at least one frame"):
        frames_figure([])


def test_a_view_is_static_without_py3dmol():
    assert isinstance(view(METHANE), Figure)
    assert len(view([METHANE, WATER]).axes) == 2
    with pytest.raises(ValueError, match="nothing to show"):
        view([])


class Recorder:
    def __init__(self, **size):
        self.calls = [("view", size)]

    def __getattr__(self, name):
        return lambda *args, **more: self.calls.append((name, args))


def test_a_view_of_py3dmol_is_given_structures_and_frames(monkeypatch):
    monkeypatch.setitem(sys.modules, "py3Dmol", SimpleNamespace(view=Recorder))
    calls = dict(view(mol_of(WATER), width=100).calls)
    assert calls["view"]["width"] == 100
    text, kind = calls["addModel"]
    assert kind == "sdf" and "V2000" in text
    assert dict(view(WATER).calls)["addModel"][1] == "xyz"
    text, kind = dict(view([WATER, METHANE]).calls)["addModelsAsFrames"]
    assert kind == "xyz" and text.startswith("3\n") and "\n5\n" in text


def test_py3dmol_itself_takes_it(monkeypatch):
    monkeypatch.delitem(sys.modules, "py3Dmol")
    py3dmol = pytest.importorskip("py3Dmol", reason="needs the extra notebook")
    shown = view([WATER, METHANE])
    assert isinstance(shown, py3dmol.view) and "addModelsAsFrames" in shown._make_html()
    written = view(mol_of(WATER), width=100)._make_html()
    assert "V2000" in written and '"sdf"' in written and "width: 100px" in written
