"""How much memory a device can still give."""

from __future__ import annotations

import os
from pathlib import Path

import torch


def free_bytes(device: torch.device, told: Path = Path("/proc/meminfo")) -> int:
    """Memory that a device can still give, with what its allocator or the system's caches hold
    for reuse."""
    if device.type == "cuda":
        kept = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
        return torch.cuda.mem_get_info(device)[0] + kept
    lines = told.read_text().splitlines() if told.is_file() else []
    for name, _, value in (line.partition(":") for line in lines):
        if name == "MemAvailable":
            return int(value.removesuffix("kB")) * 1024
    return os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
