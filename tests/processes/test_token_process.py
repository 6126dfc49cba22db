"""The processes by name."""

import pytest

from scidiff.data.tokens import Vocabulary
from scidiff.processes.block import AutoregressiveProcess, BlockProcess
from scidiff.processes.graph_sde import GraphSDE, GraphSDEProcess
from scidiff.processes.masked import MaskedProcess
from scidiff.processes.tokens import token_process

V = Vocabulary(("C", "O"))


def test_names():
    assert token_process("masked", V) == MaskedProcess(4)
    assert token_process("autoregressive", V) == AutoregressiveProcess(4)
    assert token_process("block", V, 2) == BlockProcess(4, 2)
    assert token_process("graph_sde", V, sde=GraphSDE()) == GraphSDEProcess(V, GraphSDE())


@pytest.mark.parametrize(
    "kind, settings, message",
    [
        ("diffuse", {}, "masked, block, autoregressive, graph_sde, got 'diffuse'"),
        ("block", {}, "block_size belongs to process = 'block'"),
        ("masked", {"block_size": 4}, "block_size belongs to process = 'block'"),
        ("block", {"block_size": 0}, "at least 1, got 0"),
        ("graph_sde", {}, "sde belongs to process = 'graph_sde'"),
        ("masked", {"sde": GraphSDE()}, "sde belongs to process = 'graph_sde'"),
    ],
)
def test_what_does_not_exist_is_refused(kind, settings, message):
    with pytest.raises(ValueError, match=message):
        token_process(kind, V, **settings)
