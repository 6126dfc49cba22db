"""Which texts are pieces: the rule beside RDKit, rows that hide some beside enumeration."""

import itertools
from random import Random

import pytest
import torch
from rdkit import Chem, rdBase

from scidiff.chem.fragments import spell
from scidiff.data.tokens import EOS, Vocabulary, encode_rows
from scidiff.samplers.filling import HIDDEN, Filling, PieceReader

SYMBOLS = ("%10", "[nH]", *"()-.12=CFNOScnos")
MOLECULES = [
    "O=C(Nc1ccc2c(c1)OCO2)c1cc2ccccc2[nH]1", "Cn1c(=O)c2c(ncn2C)n(C)c1=O", "O=c1cc[nH]c(=O)[nH]1",
    "c1ccc2c(c1)cccc2", "O=C1c2ccccc2-c2ccccc21", "c1ccc2sc(N3CCNCC3)nc2c1", "CS(=O)(=O)N1CCC1",
    "C1CC12CC2", "n1nnn[nH]1", "O=c1ccn2ccnc2n1CC",
]  # fmt: skip


@pytest.fixture(scope="module")
def vocabulary() -> Vocabulary:
    return Vocabulary(SYMBOLS, "smiles")


@pytest.fixture(scope="module")
def reader(vocabulary) -> PieceReader:
    return PieceReader(vocabulary)


def kinds(reader, vocabulary, text: str) -> tuple[int, ...]:
    """The kinds of a piece's tokens, ? hidden."""
    parts = [vocabulary.encode(part) for part in text.split("?")]
    out = [reader.seen[i] for i in parts[0]]
    for part in parts[1:]:
        out += [HIDDEN, *(reader.seen[i] for i in part)]
    return tuple(out)


def readable(text: str) -> bool:
    with rdBase.BlockLogs():
        return Chem.MolFromSmiles(text) is not None


@pytest.mark.parametrize("smiles", MOLECULES)
def test_pieces_of_molecules_are_accepted(reader, vocabulary, smiles):
    for seed in range(3):
        for piece in spell(smiles, seed).split("."):
            for label in ("%11", "%12", "%13", "%14"):
                piece = piece.replace(label, "%10")
            assert reader.possible(kinds(reader, vocabulary, piece)), piece


@pytest.mark.parametrize("text", [
    "c1cccc1", "n1cccc1", "C1CC", "C(C", "FCF(C)", "C1C1", "C11", "C12CC12", "C1(C)C1", "cc", "=C",
    "C(C)(C)(C)(C)C", "O=c1ccccc1", "c1ccc(cc)cc1", "n1c=Cc1C", "C=O=C", "c1ccccc1=", "s1ccccc1",
    "C1CC(c2cccc2c2cccc2)C1", "O=c1nC1", "[nH]1ccccc1", "c1%10%10ccccc1", "O%10%10C", "(C)",
    "C()C", "C%10%10%10%10C"])  # fmt: skip
def test_others_are_not(reader, vocabulary, text):
    assert not reader.possible(kinds(reader, vocabulary, text))


def test_short_texts_are_those_that_rdkit_reads(reader, vocabulary):
    """All texts of up to five tokens of a small alphabet: none is accepted that is unreadable."""
    symbols, found = ["(", ")", "1", "=", "C", "O", "c", "n"], 0
    for length in range(1, 6):
        for tokens in itertools.product(symbols, repeat=length):
            text = "".join(tokens)
            if reader.possible(kinds(reader, vocabulary, text)):
                found += 1
                assert readable(text), text
    assert found > 100


def test_random_pieces_are_read_by_rdkit(reader, vocabulary):
    """Walks through what is possible end as molecules, aromatic ones among them."""
    rng, aromatic = Random(0), 0
    others = [symbol for symbol in SYMBOLS if symbol[0] not in "%."]
    likely = [*"cccccccc1111Cn()", *others]
    for _ in range(200):
        text, length = "", rng.randint(1, 12)
        for left in reversed(range(length)):
            for symbol in rng.sample(likely, len(likely)):
                if reader.possible(kinds(reader, vocabulary, text + symbol + "?" * left)):
                    text += symbol
                    break
            else:
                raise AssertionError(f"nothing goes on from {text}")
        assert readable(text), text
        aromatic += "c" in text
    assert aromatic > 50


def test_hidden_tokens_are_possible_only_with_a_completion(reader, vocabulary):
    """Against all completions, for every text of three tokens and a hidden one or two."""
    symbols = ["(", ")", "1", "2", "=", "C", "F", "N", "O", "[nH]", "c", "n", "s", "-"]
    rng = Random(1)
    for _ in range(300):
        text = "".join(rng.choices(symbols, k=rng.randint(1, 4)))
        for n in (1, 2):
            told = reader.possible(kinds(reader, vocabulary, text + "?" * n))
            ends = map("".join, itertools.product(symbols, repeat=n))
            exact = any(reader.possible(kinds(reader, vocabulary, text + end)) for end in ends)
            assert exact or not told, text


def test_rows_keep_their_joints(vocabulary):
    """No label and no dot is written where something is hidden; given parts are not read."""
    mask = len(vocabulary) - 1

    def row(text: str) -> torch.Tensor:
        ids = [i for part in text.split("?") for i in [*vocabulary.encode(part), mask]][:-1]
        return torch.tensor([[*ids, EOS, 0]])

    labels = "F%10.{}.C%10"
    fine = Filling(vocabulary, before=3, behind=3)
    assert fine(row(labels.format("C%10?C%10"))).item()
    assert not fine(row(labels.format("C%10%10C%10"))).item()
    assert not fine(row(labels.format("C%10.C%10"))).item()
    assert not fine(row(labels.format("F%10?C%10"))).item()  # fluorine in the middle


def test_it_denies_no_token_of_real_pieces(vocabulary):
    texts = [spell(smiles) for smiles in MOLECULES]
    vocabulary = Vocabulary.build(texts)
    reader, ids = PieceReader(vocabulary), encode_rows(vocabulary, texts)
    join = next(i for i, kind in enumerate(reader.kinds) if kind[0] == "join")
    for row in ids.tolist():
        text = vocabulary.decode(row)
        for piece in text.split("."):
            seen = [reader.seen[i] for i in vocabulary.encode(piece)]
            for i in range(len(seen)):
                rest = [k if k == join else HIDDEN for k in seen[i + 1 :]]
                assert reader.possible((*seen[: i + 1], *rest)), (piece, i)
