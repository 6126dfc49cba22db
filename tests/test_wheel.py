"""What people install: wheel and sdist hold the data sets and the shipped weights, and the wheel
samples from an empty environment."""

import os
import site
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
MODELS = sorted(p.parent.name for p in (ROOT / "scidiff/models").glob("*/config.json"))
# Settings of this process that would leak into the fresh environment.
CLEAN = {
    k: v for k, v in os.environ.items() if k not in {"PYTHONPATH", "PYTHONHOME", "VIRTUAL_ENV"}
}


def _run(*command: str | Path, cwd: Path) -> str:
    call = [str(c) for c in command]
    done = subprocess.run(call, cwd=cwd, env=CLEAN, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, f"{' '.join(call)}\n{done.stdout}\n{done.stderr}"
    return done.stdout


def _sources(*folders: str) -> set[str]:
    """Files of the checkout under `folders`: those git does not ignore, or all of them outside a
    clone."""
    if (ROOT / ".git").exists():
        listed = _run("git", "ls-files", "-zco", "--exclude-standard", *folders, cwd=ROOT).split(
            "\0"
        )
        return {name for name in listed if name and (ROOT / name).is_file()}
    found = {str(p.relative_to(ROOT)) for f in folders for p in (ROOT / f).rglob("*")}
    return {name for name in found if (ROOT / name).is_file() and "__pycache__" not in name}


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The sdist, and the wheel built from the unpacked sdist, as a release would be."""
    out = tmp_path_factory.mktemp("dist")
    _run(sys.executable, "-m", "build", "--no-isolation", "--outdir", out, ROOT, cwd=out)
    return out


@pytest.fixture(scope="module")
def wheel(built: Path) -> Path:
    (found,) = built.glob("scidiff-*-py3-none-any.whl")
    return found


@pytest.fixture(scope="module")
def environment(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A new environment with the wheel alone. What scidiff depends on is borrowed from this one
    through a path file, which carries over packages but no editable install."""
    folder = tmp_path_factory.mktemp("environment")
    _run(sys.executable, "-m", "venv", "--without-pip", folder, cwd=folder)
    packages = Path(_python(folder, "import sysconfig; print(sysconfig.get_path('purelib'))"))
    borrowed = [p for p in site.getsitepackages() if Path(p).is_dir()]
    (packages / "borrowed.pth").write_text("\n".join(borrowed) + "\n")
    install = ("install", "--quiet", "--no-deps", "--no-index", "--disable-pip-version-check")
    pip = (sys.executable, "-m", "pip", "--python", folder / "bin" / "python")
    _run(*pip, *install, "--ignore-installed", wheel, cwd=folder)
    return folder


def _python(environment: Path, code: str) -> str:
    return _run(environment / "bin" / "python", "-c", code, cwd=environment).strip()


def test_wheel_holds_code_data_sets_and_weights(wheel: Path) -> None:
    names = set(zipfile.ZipFile(wheel).namelist())
    code = _sources("scidiff")
    data = {name.replace("datasets/", "scidiff/_datasets/", 1) for name in _sources("datasets")}
    assert {"scidiff/core.py", "scidiff/py.typed"} <= code <= names
    assert data and data <= names, sorted(data - names)
    assert not [n for n in names if n.startswith(("tests/", "benchmarks/", "examples/"))]


def test_sdist_holds_what_a_packager_needs(built: Path) -> None:
    (found,) = built.glob("scidiff-*.tar.gz")
    with tarfile.open(found) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    wanted = _sources("scidiff", "datasets", "tests", "examples", "recipes", "docs")
    assert (
        wanted | {"README.md", "CHANGELOG.md", "LICENSE", "Makefile", "constraints.txt"} <= names
    )


def test_the_installed_wheel_is_the_one_that_runs(environment: Path) -> None:
    where = _python(environment, "import scidiff; print(scidiff.__file__)")
    assert Path(where).is_relative_to(environment)
    version = _python(
        environment, "from importlib.metadata import version as v; print(v('scidiff'))"
    )
    assert version == _python(environment, "import scidiff; print(scidiff.__version__)")


@pytest.mark.skipif(
    "moses-smiles" not in MODELS, reason="scidiff/models/moses-smiles is not there yet"
)
def test_the_installed_wheel_samples(environment: Path, tmp_path: Path) -> None:
    scidiff = environment / "bin" / "scidiff"
    _run(scidiff, "sample", "moses-smiles", "-n", "4", "--seed", "0", "-o", "x.csv", cwd=tmp_path)
    assert len((tmp_path / "x.csv").read_text().splitlines()) == 5
