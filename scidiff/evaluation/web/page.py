"""A report as one HTML file that needs no network: static parts, the document, style and
script."""

from __future__ import annotations

import base64
import hashlib
import html
import json
from collections.abc import Sequence
from functools import cache
from pathlib import Path

from scidiff.evaluation.web.contents import Contents, Run
from scidiff.evaluation.web.document import as_json, document
from scidiff.evaluation.web.standing import metrics_table

SCRIPTS = ("elements", "query", "molecule", "graph", "sequence", "rows", "plots", "scatter",
           "cards", "app")  # in this order, each uses those before it
_FOLDER = Path(__file__).parent


def page(contents: Contents) -> str:
    """Write the whole file; equal contents give equal bytes."""
    title = html.escape(contents.title)
    return (
        "<!DOCTYPE html>\n<html lang='en'><head><meta charset='utf-8'>"
        f"<meta http-equiv='Content-Security-Policy' content=\"{policy()}\">"
        "<meta name='viewport' content='width=device-width,initial-scale=1'>"
        f"<title>{title}</title><style>{_read('report.css')}</style></head>\n<body>"
        f"<header><h1>{title}</h1><p>{html.escape(subtitle(contents))}</p></header>\n"
        f"{''.join(_notes(run, len(contents.runs) > 1) for run in contents.runs)}"
        f"<div class='overview'><section id='metrics'><h2>Metrics</h2>{metrics_table(contents)}"
        f"</section>\n{_reasons(contents)}</div>\n"
        "<main id='explore'><noscript><p class='warning'>Rows and plots need JavaScript, which "
        "is part of this file: it is switched off.</p></noscript></main>\n"
        f"<section id='provenance'><h2>Provenance</h2>"
        f"{''.join(_provenance(run, len(contents.runs) == 1) for run in contents.runs)}"
        "</section>\n"
        f"<script type='application/json' id='data'>{as_json(document(contents))}</script>\n"
        f"<script>{script()}</script></body></html>\n")


@cache
def script() -> str:
    """All of the script, as one function that is called at once."""
    parts = "\n".join(_read(f"{name}.js") for name in SCRIPTS)
    return f"(() => {{\n'use strict';\n{parts}}})();\n"


def policy() -> str:
    """What a browser may load and run: this script by its hash, and nothing from anywhere."""
    digest = base64.b64encode(hashlib.sha256(script().encode()).digest()).decode()
    return f"default-src 'none'; style-src 'unsafe-inline'; script-src 'sha256-{digest}'"


@cache
def _read(name: str) -> str:
    return (_FOLDER / name).read_text(encoding="utf-8")


def subtitle(contents: Contents) -> str:
    """What is in the report, in one line."""
    parts = []
    for run in contents.runs:
        valid = sum(r.valid for r in run.records)
        shown = f", {len(run.records):,} of them shown" if run.total > len(run.records) else ""
        parts.append(f"{run.name}: {run.total:,} rows{shown}, {valid:,} valid"
                     + (" of these" if shown else ""))
    return " · ".join(parts)


def _notes(run: Run, several: bool) -> str:
    name = f"<b>{html.escape(run.name)}</b> " if several else ""
    return "".join(f"<p class='note'>{name}{html.escape(line)}</p>" for line in run.notes)


def _reasons(contents: Contents) -> str:
    """Why rows are invalid, how often, a bar a run."""
    found = dict.fromkeys(reason for run in contents.runs for reason in run.reasons)
    if not found:
        return ""
    most = max(n for run in contents.runs for n in run.reasons.values())
    body = "".join(f"<tr><td>{_bars(reason, contents.runs, most)}</td>"
                   f"<td>{html.escape(reason)}</td></tr>" for reason in found)
    return ("<section id='reasons'><h2>Why rows are invalid</h2>"
            f"<table class='reasons'><tbody>{body}</tbody></table></section>\n")


def _bars(reason: str, runs: Sequence[Run], most: int) -> str:
    """How many rows of each run a reason has, a bar with its number a run."""
    tall = 14 * len(runs)
    bars = "".join(
        f"<rect class='run{i}' y='{14 * i + 2}' width='{130 * n / most:.1f}' height='10' rx='2'/>"
        f"<text x='{130 * n / most + 5:.1f}' y='{14 * i + 11}'>{n:,}"
        f"<title>{html.escape(run.name)}</title></text>"
        for i, run in enumerate(runs) for n in [run.reasons.get(reason, 0)])
    return (f"<svg class='bars' width='180' height='{tall}' viewBox='0 0 180 {tall}' role='img' "
            f"aria-label='numbers of rows'>{bars}</svg>")


def _provenance(run: Run, alone: bool) -> str:
    """What is known of an input; closed where there are several, and then not printed."""
    text = json.dumps(run.provenance, indent=1, sort_keys=True, ensure_ascii=False)
    return (f"<details{' open' if alone else ''}><summary>{html.escape(run.name)}</summary>"
            f"<pre>{html.escape(text)}</pre></details>")
