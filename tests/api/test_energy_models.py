"""A left-to-right model as the energy of a masked one, as a user asks for it."""

import json

import pytest
import torch
from tiny_models import SYMBOLS, write_tiny_model

import scidiff as sd
from scidiff.api.energy import find_energy
from scidiff.core import ScidiffError
from scidiff.data.tokens import TokenState, Vocabulary, encode_rows


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    root = tmp_path_factory.mktemp("energy")
    return {kind: write_tiny_model(root / kind, kind) for kind in
            ("masked", "autoregressive", "block")}  # fmt: skip


@pytest.mark.parametrize("kind", ["autoregressive", "block"])
def test_a_model_or_its_folder_chooses_among_candidates(folders, kind):
    model, asked = sd.load(folders["masked"]), {"candidates": 4, "tokens_per_step": 3}
    loaded = sd.load(folders[kind])
    rows = model.sample(20, seed=1, energy=loaded, **asked)
    again = model.sample(20, seed=1, energy=folders[kind], **asked)
    assert [r.text for r in rows.records] == [r.text for r in again.records]
    plain = model.sample(20, seed=1, tokens_per_step=3)
    assert [r.text for r in rows.records] != [r.text for r in plain.records]
    told = rows.provenance["sampling"]
    assert (told["energy"], told["candidates"], told["window"]) == (f"tiny-{kind}", 4, 1.0)
    digest = loaded.config["sha256"]
    assert told["energy_sha256"] == digest and again.provenance["sampling"] == told
    json.dumps(told)
    assert "energy" not in plain.provenance["sampling"]


@pytest.mark.parametrize("kind", ["autoregressive", "block"])
def test_the_energy_is_the_models_own_likelihood(folders, kind):
    vocabulary, loaded = Vocabulary(tuple(SYMBOLS)), sd.load(folders[kind])
    texts = ["CCO", "N", "CNOFC"]
    ids = encode_rows(vocabulary, texts, 12)
    x = TokenState(torch.full_like(ids, vocabulary.mask_id))
    drawn = torch.tensor([[-1.0], [-2.0], [0.5]], dtype=torch.float64)
    got = find_energy(loaded, vocabulary, 12)(x, ids[:, None], drawn)
    exact = loaded.log_likelihood(texts, block_size=1)["log_likelihood"]
    expected = drawn[:, 0] - torch.tensor(exact.to_list())
    torch.testing.assert_close(got[:, 0], expected, atol=1e-4, rtol=1e-4)
    # the same rows, spelled by a vocabulary that has fewer symbols in another order
    fewer = Vocabulary(("O", "N", "C", "F"))
    other = find_energy(loaded, fewer, 12)
    torch.testing.assert_close(other(x, encode_rows(fewer, texts, 12)[:, None], drawn), got)


def test_any_callable_is_an_energy(folders):
    class OfCarbon:
        def __call__(self, x, clean, log_drawn):
            return -50.0 * (clean == 2).sum(-1)

    model = sd.load(folders["masked"])
    rows = model.sample(20, energy=OfCarbon(), candidates=32, tokens_per_step=12)
    plain = model.sample(20, tokens_per_step=12)
    count = [sum(r.text.count("C") for r in got.records) for got in (rows, plain)]
    assert count[0] > 1.5 * count[1]
    assert rows.provenance["sampling"]["energy"] == "OfCarbon"


@pytest.mark.parametrize(
    "asked, message",
    [
        ({"candidates": 4}, "candidates and window belong to energy, got candidates=4"),
        ({"energy": 3}, "a left-to-right model, its name, or a callable .* got int"),
        ({"energy": "masked"}, "writes strings from left to right .* got tiny-masked, a masked"),
        ({"energy": "autoregressive", "temperature": 0.0}, "all candidates are the same row"),
        ({"energy": "autoregressive", "window": 0.0}, "share of the steps"),
    ],
)
def test_what_cannot_be_an_energy_is_refused(folders, asked, message):
    asked = {k: folders.get(v, v) if isinstance(v, str) else v for k, v in asked.items()}
    with pytest.raises((ValueError, ScidiffError), match=message):
        sd.load(folders["masked"]).sample(4, **asked)


@pytest.mark.parametrize(
    "vocabulary, length, message",
    [
        (Vocabulary(("C", "S", "P")), 12, "tiny-block cannot read every row .* lacks S P"),
        (Vocabulary(("C", "N"), "characters"), 12, "reads smiles, this model writes characters"),
        (Vocabulary(("C",)), 13, "up to 12 tokens, this model writes 13"),
    ],
)
def test_a_model_must_be_able_to_read_the_rows(folders, vocabulary, length, message):
    with pytest.raises(ScidiffError, match=message):
        find_energy(sd.load(folders["block"]), vocabulary, length)


def test_a_left_to_right_model_takes_no_energy(folders):
    with pytest.raises(ValueError, match="block_size must be None"):
        sd.load(folders["block"]).sample(4, energy=folders["autoregressive"])
