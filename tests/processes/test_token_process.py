"""The processes by name, and the flow of a recipe."""

import pytest
import torch

from scidiff.data.tokens import Vocabulary, encode_rows
from scidiff.processes.block import AutoregressiveProcess, BlockProcess
from scidiff.processes.graph_sde import GraphSDE, GraphSDEProcess
from scidiff.processes.masked import MaskedProcess
from scidiff.processes.tokens import TokenFlow, token_process

V = Vocabulary(("C", "O"))
GRAPHS = Vocabulary(("-", ".", "C", "N", "O"), "graph")
ROWS = encode_rows(GRAPHS, ["CO-", "CC-C.-", "N"])


def test_names():
    assert token_process("masked", V) == MaskedProcess(4)
    assert token_process("autoregressive", V) == AutoregressiveProcess(4)
    assert token_process("block", V, 2) == BlockProcess(4, 2)
    assert token_process("graph_sde", V, sde=GraphSDE()) == GraphSDEProcess(V, GraphSDE())


@pytest.mark.parametrize(
    "kind, settings, message",
    [
        ("diffuse", {}, "masked, block, .*, graph_blocks, points, point_blocks, got 'diffuse'"),
        ("block", {}, "block_size belongs to process = 'block'"),
        ("masked", {"block_size": 4}, "block_size belongs to process = 'block'"),
        ("block", {"block_size": 0}, "at least 1, got 0"),
        ("graph_sde", {}, "sde belongs to process = 'graph_sde'"),
        ("masked", {"sde": GraphSDE()}, "sde belongs to process = 'graph_sde'"),
        ("flow", {}, "flow belongs to process = 'flow'"),
        ("masked", {"flow": TokenFlow()}, "flow belongs to process = 'flow'"),
        ("flow", {"flow": TokenFlow()}, "the law of its noise go together"),
    ],
)
def test_what_does_not_exist_is_refused(kind, settings, message):
    with pytest.raises(ValueError, match=message):
        token_process(kind, V, **settings)


@pytest.mark.parametrize(
    "noise, nodes, pairs",
    [
        ("marginal", [0, 0, 4 / 6, 1 / 6, 1 / 6, 0], [3 / 4, 1 / 4, 0, 0, 0, 0]),
        ("uniform", [0, 0, 1 / 3, 1 / 3, 1 / 3, 0], [1 / 2, 1 / 2, 0, 0, 0, 0]),
        ("absorbing", [0, 0, 0, 0, 0, 1], [0, 0, 0, 0, 0, 1]),
    ],
)
def test_the_noise_of_nodes_and_of_pairs(noise, nodes, pairs):
    law = TokenFlow(noise).law(GRAPHS, ROWS)
    expected = torch.tensor([[0, 0, *nodes], [0, 0, *pairs]], dtype=torch.float32)
    assert torch.allclose(law.laws, expected)
    assert law.kinds.tolist() == [0, 0, 1, 0, 1, 1, 0]


def test_a_flow_is_made_of_its_law_and_its_settings():
    flow = TokenFlow("uniform", "cos", 3.0)
    process = token_process("flow", GRAPHS, flow=flow, law=flow.law(GRAPHS, ROWS))
    assert process.weights == (1.0, 3.0) and process.distortion == "cos"
    assert torch.equal(process.law.laws, flow.law(GRAPHS, ROWS).laws)


@pytest.mark.parametrize(
    "settings, message",
    [
        ({"noise": "marginals"}, "noise must be one of marginal, uniform, absorbing"),
        ({"distortion": "polydek"}, "did you mean 'polydec'"),
        ({"edge_weight": 0.0}, "edge_weight must be positive, got 0"),
    ],
)
def test_impossible_flows(settings, message):
    with pytest.raises(ValueError, match=message):
        TokenFlow(**settings)
