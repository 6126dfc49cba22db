"""What is given in another type than a signature or a setting says is refused in one line."""

import math
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from tiny_models import write_tiny_model

import scidiff as sd
from scidiff.api.settings import FlowSettings, GraphSettings, choose
from scidiff.api.typed import check_type, typed

LISTED = "Sequence[str]"


@pytest.mark.parametrize("annotation, value", [
    ("int", 3), ("int", np.int64(3)), ("int | None", None), ("float", 3), ("float", math.inf),
    ("float", np.float32(0.5)), ("bool", np.True_), ("str | Path", Path("x")), (LISTED, ()),
    (LISTED, np.array(["C", "N"])), (LISTED, pd.Series(["C"])), ("str | Sequence[str]", "CC"),
    ("Sequence[int] | None", np.array([1, 2])), ("Sequence[Span]", [(1, 2), [3, 4]]),
    ("Mapping[str, Any] | None", {"cell": "K562"}), ("tuple[str, ...]", [sd.Runs(5)]),
    ("Model | str", 5), ("Any", object()),
])  # fmt: skip
def test_what_fits_or_is_not_known_passes(annotation, value):
    check_type("x", value, annotation)


@pytest.mark.parametrize("annotation, value, message", [
    ("int", "20", "x must be a whole number, got the text '20'"),
    ("int", 2.5, "x must be a whole number, got 2.5"),
    ("int", True, "x must be a whole number, got True"),
    ("int | None", "20", "x must be a whole number or None, got the text '20'"),
    ("float", math.nan, "x must be a number, got nan"),
    ("float", None, "x must be a number, got None"),
    ("bool", 1, "x must be True or False, got 1"),
    ("str", 5, "x must be text, got 5"),
    (LISTED, "CCO", "x must be a list of texts, got the text 'CCO'"),
    (LISTED, ["C", 5], "x: row 2 must be text, got 5"),
    ("Sequence[int]", [1, "a"], "x: row 2 must be a whole number, got 'a'"),
    ("Sequence[Span]", [1, 2], "x: row 1 must be a pair of whole numbers, got 1"),
    ("Sequence[Span] | None", "ab", "x must be a list of pairs of whole numbers or None, got"),
    ("Asked | None", "K562", "x must be a mapping such as {'cell': 'K562'} or None, got the "
                             "text 'K562'"),
    ("tuple[str, ...]", sd.Require("TA"), "x must be a list, got Require"),
])  # fmt: skip
def test_another_type_says_what_was_expected(annotation, value, message):
    with pytest.raises(ValueError) as caught:
        check_type("x", value, annotation)
    assert str(caught.value).startswith(message) and "\n" not in str(caught.value)


def test_a_typed_function_is_what_it_was():
    @typed
    def twice(n: "int", *rest: "int", how: "float" = math.nan, **more: "int") -> int:
        """Say n again."""
        return 2 * n

    assert twice(2) == twice(2, how=1.0) == 4 and twice.__doc__ == "Say n again."
    assert twice(2, how=math.nan) == 4  # what stands as the default is taken as it is
    with pytest.raises(ValueError, match="n must be a whole number"):
        twice(n="2")
    with pytest.raises(TypeError, match="twice.. missing 1 required positional argument"):
        twice()


@pytest.mark.parametrize("record, given, message", [
    (FlowSettings, {"steps": "20"}, "steps must be a whole number, got the text '20'"),
    (FlowSettings, {"kernel": 5}, "kernel must be text, got 5"),
    (FlowSettings, {"eta": "1"}, "eta must be a number, got the text '1'"),
    (GraphSettings, {"eta": "1"}, "eta must be a number or None, got the text '1'"),
    (GraphSettings, {"compat": "no"}, "compat must be True or False, got the text 'no'"),
])  # fmt: skip
def test_settings_are_checked_by_the_types_of_their_fields(record, given, message):
    with pytest.raises(ValueError) as caught:
        choose([record], given)
    assert str(caught.value) == message


@pytest.fixture(scope="module", params=["masked", "block"])
def model(request, tmp_path_factory):
    folder = tmp_path_factory.mktemp("models") / request.param
    return sd.load(write_tiny_model(folder, request.param), device="cpu")


WRONG = {
    "sample n": (lambda m: m.sample(2.5), "n must be a whole number, got 2.5"),
    "sample seed": (lambda m: m.sample(1, seed="a"), "seed must be a whole number"),
    "seed below 0": (lambda m: m.sample(1, seed=-1), "seed must be 0 or more, got -1"),
    "seconds": (lambda m: m.sample(1, seconds="x"), "seconds must be a number or None"),
    "weight": (lambda m: m.sample(1, weight="x"), "weight must be a number, got the text 'x'"),
    "order": (lambda m: m.sample(1, order=["random"]), "order must be text"),
    "candidates": (
        lambda m: m.sample(1, energy="moses-smiles", candidates="8"),
        "candidates must be a whole number",
    ),
    "condition": (lambda m: m.sample(1, condition="K562"), "condition must be a mapping"),
    "one constraint": (
        lambda m: m.sample(1, constraints=sd.Runs(5)), "constraints must be a list, got Runs",
    ),
    "pattern": (lambda m: m.infill(5), "pattern must be text, got 5"),
    "gap": (lambda m: m.infill("C[*]", gap=4), "gap must be .low, high. or a list of them"),
    "no gaps": (lambda m: m.infill("C[*]", gap=[]), "gap must be .low, high. or a list of them"),
    "gap of text": (lambda m: m.infill("C[*]", gap=("1", "2")), "gap must be .low, high."),
    "texts": (lambda m: m.edit(5), "texts must be text or a list of texts, got 5"),
    "fraction": (lambda m: m.edit("CC", fraction="x"), "fraction must be a number or None"),
    "positions": (
        lambda m: m.edit("CC", positions=[1.5]), "positions: row 1 must be a whole number",
    ),
    "spans": (lambda m: m.edit("CC", spans=(1, 2)), "spans: row 1 must be a pair of whole number"),
    "interpolate": (lambda m: m.interpolate("CC", 5), "b must be text, got 5"),
    "one string": (lambda m: m.log_likelihood("CCO"), "strings must be a list of texts"),
    "no strings": (lambda m: m.log_likelihood([]), "log_likelihood takes at least one text"),
    "draws": (lambda m: m.log_likelihood(["CC"], draws="8"), "draws must be a whole number"),
    "perplexity": (lambda m: sd.perplexity(m, "CCO"), "strings must be a list of texts"),
    "budget": (lambda m: sd.design(m, "qed", budget="8"), "budget must be a whole number or None"),
    "floor": (lambda m: sd.design(m, "qed", floor="x"), "floor must be a number or None"),
    "load": (lambda m: sd.load(None), "name must be text or a path, got None"),
    "no model": (lambda m: sd.sample(5, n=1), "model must be a model or the name of one, got 5"),
    "design": (lambda m: sd.design(5, "qed"), "model must be a model or the name of one, got 5"),
    "tune": (lambda m: sd.tune(5, ["CC"]), "model must be a model or the name of one, got 5"),
    "minutes": (lambda m: sd.tune(m, ["CC"], minutes="x"), "minutes must be a number"),
    "train": (lambda m: sd.train(5, "out"), "source must be text or a path, got 5"),
    "evaluate": (lambda m: sd.evaluate(5, fcd=False), "objects must be a result, a list of obj"),
    "suite": (lambda m: sd.evaluate(["CC"], suite=5), "suite must be text, got 5"),
    "save": (lambda m: m.sample(1).save(5), "path must be text or a path, got 5"),
    "ends": (lambda m: sd.Property(logp=("a", "b")), "logp must be .low, high., None for an open"),
    "a property": (lambda m: sd.Property(mrl=(1, 2)), "no reward is called 'mrl'.*condition="),
}  # fmt: skip


@pytest.mark.parametrize("ask, message", WRONG.values(), ids=WRONG)
def test_a_wrong_type_is_one_line(model, ask, message):
    with pytest.raises(ValueError, match=f"^(a property is .*)?{message}") as caught:
        ask(model)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("wrong", [
    lambda: sd.Fixed(["A"]), lambda: sd.Fixed({0: 5}), lambda: sd.Fixed({0: ""}),
    lambda: sd.Runs("x"), lambda: sd.Runs(2.5), lambda: sd.Pattern(5),
])  # fmt: skip
def test_a_constraint_of_another_type_says_what_it_takes(wrong):
    with pytest.raises(ValueError, match="^(Fixed|Runs|Pattern) takes .*, got"):
        wrong()


def test_a_constraint_of_graphs_is_written():
    with pytest.raises(ValueError, match="a constraint of graphs is one of .*, got Runs"):
        sd.load("qm9-graph").sample(1, constraints=[sd.Runs(5)])


def test_a_design_takes_the_name_of_a_model(tmp_path):
    folder = write_tiny_model(tmp_path / "tiny")
    how = {"reward": "qed", "n": 2, "budget": 8, "method": "best-of-n"}
    named, held = sd.design(folder, **how), sd.design(sd.load(folder), **how)
    assert named.rows.texts == held.rows.texts and named.settings == held.settings


def test_perplexity_takes_the_name_of_a_model(tmp_path):
    folder = write_tiny_model(tmp_path / "tiny")
    named = sd.perplexity(folder, ["CCO", "CNC"], draws=4)
    held = sd.perplexity(sd.load(folder), ["CCO", "CNC"], draws=4)
    assert [m.value for m in named] == [m.value for m in held]
