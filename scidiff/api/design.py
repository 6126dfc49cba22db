"""`sd.design`: objects that a model finds likely and a black-box reward good, under a budget."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from inspect import signature
from pathlib import Path
from typing import TYPE_CHECKING, Any

from scidiff.api.entry import opened
from scidiff.api.harvest import described, harvest
from scidiff.api.methods import METHODS
from scidiff.api.model import Model
from scidiff.api.plans import STRENGTH
from scidiff.api.populations import Drawn, Populations
from scidiff.api.settings import UnknownSetting
from scidiff.api.soft_values import read_value
from scidiff.api.steering import Screen, Steering
from scidiff.api.strategies import least_calls, strategy_of
from scidiff.api.typed import typed
from scidiff.core import Sampler, seeded
from scidiff.data.graphs import GraphState
from scidiff.domains.domain import spelled
from scidiff.guidance.campaign import Campaign, Limits, Strategy
from scidiff.guidance.journal import Journal
from scidiff.guidance.lookahead import Decoded
from scidiff.guidance.values import bare
from scidiff.messages import closest, nearest
from scidiff.rewards.cache import Cache
from scidiff.rewards.combine import reward as resolve_reward
from scidiff.rewards.diversity import DiversityMemory
from scidiff.rewards.executors import Executor, Serial
from scidiff.rewards.identity import identity
from scidiff.rewards.scores import Status, terms
from scidiff.rewards.scoring import RewardError, Scorer, require_floor
from scidiff.rewards.workers import Processes, pickled
from scidiff.training.checkpoint import read_config
from scidiff.training.interrupts import held_back

if TYPE_CHECKING:
    from scidiff.api.design_result import DesignResult

CALLS = 128  # reward calls a design where no budget is given
TIMEOUT = 60.0  # seconds an object, where a reward is asked in processes of its own
SCORES = "scores.db"  # of a campaign that is given no cache of its own

Watch = Callable[[Campaign], object]


@typed
def design(
    model: Model | str | Path,
    reward: Any,
    n: int = 64,
    method: str = "evolve",
    budget: int | None = None,
    seed: int = 0,
    *,
    strength: float = STRENGTH,
    floor: float | None = None,
    particles: int | None = None,
    branch: int | None = None,
    ess: float | None = None,
    every: int | None = None,
    window: tuple[float, float] | None = None,
    memory: str | dict[str, Any] | None = None,
    screen: Any = None,
    value: str | Path | None = None,
    seconds: float | None = None,
    network_rows: int | None = None,
    cache: str | Path | None = None,
    workers: int = 1,
    timeout: float | None = None,
    cluster: str | None = None,
    retry_failed: bool = False,
    out: str | Path | None = None,
    resume: bool = False,
    watch: Watch = lambda campaign: None,
    **settings: Any,
) -> DesignResult:
    """Design n objects that `model` (one, or its name) finds likely and `reward` good.

    `reward` is an expression ("0.7*qed + 0.3*sa"), a name, "package.module:name", or a callable on
    a list of objects. `budget` counts distinct objects asked (default 128 a design); `seconds` and
    `network_rows` end a run after the round in which they are used up.

    evolve, the default, is the best search that was measured: offspring of the best and fresh
    draws, of which a Gaussian process fitted to all answers chooses those to ask; models that
    write from left to right also learn from every answer. Its designs are the best that were
    asked, so chosen that molecules differ (internal diversity .8 where they can). Other searches:
    best-of-n, screened, refine, beam, svdd-r, noise, rollover, halving, paths.

    Methods that draw from p(x) exp(strength r(x)), one object from each of n populations: svdd
    (local choice; Li et al. 2024), nested (svdd with carried weights, consistent), smc, fk (its
    weights pay the best look so far; Singhal et al. 2025), surrogate (looks ahead by the process
    alone and asks once for each finished object). A model that writes from left to right is looked
    ahead by rollouts, others by the posterior mean, in the share `window` of the chain. The budget
    says how large populations are, how many candidates a parent has and how often they are looked
    at, or `particles` (K), `branch` (M) and `every` (steps of the chain from look to look) do, and
    it says the rest. Populations are resampled where fewer than a share `ess` of their particles
    are effective (0.5; nested, smc, fk).

    Where the reward is "pareto(qed, sa, ...)", evolve seeks the front of these objectives: every
    round climbs in another direction of them, and the designs are those that no other one beats
    in all, far apart on the front. Their score is the mean, for display.

    `memory` ("scaffold", "fingerprint", "edit", or {"like": "scaffold", "bucket": 5}) makes an
    object worth less the more of its like earlier rounds found; with "as": "resampling" (nested,
    smc, fk, surrogate) particles are resampled the less the more of their like earlier rounds or
    their own population hold, and carry weights that leave the law as it is.

    `screen`, for methods with weights, is a cheap reward ("qed", or {"reward": "qed",
    "candidates": 8}) that chooses among 4 candidates of each particle before `reward` is asked
    about one; the choice is weighed, whatever the screen says. `value` is a folder of
    `sd.fit_value`: methods that look ahead do so by what it has learned, and ask for finished
    objects alone.

    `cache` is a file of scores that runs and processes share; `retry_failed` asks anew what failed
    or timed out there. With `workers` above 1, or a `timeout` in seconds an object (60 by default
    there), the reward is asked in processes of its own, with `cluster` on a Ray cluster ("local"
    starts one); the results are the same.

    With `out` a run is a campaign in that folder: every answer and every round is kept as it
    comes, a run that was killed goes on with `resume` and ends with the same designs (a limit that
    is given then takes the place of the first one, so that it can go further), and the folder
    ends with tables and a page (`api.campaigns`), those of what was found so far where it is
    interrupted. `watch` is given the campaign before its first round and after every one.
    """
    if resume and out is None:
        raise ValueError("resume goes on with the campaign in a folder: say which with out")
    ask = Ask(opened(model), reward, n, method, budget, seed, strength, floor, window, memory,
              Limits(None, network_rows, seconds), dict(settings),
              given(particles=particles, branch=branch, ess=ess, every=every), screen, value,
              Journal(out).manifest if out is not None and resume else None)
    with executing(ask.resolved, workers, timeout, cluster) as executor:
        if out is None:
            campaign = ask.campaign(executor, cache, retry_failed)
            watch(campaign)
            campaign.run(watch)
            return ask.result(campaign)
        journal = Journal(out)
        with journal.held():
            journal.claim(ask.manifest, resume)
            campaign = ask.campaign(executor, cache or journal.folder / SCORES, retry_failed)
            journal.restore(campaign)
            return _journalled(ask, campaign, journal, watch)


def _journalled(ask: Ask, campaign: Campaign, journal: Journal, watch: Watch) -> DesignResult:
    """Run a campaign in its folder, a checkpoint a round; an interruption waits for the object
    that is being asked, and leaves the tables of what was found so far."""
    from scidiff.api.campaigns import saved_designs

    watch(campaign)
    try:
        with held_back() as arrived:
            campaign.reward.scorer.stop = lambda: bool(arrived)

            def after(campaign: Campaign) -> None:
                journal.save(campaign)
                watch(campaign)
                if arrived:
                    raise KeyboardInterrupt

            campaign.run(after)
    except KeyboardInterrupt:
        campaign.stopped = "interrupted"
        if ask.found_any(campaign):
            saved_designs(ask.result(campaign), journal.folder)
        raise
    return saved_designs(ask.result(campaign), journal.folder)


@dataclass
class Ask:
    """What was asked for, checked before anything is done."""

    model: Model
    reward: Any
    n: int
    method: str
    budget: int | None
    seed: int
    strength: float
    floor: float | None
    window: tuple[float, float] | None
    memory: str | dict[str, Any] | None
    limits: Limits
    settings: dict[str, Any] = field(default_factory=dict)
    shape: dict[str, Any] = field(default_factory=dict)  # of populations: `plans.Shape`
    screen: Any = None
    value: str | Path | None = None
    begun: Mapping[str, Any] | None = None  # the campaign that is gone on with

    def __post_init__(self) -> None:
        least = least_calls(self.method)
        if self.n <= 0:
            raise ValueError(f"n must be at least 1, got {self.n}")
        if not 0 <= self.strength < math.inf:
            raise ValueError("strength is how hard the reward pulls and must be finite and not "
                             f"negative, got {self.strength}; to avoid what a reward is high "
                             "for, negate the reward")
        self.limits, self.planned = self._limited(least * self.n)
        self.resolved = self._resolved()
        memory, use = (None, "") if self.memory is None else remembering(self.memory)
        self.remembered, self.discount = memory, memory if use == "penalty" else None
        self.sampler = self._sampler()
        self.strategy: Strategy = strategy_of(
            self.method, self.model, self.n, self.planned, self.settings, self.shape,
            self._steering(memory if use == "resampling" else None),
        )

    def _resolved(self) -> Any:
        """The reward, which has a floor, and is one number where the method goes by one."""
        found = resolve_reward(self.reward, floor=self.floor)
        require_floor(found)
        if getattr(found, "objectives", ()) and self.method != "evolve":
            raise ValueError(f"the front of a pareto(...) is sought by method='evolve', got "
                             f"{self.method!r}, which goes by one number: write mean(...) or "
                             "chebyshev(...) for it")
        return found

    def _steering(self, apart: DiversityMemory | None) -> Steering:
        """What particles are chosen by beside the reward; `also` is what a manifest says of it."""
        screen = None if self.screen is None else Screen.read(self.screen)
        value = None if self.value is None else read_value(self.value, self.model, self.sampler)
        self.also = given(screen=screen and screen.manifest,
                          value=self.value and read_config(Path(self.value))["sha256"])
        return Steering(self.window, None if apart is None else apart.among, screen, value)

    def _sampler(self) -> Sampler[Any]:
        try:
            return self.model.sampler(**self.settings)
        except UnknownSetting as error:
            own = [name for name in signature(design).parameters if name != "settings"]
            if not closest(error.name, own):
                raise
            raise ValueError(f"unknown argument {error.name!r}"
                             f"{nearest(error.name, [*own, *error.known])}") from None

    def _limited(self, least: int) -> tuple[Limits, int]:
        """The limits, and the budget that rounds are planned for: the default where none is given;
        of a campaign that is gone on with, what it had in the place of what is not said."""
        had = {} if self.begun is None else self.begun["limits"]
        budget = had.get("calls") if self.budget is None else self.budget
        budget = max(CALLS * self.n, least) if budget is None else budget
        if budget < least:
            raise ValueError(
                f"budget counts distinct objects asked; {self.n} designs by {self.method} need "
                f"at least {least}, got {budget}"
            )
        if self.window is not None and not 0 <= self.window[0] < self.window[1] <= 1:
            raise ValueError("window is the share (first, last) of the chain that is looked at, "
                             f"0 <= first < last <= 1, got {self.window}")
        planned = budget if self.begun is None else self.begun.get("planned", had["calls"])
        if planned != budget and self.method in METHODS:
            raise ValueError(
                f"{self.method} spread its budget of {planned} objects over its designs when it "
                f"began, got {budget}; expected the same, or none (seconds and network_rows may "
                "change)"
            )
        rows, seconds = self.limits.rows, self.limits.seconds
        return Limits(budget, had.get("rows") if rows is None else rows,
                      had.get("seconds") if seconds is None else seconds), planned

    @property
    def manifest(self) -> Mapping[str, Any]:
        """All that the designs follow from."""
        return {
            "model": self.model.name, "sha256": self.model.config["sha256"],
            "reward": getattr(self.resolved, "name", str(self.resolved)),
            "versions": {source: identity(term) for source, term in terms(self.resolved).items()},
            "floor": self.floor,
            "n": self.n, "method": self.method, "seed": self.seed, "strength": self.strength,
            **self.shape, **self.also, "window": self.window, "memory": self.memory,
            "limits": asdict(self.limits), "planned": self.planned, "settings": self.settings,
        }  # fmt: skip

    def campaign(
        self, executor: Executor, cache: str | Path | None, retry_failed: bool = False
    ) -> Campaign:
        """The campaign, before its first round."""
        again = (Status.FAILED, Status.TIMEOUT) if retry_failed else ()
        domain = self.model.domain
        scorer = Scorer(
            self.resolved, key=domain.key, budget=self.limits.calls, kind=domain.kind,
            cache=None if cache is None else Cache(cache, again), executor=executor,
            discount=self.discount,
        )  # fmt: skip
        return Campaign(
            self.strategy, self.sampler, Decoded(domain, scorer),
            self._encode,
            self.seed, self.limits, self.strength, self.model.engine.device, self.remembered,
            self.n, described,
        )  # fmt: skip

    def _encode(self, objects: Sequence[Any]) -> Any:
        """Objects of the pool as clean states of the sampler's canvas."""
        x = self.model.engine.encode(spelled(self.model.domain, objects))
        if not isinstance(x, GraphState):
            return x
        return x.widened(bare(self.sampler.init(1, seeded(0, 0, x.X.device))).X.shape[1])

    def found_any(self, campaign: Campaign) -> bool:
        """Whether a campaign that is not finished has designs to show."""
        if isinstance(self.strategy, Drawn):
            return bool(self.strategy.drawn)
        return bool(campaign.pool.best(1))

    def result(self, campaign: Campaign) -> DesignResult:
        """What a campaign found. Raises RewardError where the reward answered nothing."""
        scorer = campaign.reward.scorer
        if scorer.messages and len(scorer.messages) == scorer.asked:
            why = next(iter(scorer.messages.values()))
            raise RewardError(
                f"reward {scorer.name!r} scored none of {scorer.asked} objects: {why}"
            )
        plan = given(**vars(self.strategy.plan)) if isinstance(self.strategy, Populations) else {}
        used = {**self.manifest, **self.settings, "reward": scorer.name,
                "budget": self.limits.calls, **plan}
        return harvest(self.model, campaign, self.n, used)


def given(**arguments: Any) -> dict[str, Any]:
    """The arguments that are not None."""
    return {name: value for name, value in arguments.items() if value is not None}


USES = ("penalty", "resampling")  # what a memory is there for


def remembering(said: str | Mapping[str, Any]) -> tuple[DiversityMemory, str]:
    """The memory that is asked for by name or by its arguments, and what it is used as; ValueError
    for unknown ones."""
    told = {"like": said} if isinstance(said, str) else dict(said)
    names = ("like", "bucket", "threshold", "as")
    for name in told:
        if name not in names:
            raise ValueError(f"a memory has like, bucket, threshold and as, got {name!r}"
                             f"{nearest(name, names)}")
    use = told.pop("as", USES[0])
    if use not in USES:
        raise ValueError(f"a memory is used as {' or '.join(USES)}, got {use!r}"
                         f"{nearest(str(use), USES)}")
    return DiversityMemory(**told), use


@contextmanager
def executing(
    reward: Any, workers: int, timeout: float | None, cluster: str | None = None
) -> Iterator[Executor]:
    """Where a reward is asked: here, in processes or on a cluster that are closed afterwards.

    Only a process can be ended that does not answer in time, so one is used for a `timeout`.
    Raises RewardError for a reward that cannot be sent to another process.
    """
    seconds = TIMEOUT if timeout is None else timeout
    if cluster is not None:
        from scidiff.rewards.clusters import RayExecutor

        ray = RayExecutor(None if cluster == "local" else cluster, timeout=seconds)
        try:
            yield ray
        finally:
            ray.close()
    elif workers == 1 and timeout is None:
        yield Serial()
    else:
        for term in terms(reward).values():
            pickled(term)
        with Processes(workers, seconds) as processes:
            yield processes
