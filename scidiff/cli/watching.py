"""A campaign while it runs: one line that is renewed four times a second on stderr, or, where
nobody looks at a terminal, a line a round."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from rich.console import Console
from rich.live import Live
from rich.table import Table

if TYPE_CHECKING:
    from scidiff.guidance.campaign import Campaign


@contextmanager
def watching(what: str) -> Iterator[Callable[[Campaign], None]]:
    """Yield what `sd.design` calls as `watch`: with the campaign before its first round and after
    every one."""
    console = Console(stderr=True)
    board = Board(what)
    if not console.is_terminal:
        yield lambda campaign: _said(console, board, campaign)
        return
    with Live(get_renderable=board.table, console=console, refresh_per_second=4, transient=True):
        yield board.see


class Board:
    """What is shown of a campaign; read while it runs."""

    def __init__(self, what: str) -> None:
        self.what, self.begun = what, time.monotonic()
        self.campaign: Campaign | None = None
        self._before = 0  # objects that an earlier process had asked

    def see(self, campaign: Campaign) -> None:
        if self.campaign is None:
            self._before = campaign.ledger.asked
        self.campaign = campaign

    def facts(self) -> dict[str, str]:
        """Round, calls, hits, best, mean, diversity, hypervolume of a front, time left."""
        campaign = self.campaign
        if campaign is None:
            return {"": "loading"}
        scorer, limit = campaign.reward.scorer, campaign.limits.calls
        last = campaign.history[-1] if campaign.history else {}
        return {
            "round": f"{campaign.number + 1}",
            "asked": f"{scorer.asked:,}" + (f" of {limit:,}" if limit else ""),
            "cache hits": f"{scorer.cache_hits + scorer.disk_hits:,}",
            "best": _number(last.get("best")),
            "ten best": _number(last.get("mean_10")),
            "diversity": _number(last.get("diversity")),
            **({"hypervolume": _number(last["hypervolume"])} if "hypervolume" in last else {}),
            "left": self._left(scorer.asked, limit),
        }

    def table(self) -> Table:
        shown = Table.grid(padding=(0, 2))
        facts = self.facts()
        for _ in facts:
            shown.add_column()
        shown.add_row(*(f"[dim]{name}[/dim] {value}" for name, value in facts.items()))
        outer = Table.grid()
        outer.add_row(self.what)
        outer.add_row(shown)
        return outer

    def _left(self, asked: int, limit: int | None) -> str:
        new = asked - self._before
        if limit is None or new < 1:
            return "–"
        seconds = (limit - asked) * (time.monotonic() - self.begun) / new
        return f"about {seconds / 60:,.0f} min" if seconds >= 90 else f"about {seconds:.0f} s"


def _said(console: Console, board: Board, campaign: Campaign) -> None:
    board.see(campaign)
    if campaign.history:
        facts = {**board.facts(), "round": str(campaign.number)}
        console.print(" · ".join(f"{name} {value}" for name, value in facts.items()),
                      highlight=False, soft_wrap=True)


def _number(value: float | None) -> str:
    return "–" if value is None or math.isnan(value) else f"{value:.3f}"
