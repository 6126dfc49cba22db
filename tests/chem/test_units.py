"""Other units than angstrom: converted on demand, otherwise reported."""

import numpy as np
import pytest
from placed import METHANE, WATER, placed, qm9_rows, scaled

from scidiff.chem.constants import BOHR
from scidiff.chem.units import UNITS, in_angstrom, suspected_unit, unit_fault
from scidiff.data.points import Points


@pytest.mark.parametrize("unit", [u for u in UNITS if u != "angstrom"])
@pytest.mark.parametrize("smiles", ["O", "CC#N", "C#C", "c1ccsc1", "BrCCI"])
def test_a_molecule_in_another_unit_is_suspected_and_converted_only_on_demand(smiles, unit):
    points = placed(smiles)
    other = scaled(points, 1 / UNITS[unit])
    assert suspected_unit(points) == "" and unit_fault(points) is None
    report = unit_fault(other)
    assert report is not None and report.rule == "units"
    assert f"units='{unit}' multiplies them by {UNITS[unit]:.4g}" in report.message
    np.testing.assert_allclose(in_angstrom(other.positions, unit), points.positions, rtol=1e-12)


@pytest.mark.parametrize("points", [
    Points.of([6], np.zeros((1, 3))),  # no distance
    scaled(METHANE, 1.3), scaled(METHANE, 0.5), scaled(WATER, 3.0),
    Points.of([6] * 8, np.random.default_rng(0).normal(size=(8, 3)) * 2),
    Points.of([6, 6], np.zeros((2, 3))),
], ids=range(6))
def test_what_is_wrong_in_any_unit_is_no_unit(points):
    assert suspected_unit(points) == ""


def test_the_nearest_unit_is_named():
    np.testing.assert_array_equal(in_angstrom(np.ones((1, 3)), "bohr"), BOHR * np.ones((1, 3)))
    with pytest.raises(ValueError, match="picometre, got 'nanometer'; did you mean 'nanometre'"):
        in_angstrom(np.ones((1, 3)), "nanometer")


def test_qm9_is_in_angstrom(shared_data):
    rows = qm9_rows(shared_data, range(0, 130_000, 325))[0]
    assert {suspected_unit(p) for p in rows} == {""}
    assert {suspected_unit(scaled(p, 1 / BOHR)) for p in rows} == {"bohr"}
