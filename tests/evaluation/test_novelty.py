"""The novelty filter misses no key, errs as seldom as it says, and stays small."""

import subprocess
import sys

import numpy as np
import pytest

from scidiff.evaluation.novelty import KnownSet, NoveltyFilter

TRAIN = [f"train-{i}" for i in range(20_000)]
NEW = [f"new-{i}" for i in range(40_000)]


@pytest.fixture(scope="module")
def known():
    return NoveltyFilter.build(TRAIN)


def test_no_key_is_missed_and_false_positives_are_as_stated(known):
    assert known.contains(TRAIN).all()
    false = known.contains(NEW).sum()
    expected = known.false_positive_rate * len(NEW)
    assert 0.003 < known.false_positive_rate < 0.007
    assert abs(false - expected) < 5 * np.sqrt(expected)


def test_size_is_eleven_bits_a_key_and_repeats_are_free(known, tmp_path):
    again = NoveltyFilter.build(TRAIN + TRAIN[:500])
    assert again.size == len(TRAIN) and np.array_equal(again.bits, known.bits)
    known.save(tmp_path / "f.npz")
    assert (tmp_path / "f.npz").stat().st_size < len(TRAIN) * 11 / 8 + 1500


def test_saved_filters_answer_the_same_and_leave_nothing_behind(known, tmp_path):
    known.save(tmp_path / "f.npz")
    back = NoveltyFilter.load(tmp_path / "f.npz")
    assert [p.name for p in tmp_path.iterdir()] == ["f.npz"]
    assert (back.size, back.form) == (known.size, "canonical SMILES")
    assert np.array_equal(back.contains(NEW), known.contains(NEW))


def test_hashes_do_not_depend_on_the_process(known):
    code = ("from scidiff.evaluation.novelty import KnownSet, NoveltyFilter as F;"
            "print(F.build(f'train-{i}' for i in range(300)).bits.tobytes().hex())")
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True,
                          env={"PYTHONHASHSEED": "7"}).stdout.strip()
    assert said == NoveltyFilter.build(TRAIN[:300]).bits.tobytes().hex()


def test_nothing_and_little():
    with pytest.raises(ValueError, match="at least one key"):
        NoveltyFilter.build([])
    one = NoveltyFilter.build(["CCO"])
    assert one.contains(["CCO"]).tolist() == [True] and one.contains([]).shape == (0,)


@pytest.mark.parametrize("content", [b"", b"not an npz", b"PK\x03\x04broken"])
def test_another_file_is_named(tmp_path, content):
    (tmp_path / "f.npz").write_bytes(content)
    with pytest.raises(ValueError, match="f.npz is not a novelty filter"):
        NoveltyFilter.load(tmp_path / "f.npz")


def test_an_npz_of_something_else_is_named(tmp_path):
    np.savez(tmp_path / "f.npz", bits=np.zeros(3))
    with pytest.raises(ValueError, match="is not a novelty filter"):
        NoveltyFilter.load(tmp_path / "f.npz")


def test_names_are_kept_and_old_files_have_none(known, tmp_path):
    NoveltyFilter.build(TRAIN[:9], name="mine").save(tmp_path / "f.npz")
    assert NoveltyFilter.load(tmp_path / "f.npz").name == "mine" and known.name == ""
    with np.load(tmp_path / "f.npz") as file:
        old = {k: v for k, v in file.items() if k != "name"}
    np.savez(tmp_path / "old.npz", **old)
    assert NoveltyFilter.load(tmp_path / "old.npz").name == ""


def test_a_set_at_hand_is_exact(tmp_path):
    exact = KnownSet.build(TRAIN + TRAIN[:5], "mine")
    assert exact.size == len(TRAIN) and exact.contains(TRAIN).all()
    assert not exact.contains(NEW).any() and exact.contains([]).shape == (0,)
    exact.save(tmp_path / "s.npz")
    back = KnownSet.load(tmp_path / "s.npz")
    assert back.name == "mine" and back.contains(TRAIN[:9]).all()
    with pytest.raises(ValueError, match="s.npz is not a novelty filter"):
        NoveltyFilter.load(tmp_path / "s.npz")
