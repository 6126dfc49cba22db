"""The processes on tokens by name, as recipes and model configs give them."""

from __future__ import annotations

from scidiff.processes.block import AutoregressiveProcess, BlockProcess
from scidiff.processes.masked import MaskedProcess

TokenProcess = MaskedProcess | BlockProcess | AutoregressiveProcess


def token_process(kind: str, mask_id: int, block_size: int | None = None) -> TokenProcess:
    """Make the process `kind`: masked, block or autoregressive; block alone has a block_size."""
    if (kind == "block") != (block_size is not None):
        raise ValueError("block_size belongs to process = 'block' and is required there")
    if block_size is not None:
        return BlockProcess(mask_id, block_size)
    if kind in ("masked", "autoregressive"):
        return MaskedProcess(mask_id) if kind == "masked" else AutoregressiveProcess(mask_id)
    raise ValueError(f"process must be masked, block or autoregressive, got {kind!r}")
