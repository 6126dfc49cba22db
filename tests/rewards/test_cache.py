"""Scores on disk: what they are kept under, who shares them, and what a changed reward does."""

import logging
import math
import sqlite3
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from threading import Barrier

import pytest

from scidiff.data.records import Record
from scidiff.rewards.cache import Cache
from scidiff.rewards.combine import reward as resolve
from scidiff.rewards.identity import Identity, identity
from scidiff.rewards.molecules import REWARDS, Similarity
from scidiff.rewards.scores import NO_NUMBER, Answer, Status
from scidiff.rewards.scoring import Scorer

WHO = Identity("dock", "1", "[]")


def records(*texts):
    return [Record(t, t, True) for t in texts]


class Counted:
    """Length, remembered under a version; counts what it is asked."""

    floor = 0.0

    def __init__(self, version="1", **parameters):
        self.version, self.parameters, self.seen, self.name = version, parameters, [], "counted"

    def __call__(self, objects):
        self.seen += objects
        return [math.nan if o == "bad" else len(o) / 3 for o in objects]


def test_scores_survive_the_run_exactly_and_failures_too(tmp_path):
    answers = {"CCO": Answer(1 / 3, Status.OK), "C": Answer(math.nan, Status.FAILED, "boom"),
               "N": Answer(math.nan, Status.TIMEOUT, "late")}
    cache = Cache(tmp_path / "scores.db")
    cache.put("molecule", WHO, answers | {"O": Answer(math.nan, Status.SKIPPED)})
    cache.close()
    found = Cache(tmp_path / "scores.db").get("molecule", WHO, ["CCO", "C", "N", "O", "F"])
    assert found["CCO"] == (1 / 3, Status.OK, "")
    assert [found[k][1:] for k in "CN"] == [(Status.FAILED, "boom"), (Status.TIMEOUT, "late")]
    assert math.isnan(found["C"].value) and set(found) == {"CCO", "C", "N"}


@pytest.mark.parametrize("kind, who", [
    ("dna", WHO), ("molecule", WHO._replace(name="dock2")),
    ("molecule", WHO._replace(version="2")), ("molecule", WHO._replace(parameters="[1]"))])
def test_another_kind_reward_version_or_parameter_is_a_miss(tmp_path, kind, who):
    cache = Cache(tmp_path / "scores.db")
    cache.put("molecule", WHO, {"CCC": Answer(1.0, Status.OK)})
    assert cache.get(kind, who, ["CCC"]) == {} and len(cache) == 1


def test_many_keys_and_the_first_answer_stands(tmp_path):
    cache = Cache(tmp_path / "scores.db")
    cache.put("", WHO, {str(i): Answer(float(i), Status.OK) for i in range(2000)})
    cache.put("", WHO, {"7": Answer(-1.0, Status.OK)})
    found = cache.get("", WHO, [str(i) for i in range(2001)])
    assert len(found) == 2000 and all(a.value == float(k) for k, a in found.items())


def test_statuses_can_be_asked_again(tmp_path):
    Cache(tmp_path / "scores.db").put("", WHO, {"a": Answer(math.nan, Status.TIMEOUT, "late"),
                                                "b": Answer(1.0, Status.OK)})
    again = Cache(tmp_path / "scores.db", again={Status.TIMEOUT})
    assert set(again.get("", WHO, ["a", "b"])) == {"b"}
    again.put("", WHO, {"a": Answer(2.0, Status.OK), "b": Answer(9.0, Status.OK)})
    assert [again.get("", WHO, ["a", "b"])[k].value for k in "ab"] == [2.0, 1.0]


def test_a_second_run_asks_nothing_and_counts_it_apart(tmp_path):
    first, second = Counted(), Counted()
    one = Scorer(first, cache=Cache(tmp_path / "scores.db"), budget=3)
    two = Scorer(second, cache=Cache(tmp_path / "scores.db"), budget=3)
    texts = records("a", "bad", "bb", "a", "cccc")
    assert one.score(texts[:3]).status.tolist() == [0, Status.FAILED, 0]
    scores = two.score(texts)
    assert second.seen == [] and scores.values[0] == 1 / 3
    assert scores.status.tolist() == [0, Status.FAILED, 0, 0, Status.SKIPPED]
    # the budget counts objects whether or not the disk knew them: a run is the same run
    assert (two.asked, two.disk_hits, two.cache_hits, two.calls) == (3, 3, 1, 0)
    assert (one.asked, one.disk_hits) == (3, 0) and two.messages == {"bad": NO_NUMBER}


def test_a_new_version_under_the_cache_is_asked_anew_and_says_so(tmp_path, caplog):
    cache = Cache(tmp_path / "scores.db")
    Scorer(Counted("1"), cache=cache).score(records("a", "bb"))
    changed = Counted("2")
    with caplog.at_level(logging.WARNING, "scidiff"):
        Scorer(changed, cache=cache).score(records("a"))
        Scorer(changed, cache=cache).score(records("bb"))
    assert changed.seen == ["a", "bb"]
    assert [r.getMessage() for r in caplog.records] == [
        "reward 'counted' is version '2' now: 2 scores of version '1' in cache "
        f"{str(tmp_path / 'scores.db')!r} are not used"]


def test_each_term_of_an_expression_is_kept(tmp_path, monkeypatch):
    from scidiff.rewards import registry

    known = {"a": Counted(which="a"), "b": Counted(which="b")}
    monkeypatch.setattr(registry, "find", known.get)
    cache = Cache(tmp_path / "scores.db")
    Scorer(resolve("a + b"), cache=cache).score(records("xyz"))
    scores = Scorer(resolve("2*a"), cache=cache).score(records("xyz"))
    assert scores.values.tolist() == [2.0] and known["a"].seen == known["b"].seen == ["xyz"]


def test_a_reward_that_nothing_tells_from_its_next_version_is_not_kept(tmp_path, caplog):
    class Opaque:
        def __call__(self, objects):
            return [1.0 for _ in objects]

    cache = Cache(tmp_path / "scores.db")
    Scorer(Opaque(), cache=cache).score(records("a"))
    assert len(cache) == 0 and "'Opaque' are not kept on disk" in caplog.text


def test_two_processes_write_one_file(tmp_path):
    code = f"""
import sys
from scidiff.rewards.cache import Cache
from scidiff.rewards.identity import Identity
from scidiff.rewards.scores import Answer, Status
cache = Cache({str(tmp_path / 'scores.db')!r})
for i in range(150):
    cache.put("", Identity("r", "1"), {{f"{{i}}": Answer(float(sys.argv[1]), Status.OK),
                                        f"{{sys.argv[1]}}:{{i}}": Answer(0.0, Status.OK)}})
"""
    runs = [subprocess.Popen([sys.executable, "-c", code, n]) for n in "12"]
    assert [r.wait(timeout=120) for r in runs] == [0, 0]
    cache = Cache(tmp_path / "scores.db")
    found = cache.get("", Identity("r", "1"), [str(i) for i in range(150)])
    assert len(cache) == 450 and {a.value for a in found.values()} <= {1.0, 2.0}


def test_a_new_file_may_be_opened_by_many_at_once(tmp_path):
    def opened(n):
        together.wait()
        Cache(tmp_path / f"{n}.db").close()

    for n in range(20):
        together = Barrier(8)
        with ThreadPoolExecutor(8) as pool:
            list(pool.map(opened, [n] * 8))


def test_files_that_are_no_cache_are_one_line(tmp_path):
    (tmp_path / "text").write_text("no database " * 100)
    with sqlite3.connect(tmp_path / "other.db") as other:
        other.execute("CREATE TABLE t (x)")
    other.close()
    Cache(tmp_path / "old.db").close()
    with sqlite3.connect(tmp_path / "old.db") as old:
        old.execute("PRAGMA user_version = 99")
    old.close()
    for name, message in [("text", "file is not a database"), ("other.db", "of another program"),
                          ("old.db", "format 99, expected 1"), ("no/such", "does not exist")]:
        with pytest.raises(ValueError, match=message) as caught:
            Cache(tmp_path / name)
        assert "\n" not in str(caught.value)


def test_identity_is_name_code_and_parameters():
    def made(k, step=1):
        def score(objects):
            return [k * step for _ in objects]
        return score

    def other(objects):
        return [2 for _ in objects]

    assert identity(made(2)) == identity(made(2)) != identity(made(3))
    assert identity(made(2)).version != identity(other).version
    assert identity(made([])) == identity(made([])) and identity(made(object())) is None
    assert identity(Similarity("CCO")) == identity(Similarity("CCO"))
    assert len({identity(Similarity("CCO", counts=c)) for c in (True, False)}) == 2
    assert identity(Similarity("CCO")) != identity(Similarity("CCC"))
    assert identity(Counted("7")) == ("counted", "7", "[]")
    assert all(identity(r) for r in REWARDS.values() if not isinstance(r, type))


MODULE = """
WEIGHT = 2.0
seen = []

def outer(mols):
    seen.append(len(mols))
    return [helper(m) * WEIGHT for m in mols]

def helper(mol):
    return mol if mol < 1 else deeper(mol - 1)

def deeper(mol):
    return helper(mol) + 1
"""


def test_identity_sees_what_a_function_names_in_its_module():
    def version(source):
        names = {"__name__": "mine"}
        exec(source, names)
        names["outer"]([3, 4])  # a list that grows is no part of what a reward is
        return identity(names["outer"]).version

    assert version(MODULE) == version(MODULE) == version("# moved\n\n" + MODULE)
    for old, new in (("2.0", "3.0"), ("mol < 1", "mol < 2"), ("+ 1", "+ 2")):
        assert version(MODULE.replace(old, new)) != version(MODULE)


def test_identity_sees_a_changed_method():
    def build(factor):
        space = {}
        exec(f"class Score:\n    def __call__(self, o):\n        return [{factor} for _ in o]",
             space)
        return dataclass(frozen=True)(space["Score"])()

    assert identity(build(1)) == identity(build(1)) != identity(build(2))
