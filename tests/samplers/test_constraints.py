"""What constraints refuse and leave alone, row by row; graphs near continuous ones; compiled
steps."""

import pytest
import torch

from scidiff.core import seeded
from scidiff.data.graph_tokens import BONDS, to_graphs, triangle
from scidiff.data.graphs import GraphState
from scidiff.data.tokens import EOS, PAD, Vocabulary, encode_rows
from scidiff.samplers.constraints import AllowAt, Count, Forbid
from scidiff.samplers.graph_constraints import (
    Alphabet,
    Connected,
    NodeTypes,
    edge_budget,
    hanging,
    max_degree,
    valence,
)
from scidiff.samplers.masked import FixedCanvas, LengthLaw, MaskedSampler
from scidiff.samplers.quantise import blank_rows, graph_log_probs, quantised
from scidiff.testing import chain_table, check_full_graph, check_sampler

VOC = Vocabulary(("C", "N", "O", *BONDS), "graph")
LIMITS = {"C": 4, "N": 3, "O": 2}
HIDDEN = VOC.mask_id


def rows(*texts: str) -> torch.Tensor:
    """Rows of graphs, `?` hidden."""
    with_hidden = Vocabulary((*VOC.symbols, "?"), "graph")
    return encode_rows(with_hidden, texts)  # its "?" has the id of MASK


def test_forbidden_tokens_and_counts():
    ids = torch.tensor([[2, 3, HIDDEN], [4, 3, HIDDEN], [4, 4, 4]])
    assert Forbid([2], len(VOC))(ids).tolist() == [False, True, True]
    assert Count([4], len(VOC), least=2, most=2)(ids).tolist() == [False, True, False]
    at = torch.tensor([True, True, False])
    assert Count([4], len(VOC), least=2, at=at)(ids).tolist() == [False, False, True]


def test_what_may_stand_by_kind_of_position():
    allowed = torch.tensor([[0, 1, 1, 0, 0, 0], [0, 0, 0, 1, 1, 0]]).bool()
    by_kind = AllowAt(allowed, torch.tensor([0, 1, 0, 0]))
    ids = torch.tensor([[2, 3, 1], [2, 5, 5], [3, 3, 2], [2, 3, 0]])
    assert by_kind(ids).tolist() == [True, True, False, False]


def test_the_alphabet_of_graphs_keeps_the_end_where_it_was_given():
    allowed = Alphabet(VOC)
    assert allowed(rows("CC-", "C?.", "C", "CC???.", "C??")).all()
    wrong = [[2, 5, 5], [2, 2, 3], [2, 2, EOS], [2, EOS, 5], [2, EOS, HIDDEN], [2, PAD, 3]]
    tail = [EOS, PAD, PAD, PAD]
    assert not allowed(torch.tensor([row + tail for row in wrong])).any()
    assert not allowed(torch.tensor([[EOS, PAD, PAD], [HIDDEN, HIDDEN, EOS]])).any()


def test_capacities():
    holds = valence(VOC, LIMITS)
    texts = ["OO=", "OO#", "?O=", "?O#", "??#", "CC#C#."]
    assert holds(rows(*texts)).tolist() == [True, False, True, False, True, False]
    degree = max_degree(VOC, 1)
    assert degree(rows("OO#", "CC-C-.", "CC-C?.", "?C.")).tolist() == [True, False, True, True]


def test_node_types_with_what_they_can_hold():
    two = NodeTypes(VOC, {"O": (1, 2), "N": 0})
    texts = ["CC.", "OC.", "C?.", "NO.", "OO.O..", "??."]
    assert two(rows(*texts)).tolist() == [False, True, True, False, False, True]
    assert NodeTypes(VOC, {"C": 2}, others=False)(rows("CC.", "CO.", "C?.")).tolist() == [
        True, False, True,
    ]  # fmt: skip
    # the hidden node holds 3 and cannot be O, of which one is wanted
    holds = valence(VOC, LIMITS)
    want = {"O": (1, None)}
    assert NodeTypes(VOC, want)(rows("C?#")).tolist() == [True]
    assert NodeTypes(VOC, want, capacity=holds)(rows("C?#", "C?=")).tolist() == [False, True]
    most = NodeTypes(VOC, {"C": (0, 1)}, others=True, capacity=valence(VOC, {**LIMITS, "N": 2}))
    assert most(rows("C?#", "O?#", "O?=")).tolist() == [False, True, True]


def test_budgets_and_connectedness():
    budget = edge_budget(VOC, 6, least=1, most=1)
    assert budget(rows("CC-C..", "CC.C..", "CC.C?.", "CC-C-.", "CC.?..")[:, :6]).tolist() == [
        True, False, True, False, False,
    ]  # fmt: skip
    assert Connected(VOC)(rows("CC-C-.", "CC-C..", "CC-C?.", "C", "CC.C?-")).tolist() == [
        True, False, True, True, True,
    ]  # fmt: skip
    holds = valence(VOC, {**LIMITS, "O": 1})
    full = rows("OO-C??", "OC-O??", "OC-O.?")  # O-O is saturated; C takes the other two
    assert Connected(VOC, holds)(full).tolist() == [False, True, True]
    assert Connected(VOC)(full).all()
    assert Connected(VOC, most_edges=1)(rows("CC-C??", "CC-")).tolist() == [False, True]


def test_pieces_need_two_ends_for_every_edge_that_joins_them():
    one = Connected(VOC, max_degree(VOC, 1))
    assert one(rows("CC?", "CC?C??")).tolist() == [True, False]


def test_a_bridge_needs_room_for_every_part_that_only_it_holds():
    # O holds two carbons and a triangle of carbons, all hidden: the ends would suffice elsewhere
    bridge = rows("OC?C?.C?..C.?..C.?..?")
    for room, possible in ((3, True), (2, False)):
        degree = max_degree(VOC, {"C": 4, "N": 4, "O": room})
        assert Connected(VOC, degree)(bridge).tolist() == [possible]


def test_what_hangs_on_a_node_is_what_falls_off_without_it():
    nx = pytest.importorskip("networkx")
    rng = seeded(3)
    possible = (torch.rand(40, 7, 7, generator=rng) < 0.3).triu(1)
    possible = possible | possible.mT
    bonds = possible & (torch.rand(40, 7, 7, generator=rng) < 0.3).triu(1)
    bonds = bonds | bonds.mT
    present = torch.arange(7) < torch.randint(3, 8, (40, 1), generator=rng)
    edge = present[:, None] & present[..., None]
    counts, held = hanging(bonds & edge, possible & edge, present)
    for b in range(40):
        n = int(present[b].sum())
        graph = nx.from_numpy_array((possible & edge)[b, :n, :n].numpy())
        for v in range(7):
            without = graph.subgraph(set(range(n)) - {v}) if v < n else nx.Graph()
            neighbours = set(bonds[b, v].nonzero()[:, 0].tolist())
            parts = [p for p in nx.connected_components(without) if not p & neighbours]
            assert counts[b, v] == len(parts)
            assert set(held[b, v].nonzero()[:, 0].tolist()) == set().union(*parts)


@pytest.mark.filterwarnings("ignore:Dynamo detected a call to a `functools.lru_cache`")
def test_a_graph_step_with_all_constraints_is_one_graph():
    holds, length = valence(VOC, LIMITS), triangle(3) + 1

    class Flat:
        block_size, rows, mask_id, vocab_size = None, 0, HIDDEN, len(VOC)

        def __call__(self, x, k):
            return torch.ones(*x.ids.shape, 1)

        def log_probs(self, trunk):
            law = torch.tensor([-torch.inf] * 2 + [0.0] * 7 + [-torch.inf])
            return law.log_softmax(-1).expand(*trunk.shape[:-1], -1)

    constraints = [
        Alphabet(VOC), holds, Connected(VOC, holds, most_edges=2),
        edge_budget(VOC, length, most=2), NodeTypes(VOC, {"O": (0, 1)}, capacity=holds),
    ]  # fmt: skip
    canvas = LengthLaw([0, 1, 0, 1, 0, 0, 2], HIDDEN)  # 1, 2 or 3 nodes
    sampler = MaskedSampler(Flat(), canvas, constraints=constraints)
    check_sampler(sampler)
    check_full_graph(sampler)


def noisy_graphs() -> GraphState:
    """Ethanol, and two carbons that are nearly bonded and an oxygen that is nearly not."""
    clean = to_graphs(encode_rows(VOC, ["CC-O.-", "CC-O.."]), VOC)
    noise = 0.1 * torch.randn(clean.A.shape, generator=seeded(0)).triu(1)
    A = clean.A + noise + noise.mT
    A[1, 1, 2] = A[1, 2, 1] = 0.4
    return GraphState(
        clean.X + 0.1 * torch.randn(clean.X.shape, generator=seeded(1)), A, clean.mask
    )


def test_rounding_gives_back_the_graph_and_says_that_nothing_changed():
    ids, changed = quantised(noisy_graphs(), VOC)
    assert [VOC.decode(row) for row in ids] == ["CC-O.-", "CC-O.."] and not changed.any()
    holds = valence(VOC, LIMITS)
    same, none = quantised(noisy_graphs()[torch.tensor([0])], VOC, [holds, Connected(VOC, holds)])
    assert torch.equal(same, ids[:1]) and not none.any()


def test_a_graph_in_pieces_is_joined_where_it_is_nearest():
    holds = valence(VOC, LIMITS)
    ids, changed = quantised(noisy_graphs(), VOC, [holds, Connected(VOC, holds)])
    assert [VOC.decode(row) for row in ids] == ["CC-O.-", "CC-O.-"]
    assert changed.sum(1).tolist() == [0, 1] and changed[1, 5]


def test_smaller_graphs_end_where_their_nodes_end():
    mask = torch.tensor([[True, True, False], [True, True, True]])
    assert blank_rows(mask, HIDDEN).tolist() == [
        [HIDDEN] * 3 + [EOS, PAD, PAD, PAD], [HIDDEN] * 6 + [EOS],
    ]  # fmt: skip
    state = GraphState(torch.zeros(2, 3, 3), torch.zeros(2, 3, 3), mask)
    told = graph_log_probs(state, VOC)
    assert told.shape == (2, 7, len(VOC)) and not told.isnan().any()
    ids, _ = quantised(state, VOC, [Connected(VOC)])
    assert (ids[0] == EOS).int().argmax() == 3 and Connected(VOC)(ids).all()


@pytest.mark.parametrize("make, message", [
    (lambda: Count([2], 5, least=3, most=1), "0 <= least <= most"),
    (lambda: AllowAt(torch.ones(1, 4), torch.zeros(3).long()), "allowed must be"),
    (lambda: AllowAt(torch.ones(1, 4).bool(), torch.ones(3).long()), "allowed must be"),
    (lambda: NodeTypes(VOC, {"Cl": 1}), "got 'Cl'; did you mean 'C'"),
    (lambda: NodeTypes(VOC, {"C": (2, 1)}), "0 <= least <= most"),
    (lambda: valence(VOC, {"C": 4}), "missing N, O"),
    (lambda: valence(Vocabulary(("C", ".", ":"), "graph"), {"C": 4}), "got ':'"),
    (lambda: Connected(VOC, max_degree(VOC, 3))(torch.full((1, triangle(63)), HIDDEN)),
     "at most 62 nodes, got 63"),
    (lambda: MaskedSampler(chain_table().denoiser(), FixedCanvas.blank(4, 5),
                           condition=torch.zeros(3, 1)).init(4, seeded(0)), "divisor of the 4"),
])  # fmt: skip
def test_impossible_arguments_are_named(make, message):
    with pytest.raises(ValueError, match=message):
        make()
