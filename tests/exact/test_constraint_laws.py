"""Constrained sampling against enumerated truth: plain samples never break a constraint, and
weighted ones have the sampler's own law restricted to the rows that satisfy it."""

from itertools import product

import numpy as np
import pytest
import torch

from scidiff.core import seeded
from scidiff.data.graph_tokens import BONDS, read, triangle
from scidiff.data.tokens import Vocabulary, encode_rows
from scidiff.guidance.particles import guided_sample, sample
from scidiff.guidance.selection import keep_all, nested, smc
from scidiff.samplers.constraints import Count, Forbid, may_write
from scidiff.samplers.graph_constraints import (
    Alphabet,
    Connected,
    NodeTypes,
    edge_budget,
    max_degree,
    valence,
)
from scidiff.samplers.masked import Confidence, FixedCanvas, LengthLaw, MaskedSampler
from scidiff.samplers.strided import StridedSampler
from scidiff.testing import Table, same

GRAPH = Vocabulary(("C", "O", ".", "-", "="), "graph")
LIMITS = {"C": 3, "O": 2}
LAW = Table.of(
    torch.from_numpy(np.random.default_rng(5).dirichlet(np.full(81, 0.5))).reshape([3] * 4)
)
TOKENS = FixedCanvas.blank(4, LAW.mask_id)
NO_ENDS_EQUAL = Count([2], LAW.vocab_size, least=1, most=2)


def graph_table(seed=0) -> Table:
    """A joint law over all typed graphs of 3 nodes: 2^3 x 3^3 rows of 6 tokens."""
    symbols = [range(2, 4) if i == j else range(4, 7) for j in range(3) for i in (j, *range(j))]
    rows = torch.tensor(list(product(*symbols)))
    p = np.random.default_rng(seed).dirichlet(np.full(len(rows), 0.5))
    return Table(rows, torch.from_numpy(p), GRAPH.mask_id)


GRAPHS = graph_table()


def truth(name: str, text: str) -> bool:
    """Whether a finished graph satisfies the constraint, by counting."""
    nodes, edges = read(text)
    if name == "valence":
        return all(edges[i].sum() <= LIMITS[nodes[i]] for i in range(len(nodes)))
    if name == "degree":
        return ((edges > 0).sum(1) <= 1).all()
    if name == "types":
        return nodes.count("O") == 1
    if name == "budget":
        return 1 <= (edges > 0).sum() / 2 <= 2
    reach = np.linalg.matrix_power(np.eye(len(nodes)) + (edges > 0), len(nodes))
    return bool((reach > 0).all())


L = triangle(3)
CONSTRAINTS = {
    "valence": valence(GRAPH, LIMITS),
    "degree": max_degree(GRAPH, 1),
    "types": NodeTypes(GRAPH, {"O": 1}),
    "budget": edge_budget(GRAPH, L, least=1, most=2),
    "connected": Connected(GRAPH),
}


def completions_possible(constraint, states: torch.Tensor, rows: torch.Tensor, fine: torch.Tensor):
    """Truth for partly hidden rows: whether one of their completions is fine."""
    fits = ((states[:, None] == rows) | (states[:, None] == GRAPH.mask_id)).all(-1)
    return (fits & fine).any(1)


@pytest.mark.parametrize("name", CONSTRAINTS)
def test_a_constraint_knows_exactly_what_is_possible(name):
    fine = torch.tensor([truth(name, GRAPH.decode(row)) for row in GRAPHS.seqs])
    assert 0 < fine.sum() < len(fine)
    states = torch.cartesian_prod(
        *[
            torch.tensor([2, 3, 7] if i == j else [4, 5, 6, 7])
            for j in range(3)
            for i in (j, *range(j))
        ]
    )
    expected = completions_possible(name, states, GRAPHS.seqs, fine)
    assert torch.equal(CONSTRAINTS[name](states), expected)


def test_connected_with_valences_knows_what_is_possible():
    fine = torch.tensor(
        [truth("connected", t) and truth("valence", t) for t in map(GRAPH.decode, GRAPHS.seqs)]
    )
    joint = Connected(GRAPH, CONSTRAINTS["valence"])
    states = torch.cartesian_prod(
        *[
            torch.tensor([2, 3, 7] if i == j else [4, 5, 6, 7])
            for j in range(3)
            for i in (j, *range(j))
        ]
    )
    expected = completions_possible("", states, GRAPHS.seqs, fine)
    assert torch.equal(joint(states) & CONSTRAINTS["valence"](states), expected)


def chi2_z(table, ids, p) -> float:
    observed, expected = table.frequencies(ids) * len(ids), p * len(ids)
    keep = expected > 0
    assert not (observed[~keep] > 0).any()
    statistic = ((observed - expected)[keep] ** 2 / expected[keep]).sum()
    freedom = int(keep.sum()) - 1
    return float((statistic - freedom) / (2 * freedom) ** 0.5)


def constrained(constraints, table=GRAPHS, **options):
    canvas = FixedCanvas.blank(table.length, table.mask_id)
    return MaskedSampler(table.denoiser(), canvas, constraints=constraints, **options)


@pytest.mark.parametrize("options", [{}, {"tokens_per_step": 3}, {"block_size": 2}])
def test_a_constraint_that_forbids_nothing_changes_nothing_bit_for_bit(options):
    free = MaskedSampler(LAW.denoiser(), TOKENS, **options)
    bound = constrained([Forbid([], LAW.vocab_size)], LAW, **options)
    x, y = free.init(500, seeded(0)), bound.init(500, seeded(0))
    for k in range(free.num_steps):
        x, y = free.step(x, k, seeded(1, k)), bound.step(y, k, seeded(1, k))
        assert torch.equal(x.ids, y.ids) and same(x.trunk, y.trunk)
        assert x.log_ratio is None and (y.log_ratio == 0).all()


@pytest.mark.parametrize("name", CONSTRAINTS)
@pytest.mark.parametrize("options", [{}, {"tokens_per_step": 4}, {"order": Confidence()}])
def test_every_row_satisfies_its_constraint(name, options):
    ids = sample(constrained([CONSTRAINTS[name]], **options), 2_000, seeded(0)).ids
    assert not (ids == GRAPH.mask_id).any()
    assert all(truth(name, GRAPH.decode(row)) for row in ids)


@pytest.mark.parametrize("select, branch", [(keep_all, 1), (smc(0.7), 1), (nested(0.5), 2)])
@pytest.mark.parametrize("name", ["valence", "connected", "types"])
def test_weighted_rows_have_the_law_restricted_to_the_constraint(name, select, branch):
    fine = torch.tensor([truth(name, GRAPH.decode(row)) for row in GRAPHS.seqs])
    starts = (GRAPHS.seqs[:, 0] == 2).double()
    runs = guided_sample(
        constrained([CONSTRAINTS[name]]), None, 6_000, seeded(1),
        select=select, branch=branch, populations=400,
    )  # fmt: skip
    weights = runs.log_w.exp().view(400, -1)
    f = (runs.x.ids[:, 0] == 2).double().view(400, -1)
    for estimate, exact in (
        (weights.mean(1), GRAPHS.p @ fine.double()),
        ((weights * f).mean(1), GRAPHS.p @ (fine * starts)),
    ):
        assert abs(estimate.mean() - exact) < 4 * estimate.std() / 20


def test_plain_rows_do_not_have_that_law():
    fine = torch.tensor([truth("connected", GRAPH.decode(row)) for row in GRAPHS.seqs])
    ids = sample(constrained([CONSTRAINTS["connected"]]), 6_000, seeded(2)).ids
    assert abs(chi2_z(GRAPHS, ids, GRAPHS.p * fine / (GRAPHS.p @ fine.double()))) > 20


@pytest.mark.parametrize("options", [{"tokens_per_step": 2}, {"temperature": 0.7}])
def test_the_law_that_is_restricted_is_the_samplers_own(options):
    free = MaskedSampler(LAW.denoiser(), TOKENS, **options)
    ids = sample(free, 400_000, seeded(3)).ids
    has = (ids == 2).sum(1)
    exact = ((has >= 1) & (has <= 2)).double().mean()
    bound = constrained([NO_ENDS_EQUAL], LAW, **options)
    z = guided_sample(bound, None, 8_000, seeded(4), select=keep_all, populations=400).log_z.exp()
    error = (z.var() / 400 + exact * (1 - exact) / 400_000) ** 0.5
    assert abs(z.mean() - exact) < 4 * error


def test_strides_report_whole_stretches():
    fine = (LAW.seqs == 2).sum(1)
    exact = LAW.p @ ((fine >= 1) & (fine <= 2)).double()
    strided = StridedSampler(constrained([NO_ENDS_EQUAL], LAW), 3)
    z = guided_sample(
        strided, None, 8_000, seeded(5), select=smc(0.9), populations=400
    ).log_z.exp()
    assert abs(z.mean() - exact) < 4 * z.std() / 20


def test_where_nothing_is_possible_the_row_stays_hidden_and_weighs_nothing():
    # the constraint learns too late: after the first token it wants what the law cannot give
    def late(ids):
        return (ids == LAW.mask_id).any(1)

    x = sample(constrained([late], LAW), 50, seeded(0))
    assert ((x.ids == LAW.mask_id).sum(1) == 1).all() and not x.log_ratio.isnan().any()
    guided = guided_sample(constrained([late], LAW), None, 50, seeded(0), select=smc(0.5))
    assert (guided.log_w == float("-inf")).all() and (guided.log_z == float("-inf")).all()


def uniform_oracle(weights):
    class Oracle:
        block_size, rows, mask_id, vocab_size = None, 0, BIG.mask_id, len(BIG)

        def __call__(self, x, k):
            return torch.ones(*x.ids.shape, 1)

        def log_probs(self, trunk):
            law = torch.tensor([1.0, 1.0, *weights, 0.0]).log().log_softmax(-1)
            return law.expand(*trunk.shape[:-1], -1)

    return Oracle()


BIG = Vocabulary(("C", "N", "O", "F", *BONDS), "graph")
FULL = {"C": 4, "N": 3, "O": 2, "F": 1}


def sizes(*nodes):
    """Graphs with each of these numbers of nodes, equally often."""
    counts = torch.zeros(triangle(max(nodes)) + 1)
    counts[[triangle(n) for n in nodes]] = 1.0
    return LengthLaw(counts, BIG.mask_id)


MOLECULES = (6, 1, 1.2, 0.2, 30, 4, 1, 0.2)  # how often C, N, O, F and bonds are in small ones


@pytest.mark.parametrize("weights", [(1,) * 8, MOLECULES])
@pytest.mark.parametrize("tokens_per_step", [1, 5])
def test_graphs_of_9_nodes_satisfy_everything_whatever_the_network_says(weights, tokens_per_step):
    length = triangle(9) + 1
    holds = valence(BIG, FULL)
    degree = max_degree(BIG, 3)
    constraints = [
        Alphabet(BIG), holds, degree, edge_budget(BIG, length, most=10),
        Connected(BIG, holds, degree, most_edges=10),
        NodeTypes(BIG, {"O": (1, 3), "F": (0, 1)}, capacity=holds),
    ]  # fmt: skip
    canvas = sizes(5, 6, 7, 8, 9)
    chain = MaskedSampler(
        uniform_oracle(weights), canvas, constraints=constraints, tokens_per_step=tokens_per_step
    )
    ids = sample(chain, 50, seeded(0)).ids
    whole = ~(ids == BIG.mask_id).any(1)
    assert whole.double().mean() > 0.6  # many constraints together leave some rows stuck
    for row in ids[whole]:
        nodes, edges = read(BIG.decode(row))
        reach = np.linalg.matrix_power(np.eye(len(nodes)) + (edges > 0), len(nodes))
        assert (reach > 0).all() and (edges > 0).sum() <= 20 and ((edges > 0).sum(1) <= 3).all()
        assert all(edges[i].sum() <= FULL[nodes[i]] for i in range(len(nodes)))
        assert 1 <= nodes.count("O") <= 3 and nodes.count("F") <= 1


def test_valences_and_connectedness_leave_few_rows_of_9_nodes_stuck():
    holds = valence(BIG, FULL)
    constraints = [Alphabet(BIG), holds, Connected(BIG, holds)]
    chain = MaskedSampler(uniform_oracle(MOLECULES), sizes(9), constraints=constraints)
    ids = sample(chain, 100, seeded(1)).ids
    assert (ids == BIG.mask_id).any(1).double().mean() < 0.04


@pytest.mark.parametrize("share", [0.2, 0.5, 0.8])
def test_no_constraint_denies_a_row_that_has_a_completion(share):
    holds, degree = valence(BIG, FULL), max_degree(BIG, 3)
    constraints = [
        Alphabet(BIG), holds, degree, Connected(BIG, holds, degree, most_edges=9),
        NodeTypes(BIG, {"O": (1, 3), "F": (0, 2)}, capacity=holds),
        edge_budget(BIG, triangle(7) + 1, least=4, most=9),
    ]  # fmt: skip
    chain = MaskedSampler(uniform_oracle(MOLECULES), sizes(5, 7), constraints=constraints)
    ids = sample(chain, 60, seeded(7)).ids
    whole = ids[~(ids == BIG.mask_id).any(1)].repeat(20, 1)
    hidden = (torch.rand(whole.shape, generator=seeded(8)) < share) & (whole > 1)
    partly = whole.masked_fill(hidden, BIG.mask_id)
    assert len(partly) > 600 and all(bool(c(partly).all()) for c in constraints)


def test_a_scaffold_is_kept_and_the_rest_obeys():
    text = "CC-O.-"  # ethanol, of which the last atom and its pairs are hidden
    ids = encode_rows(BIG, [text])
    ids[0, 3:6] = BIG.mask_id
    holds = valence(BIG, {"C": 2, "N": 3, "O": 2, "F": 1})
    constraints = [Alphabet(BIG), holds, Connected(BIG, holds)]
    chain = MaskedSampler(
        uniform_oracle((1,) * 8), FixedCanvas(ids, BIG.mask_id), constraints=constraints
    )
    rows = sample(chain, 300, seeded(0)).ids
    assert torch.equal(rows[:, :3], ids[:, :3].expand(300, 3))
    assert all(Connected(BIG)(rows)) and all(holds(rows))


def test_may_write_tries_every_token_at_its_position():
    ids = torch.tensor([[2, LAW.mask_id], [LAW.mask_id, 3]])
    allowed = may_write(Count([2], 6, most=1), ids, torch.tensor([1, 0]), 6)
    assert allowed.tolist() == [[t != 2 for t in range(6)], [True] * 6]
