"""Executors change how long a reward takes, never what it answers."""

import ctypes
import io
import math
import os
import sys
import threading
import time
from types import SimpleNamespace

import odd_rewards
import pytest
from rdkit import Chem

from scidiff.data.records import Record
from scidiff.rewards import executors, molecules
from scidiff.rewards.executors import Serial
from scidiff.rewards.scores import RewardError, Status
from scidiff.rewards.scoring import Scorer
from scidiff.rewards.workers import Processes

WORDS = ["a", "bb", "bad", "ccc", "dddd", "eeeee"]


@pytest.fixture(scope="module")
def pool():
    with Processes(2, timeout=1.0, retries=1, startup=8.0) as made:
        yield made


def values(answers):
    return [a.value for a in answers]


def test_one_object_that_raises_or_exits_costs_only_itself(pool):
    for executor in (Serial(), pool):
        found = executor.run(odd_rewards.fragile, [*WORDS, "exit"])
        assert [a[1:] for a in found if a.status] == [
            (Status.FAILED, "KeyError: 'colour'"), (Status.FAILED, "SystemExit: no licence")]
        assert math.isnan(found[2].value) and math.isnan(found[6].value)
        assert values(found)[:2] + values(found)[3:6] == [1, 2, 3, 4, 5]


def test_what_hangs_is_timed_out_and_what_dies_is_failed_with_the_reason(pool):
    begun = time.perf_counter()
    words = ["dead", "a", "slow", "bb", "ccc"] + ["x" * i for i in range(1, 30)]
    found = pool.run(odd_rewards.fragile, words)
    assert [a.status for a in found[:5]] == [Status.FAILED, 0, Status.TIMEOUT, 0, 0]
    assert found[0].message == "the worker process died (exit code 7)"
    assert found[2].message == "no answer in 1 s"
    assert values(found)[5:] == [float(i) for i in range(1, 30)]
    assert time.perf_counter() - begun < 50  # nobody slept for a minute


def test_a_process_that_dies_once_is_given_another_try(pool, tmp_path):
    reward = odd_rewards.DiesOnce(str(tmp_path / "mark"))
    assert pool.run(reward, ["abc"]) == [(3.0, Status.OK, "")]


def test_answers_do_not_depend_on_the_executor(pool):
    smiles = ["CC(=O)Oc1ccccc1C(=O)O", "CCO", "C[C@H](N)C(=O)O", "F/C=C/Cl"] * 9
    mols = [Chem.MolFromSmiles(s) for s in smiles]
    for reward in (molecules.qed, molecules.sa, molecules.logp, molecules.Similarity("CCO")):
        assert pool.run(reward, mols) == Serial().run(reward, mols)


def test_workers_stay_and_use_one_thread(pool):
    first, second = (set(values(pool.run(odd_rewards.process, WORDS * 4))) for _ in range(2))
    assert first == second and len(first) == 2
    assert set(values(pool.run(odd_rewards.Threads(), WORDS))) == {1.0}


def test_answers_are_handed_over_as_they_come(pool):
    seen = {}
    pool.run(odd_rewards.busy, WORDS * 2, lambda rows, found: seen.update(
        zip(rows, values(found), strict=True)))
    assert seen == dict(enumerate(values(Serial().run(odd_rewards.lengths, WORDS * 2))))


def test_what_a_reward_prints_never_reaches_stdout(capfd):
    with Processes(1) as fresh:
        assert values(fresh.run(odd_rewards.noisy, ["abc"])) == [3.0]
    out, err = capfd.readouterr()
    assert out == "" and "loading the model" in err and "from C" in err

    def chatty(objects):
        print("hello")
        return [1.0]

    assert values(Serial().run(chatty, ["a"])) == [1.0]
    assert capfd.readouterr() == ("", "hello\n")


def test_rewards_that_cannot_be_used_are_one_line(pool):
    with pytest.raises(RewardError, match="'short' returned 1 values for 2 objects") as caught:
        Serial().run(odd_rewards.short, WORDS)
    assert "\n" not in str(caught.value)
    with pytest.raises(RewardError, match="'<lambda>' cannot be sent to worker .*in this process"):
        pool.run(lambda objects: [1.0], WORDS)
    with pytest.raises(RewardError, match="'short' returned 1 values for"):
        pool.run(odd_rewards.short, WORDS * 40)
    assert values(pool.run(odd_rewards.lengths, ["ab"])) == [2.0]  # the pool recovers


@pytest.mark.parametrize("wrong", [dict(workers=-1), dict(timeout=0.0), dict(retries=-1)])
def test_limits_are_checked(wrong):
    with pytest.raises(ValueError, match="workers >= 1, timeout > 0, retries >= 0"):
        Processes(**wrong)


def test_a_scorer_over_workers_keeps_the_reasons(pool):
    scorer = Scorer(odd_rewards.fragile, executor=pool)
    scores = scorer.score([Record(t, t, True) for t in ("a", "bad", "bb", "slow")])
    assert scores.status.tolist() == [0, Status.FAILED, 0, Status.TIMEOUT]
    assert scorer.messages == {"bad": "KeyError: 'colour'", "slow": "no answer in 1 s"}


@pytest.mark.parametrize(("cost", "alone", "calls"), [
    (0.5, None, [3]), (2.0, None, [1, 1, 1]), (2.0, False, [3]), (2.0, True, [1, 1, 1])])
def test_a_slow_reward_is_asked_one_by_one_and_told_as_it_answers(cost, alone, calls):
    class Slow:
        def __call__(self, objects):
            self.seen.append(len(objects))
            return [1.0] * len(objects)

    reward = Slow()
    reward.cost, reward.seen, reward.told = cost, [], []
    if alone is not None:
        reward.one_by_one = alone
    Serial().run(reward, ["a", "b", "c"], lambda rows, answers: reward.told.append(rows))
    assert reward.seen == calls and [len(rows) for rows in reward.told] == calls
    assert sorted(sum(reward.told, [])) == [0, 1, 2]


class Timed:
    """Takes `call` seconds a call, `each` an object, `load` the first time, by its own clock."""

    def __init__(self, monkeypatch, call=0.0, each=0.0, load=0.0):
        self.call, self.each, self.load, self.now, self.seen = call, each, load, 0.0, []
        monkeypatch.setattr(executors, "time", SimpleNamespace(perf_counter=lambda: self.now))

    def __call__(self, objects):
        self.now += self.call + self.each * len(objects) + self.load * (not self.seen)
        self.seen.append(len(objects))
        return [float(o) for o in objects]


@pytest.mark.parametrize(("times", "calls"), [
    (dict(each=1e-5), [2, 32, 66]),  # fast: few calls
    (dict(each=1e-5, load=3.0), [2, 1, 16, 81]),
    (dict(each=0.045), [2] + [4] * 24 + [2]),  # a fifth of a second
    (dict(each=1.0), [2] + [1] * 98),
    (dict(each=1.0, load=9.0), [2] + [1] * 98),
    (dict(call=5.0, each=0.01), [2, 1, 4, 8, 16, 32, 37])])  # a program that starts for each
def test_chunks_follow_the_time_that_an_undeclared_reward_takes(monkeypatch, times, calls):
    reward, told = Timed(monkeypatch, **times), []
    found = Serial().run(reward, range(100), lambda rows, answers: told.append(rows))
    assert reward.seen == calls == [len(rows) for rows in told]
    assert sum(told, []) == list(range(100)) == values(found)


def test_the_pace_is_remembered_and_a_declared_cost_of_0_is_asked_at_once(monkeypatch):
    reward, serial = Timed(monkeypatch, each=1e-5), Serial()
    for _ in range(3):
        serial.run(reward, range(40))
    assert reward.seen == [2, 32, 6, 40, 40]
    free = Timed(monkeypatch, each=1.0)
    free.cost = 0.0
    serial.run(free, range(40))
    assert free.seen == [40]


def test_a_run_that_is_interrupted_has_been_told_what_a_slow_reward_answered(monkeypatch):
    reward, told = Timed(monkeypatch, each=60.0), []

    def done(rows, answers):
        told.extend(rows)
        if len(told) >= 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        Serial().run(reward, range(100), done)
    assert told == [0, 1, 2] and reward.seen == [2, 1]


def puts(objects):
    """Prints from Python, from C and from another program."""
    print("python")
    ctypes.CDLL(None).puts(b"from C")
    os.system("echo shell")
    return [1.0] * len(objects)


def test_what_c_and_other_programs_print_never_reaches_stdout(capfd):
    print("before")
    ctypes.CDLL(None).puts(b"own")
    Serial().run(puts, ["a"])
    print("after")
    out, err = capfd.readouterr()
    assert sorted(out.split()) == ["after", "before", "own"]
    assert err.splitlines() == ["python", "from C", "shell"]


@pytest.mark.parametrize("stream", [None, io.StringIO()])
def test_stdout_may_be_anything_and_comes_back_after_a_failure(monkeypatch, capfd, stream):
    def broken(objects):
        os.system("echo inside")
        return "no numbers"

    monkeypatch.setattr(sys, "stdout", stream)
    with pytest.raises(RewardError):
        Serial().run(broken, ["a"])
    assert sys.stdout is stream
    os.write(1, b"back")
    assert capfd.readouterr() == ("back", "inside\n")


def test_another_thread_leaves_the_descriptor_alone(capfd):
    run = threading.Thread(target=Serial().run, args=(puts, ["a"]))
    run.start()
    run.join()
    os.write(1, b"end")
    out, err = capfd.readouterr()
    assert "python" in err and "shell" in out and out.endswith("end")


def test_a_process_that_replaces_one_has_a_few_times_what_loading_took():
    words = ["a", "bb", "ccc", *["slow"] * 2]
    with Processes(1, timeout=0.5, retries=0, startup=60.0) as patient:
        patient.run(odd_rewards.fragile, ["x"] * 3)
        begun = time.perf_counter()
        found = patient.run(odd_rewards.fragile, words)
    assert [a.status for a in found] == [0, 0, 0] + [Status.TIMEOUT] * 2
    assert {a.message for a in found[3:]} == {"no answer in 0.5 s"}
    assert time.perf_counter() - begun < 60  # one start-up of 60 s each before


def test_the_first_processes_have_all_the_time_to_load_and_a_slow_load_is_remembered():
    pool = Processes(1, timeout=1.0, startup=30.0)
    assert pool._allowance(7) == 30.0
    pool._loads[7] = 4.0
    assert pool._allowance(7) == 12.0
    pool._loads[7] = 0.001
    assert pool._allowance(7) == 2.0
