"""Where a training run shows what it logs: a bar in the terminal, and TensorBoard where it is
installed."""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeRemainingColumn


class TrainingProgress:
    """Show the rows of a run, stage by stage; call it with (stage, step, row), as `on_log` is.

    `steps` says how many steps each stage has. Outside a terminal every row is a line. With
    TensorBoard installed, the scalars of a stage go to `out`/<stage>/tensorboard.
    """

    def __init__(
        self, steps: Mapping[str, int], out: Path, console: Console | None = None
    ) -> None:
        self.steps, self.out = steps, Path(out)
        self.console = console or Console(stderr=True)
        self.bar = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            TextColumn("{task.completed:.0f}/{task.total:.0f}"),
            TimeRemainingColumn(),
            TextColumn("{task.fields[said]}"),
            console=self.console,
            disable=not self.console.is_terminal or os.environ.get("RANK", "0") != "0",
        )
        self._tasks: dict[str, TaskID] = {}
        self._last: dict[str, dict[str, float]] = {}
        self._writers: dict[str, Any] = {}

    def __enter__(self) -> Self:
        self.bar.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.bar.stop()
        for writer in self._writers.values():
            writer.close()

    def __call__(self, stage: str, step: int, row: dict[str, float]) -> None:
        last = self._last.setdefault(stage, {})
        last.update(row)
        said = "  ".join(f"{k} {last[k]:.4f}" for k in ("loss", "validation") if k in last)
        if self.bar.disable:
            self.console.print(f"{stage}  {step}/{self.steps[stage]}  {said}", highlight=False)
        elif stage not in self._tasks:
            total = self.steps[stage]
            self._tasks[stage] = self.bar.add_task(stage, total=total, completed=step, said=said)
        else:
            self.bar.update(self._tasks[stage], completed=step, said=said)
        self._to_tensorboard(stage, step, row)

    def _to_tensorboard(self, stage: str, step: int, row: dict[str, float]) -> None:
        if importlib.util.find_spec("tensorboard") is None:
            return
        if stage not in self._writers:
            from torch.utils.tensorboard import SummaryWriter

            # what a killed run had written behind its last checkpoint is purged
            self._writers[stage] = SummaryWriter(
                str(self.out / stage / "tensorboard"), purge_step=step
            )
        for name, value in row.items():
            self._writers[stage].add_scalar(name, value, step)
