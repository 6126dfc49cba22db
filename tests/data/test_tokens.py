"""Notations, vocabulary ids and rows of tokens."""

import gzip

import pytest
import torch

from scidiff.core import Shared
from scidiff.data.tokens import (
    EOS,
    NOTATIONS,
    PAD,
    TokenState,
    UnknownToken,
    Vocabulary,
    encode_rows,
)

SMILES = [
    "CCO",
    "BrCCCl",
    "C[C@@H]1CC(Nc2cncc(-c3nncn3C)c2)C[C@@H](C)C1",
    "C%10CC%11CC%10C%11",
    "[Na+].[Cl-]",
    "[13CH3][Si](C)(C)C",
    "F/C=C\\Br",
    "O=C1c2ccccc2C(=O)N1",
    "",
    "][ % broken\n",
]


@pytest.mark.parametrize("notation", NOTATIONS)
def test_every_notation_is_a_partition(notation):
    for text in SMILES:
        assert "".join(NOTATIONS[notation](text)) == text


def test_real_smiles_survive_encoding(shared_data):
    with gzip.open(shared_data / "zinc250k.smi.gz", "rt") as f:
        real = [line.split()[0] for line, _ in zip(f, range(2000), strict=False)]
    vocabulary = Vocabulary.build(real)
    rows = encode_rows(vocabulary, real)
    assert [vocabulary.decode(row) for row in rows] == real


@pytest.mark.parametrize("text", SMILES)
def test_strings_survive_encoding(text):
    vocabulary = Vocabulary.build(SMILES)
    assert vocabulary.decode(encode_rows(vocabulary, [text], 60)[0]) == text


def test_smiles_atoms_stay_whole():
    assert NOTATIONS["smiles"]("BrC[C@H]%12Cl") == ["Br", "C", "[C@H]", "%12", "Cl"]
    assert NOTATIONS["selfies"]("[C][=O]") == ["[C]", "[=O]"]


def test_ids_are_pad_eos_symbols_mask():
    vocabulary = Vocabulary(("C", "N"))
    assert (PAD, EOS, vocabulary.mask_id, len(vocabulary)) == (0, 1, 4, 5)
    assert vocabulary.encode("NCC") == [3, 2, 2]
    assert vocabulary.decode([3, 4, 2, EOS, 2]) == "N?C"
    assert vocabulary.decode(torch.tensor([2, PAD, 3])) == "C"


def test_extension_keeps_ids_and_moves_mask():
    old = Vocabulary.build(["CN", "O"])
    new = old.extended(["CBr", "[nH]"])
    assert new.symbols[: len(old.symbols)] == old.symbols
    assert set(new.symbols) - set(old.symbols) == {"Br", "[nH]"}
    assert new.mask_id == old.mask_id + 2
    assert old.extended(["CC"]) == old


def test_rows_end_in_eos_and_pad():
    vocabulary = Vocabulary(("C", "N"))
    assert encode_rows(vocabulary, ["C", "CN"]).tolist() == [[2, 1, 0], [2, 3, 1]]
    assert encode_rows(vocabulary, ["C"], 4).tolist() == [[2, 1, 0, 0]]
    assert encode_rows(vocabulary, []).shape == (0, 1)


def test_unknown_token_is_named_with_its_row():
    with pytest.raises(UnknownToken, match=r"row 2: unknown token 'Br' at token 2 of 'CBr'"):
        encode_rows(Vocabulary(("C",)), ["CC", "CBr"])


def test_too_long_row_is_named():
    with pytest.raises(ValueError, match=r"row 3 has 5 tokens, the model takes at most 3"):
        encode_rows(Vocabulary(("C",)), ["C", "CCC", "CCCCC"], 4)


def test_bad_vocabularies_are_refused():
    with pytest.raises(ValueError, match="notation must be one of smiles, .* got 'smile'"):
        Vocabulary(("C",), "smile")
    with pytest.raises(ValueError, match="distinct"):
        Vocabulary(("C", "C"))


def test_state_checks_shapes():
    with pytest.raises(ValueError, match=r"ids must be \(B, L\) int64, got \(3,\)"):
        TokenState(torch.zeros(3, dtype=torch.int64))
    with pytest.raises(ValueError, match="trunk must have 2 rows to match ids, got 3"):
        TokenState(torch.zeros(2, 4, dtype=torch.int64), Shared(torch.zeros(3, 4, 5)))


def test_indexing_moves_the_trunk_along():
    x = TokenState(torch.arange(6).view(3, 2), Shared(torch.arange(3.0).view(3, 1, 1)))
    y = x[torch.tensor([2, 0, 2])]
    assert y.ids[:, 0].tolist() == [4, 0, 4]
    assert y.trunk is not None and y.trunk.dense().flatten().tolist() == [2, 0, 2]
    assert y.trunk.values is x.trunk.values
