"""Whatever belongs to a particle stays with it: masks, conditions, predictions and scores, through
branch and select."""

from dataclasses import dataclass, replace

import pytest
import torch
from torch import Tensor

from scidiff.core import Shared, Stacked, normal, seeded
from scidiff.guidance import particles
from scidiff.guidance.cascade import Cascade
from scidiff.guidance.particles import difference, guided_sample, maximum, sample, total
from scidiff.guidance.refine import Improve, refine
from scidiff.guidance.search import (
    noise_search,
    path_search,
    rollover,
    successive_halving,
)
from scidiff.guidance.selection import Replacing, greedy, nested, per_parent, smc


@dataclass(frozen=True)
class Inner(Stacked):
    tag: Tensor  # (B,)
    pair: tuple[Tensor, Tensor]  # each (B, 2)


@dataclass(frozen=True)
class Tagged(Stacked):
    """A walk whose every field says which initial particle it belongs to."""

    x: Tensor  # (B,)
    mask: Tensor  # (B, 3) bool, the owner's number in binary
    condition: Inner
    trunk: Shared  # (B, 2)
    nothing: None = None


class TaggedWalk:
    num_steps, stochastic = 5, True

    def init(self, n, rng):
        tag = torch.arange(n)
        inner = Inner(tag, (tag[:, None].repeat(1, 2), -tag[:, None].repeat(1, 2)))
        return Tagged(normal((n,), rng), self.bits(tag), inner, Shared(tag[:, None].repeat(1, 2)))

    @staticmethod
    def bits(tag):
        return (tag[:, None] >> torch.arange(6)) % 2 == 1

    def step(self, x, k, rng):
        fresh = Shared(x.trunk.dense())  # as a sampler does: written anew at every step
        return replace(x, x=x.x + normal((len(x),), rng), trunk=fresh)

    def predict_clean(self, x, k, rng):
        return x

    def renoise(self, clean, k, rng):
        return replace(clean, x=clean.x + normal((len(clean),), rng))


@dataclass(frozen=True)
class TaggedAndWeighed(Tagged):
    log_ratio: Tensor | None = None


class WeighedWalk(TaggedWalk):
    def init(self, n, rng):
        return TaggedAndWeighed(**vars(super().init(n, rng)))


def owners(x: Tagged) -> list[Tensor]:
    """What every field says about whom each row belongs to."""
    bits = (x.mask.long() << torch.arange(6)).sum(1)
    pair = x.condition.pair
    return [
        x.condition.tag,
        bits,
        pair[0][:, 1],
        -pair[1][:, 0],
        x.trunk.dense()[:, 0],
        x.trunk.gather(torch.ones(len(x), 1, dtype=torch.int64))[:, 0],
    ]


def agree(x: Tagged) -> bool:
    first, *rest = owners(x)
    return all(torch.equal(first, other) for other in rest)


def walk(seed: int, **options):
    """A guided walk, the states that its reward saw, and what they scored."""
    seen = []

    def reward(x: Tagged) -> Tensor:
        seen.append(x)
        return torch.sin(3.0 * x.x).double()

    return guided_sample(TaggedWalk(), reward, 24, seeded(seed), strength=4.0, **options), seen


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("populations", [1, 4, 24])
@pytest.mark.parametrize(
    "select, branch",
    [(per_parent, 3), (smc(0.9), 1), (smc(0.9), 2), (nested(1.0), 5), (greedy, 3)],
)
@pytest.mark.parametrize("potential", [difference, maximum, total])
def test_everything_stays_with_its_particle(seed, populations, select, branch, potential):
    guided, seen = walk(
        seed, select=select, branch=branch, populations=populations, potential=potential
    )
    assert all(agree(x) for x in [*seen, guided.x])
    assert torch.equal(guided.ancestors, guided.x.condition.tag)
    assert torch.allclose(guided.scores, 4.0 * torch.sin(3.0 * guided.x.x).double())
    assert torch.equal(
        guided.ancestors // (24 // populations), torch.arange(24) // (24 // populations)
    )


def judge(seen):
    def reward(x: Tagged) -> Tensor:
        seen.append(x)
        return torch.sin(3.0 * x.x).double()

    return reward


SEARCHES = {
    "noise": lambda walk, r, rng: noise_search(walk, r, 12, rng, rounds=3),
    "paths": lambda walk, r, rng: path_search(
        walk, r, 12, rng, start=2, back=1, forward=2, branch=3, populations=4
    ),
    "rollover": lambda walk, r, rng: rollover(walk, r, 12, rng, quota=3),
    "halving": lambda walk, r, rng: successive_halving(
        walk, r, 24, rng, rungs=(2, 4), populations=4
    ),
    "refinement": lambda walk, r, rng: refine(
        walk, r, sample(walk, 12, rng), rng, rounds=3, back=2,
        improve=Improve(nested(1.0), 2, 3, 4.0),
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", SEARCHES)
@pytest.mark.parametrize("seed", range(3))
def test_everything_stays_with_its_particle_in_searches_too(name, seed):
    seen = []
    found = SEARCHES[name](TaggedWalk(), judge(seen), seeded(seed))
    assert all(agree(x) for x in [*seen, found.x])
    assert torch.allclose(found.scores, torch.sin(3.0 * found.x.x).double())
    if name in ("paths", "rollover", "halving"):  # others start anew under new names
        assert torch.equal(found.ancestors, found.x.condition.tag)


@pytest.mark.parametrize("select, branch", [(smc(0.9), 2), (Replacing(0.3), 2)])
def test_cascades_keep_what_belongs_to_a_particle(select, branch):
    seen = []
    walk = Cascade(WeighedWalk(), lambda x, k, rng: x.x, 3)
    guided = guided_sample(walk, judge(seen), 24, seeded(0), select=select, branch=branch)
    assert all(agree(x) for x in [*seen, guided.x])
    assert torch.equal(guided.ancestors, guided.x.condition.tag)


def test_candidates_stand_beside_their_parent():
    _, seen = walk(0, select=per_parent, branch=3)
    assert torch.equal(seen[0].condition.tag, torch.arange(24).repeat_interleave(3))


def test_tiled_masks_are_caught(monkeypatch):
    def tiled(pop, C):
        branched = pop[torch.arange(len(pop)).repeat_interleave(C)]
        return replace(branched, x=replace(branched.x, mask=pop.x.mask.repeat(C, 1)))

    monkeypatch.setattr(particles, "_branched", tiled)
    _, seen = walk(0, select=per_parent, branch=3)
    assert not agree(seen[0])


def test_one_candidate_each_leaves_the_rows_alone():
    guided, _ = walk(1, select=per_parent, branch=1)
    assert torch.equal(guided.ancestors, torch.arange(24))
