"""Rows that are written from left to right and renoised: what is hidden again is what was written
last."""

import pytest
import torch
from token_laws import MASK, Flat, chi2_z, path

from scidiff.core import seeded
from scidiff.data.tokens import TokenState
from scidiff.guidance.particles import sample
from scidiff.guidance.refine import Restarted
from scidiff.samplers.masked import FixedCanvas, LengthLaw, MaskedSampler, Sequential
from scidiff.testing import chain_table

OPTIONS = [
    {},
    {"tokens_per_step": 3},
    {"block_size": 3},
    {"block_size": 3, "tokens_per_step": 2},
    {"block_size": 1},
]


@pytest.mark.parametrize("options", OPTIONS)
@pytest.mark.parametrize(
    "canvas", [FixedCanvas.blank(7, MASK), FixedCanvas(torch.tensor([[3, MASK, MASK, 2]]), MASK)]
)
def test_a_chain_from_left_to_right_goes_back_the_way_it_came(options, canvas):
    sampler = MaskedSampler(Flat(0.2), canvas, order=Sequential(), **options)
    states = path(sampler, 200)
    for k, x in enumerate(states):
        assert torch.equal(sampler.renoise(states[-1], k, seeded(9)).ids, x.ids)


def test_rows_of_different_lengths_keep_as_many_tokens_as_they_are_told():
    canvas = LengthLaw([0, 0, 0, 1, 1, 1], MASK)
    sampler = MaskedSampler(Flat(0.3), canvas, order=Sequential())
    clean = sample(sampler, 60, seeded(0))
    k = torch.arange(60) % 7
    hidden = sampler.renoise(clean, k, seeded(1)).ids == MASK
    behind = torch.arange(clean.ids.shape[1]) >= k[:, None]
    assert torch.equal(hidden, behind & canvas.free(clean.ids))


@pytest.mark.parametrize("first", [1, 2, 3])
def test_regrown_ends_keep_the_law(first):
    """Exact for exact conditionals: x ~ p, its last positions drawn again given the first ones."""
    table, n = chain_table(), 40_000
    rows = torch.multinomial(table.p, n, True, generator=seeded(0))
    sampler = MaskedSampler(table.denoiser(), FixedCanvas.blank(table.length, table.mask_id),
                            order=Sequential())
    x = sample(Restarted(sampler, TokenState(table.seqs[rows]), first), n, seeded(1))
    assert torch.equal(x.ids[:, :first], table.seqs[rows][:, :first])
    assert abs(chi2_z(table, x.ids, table.p)) < 4
