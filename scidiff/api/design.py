"""`sd.design`: objects that a model finds likely and a black-box reward good, under a budget."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from scidiff.api.ask import Ask, given
from scidiff.api.entry import opened
from scidiff.api.model import Model
from scidiff.api.plans import STRENGTH
from scidiff.api.scorers import Scoring
from scidiff.api.settings import UnknownSetting, misspelled
from scidiff.api.typed import typed
from scidiff.guidance.campaign import Campaign, Limits
from scidiff.guidance.journal import Journal
from scidiff.training.interrupts import held_back

if TYPE_CHECKING:
    from scidiff.api.design_result import DesignResult

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
    try:
        ask = Ask(opened(model), reward, n, method, budget, seed, strength, floor, window, memory,
                  Limits(None, network_rows, seconds), dict(settings),
                  given(particles=particles, branch=branch, ess=ess, every=every), screen, value,
                  Journal(out).manifest if out is not None and resume else None)
    except UnknownSetting as error:
        raise misspelled(error, design) from None
    scoring = Scoring(cache, workers, timeout, cluster, retry_failed)
    with scoring.executor(ask.resolved, ask.model.domain) as executor:
        if out is None:
            campaign = ask.campaign(scoring, executor)
            watch(campaign)
            campaign.run(watch)
            return ask.result(campaign)
        journal = Journal(out)
        with journal.held():
            journal.claim(ask.manifest, resume)
            campaign = ask.campaign(scoring.kept_in(journal.folder), executor)
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
