"""A trained model as a user holds it: sample, infill, log_likelihood; made by `sd.load`."""

from __future__ import annotations

import difflib
import logging
import re
from collections.abc import Callable, Iterator, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from scidiff.api.strings import StringEngine, settings
from scidiff.core import ScidiffError, seeded
from scidiff.data.records import Record
from scidiff.data.tokens import Vocabulary
from scidiff.domains.domain import Domain, find_domain
from scidiff.samplers.masked import MaskedSampler
from scidiff.training.checkpoint import load_network, read_config, refuse_pickle

if TYPE_CHECKING:
    import pandas as pd

    from scidiff.api.results import SampleResult
    from scidiff.evaluation.novelty import NoveltyFilter

CHUNK = 1000  # rows drawn under one seed; part of what a seed means, so it never depends on memory
SHIPPED = Path(__file__).parents[1] / "models"
DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}
_log = logging.getLogger("scidiff")


class UnknownModel(ScidiffError):
    """A model name that is neither shipped nor a directory."""


def shipped_models() -> list[str]:
    """Names of the models that come with the package."""
    if not SHIPPED.is_dir():
        return []
    return sorted(p.name for p in SHIPPED.iterdir() if (p / "config.json").is_file())


def model_folder(name: str | Path) -> Path:
    """Resolve a shipped name, a directory or hf://owner/name to a model directory."""
    if str(name).startswith("hf://"):
        from scidiff.training.hub import fetch

        return fetch(str(name))
    path = Path(name)
    if path.exists():
        refuse_pickle(path)
        return path if path.is_dir() else path.parent
    if str(name) in shipped_models():
        return SHIPPED / str(name)
    refuse_pickle(path)
    near = difflib.get_close_matches(str(name), shipped_models(), n=3, cutoff=0.3)
    hint = f"nearest: {', '.join(near)}" if near else f"shipped: {', '.join(shipped_models())}"
    raise UnknownModel(
        f"unknown model {str(name)!r}: not a shipped model, a directory or hf://owner/name; {hint}"
    )


def choose_device(device: str | None) -> torch.device:
    """The device asked for, or CUDA if there is one, which is logged."""
    if device is None:
        device = "cuda" if torch.cuda.is_available() else "cpu"
        _log.info("using %s", device)
    if not re.fullmatch(r"cpu|cuda(:\d+)?", str(device)):
        raise ScidiffError(f"device must be cpu, cuda or cuda:0, cuda:1, ..., got {str(device)!r}")
    chosen, there = torch.device(device), torch.cuda.device_count()
    if chosen.type == "cuda" and not torch.cuda.is_available():
        raise ScidiffError(f"device {device!r} was asked for, but torch sees no CUDA device")
    if chosen.type == "cuda" and (chosen.index or 0) >= there:
        raise ScidiffError(f"device {device!r} was asked for, but torch sees {there} CUDA devices")
    return chosen


class Model:
    """A network with its domain and settings. `model.config` holds everything that config.json
    says."""

    def __init__(self, folder: Path, *, device: str | None = None, dtype: str = "float32") -> None:
        if dtype not in DTYPES:
            raise ValueError(f"dtype must be one of {', '.join(DTYPES)}, got {dtype!r}")
        self.folder, self.config = folder, read_config(folder)
        self.name = str(self.config.get("name", folder.name))
        vocabulary = Vocabulary(**_vocabulary(self.config))
        network = load_network(folder, self.config).to(choose_device(device))
        self.engine = StringEngine(network, vocabulary, self.config, DTYPES[dtype])
        self.domain: Domain = find_domain(self.config["domain"])(vocabulary)

    def __repr__(self) -> str:
        millions = sum(p.numel() for p in self.engine.network.parameters()) / 1e6
        kind = self.config["process"]["kind"]
        return f"<Model {self.name}: {self.domain.name}, {kind} diffusion, {millions:.1f} M>"

    @cached_property
    def novelty(self) -> NoveltyFilter | None:
        """What `novel` is measured against: a filter of the whole training set, if one was
        shipped."""
        from scidiff.evaluation.novelty import NoveltyFilter

        file = self.folder / "train_filter.npz"
        return NoveltyFilter.load(file) if file.is_file() else None

    def sampler(self, **overrides: Any) -> MaskedSampler:
        """The model's sampler, with any of its settings (`block_size`, `order`, ...)
        overridden."""
        return self.engine.sampler(**overrides)

    def provenance(self, seed: int, **extra: Any) -> dict[str, Any]:
        """What a result records about where it came from."""
        from scidiff import __version__

        used = {"model": self.name, "sha256": self.config["sha256"], "seed": seed, "chunk": CHUNK}
        return {**used, "scidiff": __version__, "torch": torch.__version__, **extra}

    def sample(
        self,
        n: int,
        seed: int = 0,
        *,
        on_rows: Callable[[int], object] | None = None,
        **overrides: Any,
    ) -> SampleResult:
        """Draw n objects; every row is kept, an invalid one with the reason.

        The rows depend on (seed, n's chunks of 1000) alone: the first 1000 of n = 2000 are those
        of n = 1000. Keyword arguments override the model's sampling settings. `on_rows` is told
        after each chunk how many rows are new.
        """
        from scidiff.api.results import SampleResult

        if n <= 0:
            raise ValueError(f"n must be at least 1, got {n}")
        records: list[Record] = []
        for part in self.chunks(n, seed, **overrides):
            records += part
            if on_rows is not None:
                on_rows(len(part))
        used = vars(settings(self.config, overrides))
        return SampleResult(
            records,
            kind=self.domain.kind,
            provenance=self.provenance(seed, n=n, sampling=used),
            novelty=self.novelty,
        )

    def chunks(
        self, n: int, seed: int = 0, *, first: int = 0, **overrides: Any
    ) -> Iterator[list[Record]]:
        """Draw the rows of `sample` chunk by chunk, from chunk `first` on."""
        from scidiff.guidance.chunks import in_chunks
        from scidiff.guidance.particles import sample

        sampler = self.sampler(**overrides)
        return in_chunks(
            n,
            CHUNK,
            seed,
            lambda size, rng: self.domain.decode(sample(sampler, size, rng)),
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
        gap: tuple[int, int] = (1, 12),
        candidates: int = 64,
    ) -> SampleResult:
        """Write the [*] of `pattern` n times; the text around it is kept as it is.

        `gap` bounds the number of tokens written. A left-to-right model draws n * candidates
        fillings and keeps n by how well the rest of the string follows (see StringEngine.infill).
        """
        from scidiff.api.results import SampleResult

        if n <= 0 or candidates <= 0:
            raise ValueError(f"n and candidates must be at least 1, got {n} and {candidates}")
        low, high = gap
        if not 0 < low <= high:
            raise ValueError(f"gap must be (low, high) with 0 < low <= high, got {gap}")
        rng = seeded(seed, 0, self.engine.device)
        x = self.engine.infill(pattern, n, range(low, high + 1), candidates, rng)
        return SampleResult(
            self.domain.decode(x),
            kind=self.domain.kind,
            provenance=self.provenance(seed, n=n, pattern=pattern, gap=list(gap)),
            novelty=self.novelty,
        )

    def log_likelihood(
        self,
        strings: Sequence[str],
        *,
        draws: int = 32,
        block_size: int | None = None,
        seed: int = 0,
    ) -> pd.DataFrame:
        """Lower bound on log p (nats) of each string as written, with its standard error.

        Exact (error 0) for a left-to-right model at block_size 1; a masked model is given the
        length.
        """
        import pandas as pd

        if draws < 2:
            raise ValueError(f"draws must be at least 2 to give a standard error, got {draws}")
        value, error = self.engine.log_likelihood(strings, draws, block_size, seed)
        tokens = [len(self.engine.vocabulary.split(s)) + 1 for s in strings]
        return pd.DataFrame(
            {
                "text": list(strings),
                "log_likelihood": value.tolist(),
                "standard_error": error.tolist(),
                "tokens": tokens,
            }
        )


def _vocabulary(config: dict[str, Any]) -> dict[str, Any]:
    spec = config["vocabulary"]
    return {"symbols": tuple(spec["symbols"]), "notation": spec["notation"]}
