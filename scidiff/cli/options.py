"""Options that several commands share, and what is made of them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeRemainingColumn

if TYPE_CHECKING:
    from scidiff.api.model import Model


def _device(name: str | None) -> str | None:
    """Check a device's name before anything is loaded."""
    if name is None:
        return None
    import torch

    try:
        kind = torch.device(name).type
    except RuntimeError:
        raise typer.BadParameter(f"expected cpu, cuda, cuda:0, ..., got {name!r}") from None
    if kind == "cuda" and not torch.cuda.is_available():
        raise typer.BadParameter(f"{name} was asked for, but torch sees no CUDA device")
    return name


ModelName = Annotated[
    str, typer.Argument(metavar="MODEL", help="A shipped name, a directory, or hf://owner/name.")
]
Seed = Annotated[int, typer.Option("--seed", help="The same seed draws the same rows.")]
Out = Annotated[
    Path | None,
    typer.Option("--out", "-o", metavar="FILE", help="Where to save; the suffix says how."),
]
Device = Annotated[
    str | None,
    typer.Option(
        "--device",
        callback=_device,
        help="cpu, cuda, cuda:1, ... (default: CUDA if there is one)",
    ),
]
Dtype = Annotated[str, typer.Option("--dtype", help="float32 or bfloat16.")]
BlockSize = Annotated[
    int | None, typer.Option("--block-size", help="Positions written together, left to right.")
]
OrderName = Annotated[
    str | None,
    typer.Option("--order", help="Inside a block: random (exact), confidence or sequential."),
]
TokensPerStep = Annotated[
    int | None, typer.Option("--tokens-per-step", help="More is faster and less exact.")
]
Temperature = Annotated[
    float | None, typer.Option("--temperature", help="1 is the model's own law.")
]


def load(name: str, device: str | None, dtype: str = "float32") -> Model:
    """Load a model with its device and precision."""
    from scidiff.api import entry

    with working(f"loading {name}"):
        return entry.load(name, device=device, dtype=dtype)


def given(**settings: Any) -> dict[str, Any]:
    """The settings that were typed; the model has its own defaults for the others."""
    return {name: value for name, value in settings.items() if value is not None}


def check_folder(path: Path) -> None:
    """Find out before any work is done whether files can be written to a folder, there or not."""
    from scidiff.api.saving import check_output

    if path.exists() and not path.is_dir():
        raise NotADirectoryError(f"cannot write to {path}: it is a file, expected a folder")
    inside = path / "file" if path.is_dir() else path
    check_output(inside, (inside.suffix,))


@contextmanager
def working(what: str) -> Iterator[None]:
    """Show on stderr what is being done, where a terminal is there to look."""
    console = Console(stderr=True)
    with console.status(what) if console.is_terminal else _nothing():
        yield


@contextmanager
def _nothing() -> Iterator[None]:
    yield


def bar() -> Progress:
    """A progress bar on stderr; silent where stderr is no terminal."""
    console = Console(stderr=True)
    return Progress(
        SpinnerColumn(),
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.completed:,.0f} of {task.total:,.0f}"),
        TimeRemainingColumn(),
        console=console,
        disable=not console.is_terminal,
    )
