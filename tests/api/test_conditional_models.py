"""From a column of a file to rows that are as asked: recipes with conditions, and their models."""

import numpy as np
import pytest
import torch

from scidiff.api.design import design
from scidiff.api.entry import load
from scidiff.api.intake import load_strings
from scidiff.api.properties import Property
from scidiff.api.recipe_defaults import choose_recipe
from scidiff.api.recipes import read
from scidiff.api.train import train
from scidiff.core import ScidiffError

RECIPE = """
name = "told"
domain = "dna"
[data]
source = "{source}"
validation = 20
condition = {condition}
{more}
[network]
width = 32
depth = 1
heads = 2
[[stages]]
process = "{process}"
{block}
steps = {steps}
batch_size = 64
lr = 1e-2
warmup = 5
ema = 0.9
precision = "32-true"
{sampling}
"""


def rows(n=240):
    """Sequences of one base, told which one, and how long they are."""
    rng = np.random.default_rng(0)
    rest = ["".join(r) for r in rng.choice(list("ACGT"), (n, 6))]
    bases = [("ACGT"[i % 4], rest[i]) for i in range(n)]
    return [(f"{b * 6}{r}", b, i % 3) for i, (b, r) in enumerate(bases)]


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    file = tmp_path_factory.mktemp("told") / "rows.csv"
    lines = [f"{text},x{base},{number}" for text, base, number in rows()]
    file.write_text("\n".join(["sequence,base,number", *lines]))
    return file


def recipe(source, folder, condition='["base"]', process="masked", steps=150, more=""):
    block = "block_size = 2" if process == "block" else ""
    sampling = "" if process == "masked" else "[sampling]\nblock_size = 2"
    file = folder / "told.toml"
    file.write_text(
        RECIPE.format(source=source, condition=condition, process=process, steps=steps, more=more,
                      block=block, sampling=sampling)
    )  # fmt: skip
    return file


@pytest.fixture(scope="module", params=["masked", "block"])
def model(source, tmp_path_factory, request):
    folder = tmp_path_factory.mktemp("run")
    return load(train(recipe(source, folder, process=request.param), folder / "out", device="cpu"))


def share(result, base):
    return np.mean([text[:6].count(base) / 6 for text in result.texts])


def test_rows_are_as_asked(model):
    asked = model.sample(40, condition={"base": "xG"})
    assert share(asked, "G") > 0.8 > 0.4 > share(model.sample(40), "G")
    assert asked.columns["base"] == ["xG"] * 40
    assert asked.provenance["sampling"]["condition"] == {"base": "xG"}


def test_every_row_may_be_asked_for_something_else(model):
    bases = ["xA", "xC", "xG", "xT"] * 10
    asked = model.sample(40, condition={"base": bases})
    hits = [text[:6].count(base[1]) for text, base in zip(asked.texts, bases, strict=True)]
    assert np.mean(hits) / 6 > 0.8
    assert asked.columns["base"] == bases


def test_a_weight_above_one_asks_harder(model):
    sampler = model.sampler(condition={"base": "xC"}, weight=3.0)
    plain = model.sampler(condition={"base": "xC"})
    states = [s.init(1, torch.Generator().manual_seed(0)) for s in (sampler, plain)]
    c = model.engine.vocabulary.encode("C")[0]
    first = [
        s.token_law(x, torch.zeros(1, 1, dtype=torch.long)).log_softmax(-1)[0, 0, c]
        for s, x in zip((sampler, plain), states, strict=True)
    ]
    assert first[0] > first[1]


def test_what_was_asked_stands_in_every_result(model):
    how = {"condition": {"base": "xG"}, "seed": 0}
    made = [model.infill("G[*]G", 2, gap=(3, 3), **how), model.complete("G", 2, **how)]
    if not model.engine.block_causal:
        made += [model.edit("GGGACGTACGTA", 2, **how),
                 model.interpolate("GGGACGTACGTA", "GGGACGTTTTTT", 2, **how)]
    for result in made:
        assert result.columns["base"] == ["xG"] * 2
        assert result.provenance["sampling"]["condition"] == {"base": "xG"}


def test_what_evolves_stays_as_it_was_asked(model):
    """Parents of the pool are told what the draws are, so that their children are too."""
    asked = design(model, "length", n=4, budget=40, condition={"base": "xG"}, seed=0)
    children = [i for i, key in enumerate(asked.asked.columns["parent"]) if key]
    assert children and np.mean([asked.asked.texts[i][:6].count("G") / 6 for i in children]) > 0.5


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ({"condition": {"base": "G"}}, "must be one of xA, xC, xG, xT, got 'G'"),
        ({"condition": {"bse": "xG"}}, "unknown condition 'bse'"),
        ({"weight": 2.0}, "weight belongs to condition"),
    ],
)
def test_what_cannot_be_asked_is_said(model, asked, message):
    with pytest.raises(ValueError, match=message):
        model.sample(2, **asked)


def test_a_model_that_was_told_nothing_is_asked_nothing(source, tmp_path):
    plain = load(train(recipe(source, tmp_path, "[]", steps=1), tmp_path / "out", device="cpu"))
    with pytest.raises(ValueError, match="takes no condition, got {'base': 'xG'}"):
        plain.sample(2, condition={"base": "xG"})


def test_a_reward_can_be_a_condition(source, tmp_path):
    found = load_strings(read(recipe(source, tmp_path, '["gc", "number"]')), tmp_path)
    expected = [sum(c in "GC" for c in s) / len(s) for s in found.strings]
    assert found.told["gc"] == pytest.approx(expected)
    assert set(found.told["number"]) == {0, 1, 2}


def test_only_rows_that_are_wanted(source, tmp_path):
    wanted = 'where = { base = "xA", number = 1 }'
    found = load_strings(read(recipe(source, tmp_path, more=wanted)), tmp_path)
    assert len(found.strings) == 20 and set(found.told["base"]) == {"xA"}
    nothing = read(recipe(source, tmp_path, more='where = { base = "xU" }'))
    with pytest.raises(ScidiffError, match="no row is left with .*base = 'xU'; .* holds xA, xC"):
        load_strings(nothing, tmp_path)


def test_a_model_goes_on_with_what_it_was_told(source, tmp_path, model):
    file = recipe(source, tmp_path, '["number"]', process=model.config["process"]["kind"])
    file.write_text(f'init = "{model.source}"\n' + file.read_text())
    with pytest.raises(ScidiffError, match="is told base: data.condition must name just that"):
        train(file, tmp_path / "out", device="cpu")


def test_a_bare_file_tells_a_model_what_it_was_told(source, tmp_path, model):
    folder = str(model.source)
    assert choose_recipe(source, folder, None, None, 2, 0).data.condition == ["base"]
    plain = tmp_path / "plain.csv"
    plain.write_text("sequence\nACGT\n")
    assert choose_recipe(plain, folder, None, None, 2, 0).data.condition == []


@pytest.mark.parametrize(
    ("letters", "domain"),
    [("ACGT", "dna"), ("acgtN", "dna"), ("ACGU", "rna"), ("ACDK", "peptide"),
     ("ACGT" * 9 + "RY-", "dna"), ("ACGU" * 5 + "TN", "rna"), ("GIGKFAGKAT", "peptide")],
)
def test_letters_say_which_domain_a_fasta_is_of(tmp_path, letters, domain):
    file = tmp_path / "rows.fasta"
    file.write_text(f">a\n{letters * 3}\n>b\n{letters[::-1]}\n")
    recipe = choose_recipe(file, None, None, None, 5, 0)
    assert (recipe.domain, recipe.stages[0].process) == (domain, "masked")


def test_a_range_of_a_property_is_asked_row_by_row_and_measured(source, tmp_path):
    wanted = recipe(source, tmp_path, condition='["gc"]')
    model = load(train(wanted, tmp_path / "run", device="cpu"), device="cpu")
    rich = model.sample(200, condition=Property(gc=(0.7, None)))
    poor = model.sample(200, condition=Property(gc=(None, 0.3)))
    frame = rich.to_frame()
    assert (frame["gc"] >= 0.7).all() and frame["gc"].nunique() > 1
    assert (frame["property_ok"] == (frame["gc_measured"] >= 0.7)).all()
    assert frame["gc_measured"].mean() > poor.to_frame()["gc_measured"].mean() + 0.2
    assert rich.provenance["property"] == "gc=0.7.."
    with pytest.raises(ValueError, match="takes no condition"):
        load("moses-smiles").sample(1, condition=Property(logp=(1, 3)))
