"""Which sampler of token rows a person's settings mean."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from scidiff.api.guides import TRIED
from scidiff.api.settings import ORDERS, TokenSettings
from scidiff.messages import nearest
from scidiff.networks.approximate_cache import Refresh
from scidiff.samplers.ancestral import AncestralSampler
from scidiff.samplers.block_sizes import EntropySizes, Sizes
from scidiff.samplers.canvas import Canvas
from scidiff.samplers.constraints import Constraint
from scidiff.samplers.masked import MaskedSampler
from scidiff.samplers.orders import Noisy, Order
from scidiff.samplers.paces import CURVES, EntropyBounded, Pace, Scheduled, Threshold
from scidiff.samplers.path_planning import PathSampler
from scidiff.samplers.predictions import TokenPredictor
from scidiff.samplers.remasking import (
    Capped,
    Corrector,
    LeastSure,
    Loop,
    Remask,
    Rescaled,
)
from scidiff.samplers.step_annealing import annealed_steps, check_annealing

TokenSampler = MaskedSampler | AncestralSampler | PathSampler

ANCESTRAL = "ancestral"
SCHEDULES = (*CURVES, ANCESTRAL)
P2 = "p2"
RULES: dict[str, type[Any]] = {
    "remdm-cap": Capped,
    "remdm-rescale": Rescaled,
    "remdm-conf": LeastSure,
    "remdm-loop": Loop,
    "corrector": Corrector,
}
REMASKS = (*RULES, P2)


@dataclass(frozen=True)
class MethodSettings:
    """How a sampler of token rows goes about it, where it is not told the usual way.

    At most one of tokens_per_step, steps, threshold and entropy_bound says how many tokens a step
    writes; `schedule` and `remask` need steps.
    """

    top_p: float = 1.0  # draw from the likeliest tokens that hold this share, 1 from all
    randomness: float = 0.0  # Gumbel noise on the order, less and less while a row is written
    steps: int | None = None  # network calls of a row, or of its first block, at most
    last_steps: int | None = None  # of the last block, annealed in between; None: as many
    annealing: str = "linear"  # or cosine, two-stage
    schedule: str | None = None  # over the steps: cosine (default), linear or ancestral
    threshold: float | None = None  # write every token more probable than this
    entropy_bound: float | None = None  # write while entropies sum to little, nats a step
    block_entropy: float | None = None  # parts of a block by what is known of them, nats a part
    block_policy: str | None = None  # parts, each in one step, by a policy: a file or a name
    second_order: bool = False  # make up for the dependence that several tokens a step lose
    remask: str | None = None  # hide tokens again on the way: see `REMASKS`
    eta: float | None = None  # how much; None: the method's own
    prefix_cache: bool | None = None  # keep what was said of finished blocks; None: on the CPU
    approximate_cache: str | None = None  # "delayed", "delayed:R", "periodic:R": see `Refresh`

    def __post_init__(self) -> None:
        _known("schedule", self.schedule, SCHEDULES)
        _known("remask", self.remask, REMASKS)
        if self.approximate_cache is not None:
            Refresh.read(self.approximate_cache)
        _together(self, "last_steps", "steps")
        check_annealing(self.steps or 1, self.last_steps, self.annealing)
        _apart(self, "last_steps", "block_entropy")
        _together(self, "schedule", "steps")
        _together(self, "remask", "steps")
        _together(self, "eta", "remask")
        _apart(self, "steps", "threshold", "entropy_bound")
        _apart(self, "second_order", "threshold", "entropy_bound", "remask")
        for other in ("block_entropy", "steps", "threshold", "entropy_bound"):
            _apart(self, "block_policy", other)
        if self.remask == "remdm-conf" and self.eta is not None:
            raise ValueError(f"remask = 'remdm-conf' has no eta, got eta={self.eta}")
        if self.remask in RULES and self.schedule not in (None, ANCESTRAL):
            raise ValueError(
                f"remask = {self.remask!r} goes over ancestral steps, got schedule="
                f"{self.schedule!r}"
            )
        if self.remask == P2 and self.schedule == ANCESTRAL:
            raise ValueError("remask = 'p2' needs schedule = 'cosine' or 'linear'")
        if self.second_order and self.schedule == ANCESTRAL:
            raise ValueError("second_order counts tokens a step, which ancestral steps leave open")

    @property
    def by_time(self) -> bool:
        """Whether rows are written over a time grid, position by position."""
        return self.remask is not None or self.schedule == ANCESTRAL


PACES = (
    "tokens_per_step", "steps", "last_steps", "annealing", "threshold", "entropy_bound",
    "schedule", "remask", "eta", "block_policy",
)  # fmt: skip
WHERE = ("order", "randomness")


def standing(usual: Mapping[str, Any], asked: Mapping[str, Any]) -> dict[str, Any]:
    """A model's own settings that stand beside what a person asks, who need not know them: who
    asks how many tokens a step replaces what the model says of that, who asks for steps over time
    also where they are written, and a guide reads from left to right."""
    replaced = PACES if any(name in asked for name in PACES) else ()
    by_time = asked.get("remask") is not None or asked.get("schedule") == ANCESTRAL
    gone = (*replaced, *(WHERE if by_time else ()))
    kept = {name: value for name, value in usual.items() if name not in gone}
    if asked.get("guide") is None:
        return kept
    return {**kept, "order": "sequential", "tokens_per_step": TRIED}


def token_sampler(
    usual: TokenSettings,
    method: MethodSettings,
    denoiser: TokenPredictor,
    canvas: Canvas,
    *,
    constraints: Sequence[Constraint] = (),
    condition: Tensor | None = None,
    compact: bool = False,
    sizes: Sizes | None = None,
    blocks: int = 1,
) -> TokenSampler:
    """Make the sampler; raises ValueError for settings that contradict each other. `sizes` is
    what `block_policy` names, `blocks` how many steps are annealed over.

    `compact` lets ancestral steps leave out the network rows in which nothing changed, which the
    host has to look at.
    """
    if not method.by_time:
        return MaskedSampler(
            denoiser, canvas, order=_order(usual, method), block_size=usual.block_size,
            tokens_per_step=_pace(usual, method, sizes, blocks), temperature=usual.temperature,
            top_p=method.top_p, constraints=constraints, condition=condition,
            second_order=method.second_order, sizes=sizes or _sizes(method),
        )  # fmt: skip
    _check_by_time(usual, method, constraints)
    drawn: dict[str, Any] = {
        "temperature": usual.temperature,
        "top_p": method.top_p,
        "condition": condition,
    }
    steps = method.steps or 0  # never None here; 0 is refused by the samplers
    if method.remask == P2:
        curve, eta = method.schedule or "linear", 1.0 if method.eta is None else method.eta
        return PathSampler(denoiser, canvas, steps=steps, curve=curve, eta=eta, **drawn)
    return AncestralSampler(
        denoiser, canvas, steps=steps, remask=_rule(method), **drawn,
        # what is kept approximately also says which rows need not be read
        compact=compact and method.approximate_cache is None,
    )  # fmt: skip


def approximations(settings: Mapping[str, Any]) -> list[str]:
    """Lines that a result shows above its metrics where its rows are not draws of the law that the
    other settings mean."""
    notes = []
    if settings.get("approximate_cache"):
        notes.append(
            "approximate: what the network said of written tokens was kept, approximate_cache = "
            f"{settings['approximate_cache']!r}"
        )
    if settings.get("guide_rule") == "agree":
        notes.append(
            f"approximate: tokens of a step were taken as {settings.get('guide')} agreed, "
            "guide_rule = 'agree'"
        )
    return notes


def _order(usual: TokenSettings, method: MethodSettings) -> Order:
    order = ORDERS[usual.order]()
    if not method.randomness:
        return order
    if usual.order in ("random", "sequential"):
        raise ValueError(
            "randomness disturbs an order that reads the prediction: give order = 'confidence', "
            f"'margin' or 'entropy', got {usual.order!r}"
        )
    return Noisy(order, method.randomness)


def _pace(
    usual: TokenSettings, method: MethodSettings, learned: Sizes | None, blocks: int
) -> int | Pace:
    if learned is not None:
        if usual.tokens_per_step != 1:
            raise ValueError(
                "block_policy says how many tokens a step writes, so tokens_per_step must be 1, "
                f"got {usual.tokens_per_step}"
            )
        return learned.sizes[-1]
    if method.steps is not None:
        if usual.tokens_per_step != 1:
            raise ValueError(
                "steps says how many tokens a step writes, so tokens_per_step must be 1, "
                f"got {usual.tokens_per_step}"
            )
        return Scheduled(_steps(usual, method, blocks), method.schedule or "cosine")
    if method.threshold is not None:
        return Threshold(method.threshold, usual.tokens_per_step)
    if method.entropy_bound is not None:
        return EntropyBounded(method.entropy_bound, usual.tokens_per_step)
    return usual.tokens_per_step


def _steps(usual: TokenSettings, method: MethodSettings, blocks: int) -> int | tuple[int, ...]:
    """Steps of all blocks alike, or of each."""
    steps = method.steps or 0  # 0 is refused by the pace
    if method.last_steps is None:
        return steps
    if usual.block_size is None:
        raise ValueError(
            "last_steps is for models that write in blocks: this one writes a row as one block, "
            f"got last_steps={method.last_steps}"
        )
    return annealed_steps(steps, method.last_steps, blocks, method.annealing)


def _sizes(method: MethodSettings) -> EntropySizes | None:
    return None if method.block_entropy is None else EntropySizes(method.block_entropy)


def _rule(method: MethodSettings) -> Remask | None:
    if method.remask is None:
        return None
    rule = RULES[method.remask]
    return rule() if method.eta is None else rule(method.eta)


def _check_by_time(
    usual: TokenSettings, method: MethodSettings, constraints: Sequence[Constraint]
) -> None:
    what = f"remask = {method.remask!r}" if method.remask else "schedule = 'ancestral'"
    if usual.order != "random" or usual.tokens_per_step != 1 or usual.block_size is not None:
        raise ValueError(
            f"{what} writes where its steps say: order must be 'random', tokens_per_step 1 and "
            f"block_size None, got {usual.order!r}, {usual.tokens_per_step} and {usual.block_size}"
        )
    for name in ("block_entropy", "block_policy", "last_steps"):
        if (value := getattr(method, name)) is not None:
            raise ValueError(f"{what} writes anywhere in a row, got {name}={value!r}")
    if method.randomness:
        raise ValueError(f"{what} has no order to disturb, got randomness={method.randomness}")
    if constraints:
        raise ValueError(
            f"{what} cannot hold constraints, which are asked token by token; use order and "
            "tokens_per_step instead"
        )


def _known(name: str, value: str | None, choices: Sequence[str]) -> None:
    if value is not None and value not in choices:
        raise ValueError(
            f"unknown {name} {value!r}; expected one of {', '.join(choices)}"
            f"{nearest(value, choices)}"
        )


def _together(settings: MethodSettings, name: str, needed: str) -> None:
    if getattr(settings, name) is not None and getattr(settings, needed) is None:
        raise ValueError(f"{name} needs {needed}, got {name}={getattr(settings, name)!r} alone")


def _apart(settings: MethodSettings, name: str, *others: str) -> None:
    """At most one of these may be set."""
    given = {
        n: v for n in (name, *others) if (v := getattr(settings, n)) not in (None, False, 0.0)
    }
    if len(given) > 1:
        raise ValueError(
            "these exclude each other: " + " and ".join(f"{n}={v!r}" for n, v in given.items())
        )
