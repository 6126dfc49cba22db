"""Options that several commands share, and what is made of them."""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Sequence
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
    str,
    typer.Argument(
        metavar="MODEL",
        help="A shipped name, a directory, hf://owner/name, or a .pth or .npz of GDSS.",
    ),
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
Quality = Annotated[
    str | None,
    typer.Option("--quality", help="draft, balanced or exact: a point of the model's frontier."),
]
Floor = Annotated[
    float | None, typer.Option(help="The score of an invalid object, for an unbounded reward.")
]
Cache = Annotated[
    Path | None, typer.Option(metavar="FILE", help="Scores that runs and processes share.")
]
Workers = Annotated[int, typer.Option(help="Processes that ask the reward.")]
Timeout = Annotated[
    float | None,
    typer.Option(help="Seconds an object may take. (default: 60 with several processes)"),
]
Cluster = Annotated[
    str | None, typer.Option(help="Address of a Ray cluster that asks the reward, or local.")
]
Seconds = Annotated[
    float | None, typer.Option("--seconds", help="The best quality that N rows can be had for.")
]

ASKED, TOKENS, TOLD, GRAPHS, SPACE = (
    "Several kinds of model", "Token models", "Conditional models", "Graph models",
    "Molecules in space",
)  # fmt: skip
_TYPED: dict[str, tuple[Any, str, str, str]] = {
    "block_size": (int, "", ASKED, "Positions written, or atoms placed, together."),
    "order": (str, "", TOKENS, "random (exact), sequential, confidence, margin or entropy."),
    "tokens_per_step": (int, "", TOKENS, "More is faster and less exact."),
    "temperature": (float, "", TOKENS, "1 is the model's own law."),
    "top_p": (float, "", TOKENS, "Draw from the likeliest tokens that hold this share."),
    "schedule": (str, "", TOKENS, "Over --steps: cosine, linear or ancestral."),
    "threshold": (float, "", TOKENS, "A step writes every token more probable than this."),
    "entropy_bound": (float, "", TOKENS, "A step writes tokens of this much entropy, in nats."),
    "block_entropy": (float, "", TOKENS, "Parts of a block by what is known of them, in nats."),
    "block_policy": (str, "", TOKENS, "Parts of a block by a policy: its file or name."),
    "randomness": (float, "", TOKENS, "Noise on an order that reads the prediction."),
    "second_order": (bool, "--second-order", TOKENS, "Make up for several tokens a step."),
    "remask": (str, "", TOKENS, "Hide tokens again over --steps: remdm-cap, corrector, p2, ..."),
    "prefix_cache": (
        bool, "--prefix-cache/--no-prefix-cache", TOKENS,
        "Keep what the network said of finished blocks: faster, the same law, more memory.",
    ),
    "approximate_cache": (
        str, "", TOKENS,
        "Keep what was said of written tokens: delayed, delayed:R or periodic:R; approximate.",
    ),
    "guide": (str, "", TOKENS, "A left-to-right model that says how many tokens a step writes."),
    "guide_rule": (str, "", TOKENS, "agree (approximate) or exact (the guide's own law)."),
    "agreement": (float, "", TOKENS, "How likely a token must be beside the guide's favourite."),
    "classifier": (str, "", TOKENS, "An oracle of classes (name or folder) that rows are led by."),
    "label": (str, "", TOKENS, "The class that it should see."),
    "classifier_weight": (float, "", TOKENS, "How much: 1 is p(x | label), above it more."),
    "energy": (str, "", TOKENS, "A left-to-right model that chooses among candidates."),
    "candidates": (int, "", TOKENS, "How many whole rows it chooses from."),
    "condition": (
        list[str], "--condition", TOLD,
        "What rows are to be like, cell=K562 or logp=1..3; may be repeated.",
    ),
    "weight": (float, "", TOLD, "Of classifier-free guidance: 1 the conditional law, above more."),
    "nodes": (int, "", GRAPHS, "How many nodes every graph has."),
    "scaffold": (str, "", GRAPHS, "A part that stays as it is (SMILES); new nodes join at [*]."),
    "constraints": (
        list[str], "--constraint", ASKED,
        "Graphs: valence, connected, degree:4, edges:8-12, nodes:N=1,O=0-2; strings: "
        "forbid:GAATTC, require:TATAAA, pattern:ACGT??*, fixed:0=A, runs:5; may be repeated.",
    ),
    "novelty": (float, "", GRAPHS, "Of SDE models: away from the data, 0.01 to 0.04."),
    "solver": (str, "", ASKED, "Of SDEs: exp1, 2m, unipc2, reverse, s4, ..."),
    "steps": (int, "", ASKED, "Steps of a row, where the sampler counts them."),
    "last_steps": (int, "", ASKED, "Of the last block, fewer than --steps of the first."),
    "annealing": (str, "", ASKED, "From --steps to --last-steps: linear, cosine, two-stage."),
    "eta": (float, "", ASKED, "SDEs: 0 the flow, 1 the reverse SDE, above 1 more noise; jumps."),
    "rho": (float, "", ASKED, "Temperature of the noise."),
    "grid": (str, "", ASKED, "Where the steps lie: time, lambda or edm."),
    "snr": (float, "", GRAPHS, "Correct by a Langevin step of this signal-to-noise ratio."),
    "scale_eps": (float, "", GRAPHS, "Noise factor of that step."),
    "compat": (bool, "--compat", GRAPHS, "The discretisation that GDSS publishes."),
    "kernel": (str, "", GRAPHS, "Of discrete flows: flow, posterior or euler."),
    "omega": (float, "", GRAPHS, "Jumps of a flow towards its guess."),
    "distortion": (str, "", GRAPHS, "Where the steps of a flow lie."),
    "sizes": (int, "", SPACE, "How many atoms every molecule has."),
    "composition": (str, "", SPACE, "Which atoms: a formula such as C7H10O2."),
    "graph": (str, "", SPACE, "A molecule (SMILES) whose structures are drawn."),
    "fragment": (str, "", SPACE, "A file (.sdf, .xyz) of atoms that keep their shape."),
    "sequence": (str, "", SPACE, "Of atoms placed in blocks: which, in order, such as OHH."),
    "lag": (int, "", SPACE, "Steps by which an atom of a block sets out behind the other."),
}  # fmt: skip


def said(context: typer.Context) -> set[str]:
    """The parameters of a command that were typed, rather than left at their defaults."""
    sources = {name: context.get_parameter_source(name) for name in context.params}
    return {name for name, source in sources.items() if source and source.name == "COMMANDLINE"}


def setting_options() -> list[inspect.Parameter]:
    """An option for every setting of every kind of model; the model says which it has."""
    return [
        inspect.Parameter(
            name,
            inspect.Parameter.KEYWORD_ONLY,
            annotation=Annotated[
                kind | None,
                typer.Option(
                    flag or f"--{name.replace('_', '-')}", help=text, rich_help_panel=panel
                ),
            ],
            default=None,
        )
        for name, (kind, flag, panel, text) in _TYPED.items()
    ]


def load(
    name: str, device: str | None, dtype: str = "float32", out: Path | None = None
) -> Model:
    """Load a model with its device and precision. Raises ValueError where what it draws cannot be
    saved to `out`."""
    from scidiff.api import entry
    from scidiff.api.saving import check_output, drawn

    with working(f"loading {name}"):
        model = entry.load(name, device=device, dtype=dtype)
    if out is not None:
        check_output(out, drawn(model))
    return model


def given(**settings: Any) -> dict[str, Any]:
    """The settings that were typed; the model has its own defaults for the others."""
    typed = {name: value for name, value in settings.items() if value not in (None, [])}
    if "condition" in typed:
        typed["condition"] = _condition(typed["condition"])
    return typed


def _condition(texts: Sequence[str]) -> Any:
    """Values by name, or ranges (logp=1..3)."""
    ranges = [".." in text for text in texts]
    if all(ranges):
        from scidiff.api.properties import Property

        return Property.parse(", ".join(texts))
    if any(ranges):
        raise ValueError(f"conditions are values or ranges, not both, got {', '.join(texts)}")
    named = [_named(text) for text in texts]
    for name, value in named:
        if (last := dict(named)[name]) != value:
            raise ValueError(f"condition {name!r} is given twice, {value!r} and {last!r}: say "
                             "one value for all rows")
    return dict(named)


def _named(text: str) -> tuple[str, str]:
    """cell=K562"""
    name, equals, value = text.partition("=")
    if not (name and equals and value):
        raise ValueError(f"a condition is written NAME=VALUE, got {text!r}")
    return name, value


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
