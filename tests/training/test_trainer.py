"""The training loop: schedule, averages, accumulation, and runs that are interrupted anywhere."""

import json
import math
import os
import signal
from dataclasses import replace

import numpy as np
import pytest
import torch

from scidiff.core import ScidiffError, seeded
from scidiff.data.tokens import EOS, PAD, TokenState
from scidiff.networks.token_transformer import TokenTransformer, TokenTransformerConfig
from scidiff.processes.block import AutoregressiveProcess, BlockProcess
from scidiff.processes.masked import MaskedProcess
from scidiff.training.batches import TokenBatches
from scidiff.training.trainer import TrainConfig, Trainer

MASK = 6
CONFIG = TrainConfig(
    steps=12, batch_size=8, lr=1e-2, warmup=3, precision="32-true", log_every=3,
    validate_every=4, checkpoint_every=5,
)  # fmt: skip


def network():
    torch.manual_seed(0)
    return TokenTransformer(TokenTransformerConfig(MASK + 1, 8, width=16, depth=1, heads=2))


def ids(n=64, full=False):
    rng = np.random.default_rng(0)
    out = rng.integers(2, MASK, (n, 8)).astype(np.uint8)
    out[:, 1] = out[:, 0]  # something to learn
    for row, length in zip(out, rng.integers(3, 8, n), strict=True):
        length = 7 if full else length
        row[length], row[length + 1 :] = EOS, PAD
    return out


def trainer(out, config=CONFIG, process=None, batches=None, validation=True):
    return Trainer(
        network(),
        process or MaskedProcess(MASK),
        batches or TokenBatches(ids(), config.batch_size),
        config,
        out,
        validation=TokenBatches(ids()[:16], 8) if validation else None,
        accelerator="cpu",
    )


def log_of(out):
    rows = [json.loads(line) for line in (out / "log.jsonl").read_text().splitlines()]
    return [{k: v for k, v in row.items() if k != "seconds"} for row in rows]


def same_weights(a, b):
    pairs = [*zip(a.network.parameters(), b.network.parameters(), strict=True)]
    pairs += zip(a.ema, b.ema, strict=True)
    return all(torch.equal(x, y) for x, y in pairs)


# ---------------------------------------------------------------- what a step does


@pytest.mark.parametrize("process", [AutoregressiveProcess(MASK), BlockProcess(MASK, 4)])
def test_training_learns(tmp_path, process):
    run = trainer(tmp_path, replace(CONFIG, steps=60, validate_every=60), process)
    before = run.validate()
    run.fit()
    assert run.best < before - 0.2


def test_the_average_follows_the_weights(tmp_path):
    run = trainer(tmp_path, replace(CONFIG, ema=0.5), validation=False)
    expected = [p.detach().clone() for p in run.network.parameters()]
    for _ in range(4):
        run._advance()
        decay = min(0.5, (1 + run.step) / (10 + run.step))
        expected = [
            decay * e + (1 - decay) * p.detach()
            for e, p in zip(expected, run.network.parameters(), strict=True)
        ]
    for e, average in zip(expected, run.ema, strict=True):
        torch.testing.assert_close(e, average)
    weights = [p.detach().clone() for p in run.network.parameters()]
    with run.averaged():
        assert torch.equal(next(run.network.parameters()), run.ema[0])
        assert not run.network.training
    assert all(torch.equal(w, p) for w, p in zip(weights, run.network.parameters(), strict=True))
    run.use_averaged()
    assert torch.equal(next(run.network.parameters()), run.ema[0])


class Halves:
    """Batch i of size 2b, handed out as batches 2i and 2i + 1 of size b."""

    def __init__(self, rows, size):
        self.whole = TokenBatches(rows, size)

    def __len__(self):
        return len(self.whole)

    def __call__(self, step, rank=0, world=1):
        rows, half = self.whole(step // 2).ids, self.whole.batch_size // 2
        return TokenState(rows[half:] if step % 2 else rows[:half])

    def units(self, x0):
        return self.whole.units(x0)


def test_accumulation_is_a_larger_batch(tmp_path):
    config, process = replace(CONFIG, steps=5), AutoregressiveProcess(MASK)
    rows = ids(full=True)  # equal lengths: a mean of means is the mean
    whole = trainer(tmp_path / "a", config, process, TokenBatches(rows, 8), False)
    parts = trainer(tmp_path / "b", replace(config, accumulate=2), process, Halves(rows, 8), False)
    for _ in range(5):
        assert parts._advance() == pytest.approx(whole._advance(), rel=1e-4)
    for a, b in zip(whole.network.parameters(), parts.network.parameters(), strict=True):
        torch.testing.assert_close(a, b, atol=2e-4, rtol=1e-3)


def test_gradients_are_clipped_and_rates_set(tmp_path):
    run = trainer(tmp_path, replace(CONFIG, clip=1e-3), validation=False)
    norms = []
    run.optimizers[0].register_step_pre_hook(
        lambda *_: norms.append(
            torch.stack([p.grad.norm() for p in run.network.parameters() if p.grad is not None])
            .norm()
            .item()
        )
    )
    run._advance()
    assert norms[0] <= 1.001e-3
    for optimizer in run.optimizers:
        assert optimizer.param_groups[0]["lr"] == CONFIG.learning_rate(0)


def test_a_loss_that_is_not_finite_stops_the_run(tmp_path):
    run = trainer(tmp_path)
    run._advance()
    with torch.no_grad():
        run.network.head.weight[2, 0] = math.nan
    with pytest.raises(ScidiffError, match=r"the loss is nan at step 1: lower lr \(now 0.01\)"):
        run.fit()
    assert run.step == 1 and not run.state_file.exists()


def test_a_gradient_that_is_not_finite_never_reaches_the_weights(tmp_path):
    run = trainer(tmp_path)
    run._advance()
    weight = run.network.head.weight
    weight.register_hook(lambda grad: grad * math.nan)  # the loss itself is finite
    with pytest.raises(ScidiffError, match=r"the gradient is nan at step 1: lower lr"):
        run.fit()
    assert weight.isfinite().all() and run.step == 1 and not run.state_file.exists()


def test_validation_is_the_same_every_time(tmp_path):
    run = trainer(tmp_path)
    assert run.validate() == run.validate()
    with pytest.raises(ScidiffError, match="no validation rows"):
        trainer(tmp_path, validation=False).validate()


def test_without_patience_the_last_weights_are_kept_and_their_loss_is_told(tmp_path):
    config = replace(CONFIG, steps=20, lr=0.5, warmup=0, validate_every=2)
    run = trainer(tmp_path, config)
    run.fit()
    again = trainer(tmp_path, config)
    again.resume()
    run.use_averaged()
    told, best = run.kept, run.best
    run.ema = [p.detach().clone() for p in run.network.parameters()]
    assert run.validate() == pytest.approx(told) and told > best
    assert again.kept == told


def test_patience_stops_and_the_best_weights_are_kept(tmp_path):
    config = replace(CONFIG, steps=500, lr=0.5, warmup=0, patience=2, validate_every=2)
    run = trainer(tmp_path, config)
    kept = []
    run.fit(lambda step, row: kept.append((row["validation"], [p.clone() for p in run.ema]))
            if "validation" in row else None)  # fmt: skip
    assert run.step < 500 and run.stale == 2 and run.finished
    values = [value for value, _ in kept]
    assert run.best == min(values) and values[-1] > min(values)
    assert run.kept == run.best
    best = kept[values.index(min(values))][1]
    run.use_averaged()
    assert all(torch.equal(p, q) for p, q in zip(run.network.parameters(), best, strict=True))
    again = trainer(tmp_path, config)
    assert again.resume() and again.finished
    again.use_averaged()
    assert same_weights(again, run)


# ---------------------------------------------------------------- interruptions


@pytest.fixture(scope="module")
def straight(tmp_path_factory):
    """An uninterrupted run to compare with."""
    run = trainer(tmp_path_factory.mktemp("straight"))
    run.fit()
    return run


def test_same_seed_same_curve(straight, tmp_path):
    again = trainer(tmp_path)
    again.fit()
    assert log_of(tmp_path) == log_of(straight.out) and same_weights(again, straight)
    other = trainer(tmp_path / "other", replace(CONFIG, seed=1))
    other.fit()
    assert log_of(tmp_path / "other") != log_of(straight.out)


def test_what_is_logged(straight):
    rows = log_of(straight.out)
    assert [r["step"] for r in rows if "loss" in r] == [3, 6, 9, 12]
    assert [r["step"] for r in rows if "validation" in r] == [4, 8, 12]
    assert rows[0]["lr"] == CONFIG.learning_rate(3)


@pytest.mark.parametrize("when", [3, 4, 6, 8, 9, 12])
def test_an_exception_in_the_middle_changes_nothing(straight, tmp_path, when):
    def fail(step, row):
        if step == when:
            raise RuntimeError("power cut")

    with pytest.raises(RuntimeError):
        trainer(tmp_path).fit(fail)
    for _ in range(2):  # a finished run is continued into nothing
        again = trainer(tmp_path)
        assert again.resume() == (when > 5 or again.step == 12)
        again.fit()
        assert log_of(tmp_path) == log_of(straight.out) and same_weights(again, straight)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_waits_for_the_end_of_the_step(straight, tmp_path, number, monkeypatch):
    class Terminated(Exception):
        pass

    def ended(number, frame):
        raise Terminated if number == signal.SIGTERM else KeyboardInterrupt

    before = signal.signal(number, ended)
    try:
        run = trainer(tmp_path)
        advance = run._backward

        def kill_in_the_middle(index):
            if index == 6:
                os.kill(os.getpid(), number)
            return advance(index)

        monkeypatch.setattr(run, "_backward", kill_in_the_middle)
        with pytest.raises((Terminated, KeyboardInterrupt)):
            run.fit()
    finally:
        signal.signal(number, before)
    again = trainer(tmp_path)
    assert again.resume() and again.step == 7
    again.fit()
    assert log_of(tmp_path) == log_of(straight.out) and same_weights(again, straight)


def test_a_torn_log_is_cut(straight, tmp_path):
    run = trainer(tmp_path)
    run.step = 4
    run.log(loss=1.0)
    run.step = 5
    run.log(loss=2.0)
    with run.log_file.open("a") as f:
        f.write('{"step": 5, "lo')
    run.step = 4
    run._cut_log()
    assert log_of(tmp_path) == [{"step": 4, "loss": 1.0}]
    run.log(loss=3.0)
    assert len(log_of(tmp_path)) == 2


def test_changed_settings_are_refused(tmp_path):
    trainer(tmp_path, replace(CONFIG, steps=5)).fit()
    longer = replace(CONFIG, steps=5, log_every=2, checkpoint_every=3)
    assert trainer(tmp_path, longer).resume()
    with pytest.raises(ScidiffError, match=r"other settings \(steps, lr\)"):
        trainer(tmp_path, replace(CONFIG, steps=6, lr=1.0)).resume()
    with pytest.raises(ScidiffError, match=r"other settings \(process\)"):
        trainer(tmp_path, replace(CONFIG, steps=5), BlockProcess(MASK, 2)).resume()
    with pytest.raises(ScidiffError, match=r"other settings \(rows\)"):
        batches = TokenBatches(ids(32), 8)
        trainer(tmp_path, replace(CONFIG, steps=5), batches=batches).resume()


def test_bf16_trains_close_to_float32(tmp_path):
    a = trainer(tmp_path / "a", validation=False)
    b = trainer(tmp_path / "b", replace(CONFIG, precision="bf16-mixed"), validation=False)
    pairs = [(a._advance(), b._advance()) for _ in range(4)]
    assert all(x == pytest.approx(y, rel=0.05) for x, y in pairs)
    assert pairs[-1][0] != pairs[-1][1]
    assert all(p.dtype == torch.float32 for p in b.network.parameters())


# ---------------------------------------------------------------- noise levels chosen on the way


CLIPPED = BlockProcess(MASK, 4, auto=True)


def test_noise_levels_are_chosen_at_the_start_and_where_validation_follows(tmp_path, monkeypatch):
    asked, plan = [], iter([(0.5, 1.0), (0.2, 0.9), (0.3, 0.8)])

    def least_variable(self, network, batches, rng):
        asked.append((len(batches), not network.training))
        return next(plan)

    monkeypatch.setattr(BlockProcess, "least_variable", least_variable)
    run = trainer(tmp_path, process=CLIPPED)
    run.fit()
    assert asked == [(4, True)] * 3 and run.noise_range == (0.3, 0.8)  # at steps 0, 4 and 8 of 12


def test_a_resumed_run_keeps_its_noise_levels(tmp_path):
    whole = trainer(tmp_path / "a", process=CLIPPED)
    whole.fit()
    first = trainer(tmp_path / "b", process=CLIPPED)
    for _ in range(6):
        first._choose_range()
        first._advance()
    first.save()
    rest = trainer(tmp_path / "b", process=CLIPPED)
    assert rest.resume() and rest.process.noise_range == first.process.noise_range
    rest.fit()
    assert rest.noise_range == whole.noise_range and same_weights(rest, whole)


def test_validation_looks_at_every_noise_level(tmp_path):
    plain, clipped = BlockProcess(MASK, 4), BlockProcess(MASK, 4, (0.3, 0.8))
    losses = []
    for i, process in enumerate((plain, clipped, CLIPPED)):
        run, rng = trainer(tmp_path / str(i), process=process), seeded(1)
        run.process = process.within((0.3, 0.8)) if process is CLIPPED else process
        for average in run.ema:  # an untrained network's loss is the same at every level
            average.add_(torch.randn(average.shape, generator=rng))
        losses.append(run.validate())
    assert losses[0] == losses[1] == losses[2]
    assert trainer(tmp_path / "c", process=clipped).noise_range is None
