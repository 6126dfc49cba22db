"""Rewards that are other programs: what they may do wrong, and the one line that says so."""

import math
import sys

import pytest
from rdkit import Chem

from scidiff.data.records import Record
from scidiff.rewards.cache import Cache
from scidiff.rewards.combine import reward
from scidiff.rewards.executors import Serial
from scidiff.rewards.identity import identity
from scidiff.rewards.programs import Command, Reinvent
from scidiff.rewards.scores import RewardError, Status
from scidiff.rewards.scoring import Scorer

HEAD = "import sys, json, time, os\nwords = [l.strip() for l in sys.stdin]\n"


@pytest.fixture
def program(tmp_path):
    """A command line that runs these lines of Python."""
    def make(body, head=HEAD):
        path = tmp_path / f"p{abs(hash(body))}.py"
        path.write_text(head + body)
        return f"{sys.executable} -S {path}"
    return make


def said(answers):
    return [(a.status, a.message) for a in answers]


def test_numbers_objects_nulls_and_errors_are_read(program):
    line = program("""
print(json.dumps(len(words[0])))
print('{"value": 2.5}')
print('null')
print('{"error": "no conformer"}')
print('NaN')
""")
    found = Command(line).answers(["abc", "b", "c", "d", "e"])
    assert [found[0].value, found[1].value] == [3.0, 2.5]
    assert said(found[2:]) == [
        (Status.FAILED, "the reward returned no finite number"), (Status.FAILED, "no conformer"),
        (Status.FAILED, "the reward returned no finite number")]


def test_molecules_are_written_as_smiles_and_commands_are_terms(program):
    line = program("for w in words: print(w.count('O'))")
    mols = [Chem.MolFromSmiles(s) for s in ("OCC", "OCCO", "C")]
    assert Command(line)(mols) == [1, 2, 0]
    formula = reward(f"0*qed + 2*command({line!r}, timeout=30)", floor=0.0)
    assert formula(mols) == [2, 4, 0]
    with pytest.raises(RewardError, match="reads texts, and dict has none"):
        Command(line)([{}])


def test_notes_on_stderr_do_no_harm_and_large_batches_do_not_block(program):
    line = program("""
print('x' * 200_000, file=sys.stderr)
for w in words: print(len(w))
""")
    words = ["ab" * 50] * 3000
    assert Command(line)(words) == [100.0] * 3000


def test_what_hangs_costs_one_object(program):
    line = program("""
for w in words:
    if w == 'slow': time.sleep(60)
    print(len(w), flush=True)
""")
    found = Command(line, timeout=1.0).answers(["a", "slow", "bb"])
    assert said(found) == [(0, ""), (Status.TIMEOUT, "no answer in 1 s"), (0, "")]
    assert [found[0].value, found[2].value] == [1, 2]


def test_what_dies_costs_one_object(program):
    line = program("""
for w in words:
    if w == 'bad':
        print('cannot embed it', file=sys.stderr)
        sys.exit(3)
    print(len(w))
""")
    found = Command(line).answers(["a", "bad", "bb"])
    assert said(found)[1] == (Status.FAILED, "the program died, exit code 3: cannot embed it")
    assert [found[0].value, found[2].value] == [1, 2]


@pytest.mark.parametrize("body, message", [
    ("print('loading model...'); print(1)", "printed 'loading model...'; expected a number or"),
    ("print('true'); print('true')", "printed 'true'; expected"),
    ("print(1)", "answered 1 of the 2 objects"),
    ("print(1); print(2); print(3)", "answered more than the 2 objects"),
    ("raise KeyError('licence')", "ended before its first answer, exit code 1: KeyError"),
    ("print('{\"score\": 3}'); print(1)", "printed .*score.*; expected")])
def test_a_program_that_breaks_the_protocol_is_one_line(program, body, message):
    with pytest.raises(RewardError, match=message) as caught:
        Scorer(Command(program(body))).score([Record(t, t, True) for t in "ab"])
    assert "\n" not in str(caught.value) and "command(" in str(caught.value)


@pytest.mark.parametrize("make, message", [
    (lambda: Command("no-such-program -x"), "command: no program 'no-such-program'"),
    (lambda: Command(""), "command: no program ''"),
    (lambda: Command("python 'x"), "No closing quotation"),
    (lambda: Command("python", timeout=0), "timeout must be positive, in seconds, got 0"),
    (lambda: Reinvent("no-such-program"), "reinvent: no program 'no-such-program'")])
def test_commands_are_checked_when_they_are_made(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_a_changed_script_is_another_version_under_the_cache(program, tmp_path, caplog):
    line = program("for w in words: print(1)")
    cache = Cache(tmp_path / "scores.db")
    first = Scorer(Command(line), cache=cache)
    assert first.score([Record("a", "a", True)]).values.tolist() == [1]
    same = Scorer(Command(line), cache=cache)
    assert same.score([Record("a", "a", True)]).values.tolist() == [1] and same.calls == 0
    script = line.split()[-1]
    with open(script) as file:
        text = file.read()
    with open(script, "w") as file:
        file.write(text.replace("print(1)", "print(2)"))
    changed = Scorer(Command(line), cache=cache)
    assert changed.score([Record("a", "a", True)]).values.tolist() == [2]
    assert "1 scores of version" in caplog.text
    assert identity(Command(line, version="7")).version == "7"


def test_reinvent_programs_answer_one_document(program):
    good = program("print(json.dumps({'version': 1, 'payload': {'size': [len(w) for w in words]}}"
                   "))")
    mols = [Chem.MolFromSmiles(s) for s in ("CCO", "C")]
    assert Reinvent(good, "size")(mols) == [3, 1]
    assert reward(f"reinvent({good!r}, 'size')", floor=0.0)(mols) == [3, 1]
    with pytest.raises(RewardError, match="its payload has size, not 'score'"):
        Reinvent(good)(mols)
    with pytest.raises(RewardError, match="printed '1 2'; expected one JSON"):
        Reinvent(program("print('1 2')"))(mols)
    with pytest.raises(RewardError, match="returned 1 values for 2 objects"):
        Serial().run(Reinvent(program("print('{\"payload\": {\"score\": [1]}}')")), mols)


def test_reinvent_programs_that_fail_or_hang_fail_their_objects(program):
    line = program("""
if 'bad' in words: sys.exit('no licence')
if 'slow' in words: time.sleep(60)
print(json.dumps({'payload': {'score': [None if w == 'none' else 1.5 for w in words]}}))
""")
    found = Serial().run(Reinvent(line, timeout=0.7), ["a", "bad", "slow", "none"])
    assert said(found) == [
        (0, ""), (Status.FAILED, "OSError: exit code 1: no licence"),
        (Status.TIMEOUT, "TimeoutError: no answer in 0.7 s"),
        (Status.FAILED, "the reward returned no finite number")]
    assert found[0].value == 1.5 and math.isnan(found[1].value)
