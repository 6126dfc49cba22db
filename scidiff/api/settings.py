"""What a person may set when a model draws, as one record a kind of engine."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields
from inspect import signature
from typing import Any, cast

from scidiff.api.string_constraints import read
from scidiff.api.typed import check_type
from scidiff.messages import closest, nearest
from scidiff.samplers.discrete_flow import EulerJumps, FlowRate, Kernel, Posterior
from scidiff.samplers.orders import (
    Confidence,
    Entropy,
    Margin,
    Order,
    Random,
    Sequential,
)
from scidiff.samplers.solvers import SOLVERS
from scidiff.samplers.step_annealing import check_annealing

KERNELS: dict[str, Callable[[], Kernel]] = {
    "flow": FlowRate,
    "posterior": Posterior,
    "euler": EulerJumps,
}
ORDERS: dict[str, type[Order]] = {
    "random": Random,
    "confidence": Confidence,
    "margin": Margin,
    "entropy": Entropy,
    "sequential": Sequential,
}


@dataclass(frozen=True)
class TokenSettings:
    """How a model of token rows is sampled; a model's config holds its defaults."""

    block_size: int | None = (
        None  # positions written together from left to right; None = the whole row
    )
    order: str = (
        "random"  # inside a block, see `ORDERS`; those that read the prediction bias by design
    )
    tokens_per_step: int = 1  # more is faster and less exact
    temperature: float = 1.0

    def __post_init__(self) -> None:
        if self.order not in ORDERS:
            raise ValueError(
                f"order must be one of {', '.join(ORDERS)}, got {self.order!r}"
                f"{nearest(self.order, ORDERS)}"
            )


@dataclass(frozen=True)
class FlowSettings:
    """How a discrete flow is sampled, see `samplers.discrete_flow`."""

    steps: int = 100
    kernel: str = "flow"  # its jump rates, "posterior" (ancestral, DiGress) or "euler" (SEDD)
    eta: float = 0.0  # of the flow: jumps in detailed balance, which correct
    omega: float = 0.0  # of the flow: jumps to the guess alone, which bias towards likely tokens
    distortion: str | None = None  # where the steps lie; None: where training times lie

    def __post_init__(self) -> None:
        if self.kernel not in KERNELS:
            raise ValueError(
                f"unknown kernel {self.kernel!r}; expected one of {', '.join(KERNELS)}"
                f"{nearest(self.kernel, KERNELS)}"
            )
        if self.kernel != "flow" and (self.eta or self.omega):
            raise ValueError(
                "eta and omega belong to kernel = 'flow', got "
                f"eta={self.eta} and omega={self.omega} with {self.kernel!r}"
            )

    def of_kernel(self) -> Kernel:
        """The kernel with its settings."""
        if self.kernel == "flow":
            return FlowRate(self.eta, self.omega)
        return KERNELS[self.kernel]()


@dataclass(frozen=True)
class FlowBlockSettings(FlowSettings):
    """How a discrete flow inside blocks is sampled; steps are those of the first block."""

    last_steps: int | None = None  # of the last one, annealed in between; None: as many
    annealing: str = "linear"  # or cosine, two-stage

    def __post_init__(self) -> None:
        super().__post_init__()
        check_annealing(self.steps, self.last_steps, self.annealing)


@dataclass(frozen=True)
class GraphSettings:
    """How a model of continuous graphs is sampled, see `samplers.solvers.make_sampler`.

    The defaults were found for the published weights of GDSS.
    """

    solver: str | None = None  # None: 2m, or the one that fits the corrector
    steps: int = 50
    eta: float | None = None  # 0 the flow, 1 the reverse SDE, above 1 more noise, taken out again
    rho: float | None = None  # temperature of the noise; None: what fits the solver, as for eta
    grid: str | None = None  # time, lambda or edm; None: the solver's own
    snr: float | None = None  # a Langevin step of this signal-to-noise ratio before every step
    scale_eps: float = 0.7  # noise factor of that step
    compat: bool = False  # GDSS's own discretisation, to compare with published numbers
    novelty: float = 0.0  # away from the data, unweighed, as MOOD does it with 0.01 to 0.04

    def __post_init__(self) -> None:
        if self.solver is not None and self.solver not in SOLVERS:
            raise ValueError(
                f"unknown solver {self.solver!r}; expected one of {', '.join(SOLVERS)}"
                f"{nearest(self.solver, SOLVERS)}"
            )
        if self.steps < 1:
            raise ValueError(f"steps must be at least 1, got {self.steps}")
        for name in ("eta", "rho", "scale_eps"):
            value = getattr(self, name)
            if value is not None and not value >= 0:
                raise ValueError(f"{name} must be 0 or more, got {value}")
        if not 0 <= self.novelty < 1:
            raise ValueError(f"novelty must be in [0, 1), got {self.novelty}")


@dataclass(frozen=True)
class GraphRequest:
    """What is asked of every graph that is drawn."""

    nodes: int | None = None  # how many; None: drawn from the law of the training set
    scaffold: str | None = None  # a part that stays as it is, in the model's notation
    constraints: tuple[str, ...] = ()  # rules no step may break, see `samplers.constraints`

    def __post_init__(self) -> None:
        if self.nodes is not None and self.nodes < 1:
            raise ValueError(f"nodes must be at least 1, got {self.nodes}")


@dataclass(frozen=True)
class PointSettings:
    """How a model of molecules in space is sampled, see `samplers.solvers.make_sampler`."""

    solver: str = "2m"
    steps: int = 50
    eta: float = 1.0  # 0 the flow, 1 the reverse SDE, above 1 more noise, taken out again
    rho: float = 1.0  # temperature of the noise
    grid: str | None = None  # time, lambda or edm; None: most where types and bonds are decided

    def __post_init__(self) -> None:
        if self.solver not in SOLVERS:
            raise ValueError(
                f"unknown solver {self.solver!r}; expected one of {', '.join(SOLVERS)}"
                f"{nearest(self.solver, SOLVERS)}"
            )
        if self.steps < 1:
            raise ValueError(f"steps must be at least 1, got {self.steps}")
        for name in ("eta", "rho"):
            if not getattr(self, name) >= 0:
                raise ValueError(f"{name} must be 0 or more, got {getattr(self, name)}")


@dataclass(frozen=True)
class PointRequest:
    """What is asked of every molecule in space that is drawn: the atoms in one way at most, but
    that a fragment may be part of so many."""

    sizes: int | None = None  # how many atoms; None: drawn from the law of the training set
    composition: str | None = None  # which atoms, as a formula such as C7H10O2
    graph: str | None = None  # which atoms and bonds, as a SMILES: its structures are drawn
    fragment: str | None = None  # a file (.sdf, .xyz) of atoms that keep their shape

    def __post_init__(self) -> None:
        asked = [f.name for f in fields(self) if getattr(self, f.name) is not None]
        if len(asked) > 1 and asked != ["sizes", "fragment"]:
            raise ValueError(f"{' and '.join(asked)} each say the atoms; expected one of them")
        if self.sizes is not None and self.sizes < 1:
            raise ValueError(f"sizes must be at least 1, got {self.sizes}")


@dataclass(frozen=True)
class PointBlockSettings:
    """How a model that places atoms block by block is sampled."""

    block_size: int | None = None  # atoms placed together; None: all of them
    steps: int = 30  # of the first block
    last_steps: int | None = None  # of the last one, fewer: annealed in between; None: as many
    annealing: str = "linear"  # or cosine, two-stage
    lag: int = 0  # steps by which an atom of a block sets out behind the one before it
    solver: str = "exp1"  # of first order: guesses of a block are too rough to extrapolate
    eta: float = 1.0  # 0 the flow, 1 the reverse SDE, above 1 more noise, taken out again
    rho: float = 1.0  # temperature of the noise
    grid: str = "time"  # where the steps lie: time, lambda or edm
    temperature: float = 1.0  # of the atoms; 1 is the model's own law

    def __post_init__(self) -> None:
        check_annealing(self.steps, self.last_steps, self.annealing)
        if self.solver not in SOLVERS:
            raise ValueError(
                f"solver must be one of {', '.join(SOLVERS)}, got {self.solver!r}"
                f"{nearest(self.solver, SOLVERS)}"
            )
        for name in ("lag", "eta", "rho", "temperature"):
            if not getattr(self, name) >= 0:
                raise ValueError(f"{name} must be 0 or more, got {getattr(self, name)}")


@dataclass(frozen=True)
class SequenceRequest:
    """What is asked of every molecule that is drawn."""

    sequence: str | None = None  # its atoms, such as OHH, in the order in which they are placed


@dataclass(frozen=True)
class StringRequest:
    """What is asked of every string that is drawn, kept in its written form."""

    constraints: tuple[str, ...] = ()  # see `string_constraints`; also as objects

    def __post_init__(self) -> None:
        written = tuple(str(read(asked)) for asked in self.constraints)
        object.__setattr__(self, "constraints", written)


@dataclass(frozen=True)
class ConditionRequest:
    """What the rows of a conditional model are asked to be like."""

    condition: Mapping[str, Any] | None = None  # by name; None: not asked, the law of all rows
    weight: float = 1.0  # of classifier-free guidance: 1 the conditional law, above it more

    def __post_init__(self) -> None:
        if self.condition is None and self.weight != 1:
            raise ValueError(f"weight belongs to condition, got weight={self.weight} without one")


Sampling = (
    TokenSettings
    | FlowBlockSettings
    | FlowSettings
    | GraphSettings
    | PointSettings
    | PointBlockSettings
)
SETTINGS: dict[str, type[Sampling]] = {
    "masked": TokenSettings,
    "block": TokenSettings,
    "autoregressive": TokenSettings,
    "flow": FlowSettings,
    "graph_blocks": FlowBlockSettings,
    "graph_sde": GraphSettings,
    "points": PointSettings,
    "point_blocks": PointBlockSettings,
}
"""By the kind of process: what a recipe may say of sampling, and a config holds."""


def sampled_as(config: Mapping[str, Any]) -> Sampling:
    """How a model's config says that it is sampled, all settings of its process."""
    (sampling,) = choose([SETTINGS[config["process"]["kind"]]], config["sampling"])
    return cast(Sampling, sampling)


def chosen(record: Any) -> dict[str, Any]:
    """What was chosen of a record, as results tell it: without what stands as usual."""
    usual = {f.name: f.default for f in fields(record)}
    return {
        name: list(v) if isinstance(v, tuple) else v
        for name, v in vars(record).items()
        if v != usual[name]
    }


class UnknownSetting(ValueError):
    """A setting that a model does not have, with those that it has and the nearest one."""

    def __init__(self, name: str, known: Sequence[str]) -> None:
        self.name, self.known = name, known
        super().__init__(
            f"unknown sampling setting {name!r}; expected one of {', '.join(known)}"
            f"{nearest(name, known)}"
        )


def misspelled(error: UnknownSetting, function: Callable[..., Any]) -> ValueError:
    """The same error, where what was meant may be an argument of a function that takes settings
    too."""
    own = [name for name in signature(function).parameters if name != "settings"]
    if not closest(error.name, own):
        return error
    return ValueError(f"unknown argument {error.name!r}"
                      f"{nearest(error.name, [*own, *error.known])}")


def choose(records: Sequence[type], chosen: Mapping[str, Any]) -> list[Any]:
    """Fill one record of each class from `chosen`. Raises UnknownSetting for a name that none
    has, and ValueError for a value of another type than its field's."""
    known = {f.name: record for record in records for f in fields(record)}
    types = {f.name: f.type for record in records for f in fields(record)}
    unknown = [name for name in chosen if name not in known]
    if unknown:
        raise UnknownSetting(unknown[0], list(known))
    for name, value in chosen.items():
        check_type(name, value, types[name])
    return [
        record(**{name: value for name, value in chosen.items() if known[name] is record})
        for record in records
    ]
