"""Which sizes of blocks there can be."""

from __future__ import annotations


def check_block_size(
    size: int,
    most: int | None = None,
    *,
    name: str = "block_size",
    why: str = "",
    error: type[Exception] = ValueError,
) -> None:
    """Raise `error` for blocks of less than one item or of more than `most`, of which `why` says
    what they are."""
    if size >= 1 and (most is None or size <= most):
        return
    expected = "at least 1" if most is None else f"in 1..{most}"
    raise error(f"{name} must be {expected}{why and f' ({why})'}, got {size}")
