"""Files that are whole or not there."""

import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from scidiff.files import replacing, write_atomically


def test_a_file_appears_whole_with_its_folder(tmp_path: Path) -> None:
    place = tmp_path / "new" / "model.bin"
    write_atomically(place, b"abc")
    assert place.read_bytes() == b"abc"
    assert [p.name for p in place.parent.iterdir()] == ["model.bin"]


def test_an_error_leaves_what_was_there(tmp_path: Path) -> None:
    place = tmp_path / "state.pt"
    write_atomically(place, b"old")
    with pytest.raises(RuntimeError, match="half"), replacing(place) as file:
        file.write(b"ne")
        raise RuntimeError("half written")
    assert place.read_bytes() == b"old" and os.listdir(tmp_path) == ["state.pt"]


def test_nothing_is_seen_before_the_end(tmp_path: Path) -> None:
    with replacing(tmp_path / "a") as file:
        file.write(b"1")
        assert not (tmp_path / "a").exists()
    assert (tmp_path / "a").exists()


def test_writers_of_one_file_do_not_mix(tmp_path: Path) -> None:
    contents = [bytes([k]) * 10_000 for k in range(32)]
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda c: write_atomically(tmp_path / "a", c), contents))
    assert (tmp_path / "a").read_bytes() in contents and os.listdir(tmp_path) == ["a"]


def test_others_may_read_it(tmp_path: Path) -> None:
    (tmp_path / "plain").write_bytes(b"")
    write_atomically(tmp_path / "ours", b"")
    assert (tmp_path / "ours").stat().st_mode == (tmp_path / "plain").stat().st_mode
