"""Uniform diffusion, D3PM and SEDD against each other's published formulas, and the bounds against
log p of an enumerated law."""

import numpy as np
import pytest
import torch
from flow_targets import FlowOracle, final_law

from scidiff.core import seeded
from scidiff.data.tokens import EOS, PAD, TokenState
from scidiff.processes.discrete_flow import TokenNoise
from scidiff.processes.flow_bounds import JumpBound, Noisy, StepBound
from scidiff.processes.noise_levels import CosineSquared, LogLinear, NoiseLevel, Power
from scidiff.processes.reverse_laws import (
    evidence,
    jump_rates,
    one_hot,
    posterior,
    with_evidence,
)
from scidiff.samplers.discrete_flow import DiscreteFlowSampler, Posterior, TimedDenoiser
from scidiff.samplers.masked import FixedCanvas
from scidiff.testing import Table

TABLE = Table.of(
    torch.from_numpy(np.random.default_rng(3).dirichlet(np.full(27, 2.0))).reshape([3] * 3)
)
MASK, V, L = TABLE.mask_id, TABLE.vocab_size, TABLE.length
FLAT = torch.zeros(L, dtype=torch.int64)
NOISE = {
    "uniform": TokenNoise(torch.tensor([[0, 0, 1, 1, 1, 0]], dtype=torch.float64) / 3, FLAT),
    "marginal": TokenNoise(torch.tensor([[0, 0, 0.2, 0.5, 0.3, 0]], dtype=torch.float64), FLAT),
    "absorbing": TokenNoise(TokenNoise.absorbing(MASK, L).laws.double(), FLAT),
}
T, S = (torch.tensor(time, dtype=torch.float64).view(1, 1, 1) for time in (0.7, 0.45))
LAW = NOISE["uniform"].at(FLAT[None])


class Everywhere(FlowOracle):
    """The exact law of clean tokens, as a network: what its own token says taken out or not."""

    def __init__(self, table, law, leave_one_out):
        super().__init__(table, law)
        self.leave_one_out = leave_one_out

    def bidirectional(self, ids, t):
        told = self.posterior(ids, t.double()).log()
        if not self.leave_one_out:
            return told
        said = evidence(ids, t.double()[:, None, None], self.law.at(ids))
        known = torch.where(said.isfinite(), said, 0.0)
        return told - one_hot(ids, told) * known[..., None]


def guesses(n=40):
    """Arbitrary laws over the three symbols, (n, L, V), and noisy rows (n, L)."""
    rng = seeded(2)
    laws = torch.zeros(n, L, V, dtype=torch.float64)
    laws[..., 2:5] = torch.rand(n, L, 3, generator=rng).double().softmax(-1)
    return laws, torch.randint(2, 5, (n, L), generator=rng)


# ---------------------------------------------------------------- published formulas


def test_the_posterior_is_that_of_udlm_for_what_the_other_positions_tell():
    """[alpha_t K x*z + (a_ts - alpha_t) z + (alpha_s - alpha_t) x + (1 - a_ts)(1 - alpha_s) / K]
    / [alpha_t K <x, z> + 1 - alpha_t], K symbols, x the prediction and z = one-hot(x_t)."""
    x, x_t = guesses()
    z, K, a_t, a_s = one_hot(x_t, x), 3, 1 - T, 1 - S
    symbol = LAW > 0
    top = a_t * K * x * z + (a_t / a_s - a_t) * z + (a_s - a_t) * x
    top = (top + (1 - a_t / a_s) * (1 - a_s) / K) * symbol
    below = a_t * K * (x * z).sum(-1, keepdim=True) + 1 - a_t
    assert torch.allclose(top.sum(-1, keepdim=True), below)
    completed = with_evidence(x.log(), x_t, evidence(x_t, T, LAW)).exp()
    assert torch.allclose(posterior(x_t, completed, T, S, LAW), top / below)


@pytest.mark.parametrize("noise", NOISE)
def test_the_posterior_is_the_mean_of_its_kernel_and_a_law(noise):
    law = NOISE[noise].at(FLAT[None])
    clean, x_t = guesses()
    if noise == "absorbing":
        x_t = torch.where(x_t == 2, MASK, x_t)
    mixed = posterior(x_t, clean, T, S, law)
    kernel = Posterior()
    one_by_one = sum(
        clean[..., v, None] * kernel(x_t, torch.full_like(x_t, v), T, S, law) for v in range(2, 5)
    )
    assert torch.allclose(mixed, one_by_one)
    assert torch.allclose(mixed.sum(-1), torch.ones(1).double())


@pytest.mark.parametrize("noise", ["uniform", "absorbing"])
def test_it_is_the_analytic_step_of_sedd(noise):
    """q(x_t | y) sum_z (inverse transition)(y, z) score(z), Lou et al. 2024, theorem 4.2."""
    law = NOISE[noise].at(FLAT[None])[0]
    clean, x_t = guesses()
    x_t = torch.full_like(x_t, MASK) if noise == "absorbing" else x_t
    r = (1 - T) / (1 - S)
    forward = r[0] * torch.eye(V) + (1 - r[0]) * law  # rows: from, columns: to
    seen = (1 - T[0]) * torch.eye(V) + T[0] * law
    x = x_t[..., None, None].expand(*x_t.shape, V, 1)
    ratio = seen / seen[None, None].expand(*x_t.shape, V, V).gather(-1, x)
    score = (clean[..., None] * ratio.nan_to_num(posinf=0)).sum(-2)  # p_t(y) / p_t(x)
    before = score @ torch.linalg.inv(forward)
    analytic = forward.T[x_t] * before
    assert torch.allclose(analytic, posterior(x_t, clean, T, S, law), atol=1e-12)


@pytest.mark.parametrize("noise", NOISE)
def test_jump_rates_are_the_posterior_of_a_short_step(noise):
    law, h = NOISE[noise].at(FLAT[None]), 1e-7
    clean, x_t = guesses()
    x_t = torch.full_like(x_t, MASK) if noise == "absorbing" else x_t
    short = posterior(x_t, clean, T, T - h, law) * (1 - one_hot(x_t, law)) / h
    assert torch.allclose(short, jump_rates(x_t, clean, T, law), rtol=1e-5)


def test_the_cost_is_the_published_loss_of_udlm():
    """alpha' / (K alpha) [K / xb_z - K / xt_z - sum_j (xb_j / xb_z) log(xt_z xb_j / (xt_j xb_z))],
    xb = K alpha x0 + 1 - alpha, xt = K alpha x + 1 - alpha."""
    x, x_t = guesses()
    x0 = torch.randint(2, 5, x_t.shape, generator=seeded(5))
    alpha, K, at = 0.35, 3, x_t[..., None]
    xb, xt = (K * alpha * p[..., 2:5] + 1 - alpha for p in (one_hot(x0, x), x))
    b_z, t_z = (v.gather(-1, at - 2) for v in (xb, xt))
    inner = (xb / b_z * (t_z * xb / (xt * b_z)).log()).sum(-1)
    published = -(K / b_z - K / t_z)[..., 0] / (K * alpha) + inner / (K * alpha)
    time = torch.full((len(x),), 1 - alpha, dtype=torch.float64)
    noisy = Noisy(x0, x_t, time, time, torch.ones_like(time))
    found = JumpBound(NOISE["uniform"]).cost(Told(x.log()), noisy)
    assert torch.allclose(found, published.sum(1))


class Told:
    """A network that says the same whatever it sees."""

    def __init__(self, log_p):
        self.log_p = log_p

    def bidirectional(self, ids, t):
        return self.log_p

    def log_probs(self, trunk):
        return trunk


@pytest.mark.parametrize("t", [1e-3, 0.4, 0.999])
def test_with_absorbing_noise_the_cost_is_the_weighted_cross_entropy(t):
    x, x_t = guesses()
    x0 = torch.randint(2, 5, x_t.shape, generator=seeded(5))
    x_t = torch.where(x_t == 2, MASK, x0)
    time = torch.full((len(x),), t, dtype=torch.float64)
    cost = JumpBound(NOISE["absorbing"]).cost(
        Told(x.log()), Noisy(x0, x_t, time, time, torch.ones_like(time))
    )
    told = x.log().gather(-1, x0[..., None])[..., 0]
    assert torch.allclose(cost, -(told * (x_t == MASK)).sum(1) / t)


# ---------------------------------------------------------------- bounds


def expected_cost(process, network, t, s, weight):
    """E over x_t of the cost of every row of the table, (N,), enumerated."""
    law, states = process.law, TABLE.states
    at = law.at(states).double()
    noise = at[torch.arange(L), states][:, None]
    seen = ((1 - t) * (states[:, None] == TABLE.seqs) + t * noise).prod(-1)  # (S, N)
    pairs = torch.cartesian_prod(torch.arange(len(states)), torch.arange(len(TABLE.seqs)))
    n = len(pairs)
    x = Noisy(TABLE.seqs[pairs[:, 1]], states[pairs[:, 0]], torch.full((n,), t).double(),
              torch.full((n,), s).double(), torch.full((n,), weight).double())  # fmt: skip
    possible = seen.flatten() > 0
    cost = torch.zeros(n, dtype=torch.float64)
    cost[possible] = process.cost(network, x[possible.nonzero()[:, 0]])
    return (seen * cost.view_as(seen)).sum(0)


def jump_bound(process, network, points=40):
    """The integral over t by quadrature, (N,)."""
    x, w = np.polynomial.legendre.leggauss(points)
    total = torch.zeros(len(TABLE.seqs), dtype=torch.float64)
    for u, weight in zip((x + 1) / 2, w / 2, strict=True):
        # u^2: the integrand is steep near the data
        time = torch.tensor(u**2, dtype=torch.float64)
        t, slope = float(process.schedule.rate(time)), float(process.schedule.slope(time))
        total += expected_cost(process, network, t, t, slope * weight * 2 * u)
    return total


@pytest.mark.parametrize("noise", NOISE)
@pytest.mark.parametrize("schedule", [LogLinear(), CosineSquared()])
def test_with_an_exact_network_the_jump_bound_is_log_p_of_every_row(noise, schedule):
    process = JumpBound(NOISE[noise], schedule)
    bound = jump_bound(process, Everywhere(TABLE, NOISE[noise], True))
    assert torch.allclose(bound, -TABLE.p.log(), rtol=1e-5)


@pytest.mark.parametrize("noise", ["uniform", "marginal"])
def test_a_network_that_knows_less_pays_for_it(noise):
    process = JumpBound(NOISE[noise])
    flat = torch.zeros(V, dtype=torch.float64).index_fill(0, torch.tensor(MASK), -torch.inf)
    bound = jump_bound(process, Told(flat))
    assert (TABLE.p * (bound + TABLE.p.log())).sum() > 0.1
    # knowing nothing is the uniform law, whose exact network this is
    if noise == "uniform":
        assert torch.allclose(bound, torch.full_like(bound, L * float(np.log(3))), rtol=1e-6)


def step_bound(process, network):
    """The sum over steps, (N,)."""
    times = process.schedule.rate(torch.arange(process.steps + 1).double() / process.steps)
    return sum(
        expected_cost(process, network, float(t), float(s), 1.0)
        for s, t in zip(times, times[1:], strict=False)
    )


@pytest.mark.parametrize("noise", NOISE)
@pytest.mark.parametrize("steps", [1, 3, 8])
def test_the_step_bound_is_one_of_the_sampler_with_as_many_steps(noise, steps):
    law = NOISE[noise]
    chain = DiscreteFlowSampler(FlowOracle(TABLE, law), FixedCanvas.blank(L, MASK), law,
                                steps=steps, kernel=Posterior(), distortion="polydec")  # fmt: skip
    process = StepBound(law, steps, Power(2.0))
    bound = step_bound(process, Everywhere(TABLE, law, False))
    slack = bound + final_law(chain).log()
    assert (slack > -1e-9).all() and (steps == 1 or float(slack.max()) > 1e-4)
    told = step_bound(
        StepBound(law, steps, Power(2.0), leave_one_out=True), Everywhere(TABLE, law, True)
    )
    assert torch.allclose(told, bound)


@pytest.mark.parametrize("noise", NOISE)
def test_many_steps_come_down_to_the_entropy(noise):
    network = Everywhere(TABLE, NOISE[noise], False)
    gaps = [
        float((TABLE.p * (step_bound(StepBound(NOISE[noise], n), network) + TABLE.p.log())).sum())
        for n in (8, 16, 32)
    ]
    assert gaps[2] > 0
    assert gaps[0] / gaps[1] == pytest.approx(2, rel=0.2)
    assert gaps[1] / gaps[2] == pytest.approx(2, rel=0.15)


@pytest.mark.parametrize("noise", NOISE)
@pytest.mark.parametrize("schedule", [LogLinear(), Power(2.0)])
def test_draws_estimate_the_bounds(noise: str, schedule: NoiseLevel):
    law, row, n = NOISE[noise], 4, 1000
    x0 = TokenState(TABLE.seqs[row].expand(n, L))
    for process, network, exact in [
        (JumpBound(law, schedule), Everywhere(TABLE, law, True), -TABLE.p.log()[row]),
        (StepBound(law, 5, schedule), Everywhere(TABLE, law, False), None),
    ]:
        if exact is None:
            exact = step_bound(process, network)[row]
        loss = torch.stack([process.loss(network, x0, seeded(1, j)).mean() for j in range(20)])
        assert abs(float(loss.mean() - exact)) < 4 * float(loss.std()) / 20**0.5


def test_the_end_is_given_and_costs_nothing():
    ids = torch.tensor([[2, EOS, PAD], [EOS, PAD, PAD]])
    flat = torch.zeros(2, L, V, dtype=torch.float64)
    for process in (JumpBound(NOISE["uniform"]), StepBound(NOISE["uniform"], 1)):
        x = process.corrupt(TokenState(ids), seeded(0))
        assert torch.equal(x.noisy[:, 1:], ids[:, 1:]) and int(x.noisy[1, 0]) == EOS
        cost = process.cost(Told(flat), x)
        assert float(cost[1]) == 0.0 < float(cost[0]) < 2


@pytest.mark.parametrize("noise", NOISE)
@pytest.mark.parametrize("process", [JumpBound, lambda law: StepBound(law, 1)])
def test_gradients_are_finite_whatever_is_noisy(noise, process):
    told = torch.zeros(2, L, V, dtype=torch.float64, requires_grad=True)
    ids = TokenState(torch.tensor([[2, EOS, PAD], [3, 4, 2]]))
    for j in range(20):
        loss = process(NOISE[noise]).loss(Head(told), ids, seeded(0, j)).sum()
        (slope,) = torch.autograd.grad(loss, told)
        assert slope.isfinite().all()


class Head(Told):
    """Logits without MASK."""

    def log_probs(self, trunk):
        return trunk.index_fill(-1, torch.tensor(MASK), -torch.inf).log_softmax(-1)


# ---------------------------------------------------------------- what samplers read


@pytest.mark.parametrize("noise", NOISE)
@pytest.mark.parametrize("t", [1.0, 0.3])
def test_a_completed_network_tells_what_the_whole_row_does(noise, t):
    law = NOISE[noise]
    x = TokenState(TABLE.states)
    denoiser = TimedDenoiser(Everywhere(TABLE, law, True), MASK, law)
    told = denoiser.log_probs(denoiser(x, torch.tensor(t)))
    expected = FlowOracle(TABLE, law)(x, torch.tensor(t))
    # rows that have no probability at all are not asked
    seen = (law.at(x.ids)[torch.arange(L), x.ids] > 0).all(1) if noise != "absorbing" else ~(
        x.ids == 1
    ).any(1)
    seen = seen & (expected.exp().sum(-1) > 0.999).all(1)
    if noise == "absorbing" and t == 1.0:
        seen = (x.ids == MASK).all(1)
    assert seen.any()
    assert torch.allclose(told[seen].exp(), expected[seen].exp(), atol=1e-6)


def test_chains_have_at_least_one_step():
    with pytest.raises(ValueError, match="steps must be at least 1, got 0"):
        StepBound(NOISE["uniform"], 0)
