"""Models on the Hugging Face hub: `hf://owner/name` is fetched once into the hub's cache, and a
model directory is pushed as it is.

Only weights (safetensors, npz), the config and the card travel, in both directions; a pickle that
lies in a repository is neither downloaded nor uploaded.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from scidiff.core import ScidiffError
from scidiff.training.checkpoint import read_config

SCHEME = "hf://"
FILES = ["model.safetensors", "config.json", "README.md", "*.npz"]
_REPOSITORY = re.compile(r"[\w][\w.-]*/[\w][\w.-]*")


class HubError(ScidiffError):
    """The hub could not be reached, lacks the model, or refused the request."""


def parse(uri: str) -> tuple[str, str | None]:
    """Split `hf://owner/name` or `hf://owner/name@revision` into repository and revision."""
    repository, at, revision = uri.removeprefix(SCHEME).partition("@")
    if (
        not uri.startswith(SCHEME)
        or not _REPOSITORY.fullmatch(repository)
        or (at and not revision)
    ):
        raise ValueError(
            f"a hub model is hf://owner/name or hf://owner/name@revision, got {uri!r}"
        )
    return repository, revision or None


def fetch(uri: str, *, cache: Path | None = None) -> Path:
    """Download the model that `uri` names, or find it in the cache, and return its directory.

    Without a network, a model fetched before is still found. `cache` defaults to the hub's own.
    Raises HubError if it cannot be had, CheckpointError if it is not a scidiff model.
    """
    repository, revision = parse(uri)
    import huggingface_hub

    with _one_line(f"cannot fetch {uri}"):
        folder = huggingface_hub.snapshot_download(
            repository, revision=revision, cache_dir=cache, allow_patterns=FILES
        )
    read_config(Path(folder))
    return Path(folder)


def push(
    folder: str | os.PathLike[str],
    uri: str,
    *,
    private: bool = False,
    message: str = "Upload a scidiff model",
) -> str:
    """Upload the model directory `folder` to `hf://owner/name`, made if missing; returns its page.

    The hub's token comes from its own login or the environment variable HF_TOKEN.
    """
    repository, revision = parse(uri)
    source = Path(folder)
    read_config(source)
    if not (source / "model.safetensors").is_file():
        raise HubError(f"cannot push {source}: model.safetensors is missing")
    import huggingface_hub

    api = huggingface_hub.HfApi()
    with _one_line(f"cannot push {source} to {uri}"):
        api.create_repo(repository, private=private, exist_ok=True)
        commit = api.upload_folder(
            repo_id=repository,
            folder_path=source,
            revision=revision,
            commit_message=message,
            allow_patterns=FILES,
        )
    return commit.commit_url


@contextmanager
def _one_line(what: str) -> Iterator[None]:
    """Turn the hub client's errors, pages long, into one line with the likely remedy."""
    from huggingface_hub import errors

    try:
        yield
    except (errors.HTTPError, errors.HFValidationError, OSError) as error:
        raise HubError(f"{what}: {_reason(error)}") from error


def _reason(error: Exception) -> str:
    from huggingface_hub import constants, errors

    reasons: list[tuple[type[Exception], str]] = [
        (errors.GatedRepoError, "its terms must be accepted on the hub first"),
        (errors.RevisionNotFoundError, "it has no such revision"),
        (errors.RepositoryNotFoundError, "it does not exist, or needs a login (set HF_TOKEN)"),
        (errors.LocalTokenNotFoundError, "not logged in to the hub (set HF_TOKEN)"),
        (errors.HfHubHTTPError, f"the hub answered {_first_line(error)}"),
    ]
    if constants.HF_HUB_OFFLINE:
        return "HF_HUB_OFFLINE is set, and only a model fetched before is found without the hub"
    reasons.append((errors.LocalEntryNotFoundError, "the hub cannot be reached"))
    reasons.append((errors.HTTPError, f"the hub cannot be reached ({_first_line(error)})"))
    return next((text for kind, text in reasons if isinstance(error, kind)), _first_line(error))


def _first_line(error: Exception) -> str:
    return next(iter(str(error).strip().splitlines()), type(error).__name__)
