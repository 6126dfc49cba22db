"""Graphs in blocks against enumeration: the law of the sampler, plain, guided, and of graphs of a
given number of nodes."""

import math
from collections import defaultdict
from functools import cache

import pytest
import torch
from torch.nn import functional as F

from scidiff.core import seeded
from scidiff.data.graph_order import at_positions
from scidiff.data.graph_tokens import triangle
from scidiff.data.tokens import FIRST_SYMBOL, Vocabulary
from scidiff.guidance.lookahead import Rollout
from scidiff.guidance.particles import guided_sample, sample
from scidiff.guidance.selection import keep_all, smc
from scidiff.processes.discrete_flow import TokenNoise, graph_kinds
from scidiff.samplers.canvas import LengthLaw
from scidiff.samplers.discrete_flow import FlowRate, Posterior
from scidiff.samplers.graph_blocks import GraphBlockSampler
from scidiff.samplers.graph_states import WrittenGraphs

VOCABULARY = Vocabulary(("a", "b", ".", "-"), "graph")
A, B, NONE, BOND = range(FIRST_SYMBOL, FIRST_SYMBOL + 4)
NODES, V = 3, len(VOCABULARY)
LENGTH = triangle(NODES) + 1
NOISE = TokenNoise(
    torch.tensor([[0, 0, 0.3, 0.7, 0, 0, 0], [0, 0, 0, 0, 0.6, 0.4, 0]]), graph_kinds(LENGTH)
)
SIZES = {1: 0.5, 2: 0.3, 3: 0.2}  # of the first block


def share_b(count: int, last: int, degree: int) -> float:
    """How likely a new node is b, after `count` nodes of which the first is `last`."""
    return 0.2 + 0.2 * count + (0.3 if last == B else 0.0) - 0.1 * degree


def share_bond(degree: int) -> float:
    return 0.15 + 0.6 * degree


def law_of_size(count: int, last: int) -> list[float]:
    """p(size of the next block), 0 first."""
    raw = [1.0, 2.0 if last == B else 1.0, 0.5, 0.0]
    raw = [w if size + count <= NODES else 0.0 for size, w in enumerate(raw)]
    return [w / sum(raw) for w in raw]


def law_of_degree(count: int, size: int) -> list[float]:
    p = 1 / (1 + count + size)
    return [p, 1 - p]


@cache
def independent(b: float, bond: float) -> torch.Tensor:
    """p of nodes and pairs at every position (L, V)."""
    found = torch.zeros(LENGTH, V)
    node = (graph_kinds(LENGTH) == 0)[:, None]
    found[:, [A, B]] = torch.where(node, torch.tensor([1 - b, b]), 0.0)
    found[:, [NONE, BOND]] = torch.where(node, 0.0, torch.tensor([1 - bond, bond]))
    return found


class Oracle:
    """Tokens of a block are independent given what is before, and blurred by noise exactly."""

    mask_id, vocab_size, block_size, rows = V - 1, V, None, 0

    def prior(self, x):
        """p(x0 at every position | blocks before) (B, L, V)."""
        told, rows = WrittenGraphs.of(x).blocks, []
        for ids, block, degree in zip(
            x.ids[:, 0].tolist(), told.block.tolist(), told.degree.tolist(), strict=True
        ):
            count = sum(0 <= b < max(block) for b in block)
            d = degree[count] if count < NODES else 0
            rows.append(independent(share_b(count, ids if count else A, d), share_bond(d)))
        return torch.stack(rows)

    def __call__(self, x, k):
        t = torch.as_tensor(k, dtype=torch.float32).expand(len(x))[:, None, None]
        noise = NOISE.at(x.ids)
        seen = (1 - t) * F.one_hot(x.ids, V) + t * (noise * F.one_hot(x.ids, V)).sum(-1, True)
        p = self.prior(x) * seen
        return (p / p.sum(-1, keepdim=True)).log().nan_to_num(0.0)

    def log_probs(self, trunk):
        return trunk

    def next_size(self, x, rows):
        block, told = WrittenGraphs.of(x).blocks.block, []
        count = (block >= 0).sum(1)
        for ids, n in zip(x.ids.tolist(), count.tolist(), strict=True):
            told.append(law_of_size(n, ids[0]) if n else [0.0, 1.0, 0.0, 0.0])
        return count[:, None].double(), torch.tensor(told).log()

    def next_degree(self, state, size):
        told = [law_of_degree(int(n), int(s)) for n, s in zip(state[:, 0], size, strict=True)]
        return torch.tensor(told).log()


def grown(count, ids, size, p):
    """Every way to write the next `size` nodes behind `count`: ids by position and p."""
    out = []
    for d, pd in enumerate(law_of_degree(count, size)):
        b = share_b(count, ids[0] if count else A, d)
        s = share_bond(d)
        ways = [(tuple(ids), p * pd)]
        for j in range(count, count + size):
            ways = [((*w, t), q * pt) for w, q in ways for t, pt in ((A, 1 - b), (B, b))]
            for _ in range(j):
                ways = [((*w, t), q * pt) for w, q in ways for t, pt in ((NONE, 1 - s), (BOND, s))]
        out += ways
    return out


def enumerated():
    """p of every finished row, as its tokens."""
    law = defaultdict(float)

    def extend(count, ids, p):
        for size, ps in enumerate(law_of_size(count, ids[0])):
            if size == 0:
                law[ids] += p * ps
            elif ps:
                for more, q in grown(count, ids, size, p * ps):
                    extend(count + size, more, q)

    for size, ps in SIZES.items():
        for ids, q in grown(0, (), size, ps):
            extend(size, ids, q)
    return law


LAW = enumerated()


def sampler(kernel=None, steps=2, **options):
    counts = torch.zeros(triangle(NODES) + 1)
    for size, p in SIZES.items():
        counts[triangle(size)] = p
    return GraphBlockSampler(
        Oracle(), LengthLaw(counts, V - 1, LENGTH), NOISE, steps=steps, hops=1, blocks=NODES,
        bonded=[BOND], kernel=kernel or Posterior(), **options,
    )  # fmt: skip


def tokens(x):
    nodes = (x.memory[0] >= 0).sum(1).tolist()
    return [tuple(row[: triangle(n)]) for row, n in zip(x.ids.tolist(), nodes, strict=True)]


def test_the_enumerated_law_is_one():
    assert sum(LAW.values()) == pytest.approx(1) and len(LAW) == 2 + 8 + 64


@pytest.mark.parametrize("kernel", [FlowRate(eta=1.0), Posterior()], ids=["flow", "posterior"])
def test_samples_have_the_law(kernel):
    n = 6000
    found = defaultdict(int)
    for row in tokens(sample(sampler(kernel), n, seeded(0))):
        found[row] += 1
    assert set(found) <= set(LAW)
    for row, p in LAW.items():
        assert abs(found[row] / n - p) < 4 * (p * (1 - p) / n) ** 0.5 + 1e-12, row


def bonds(row):
    return sum(t == BOND for t in row)


@pytest.mark.parametrize("select", [keep_all, smc(0.6)], ids=["keep all", "smc"])
def test_guided_samples_are_unbiased(select):
    """mean(exp(log_w) f) = sum p exp(2 r) f for the reward of bonds."""
    exact = sum(p * math.exp(0.7 * bonds(row)) for row, p in LAW.items())
    exact_b = sum(p * math.exp(0.7 * bonds(row)) * (row[0] == B) for row, p in LAW.items())

    def reward(x):
        there = at_positions((x.memory[0] >= 0).long(), LENGTH, 0) > 0
        return ((x.ids == BOND) & there).sum(1).double()

    s = sampler()
    value = Rollout(s, reward)
    runs = []
    for i in range(40):
        g = guided_sample(s, reward, 40, seeded(1, i), select=select, value=value, strength=0.7,
                          every=2)  # fmt: skip
        w = g.log_w.exp()
        runs.append(torch.stack([w.mean(), (w * (g.x.ids[:, 0] == B)).mean()]))
    told = torch.stack(runs)
    z = (told.mean(0) - torch.tensor([exact, exact_b])) / (told.std(0) / len(runs) ** 0.5)
    assert (z.abs() < 4).all(), z


def test_graphs_of_a_given_size_have_their_conditional_law_when_weighed():
    """The canvas draws first sizes that fit; of p(first size) it keeps the normalised rest."""
    wanted = {row: p for row, p in LAW.items() if len(row) == triangle(2)}
    total = sum(wanted.values())
    s = sampler(nodes=2)
    counts = torch.zeros(triangle(2) + 1)
    counts[[triangle(1), triangle(2)]] = torch.tensor([SIZES[1], SIZES[2]])
    s.canvas = LengthLaw(counts, V - 1, LENGTH)
    g = guided_sample(s, lambda x: torch.zeros(len(x)), 6000, seeded(2), select=keep_all)
    assert {len(row) for row in tokens(g.x)} == {triangle(2)}
    w = g.log_w.exp()
    kept = SIZES[1] + SIZES[2]
    for row, p in wanted.items():
        here = w * torch.tensor([r == row for r in tokens(g.x)])
        error = here.std() / len(w) ** 0.5
        assert abs(here.mean() - p / kept) < 4 * error + 1e-12, row
    assert abs(w.mean() - total / kept) < 4 * w.std() / len(w) ** 0.5
