"""How one object came about, step by step: a figure of some steps, and an animation."""

from __future__ import annotations

import base64
import html
import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from scidiff.data.records import Record
from scidiff.evaluation.drawing import FONT
from scidiff.evaluation.plots import Picture
from scidiff.evaluation.rows import evenly
from scidiff.files import write_atomically

SUFFIXES = (".gif", ".html", ".png")
MOMENT, END = 150, 2_000  # milliseconds that a frame and the last one are shown


@dataclass(frozen=True)
class Frame:
    """What stood in a row after `step` steps."""

    step: int
    symbols: tuple[str, ...]  # of tokens, or of nodes; "" where hidden
    edges: NDArray[np.float64] | None = None  # (n, n) of a graph, NaN where hidden
    places: NDArray[np.float64] | None = None  # (n, 3) in space, angstrom

    def same(self, other: Frame) -> bool:
        """Whether nothing that is seen differs."""
        pairs = ((self.edges, other.edges), (self.places, other.places))
        return self.symbols == other.symbols and all(
            a is b or (a is not None and b is not None and np.array_equal(a, b, equal_nan=True))
            for a, b in pairs)


@dataclass(frozen=True)
class Trajectory:
    """The steps of one row in which something changed, from noise to the object."""

    frames: tuple[Frame, ...]
    steps: int  # of the whole chain
    final: Record
    kind: str  # molecule, sequence, graph
    source: str = ""  # the model

    def __post_init__(self) -> None:
        if not self.frames:
            raise ValueError("a trajectory has at least one frame, got none")

    def __len__(self) -> int:
        return len(self.frames)

    def __getitem__(self, index: int) -> Frame:
        return self.frames[index]

    def __repr__(self) -> str:
        return (f"<Trajectory: {len(self)} frames of {self.steps} steps, {self.kind} "
                f"{self.final.text!r}>")

    def some(self, most: int) -> tuple[Frame, ...]:
        """At most `most` frames, evenly spaced, the first and the last among them."""
        return tuple(self.frames[i] for i in np.unique(evenly(len(self), most)))

    def plot(self, panels: int = 8) -> Picture:
        """Some steps side by side; of a sequence every step as a line of coloured letters."""
        from scidiff.evaluation.trajectory_plots import strip

        return strip(self, panels)

    def gif(self, most: int = 40) -> bytes:
        """An animated GIF of at most `most` steps, which holds its last one and starts again."""
        from PIL import Image

        pictures = [Image.open(io.BytesIO(png)).convert("RGB") for png in self._pngs(most)]
        # one palette for all, so that colours do not flicker
        palette = pictures[-1].quantize(255, dither=Image.Dither.NONE)
        first, *rest = [p.quantize(palette=palette, dither=Image.Dither.NONE) for p in pictures]
        buffer = io.BytesIO()
        first.save(buffer, "gif", save_all=True, append_images=rest, loop=0, disposal=1,
                   duration=[MOMENT] * len(rest) + [END])
        return buffer.getvalue()

    def to_html(self, most: int = 40) -> str:
        """A page with a slider and a button, which needs no network."""
        images = [base64.b64encode(png).decode() for png in self._pngs(most)]
        labels = [f"step {f.step} of {self.steps}" for f in self.some(most)]
        return page(images, labels, f"{self.final.text or 'a row'} appears")

    def save(self, path: str | Path) -> None:
        """Write .gif, .html or .png. Raises ValueError for another suffix."""
        path = Path(path)
        suffix = path.suffix.lower()
        if suffix not in SUFFIXES:
            raise ValueError(f"a trajectory is saved as {', '.join(SUFFIXES)}, got "
                             f"{path.suffix or 'no suffix'!r}")
        content = {".gif": self.gif, ".png": lambda: self.plot().png(),
                   ".html": lambda: self.to_html().encode()}[suffix]
        write_atomically(path, content())

    def _repr_html_(self) -> str:
        picture = base64.b64encode(self.plot().png(100)).decode()
        words = html.escape(f"{self.final.text}: {len(self)} frames of {self.steps} steps")
        return (f"<div style=\"font:13px {FONT}\"><img alt='{words}' style='max-width:100%' "
                f"src='data:image/png;base64,{picture}'></div>")

    def _pngs(self, most: int) -> list[bytes]:
        from scidiff.evaluation.trajectory_plots import stills

        return stills(self, most)


def page(images: Sequence[str], labels: Sequence[str], title: str) -> str:
    """Pictures (PNG in base64) one after the other: a slider and a button."""
    shown = "".join(
        f"<img src='data:image/png;base64,{image}' alt='{html.escape(label)}'"
        f"{'' if i == len(images) - 1 else ' hidden'}>"
        for i, (image, label) in enumerate(zip(images, labels, strict=True)))
    return PAGE.format(title=html.escape(title), shown=shown, last=len(images) - 1, font=FONT,
                       label=html.escape(labels[-1]), moment=MOMENT)


PAGE = """<!DOCTYPE html>
<html lang='en'><head><meta charset='utf-8'>
<meta name='viewport' content='width=device-width,initial-scale=1'><title>{title}</title>
<style>body{{font:14px {font};color:#1f2933;background:#fff;max-width:760px;margin:24px auto;
padding:0 16px}}h1{{font-size:18px;overflow-wrap:anywhere}}img{{max-width:100%;display:block}}
img[hidden]{{display:none}}input{{width:60%;vertical-align:middle}}
@media print{{p{{display:none}}}}</style></head>
<body><h1>{title}</h1><div>{shown}</div>
<p><button>play</button> <input type='range' min='0' max='{last}' value='{last}'
aria-label='step'> <output>{label}</output></p>
<script>
const pictures = [...document.querySelectorAll('img')], slider = document.querySelector('input'),
  button = document.querySelector('button'), said = document.querySelector('output');
let timer = 0;
const show = () => {{ pictures.forEach((p, i) => p.hidden = i !== +slider.value);
  said.value = pictures[+slider.value].alt; }};
const stop = () => {{ clearInterval(timer); timer = 0; button.textContent = 'play'; }};
slider.oninput = () => {{ stop(); show(); }};
button.onclick = () => {{ if (timer) return stop();
  if (+slider.value === pictures.length - 1) slider.value = 0;
  button.textContent = 'stop'; show();
  timer = setInterval(() => {{ slider.value = +slider.value + 1; show();
    if (+slider.value === pictures.length - 1) stop(); }}, {moment}); }};
</script></body></html>
"""
