"""Error per network evaluation of every solver of the continuous engine, on a target whose exact
clean guess is known.

    python benchmarks/solvers.py           10, 20 and 40 evaluations: minutes on one core
    python benchmarks/solvers.py --quick   10 evaluations, without the search

Target: a mixture of three Gaussians over two coupled components, X (6) noised by VP and A (3) by
VE. Error: median over 64 trajectories of the distance at t = 0.01 to the probability-flow ODE
solved to 1e-10; nodes equal in the lambda of X. Learned solvers are fitted on 16 other
trajectories. The second table is about laws instead of trajectories. Times are those of this
thread. Needs torch and numpy only.
"""

from __future__ import annotations

import argparse
import math
import sys
import time
from pathlib import Path

import torch

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))  # the target lives with the tests

from coupled_mixture import CoupledMixture
from gaussian_targets import Points

from scidiff.core import normal, seeded
from scidiff.samplers.compensation import compensate, fit_ratios
from scidiff.samplers.gaussian import GaussianSampler
from scidiff.samplers.grids import uniform_lambdas
from scidiff.samplers.mcmc_start import McmcStart
from scidiff.samplers.momentum import Momentum, heavy_ball_scheme
from scidiff.samplers.probability_flow import Flow
from scidiff.samplers.projection import Projection
from scidiff.samplers.rewritten import Rewritten
from scidiff.samplers.schemes import make_scheme
from scidiff.samplers.solver_search import search_table
from scidiff.samplers.statistics import Residual, measure_statistics, statistics_scheme
from scidiff.samplers.time_shift import TimeShift

TARGETS = {"2m": 8.0, "unipc2": 30.0, "unipc3": 200.0}  # at 40 evaluations, times better than DDIM
T_END, BASELINE = 1e-2, "ddim"
NAMED = ("ddim", "euler", "2m", "2m_midpoint", "3m", "unipc1", "unipc2", "unipc3", "2s", "heun")
TWICE = ("2s", "heun")  # evaluations a step

MIXTURE = CoupledMixture()
SCHEDULES = [c.schedule for c in MIXTURE.components]


def nodes(steps):
    return uniform_lambdas(SCHEDULES[:1], steps, T_END)


def places(n, seed):
    """Draws of the prior."""
    rng = seeded(seed)
    sds = [s.prior_std for s in SCHEDULES]
    return Points(
        tuple(sd * normal((n, w), rng).double() for sd, w in zip(sds, MIXTURE.sizes, strict=True))
    )


def plain(scheme, denoiser=MIXTURE):
    return GaussianSampler(denoiser, MIXTURE.canvas, scheme=scheme, denoise=False)


def named(name, evaluations):
    steps = evaluations // (2 if name in TWICE else 1)
    return make_scheme(name, SCHEDULES, steps, 0.0, grid=nodes(steps))


def momentum(order, damping):
    def make(evaluations):
        scheme = heavy_ball_scheme(order, SCHEDULES, nodes(evaluations), damping)
        return Rewritten(plain(scheme), Momentum(damping))

    return make


def compensated(name, few):
    def make(evaluations):
        scheme = named(name, evaluations)
        return plain(compensate(scheme, fit_ratios(MIXTURE, few, scheme)))

    return make


def with_statistics(order, statistics):
    def make(evaluations):
        times = nodes(evaluations)
        scheme = statistics_scheme(order, statistics, SCHEDULES, times)
        return Rewritten(plain(scheme), Residual(statistics, SCHEDULES, times))

    return make


def searched(evaluations):
    found = search_table(
        MIXTURE, MIXTURE.canvas, evaluations, seeded(7), n=48, t_end=T_END, rounds=2
    )
    return plain(found.scheme(SCHEDULES))


def solvers(search):
    """Name -> (evaluations -> sampler); whatever is fitted is fitted in there."""
    few = places(16, seed=2)
    statistics = measure_statistics(MIXTURE, few, nodes(120), trace="exact")
    table = {name: lambda n, name=name: plain(named(name, n)) for name in NAMED}
    table |= {
        "heavy ball, damping 0.8": momentum(1, 0.8),
        "GHVB 2, damping 0.8": momentum(2, 0.8),
        "2m, projected slopes (EVODiff)": lambda n: Rewritten(plain(named("2m", n)), Projection()),
        "2m, time shift 0.02": lambda n: plain(named("2m", n), TimeShift(MIXTURE, 0.02)),
        "2m, compensated (DC)": compensated("2m", few),
        "unipc2, compensated (DC)": compensated("unipc2", few),
        "statistics, order 1 (v3)": with_statistics(1, statistics),
        "statistics, order 2 (v3)": with_statistics(2, statistics),
    }
    return table | ({"searched": searched} if search else {})


def finish(sampler, start):
    """Run from given places; also the seconds that took."""
    began, inner = time.thread_time(), getattr(sampler, "sampler", sampler)
    x, rng = inner.arrive(start.moved(start.parts), 0), seeded(0)
    if isinstance(sampler, Rewritten):
        x = x.moved(x.parts, sampler.rule.begin(inner, x, 0))
    for k in range(sampler.num_steps):
        x = sampler.step(x, k, rng)
    return torch.cat(x.parts, 1), time.thread_time() - began


def errors(table, budgets):
    """Solver -> [(error, seconds, evaluations a particle) at each budget]."""
    start = places(64, seed=1)
    exact = Flow(MIXTURE, start).follow(start, torch.tensor([1.0, T_END]).double(), 1e-10)[-1]
    results = {}
    for name, make in table.items():
        results[name] = []
        for budget in budgets:
            sampler = make(budget)
            before = MIXTURE.rows
            end, seconds = finish(sampler, start)
            gap = (end - torch.cat(exact, 1)).norm(dim=1).median()
            results[name].append((float(gap), seconds, (MIXTURE.rows - before) / len(start)))
    return results


def report(results, budgets):
    head = "".join(f"  error at {n:<3}  x DDIM" for n in budgets)
    print(f"{'solver':32}{head}  time x DDIM")
    for name, rows in results.items():
        line = ""
        for (error, _, used), (ddim, _, _), budget in zip(
            rows, results[BASELINE], budgets, strict=True
        ):
            assert used <= budget, f"{name} used {used} evaluations of {budget}"
            line += f"  {error:12.2e} {ddim / error:7.1f}"
        print(f"{name:32}{line}  {rows[-1][1] / results[BASELINE][-1][1]:11.2f}")
    if 40 in budgets:
        at = budgets.index(40)
        for name, target in TARGETS.items():
            ratio = results[BASELINE][at][0] / results[name][at][0]
            print(
                f"{name} at 40: {ratio:.0f}x, target {target:.0f}x: "
                + ("met" if ratio >= target else "missed")
            )


# ---------------------------------------------------------------- laws


def energy_distance(x, y):
    """2 E|x - y| - E|x - x'| - E|y - y'|, 0 where the laws are equal."""

    def mean(a, b, pairs):
        return torch.cdist(a, b).sum() / pairs

    n, m = len(x), len(y)
    own = mean(x, x, n * (n - 1)) + mean(y, y, m * (m - 1))
    return float(2 * mean(x, y, n * m) - own)


def level_law(times):
    def law(x):
        return torch.stack([MIXTURE.log_prob(x.parts, t) for t in times], 1)

    return law


def laws(budgets, n=2000):
    """Energy distance at t = 0.01 to exact draws, from an MCMC start (sweeps and what is left to
    go, on average over particles) and from the prior with no fewer evaluations."""
    exact = [
        torch.cat(MIXTURE.sample(n, T_END, torch.Generator().manual_seed(s)).parts, 1)
        for s in (11, 12)
    ]
    floor = energy_distance(*exact)
    print(f"\n{n} samples of 2m with eta 1, energy distance to exact draws (of two exact sets: "
          f"{floor:.4f})")  # fmt: skip
    print(f"{'start':32}  evaluations  distance")
    for budget in budgets:
        base = from_prior(budget)
        chain = McmcStart(base, level_law(base.times[:budget]), sweeps=budget // 2)
        x = chain.init(n, seeded(3))
        used = 1 + chain.sweeps + float(budget - 1 - chain.nodes(x).double().mean())
        print(f"{'Denoising MCMC':32}  {used:11.1f}  {distance(chain, x, exact[0]):8.4f}")
        base = from_prior(math.ceil(used))
        x = base.init(n, seeded(3))
        print(f"{'prior':32}  {base.num_steps:11.1f}  {distance(base, x, exact[0]):8.4f}")


def from_prior(steps):
    return plain(make_scheme("2m", SCHEDULES, steps, 1.0, grid=nodes(steps)))


def distance(sampler, x, exact):
    rng = seeded(4)
    for k in range(sampler.num_steps):
        x = sampler.step(x, k, rng)
    return energy_distance(torch.cat(x.parts, 1), exact)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="10 evaluations, no search")
    quick = parser.parse_args().quick
    torch.set_num_threads(1)
    budgets = [10] if quick else [10, 20, 40]
    report(errors(solvers(search=not quick), budgets), budgets)
    laws(budgets)


if __name__ == "__main__":
    main()
