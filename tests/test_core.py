"""States, shared leaves and randomness."""

from dataclasses import dataclass

import pytest
import torch
from torch import Tensor

from scidiff.core import Shared, Stacked, Tape, normal, seeded, torch_seeded, uniform


@dataclass(frozen=True)
class Part(Stacked):
    a: Tensor


@dataclass(frozen=True)
class Whole(Stacked):
    nothing: Tensor | None
    x: Tensor
    shared: Shared
    part: Part
    pair: tuple[Tensor, Part]


def whole(n: int, start: int = 0) -> Whole:
    t = torch.arange(start, start + n)
    table = Shared(t[:, None].repeat(1, 2).float())
    return Whole(None, t, table, Part(t), (t, Part(-t)))


def rows(w: Whole) -> list[list[int]]:
    return [
        w.x.tolist(),
        w.shared.dense()[:, 1].long().tolist(),
        w.part.a.tolist(),
        w.pair[0].tolist(),
        (-w.pair[1].a).tolist(),
    ]


def test_indexing_moves_every_leaf_together():
    w = whole(5)
    taken = w[torch.tensor([4, 4, 0])]
    assert len(w) == 5 and len(taken) == 3 and taken.nothing is None
    assert rows(taken) == [[4, 4, 0]] * 5


def test_cat_keeps_the_order_of_rows():
    parts = [whole(3)[torch.tensor([2, 0])], whole(2, 10), whole(4, 20)[torch.tensor([3])]]
    assert rows(Whole.cat(parts)) == [[2, 0, 10, 11, 23]] * 5
    assert Whole.cat(parts).nothing is None


def test_a_state_moves_to_a_device_with_everything():
    moved = whole(3).to("meta")
    assert all(
        t.device.type == "meta"
        for t in (moved.x, moved.shared.values, moved.shared.rows, moved.pair[1].a)
    )


def test_shared_rows_share_their_table():
    table = Shared(torch.arange(12.0).view(3, 4))
    children = table[torch.tensor([1, 1, 2, 1])]
    assert children.values is table.values
    assert torch.equal(children.dense()[0], table.values[1])
    assert children.gather(torch.tensor([[0, 3], [3, 0], [1, 1], [2, 2]])).tolist() == [
        [4, 7],
        [7, 4],
        [9, 9],
        [6, 6],
    ]


def test_draws_depend_on_seed_and_chunk_alone():
    assert torch.equal(uniform((3,), seeded(1, 2)), uniform((3,), seeded(1, 2)))
    streams = [normal((4,), seeded(s, c)) for s in range(3) for c in range(3)]
    assert len({tuple(s.tolist()) for s in streams}) == 9


def test_a_tape_replays_what_it_recorded():
    tape = Tape(seeded(0))
    first = [uniform((4, 2), tape), normal((4,), tape)]
    tape.rewind()
    assert torch.equal(uniform((4, 2), tape), first[0]) and torch.equal(
        normal((4,), tape), first[1]
    )
    more = uniform((4,), tape)  # past the end it goes on recording
    assert torch.equal(tape.draws[2][1], more)


def test_a_tape_cut_to_rows_replays_what_they_saw():
    tape = Tape(seeded(0))
    seen = uniform((5, 3), tape)
    keep = torch.tensor([3, 1, 1])
    assert torch.equal(uniform((3, 3), tape[keep]), seen[keep])


def test_redrawing_changes_the_stated_fraction():
    tape = Tape(seeded(0))
    old = normal((10_000,), tape)
    new = normal((10_000,), tape.redraw(0.3, seeded(1)))
    assert abs(float((new != old).double().mean()) - 0.3) < 0.02
    assert torch.equal(normal((10_000,), tape.redraw(0.0, seeded(2))), old)
    assert torch.equal(tape.draws[0][1], old)


@pytest.mark.parametrize("fraction", [-0.1, 1.1])
def test_an_impossible_fraction_is_refused(fraction):
    with pytest.raises(ValueError, match=r"fraction must be in \[0, 1\]"):
        Tape(seeded(0)).redraw(fraction, seeded(1))


@pytest.mark.parametrize("draw, shape", [(normal, (4, 2)), (uniform, (4, 3))])
def test_a_tape_refuses_another_question_than_it_recorded(draw, shape):
    tape = Tape(seeded(0))
    uniform((4, 2), tape)
    with pytest.raises(ValueError, match="tape entry 0 is uniform"):
        draw(shape, tape.rewind())


def test_the_generator_of_torch_is_lent_and_given_back():
    before = torch.get_rng_state()
    with torch_seeded(3):
        first = torch.rand(4)
    with torch_seeded(3):
        again = torch.rand(4)
    with torch_seeded(4):
        other = torch.rand(4)
    assert torch.equal(first, again) and not torch.equal(first, other)
    assert torch.equal(torch.get_rng_state(), before)
