"""The card of a model directory (README.md): what it is, what it was trained on, how good it
is."""

from __future__ import annotations

import os
import platform
from collections.abc import Mapping, Sequence
from typing import Any

import torch


def hardware() -> str:
    """The machine, in words: GPU if there is one, else processor and cores."""
    if torch.cuda.is_available():
        return f"{torch.cuda.get_device_name()}, torch {torch.__version__}"
    return f"{os.cpu_count()} CPU cores ({platform.machine()}), torch {torch.__version__}"


def table(rows: Sequence[Mapping[str, Any]]) -> str:
    """A Markdown table of records with the same keys."""
    if not rows:
        return ""
    head = list(rows[0])
    lines = ["| " + " | ".join(head) + " |", "|" + " --- |" * len(head)]
    lines += ["| " + " | ".join(_cell(row[key]) for key in head) + " |" for row in rows]
    return "\n".join(lines)


def _cell(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def card(title: str, facts: Mapping[str, Any], sections: Mapping[str, str]) -> str:
    """Write a card: a table of facts, then sections of Markdown."""
    rows = [{"what": key, "value": value} for key, value in facts.items()]
    parts = [
        f"# {title}",
        table(rows),
        *(f"## {name}\n\n{text}" for name, text in sections.items()),
    ]
    return "\n\n".join(parts) + "\n"


def replace_section(text: str, name: str, content: str) -> str:
    """Put `content` under heading `name` of a card, in place of what stood there, or at its
    end."""
    head, found, tail = text.partition(f"## {name}\n")
    if not found:
        return f"{text.rstrip()}\n\n## {name}\n\n{content.rstrip()}\n"
    _, more, rest = tail.partition("\n## ")
    return f"{head}## {name}\n\n{content.rstrip()}\n" + (f"\n## {rest}" if more else "")
