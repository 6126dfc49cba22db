"""The processes on token rows by name, as recipes and model configs give them."""

from __future__ import annotations

from scidiff.data.tokens import Vocabulary
from scidiff.processes.block import AutoregressiveProcess, BlockProcess
from scidiff.processes.graph_sde import GraphSDE, GraphSDEProcess
from scidiff.processes.masked import MaskedProcess

TokenProcess = MaskedProcess | BlockProcess | AutoregressiveProcess | GraphSDEProcess
PROCESSES = ("masked", "block", "autoregressive", "graph_sde")


def check_process(kind: str, block_size: int | None = None, sde: GraphSDE | None = None) -> None:
    """Refuse an unknown process, and settings that it has not or lacks."""
    if kind not in PROCESSES:
        raise ValueError(f"process must be one of {', '.join(PROCESSES)}, got {kind!r}")
    for name, owner, value in (("block_size", "block", block_size), ("sde", "graph_sde", sde)):
        if (kind == owner) != (value is not None):
            raise ValueError(f"{name} belongs to process = {owner!r} and is required there")
    if block_size is not None and block_size < 1:
        raise ValueError(f"block_size must be at least 1, got {block_size}")


def token_process(
    kind: str,
    vocabulary: Vocabulary,
    block_size: int | None = None,
    sde: GraphSDE | None = None,
) -> TokenProcess:
    """Make the process `kind` for rows over `vocabulary`; settings that are not its own are
    refused."""
    check_process(kind, block_size, sde)
    if block_size is not None:
        return BlockProcess(vocabulary.mask_id, block_size)
    if sde is not None:
        return GraphSDEProcess(vocabulary, sde)
    one = MaskedProcess if kind == "masked" else AutoregressiveProcess
    return one(vocabulary.mask_id)
