"""What `scidiff doctor` says: complete, plain data, copyleft flagged."""

import io
import json
import tomllib
from pathlib import Path

import pytest
import torch
from rich.console import Console

from scidiff.api import doctor

PROJECT = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text())["project"]


@pytest.fixture(scope="module")
def found() -> dict:
    return doctor.report()


def test_every_extra_says_what_its_absence_switches_off(found: dict) -> None:
    optional = set(PROJECT["optional-dependencies"]) - {"dev", "docs"}
    assert set(doctor.SWITCHES_OFF) == optional
    assert {e["name"] for e in found["extras"]} == optional
    assert all(e["switches_off"] for e in found["extras"])


def test_core_packages_have_version_and_licence(found: dict) -> None:
    assert len(found["packages"]) == len(PROJECT["dependencies"])
    bare = [
        p["name"] for p in found["packages"] if not p["version"] or p["licence"] == "not stated"
    ]
    assert bare == []


def test_report_is_json_and_names_torch(found: dict) -> None:
    assert json.loads(json.dumps(found)) == found
    assert found["torch"]["version"] == torch.__version__
    assert len(found["torch"]["devices"]) == torch.cuda.device_count() * found["torch"]["cuda"]


def _installed(folder: Path, name: str, fields: str) -> None:
    info = folder / f"{name}-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(
        f"Metadata-Version: 2.4\nName: {name}\nVersion: 1.0\n{fields}\n"
    )


@pytest.mark.parametrize(
    "fields, licence, copyleft",
    [
        ("License-Expression: GPL-3.0-or-later", "GPL-3.0-or-later", True),
        ("License: LGPLv2.1", "LGPLv2.1", True),
        (
            "Classifier: License :: OSI Approved :: GNU General Public License v3 (GPLv3)",
            "GNU General Public License v3 (GPLv3)",
            True,
        ),
        ("License: MIT\nLicense-Expression: Apache-2.0", "Apache-2.0", False),
        ("Summary: no licence", "not stated", False),
    ],
)
def test_licences_are_read_and_copyleft_is_flagged(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fields: str, licence: str, copyleft: bool
) -> None:
    _installed(tmp_path, "fakepackage", fields)
    monkeypatch.syspath_prepend(tmp_path)
    found = doctor.package("fakepackage")
    assert (found["version"], found["licence"], found["copyleft"]) == ("1.0", licence, copyleft)


def test_an_absent_package_is_a_row_not_an_error() -> None:
    assert doctor.package("no-such-package-anywhere")["version"] is None


def test_the_page_shows_extras_and_warns_of_copyleft(found: dict) -> None:
    extra = {"name": "graphs", "installed": True, "switches_off": "orbits", "packages": []}
    extra["packages"] = [{"name": "o", "version": "1", "licence": "GPL-3.0", "copyleft": True}]
    console = Console(width=160, record=True, file=io.StringIO())
    console.print(doctor.render({**found, "extras": [extra]}))
    page = console.export_text()
    assert "graphs" in page and "Copyleft licences are installed: o (GPL-3.0)" in page
