"""The processes by name."""

import pytest

from scidiff.processes.block import AutoregressiveProcess, BlockProcess
from scidiff.processes.masked import MaskedProcess
from scidiff.processes.tokens import token_process


def test_names():
    assert token_process("masked", 4) == MaskedProcess(4)
    assert token_process("autoregressive", 4) == AutoregressiveProcess(4)
    assert token_process("block", 4, 2) == BlockProcess(4, 2)


@pytest.mark.parametrize(
    "kind, block_size, message",
    [
        ("diffuse", None, "masked, block or autoregressive, got 'diffuse'"),
        ("block", None, "block_size belongs to process = 'block'"),
        ("masked", 4, "block_size belongs to process = 'block'"),
        ("block", 0, "at least 1, got 0"),
    ],
)
def test_what_does_not_exist_is_refused(kind, block_size, message):
    with pytest.raises(ValueError, match=message):
        token_process(kind, 4, block_size)
