"""compat is GDSS as published: its update formulas written out here, step by step, on the same
noise."""

import math

import pytest
import torch
from gaussian_targets import tiny_graph_denoiser

from scidiff.core import Tape, seeded
from scidiff.data.graphs import GraphCanvas, NodeCounts
from scidiff.processes.schedules import VE, VP, Linear
from scidiff.samplers.published import published_scheme
from scidiff.samplers.solvers import make_sampler

N, SNR, SCALE = 7, 0.2, 0.7
SDES = {"X": ("VP", 0.1, 1.0), "A": ("VE", 0.2, 1.0)}  # as `tiny_graph_denoiser`


class Published:
    """Song et al.'s and Jo et al.'s discrete SDE of one component with N steps."""

    def __init__(self, kind, low, high):
        self.kind, self.low, self.high = kind, low, high
        self.betas = torch.linspace(low / N, high / N, N, dtype=torch.float64)
        self.sigmas = torch.exp(
            torch.linspace(math.log(low), math.log(high), N, dtype=torch.float64)
        )

    def g(self, t):
        if self.kind == "VP":
            return math.sqrt(self.low + t * (self.high - self.low))
        sigma = self.low * (self.high / self.low) ** t
        return sigma * math.sqrt(2 * (math.log(self.high) - math.log(self.low)))

    def std(self, t):
        if self.kind == "VE":
            return self.low * (self.high / self.low) ** t
        log_mean = -0.25 * t**2 * (self.high - self.low) - 0.5 * t * self.low
        return math.sqrt(1 - math.exp(2 * log_mean))

    def score(self, output, t):
        return -output / self.std(t) if self.kind == "VP" else output

    def alpha(self, i):
        return 1 - float(self.betas[i]) if self.kind == "VP" else 1.0

    def reverse(self, v, s, t, i):
        """Mean and noise level of the reverse-diffusion predictor."""
        if self.kind == "VP":
            f, G = (math.sqrt(1 - self.betas[i]) - 1) * v, math.sqrt(self.betas[i])
        else:
            before = float(self.sigmas[i - 1]) if i > 0 else 0.0
            f, G = torch.zeros_like(v), math.sqrt(float(self.sigmas[i]) ** 2 - before**2)
        return v - (f - G**2 * s), G

    def euler(self, v, s, t, i):
        g = self.g(t)
        f = -0.5 * g**2 * v if self.kind == "VP" else torch.zeros_like(v)
        return v - (f - g**2 * s) / N, g / math.sqrt(N)

    def transition(self, v, t, h):
        """Mean and noise level of half a linear step, h < 0."""
        if self.kind == "VP":
            c = 0.25 * h * (2 * self.low + (2 * t + h) * (self.high - self.low))
            return v * math.exp(-c), math.sqrt(1 - math.exp(2 * c))
        ratio = self.high / self.low
        return v, math.sqrt((self.low * ratio**t) ** 2 - (self.low * ratio ** (t + h)) ** 2)


class Noise:
    """The normals that our sampler drew, projected as the published code does."""

    def __init__(self, tape, mask):
        self.draws, self.mask = iter([d for kind, d in tape.draws if kind == "normal"]), mask

    def __call__(self, name):
        z = next(self.draws).double()
        if name == "X":
            return z * self.mask[..., None]
        z = z.triu(1)
        return (z + z.mT) * self.mask[:, :, None] * self.mask[:, None]


def langevin(sde, v, s, z, i):
    norms = [u.flatten(1).norm(dim=1).mean() for u in (z, s)]
    size = 2 * sde.alpha(i) * (SNR * norms[0] / norms[1]) ** 2
    return v + size * s + torch.sqrt(size * 2) * z * SCALE


def published_chain(solver, denoiser, start, noise):
    """The loop of GDSS's solvers; returns the mean of the last step."""
    sdes = {name: Published(*values) for name, values in SDES.items()}
    parts = {"X": start.X, "A": start.A}

    def scores(now, t):
        nets = {"X": denoiser.network_x, "A": denoiser.network_a}
        return {n: sdes[n].score(nets[n](now["X"], now["A"], start.mask), t) for n in sdes}

    for step, t in enumerate(torch.linspace(1, 1e-4, N, dtype=torch.float64).tolist()):
        i = int(t * (N - 1))
        s = scores(parts, t)
        parts = {n: langevin(sdes[n], parts[n], s[n], noise(n), i) for n in sdes}
        if solver != "s4":
            s = scores(parts, t)
            rule = {n: getattr(sdes[n], solver)(parts[n], s[n], t, i) for n in sdes}
            mean = {n: rule[n][0] for n in sdes}
            parts = {n: mean[n] + rule[n][1] * noise(n) for n in sdes}
            continue
        mean = {}
        for n, sde in sdes.items():
            one, spread = sde.transition(parts[n], t, -0.5 / N)
            growth = sde.transition(torch.ones(1).double(), t - 0.5 / N, -0.5 / N)[0].item()
            last, end_spread = sde.transition(
                one + sde.g(t) ** 2 * s[n] / N, t - 0.5 / N, -0.5 / N
            )
            # the sum of two independent normals is one normal: ours
            end_spread = 0.0 if step == N - 1 else end_spread
            mean[n] = last + math.hypot(growth * spread, end_spread) * noise(n)
        parts = mean
    return mean


@pytest.mark.parametrize("solver", ["reverse", "euler", "s4"])
def test_compat_is_the_published_loop(solver):
    denoiser = tiny_graph_denoiser().double()
    canvas = GraphCanvas(NodeCounts(torch.tensor([0.0, 0, 1, 0, 1, 1])), 3, torch.float64)
    sampler = make_sampler(
        denoiser, canvas, solver=solver, steps=N, snr=SNR, scale_eps=SCALE, compat=True
    )
    with torch.no_grad():
        x = start = sampler.init(6, seeded(0))
        tape = Tape(seeded(1))
        rows = denoiser.rows
        for k in range(sampler.num_steps):
            x = sampler.step(x, k, tape)
        assert denoiser.rows - rows == 6 * (sampler.evaluations - 1)
        assert sampler.evaluations == (N if solver == "s4" else 2 * N)
        want = published_chain(solver, denoiser, start, Noise(tape, start.mask))
    assert torch.allclose(x.X, want["X"], atol=1e-10)
    assert torch.allclose(x.A, want["A"], atol=1e-10)


@pytest.mark.parametrize("solver", ["reverse", "euler", "s4"])
def test_rows_that_are_finished_wait_for_the_others(solver):
    canvas = GraphCanvas(NodeCounts(torch.tensor([0.0, 0, 1, 0, 1, 1])), 3)
    sampler = make_sampler(tiny_graph_denoiser(), canvas, solver=solver, steps=N, compat=True)
    with torch.no_grad():
        x, done = sampler.init(6, seeded(0)), torch.full((6,), N)
        for k in range(N):
            x = sampler.step(x, done * 0 + k, seeded(k))
        after = sampler.step(sampler.step(x, done, seeded(8)), done, seeded(9))
    assert x.X.isfinite().all() and torch.equal(after.X, x.X) and torch.equal(after.A, x.A)


def test_without_denoise_the_last_noise_stays():
    schedules = [VP(0.1, 1.0), VE(0.2, 1.0)]
    for solver in ("reverse", "euler", "s4"):
        kept, dropped = (published_scheme(solver, schedules, 8, denoise=d) for d in (False, True))
        for a, b in zip(kept.tables, dropped.tables, strict=True):
            assert torch.equal(a.b[:-1], b.b[:-1]) and a.b[-1] > b.b[-1]
            assert torch.equal(a.a, b.a) and torch.equal(a.w, b.w)
    assert all(float(t.b[-1]) == 0 for t in published_scheme("euler", schedules, 8).tables)


def test_what_was_not_published_is_refused():
    schedules = [VP(0.1, 1.0), VE()]
    with pytest.raises(ValueError, match="reverse, euler, s4, got 'eulr'; did you mean 'euler'"):
        published_scheme("eulr", schedules, 5)
    with pytest.raises(ValueError, match="last of 3 published steps of s4 leaves the schedule"):
        published_scheme("s4", [VP(0.1, 20.0)], 3)
    with pytest.raises(ValueError, match="knows VP and VE, got .*Linear"):
        published_scheme("euler", [VP(), Linear()], 5)
