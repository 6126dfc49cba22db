"""Data out of PyPI packages: a wheel is fetched as a file and opened as a zip, never installed."""

from __future__ import annotations

import hashlib
import subprocess
import sys
import tempfile
import urllib.request
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from scidiff.core import ScidiffError
from scidiff.files import write_atomically


class DatasetError(ScidiffError, ValueError):
    """A data set that is unknown, absent, damaged or out of reach: one line, and what to do."""


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def verify(content: bytes, expected: str, what: str) -> bytes:
    """Return `content`; raises DatasetError where its sha256 is another."""
    found = sha256(content)
    if found != expected:
        raise DatasetError(f"{what} is damaged or another version: sha256 is {found[:16]}..., "
                           f"expected {expected[:16]}...")
    return content


def store(path: Path, content: bytes) -> Path:
    """Write a file whole or not at all, and return its path. Raises DatasetError where it cannot
    be written."""
    try:
        write_atomically(path, content)
    except OSError as error:
        raise DatasetError(f"cannot write {path}: {error.strerror}") from None
    return path


@contextmanager
def wheel(requirement: str, source: str | Path | None = None) -> Iterator[zipfile.ZipFile]:
    """Open the wheel of `requirement` ("name==version"), from `source` or downloaded by pip.

    `source` is the wheel or a folder that holds it. Raises DatasetError where there is none, where
    pip cannot download it, and where it is no zip.
    """
    with tempfile.TemporaryDirectory() as folder:
        found = _local(requirement, Path(source)) if source else _download(requirement, folder)
        try:
            archive = zipfile.ZipFile(found)
        except (zipfile.BadZipFile, OSError) as error:
            raise DatasetError(f"{found} is not a wheel: {error}") from None
        with archive:
            yield archive


def member(archive: zipfile.ZipFile, path: str, expected: str) -> bytes:
    """The content of one file of a wheel, its sha256 checked."""
    try:
        content = archive.read(path)
    except (KeyError, zipfile.BadZipFile) as error:
        raise DatasetError(f"{path} cannot be taken from {archive.filename}: {error}") from None
    return verify(content, expected, path)


def _local(requirement: str, source: Path) -> Path:
    if source.is_file():
        return source
    name, _, version = requirement.partition("==")
    found = sorted(source.glob(f"{name}-{version}-*.whl"))
    if not found:
        raise DatasetError(f"no wheel of {requirement} in {source}; get one with "
                           f"pip download --no-deps {requirement}")
    return found[0]


def _download(requirement: str, folder: str) -> Path:
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps",
               "--only-binary=:all:", "--disable-pip-version-check", "--dest", folder, requirement]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        said = [line for line in done.stderr.splitlines() if line.startswith("ERROR")]
        why = (said or done.stderr.splitlines() or ["no message"])[-1].removeprefix("ERROR: ")
        raise DatasetError(f"pip cannot download {requirement} (is the network reachable?): "
                           f"{why}; a wheel fetched elsewhere can be given as source=")
    return next(Path(folder).glob("*.whl"))


def fetch_url(url: str, folder: str | Path, timeout: float = 60.0) -> Path:
    """Download one file into `folder` under its own name; raises DatasetError where it fails."""
    target = Path(folder) / (url.split("?")[0].rstrip("/").rsplit("/", 1)[-1] or "download")
    try:
        with urllib.request.urlopen(url, timeout=timeout) as answer:
            target.write_bytes(answer.read())
    except (OSError, ValueError) as error:
        raise DatasetError(f"cannot download {url}: {error}") from None
    return target
