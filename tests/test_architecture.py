"""The plan of the package as a test: data flows one way, heavy parts stay where they belong,
files and functions fit a screen."""

import ast
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "scidiff"
LAYERS = [
    "messages",
    "files",
    "core",
    "chem",
    "data",
    "processes",
    "networks",
    "training",
    "samplers",
    "rewards",
    "guidance",
    "evaluation",
    "domains",
    "api",
]
PLACED = {"testing": LAYERS.index("evaluation")}  # may use anything left of domains

# What each layer may import from outside, beside the standard library: everywhere, and only
# inside functions.
AT_TOP = {
    "messages": set(),
    "files": set(),
    "core": {"torch", "numpy"},
    "chem": {"rdkit", "numpy", "selfies"},
    "data": {"torch", "numpy", "networkx", "torch_geometric"},
    "processes": {"torch", "numpy"},
    "networks": {"torch", "numpy", "safetensors", "torch_geometric", "e3nn"},
    "training": {"torch", "numpy", "safetensors", "rich"},  # rich: the bar only
    "samplers": {"torch", "numpy"},
    "rewards": {"torch", "numpy", "rdkit", "pydantic"},
    "guidance": {"torch", "numpy", "safetensors"},
    "evaluation": {
        "torch",
        "numpy",
        "rdkit",
        "networkx",
        "scipy",
        "pandas",
        "pyarrow",
        "matplotlib",
    },
    "domains": {"torch", "numpy", "rdkit", "networkx", "selfies"},
    "api": {
        "torch",
        "numpy",
        "rdkit",
        "pydantic",
        "typer",
        "click",
        "rich",
        "pandas",
        "pyarrow",
        "safetensors",
    },
}
IN_FUNCTIONS = {
    "data": {"pandas", "pyarrow", "rdkit"},
    "training": {"huggingface_hub", "lightning", "tensorboard"},
    "rewards": {  # extras
        "RNA",
        "chemprop",
        "macrel",
        "onnxruntime",
        "openbabel",
        "posebusters",
        "pyjaspar",
        "ray",
        "tblite",
        "vina",
    },
    "evaluation": {"PIL", "fcd_torch", "py3Dmol", "umap"},
    "api": {"matplotlib", "lightning", "scipy", "ray"},
}
BARE = {"torch", "numpy", "safetensors", "lightning"}  # all that a bare GPU machine has
MAX_LINES, MAX_FUNCTION = 400, 40
FUNCTION = ast.FunctionDef | ast.AsyncFunctionDef


@dataclass(frozen=True)
class Import:
    """One imported module: where, what, and whether it runs when the file is loaded."""

    path: Path
    line: int
    module: str
    at_top: bool

    def __str__(self) -> str:
        return f"{self.path.relative_to(PACKAGE.parent)}:{self.line} imports {self.module}"


def _is_type_checking(node: ast.AST) -> bool:
    return isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test)


def _walk(path: Path, node: ast.AST, at_top: bool) -> Iterator[Import]:
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.Import):
            yield from (Import(path, child.lineno, alias.name, at_top) for alias in child.names)
        elif isinstance(child, ast.ImportFrom):
            assert child.level == 0, f"{path}:{child.lineno}: a relative import hides its layer"
            yield from (Import(path, child.lineno, name, at_top) for name in _targets(child))
        else:
            later = isinstance(child, FUNCTION | ast.Lambda) or _is_type_checking(child)
            yield from _walk(path, child, at_top and not later)


def _targets(node: ast.ImportFrom) -> list[str]:
    """`from scidiff.data import tokens` names the file scidiff.data.tokens, `from scidiff.core
    import Tape` the file scidiff.core."""
    module = str(node.module)
    files = {f"{module}.{alias.name}" for alias in node.names if _file(f"{module}.{alias.name}")}
    return sorted(files) or [module]


def _file(module: str) -> Path | None:
    path = PACKAGE.parent.joinpath(*module.split("."))
    return next((p for p in (path.with_suffix(".py"), path / "__init__.py") if p.exists()), None)


@cache
def files() -> list[Path]:
    return sorted(PACKAGE.rglob("*.py"))


@cache
def imports() -> list[Import]:
    return [found for path in files() for found in _walk(path, ast.parse(path.read_text()), True)]


def layer(path: Path) -> str:
    name = path.relative_to(PACKAGE).parts[0].removesuffix(".py")
    return name if name in LAYERS else "api"


def rank(path: Path) -> int:
    """Position of the file's layer; files of one layer may import each other. The last layer is
    the whole top level: api, cli, results, doctor, ..."""
    name = path.relative_to(PACKAGE).parts[0].removesuffix(".py")
    return PLACED.get(name, LAYERS.index(layer(path)))


def _outside(found: Import) -> str | None:
    top = found.module.split(".")[0]
    return None if top in sys.stdlib_module_names or top in {"scidiff", "__future__"} else top


def test_imports_flow_one_way() -> None:
    own = [f for f in imports() if f.module.startswith("scidiff.")]
    inner = [(f, target) for f in own if (target := _file(f.module))]
    assert len(inner) > 20, "the walk found nothing: the test is blind"
    upward = [str(f) for f, target in inner if rank(target) > rank(f.path)]
    assert upward == []


def test_rewards_reach_guidance_through_scoring_only() -> None:
    """Guidance runs without RDKit: of the rewards it may know statuses and scores only."""
    steering = [f for f in imports() if layer(f.path) == "guidance"]
    rewards = [f for f in steering if f.module.startswith("scidiff.rewards")]
    assert [str(f) for f in rewards if f.module != "scidiff.rewards.scoring"] == []


def test_outside_packages_stay_in_their_layers() -> None:
    wrong = []
    for found in imports():
        name, where = _outside(found), layer(found.path)
        allowed = AT_TOP[where] if found.at_top else AT_TOP[where] | IN_FUNCTIONS.get(where, set())
        if name and name not in allowed and found.path.name != "__init__.py":
            wrong.append(str(found))
    assert wrong == []


def test_torch_is_all_that_package_inits_load() -> None:
    inits = [f for f in imports() if f.path.name == "__init__.py" and f.at_top]
    assert [str(f) for f in inits if _outside(f) not in {None, "torch", "numpy"}] == []


def _bare_modules() -> list[str]:
    """Every module of the layers that must run without RDKit, save files that say themselves
    which heavy package they need."""
    wanted = {"messages", "files", "core", "processes", "networks", "training", "samplers",
              "guidance"}  # fmt: skip
    heavy = {f.path for f in imports() if f.at_top and (_outside(f) or "torch") not in BARE}
    paths = [p for p in files() if layer(p) in wanted and p not in heavy and p.stem != "__init__"]
    return [".".join(p.relative_to(PACKAGE.parent).with_suffix("").parts) for p in paths]


def test_sampling_and_training_load_without_chemistry() -> None:
    """In a process where all but torch, numpy, safetensors and Lightning refuses to load."""
    known = set().union(*AT_TOP.values(), *IN_FUNCTIONS.values())
    blocked = sorted(known - BARE - {"scipy", "networkx"})  # torch itself may try these
    code = f"""
import importlib, sys
class Absent:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in {blocked}:
            raise ModuleNotFoundError(f"{{name}} is absent on this machine", name=name)
import torch, lightning.fabric, safetensors.torch
for known in list(sys.modules):
    if known.split(".")[0] in {blocked}:
        sys.modules.pop(known)
sys.meta_path.insert(0, Absent())
for module in {_bare_modules()}:
    importlib.import_module(module)
"""
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr.strip().splitlines()[-1]


@pytest.mark.parametrize("path", files(), ids=lambda p: str(p.relative_to(PACKAGE)))
def test_a_file_and_its_functions_fit_a_screen(path: Path) -> None:
    text = path.read_text()
    assert text.count("\n") < MAX_LINES, f"{path.name} has {text.count(chr(10))} lines: split it"
    functions = [node for node in ast.walk(ast.parse(text)) if isinstance(node, FUNCTION)]
    long = {f.name: n for f in functions if (n := _body_lines(f)) > MAX_FUNCTION}
    assert long == {}, f"functions with a body of more than {MAX_FUNCTION} lines: {long}"


def _body_lines(function: FUNCTION) -> int:
    """Lines after the signature and the docstring: mathematics in a docstring is welcome."""
    statements = function.body[1:] if ast.get_docstring(function) is not None else function.body
    return int(function.end_lineno or 0) - statements[0].lineno + 1 if statements else 0


def test_no_drawer_files() -> None:
    drawers = {"utils.py", "helpers.py", "common.py", "base.py", "misc.py"}
    assert [p.name for p in files() if p.name in drawers] == []
