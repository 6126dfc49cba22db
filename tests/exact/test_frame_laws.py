"""Rows between given parts: what a frame accepts, and the law of a sampler within it, against
enumeration."""

import itertools
import math

import pytest
import torch

from scidiff.core import seeded
from scidiff.data.tokens import EOS, PAD, Vocabulary
from scidiff.samplers.canvas import FixedCanvas
from scidiff.samplers.frames import Ends, FramedSampler, frame, least_length
from scidiff.samplers.masked import MaskedSampler

VOCABULARY = Vocabulary(("%10", "%11", "%12", ".", "C"), "smiles")
V = len(VOCABULARY)
MASK, SYMBOLS = V - 1, VOCABULARY.symbols
BEFORE, BEHIND, REST = "C%10.", ".C%11", 5
ENDS = Ends(("%10",), ("%11",), ("%12",))


def is_tree(pieces: list[list[str]]) -> bool:
    """Every label twice, in two pieces; every piece but the first has one label from before."""
    labels = [[t for t in piece if t != "C"] for piece in pieces]
    flat = [t for piece in labels for t in piece]
    if any(flat.count(t) != 2 for t in flat) or any(len(set(p)) < len(p) for p in labels):
        return False
    before = set(labels[0])
    for piece in labels[1:]:
        if len(before.intersection(piece)) != 1:
            return False
        before.update(piece)
    return True


def is_written_well(piece: list[str]) -> bool:
    """Labels stand on atoms, two in a row at most, three where the piece is one atom."""
    runs = [len(list(run)) for label, run in itertools.groupby(piece, lambda t: t != "C") if label]
    most = 3 if piece.count("C") == 1 else 2
    return piece[:1] == ["C"] and max(runs, default=0) <= most


def fine(rest: list[str], before: str = BEFORE, behind: str = BEHIND) -> bool:
    split, pieces = VOCABULARY.split, [[]]
    for token in [*split(before), *rest, *split(behind)]:
        if token == ".":
            pieces.append([])
        else:
            pieces[-1].append(token)
    return is_tree(pieces) and all(map(is_written_well, pieces))


def all_rests(length: int = REST) -> list[list[str]]:
    return [list(rest) for rest in itertools.product(SYMBOLS, repeat=length)]


class Constant:
    """The same law at every position, whatever is written."""

    def __init__(self, length: int) -> None:
        logits = torch.randn(length, V, generator=seeded(3))
        logits[:, [PAD, EOS, MASK]] = float("-inf")
        self.max_length, self.mask_id, self.log_p = length, MASK, logits.log_softmax(-1)
        self.config = None

    def bidirectional(self, ids: torch.Tensor) -> torch.Tensor:
        return self.log_p.expand(len(ids), -1, -1)

    def log_probs(self, trunk: torch.Tensor) -> torch.Tensor:
        return trunk


class Told:
    """A denoiser of it."""

    mask_id, vocab_size, block_size, rows = MASK, V, None, 0
    micro_batch = None

    def __init__(self, network: Constant) -> None:
        self.network = network

    def __call__(self, x, k):
        return self.network.bidirectional(x.ids)

    def log_probs(self, trunk):
        return trunk


def framed(**settings) -> tuple[FramedSampler, torch.Tensor]:
    """The sampler of before + 5 hidden + behind, and the law (L, V)."""
    before, behind = VOCABULARY.encode(BEFORE), VOCABULARY.encode(BEHIND)
    ids = torch.tensor([[*before, *[MASK] * REST, *behind, EOS, PAD]])
    network = Constant(ids.shape[1])
    inner = MaskedSampler(Told(network), FixedCanvas(ids, MASK), **settings)
    automaton = frame(VOCABULARY, ENDS)
    return FramedSampler(inner, automaton, len(before), len(behind), REST + 1), network.log_p


def exact(log_p: torch.Tensor) -> dict[str, float]:
    """log weight of every accepted rest."""
    at = len(VOCABULARY.split(BEFORE))
    return {
        "".join(rest): sum(float(log_p[at + i, VOCABULARY.encode(t)[0]])
                           for i, t in enumerate(rest))
        for rest in all_rests() if fine(rest)
    }  # fmt: skip


@pytest.mark.parametrize(("ends", "before", "behind"), [
    (ENDS, BEFORE, BEHIND), (Ends(("%10", "%11"), (), ("%12",)), "C%10C%11.", ""),
    (Ends((), (), ("%10", "%11")), "", "")])  # fmt: skip
def test_a_frame_accepts_what_makes_one_molecule(ends, before, behind):
    automaton, agreed = frame(VOCABULARY, ends), 0
    for length in range(1, 7):
        rests = all_rests(length)
        ids = torch.tensor([[*VOCABULARY.encode("".join(r)), EOS] for r in rests])
        told = automaton.accepts(ids).tolist()
        expected = [fine(rest, before, behind) and in_order(rest, ends) for rest in rests]
        assert told == expected
        agreed += sum(told)
    assert agreed > 5


def in_order(rest: list[str], ends: Ends) -> bool:
    """Own labels are opened in order, and there are no others."""
    labels = dict.fromkeys(t for t in rest if t.startswith("%"))
    own = [t for t in labels if t not in (*ends.close, *ends.open)]
    return own == list(ends.own[: len(own)])


def test_one_atom_has_room_for_three_labels():
    automaton = frame(VOCABULARY, ENDS)
    for rest, told in (("C%10%11%12.C%12", True), ("CC%10%11%12.C%12", False)):
        ids = torch.tensor([[*VOCABULARY.encode(rest), EOS]])
        assert automaton.accepts(ids).item() is told


def test_the_shortest_rest():
    assert least_length(frame(VOCABULARY, ENDS), 20) == 3  # C%10%11
    assert least_length(frame(VOCABULARY, ENDS), 2) is None


@pytest.mark.parametrize("settings", [{}, {"tokens_per_step": 2}])
def test_rows_follow_the_law_given_acceptance(settings):
    """The network says the same everywhere, so any order draws from the product of its marginals
    given acceptance; and the log ratios of a row's steps sum to log Z."""
    sampler, log_p = framed(**settings)
    weights = exact(log_p)
    log_z = math.log(sum(map(math.exp, weights.values())))
    n, total = 4000, 0.0
    x, rng = sampler.init(n, seeded(0)), seeded(1)
    for k in range(sampler.num_steps):
        x = sampler.step(x, k, rng)
        total = total + x.log_ratio
    assert torch.allclose(total, torch.full((n,), log_z).double(), atol=1e-5)
    at = len(VOCABULARY.split(BEFORE))
    rests = [VOCABULARY.decode(row[at : at + REST]) for row in x.ids.tolist()]
    for rest, log_w in weights.items():
        p = math.exp(log_w - log_z)
        z = (rests.count(rest) / n - p) / math.sqrt(p * (1 - p) / n)
        assert abs(z) < 4, rest
    assert set(rests) <= set(weights)


def test_guesses_are_accepted_and_follow_the_law():
    sampler, log_p = framed()
    weights = exact(log_p)
    log_z = math.log(sum(map(math.exp, weights.values())))
    n, at = 4000, len(VOCABULARY.split(BEFORE))
    guess = sampler.predict_clean(sampler.init(n, seeded(0)), 0, seeded(2))
    rests = [VOCABULARY.decode(row[at : at + REST]) for row in guess.ids.tolist()]
    likely = max(weights, key=weights.__getitem__)
    p = math.exp(weights[likely] - log_z)
    assert set(rests) <= set(weights)
    assert abs(rests.count(likely) / n - p) < 4 * math.sqrt(p * (1 - p) / n)


def test_at_temperature_0_the_best_row_is_written():
    sampler, log_p = framed(temperature=0.0)
    weights = exact(log_p)
    x = sampler.init(1, seeded(0))
    for k in range(sampler.num_steps):
        x = sampler.step(x, k, seeded(k))
    at = len(VOCABULARY.split(BEFORE))
    assert VOCABULARY.decode(x.ids[0, at : at + REST].tolist()) == max(
        weights, key=weights.__getitem__
    )
