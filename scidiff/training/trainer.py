"""The training loop, the only one: Lightning Fabric, EMA, mixed precision, resume after a kill at
any moment."""

from __future__ import annotations

import json
import math
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from scidiff.core import Process, ScidiffError, seeded
from scidiff.files import replacing, write_atomically
from scidiff.processes.block import BlockProcess
from scidiff.training.batches import Batches
from scidiff.training.config import TrainConfig, optimizers
from scidiff.training.interrupts import held_back

__all__ = ["TrainConfig", "Trainer"]

_MAY_CHANGE = ("checkpoint_every", "log_every")  # settings that a resumed run may have anew
RANGE_BATCHES = 4  # by which noise levels are compared


class _Loss(nn.Module):
    """A process's loss as a module, so that Fabric wraps one forward for precision and data
    parallelism."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, batch: _Batch) -> Tensor:
        return batch.process.loss(self.network, batch.x0, batch.rng)


class _Batch:
    """Clean rows, their noise and the process; opaque to Fabric, which would otherwise cast the
    data to the network's precision."""

    def __init__(self, process: Process[Any], x0: Any, rng: torch.Generator) -> None:
        self.process, self.x0, self.rng = process, x0, rng


class Trainer:
    """Train `network` by `process` on `batches`; `out/state/last.pt` always holds the newest
    complete state.

    Under torchrun every process takes its part of each batch and process 0 writes. Losses are in
    nats per unit of `batches` (a token).
    """

    def __init__(
        self,
        network: nn.Module,
        process: Process[Any],
        batches: Batches,
        config: TrainConfig,
        out: Path,
        *,
        validation: Batches | None = None,
        accelerator: str = "auto",
    ) -> None:
        self.network, self.config, self.out = network, config, Path(out)
        self.process: Process[Any] = process
        self.batches, self.validation, self._asked = batches, validation, repr(process)
        from lightning.fabric import Fabric  # takes seconds, which only who trains is to wait for

        here = int(os.environ.get("LOCAL_WORLD_SIZE", "1"))  # set by torchrun
        nodes = int(os.environ.get("WORLD_SIZE", "1")) // here
        self.fabric = Fabric(
            accelerator=accelerator, devices=here, num_nodes=nodes, precision=config.precision
        )
        self.fabric.launch()
        if config.compile:
            for part in getattr(network, "blocks", [network]):
                part.compile(dynamic=True)
        self.loss, *self.optimizers = self.fabric.setup(
            _Loss(network), *optimizers(network, config)
        )
        self.ema = [p.detach().clone() for p in network.parameters()]
        self.best_ema: list[Tensor] | None = None  # kept where training may stop past its best
        self.step, self.best, self.stale, self.seconds = 0, math.inf, 0, 0.0
        self.newest = math.inf  # the last validation, of weights that may not be the best
        self._tail: list[float] = []

    @property
    def finished(self) -> bool:
        """True after the last step, or after `patience` validations without a better loss."""
        c = self.config
        return self.step >= c.steps or (c.patience > 0 and self.stale >= c.patience)

    # ---- state

    @property
    def state_file(self) -> Path:
        return self.out / "state" / "last.pt"

    def save(self) -> None:
        """Write the whole state to a temporary name and rename it."""
        if self.fabric.global_rank != 0:
            return
        state = {
            "network": self.network.state_dict(),
            "ema": self.ema,
            "best_ema": self.best_ema,
            "step": self.step,
            "best": self.best,
            "newest": self.newest,
            "stale": self.stale,
            "seconds": self.seconds,
            "tail": self._tail,
            "config": asdict(self.config),
            "data": self._data(),
            "noise_range": self.noise_range,
            "optimizers": [o.state_dict() for o in self.optimizers],
        }
        with replacing(self.state_file) as file:
            torch.save(state, file)

    def resume(self) -> bool:
        """Continue from the last complete checkpoint of `out` if there is one; the log is cut back
        to its step."""
        if self.state_file.exists():
            state = torch.load(self.state_file, map_location=self.fabric.device, weights_only=True)
            self._refuse_other(state)
            self.network.load_state_dict(state["network"])
            self.ema, self.best_ema = state["ema"], state.get("best_ema")
            for optimizer, saved in zip(self.optimizers, state["optimizers"], strict=True):
                optimizer.load_state_dict(saved)
            self.step, self.best, self.stale = state["step"], state["best"], state["stale"]
            self.newest = state.get("newest", self.best)
            self.seconds, self._tail = state["seconds"], state["tail"]
            if self._choosing is not None and state.get("noise_range") is not None:
                self.process = self._choosing.within(state["noise_range"])
        self._cut_log()
        return self.step > 0

    def _data(self) -> dict[str, Any]:
        """What else a resumed run must agree with."""
        shapes = [tuple(p.shape) for p in self.network.parameters()]
        return {"process": self._asked, "rows": len(self.batches), "network": str(shapes)}

    def _refuse_other(self, state: dict[str, Any]) -> None:
        now = {**asdict(self.config), **self._data()}
        then = {**state["config"], **state.get("data", {})}
        changed = [k for k, v in then.items() if k not in _MAY_CHANGE and now.get(k) != v]
        if changed:
            raise ScidiffError(
                f"{self.out} was started with other settings ({', '.join(changed)}); "
                "use another --out or the old recipe"
            )

    # ---- log

    @property
    def log_file(self) -> Path:
        return self.out / "log.jsonl"

    def log(self, **row: float) -> None:
        """Append one row to the log."""
        self.out.mkdir(parents=True, exist_ok=True)
        with self.log_file.open("a") as f:
            f.write(json.dumps({"step": self.step, **row}) + "\n")

    def _cut_log(self) -> None:
        """Drop what was logged behind the state that is continued, and a line that a kill left
        unfinished."""
        if self.fabric.global_rank != 0 or not self.log_file.exists():
            return
        complete = self.log_file.read_text().split("\n")[:-1]
        kept = [line for line in complete if json.loads(line)["step"] <= self.step]
        write_atomically(self.log_file, "".join(line + "\n" for line in kept).encode())

    # ---- the loop

    def fit(self, on_log: Callable[[int, dict[str, float]], None] | None = None) -> None:
        """Train to the last step, or until patience runs out.

        On Ctrl-C or SIGTERM the step is completed and the state saved first.
        """
        started = time.perf_counter() - self.seconds
        with held_back() as signals:
            while not (self.finished or self._interrupted(signals)):
                self._choose_range()
                self._tail.append(self._advance())
                self.seconds = time.perf_counter() - started
                for row in self._rows():
                    if self.fabric.global_rank == 0:
                        self.log(**row)
                        if on_log:
                            on_log(self.step, row)
                if self.step % self.config.checkpoint_every == 0:
                    self.save()
            self.save()

    def _interrupted(self, signals: list[int]) -> bool:
        """Whether any process was told to stop: all leave at the same step, or none does."""
        if self.fabric.world_size == 1:
            return bool(signals)
        told = torch.tensor(float(len(signals)), device=self.fabric.device)
        return bool(self.fabric.all_reduce(told, reduce_op="sum"))

    def _rows(self) -> Iterator[dict[str, float]]:
        """What there is to log after this step."""
        c = self.config
        if self.step % c.log_every == 0:
            loss = sum(self._tail) / len(self._tail)
            yield {"loss": loss, "lr": c.learning_rate(self.step), "seconds": self.seconds}
            self._tail = []
        if self.validation and (self.step % c.validate_every == 0 or self.step == c.steps):
            yield {"validation": self.validate(), "seconds": self.seconds}

    def _choose_range(self) -> None:
        """At the first step and where validation follows, ask a process that wants it for the
        noise levels at which the loss of a few training rows varies least."""
        process = self._choosing
        if process is None or self.step % self.config.validate_every:
            return
        batches = [self._batch(self.step + i) for i in range(RANGE_BATCHES)]
        network: Any = self.network  # has the passes that its process asks for
        rng = seeded(self.config.seed + 2, self.step, self.fabric.device)
        with self.averaged(), self.fabric.autocast():
            chosen = process.least_variable(network, batches, rng)
        # every process must train on the same
        self.process = process.within(self.fabric.broadcast(chosen))

    @property
    def noise_range(self) -> tuple[float, float] | None:
        """The noise levels that training looks at now; None where it was not told to choose."""
        return None if self._choosing is None else self._choosing.noise_range

    @property
    def _choosing(self) -> BlockProcess | None:
        """The process where it asks for its noise levels to be chosen."""
        process = self.process
        return process if isinstance(process, BlockProcess) and process.auto else None

    def _batch(self, index: int) -> Any:
        """This process's part of batch `index`, on its device."""
        rank, world = self.fabric.global_rank, self.fabric.world_size
        return self.batches(index, rank, world).to(self.fabric.device)

    def _advance(self) -> float:
        """One optimiser step over `accumulate` batches; returns the loss in nats a unit."""
        c = self.config
        self.network.train()
        loss = sum(self._backward(self.step * c.accumulate + i) for i in range(c.accumulate))
        length = float(nn.utils.clip_grad_norm_(self.network.parameters(), c.clip))
        for name, value in (("loss", loss), ("gradient", length)):
            if not math.isfinite(value):
                raise ScidiffError(f"the {name} is {value} at step {self.step}: "
                                   f"lower lr (now {c.lr})")  # fmt: skip
        for optimizer in self.optimizers:
            for group in optimizer.param_groups:
                group["lr"] = c.learning_rate(self.step)
            optimizer.step()
            optimizer.zero_grad()
        self.step += 1
        decay = min(c.ema, (1 + self.step) / (10 + self.step))
        torch._foreach_lerp_(self.ema, [p.detach() for p in self.network.parameters()], 1 - decay)
        return loss

    def _backward(self, index: int) -> float:
        """Add the gradient of batch `index`, its noise seeded by (seed, index, process)."""
        rank, world, x0 = self.fabric.global_rank, self.fabric.world_size, self._batch(index)
        rng = seeded(self.config.seed, index * world + rank, self.fabric.device)
        nats = self.loss(_Batch(self.process, x0, rng)).sum()
        loss = nats / self.batches.units(x0) / self.config.accumulate
        self.fabric.backward(loss)
        return float(loss.detach())

    @torch.no_grad()
    def validate(self) -> float:
        """Bound on -log p in nats a unit of the EMA weights on the validation rows, the same
        noise every time and every noise level, whatever training looks at."""
        if self.validation is None:
            raise ScidiffError("there are no validation rows")
        nats, units, process = 0.0, 0.0, getattr(self.process, "whole", self.process)
        with self.averaged():
            for i, x0 in enumerate(self.validation.once()):
                rng = seeded(self.config.seed + 1, i, self.fabric.device)
                x0 = x0.to(self.fabric.device)
                nats += float(self.loss(_Batch(process, x0, rng)).sum())
                units += float(self.validation.units(x0))
        # every process must take the same decision to stop
        value = self.fabric.broadcast(nats / units)
        if self.config.patience and value < self.best:
            self.best_ema = [p.clone() for p in self.ema]
        self.stale = 0 if value < self.best - 1e-4 else self.stale + 1
        self.best, self.newest = min(self.best, value), value
        return value

    # ---- weights

    @property
    def kept(self) -> float:
        """Validation loss of the weights that `use_averaged` leaves: the best with patience, else
        the last; inf without validation rows."""
        return self.newest if self.best_ema is None else self.best

    def use_averaged(self) -> None:
        """Leave the EMA weights in the network for good; with patience, those that validated
        best."""
        chosen = self.ema if self.best_ema is None else self.best_ema
        torch._foreach_copy_([p.data for p in self.network.parameters()], chosen)

    @contextmanager
    def averaged(self) -> Iterator[None]:
        """Swap the EMA weights in, in eval mode, and back out."""
        parameters = [p.data for p in self.network.parameters()]
        kept = [p.clone() for p in parameters]
        torch._foreach_copy_(parameters, self.ema)
        self.network.eval()
        try:
            yield
        finally:
            torch._foreach_copy_(parameters, kept)
            self.network.train()
