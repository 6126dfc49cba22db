"""One contract, every sampler. A new sampler is one line in SAMPLERS."""

import sys
from dataclasses import replace

import point_targets
import pytest
import tiny_pard
import torch
from flow_targets import FlowOracle
from gaussian_targets import tiny_graph_denoiser
from joint_gaussian import block_sampler

from scidiff.core import Denoiser, Sampler, seeded
from scidiff.data.graphs import GraphCanvas, NodeCounts
from scidiff.data.tokens import TokenState
from scidiff.guidance.cascade import Cascade
from scidiff.guidance.refine import Restarted
from scidiff.guidance.twisted import Twisted
from scidiff.networks.approximate_cache import ApproximateDenoiser, Refresh
from scidiff.networks.token_denoiser import TokenDenoiser
from scidiff.networks.token_transformer import TokenTransformer, TokenTransformerConfig
from scidiff.processes.discrete_flow import TokenNoise
from scidiff.samplers import masked
from scidiff.samplers.block_sizes import EntropySizes
from scidiff.samplers.classifier import ClassifierGuided, ExactChange
from scidiff.samplers.compose import ClassifierFree
from scidiff.samplers.constraints import Count, draw_within
from scidiff.samplers.corrector import PredictorCorrector
from scidiff.samplers.discrete_flow import DiscreteFlowSampler, FlowRate, Posterior
from scidiff.samplers.energy import EnergySampler
from scidiff.samplers.feynman_kac import FeynmanKac
from scidiff.samplers.gaussian import GaussianSampler
from scidiff.samplers.graph_blocks import GraphBlockDenoiser, GraphBlockSampler
from scidiff.samplers.guided_flow import GuidedFlow
from scidiff.samplers.guided_unmasking import GuidedUnmasking
from scidiff.samplers.masked import (
    AncestralSampler,
    Confidence,
    FixedCanvas,
    LengthLaw,
    MaskedSampler,
    Sequential,
)
from scidiff.samplers.minority import rare
from scidiff.samplers.orders import NEVER, Entropy, Margin, Noisy, Planner, race
from scidiff.samplers.paces import EntropyBounded, Scheduled, Threshold
from scidiff.samplers.path_planning import FullRowPlanner, PathSampler
from scidiff.samplers.remasking import Capped, Corrector, LeastSure, Loop, Rescaled
from scidiff.samplers.strided import StridedSampler
from scidiff.samplers.superposition import Superposition
from scidiff.samplers.tempered import Product
from scidiff.samplers.token_products import TokenProduct
from scidiff.testing import chain_table, check_full_graph, check_sampler

TABLE = chain_table()
BLANK = FixedCanvas.blank(4, TABLE.mask_id)
LENGTHS = LengthLaw([0, 1, 2, 3], TABLE.mask_id, length=4)
SOME_TWOS = Count([2], TABLE.vocab_size, least=1, most=2)


GRAPHS = GraphCanvas(NodeCounts(torch.tensor([0.0, 1, 0, 1, 1])), 3)  # 1, 3 or 4 nodes


def graphs(**options) -> GaussianSampler:
    return GaussianSampler(tiny_graph_denoiser(), GRAPHS, steps=3, **options)


def molecules(**options) -> GaussianSampler:
    return GaussianSampler(point_targets.tiny_guess(), point_targets.SIZES, steps=3, **options)


class Flat:
    """A network that says the same everywhere, for canvases that the table does not know."""

    mask_id, vocab_size, block_size, rows = 7, 8, None, 0

    def __call__(self, x: TokenState, k):
        return torch.ones(*x.ids.shape, 3)

    def log_probs(self, trunk):
        logits = torch.arange(8.0).expand(*trunk.shape[:-1], 8).clone()
        logits[..., 7] = float("-inf")
        return logits.log_softmax(-1)


def remasking(rule) -> AncestralSampler:
    return AncestralSampler(TABLE.denoiser(), BLANK, steps=6, remask=rule)


def first_hitting() -> MaskedSampler:
    return MaskedSampler(TABLE.denoiser(), BLANK)


class Backwards:
    """A guide that finds large tokens unlikely."""

    rows = 0

    def laws(self, ids, positions, live):
        told = -torch.arange(TABLE.vocab_size * 1.0).expand(*positions.shape, -1).clone()
        told[..., TABLE.mask_id] = NEVER
        return told.log_softmax(-1)


def guided_unmasking(rule, **options) -> GuidedUnmasking:
    inner = MaskedSampler(TABLE.denoiser(), BLANK, order=Sequential(), **options)
    return GuidedUnmasking(inner, Backwards(), ahead=3, rule=rule)


class Sine:
    """A classifier that has nothing to do with the law."""

    def log_prob(self, ids):
        return ids.sum(1).sin()


NOISE = TokenNoise(torch.tensor([[0, 0, 0.5, 0.2, 0.3, 0]]), torch.zeros(4, dtype=torch.int64))


def flow(denoiser=None, **options) -> DiscreteFlowSampler:
    denoiser = denoiser or FlowOracle(TABLE, NOISE)
    return DiscreteFlowSampler(denoiser, BLANK, NOISE, steps=4, **options)


def guided_flow(**options) -> GuidedFlow:
    told, plain = FlowOracle(chain_table(), NOISE), FlowOracle(TABLE, NOISE)
    return GuidedFlow(flow(ClassifierFree(told, plain, 2.0), **options))


def network(block_size=None, **how) -> TokenDenoiser:
    torch.manual_seed(0)
    net = TokenTransformer(TokenTransformerConfig(8, 12, 16, 1, 2))
    return TokenDenoiser(net, block_size, compact=False, **how)


def pard(causal=True, **options) -> GraphBlockSampler:
    rows = LengthLaw([0, 1, 0, 1, 0, 0, 1], tiny_pard.VOCABULARY.mask_id, tiny_pard.LENGTH)
    usual = {"steps": 2, "hops": 2, "blocks": 3, "bonded": tiny_pard.BONDED}
    denoiser = GraphBlockDenoiser(tiny_pard.network(causal))
    return GraphBlockSampler(denoiser, rows, tiny_pard.noise(), **{**usual, **options})


SAMPLERS = {
    "graphs in blocks": pard,
    "graphs in blocks, walks": lambda: pard(causal=False, kernel=Posterior()),
    "graphs in blocks, of 5 nodes": lambda: pard(nodes=5),
    "graphs in one block": lambda: pard(hops=0, blocks=1),
    "graphs": lambda: graphs(solver="exp1"),
    "items in blocks": block_sampler,
    "items in blocks, one after another": lambda: block_sampler((2, 2), lag=2, eta=1.0),
    "graphs without noise": lambda: graphs(solver="2m", eta=0.0),
    "graphs, corrected": lambda: PredictorCorrector(
        graphs(solver="reverse"), snr=0.2, scale_eps=1
    ),
    "graphs, a product": lambda: FeynmanKac(
        Product([tiny_graph_denoiser()] * 2, [1.0, 0.5]), GRAPHS, steps=4, spread=(1.0, 0.5)
    ),
    "graphs, superposed": lambda: Superposition([tiny_graph_denoiser()] * 2, GRAPHS, steps=4),
    "molecules in space": lambda: molecules(),
    "molecules in space, without noise": lambda: molecules(solver="2m", eta=0.0),
    "token product": lambda: MaskedSampler(
        TokenProduct([TABLE.denoiser()] * 2, [1.0, 0.5]), BLANK
    ),
    "rare tokens": lambda: MaskedSampler(rare(TABLE.denoiser(), 0.3), BLANK),
    "cascade": lambda: Cascade(first_hitting(), lambda x, k, rng: x.ids.sum(1).sin(), 3),
    "graphs, a cascade": lambda: Cascade(
        graphs(solver="exp1"), lambda x, k, rng: x.A.sum((1, 2)).sin(), 3
    ),
    "restarted": lambda: Restarted(first_hitting(), TokenState(TABLE.seqs[[5]]), 1),
    "twisted": lambda: Twisted(
        MaskedSampler(
            ClassifierGuided(TABLE.denoiser(), ExactChange(Sine(), compact=False)), BLANK
        )
    ),
    "first hitting": lambda: MaskedSampler(TABLE.denoiser(), BLANK),
    "two tokens a step": lambda: MaskedSampler(TABLE.denoiser(), BLANK, tokens_per_step=2),
    "strided": lambda: StridedSampler(MaskedSampler(TABLE.denoiser(), BLANK), 3),
    "sequential": lambda: MaskedSampler(TABLE.denoiser(), BLANK, order=Sequential()),
    "margin": lambda: MaskedSampler(TABLE.denoiser(), BLANK, order=Margin()),
    "entropy, nucleus": lambda: MaskedSampler(
        TABLE.denoiser(), BLANK, order=Entropy(), top_p=0.8, block_size=2
    ),
    "noisy": lambda: MaskedSampler(TABLE.denoiser(), BLANK, order=Noisy(Confidence(), 2.0)),
    "planned": lambda: MaskedSampler(
        TABLE.denoiser(), BLANK, order=Planner(lambda x: (x.ids * 7 % 5).double())
    ),
    "scheduled": lambda: MaskedSampler(
        Flat(), LengthLaw([0, 1, 2, 3, 2, 1], 7), tokens_per_step=Scheduled(2)
    ),
    "parts by entropy": lambda: MaskedSampler(
        TABLE.denoiser(), BLANK, sizes=EntropySizes(0.5, (1, 2)), tokens_per_step=2
    ),
    "kept blocks": lambda: MaskedSampler(
        network(2, prefix_cache=True), FixedCanvas.blank(6, 7), block_size=2
    ),
    "kept tokens": lambda: MaskedSampler(
        ApproximateDenoiser(network(), Refresh(delayed=True)), LengthLaw([0, 1, 2, 3], 7)
    ),
    "scheduled blocks": lambda: MaskedSampler(
        Flat(), FixedCanvas.blank(7, 7), tokens_per_step=Scheduled(2, "linear"), block_size=3
    ),
    "threshold": lambda: MaskedSampler(
        TABLE.denoiser(), BLANK, tokens_per_step=Threshold(0.6), order=Confidence()
    ),
    "entropy bounded": lambda: MaskedSampler(
        TABLE.denoiser(), BLANK, tokens_per_step=EntropyBounded(0.5), order=Entropy()
    ),
    "second order": lambda: MaskedSampler(
        TABLE.denoiser(), BLANK, tokens_per_step=2, second_order=True
    ),
    "remdm-cap": lambda: remasking(Capped(0.3)),
    "remdm-rescale": lambda: remasking(Rescaled(0.5)),
    "remdm-conf": lambda: remasking(LeastSure()),
    "remdm-loop": lambda: remasking(Loop(0.1)),
    "corrector": lambda: remasking(Corrector()),
    "ancestral, any schedule": lambda: AncestralSampler(
        TABLE.denoiser(), BLANK, steps=6, alpha=lambda t: (torch.pi * t / 2).cos()
    ),
    "remdm-cap, any schedule": lambda: AncestralSampler(
        TABLE.denoiser(), BLANK, steps=6, remask=Capped(0.3), alpha=lambda t: 1 - t**2, top_p=0.9
    ),
    "path planning": lambda: PathSampler(TABLE.denoiser(), BLANK, steps=3),
    "path planning, another judge": lambda: PathSampler(
        TABLE.denoiser(), BLANK, steps=3, planner=FullRowPlanner(TABLE.denoiser()), eta=0.5
    ),
    "path planning, lengths": lambda: PathSampler(
        Flat(), LengthLaw([0, 1, 2, 3], 7), steps=3, curve="cosine", eta=0.0, temperature=0.5
    ),
    "confident": lambda: MaskedSampler(TABLE.denoiser(), BLANK, order=Confidence()),
    "blocks of 2": lambda: MaskedSampler(TABLE.denoiser(), BLANK, block_size=2),
    "left to right": lambda: MaskedSampler(TABLE.denoiser(), BLANK, block_size=1, temperature=0.7),
    "deterministic": lambda: MaskedSampler(
        TABLE.denoiser(), BLANK, order=Confidence(), temperature=0
    ),
    "lengths": lambda: MaskedSampler(Flat(), LengthLaw([0, 1, 2, 3], 7)),
    "generated ends": lambda: MaskedSampler(
        Flat(), FixedCanvas.blank(7, 7), block_size=3, tokens_per_step=2
    ),
    "constrained": lambda: MaskedSampler(
        TABLE.denoiser(), BLANK, tokens_per_step=2, constraints=[SOME_TWOS]
    ),
    "bent": lambda: MaskedSampler(
        ClassifierFree(TABLE.denoiser(), TABLE.denoiser(), 2.0), BLANK, block_size=2
    ),
    "by energy": lambda: EnergySampler(
        MaskedSampler(TABLE.denoiser(), BLANK, tokens_per_step=2),
        lambda x, clean, drawn: drawn + clean[..., 0],
        candidates=3,
    ),
    "as a guide agrees": lambda: guided_unmasking("agree", block_size=2),
    "the law of a guide": lambda: guided_unmasking("exact"),
    "flow": lambda: flow(kernel=FlowRate(eta=2.0, omega=0.3)),
    "guided flow": lambda: guided_flow(kernel=Posterior()),
    "guided flow, its rates": lambda: guided_flow(kernel=FlowRate(eta=1.0)),
    "ancestral flow": lambda: flow(kernel=Posterior(), distortion="polydec"),
    "ancestral": lambda: AncestralSampler(TABLE.denoiser(), BLANK, steps=6),
    "transformer": lambda: MaskedSampler(network(), FixedCanvas.blank(6, 7), tokens_per_step=2),
    "block transformer": lambda: MaskedSampler(network(3), FixedCanvas.blank(6, 7), block_size=3),
}


@pytest.fixture(autouse=True)
def no_gradients():
    with torch.no_grad():
        yield


@pytest.fixture(params=SAMPLERS)
def sampler(request):
    return SAMPLERS[request.param]()


def test_sampler_contract(sampler):
    assert isinstance(sampler, Sampler)
    check_sampler(sampler)


ASKED_ON_THE_WAY = ("cascade", "graphs, a cascade")  # their scores are checked by the host
# which rows have ended, and how far the others are, is read so that they cost no network rows
READ_BY_THE_HOST = (
    "kept blocks", "kept tokens", *(name for name in SAMPLERS if name.startswith("graphs in "))
)  # fmt: skip


@pytest.mark.parametrize(
    "name", [n for n in SAMPLERS if n not in (*ASKED_ON_THE_WAY, *READ_BY_THE_HOST)]
)
def test_a_step_is_one_graph_without_a_host_synchronisation(name):
    check_full_graph(SAMPLERS[name]())


def test_tokens_are_raced_for_in_float32_or_wider(sampler, monkeypatch):
    raced = []

    def spy(drawing, at):
        def spied(*args):
            raced.append(args[at])
            return drawing(*args)

        return spied

    for name, module in list(sys.modules.items()):
        if name.startswith("scidiff.samplers.") and hasattr(module, "race"):
            monkeypatch.setattr(module, "race", spy(race, at=0))
    monkeypatch.setattr(masked, "draw_within", spy(draw_within, at=1))
    x = sampler.init(4, seeded(0))
    for k in range(sampler.num_steps):
        x = sampler.step(x, k, seeded(1, k))
    wide = (torch.float32, torch.float64)
    assert all(law.dtype in wide for law in raced)
    if isinstance(x, TokenState) and sampler.stochastic:
        assert raced
        vocabulary = sampler.denoiser.vocab_size
        laws = [law for law in raced if law.shape[-1] == vocabulary]
        # whether a position is written is not decided among its tokens, where it would lower
        # their temperature: MASK takes part in no race
        assert laws and all((law[..., sampler.denoiser.mask_id] == NEVER).all() for law in laws)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("name", ["lengths", "generated ends", "transformer", "block transformer"])
def test_sampler_contract_on_cuda(name):
    sampler = SAMPLERS[name]()
    if hasattr(sampler.denoiser, "network"):
        sampler.denoiser.network.cuda()
    check_sampler(sampler, device="cuda")
    check_full_graph(sampler, device="cuda")


def breaks(change):
    """A masked sampler with one method replaced."""
    sampler = SAMPLERS["first hitting"]()
    change(sampler)
    return sampler


def test_the_contract_catches_rows_that_lean_on_each_other():
    def roll(s):
        step = s.step
        s.step = lambda x, k, rng: step(x[torch.arange(len(x)).roll(1)], k, rng)

    with pytest.raises(AssertionError, match="own state and noise"):
        check_sampler(breaks(roll))


def test_the_contract_catches_a_guess_drawn_at_the_end():
    def guess(s):
        old = s.predict_clean
        s.predict_clean = lambda x, k, rng: (
            old(x, k, rng) if k < s.num_steps else x[torch.arange(len(x))]
        )

    with pytest.raises(AssertionError, match="must return x"):
        check_sampler(breaks(guess))


def test_the_contract_catches_a_liar_about_noise():
    with pytest.raises(AssertionError, match="draws noise"):
        check_sampler(breaks(lambda s: setattr(s, "stochastic", False)))


LOOKS = {
    "item": lambda ids: ids.sum().item(),
    "int": lambda ids: int(ids[0, 0]),
    "nonzero": lambda ids: ids.nonzero().sum(),
    "boolean index": lambda ids: ids[ids > 2].sum(),
    "bool": lambda ids: bool((ids > 2).any()),
    "tolist": lambda ids: sum(ids[0].tolist()),
}


@pytest.mark.parametrize("look", LOOKS)
def test_the_contract_catches_a_host_synchronisation(look):
    def peek(s):
        step = s.step

        def peeking(x, k, rng):
            after = step(x, k, rng)
            return replace(after, ids=after.ids + 0 * LOOKS[look](x.ids))

        s.step = peeking

    with pytest.raises(Exception, match="host waits|data-dependent|Data-dependent"):
        check_full_graph(breaks(peek))


def test_a_denoiser_is_called_with_a_state_and_a_step():
    denoiser: Denoiser = TABLE.denoiser()
    x = TokenState(BLANK(3, torch.Generator()))
    assert denoiser(x, 0).shape == (3, 4, TABLE.vocab_size) and denoiser.rows == 3
