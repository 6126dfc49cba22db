"""Items with times of their own: who has which time, in which frame, and what the loss is."""

import pytest
import torch

from scidiff.core import normal, seeded
from scidiff.processes.continuous_blocks import (
    BlockwiseGaussian,
    Items,
    block_of,
    clean_guess,
    even_blocks,
    levels,
    one_time_a_block,
    own_frame,
    rising_times,
)
from scidiff.processes.gaussian import Component
from scidiff.processes.schedules import VE, VP, Linear

LINEAR = Component(Linear())


def rows(lengths=(6, 3), seed=1):
    L = max(lengths)
    mask = torch.arange(L) < torch.tensor(lengths)[:, None]
    x = normal((len(lengths), L, 3), seeded(seed)).double() * mask[..., None]
    return Items(x, mask.long(), mask)


def z_score(draws, expected):
    return float((draws.mean() - expected) / (draws.std() / len(draws) ** 0.5))


# ---------------------------------------------------------------- blocks and times


def test_blocks_are_even_and_the_last_may_be_smaller():
    assert even_blocks(7, 3) == (3, 3, 1) and even_blocks(6, 3) == (3, 3)
    assert block_of((3, 3, 1)).tolist() == [0, 0, 0, 1, 1, 1, 2]


@pytest.mark.parametrize("size", [0, 8, -1])
def test_a_block_size_outside_the_row_is_refused(size):
    with pytest.raises(ValueError, match=r"block_size must be in 1\.\.7"):
        even_blocks(7, size)


def test_a_block_has_one_time():
    t = one_time_a_block(4000, block_of((2, 1, 3)), seeded(0))
    assert torch.equal(t[:, 0], t[:, 1]) and torch.equal(t[:, 3], t[:, 5])
    assert abs(z_score(t[:, 2], 0.5)) < 4
    assert abs(z_score((t[:, 0] - 0.5) * (t[:, 3] - 0.5), 0.0)) < 4  # blocks are independent


def test_times_do_not_decrease_within_a_block():
    t = rising_times(500, block_of((4, 1, 3)), seeded(0))
    assert (t[:, :4].diff(dim=1) >= 0).all() and (t[:, 5:].diff(dim=1) >= 0).all()
    assert t.min() >= 0 and t.max() <= 1
    assert (t[:, 4] < t[:, 3]).any()  # but between blocks they may


def test_rising_times_have_their_law():
    # item f, any of n, is at t ~ U(0, 1); the j-th before it has mean t (j + 1) / (f + 1), the
    # j-th behind it t + (1 - t) j / (n - f)
    n, t = 4, rising_times(20_000, block_of((2, 4)), seeded(1))[:, 2:]
    for j in range(n):
        before = [0.5 * (j + 1) / (f + 1) for f in range(j + 1, n)]
        behind = [0.5 + 0.5 * (j - f) / (n - f) for f in range(j)]
        assert abs(z_score(t[:, j], (sum(before) + 0.5 + sum(behind)) / n)) < 4


def test_rising_times_of_single_items_are_uniform_and_apart():
    t = rising_times(20_000, block_of((1, 1)), seeded(2))
    assert abs(z_score(t[:, 0], 0.5)) < 4 and abs(z_score(t[:, 1].square(), 1 / 3)) < 4
    assert abs(z_score((t[:, 0] - 0.5) * (t[:, 1] - 0.5), 0.0)) < 4


# ---------------------------------------------------------------- frames


def turned(x, seed=5):
    q, _ = torch.linalg.qr(normal((3, 3), seeded(seed)).double())
    return x @ (q * torch.linalg.det(q).sign()).T + torch.tensor([1.0, -2.0, 3.0]).double()


def test_the_own_frame_forgets_place_and_turn_and_nothing_else():
    x = rows()
    found = own_frame(x.features, x.mask)
    assert torch.allclose(own_frame(turned(x.features), x.mask), found, atol=1e-10)
    assert torch.allclose(own_frame(found, x.mask), found, atol=1e-10)
    for row, n in enumerate(x.mask.sum(1)):
        a, b = x.features[row, :n], found[row, :n]
        assert torch.allclose(torch.cdist(a, a), torch.cdist(b, b), atol=1e-10)
        if n > 3:
            assert torch.linalg.det(a[1:4] - a[0]) * torch.linalg.det(b[1:4] - b[0]) > 0


def test_the_own_frame_stands_on_its_first_atoms():
    x = rows()
    found = own_frame(x.features, x.mask)
    assert not found[:, 0].any() and not found[~x.mask].any()
    assert found[:, 1, 1:].abs().max() < 1e-12 and (found[:, 1, 0] > 0).all()
    assert found[:, 2, 2].abs().max() < 1e-12 and (found[:, 2, 1] > 0).all()


def test_mirror_images_stay_apart():
    x = rows()
    mirrored = own_frame(-x.features, x.mask)
    assert not torch.allclose(mirrored, own_frame(x.features, x.mask), atol=0.1)


def test_a_line_takes_its_frame_from_the_first_atom_beside_it():
    x = torch.tensor([[[0.0, 0, 0], [0, 1, 0], [0, 2, 0], [0, 2.5, 1]]]).double()
    mask = torch.ones(1, 4, dtype=torch.bool)
    expected = torch.tensor([[[0.0, 0, 0], [1, 0, 0], [2, 0, 0], [2.5, 1, 0]]]).double()
    assert torch.allclose(own_frame(x, mask), expected, atol=1e-12)


@pytest.mark.parametrize("count", [1, 2, 3])
def test_linear_molecules_and_lone_atoms_have_a_frame(count):
    x = torch.tensor([[[0.0, 0, 1], [0, 0, 2.5], [0, 0, 4]]]).double()
    mask = torch.arange(3) < torch.tensor([[count]])
    found = own_frame(x, mask)[0, :count]
    assert torch.allclose(found[:, 0], x[0, :count, 2] - 1) and not found[:, 1:].any()


# ---------------------------------------------------------------- the loss


def perfect(component):
    """What a network would have to say, given away."""

    def say(x0, noisy, t, blocks):
        a, sigma = levels(component, t, noisy)
        total = a.square() + sigma.square()
        x = noisy * total.sqrt()
        return (x0.features * total - a * x) / (sigma * total.sqrt())

    return say


@pytest.mark.parametrize("schedule", [Linear(), VP(), VE()], ids=["Linear", "VP", "VE"])
def test_a_network_that_knows_the_end_has_no_loss(schedule):
    process = BlockwiseGaussian(Component(schedule), 2)
    assert process.loss(perfect(process.component), rows(), seeded(0)).max() < 1e-18


def test_the_loss_of_silence_is_the_spread_of_what_is_to_be_said():
    # F = (x0 sigma - alpha z) / sqrt(alpha^2 + sigma^2) has variance 1 for x0 and z of spread 1
    x0 = rows((8,) * 4000)
    silent = BlockwiseGaussian(LINEAR, 3).loss(lambda x0, noisy, t, b: 0 * noisy, x0, seeded(0))
    assert abs(z_score(silent, 1.0)) < 4


def test_what_is_asked_has_spread_one_and_blocks_of_the_size():
    seen = {}

    def look(x0, noisy, t, blocks):
        seen.update(noisy=noisy, t=t, blocks=blocks)
        return 0 * noisy

    BlockwiseGaussian(Component(VE()), 3).loss(look, rows((7,) * 3000), seeded(0))
    assert abs(z_score(seen["noisy"].square().mean((1, 2)), 1.0)) < 4
    assert seen["blocks"].tolist() == [0, 0, 0, 1, 1, 1, 2]
    assert torch.equal(seen["t"][:, 0], seen["t"][:, 2]) and seen["t"].min() >= 1e-4
    BlockwiseGaussian(LINEAR, 3, times="rising").loss(look, rows((7,) * 9), seeded(0))
    assert (seen["t"][:, :3].diff(dim=1) > 0).all()
    BlockwiseGaussian(LINEAR, 99).loss(look, rows(), seeded(0))
    assert not seen["blocks"].any()


def test_absent_items_do_not_count():
    x0 = rows((4, 4))
    short = Items(x0.features, x0.tokens, x0.mask & (torch.arange(4) < 2))
    said = BlockwiseGaussian(LINEAR, 4).loss(lambda x0, n, t, b: 0 * n, short, seeded(0))

    def wild(x0, noisy, t, blocks):
        return torch.where(x0.mask[..., None], 0.0, 1e3)

    assert torch.equal(BlockwiseGaussian(LINEAR, 4).loss(wild, short, seeded(0)), said)


def test_noise_leaves_absent_items_alone_and_takes_a_time_an_item():
    x0, t = rows(), torch.linspace(0, 0.9, 6).double()[None].expand(2, -1)
    x = BlockwiseGaussian(LINEAR, 2).noise(x0, t, seeded(0))
    assert not x.features[~x0.mask].any() and torch.equal(x.features[:, 0], x0.features[:, 0])
    z = LINEAR.noise(x0.features, x0.mask, seeded(0))
    assert torch.allclose(x.features, (1 - t[..., None]) * x0.features + t[..., None] * z)


def test_the_guess_of_silence_is_the_best_linear_one():
    x = torch.tensor([[[2.0]]])
    found = clean_guess(0 * x, x, torch.tensor(0.6), torch.tensor(0.8))
    assert torch.allclose(found, torch.tensor(1.2))  # alpha x / (alpha^2 + sigma^2)


def test_unknown_times_and_wrong_shapes_are_refused():
    with pytest.raises(ValueError, match="times must be one of block, rising"):
        BlockwiseGaussian(LINEAR, 2, times="sorted")
    with pytest.raises(ValueError, match=r"mask must be \(2, 6\)"):
        Items(torch.zeros(2, 6, 3), torch.zeros(2, 6).long(), torch.ones(2, 5).bool())
