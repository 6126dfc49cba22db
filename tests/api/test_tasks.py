"""Fragment tasks: every attempt a row, all that is given kept, errors that say what is wrong."""

import re

import pytest
import torch

import scidiff as sd
from scidiff.api import tasks
from scidiff.chem.fragments import spell
from scidiff.chem.given import holds, read_part
from scidiff.core import ScidiffError
from scidiff.data.tokens import Vocabulary
from scidiff.networks.token_transformer import TokenTransformer, TokenTransformerConfig
from scidiff.training.checkpoint import save_model

MOLECULES = [
    "O=C(Nc1ccc(N2CCOCC2)cc1)C1CC1", "CC(c1ccc(-c2ccncc2)cc1)N1CCOCC1", "CCSC(=O)NCc1cc[nH]c1",
    "Cc1ccc2c(c1)nc(NC(=O)C1CCCO1)s2", "O=C(CN1CCN(Cc2ccccc2F)CC1)NC1CC1",
]  # fmt: skip
TASKS = {
    "de_novo": (tasks.de_novo, ()),
    "linker": (tasks.linker, (["[*]c1ccccc1", "[*]N1CCOCC1"],)),
    "linker of three": (tasks.linker, (["[*]C", "[*]CO", "*c1cc[nH]c1"],)),
    "scaffold_morphing": (tasks.scaffold_morphing, (["[*]C1CC1", "[*]CF"],)),
    "motif_extension": (tasks.motif_extension, ("[*]c1ccc2[nH]ccc2c1",)),
    "scaffold_decoration": (tasks.scaffold_decoration, ("[*]c1ccc([*])nc1",)),
    "superstructure": (tasks.superstructure, ("c1ccncc1",)),
    "lead_optimisation": (tasks.lead_optimisation, ("O=C(Nc1ccncc1)C1CC1",)),
    "stereo and charge": (tasks.linker, (["[*][C@H](F)c1ccccc1", "[*]CC[N+](C)(C)C"],)),
}  # fmt: skip


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    """Random weights over the tokens of a few molecules in pieces."""
    torch.manual_seed(0)
    texts = [spell(smiles, seed) for smiles in MOLECULES for seed in range(8)]
    vocabulary = Vocabulary.build(texts)
    config = TokenTransformerConfig(len(vocabulary), 44, width=32, depth=1, heads=2, expand=2)
    network = TokenTransformer(config)
    counts = [0] * 20 + [1] * 20
    folder = tmp_path_factory.mktemp("safe")
    save_model(folder, network, {
        "name": "tiny-safe", "domain": "safe", "process": {"kind": "masked", "block_size": None},
        "vocabulary": {"notation": "smiles", "symbols": list(vocabulary.symbols)},
        "sampling": {"block_size": None}, "length_counts": counts}, "# tiny")  # fmt: skip
    return sd.load(folder)


@pytest.mark.parametrize("name", TASKS)
def test_every_attempt_is_a_valid_row_that_keeps_what_is_given(model, name):
    draw, given = TASKS[name]
    rows = draw(model, *given, n=4, seed=1)
    assert len(rows) == 4 and rows.valid.all(), [r.reason for r in rows]
    assert rows.columns["kept"] == [True] * 4
    assert rows.provenance["task"] == draw.__name__
    again = draw(model, *given, n=4, seed=1)
    assert again.texts == rows.texts and draw(model, *given, n=4, seed=2).texts != rows.texts
    frame = rows.to_frame()
    assert list(frame.columns) == ["smiles", "valid", "reason", "canonical", "kept"]


def test_the_parts_are_there(model):
    parts = ["[*]c1ccccc1", "[*]N1CCOCC1"]
    for mol in tasks.linker(model, parts, n=5).objects:
        assert holds(mol, [read_part(part) for part in parts])


def test_settings_reach_the_sampler(model):
    cold = tasks.motif_extension(model, "[*]c1ccccc1", n=4, size=(6, 6), temperature=0.0)
    assert len(set(cold.texts)) == 1  # one length, one order of writing: the likeliest
    assert cold.provenance["sampling"]["temperature"] == 0 and cold.provenance["size"] == [6, 6]
    quick = tasks.motif_extension(model, "[*]c1ccccc1", n=4, tokens_per_step=3)
    assert quick.valid.all() and all(quick.columns["kept"])


def test_a_size_bounds_what_is_written(model):
    given = len(model.engine.vocabulary.split("c1%10ccccc1."))
    for low in (5, 9):
        rows = tasks.motif_extension(model, "[*]c1ccccc1", n=8, size=(low, low + 1))
        sizes = {len(model.engine.vocabulary.split(text)) - given for text in rows.texts}
        assert sizes <= {low, low + 1}


def test_a_superstructure_grows_at_as_many_sites_as_asked(model):
    for sites in (1, 3):
        rows = tasks.superstructure(model, "c1ccncc1", n=4, sites=sites)
        first = [text.split(".")[0] for text in rows.texts]
        assert {text.count("%") for text in first} == {sites}


def test_a_lead_keeps_all_but_the_piece_of_that_number(model):
    rows = tasks.lead_optimisation(model, "O=C(Nc1ccncc1)C1CC1", n=4, piece=0)
    parts = [read_part("[*]c1ccncc1"), read_part("[*]C1CC1")]
    assert all(holds(mol, parts) for mol in rows.objects)


@pytest.mark.parametrize(("ask", "what"), [
    (lambda m: tasks.linker(m, ["c1ccccc1", "[*]C"]), "'c1ccccc1' has 0 attachment points"),
    (lambda m: tasks.linker(m, ["[*]C[*]", "[*]C"]), "has 2 attachment points [*], expected 1"),
    (lambda m: tasks.linker(m, ["[*]C"]), "expected a list of 2 or more fragments"),
    (lambda m: tasks.linker(m, "[*]C"), "fragments must be a list of texts, got the text"),
    (lambda m: tasks.linker(m, [1, 2]), "fragments: row 1 must be text, got 1"),
    (lambda m: tasks.motif_extension(m, ["[*]C"]), "motif must be text, got ['[*]C']"),
    (lambda m: tasks.motif_extension(m, "[*]C", n=2.5), "n must be a whole number, got 2.5"),
    (lambda m: tasks.motif_extension(m, "[*]C", size=5), "size must be a pair of whole numbers"),
    (lambda m: tasks.linker(m, ["[*]C.C", "[*]C"]), "is in several parts"),
    (lambda m: tasks.motif_extension(m, "[*]C1CC"), "is not readable: ring 1"),
    (lambda m: tasks.motif_extension(m, "[*]CBr"), "knows nothing like 'Br'"),
    (lambda m: tasks.motif_extension(m, "[*]" + "C" * 60), "take 62 tokens"),
    (lambda m: tasks.motif_extension(m, "[*]C", size=(50, 60)), "size=(low, high) that fits"),
    (lambda m: tasks.motif_extension(m, "[*]C", size=(3, 2)), "size must be (low, high)"),
    (lambda m: tasks.motif_extension(m, "[*]C", n=0), "n must be at least 1"),
    (lambda m: tasks.scaffold_decoration(m, "c1ccccc1"), "expected 1 or more"),
    (lambda m: tasks.scaffold_decoration(m, "[*]C([*])([*])C([*])([*])C[*]"), "labels"),
    (lambda m: tasks.superstructure(m, "[*]C"), "has 1 attachment points [*], expected 0"),
    (lambda m: tasks.superstructure(m, "CF", sites=2), "sites must be 1 to 1"),
    (lambda m: tasks.lead_optimisation(m, "c1ccccc1"), "is one piece"),
    (lambda m: tasks.lead_optimisation(m, "[*]CC"), "expected a whole molecule"),
    (lambda m: tasks.lead_optimisation(m, "O=C(Nc1ccncc1)C1CC1", piece=3), "piece must be 0 to 2"),
    (lambda m: tasks.de_novo(m, temperatur=1.0), "temperatur")])  # fmt: skip
def test_what_cannot_be_asked(model, ask, what):
    with pytest.raises((ValueError, ScidiffError), match=re.escape(what)) as error:
        ask(model)
    assert "\n" not in str(error.value)


def test_models_of_other_kinds_are_refused(tiny_model):
    with pytest.raises(ScidiffError, match="masked model of molecules in pieces"):
        tasks.linker(tiny_model, ["[*]C", "[*]C"])


def test_the_shipped_model_joins_two_parts():
    rows = tasks.linker("moses-fragments", ["[*]c1ccc(F)cc1", "[*]N1CCOCC1"], n=4)
    assert rows.valid.all() and all(rows.columns["kept"])
    assert rows.provenance["model"] == "moses-fragments" and rows.novelty is not None
