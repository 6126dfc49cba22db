"""A trained model as a user holds it: sample, infill, log_likelihood; made by `sd.load`."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from scidiff.api import frontier
from scidiff.api.actors import chunks_on
from scidiff.api.engine import Engine, open_engine
from scidiff.api.properties import Property, sample_property
from scidiff.api.requests import LikelihoodRequest
from scidiff.api.sources import SHIPPED as SHIPPED
from scidiff.api.sources import choose_device as choose_device
from scidiff.api.sources import model_folder as model_folder
from scidiff.api.token_sampling import approximations
from scidiff.api.typed import typed
from scidiff.core import ScidiffError
from scidiff.data.conditions import Asked, Conditions, per_row, varies
from scidiff.data.records import Record
from scidiff.domains.domain import Domain, find_domain, spelled

if TYPE_CHECKING:
    import pandas as pd

    from scidiff.api.results import SampleResult
    from scidiff.api.streaming import Piece
    from scidiff.evaluation.novelty import NoveltyFilter
    from scidiff.evaluation.trajectories import Trajectory

CHUNK = 1000  # rows drawn under one seed; part of what a seed means, so it never depends on memory
DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}


class Model:
    """A network with its domain and settings. `model.config` holds everything that config.json
    says; of a weight file of GDSS it is made up from the file and the data set's name."""

    def __init__(self, source: Path, *, device: str | None = None, dtype: str = "float32") -> None:
        if dtype not in DTYPES:
            raise ValueError(f"dtype must be one of {', '.join(DTYPES)}, got {dtype!r}")
        self.source = source
        self.engine: Engine = open_engine(source, choose_device(device), DTYPES[dtype])
        self.config = self.engine.config
        self.name = str(self.config.get("name", source.name))
        options = self.config.get("domain_options", {})
        make = find_domain(self.config["domain"])
        self.domain: Domain = make(self.engine.vocabulary, **options)

    def __repr__(self) -> str:
        millions = sum(p.numel() for p in self.engine.network.parameters()) / 1e6
        kind = self.config["process"]["kind"]
        return f"<Model {self.name}: {self.domain.name}, {kind} diffusion, {millions:.1f} M>"

    @cached_property
    def conditions(self) -> Conditions | None:
        """What its objects may be asked to be like; None of a model that was told nothing."""
        known = self.config.get("conditions")
        return Conditions.of_config(known) if known else None

    def asked(self, condition: Asked, n: int) -> torch.Tensor:
        """What n rows are asked to be like as the network reads it, (n, C). Raises ValueError for
        a condition that the model does not take."""
        if self.conditions is None:
            raise ValueError(f"{self.name} takes no condition, got {dict(condition)}")
        return torch.from_numpy(self.conditions.encode(condition, n)).to(self.engine.device)

    @cached_property
    def novelty(self) -> NoveltyFilter | None:
        """What `novel` is measured against: a filter of the whole training set, if one was
        shipped."""
        from scidiff.evaluation.novelty import NoveltyFilter

        file = self.source / "train_filter.npz"
        return NoveltyFilter.load(file) if file.is_file() else None

    def sampler(self, **overrides: Any) -> Any:
        """The model's sampler (core.Sampler), with any of its settings (`block_size`, `order`,
        `solver`, `steps`, ...) overridden."""
        return self.engine.sampler(**overrides)

    def chosen(
        self, n: int, quality: str | None = None, seconds: float | None = None, **overrides: Any
    ) -> dict[str, Any]:
        """Overrides for n rows: those of a point of the model's frontier, the given ones on
        top.

        quality: draft, balanced or exact. seconds: the best that n rows can be had for. Raises
        ScidiffError where the model has no frontier (`tune`), or none of its points is fast
        enough.
        """
        point = frontier.choose(self.config.get("frontier"), self.name, n, quality, seconds)
        return {**point, **overrides}

    def provenance(self, seed: int, **extra: Any) -> dict[str, Any]:
        """What a result records about where it came from."""
        from scidiff import __version__

        used = {"model": self.name, "sha256": self.config["sha256"], "seed": seed, "chunk": CHUNK}
        return {**used, "scidiff": __version__, "torch": torch.__version__, **extra}

    @typed
    def sample(
        self,
        n: int,
        seed: int = 0,
        *,
        quality: str | None = None,
        seconds: float | None = None,
        correct: bool = False,
        cluster: str | None = None,
        on_rows: Callable[[int], object] | None = None,
        **overrides: Any,
    ) -> SampleResult:
        """Draw n objects; every row is kept, an invalid one with the reason.

        The rows depend on (seed, n's chunks of 1000) alone: the first 1000 of n = 2000 are those
        of n = 1000. Keyword arguments override the model's sampling settings; `quality` (draft,
        balanced, exact) or `seconds` chooses them from its frontier. `correct` repairs invalid
        molecules afterwards and says so row by row (`SampleResult.corrected`). With `cluster`, the
        address of a Ray cluster or "local", its actors draw the same rows. `on_rows` is told after
        each chunk how many rows are new.

        A conditional model takes `condition`, by name one value for all rows or one a row
        (`{"cell": "K562"}`), and `weight`, that of classifier-free guidance; what was asked is a
        column of the result. As a `Property` it is a range: targets are drawn from it, and what
        was written is measured again.
        """
        if n <= 0:
            raise ValueError(f"n must be at least 1, got {n}")
        if isinstance(overrides.get("condition"), Property):
            how = {"quality": quality, "seconds": seconds, "on_rows": on_rows, **overrides}
            result = sample_property(self, n, how.pop("condition"), seed, **how)
            return result.corrected() if correct else result
        overrides = self.chosen(n, quality, seconds, **overrides)
        settings = self.engine.settings(overrides)
        records: list[Record] = []
        parts = self.chunks(n, seed, **overrides)
        if cluster is not None:
            parts = chunks_on(cluster, self, n, seed, CHUNK, overrides)
        for part in parts:
            records += part
            if on_rows is not None:
                on_rows(len(part))
        asked = overrides.get("condition")
        columns = per_row(asked, n) if asked else None
        result = self.result(records, seed, columns, n=n, sampling=settings)
        return result.corrected() if correct else result

    def result(
        self,
        records: Sequence[Record],
        seed: int,
        columns: Mapping[str, Sequence[Any]] | None = None,
        **extra: Any,
    ) -> SampleResult:
        """Rows of this model as a result, with their provenance."""
        from scidiff.api.results import SampleResult

        return SampleResult(
            records,
            kind=self.domain.kind,
            provenance=self.provenance(seed, **extra),
            columns=columns,
            novelty=self.novelty,
            notes=[
                *published_validity(records, self.domain),
                *approximations(extra.get("sampling", {})),
            ],
        )

    def chunks(
        self, n: int, seed: int = 0, *, first: int = 0, **overrides: Any
    ) -> Iterator[list[Record]]:
        """Draw the rows of `sample` chunk by chunk, from chunk `first` on."""
        from scidiff.api.infilling import read_rows
        from scidiff.guidance.chunks import in_chunks
        from scidiff.guidance.particles import sample
        from scidiff.samplers.masked import told_rows

        asked = overrides.get("condition")
        table = self.asked(asked, n) if asked and varies(asked) else None
        if asked and table is not None:
            overrides["condition"] = {k: column[0] for k, column in per_row(asked, n).items()}
        sampler, done = self.sampler(**overrides), first * CHUNK

        def draw(size: int, rng: torch.Generator) -> list[Record]:
            nonlocal done
            told = sampler if table is None else told_rows(sampler, table[done : done + size])
            records = read_rows(self, sample(told, size, rng), overrides)
            done += size
            return records

        return in_chunks(
            n,
            CHUNK,
            seed,
            draw,
            device=self.engine.device,
            denoiser=sampler.denoiser,
            first=first,
        )

    def infill(
        self,
        pattern: str,
        n: int = 16,
        seed: int = 0,
        *,
        gap: tuple[int, int] | Sequence[tuple[int, int]] | None = (1, 12),
        candidates: int = 64,
        **overrides: Any,
    ) -> SampleResult:
        """Write what `pattern` leaves open ([*] a gap, ? one token) n times; all around it is kept
        as it is (`infilling.infill`)."""
        from scidiff.api.infilling import infill

        return infill(self, pattern, n, seed, gap=gap, candidates=candidates, **overrides)

    def complete(self, prompt: str, n: int = 16, seed: int = 0, **overrides: Any) -> SampleResult:
        """Draw n objects whose text begins with `prompt` (`streaming.complete`)."""
        from scidiff.api.streaming import complete

        return complete(self, prompt, n, seed, **overrides)

    def stream(
        self, n: int = 1, seed: int = 0, *, prompt: str = "", **overrides: Any
    ) -> Iterator[Piece]:
        """Draw n objects and hand out their text block by block (`streaming.stream`)."""
        from scidiff.api.streaming import stream

        return stream(self, n, seed, prompt=prompt, **overrides)

    def edit(
        self, texts: str | Sequence[str], n: int = 1, seed: int = 0, **how: Any
    ) -> SampleResult:
        """Hide a part of each object and let the model write it again, n times
        (`editing.edit`)."""
        from scidiff.api.editing import edit

        return edit(self, texts, n, seed, **how)

    def interpolate(
        self, a: str, b: str, steps: int = 7, n: int = 1, seed: int = 0, **how: Any
    ) -> SampleResult:
        """Objects on the way from a to b (`editing.interpolate`)."""
        from scidiff.api.editing import interpolate

        return interpolate(self, a, b, steps, n, seed, **how)

    def trajectory(
        self, row: int = 0, n: int | None = None, seed: int = 0, **overrides: Any
    ) -> Trajectory:
        """How row `row` of sample(n, seed, **overrides) came about (`trajectory.trajectory`)."""
        from scidiff.api.trajectory import trajectory

        return trajectory(self, row, n, seed, **overrides)

    def unreadable(self, text: str) -> str:
        """Why the model cannot hold an object, in one line, or ""."""
        try:
            self.engine.encode([self.domain.spell(text)])
        except (ValueError, ScidiffError) as error:
            reason = str(error).removeprefix("row 1").removeprefix(":").strip()
            return reason.split("; the vocabulary")[0]
        return ""

    @typed
    def log_likelihood(
        self,
        strings: Sequence[str],
        *,
        draws: int = 32,
        block_size: int | None = None,
        seed: int = 0,
        method: str | None = None,
        condition: Asked | None = None,
    ) -> pd.DataFrame:
        """Log p (nats) of each object, for token models a lower bound, with its standard error.

        Exact (error 0) for a left-to-right model at block_size 1. A masked model, which hides an
        exact count of tokens (method "k"), each at a rate ("t"), writes them in random orders
        ("order") or from left to right ("sequential", exact for a sampler with that order), is
        given the length, as is a flow: `log_p_size` is what the length adds. An object's noise is
        its own, so its value is the same in any company. A graph is taken in the order of nodes
        in which it is written; a graph SDE says the density of its arrays, noised to t = 1e-4, by
        the probability flow (`draws` probes).
        """
        import pandas as pd

        if draws < 2:
            raise ValueError(f"draws must be at least 2 to give a standard error, got {draws}")
        if not len(strings):
            raise ValueError("log_likelihood takes at least one text, got none")
        texts = spelled(self.domain, strings)
        how = LikelihoodRequest(draws, block_size, seed, method, condition)
        value, error = self.engine.log_likelihood(texts, how)
        return pd.DataFrame(
            {
                "text": list(strings),
                "log_likelihood": value.tolist(),
                "standard_error": error.tolist(),
                "log_p_size": self.engine.length_log_prob(texts).tolist(),
                self.engine.unit: self.engine.sizes(texts),
            }
        )


def published_validity(records: Sequence[Record], domain: Domain) -> list[str]:
    """The validity that GDSS and those after it publish, beside our stricter one: a line for
    molecular graphs, which must also be sanitised and connected here."""
    rules = getattr(domain, "rules", ())
    if domain.kind != "molecule" or "valence" not in rules or rules == ("valence",):
        return []
    passed = sum(not r.reason.startswith("valence") for r in records) / max(1, len(records))
    return [
        f"valence alone, published as validity without correction: {passed:.1%}; valid here obeys "
        f"{', '.join(rules)}"
    ]
