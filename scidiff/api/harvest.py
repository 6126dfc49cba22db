"""From a campaign to its designs: rows with scores, terms, weights and what they cost."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import torch

from scidiff.api.design_result import DesignResult
from scidiff.api.model import Model
from scidiff.api.populations import Drawn
from scidiff.api.results import SampleResult
from scidiff.api.token_sampling import approximations
from scidiff.chem.molecules import fingerprints
from scidiff.data.records import Record
from scidiff.evaluation.neighbours import internal_diversity
from scidiff.guidance.campaign import TOP, Campaign
from scidiff.guidance.certificate import Certificate, certify
from scidiff.rewards.pareto import handed_on, hypervolume, objectives, ranks
from scidiff.rewards.portfolio import apart, comparison, portfolio, similarities
from scidiff.rewards.scoring import Scorer, Scores, Status, sought

DIVERSE = 100  # best objects whose diversity is told
FEW = 2 * TOP  # designs that are the best ones: beside the ten best, few others could make up
MOST = 4  # terms of which a hypervolume is reported: its cost grows fast with them
_OWN = ("smiles", "valid", "reason", "canonical", "score", "front", "log_w", "status")  # of a row


def harvest(
    model: Model, campaign: Campaign, n: int, settings: Mapping[str, Any]
) -> DesignResult:
    """The designs of a campaign, best first: one of each population, or the n best of the pool."""
    scorer, strategy = campaign.reward.scorer, campaign.strategy
    if isinstance(strategy, Drawn) and strategy.drawn:
        records = model.domain.decode(strategy.designs(campaign.sampler, n))
        weights: dict[str, list[Any]] = {"log_w": strategy.log_z[-n:]}
        certificate = strategy.certificate
    else:
        records = _read(campaign, _handed_on(campaign, n, model.domain.kind))
        weights, certificate = {}, _searched(len(records))
    scores = scorer.plain(records)  # remembered: nothing is asked again
    fronts = _fronts(scorer, records)
    columns: dict[str, list[Any]] = {
        "score": scores.values.tolist(),
        **({"front": fronts} if fronts else {}),
        **_terms(scorer, records),
        **weights,
        "status": [Status(s).name.lower() for s in scores.status.tolist()],
    }
    order = sorted(
        range(len(records)),
        key=lambda i: (int(scores.status[i]), *fronts[i : i + 1],
                       -columns["score"][i] if scores.ok[i] else 0.0),
    )
    kept = [records[i] for i in order]
    rows = SampleResult(
        kept, kind=model.domain.kind, novelty=model.novelty,
        columns={name: [values[i] for i in order] for name, values in columns.items()},
        provenance=model.provenance(
            campaign.seed, n=len(records), design=dict(settings), certificate=vars(certificate),
            ledger=_cost(campaign), ended=campaign.stopped,
        ),
        notes=[*_notes(campaign, certificate, n - len(records), scores),
               *approximations(settings)],
    )  # fmt: skip
    return DesignResult(rows, certificate=certificate, ledger=campaign.ledger, settings=settings,
                        history=campaign.history, asked=lambda: asked(model, campaign),
                        hypervolume=dominated(campaign))


def _handed_on(campaign: Campaign, n: int, kind: str) -> list[int]:
    """Rows of the pool: of a `pareto(...)` front by front; else the n best; of more than `FEW`, by
    a strategy with a `diversity`, the ten best, and others that make up for how alike these are,
    until all are that share as far apart as the first round."""
    if sought(campaign.reward.scorer.reward):
        scored = sorted(campaign.pool.best())
        return [scored[i] for i in handed_on(campaign.pool.objectives.values[scored], n)]
    share = getattr(campaign.strategy, "diversity", None) if n > FEW else None
    rows = campaign.pool.best(None if share else n)
    if not share or len(rows) <= n:
        return rows[:n]
    values, rounds = campaign.pool.values, campaign.pool.rounds
    objects = [r.obj for r in _read(campaign, rows)]
    drawn = [x for row, x in zip(rows, objects, strict=True) if rounds[row] == 0]
    kind = comparison(kind, objects)
    least = share * apart(similarities(kind, drawn))
    scores = [values[row] for row in rows]
    return [rows[i] for i in portfolio(kind, objects, scores, n, least, keep=TOP)]


def _cost(campaign: Campaign) -> dict[str, int]:
    """What equal runs have equal: equal runs are equal files."""
    return {name: getattr(campaign.ledger, name)
            for name in ("network_rows", "asked", "cache_hits")}


def _notes(
    campaign: Campaign, certificate: Certificate, missing: int, scores: Scores
) -> list[str]:
    cost, unasked = _cost(campaign), int((scores.status == Status.SKIPPED).sum())
    few = missing > 0 and campaign.strategy.rounds is None  # else a limit ended it between rounds
    return [
        *([f"{missing} designs fewer than asked for: no other object has a score"] if few else []),
        *([f"{unasked} designs have no score: the budget of calls was spent"] if unasked else []),
        *_above(campaign),
        str(certificate),
        f"{cost['asked']:,} objects asked, {cost['cache_hits']:,} cache hits, "
        f"{cost['network_rows']:,} network rows",
    ]


def _above(campaign: Campaign) -> list[str]:
    """A floor that invalid rows are better off with than what the reward likes least."""
    floor = campaign.reward.floor
    if floor is None or not isinstance(campaign.strategy, Drawn):
        return []
    answers = [v for v in campaign.pool.values if math.isfinite(v)]
    below = sum(v < floor for v in answers)
    return [f"{below} of {len(answers)} answers lie below the floor {floor:g}, so an invalid "
            "object counts more than these: declare a lower floor"] if below else []


def asked(model: Model, campaign: Campaign) -> SampleResult:
    """Every distinct object that was asked, in the order asked, with its answer and its parent."""
    pool, scorer = campaign.pool, campaign.reward.scorer
    records = _read(campaign, range(len(pool)))
    columns: dict[str, list[Any]] = {
        "score": pool.values,
        **_terms(scorer, records),
        "status": [s.name.lower() for s in pool.status],
        "round": pool.rounds,
        "message": [scorer.messages.get(key, "") for key in pool.keys],
    }
    if pool.parents:
        texts = scorer.texts
        columns["parent"] = [texts.get(pool.parents.get(key, ""), "") for key in pool.keys]
    return SampleResult(records, kind=model.domain.kind, columns=columns, novelty=model.novelty,
                        provenance=model.provenance(campaign.seed, n=len(records)))


def dominated(campaign: Campaign) -> float | None:
    """Hypervolume of all that was asked above the floors of the objectives; None for a reward of
    one objective, of many, or of one without a floor."""
    if not campaign.pool.parts():
        return None
    found = campaign.pool.objectives
    if not 2 <= len(found.names) <= MOST or not found.floors.isfinite().all():
        return None
    return hypervolume(found.values[found.known], found.floors)


def _read(campaign: Campaign, rows: Sequence[int]) -> list[Record]:
    """Objects of the pool as records."""
    keys = campaign.pool.keys
    return list(campaign.records([keys[row] for row in rows]))


def described(campaign: Campaign) -> dict[str, float]:
    """What a round's line of the history says besides: internal diversity of the best molecules so
    far, and the hypervolume of what a `pareto(...)` seeks."""
    told = {}
    if campaign.reward.scorer.kind == "molecule":
        rows = _read(campaign, campaign.pool.best(DIVERSE))
        found = [r.obj for r in rows if r.obj is not None]
        told["diversity"] = internal_diversity(fingerprints(found))[0] if found else math.nan
    if sought(campaign.reward.scorer.reward) and (volume := dominated(campaign)) is not None:
        told["hypervolume"] = volume
    return told


def _searched(n: int) -> Certificate:
    """The certificate of the best of a pool: nothing was weighed."""
    zero = torch.zeros(max(n, 1), 1, dtype=torch.float64)
    return certify(zero, torch.arange(max(n, 1))[:, None], proper=False)


def _terms(scorer: Scorer, records: Sequence[Record]) -> dict[str, list[float]]:
    """Objectives of a `pareto(...)`, then the terms of the reward, remembered from the run; NaN
    where a row has none."""
    parts = scorer.parts(records)
    told = {name: part.values.masked_fill(~part.ok, math.nan) for name, part in parts.items()}
    if parts:
        found = objectives(scorer.reward, parts)
        told = dict(zip(found.names, found.values.T, strict=True)) | told
    return {f"term {name}" if name in _OWN else name: v.tolist() for name, v in told.items()}


def _fronts(scorer: Scorer, records: Sequence[Record]) -> list[int]:
    """The front, from 1, that each design of a `pareto(...)` is on; none where there is one
    number."""
    if not sought(scorer.reward):
        return []
    return (ranks(objectives(scorer.reward, scorer.parts(records)).values) + 1).tolist()
