"""Sphinx settings, and the one directive of our own: a map of the modules read off the source."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

from docutils import nodes
from docutils.parsers.rst import Directive
from sphinx.application import Sphinx

ROOT = Path(__file__).parents[1]
LAYERS = (
    "core chem data processes networks training samplers rewards guidance evaluation domains"
).split()

project = author = "scidiff"
copyright = "the scidiff developers, MIT licence"
release = re.search(r'__version__ = "(.+)"', (ROOT / "scidiff/__init__.py").read_text())[1]

extensions = ["myst_nb"]
nb_execution_mode = "off"
myst_heading_anchors = 3
# README and the pages of the repository's root link to files of the repository, not to pages here.
suppress_warnings = ["myst.xref_missing"]
exclude_patterns = ["_build"]
html_theme = "pydata_sphinx_theme"
html_title = "scidiff"
html_theme_options = {"show_prev_next": False}
html_show_sourcelink = False


class ModuleMap(Directive):
    """`module-map`: every module and the first sentence of its docstring, layer by layer."""

    def run(self) -> list[nodes.Node]:
        paths = sorted((ROOT / "scidiff").rglob("*.py"), key=_place)
        items = [_item(path) for path in paths if path.name != "__init__.py"]
        return [nodes.bullet_list("", *items)]


def _place(path: Path) -> tuple[int, str]:
    top = path.relative_to(ROOT / "scidiff").parts[0].removesuffix(".py")
    return LAYERS.index(top) if top in LAYERS else len(LAYERS), str(path)


def _item(path: Path) -> nodes.list_item:
    text = " ".join((ast.get_docstring(ast.parse(path.read_text())) or "").split())
    first = re.split(r"(?<=\.)\s", text)[0]
    name = nodes.literal(text=str(path.relative_to(ROOT)))
    return nodes.list_item("", nodes.paragraph("", "", name, *_marked(f" {first}")))


def _marked(text: str) -> Iterator[nodes.Node]:
    """Text with `code` in back-ticks set as such."""
    for i, part in enumerate(re.split(r"`+", text)):
        yield nodes.literal(text=part) if i % 2 else nodes.Text(part)


def setup(app: Sphinx) -> None:
    app.add_directive("module-map", ModuleMap)
