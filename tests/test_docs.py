"""The code in CONTRIBUTING.md runs as it stands: a block that names its file becomes that module,
the others check it. The blocks of the pages in docs/ run one after the other."""

import importlib
import re
import sys
import types
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
BLOCK = re.compile(r"^```python\n(.*?)^```$", re.DOTALL | re.MULTILINE)
SECTION = re.compile(r"^## (A \w+)\n(.*?)(?=^## |\Z)", re.DOTALL | re.MULTILINE)
SECTIONS = dict(SECTION.findall((ROOT / "CONTRIBUTING.md").read_text()))


def _module(source: str) -> str | None:
    first = re.match(r"# (scidiff/\S+)\.py\n", source)
    return first[1].replace("/", ".") if first else None


def _install(name: str, source: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Make `source` importable under `name`, for this test only."""
    module = types.ModuleType(name)
    package, _, attribute = name.rpartition(".")
    monkeypatch.setitem(sys.modules, name, module)
    monkeypatch.setattr(importlib.import_module(package), attribute, module, raising=False)
    exec(compile(source, f"{name} of CONTRIBUTING.md", "exec"), module.__dict__)


def test_the_page_shows_how_to_add_each_part() -> None:
    assert list(SECTIONS) == ["A reward", "A sampler", "A network", "A domain"]


@pytest.mark.parametrize("section", SECTIONS)
def test_a_worked_example_runs(section: str, monkeypatch: pytest.MonkeyPatch) -> None:
    blocks = BLOCK.findall(SECTIONS[section])
    names = [_module(block) for block in blocks]
    assert names[0] and names[1:] == [None], "one file, then its check"
    assert not (ROOT / f"{names[0].replace('.', '/')}.py").exists(), (
        "the example's file exists now"
    )
    _install(names[0], blocks[0], monkeypatch)
    exec(compile(blocks[1], f"check of {section}", "exec"), {"__name__": "check"})


def test_the_domain_is_found_by_its_name(monkeypatch: pytest.MonkeyPatch) -> None:
    from scidiff.api.model import find_domain

    source = BLOCK.findall(SECTIONS["A domain"])[0]
    _install("scidiff.domains.codons", source, monkeypatch)
    assert find_domain("codons").__name__ == "CodonDomain"


def test_the_reward_is_found_by_its_path(monkeypatch: pytest.MonkeyPatch) -> None:
    from scidiff.rewards.combine import reward

    _install("scidiff.rewards.shape", BLOCK.findall(SECTIONS["A reward"])[0], monkeypatch)
    assert reward("scidiff.rewards.shape:sp3").floor == 0


@pytest.mark.parametrize(
    "page, said, files",
    [
        ("guide", "2 designs", {"mols.csv", "hits.html"}),
        ("sequences", "perplexity", {"k562.fasta"}),
        ("campaigns", "improper rule", {"runs_qed"}),
        ("points", "model qm9-3d, seed 0", {"drawn.sdf"}),
    ],
)
def test_a_page_runs_from_top_to_bottom(
    page: str, said: str, files: set[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    monkeypatch.chdir(tmp_path)
    names: dict[str, object] = {"__name__": page}
    for block in BLOCK.findall((ROOT / f"docs/{page}.md").read_text()):
        exec(compile(block, f"a block of docs/{page}.md", "exec"), names)
    assert said in capsys.readouterr().out
    assert files <= {p.name for p in tmp_path.iterdir()}
