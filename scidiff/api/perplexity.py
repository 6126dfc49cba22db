"""How well a model of token rows predicts strings that it has not seen: nats, perplexity, bits."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from scidiff.api.entry import opened
from scidiff.api.flow_engine import FlowEngine
from scidiff.api.token_engine import TokenEngine
from scidiff.api.typed import typed
from scidiff.core import ScidiffError
from scidiff.evaluation.intervals import RATIO, ratio_interval
from scidiff.evaluation.metric import Metric, Report

if TYPE_CHECKING:
    from scidiff.api.model import Model


@typed
def perplexity(model: Model | str | Path, strings: Sequence[str], **how: Any) -> Report:
    """Nats a string, perplexity per token (its end counted) and per padded position, and bits per
    character, of a model or the name of one, with 95 % intervals over strings.

    A string's nats are -log p of all of it, its length included, so that models that are given
    the length and models that write the end compare; of models with a bound they are the bound,
    and the perplexities upper bounds. Perplexity per padded position divides by the model's length
    for every string, as tables in which padding is predicted too. `how` goes to
    `Model.log_likelihood`. A string whose length no training row has makes them infinite.
    """
    model = opened(model)
    engine = model.engine
    if not isinstance(engine, TokenEngine | FlowEngine):
        raise ScidiffError(
            f"perplexity needs a model of token rows, {model.name} has densities of coordinates"
        )
    if len(strings) < 2:
        raise ValueError(f"perplexity needs at least 2 strings, got {len(strings)}")
    table = model.log_likelihood(strings, **how)
    nats = -(table["log_likelihood"] + table["log_p_size"]).to_numpy()
    tokens = table["tokens"].to_numpy(float)
    padded = np.full(len(nats), float(engine.rows.length))
    characters = np.array([len(text) for text in table["text"]], float)
    exact = not table["standard_error"].any()
    note = "exact" if exact else "a bound"
    unseen = int(np.isinf(table["log_p_size"]).sum())
    if unseen:
        note += f"; {unseen} strings have a length that no training row has"
    return Report(
        (
            _metric("nats", nats, np.ones_like(nats), "-log p of a string", note),
            _metric("perplexity", nats, tokens, "exp of nats a token, the end counted", note),
            _metric(
                "perplexity_padded", nats, padded,
                f"exp of nats a position of rows padded to {int(padded[0])}", note,
            ),
            _metric("bits_per_character", nats, characters, "nats / log 2 a character", note),
        ),
        model.provenance(int(how.get("seed", 0)), **{k: v for k, v in how.items() if k != "seed"}),
    )  # fmt: skip


def _metric(
    name: str, nats: NDArray[Any], units: NDArray[Any], definition: str, note: str
) -> Metric:
    bounds = ratio_interval(nats, units)
    if name.startswith("perplexity"):
        bounds = tuple(np.exp(bounds))
    elif name.startswith("bits"):
        bounds = tuple(np.divide(bounds, math.log(2)))
    value, low, high = map(float, bounds)
    return Metric(name, value, low, high, len(nats), definition, note, RATIO)
