"""The sampler of continuous components: masks, symmetry, batching and its protocol."""

import pytest
import torch
from gaussian_targets import gaussian, tiny_graph_denoiser

from scidiff.core import Renoisable, Sampler, Tape, seeded
from scidiff.data.graphs import GraphCanvas, NodeCounts
from scidiff.samplers.gaussian import GaussianSampler
from scidiff.samplers.schemes import SOLVERS
from scidiff.samplers.solvers import make_sampler
from scidiff.samplers.tables import Scheme, Table
from scidiff.testing import check_sampler, same

N, F = 6, 3
CANVAS = GraphCanvas(NodeCounts(torch.tensor([0.0, 1, 0, 1, 1, 0, 1])), F)  # 1, 3, 4 or 6 nodes


def graph_sampler(**options):
    return GaussianSampler(tiny_graph_denoiser(features=F), CANVAS, steps=4, **options)


def walk(sampler, x, rng, start=0):
    for k in range(start, sampler.num_steps):
        x = sampler.step(x, k, rng)
    return x


@pytest.fixture(autouse=True)
def no_gradients():
    with torch.no_grad():
        yield


@pytest.mark.parametrize("solver", SOLVERS)
def test_it_keeps_the_contract(solver):
    sampler = graph_sampler(solver=solver)
    assert isinstance(sampler, Sampler) and isinstance(sampler, Renoisable)
    check_sampler(sampler)


def test_steps_compile_as_one_graph():
    sampler = GaussianSampler(tiny_graph_denoiser(), CANVAS, steps=2, solver="2m")
    tape = Tape(seeded(1))
    start = sampler.init(3, seeded(0))
    expected = walk(sampler, start, tape)
    torch.compiler.reset()
    step, x = torch.compile(sampler.step, fullgraph=True, backend="eager"), start
    tape.rewind()
    for k in range(sampler.num_steps):
        x = step(x, k, tape)
    assert same(x, expected, 1e-5)


@pytest.mark.parametrize("attention", [False, True])
@pytest.mark.parametrize("solver", SOLVERS)
def test_graphs_keep_their_padding_and_symmetry_bit_for_bit(solver, attention):
    denoiser = tiny_graph_denoiser(attention)
    sampler = GaussianSampler(denoiser, CANVAS, steps=4, solver=solver)
    rng = seeded(0)
    x = sampler.init(40, rng)
    mask = x.mask
    for k in range(sampler.num_steps):
        assert torch.equal(x.mask, mask)
        for X, A in (x.parts, *x.guesses):
            pairs = mask[:, :, None] & mask[:, None] & ~torch.eye(N, dtype=torch.bool)
            assert (X[~mask] == 0).all() and (X[mask] != 0).all()
            assert torch.equal(A, A.mT) and (A[~pairs] == 0).all()
            assert (A[pairs] != 0).all()
        x = sampler.step(x, k, rng)


def fixed(nodes, width):
    """Graphs of `nodes` nodes in arrays of `width`."""
    return GraphCanvas(NodeCounts(torch.arange(width + 1).eq(nodes).double()), F)


MAKE = {
    **{name: dict(solver=name) for name in ("2m", "unipc2", "2s", "heun", "reverse")},
    "corrected": dict(solver="reverse", snr=0.2),
    "s4": dict(solver="s4", snr=0.2),
}
each_sampler = pytest.mark.parametrize("options", MAKE.values(), ids=list(MAKE))


@each_sampler
def test_what_is_in_the_padding_changes_nothing(options):
    """Graphs padded to more nodes, as in another bucket, move the same under the same noise."""
    denoiser, tape = tiny_graph_denoiser(), Tape(seeded(0))
    sampler = make_sampler(denoiser, fixed(4, 8), steps=3, **options)
    x = walk(sampler, sampler.init(5, tape), tape)
    cut = []
    for kind, draw in tape.draws:
        width = draw.shape[2] if draw.ndim == 3 and draw.shape[2] == F else 4
        cut.append((kind, draw if draw.ndim < 3 else draw[:, :4, :width]))
    tape = Tape(seeded(0), cut)
    sampler = make_sampler(denoiser, fixed(4, 4), steps=3, **options)
    y = walk(sampler, sampler.init(5, tape), tape)
    assert torch.allclose(x.X[:, :4], y.X, atol=2e-5)
    assert torch.allclose(x.A[:, :4, :4], y.A, atol=2e-5)


@each_sampler
def test_a_particle_does_not_depend_on_its_batch(options):
    """Given its noise rows, over a whole run."""
    sampler = make_sampler(tiny_graph_denoiser(), CANVAS, steps=3, **options)
    tape = Tape(seeded(4))
    x = walk(sampler, sampler.init(6, tape), tape)
    rows = torch.tensor([5, 1])
    tape = tape.rewind()[rows]
    y = walk(sampler, sampler.init(2, tape), tape)
    assert torch.equal(x.mask[rows], y.mask)
    assert torch.allclose(x.X[rows], y.X, atol=2e-5) and torch.allclose(x.A[rows], y.A, atol=2e-5)


@each_sampler
def test_a_permuted_graph_moves_in_the_same_way(options):
    """P x and P A P^T under permuted noise give P x' and P A' P^T: nothing depends on the order of
    nodes."""
    tape = Tape(seeded(3))
    sampler = make_sampler(tiny_graph_denoiser(), fixed(N, N), steps=4, **options)
    x = walk(sampler, sampler.init(4, tape), tape)
    order = torch.tensor([3, 0, 5, 1, 4, 2])
    permuted = []
    for kind, draw in tape.draws:
        if draw.ndim == 3:
            is_edge = draw.shape[2] == N
            whole = draw.triu(1) + draw.triu(1).mT if is_edge else draw
            draw = whole[:, order][:, :, order] if is_edge else whole[:, order]
        permuted.append((kind, draw))
    tape = Tape(seeded(3), permuted)
    y = walk(sampler, sampler.init(4, tape), tape)
    assert torch.allclose(y.X, x.X[:, order], atol=1e-4)
    assert torch.allclose(y.A, x.A[:, order][:, :, order], atol=1e-4)


def test_rows_may_be_at_different_steps_and_finished_rows_stay():
    sampler = graph_sampler(solver="2m")
    start = sampler.init(3, seeded(0))
    states = [start]
    for k in range(sampler.num_steps):
        states.append(sampler.step(states[-1], k, seeded(9, k)))
    steps = [0, 3, sampler.num_steps]
    mixed = type(start).cat([states[k][torch.tensor([i])] for i, k in enumerate(steps)])
    k = torch.tensor(steps)
    tape = Tape(seeded(5))
    after = sampler.step(mixed, k, tape)
    for i, own in enumerate(steps[:2]):
        alone = sampler.step(mixed[torch.tensor([i])], own, tape.rewind()[torch.tensor([i])])
        assert same(alone, after[torch.tensor([i])], 1e-6)
    assert torch.equal(after.X[2], mixed.X[2]) and torch.equal(after.A[2], mixed.A[2])
    clean = sampler.predict_clean(mixed, k, seeded(0))
    assert torch.equal(clean.X[0], mixed.guesses[0][0][0]) and torch.equal(clean.X[2], mixed.X[2])


def test_the_end_is_the_clean_guess_at_the_last_node():
    sampler, bare = graph_sampler(), graph_sampler(denoise=False)
    x, y = (walk(s, s.init(4, seeded(0)), seeded(1)) for s in (sampler, bare))
    assert torch.equal(x.X, x.guesses[0][0]) and torch.equal(x.A, x.guesses[0][1])
    guess = sampler.denoiser(y, sampler.times[-1])
    assert same(x.guesses[0], guess) and not torch.equal(x.X, y.X)


def test_renoising_has_the_forward_law_and_can_be_continued():
    oracle = gaussian()
    sampler = GaussianSampler(oracle, oracle.canvas, steps=5)
    clean = oracle.canvas(20_000, seeded(0)).moved((torch.full((20_000, 1), 0.7).double(),))
    x = sampler.renoise(clean, 2, seeded(1))
    level, sigma = (float(v) for v in sampler.levels(2, 0))
    got = x.parts[0]
    assert abs(got.mean() - 0.7 * level) < 4 * sigma / 20_000**0.5
    assert abs(got.std() / sigma - 1) < 4 / (2 * 20_000) ** 0.5
    assert len(walk(sampler, x, seeded(2), start=2)) == 20_000
    assert sampler.renoise(clean, 5, seeded(1)) is clean


@pytest.mark.parametrize("steps", [1, 2])
@pytest.mark.parametrize("solver", SOLVERS)
def test_few_steps_suffice_for_any_order(solver, steps):
    sampler = GaussianSampler(tiny_graph_denoiser(), CANVAS, steps=steps, solver=solver)
    assert walk(sampler, sampler.init(2, seeded(0)), seeded(1)).X.isfinite().all()


def test_rows_made_by_hand_are_run():
    """x <- D_0 in one row: the guess at the prior, then the guess there."""
    t = torch.tensor([1.0, 0.3], dtype=torch.float64)
    row = Table(torch.zeros(1), torch.ones(1, 1), torch.zeros(1))
    sampler = GaussianSampler(tiny_graph_denoiser(), CANVAS, scheme=Scheme(t, (row, row)))
    x = sampler.init(3, seeded(0))
    y = x.moved(x.guesses[0])
    want = sampler.denoiser(y, t[1])
    assert not sampler.stochastic and same(sampler.step(x, 0, seeded(0)).parts, want)
    with pytest.raises(ValueError, match="must have 2 rows of the same weights for 3 times"):
        Scheme(torch.tensor([1.0, 0.5, 0.1]), (row, row))
    wider = Table(torch.zeros(1), torch.ones(1, 2), torch.zeros(1))
    with pytest.raises(ValueError, match=r"got \(rows, weights\) \[\(1, 1\), \(1, 2\)\]"):
        Scheme(t, (row, wider))
    with pytest.raises(ValueError, match="give steps or a scheme, got steps=2"):
        GaussianSampler(sampler.denoiser, CANVAS, steps=2, scheme=Scheme(t, (row, row)))


def test_one_evaluation_a_step():
    sampler = graph_sampler()
    walk(sampler, sampler.init(7, seeded(0)), seeded(0))
    assert sampler.denoiser.rows == 7 * (sampler.num_steps + 1)


def test_default_solver_follows_eta():
    assert graph_sampler(eta=1.0).history == 2 and graph_sampler(eta=10.0).history == 1
    assert graph_sampler().stochastic and not graph_sampler(eta=0.0).stochastic
    assert not graph_sampler(rho=0.0).stochastic


@pytest.mark.parametrize(
    "options, message",
    [
        ({"solver": "exp"}, "unknown solver 'exp'.*exp1, ddim.*did you mean 'exp1'"),
        ({"steps": None}, "give steps or a scheme"),
        ({"times": "lamda"}, "unknown grid 'lamda'.*did you mean 'lambda'"),
        ({"solver": "ddim", "eta": 0.5}, "eta must be 0, got 0.5"),
        ({"steps": 0}, "steps must be a whole number of at least 1, got 0"),
        ({"eta": -1.0}, "eta and rho must not be negative"),
        ({"solver": "reverse", "eta": 2.0}, "eta must be 1, got 2.0"),
        ({"times": torch.tensor([0.0, 1])}, "times must be 5 decreasing nodes"),
        ({"times": torch.linspace(0, 1, 5)}, "times must be 5 decreasing nodes"),
        ({"times": torch.linspace(1, -0.1, 5)}, r"times must lie in \[0, 1\]"),
        ({"times": torch.linspace(1, 0, 5)}, "solver '2m' cannot reach t = 0.0"),
    ],
)
def test_wrong_settings_are_named(options, message):
    with pytest.raises(ValueError, match=message):
        GaussianSampler(tiny_graph_denoiser(), CANVAS, **{"steps": 4, **options})
