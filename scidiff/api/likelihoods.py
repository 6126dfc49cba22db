"""How likely a model finds an object, as fine-tuning reads it: one choice a family of process."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from scidiff.api.flow_engine import FlowEngine
from scidiff.api.graph_engine import GraphEngine
from scidiff.api.model import Model
from scidiff.api.token_engine import TokenEngine
from scidiff.core import ScidiffError
from scidiff.guidance.finetune_likelihoods import Bounded, Causal, Implicit, Likelihood, Sequential
from scidiff.guidance.policy_gradient import Replay
from scidiff.processes.block import BlockProcess
from scidiff.processes.discrete_flow import DiscreteFlowProcess
from scidiff.processes.graph_sde import GraphSDE, GraphSDEProcess
from scidiff.processes.tokens import MaskedLoss
from scidiff.samplers.masked import MaskedSampler

DRAWS = 2  # of noise, for a bound
REPLAYED = 16  # steps of a chain whose gradient is taken


def likelihood_of(model: Model) -> Likelihood:
    """The likelihood that a model is tuned by: exact where it draws from left to right one token
    at a time, else a bound. Raises ScidiffError for a family without one."""
    engine = model.engine
    if isinstance(engine, TokenEngine):
        return _of_blocks(engine) if engine.block_causal else _of_masked(engine)
    if isinstance(engine, FlowEngine):
        process = engine.flow.process(engine.law)
        if isinstance(process, DiscreteFlowProcess):  # its cross-entropy bounds nothing
            return Implicit(process, DRAWS, alone=True)
        return Bounded(process, DRAWS)
    if isinstance(engine, GraphEngine):
        sde = GraphSDE.of(engine.config["process"]["sde"])
        return Implicit(GraphSDEProcess(engine.vocabulary, sde), DRAWS)
    kind = engine.config["process"]["kind"]
    raise ScidiffError(
        f"{model.name}: models of {kind} have no loss to be tuned by; expected a model of masked, "
        "block or autoregressive diffusion, a discrete flow or a graph SDE"
    )


def sampler_of(
    model: Model, network: Any, settings: Mapping[str, Any]
) -> tuple[MaskedSampler, bool]:
    """A sampler that draws from `network` as the model does, and whether it draws symbols alone.
    Raises ScidiffError for a model that is not written token by token."""
    engine = model.engine
    if not isinstance(engine, TokenEngine):
        raise ScidiffError(_NOT_A_POLICY.format(model.name))
    sampler = replace(engine, network=network).sampler(**settings)
    if not isinstance(sampler, MaskedSampler):
        raise ScidiffError(_NOT_A_POLICY.format(model.name))
    return sampler, not engine.block_causal and engine.rows.writes_end


def policy_of(
    model: Model, network: Any, settings: Mapping[str, Any]
) -> tuple[MaskedSampler, Likelihood, bool]:
    """A sampler that draws from `network`, the likelihood of what it draws, and whether that reads
    whole chains."""
    sampler, symbols = sampler_of(model, network, settings)
    found = likelihood_of(model)
    if isinstance(found, Causal | Sequential):
        return sampler, found, False
    return sampler, Replay(sampler, REPLAYED, symbols), True


_NOT_A_POLICY = (
    "{}: a policy gradient needs a model whose rows are written token by token (masked, block or "
    "autoregressive); expected such a model, or a pool of scored objects"
)


def _of_blocks(engine: TokenEngine) -> Likelihood:
    """Of models that write from left to right, as their own settings draw."""
    s, mask_id = engine.settings({}), engine.network.mask_id
    size = s["block_size"]
    if size != 1 and (s["order"] != "sequential" or s["tokens_per_step"] != 1):
        return Bounded(BlockProcess(mask_id, size), DRAWS)
    if size == 1 and not bool(engine.network.own.weight.any()):
        return Causal()
    return Sequential(mask_id, size, offsets=1)


def _of_masked(engine: TokenEngine) -> Likelihood:
    """Of masked diffusion, as it was trained."""
    spec = engine.config["process"].get("masked") or {}
    process = MaskedLoss(**spec).process(engine.network.mask_id)
    return Bounded(process, DRAWS, symbols=engine.rows.writes_end)
