"""Tokens drawn together and taken as a left-to-right guide says: exact by the speculative rule, by
agreement between one and all tokens a step."""

import math

import pytest
import torch
from token_laws import FLAT, PEAKED, chi2_z, distance, exact_law, masked, propagated

from scidiff.core import Shared, seeded
from scidiff.data.tokens import EOS, PAD, TokenState
from scidiff.guidance.particles import guided_sample, sample
from scidiff.guidance.selection import keep_all
from scidiff.networks.energy import LeftToRight
from scidiff.networks.token_denoiser import TokenDenoiser
from scidiff.networks.token_transformer import TokenTransformer, TokenTransformerConfig
from scidiff.samplers.canvas import FixedCanvas
from scidiff.samplers.constraints import Count
from scidiff.samplers.guided_unmasking import GuidedUnmasking, acceptance, agrees, residual
from scidiff.samplers.masked import MaskedSampler
from scidiff.samplers.orders import Sequential
from scidiff.testing import Table, check_full_graph, check_sampler

L = 4


class TableGuide:
    """A guide that knows the conditionals of a table from left to right."""

    def __init__(self, table):
        self.table, self.rows = table, 0

    def laws(self, ids, positions, live):
        self.rows += len(ids)
        column, told = torch.arange(ids.shape[1]), []
        for i in range(positions.shape[1]):
            hidden = torch.where(column < positions[:, i, None], ids, self.table.mask_id)
            index = self.table.index(hidden)
            told.append(self.table.log_conditionals[index, positions[:, i]])
        return torch.stack(told, 1)


class Always:
    """A guide to which all tokens are alike, so that it always agrees."""

    rows = 0

    def laws(self, ids, positions, live):
        told = torch.zeros(*positions.shape, FLAT.vocab_size)
        return told.index_fill(-1, torch.tensor([FLAT.mask_id]), -torch.inf).log_softmax(-1)


class Never:
    """A guide that is sure of what nobody draws."""

    rows = 0

    def laws(self, ids, positions, live):
        told = torch.full((*positions.shape, FLAT.vocab_size), -torch.inf)
        told[..., EOS] = 0.0
        return told


def guided(table, guide, options=None, **how):
    return GuidedUnmasking(masked(table, order=Sequential(), **(options or {})), guide, **how)


def kernel(sampler, table):
    """Exact kernel (S, S) of one step: every word that may be drawn, how far it is taken, and
    every token that may stand where it is not."""
    S, x = len(table.states), TokenState(table.states)
    x = TokenState(x.ids, Shared(sampler.denoiser(x, 0)))
    positions, live = sampler.choose(x)
    law, M = sampler.law(sampler.inner.token_law(x, positions)), positions.shape[1]
    symbols, out = table.seqs.unique(), torch.zeros(S, S, dtype=torch.float64)

    def write(p, words, written):
        after = sampler.inner.commit(x.ids, positions, written, words)
        out.index_put_((torch.arange(S), table.index(after)), p, accumulate=True)

    for word in torch.cartesian_prod(*[symbols] * M).view(-1, M):
        words = word.expand(S, M)
        drawn = law.gather(-1, words[..., None])[..., 0].exp()
        p = torch.where(live, drawn, 1 / len(symbols)).prod(1)
        ids = x.ids.scatter(1, positions, torch.where(live, words, x.ids.gather(1, positions)))
        told = sampler.guide.laws(ids, positions, live)
        if sampler.rule == "agree":
            taken = agrees(told, words, sampler.agreement) | (torch.arange(M) == 0)
            write(p, words, (taken & live).cumprod(1).bool())
            continue
        told = sampler.law(told)
        chance = torch.where(live, acceptance(law, told, words), 1.0)
        rest = residual(law, told).softmax(-1)
        for j in range(M):
            refused = p * chance[:, :j].prod(1) * (1 - chance[:, j])
            for token in symbols:
                other = words.clone()
                other[:, j] = token
                write(refused * rest[:, j, token], other, live & (torch.arange(M) <= j))
        write(p * chance.prod(1), words, live)
    return out


def law_of(sampler, table):
    return propagated(table, [kernel(sampler, table)] * sampler.num_steps)


EXACT = [(1, {}), (2, {}), (4, {}), (3, {"block_size": 2}), (4, {"block_size": 3})]


@pytest.mark.parametrize("ahead, options", EXACT)
@pytest.mark.parametrize("draft, target", [(FLAT, PEAKED), (PEAKED, FLAT)])
def test_the_exact_rule_draws_the_law_of_the_guide(draft, target, ahead, options):
    sampler = guided(draft, TableGuide(target), options, ahead=ahead, rule="exact")
    assert distance(law_of(sampler, draft), target.p) <= 1e-12


def test_the_exact_rule_draws_at_the_temperature_of_the_sampler():
    sampler = guided(FLAT, TableGuide(PEAKED), {"temperature": 0.6}, ahead=3, rule="exact")
    warm = exact_law(PEAKED, order=Sequential(), temperature=0.6)
    # `exact_law` reads plain conditionals, so the tempered law is multiplied up here
    tempered = torch.ones(len(PEAKED.seqs), dtype=torch.float64)
    for i in range(L):
        seen = torch.where(torch.arange(L) < i, PEAKED.seqs, PEAKED.mask_id)
        log_p = PEAKED.log_conditionals[PEAKED.index(seen), i] / 0.6
        tempered *= log_p.log_softmax(-1).gather(1, PEAKED.seqs[:, i, None])[:, 0].exp()
    assert distance(law_of(sampler, FLAT), tempered) <= 1e-6  # float32 laws at a temperature
    assert distance(warm, tempered) > 0.01


@pytest.mark.parametrize("ahead", [1, 3, 4])
def test_chains_of_the_exact_rule_are_draws_of_the_guide(ahead):
    sampler = guided(FLAT, TableGuide(PEAKED), ahead=ahead, rule="exact")
    assert abs(chi2_z(PEAKED, sample(sampler, 20_000, seeded(1)).ids, PEAKED.p)) < 4


def test_the_greedy_exact_rule_is_the_greedy_guide():
    greedy = guided(FLAT, TableGuide(PEAKED), {"temperature": 0}, ahead=3, rule="exact")
    alone = sample(masked(PEAKED, order=Sequential(), temperature=0), 3, seeded(0)).ids
    assert torch.equal(sample(greedy, 3, seeded(1)).ids, alone) and not greedy.stochastic
    assert not torch.equal(
        alone, sample(masked(FLAT, order=Sequential(), temperature=0), 3, seeded(0)).ids
    )


@pytest.mark.parametrize("ahead", [2, 3])
def test_agreement_lies_between_all_tokens_a_step_and_one(ahead):
    all_at_once = exact_law(FLAT, order=Sequential(), tokens_per_step=ahead)
    assert distance(law_of(guided(FLAT, Always(), ahead=ahead), FLAT), all_at_once) <= 1e-12
    assert distance(law_of(guided(FLAT, Never(), ahead=ahead), FLAT), FLAT.p) <= 1e-12
    assert distance(all_at_once, FLAT.p) > 0.05
    between = law_of(guided(FLAT, TableGuide(FLAT), ahead=ahead, agreement=0.5), FLAT)
    assert 0.01 < distance(between, FLAT.p)  # it is an approximation


@pytest.mark.parametrize("agreement", [0.1, 1.0])
def test_chains_by_agreement_have_the_law_that_is_propagated(agreement):
    sampler = guided(FLAT, TableGuide(PEAKED), ahead=3, agreement=agreement)
    law = law_of(sampler, FLAT)
    assert abs(law.sum() - 1) < 1e-9
    assert abs(chi2_z(FLAT, sample(sampler, 20_000, seeded(2)).ids, law)) < 4


def test_nothing_is_refused_where_both_say_the_same():
    log_p = torch.tensor([[[0.2, 0.3, 0.5, 0.0]]]).log()
    assert torch.equal(acceptance(log_p, log_p, torch.tensor([[2]])), torch.ones(1, 1))
    assert torch.equal(residual(log_p, log_p), log_p)
    other = torch.tensor([[[0.5, 0.5, 0.0, 0.0]]]).log()
    assert float(acceptance(log_p, other, torch.tensor([[2]]))) == 0
    rest = residual(log_p, other).softmax(-1)[0, 0]
    torch.testing.assert_close(rest, torch.tensor([0.6, 0.4, 0.0, 0.0]))


@pytest.mark.parametrize("rule", ["exact", "agree"])
@torch.no_grad()
def test_the_sampler_keeps_the_contract(rule):
    for options in ({}, {"block_size": 2}):
        sampler = guided(FLAT, TableGuide(PEAKED), options, ahead=3, rule=rule)
        check_sampler(sampler)
        check_full_graph(sampler)


def test_the_ledger_counts_both_networks():
    sampler = guided(FLAT, TableGuide(PEAKED), ahead=2, rule="exact")
    reward = lambda x: (x.ids == 2).sum(1).double()  # noqa: E731
    run = guided_sample(sampler, reward, 50, seeded(0), select=keep_all)
    draft, guide = sampler.denoiser.inner.rows, sampler.guide.rows
    assert guide == 50 * L and draft == 50 * L  # the table evaluates finished rows as well
    assert run.ledger.network_rows == draft + guide == sampler.denoiser.rows


def test_an_exact_run_is_weighed_towards_the_tilted_law_of_the_guide():
    sampler = guided(FLAT, TableGuide(PEAKED), ahead=3, rule="exact")
    reward = lambda x: (x.ids == 2).sum(1).double() / 2  # noqa: E731
    run = guided_sample(sampler, reward, 20_000, seeded(3), select=keep_all, populations=100)
    z = float(PEAKED.p @ reward(TokenState(PEAKED.seqs)).exp())
    runs = run.log_z.exp()
    assert abs(float(runs.mean()) - z) < 4 * float(runs.std()) / 10


# ---------------------------------------------------------------- networks


V = 6  # PAD, EOS, three symbols, MASK
MASK = V - 1


def network(seed=0, own=True, vocab=V):
    net, rng = TokenTransformer(TokenTransformerConfig(vocab, L, 16, 1, 2)), seeded(seed)
    with torch.no_grad():
        for name, p in net.named_parameters():
            if p.ndim == 2 and (own or not name.startswith("own")):
                p.copy_(1.5 * torch.randn(p.shape, generator=rng) / p.shape[1] ** 0.5)
        net.own.weight[vocab - 1] = 0
    return net.eval()


def rows_of_all_kinds():
    ids = torch.randint(2, MASK, (40, L), generator=seeded(4))
    ids[10:20, 2], ids[10:20, 3] = EOS, PAD
    ids[20:30, 3:] = MASK
    return ids


@pytest.mark.parametrize("blocks", [True, False])
def test_a_guide_says_what_the_network_says_in_blocks_of_one(blocks):
    net, ids = network(own=blocks), rows_of_all_kinds()
    positions = torch.arange(L).expand(40, L).flip(1)
    told = LeftToRight(net, MASK, blocks=blocks).laws(ids, positions, positions >= 0)
    one = TokenDenoiser(net, 1, prefix_cache=False)
    for i in range(L):
        x = TokenState(torch.where(torch.arange(L) < i, ids, MASK))
        expected = one.log_probs(one(x, 0))[:, i]
        ended = (ids[:, :i] == EOS).any(1)
        pads = torch.where(torch.arange(V) == PAD, 0.0, -torch.inf)
        expected = torch.where(ended[:, None], pads, expected)
        torch.testing.assert_close(told[:, L - 1 - i], expected, atol=1e-5, rtol=0)


def test_rows_in_which_nothing_is_asked_cost_nothing():
    guide, ids = LeftToRight(network(), MASK, blocks=True), rows_of_all_kinds()
    positions = torch.zeros(40, 1, dtype=torch.int64)
    told = guide.laws(ids, positions, (torch.arange(40) < 7)[:, None])
    assert guide.rows == 7 and told[:7].isfinite().any(-1).all()
    assert (told[7:] == -torch.inf).all()


def test_a_guide_of_another_vocabulary_is_asked_in_its_own_ids():
    """Their symbols are ours in another order, and one more."""
    net, translate = network(vocab=V + 1), torch.tensor([PAD, EOS, 4, 2, 5, V])
    ids = rows_of_all_kinds()
    positions = torch.arange(L).expand(40, L)
    live = positions >= 0
    ours = LeftToRight(net, V, blocks=True, translate=translate, ends=False)
    theirs = LeftToRight(net, V, blocks=True).laws(translate[ids], positions, live)
    told, open_ = ours.laws(ids, positions, live), positions < 2
    some = theirs[..., translate[2:MASK]].log_softmax(-1)[open_]
    torch.testing.assert_close(told[..., 2:MASK][open_], some)
    assert (told[open_][:, [PAD, EOS, MASK]] == -torch.inf).all()


def test_a_network_checks_its_own_parallel_draws_by_itself():
    """Blocks of two drawn at once, taken as the same network says in blocks of one: the law of
    blocks of one, ends included."""
    net, blank = network(), FixedCanvas.blank(L, MASK)
    draft = MaskedSampler(TokenDenoiser(net, 2), blank, block_size=2, order=Sequential())
    sampler = GuidedUnmasking(draft, LeftToRight(net, MASK, blocks=True), ahead=2, rule="exact")
    one = MaskedSampler(TokenDenoiser(net, 1), blank, block_size=1, order=Sequential())
    both = [sample(s, 20_000, seeded(5 + i)).ids for i, s in enumerate((sampler, one))]
    rows, index = torch.cat(both).unique(dim=0, return_inverse=True)
    counts = torch.stack([part.bincount(minlength=len(rows)) for part in index.split(20_000)])
    common = counts[:, counts.sum(0) >= 20].double()
    chi2 = ((common[0] - common[1]) ** 2 / common.sum(0)).sum()
    freedom = common.shape[1] - 1
    assert freedom > 30 and abs(float(chi2 - freedom)) < 4 * (2 * freedom) ** 0.5
    plain = MaskedSampler(
        TokenDenoiser(net, 2), blank, block_size=2, order=Sequential(), tokens_per_step=2
    )
    other = sample(plain, 20_000, seeded(7)).ids
    share = [
        (ids == rows[counts.sum(0).argmax()]).all(1).double().mean() for ids in (other, both[1])
    ]
    assert abs(share[0] - share[1]) > 4 * math.sqrt(0.25 / 20_000)


# ---------------------------------------------------------------- what is refused


@pytest.mark.parametrize("options, how, message", [
    ({}, {"rule": "exat"}, "guide_rule must be one of agree, exact, got 'exat'"),
    ({}, {"ahead": 0}, "at least 1, got 0"), ({}, {"agreement": 0.0}, "above 0 and at most 1"),
    ({"tokens_per_step": 2}, {}, "order must be 'sequential', and no other pace"),
    ({"constraints": [Count([2], FLAT.vocab_size)]}, {}, "got 1 of them, expected none"),
    ({"condition": torch.zeros(1, 1)}, {"rule": "exact"}, "knows no condition"),
])  # fmt: skip
def test_what_does_not_go_together_is_refused(options, how, message):
    with pytest.raises(ValueError, match=message):
        guided(FLAT, Always(), options, **how)


def test_other_orders_are_refused():
    with pytest.raises(ValueError, match="order must be 'sequential'"):
        GuidedUnmasking(masked(FLAT), Always())


def test_one_table_guides_another_of_its_size_alone():
    other = Table.of(torch.ones(3, 3, 3, 3))
    assert distance(law_of(guided(other, TableGuide(other), ahead=4, rule="exact"), other),
                    other.p) <= 1e-12  # fmt: skip
