"""The shipped model of molecules in space."""

from __future__ import annotations

import numpy as np
import pytest

import scidiff as sd
from scidiff.api.model import SHIPPED, Model
from scidiff.evaluation.stability import edm
from scidiff.rewards.shapes import Strain

pytestmark = pytest.mark.skipif(
    not (SHIPPED / "qm9-3d").is_dir(), reason="scidiff/models/qm9-3d is not there"
)


@pytest.fixture(scope="module")
def model() -> Model:
    return sd.load("qm9-3d", device="cpu")


def test_it_is_small_and_names_what_it_is(model) -> None:
    assert (SHIPPED / "qm9-3d" / "model.safetensors").stat().st_size < 4e6
    assert model.domain.kind == "molecule" and "points" in repr(model)
    assert model.config["sampling"]["steps"] <= 100


def test_its_molecules_are_mostly_stable(model) -> None:
    result = model.sample(24, seed=0, steps=30)
    stable = np.concatenate([edm(r.points)[0] for r in result])
    assert stable.mean() > 0.9  # 98.7 % at 100 steps
    assert result.valid.sum() >= 8


def test_it_draws_the_structures_of_a_molecule(model) -> None:
    result = model.sample(6, seed=1, graph="CC(=O)OC", steps=30)
    assert all(r.valid and r.text == "COC(C)=O" for r in result)
    lengths = [np.linalg.norm(r.points.positions[0] - r.points.positions[1]) for r in result]
    assert abs(np.mean(lengths) - 1.51) < 0.1  # the single bond of C and C, angstrom


def test_it_designs(model) -> None:
    designed = sd.design(model, "qed", n=2, method="best-of-n", budget=12, steps=20)
    assert len(designed) == 2 and max(designed.to_frame()["score"]) > 0.25


@pytest.mark.parametrize("method", ["best-of-n", "evolve"])
def test_designs_are_the_structures_that_were_scored(model, method) -> None:
    designed = sd.design(model, "strain()", n=2, method=method, budget=10, steps=20)
    scored = [r for r, status in zip(designed, designed.to_frame()["status"], strict=True)
              if status == "ok"]
    assert scored and Strain()([r.obj for r in scored]) == [
        pytest.approx(score) for score in designed.to_frame()["score"][: len(scored)]]


def test_a_molecule_in_space_appears_step_by_step(model):
    rows = model.sample(2, seed=0, steps=6)
    way = model.trajectory(1, n=2, seed=0, steps=6)
    assert way.final.text == rows[1].text and way.steps == 6
    last, points = way.frames[-1], rows[1].points
    assert last.places == pytest.approx(points.positions, abs=1e-4)
    assert len(last.symbols) == len(points.numbers)
    assert way.gif(3).startswith(b"GIF89a")
    assert way.plot(3).png(40).startswith(b"\x89PNG")
