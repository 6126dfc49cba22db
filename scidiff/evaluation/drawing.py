"""Rows as static pictures: molecules drawn by RDKit, invalid rows as boxes that say why."""

from __future__ import annotations

import html
import re
import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from rdkit.Chem import Mol
from rdkit.Chem.Draw import rdMolDraw2D
from rdkit.Chem.Draw.rdMolDraw2D import MolDraw2D, MolDraw2DCairo, MolDraw2DSVG

from scidiff.evaluation.graph_drawing import graph_svg

WIDTH, HEIGHT, CAPTION = 220, 160, 22  # of one picture and of each line under it, in pixels
GAP = 10
INK, FAINT, LINE, WRONG, WRONG_FILL = "#1f2933", "#5f6b7a", "#d9dee5", "#9c2f00", "#fdf3ee"
FONT = "-apple-system,'Segoe UI','Helvetica Neue',Arial,sans-serif"
DARKER = {9: (0.0, 0.45, 0.45), 16: (0.65, 0.45, 0.0), 17: (0.0, 0.5, 0.1)}  # F, S, Cl on paper
_NOISE = re.compile(r" class='[^']*'|<!--[^>]*-->|fill-rule:evenodd;|stroke-linecap:butt;"
                    r"|stroke-linejoin:miter;|;stroke-opacity:1|(?<=\d)\.0(?=[^\d])")


@dataclass(frozen=True)
class Card:
    """One row as it is drawn."""

    text: str
    mol: Mol | None  # drawn where there is one, else the text is written
    reason: str = ""  # why the row is invalid
    caption: tuple[str, ...] = ()  # short lines under the picture
    graph: Any = None  # a networkx graph, drawn where there is one


def molecule_svg(mol: Mol, width: int = WIDTH, height: int = HEIGHT) -> str:
    """Draw a molecule as an <svg> element without header, classes or background."""
    drawer = MolDraw2DSVG(width, height)
    _draw(drawer, mol)
    text = drawer.GetDrawingText()
    body = text[text.index(">", text.index("<svg")) + 1:text.rindex("</svg>")]
    return (f"<svg xmlns='http://www.w3.org/2000/svg' width='{width}' height='{height}' "
            f"viewBox='0 0 {width} {height}'>{_NOISE.sub('', body).strip()}</svg>")


def picture_svg(card: Card, width: int = WIDTH, height: int = HEIGHT) -> str:
    """What the card draws, as an <svg> element; "" where there is nothing to draw."""
    if card.mol is not None:
        return molecule_svg(card.mol, width, height)
    return graph_svg(card.graph, width, height) if card.graph is not None else ""


def molecule_png(mol: Mol, width: int, height: int) -> bytes:
    """Draw a molecule as a PNG on white, `width` by `height` pixels."""
    drawer = MolDraw2DCairo(width, height)
    _draw(drawer, mol, scale=width / WIDTH)
    return drawer.GetDrawingText()


def grid_svg(cards: Sequence[Card], columns: int = 4) -> str:
    """Draw cards row by row in one <svg> that scales to the page; no script, no style sheet."""
    lines = max((len(c.caption) for c in cards), default=0)
    high = HEIGHT + CAPTION * lines
    columns = max(1, min(columns, len(cards)))
    wide = columns * (WIDTH + GAP) - GAP
    tall = -(-len(cards) // columns) * (high + GAP) - GAP
    body = "".join(_placed(card, (i % columns) * (WIDTH + GAP), (i // columns) * (high + GAP),
                           high) for i, card in enumerate(cards))
    tall = max(tall, 0)
    return (f"<svg xmlns='http://www.w3.org/2000/svg' viewBox='-1 -1 {wide + 2} {tall + 2}'"
            f" width='{wide}' style='max-width:100%;height:auto' font-family=\"{FONT}\">"
            f"{body}</svg>")


def _placed(card: Card, x: int, y: int, high: int) -> str:
    fill, edge = (WRONG_FILL, "#e8bfae") if card.reason else ("#ffffff", LINE)
    box = (f"<rect width='{WIDTH}' height='{high}' rx='8' fill='{fill}' stroke='{edge}'/>")
    inside = picture_svg(card) or written_svg(card)
    under = "".join(
        _line(words, WIDTH / 2, HEIGHT + CAPTION * i + 13, 12.5 if i == 0 else 11,
              INK if i == 0 else FAINT, "middle") for i, words in enumerate(card.caption))
    return (f"<g transform='translate({x},{y})'><title>{html.escape(_title(card))}</title>"
            f"{box}{inside}{under}</g>")


def written_svg(card: Card) -> str:
    """The text of a row and, under it, why it is invalid: SVG text that fits a picture."""
    text, why = folded(card)
    out = [_line(part, WIDTH / 2, 34 + 15 * i, 11.5, INK, "middle", "monospace")
           for i, part in enumerate(text)]
    start = 34 + 15 * len(text) + 12
    out += [_line(part, WIDTH / 2, start + 15 * i, 11.5, WRONG, "middle")
            for i, part in enumerate(why)]
    return "".join(out)


def folded(card: Card) -> tuple[list[str], list[str]]:
    """Lines of a row's text and of its reason, cut to what fits a picture."""
    text = textwrap.wrap(card.text or "(nothing)", 27, max_lines=5, placeholder="…",
                         break_on_hyphens=False)
    return text, textwrap.wrap(card.reason, 32, max_lines=3, placeholder="…")


def _line(words: str, x: float, y: float, size: float, fill: str, anchor: str,
          family: str = "") -> str:
    font = f" font-family='{family}'" if family else ""
    return (f"<text x='{x:g}' y='{y:g}' font-size='{size}' fill='{fill}' text-anchor='{anchor}'"
            f"{font}>{html.escape(words)}</text>")


def _title(card: Card) -> str:
    return f"{card.text}: {card.reason}" if card.reason else card.text


def _draw(drawer: MolDraw2D, mol: Mol, scale: float = 1.0) -> None:
    options: Any = drawer.drawOptions()
    options.clearBackground = isinstance(drawer, MolDraw2DCairo)
    options.padding = 0.07
    options.fixedBondLength = 26 * scale  # small molecules are not blown up
    options.bondLineWidth = 1.6 * scale
    options.scaleBondWidth = False
    options.updateAtomPalette(DARKER)
    options.minFontSize, options.maxFontSize = round(9 * scale), round(14 * scale)
    drawer.DrawMolecule(rdMolDraw2D.PrepareMolForDrawing(mol))
    drawer.FinishDrawing()
