"""Expressions: what they mean, what they refuse, and that nothing in them is ever executed."""

import importlib.metadata
import math
import sys
import types

import pytest
from rdkit import Chem

from scidiff.data.records import Record
from scidiff.rewards import expressions, molecules, registry
from scidiff.rewards.combine import reward
from scidiff.rewards.scoring import RewardError, Scorer, Scores, Status, require_floor

MOLS = [Chem.MolFromSmiles(s) for s in ("CC(=O)Oc1ccccc1C(=O)O", "CCO", "c1ccc2ccccc2c1")]
QED, SA, LOGP = (list(REWARD(MOLS)) for REWARD in (molecules.qed, molecules.sa, molecules.logp))


@pytest.mark.parametrize("source, formula", [
    ("qed", lambda q, s, p: q),
    ("0.7*qed + 0.3*sa", lambda q, s, p: 0.7 * q + 0.3 * s),
    ("-(qed - 2) / 4", lambda q, s, p: (2 - q) / 4),
    ("qed ** 2 * sa", lambda q, s, p: q * q * s),
    ("geometric_mean(qed, sa)", lambda q, s, p: math.sqrt(q * s)),
    ("mean(qed, sa, 1)", lambda q, s, p: (q + s + 1) / 3),
    ("min(qed, 0.5)", lambda q, s, p: min(q, 0.5)),
    ("max(qed, sa)", lambda q, s, p: max(q, s)),
    ("pareto(qed, -sa)", lambda q, s, p: (q - s) / 2),
    ("chebyshev(0.7*qed, sa)", lambda q, s, p: min(0.7 * q, s) + 0.05 * (0.7 * q + s) / 2),
    ("step(logp, 1)", lambda q, s, p: float(p >= 1)),
    ("gaussian(logp, mu=-1, sigma=2)", lambda q, s, p: math.exp(-((p + 1) ** 2) / 8)),
    ("window(logp - qed, -1, 9)", lambda q, s, p: 1.0),
])
def test_an_expression_is_its_formula(source, formula):
    expected = [formula(*row) for row in zip(QED, SA, LOGP, strict=True)]
    assert reward(source)(MOLS) == pytest.approx(expected)


def test_rewards_with_parameters_and_line_breaks():
    product = reward("""qed
        * similarity('CCO', counts=True)""")
    assert product(MOLS)[1] == pytest.approx(QED[1])
    assert product.name == "qed * similarity('CCO', counts=True)"


def test_a_repeated_term_is_asked_once(monkeypatch):
    calls = []
    monkeypatch.setattr(registry, "find",
                        lambda name: lambda m: calls.append(name) or [1.0] * len(m))
    assert reward("a + a*a + b")(MOLS) == [3, 3, 3] and calls == ["a", "b"]


@pytest.mark.parametrize("source, low, high", [
    ("qed", 0, 1), ("0.7*qed + 0.3*sa", 0, 1), ("qed - sa", -1, 1), ("-2*qed", -2, 0),
    ("window(logp, 1, 3)", 0, 1), ("logp", -math.inf, math.inf), ("-mw", -math.inf, 0),
    ("min(logp, qed)", -math.inf, 1), ("max(logp, qed)", 0, math.inf), ("0*mw", 0, 0),
    ("geometric_mean(qed, rings)", 0, math.inf), ("qed/(1+rings)", 0, 1),
    ("qed/rings", None, None), ("chebyshev(qed, rings)", 0, math.inf),
    ("qed**2", 0, 1), ("(qed-1)**2", None, None), ("3 - qed*sa", 2, 3)])
def test_bounds_and_floor_follow_from_the_terms(source, low, high):
    unknown = (-math.inf, math.inf)
    assert reward(source).bounds == pytest.approx(unknown if low is None else (low, high))
    expected = low if low is not None and math.isfinite(low) else None
    assert reward(source).floor == pytest.approx(expected)


@pytest.mark.parametrize("source", ["dock('x')", 'dock("x")', "dock( 'x' )", "(dock('x'))"])
def test_one_reward_keeps_its_declared_floor_however_it_is_typed(monkeypatch, source):
    class Dock:
        floor = -3.0

        def __init__(self, target): ...

        def __call__(self, mols):
            return [0.0] * len(mols)

    monkeypatch.setattr(registry, "find", lambda name: Dock)
    assert reward(source).floor == -3


@pytest.mark.parametrize("source, message", [
    ("0.7*qedd + sa", r"unknown reward 'qedd'; did you mean 'qed'\? \(position 5 "),
    ("é + 1", r"unknown reward 'é' \(position 1"),
    ("'é' + qedd", r"''é'' is not allowed|\"'é'\" is not allowed"),
    ("qed +", "cannot read .* at position 6"),
    ("0.3 sa", "cannot read .* at position"),
    ("similarity", r"needs parameters: similarity\(smiles, counts=False, "),
    ("similarity(CCO)", "'CCO' is not a text or a number"),
    ("similarity('C(')", r"'C\(' is not a SMILES .*position 1"),
    ("similarity(smile='C')", "missing a required argument: 'smiles'"),
    ("qed('CCO')", "'qed' takes no parameters"),
    ("window", r"'window' needs arguments, for example window\(reward, low, high"),
    ("window(logp)", "missing a required argument: 'low'"),
    ("window(logp, 3, 1)", "low < high, got low=3.0 and high=1.0"),
    ("window(logp, qed, 1)", "'qed' is not a number"),
    ("min()", "takes one or more rewards"),
    ("1 + pareto(qed, sa)", r"pareto takes two or more objectives and .* \(position 5 "),
    ("pareto(qed)", r"around the whole formula: pareto\(qed, sa\) \(position 1 "),
    ("pareto(qed, pareto(qed, sa))", r"around the whole formula: .*position 13"),
    ("pareto", "'pareto' needs arguments"),
    ("3 + 4", "names no reward; known: admet, albuterol_similarity"),
    ("  ", "is empty"),
    ("True*qed", "not numbers"),
    ("qed if sa else 0", "is not allowed here"),
    ("qed.__class__", "is not allowed here"),
    ("(" * 300 + "qed" + ")" * 300, "too many nested|nested too deeply"),
    ("-" * 5000 + "qed", "nested too deeply|too complex|too many nested"),
])
def test_bad_expressions_name_the_token_and_the_place(source, message):
    with pytest.raises(ValueError, match=message) as caught:
        reward(source)
    assert "\n" not in str(caught.value) and len(str(caught.value)) < 700


@pytest.mark.parametrize("source", ["__import__('os').system('touch pwned')", "open('pwned', 'w')",
                                    "[qed for x in (1,)]", "(lambda: qed)()", "f'{qed}'",
                                    "window(logp, __import__('os').getpid(), 3)"])
def test_nothing_is_executed(source, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ValueError):
        reward(source)
    assert not list(tmp_path.iterdir())


def test_a_combination_that_is_not_finite_is_failed_and_terms_pass_on_their_status(monkeypatch):
    assert reward("qed/(rings - 1)").score(MOLS).status.tolist() == [Status.FAILED, 0, 0]

    class Slow:
        def score(self, objects):
            rest = [(1.0, Status.OK)] * (len(objects) - 1)
            return Scores.of([(math.nan, Status.TIMEOUT), *rest])

    monkeypatch.setattr(registry, "find", lambda name: Slow() if name == "slow" else molecules.qed)
    scores = reward("slow + qed").score(MOLS)
    assert scores.status.tolist() == [Status.TIMEOUT, 0, 0]
    assert scores.values[1:].tolist() == pytest.approx([1 + q for q in QED[1:]])


def test_import_paths(monkeypatch):
    module = types.ModuleType("my_scores")
    module.size = lambda mols: [m.GetNumAtoms() for m in mols]
    monkeypatch.setitem(sys.modules, "my_scores", module)
    assert reward("my_scores:size")(MOLS) == [13, 3, 10]
    with pytest.raises(ValueError, match="'my_scores' has no 'sise'; did you mean 'size'"):
        reward("my_scores:sise")
    with pytest.raises(ValueError, match="cannot import 'no_such_module'"):
        reward("no_such_module:size")


def test_entry_points_publish_functions_classes_and_mappings(monkeypatch):
    module = types.ModuleType("plug")
    module.atoms = lambda mols: [m.GetNumAtoms() for m in mols]
    module.more = {"half": lambda mols: [0.5 for _ in mols]}
    monkeypatch.setitem(sys.modules, "plug", module)
    points = [importlib.metadata.EntryPoint(n, v, registry.GROUP) for n, v in
              (("atoms", "plug:atoms"), ("more", "plug:more"), ("gone", "no_such_module:x"))]
    monkeypatch.setattr(registry, "entry_points", lambda group, name=None: [
        p for p in points if name in (None, p.name)])
    assert reward("atoms*half")(MOLS) == [6.5, 1.5, 5]
    with pytest.raises(ValueError, match="'gone' is published by 'no_such_module:x'"):
        reward("gone")


BROKEN = {"typo": "def score(:", "name": "x = undefined", "lib": "raise OSError('libx.so: gone')",
          "quits": "raise SystemExit(3)"}


@pytest.fixture
def broken(tmp_path, monkeypatch):
    """Modules that raise as they are imported, and a plugin of a package for each."""
    points = []
    for name, code in BROKEN.items():
        (tmp_path / f"broken_{name}.py").write_text(code)
        point = importlib.metadata.EntryPoint(name, f"broken_{name}:score", registry.GROUP)
        points.append(point._for(types.SimpleNamespace(name=f"pack-{name}")))
    monkeypatch.syspath_prepend(tmp_path)
    real = registry.entry_points
    monkeypatch.setattr(registry, "entry_points", lambda group, name=None: [
        *(p for p in points if name in (None, p.name)),
        *(real(group=group) if name is None else real(group=group, name=name))])


@pytest.mark.parametrize(("name", "error"), [
    ("typo", "SyntaxError: "), ("name", "NameError: "), ("lib", "OSError: libx.so: gone"),
    ("quits", "SystemExit: 3")])
def test_a_broken_plugin_or_module_breaks_itself_alone(broken, name, error):
    assert reward("qed")(MOLS) == pytest.approx(QED)
    with pytest.raises(ValueError, match=f"cannot import 'broken_{name}': {error}") as caught:
        reward(f"broken_{name}:score")
    assert "\n" not in str(caught.value)
    with pytest.raises(ValueError, match=f"'{name}' is published by 'broken_{name}:score' of "
                                         f"package 'pack-{name}', which does not load: {error}"):
        reward(name)
    with pytest.raises(ValueError, match=f"unknown reward 'nothing'.*'pack-{name}', which does"):
        reward("nothing")


def test_a_class_that_needs_arguments_is_refused(monkeypatch):
    class Size:
        def __init__(self, scale):
            self.scale = scale

    module = types.ModuleType("my_classes")
    module.Size = Size
    monkeypatch.setitem(sys.modules, "my_classes", module)
    with pytest.raises(ValueError, match="'my_classes:Size' is a class .*'scale'.* expected a "
                                         "class without arguments or an instance"):
        reward("my_classes:Size")


@pytest.mark.parametrize(("spec", "top"), [("qed", 1), ("0.5*qed", 0.5), (molecules.qed, 1)])
def test_a_floor_above_all_values_is_refused(spec, top):
    with pytest.raises(ValueError, match=f"at most the reward's upper bound {top}, got 2.0"):
        reward(spec, floor=2.0)
    assert require_floor(reward(spec, floor=top)) == top


def test_declaring_a_floor_and_a_name():
    declared = reward(lambda mols: [-1.0 for _ in mols], floor=-5.0, name="mine")
    assert require_floor(declared) == -5 and Scorer(declared).name == "mine"
    assert require_floor(reward("logp", floor=-3)) == -3

    @reward(floor=0.0)
    def size(mols):
        return [m.GetNumAtoms() for m in mols]

    assert size.name == "size" and size(MOLS) == [13, 3, 10] and size.floor == 0
    with pytest.raises(RewardError, match="'logp' has no floor"):
        require_floor(reward("logp"))
    with pytest.raises(ValueError, match="floor must be a finite"):
        reward("logp", floor=-math.inf)


@pytest.mark.parametrize("spec", [3, ["qed"], {}, int])
def test_what_is_no_reward_is_refused(spec):
    with pytest.raises(ValueError, match="a reward is an expression"):
        reward(spec)


class Dear:
    """A costly reward that counts what it is asked; fails for "bad"."""

    cost, bounds, floor = 5.0, (0.0, 1.0), 0.0

    def __init__(self):
        self.seen = []

    def __call__(self, objects):
        self.seen += objects
        return [math.nan if o == "bad" else 0.5 for o in objects]


def asked_in_order(monkeypatch, source, cheap):
    dear = Dear()
    monkeypatch.setattr(registry, "find", lambda name: dear if name == "dear" else cheap)
    return dear, Scorer(reward(source))


def as_records(*texts):
    return [Record(t, t, True) for t in texts]


def test_a_dear_term_is_asked_last_and_only_where_it_matters(monkeypatch):
    first = [float("a" in o) if o != "odd" else math.nan for o in ("a", "b", "odd", "aa", "bad")]

    def cheap(objects):
        table = dict(zip(("a", "b", "odd", "aa", "bad"), first, strict=True))
        return [table[o] for o in objects]

    dear, scorer = asked_in_order(monkeypatch, "dear * cheap", cheap)
    scores = scorer.score(as_records("a", "b", "odd", "aa", "bad"))
    assert dear.seen == ["a", "aa", "bad"]
    assert scores.status.tolist() == [0, 0, Status.FAILED, 0, Status.FAILED]
    assert scores.values[[0, 1, 3]].tolist() == [0.5, 0.0, 0.5]
    parts = scorer.parts(as_records("b", "a"))
    assert list(parts) == ["dear", "cheap"] and parts["dear"].status.tolist() == [4, 0]
    assert parts["cheap"].values.tolist() == [0.0, 1.0] and scorer.calls == 2  # nothing asked


@pytest.mark.parametrize("source, asks", [
    ("min(dear, cheap)", ["a"]), ("dear + cheap", ["a", "b"]), ("cheap * dear * dear", ["a"]),
    ("max(dear, cheap)", ["b"]), ("window(dear, 2, 3) * cheap", ["a"])])
def test_what_bounds_settle_is_not_asked(monkeypatch, source, asks):
    dear, scorer = asked_in_order(monkeypatch, source, lambda o: [float("a" in x) for x in o])
    both = scorer.score(as_records("a", "b"))
    assert dear.seen == asks and both.ok.all()
    everything = reward(source).score(["a", "b"])  # asks every term
    assert both.values.tolist() == everything.values.tolist()


def test_a_declared_reward_keeps_the_terms_of_its_formula(monkeypatch):
    dear, _ = asked_in_order(monkeypatch, "dear", None)
    monkeypatch.setattr(registry, "find", {"dear": dear, "none": lambda o: [0.0] * len(o)}.get)
    scorer = Scorer(reward("dear * none", name="mine", floor=-1.0))
    assert scorer.score(as_records("x")).values.tolist() == [0.0] and dear.seen == []
    assert scorer.name == "mine" and scorer.floor == -1.0
    assert list(scorer.parts(as_records("x"))) == ["dear", "none"]
    plain = Scorer(reward(lambda o: [2.0 for _ in o], name="two", floor=0.0))
    assert plain.score(as_records("x")).values.tolist() == [2.0]
    assert plain.parts(as_records("x")) == {}


def test_an_invalid_object_of_the_reward_itself_scores_its_floor():
    class Picky:
        floor = -2.0

        def score(self, objects):
            return Scores.of([(math.nan, Status.INVALID)] * len(objects))

    scores = Scorer(Picky()).score(as_records("x"))
    assert scores.values.tolist() == [-2.0] and scores.status.tolist() == [Status.INVALID]


def test_a_reward_whose_parameters_all_have_defaults_is_named_bare(monkeypatch):
    class Some:
        def __init__(self, seed=0):
            self.seed = seed

    monkeypatch.setattr(registry, "find", lambda name: Some)
    assert expressions.parse("some")[1]["some"].seed == 0
    assert expressions.parse("some(3)")[1]["some(3)"].seed == 3
