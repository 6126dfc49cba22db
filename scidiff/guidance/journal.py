"""A campaign's folder: who it belongs to, and one complete checkpoint after every round.

    campaign.json            what the campaign is; another one is refused. Its limits may change
    rounds/00012/            the last complete round: state.json, strategy.safetensors
    campaign.lock            held by the one process that works in the folder
"""

from __future__ import annotations

import fcntl
import json
import math
import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load as load_tensors
from safetensors.torch import save as save_tensors
from torch import Tensor

from scidiff.core import ScidiffError
from scidiff.files import write_atomically
from scidiff.guidance.campaign import Campaign

FORMAT = 1
MANIFEST, ROUNDS, LOCK = "campaign.json", "rounds", "campaign.lock"
MAY_CHANGE = ("limits", "planned")  # of a manifest: how far to go, and what rounds were cut for


class CampaignError(ScidiffError):
    """A folder that another process works in, or that holds something else."""


class Journal:
    """The folder of one campaign, made where it is not there."""

    def __init__(self, folder: str | Path) -> None:
        self.folder = Path(folder)

    @property
    def begun(self) -> bool:
        """Whether a campaign was begun here."""
        return (self.folder / MANIFEST).is_file()

    @contextmanager
    def held(self) -> Iterator[None]:
        """Work in the folder alone. Raises CampaignError where another process does."""
        self.folder.mkdir(parents=True, exist_ok=True)
        with (self.folder / LOCK).open("a+") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                file.seek(0)
                raise CampaignError(
                    f"{self.folder} is being worked in by process {file.read().strip() or '?'}: "
                    "wait for it, or use another folder"
                ) from None
            file.truncate(0)
            file.write(str(os.getpid()))
            file.flush()
            yield

    def claim(self, manifest: Mapping[str, Any], resume: bool) -> None:
        """Begin a campaign here, or go on with it, under the limits that the manifest has now.

        Raises CampaignError for a folder that holds another campaign, a begun one without
        `resume`, or strangers' files.
        """
        told = json.loads(json.dumps({"format": FORMAT, **manifest}))
        if self.begun:
            self._compare(told)
            if not resume:
                raise CampaignError(
                    f"{self.folder} holds this campaign, {self.progress()}: resume it, or use "
                    "another folder"
                )
            self._write(told)
            return
        other = next((p.name for p in sorted(self.folder.iterdir()) if p.name != LOCK), None)
        if other:
            raise CampaignError(
                f"{self.folder} is not empty (it holds {other}) and has no {MANIFEST}: use "
                "another folder"
            )
        self._write(told)

    def save(self, campaign: Campaign) -> None:
        """Write the state after a round; the one before it goes when this one is complete."""
        rounds = self.folder / ROUNDS
        place, whole = rounds / f".{campaign.number:05d}.tmp", rounds / f"{campaign.number:05d}"
        for left in (place, whole):
            shutil.rmtree(left, ignore_errors=True)
        place.mkdir(parents=True)
        tensors = {k: v.detach().cpu().contiguous() for k, v in campaign.strategy.state().items()}
        write_atomically(place / "strategy.safetensors", save_tensors(tensors))
        write_atomically(place / "state.json", json.dumps(_json(campaign.saved())).encode())
        place.rename(whole)
        for old in rounds.iterdir():
            if old != whole:
                shutil.rmtree(old, ignore_errors=True)

    def restore(self, campaign: Campaign) -> bool:
        """Go on after the last complete round; False where none is."""
        last = self._last()
        if last is None:
            return False
        tensors = last / "strategy.safetensors"
        try:
            held = load_tensors(tensors.read_bytes())
        except (OSError, SafetensorError) as error:
            raise _damaged(tensors, error) from error
        campaign.restore(_read(last / "state.json"), held)
        return True

    def progress(self) -> str:
        """One line: how far it has come."""
        last = self._last()
        if last is None:
            return "before its first round"
        saved = _read(last / "state.json")
        asked = saved["ledger"]["asked"]
        return f"{saved['number']} rounds done, {asked:,} objects asked"

    def _last(self) -> Path | None:
        whole = sorted((self.folder / ROUNDS).glob("[0-9]*"))
        return whole[-1] if whole else None

    @property
    def manifest(self) -> dict[str, Any] | None:
        """What was begun here, None where nothing was. Raises CampaignError for a damaged file and
        for one of another version of scidiff."""
        if not self.begun:
            return None
        begun = _read(self.folder / MANIFEST)
        if begun.get("format") != FORMAT:
            raise CampaignError(
                f"{self.folder} was begun by another version of scidiff (format "
                f"{begun.get('format')}, expected {FORMAT}): use another folder"
            )
        return begun

    def _write(self, manifest: Mapping[str, Any]) -> None:
        text = json.dumps(manifest, indent=1) + "\n"
        write_atomically(self.folder / MANIFEST, text.encode())

    def _compare(self, told: Mapping[str, Any]) -> None:
        begun = self.manifest or {}
        differences = [
            f"{key} {begun.get(key)!r} there, {told.get(key)!r} now"
            for key in {**begun, **told}
            if key not in MAY_CHANGE and begun.get(key) != told.get(key)
        ]
        if differences:
            raise CampaignError(
                f"{self.folder} holds another campaign ({'; '.join(differences)}): use another "
                "folder, or the same arguments to continue it"
            )


def _read(file: Path) -> dict[str, Any]:
    """The JSON object in a file of the campaign; CampaignError where it is none."""
    try:
        found = json.loads(file.read_text())
    except (OSError, UnicodeDecodeError, json.JSONDecodeError) as error:
        raise _damaged(file, error) from error
    if not isinstance(found, dict):
        raise _damaged(file, f"expected an object, got {type(found).__name__}")
    return found


def _damaged(file: Path, why: object) -> CampaignError:
    return CampaignError(f"{file} is damaged: {why}")


def _json(value: Any) -> Any:
    """JSON has no NaN: None, which `Scorer.recall` and histories read as no value."""
    if isinstance(value, dict):
        return {k: _json(v) for k, v in value.items()}
    if isinstance(value, list):
        return [_json(v) for v in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def tensors_of(x: Any) -> dict[str, Tensor]:
    """The tensors of a bare state (`values.bare`)."""
    return {f.name: v for f in fields(x) if isinstance(v := getattr(x, f.name), Tensor)}


def state_of(template: Any, tensors: Mapping[str, Tensor]) -> Any:
    """The state that `tensors_of` read; `template` is one of its kind."""
    device = next(v for v in tensors_of(template).values()).device
    return replace(template, **{k: v.to(device) for k, v in tensors.items()})
