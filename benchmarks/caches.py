"""Approximations for their price: tokens that are kept though all sees all, and tokens of a step
that are taken as a left-to-right guide agrees.

    python benchmarks/caches.py                                  shipped masked models of sequences
    python benchmarks/caches.py --models runs/qm9-smiles-masked/model -n 300
    python benchmarks/caches.py --models utr-rna --guide runs/ar/model     and its guide

Exact rows and several tokens a step stand beside them: an approximation pays where it is nearer
to the exact rows at the same price. The price is positions read a sample (network rows where none
is counted) and seconds of this thread. Quality: the share of valid rows of molecules; of sequences
the Jensen-Shannon distance (square root, nats) of 2-mers, of 3-mers where there are four letters,
to as many exact rows of another seed; rows that are exact say how small it can be. Gap: KL of the
exact prediction and what was told in its place, nats a hidden position, mean over a chain.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch

import scidiff as sd
from scidiff.api.card import table
from scidiff.core import seeded
from scidiff.data.letters import kmer_codes, letter_ids
from scidiff.data.tokens import TokenState
from scidiff.evaluation.intervals import wilson
from scidiff.evaluation.kmers import kmer_distance
from scidiff.guidance.particles import sample
from scidiff.networks.approximate_cache import ApproximateDenoiser

SHIPPED = ("amp-peptide", "utr-rna", "enhancer-dna")
CACHES = ("delayed:1", "delayed", "delayed:16", "delayed:4", "periodic:16", "periodic:4")
AHEAD, AGREEMENTS = 4, (0.1, 0.3, 0.6, 1.0)
PROBED = 8  # of a chain's steps


def gap(sampler: Any, n: int) -> float:
    """Mean KL(exact | told) of what rows hide, along a chain."""
    kept, x, found = sampler.denoiser, sampler.init(n, seeded(9)), []
    every = max(1, sampler.num_steps // PROBED)
    for k in range(sampler.num_steps - 1):
        x = sampler.step(x, k, seeded(9, k))
        hidden = x.ids == kept.mask_id
        if k % every or not hidden.any():
            continue
        told = kept.log_probs(x.trunk.dense()[hidden])
        true = kept.log_probs(kept(TokenState(x.ids, condition=x.condition), k)[hidden])
        terms = torch.where(true > -torch.inf, true.exp() * (true - told), 0.0)
        found.append(float(terms.sum(-1).mean()))
    return float(np.mean(found))


def cache_of(denoiser: Any) -> ApproximateDenoiser | None:
    inner = getattr(denoiser, "inner", None)
    return inner if isinstance(inner, ApproximateDenoiser) else None


class Quality:
    """What rows of a model are worth."""

    def __init__(self, model: Any, n: int) -> None:
        self.model, self.molecules = model, model.domain.kind == "molecule"
        self.letters = "".join(model.config["vocabulary"]["symbols"])
        self.k = 3 if len(self.letters) == 4 else 2
        if not self.molecules:
            exact = model.sampler(tokens_per_step=1)
            with torch.no_grad():
                self.other = self.codes(model.domain.decode(sample(exact, n, seeded(2))))

    def codes(self, records: Any) -> Any:
        ids = letter_ids([r.text for r in records], self.letters)
        return kmer_codes(ids, self.k, len(self.letters))

    def __call__(self, x: TokenState) -> dict[str, str]:
        records = self.model.domain.decode(x)
        if self.molecules:
            valid = [r.valid for r in records]
            low, high = wilson(sum(valid), len(valid))
            return {"valid": f"{np.mean(valid):.3f} [{low:.3f}, {high:.3f}]"}
        width = len(self.letters) ** self.k
        distance = kmer_distance(self.codes(records), self.other, width)
        return {f"JS of {self.k}-mers": f"{distance:.4f}"}


def network_rows(sampler: Any, n: int) -> str:
    """Rows a sample, and those of its guide."""
    guide = getattr(getattr(sampler, "guide", None), "rows", 0)
    own = f"{(sampler.denoiser.rows - guide) / n:.1f}"
    return f"{own} + {guide / n:.1f}" if guide else own


def measured(quality: Quality, n: int, probe: int, **settings: Any) -> dict[str, Any]:
    """One row of the table."""
    model = quality.model
    sampler = model.sampler(**settings)
    began = time.thread_time()
    with torch.no_grad():
        x = sample(sampler, n, seeded(1))
    seconds, cache = time.thread_time() - began, cache_of(sampler.denoiser)
    read = None if cache is None else cache.positions / n
    with torch.no_grad():
        off = gap(model.sampler(**settings), probe) if cache is not None and probe else None
    shown = {k: getattr(v, "name", v) for k, v in settings.items()}
    return {
        "settings": ", ".join(f"{k}={v}" for k, v in shown.items()) or "as shipped",
        "positions read": "" if read is None else f"{read:,.0f}",
        "network rows": network_rows(sampler, n), "CPU ms": f"{1000 * seconds / n:.0f}",
        "gap, nats": "" if off is None else f"{off:.4f}", **quality(x),
    }  # fmt: skip


def caches(model: Quality, n: int, probe: int) -> Iterator[dict[str, Any]]:
    for refresh in CACHES:
        yield measured(model, n, probe, tokens_per_step=1, approximate_cache=refresh)
    for tokens in (1, 2, 4):
        yield measured(model, n, probe, tokens_per_step=tokens)


def guided(model: Quality, guide: Any, n: int) -> Iterator[dict[str, Any]]:
    for tokens in (1, 2, AHEAD):
        yield measured(model, n, 0, order="sequential", tokens_per_step=tokens)
    for agreement in AGREEMENTS:
        yield measured(model, n, 0, guide=guide, tokens_per_step=AHEAD, agreement=agreement)
    if model.model.engine.block_causal:
        yield measured(model, n, 0, guide=guide, tokens_per_step=AHEAD, guide_rule="exact")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--models", nargs="+", default=list(SHIPPED))
    parser.add_argument("--guide", help="a left-to-right model of the same strings")
    parser.add_argument("-n", type=int, default=200)
    parser.add_argument("--probe", type=int, default=16, help="rows of which the gap is measured")
    given = parser.parse_args()
    torch.set_num_threads(1)
    for name in given.models:
        model = sd.load(name, device="cpu")
        guide = None if given.guide is None else sd.load(given.guide, device="cpu")
        quality = Quality(model, given.n)
        if guide is None:
            rows = caches(quality, given.n, given.probe)
        else:
            rows = guided(quality, guide, given.n)
        print(f"\n{model.name}, {given.n} rows of a setting\n\n{table(list(rows))}", flush=True)


if __name__ == "__main__":
    main()
