"""The training loop, the only one: Lightning Fabric, EMA, mixed precision, resume after a kill at
any moment."""

from __future__ import annotations

import json
import math
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from lightning.fabric import Fabric
from torch import Tensor, nn

from scidiff.core import Process, ScidiffError, seeded
from scidiff.data.tokens import PAD
from scidiff.training.batches import TokenBatches


@dataclass(frozen=True)
class TrainConfig:
    steps: int
    batch_size: int = 256
    lr: float = 3e-3
    warmup: int = 200
    weight_decay: float = 0.0
    clip: float = 1.0
    ema: float = 0.999
    precision: str = "bf16-mixed"
    compile: bool = (
        False  # fuse the network's blocks with torch.compile (needs a C++ compiler on the CPU)
    )
    accumulate: int = 1
    log_every: int = 50
    validate_every: int = 1000
    checkpoint_every: int = 500
    patience: int = 0  # stop after this many validations without a better loss; 0 = never
    seed: int = 0

    __pydantic_config__ = {"extra": "forbid"}  # an unknown key of a recipe is an error

    def __post_init__(self) -> None:
        for name in (
            "steps",
            "batch_size",
            "accumulate",
            "log_every",
            "validate_every",
            "checkpoint_every",
        ):
            if getattr(self, name) < 1:
                raise ValueError(f"training.{name} must be at least 1, got {getattr(self, name)}")

    def learning_rate(self, step: int) -> float:
        """Linear warm-up, then a cosine down to 1 % at the last step."""
        if step < self.warmup:
            return self.lr * (step + 1) / self.warmup
        progress = (step - self.warmup) / max(1, self.steps - self.warmup)
        return self.lr * (0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * min(1.0, progress))))


class _Loss(nn.Module):
    """The process's loss as a module, so that Fabric wraps one forward for precision and data
    parallelism."""

    def __init__(self, network: nn.Module, process: Process[Any]) -> None:
        super().__init__()
        self.network, self.process = network, process

    def forward(self, batch: _Batch) -> Tensor:
        return self.process.loss(self.network, batch.x0, batch.rng)


class _Batch:
    """Clean rows and their noise; opaque to Fabric, which would otherwise cast the data to the
    network's precision."""

    def __init__(self, x0: Any, rng: torch.Generator) -> None:
        self.x0, self.rng = x0, rng


def optimizers(network: nn.Module, config: TrainConfig) -> list[torch.optim.Optimizer]:
    """Muon (Jordan et al. 2024) for the matrices inside blocks, AdamW for embeddings, heads, norms
    and biases."""
    inside = [p for n, p in network.named_parameters() if p.ndim == 2 and "blocks." in n]
    ids = {id(p) for p in inside}
    rest = [p for p in network.parameters() if id(p) not in ids]
    adam = torch.optim.AdamW(
        rest, lr=config.lr, betas=(0.9, 0.98), weight_decay=config.weight_decay
    )
    if not inside:
        return [adam]
    muon = torch.optim.Muon(
        inside, lr=config.lr, weight_decay=config.weight_decay, adjust_lr_fn="match_rms_adamw"
    )
    return [muon, adam]


class Trainer:
    """Train `network` by `process` on `batches`; `out/state/last.pt` always holds the newest
    complete state."""

    def __init__(
        self,
        network: nn.Module,
        process: Process[Any],
        batches: TokenBatches,
        config: TrainConfig,
        out: Path,
        *,
        validation: TokenBatches | None = None,
        accelerator: str = "auto",
    ) -> None:
        self.config, self.out, self.batches, self.validation = (
            config,
            Path(out),
            batches,
            validation,
        )
        world = int(os.environ.get("WORLD_SIZE", "1"))
        self.fabric = Fabric(
            accelerator=accelerator,
            devices=world if accelerator == "cpu" else "auto" if world > 1 else 1,
            precision=config.precision,
        )  # type: ignore[arg-type]
        self.fabric.launch()
        self.network = network
        if config.compile:
            for part in getattr(network, "blocks", [network]):
                part.compile(dynamic=True)
        self.loss, *self.optimizers = self.fabric.setup(
            _Loss(network, process), *optimizers(network, config)
        )
        self.ema = [p.detach().clone() for p in network.parameters()]
        self.step, self.best, self.stale, self.seconds = 0, math.inf, 0, 0.0
        self._tail: list[float] = []

    # ---- state

    @property
    def state_file(self) -> Path:
        return self.out / "state" / "last.pt"

    def save(self) -> None:
        """Write the whole state to a temporary name and rename it."""
        if self.fabric.global_rank != 0:
            return
        self.state_file.parent.mkdir(parents=True, exist_ok=True)
        state = {
            "network": self.network.state_dict(),
            "ema": self.ema,
            "step": self.step,
            "best": self.best,
            "stale": self.stale,
            "seconds": self.seconds,
            "tail": self._tail,
            "config": asdict(self.config),
            "optimizers": [o.state_dict() for o in self.optimizers],
        }
        temporary = self.state_file.with_suffix(".tmp")
        torch.save(state, temporary)
        os.replace(temporary, self.state_file)

    def resume(self) -> bool:
        """Continue from the last complete checkpoint of `out` if there is one; the log is cut back
        to its step."""
        if not self.state_file.exists():
            return False
        state = torch.load(self.state_file, map_location=self.fabric.device, weights_only=True)
        theirs = {
            k: v for k, v in state["config"].items() if k not in ("checkpoint_every", "log_every")
        }
        changed = [k for k, v in theirs.items() if asdict(self.config)[k] != v]
        if changed:
            raise ScidiffError(
                f"{self.out} was started with other settings ({', '.join(changed)}); "
                "use another --out or the old recipe"
            )
        self.network.load_state_dict(state["network"])
        self.ema = state["ema"]
        for optimizer, saved in zip(self.optimizers, state["optimizers"], strict=True):
            optimizer.load_state_dict(saved)
        self.step, self.best, self.stale = state["step"], state["best"], state["stale"]
        self.seconds, self._tail = state["seconds"], state["tail"]
        self._cut_log()
        return True

    def _cut_log(self) -> None:
        log = self.out / "log.jsonl"
        if log.exists() and self.fabric.global_rank == 0:
            lines = [
                line
                for line in log.read_text().splitlines()
                if json.loads(line)["step"] <= self.step
            ]
            log.write_text("".join(line + "\n" for line in lines))

    def log(self, **row: float) -> None:
        if self.fabric.global_rank == 0:
            self.out.mkdir(parents=True, exist_ok=True)
            with (self.out / "log.jsonl").open("a") as f:
                f.write(json.dumps({"step": self.step, **row}) + "\n")

    # ---- the loop

    def fit(self, on_log: Callable[[int, dict[str, float]], None] | None = None) -> None:
        """Train to the last step, or until patience runs out; on an interrupt the state is saved
        first."""
        try:
            for row in self._rows():
                self.log(**row)
                if on_log:
                    on_log(self.step, row)
        except KeyboardInterrupt:
            self.save()
            raise
        self.save()

    def _rows(self) -> Iterator[dict[str, float]]:
        c, started = self.config, time.perf_counter() - self.seconds
        while self.step < c.steps and not (c.patience and self.stale >= c.patience):
            self._tail.append(self._advance())
            self.seconds = time.perf_counter() - started
            if self.step % c.log_every == 0:
                yield {
                    "loss": sum(self._tail) / len(self._tail),
                    "lr": c.learning_rate(self.step),
                    "seconds": self.seconds,
                }
                self._tail = []
            if self.validation and (self.step % c.validate_every == 0 or self.step == c.steps):
                yield {"validation": self.validate(), "seconds": self.seconds}
            if self.step % c.checkpoint_every == 0:
                self.save()

    def _advance(self) -> float:
        """One optimiser step over `accumulate` batches; returns the loss in nats a token."""
        c, total = self.config, 0.0
        self.network.train()
        for i in range(c.accumulate):
            index = self.step * c.accumulate + i
            x0 = self.batches(index, self.fabric.global_rank, self.fabric.world_size).to(
                self.fabric.device
            )
            rng = seeded(
                c.seed,
                index * self.fabric.world_size + self.fabric.global_rank,
                self.fabric.device,
            )
            loss = self.loss(_Batch(x0, rng)).sum() / (x0.ids != PAD).sum() / c.accumulate
            self.fabric.backward(loss)
            total += float(loss.detach())
        if not math.isfinite(total):
            raise ScidiffError(
                f"the loss is {total} at step {self.step}: lower training.lr (now {c.lr})"
            )
        nn.utils.clip_grad_norm_(self.network.parameters(), c.clip)
        for optimizer in self.optimizers:
            for group in optimizer.param_groups:
                group["lr"] = c.learning_rate(self.step)
            optimizer.step()
            optimizer.zero_grad()
        self.step += 1
        decay = min(c.ema, (1 + self.step) / (10 + self.step))
        torch._foreach_lerp_(self.ema, [p.detach() for p in self.network.parameters()], 1 - decay)
        return total

    @torch.no_grad()
    def validate(self) -> float:
        """Bound on -log p in nats a token of the EMA weights on the validation rows, the same
        noise every time."""
        if self.validation is None:
            raise ScidiffError("there are no validation rows")
        nats = tokens = 0.0
        with self.averaged():
            for i, x0 in enumerate(self.validation.once()):
                x0 = x0.to(self.fabric.device)
                nats += float(
                    self.loss(
                        _Batch(x0, seeded(self.config.seed + 1, i, self.fabric.device))
                    ).sum()
                )
                tokens += float((x0.ids != PAD).sum())
        value = nats / tokens
        self.stale = 0 if value < self.best - 1e-4 else self.stale + 1
        self.best = min(self.best, value)
        return value

    def use_averaged(self) -> None:
        """Leave the EMA weights in the network for good."""
        torch._foreach_copy_([p.data for p in self.network.parameters()], self.ema)

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
