"""Campaigns as a person runs them: a TOML file that says what to design, and the folder that it
ends in.

    version = 1
    model = "moses-smiles"
    reward = "osimertinib_mpo"
    n = 100
    budget = 10_000
    out = "runs/osimertinib"
"""

from __future__ import annotations

import json
import tomllib
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from scidiff.api.design_result import DesignResult
from scidiff.api.saving import plain
from scidiff.core import ScidiffError
from scidiff.files import write_atomically
from scidiff.messages import nearest

if TYPE_CHECKING:
    from scidiff.api.design import Watch

VERSION = 1


class CampaignFile(BaseModel):
    """What a campaign file may say: the arguments of `sd.design`."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    version: Literal[1]
    model: str
    reward: str
    out: str | None = None
    n: int = 64
    method: str = "evolve"
    budget: int | None = None
    seed: int = 0
    strength: float | None = None
    floor: float | None = None
    particles: int | None = None
    branch: int | None = None
    ess: float | None = None
    every: int | None = None
    window: tuple[float, float] | None = Field(None, strict=False)
    memory: str | dict[str, Any] | None = None
    screen: str | dict[str, Any] | None = None
    value: str | None = None
    seconds: float | None = None
    network_rows: int | None = None
    cache: str | None = None
    workers: int = 1
    timeout: float | None = None
    cluster: str | None = None
    retry_failed: bool = False
    quality: str | None = None
    device: str | None = None
    dtype: str = "float32"
    settings: dict[str, Any] = {}

    def arguments(self) -> dict[str, Any]:
        """What `sd.design` is called with, but the model."""
        own = {"version", "model", "settings", "device", "dtype", "quality"}
        said = {k: v for k, v in self.model_dump(exclude=own).items() if v is not None}
        return {**said, **self.settings}


def read_campaign(path: str | Path) -> CampaignFile:
    """Read and check a campaign file; an unknown key is an error that names the nearest one."""
    try:
        content = tomllib.loads(Path(path).read_text())
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise ScidiffError(f"cannot read the campaign {path}: {error}") from error
    version = content.get("version")
    if version != VERSION:
        newer = isinstance(version, int) and version > VERSION
        what = "upgrade scidiff" if newer else f"begin the file with `version = {VERSION}`"
        raise ScidiffError(
            f"{path}: version: got {version!r}, this scidiff reads campaign files of version "
            f"{VERSION}; {what}"
        )
    try:
        file = CampaignFile.model_validate(content)
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(map(str, first["loc"]))
        unknown, got = "extra" in first["type"], ""
        hint = nearest(key, CampaignFile.model_fields) if unknown else ""
        if not unknown and first["type"] != "missing":
            got = f", got {first['input']!r}"
        raise ScidiffError(f"{path}: {key}: {first['msg']}{got}{hint}") from None
    own = {*CampaignFile.model_fields, "resume", "watch"}  # of the call as well
    twice = next((name for name in file.settings if name in own), None)
    if twice is not None:
        raise ScidiffError(
            f"{path}: settings.{twice}: settings are those of the model's sampler, and {twice!r} "
            "is one of the campaign: write it above [settings]"
        )
    return file


def campaign(
    path: str | Path,
    *,
    out: str | Path | None = None,
    resume: bool = False,
    watch: Watch = lambda campaign: None,
) -> DesignResult:
    """Run the campaign that a file describes, in the folder it names (or `out`).

    `resume` goes on with what a killed or interrupted run left there. Raises ScidiffError for a
    file that cannot be read or has an unknown key.
    """
    from scidiff.api.design import design
    from scidiff.api.entry import load

    file = read_campaign(path)
    arguments = file.arguments()
    if out is not None:
        arguments["out"] = out
    if arguments.get("out") is None:
        raise ScidiffError(f"{path}: out: a campaign needs a folder; say `out = \"runs/NAME\"`")
    model = load(file.model, device=file.device, dtype=file.dtype)
    chosen = model.chosen(file.n, file.quality)
    return design(model, **{**chosen, **arguments}, resume=resume, watch=watch)


def saved_designs(result: DesignResult, folder: Path) -> DesignResult:
    """Write what a finished campaign found: designs.csv, asked.csv (every object with its answer),
    history.csv (a line a round), ledger.json and summary.html (the page of `sd.report`)."""
    result.save(folder / "designs.csv")
    result.asked.save(folder / "asked.csv")
    history = result.history.to_csv(index=False, lineterminator="\n")
    write_atomically(folder / "history.csv", history.encode())
    ledger = {**asdict(result.ledger), "ended": result.provenance["ended"],
              "certificate": str(result.certificate), "hypervolume": result.hypervolume}
    write_atomically(folder / "ledger.json", (json.dumps(plain(ledger), indent=1) + "\n").encode())
    result.save(folder / "summary.html")
    return result
