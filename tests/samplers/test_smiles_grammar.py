"""The automaton of SMILES: what it accepts, what it refuses, and what RDKit says of its rows."""

import math

import pytest
import torch
from rdkit import Chem, rdBase

from scidiff.core import seeded
from scidiff.data import datasets
from scidiff.data.tokens import NOTATIONS, Vocabulary, encode_rows
from scidiff.samplers.automata import ended
from scidiff.samplers.orders import race
from scidiff.samplers.smiles_grammar import label_of, smiles
from scidiff.samplers.trellis import Trellis, sample_accepted

VOC = Vocabulary(
    ("C", "N", "O", "F", "S", "Cl", "c", "n", "o", "[nH]", "[N+]", "[O-]", "[C@H]", "=", "#", "-",
     "/", "(", ")", "1", "2", "3", "%10", ".")
)  # fmt: skip
GRAMMAR = ended(smiles(VOC, depth=2))

GOOD = """C CC C=C C#N CCO C(C)C C(=O)O CC(C)(C)C C1CC1 C1CC=1 C=1CC1 CC1CC1C c1ccccc1 Cc1ccccc1
c1cc[nH]c1 c1ccc2ccccc2c1 C1CC12CC2 c1ccc(-c2ccccc2)cc1 C/C=C/C CC(C(C)C)C O=c1cc[nH]cc1
C[N+](=O)[O-] C1.C1 OS(=O)(=O)O ClCCl C[C@H](N)O FC(F)(F)C C1CC(C1)C1CC1
CC(C(C))C""".split()
BAD = """CC( CC) C()C (C)C C1CC CC1 C11 C1C1 C==C =C C= C(=)C C(C)= 1CC1 C(1)CC1 CFC C#O O=C=O=C
N=N=N=N CC(F)(F)F=C [O-]C#[O-] C(C)(C)1 cc Cc CcC c1ccccc1c C1CC.C C..C .C C. c#c Cl=C C%10CC
C(C(C(C)C)C)C C2CC2 C%10CC%10 N#NC""".split()


def test_strings_that_are_smiles():
    accepted = GRAMMAR.accepts(encode_rows(VOC, GOOD)).tolist()
    assert [s for s, fine in zip(GOOD, accepted, strict=True) if not fine] == []


def test_strings_that_are_not():
    """The last but one open label 2 or 10 first, the one before is deeper than asked."""
    accepted = GRAMMAR.accepts(encode_rows(VOC, BAD)).tolist()
    assert [s for s, fine in zip(BAD, accepted, strict=True) if fine] == []


def accepted(texts, **bounds):
    """Of a vocabulary with a label of two digits, small enough to remember atoms."""
    voc = Vocabulary(("C", "N", "F", "=", ".", "(", ")", "1", "2", "%10"))
    return ended(smiles(voc, **bounds)).accepts(encode_rows(voc, texts)).tolist()


def test_bounds_are_what_was_asked():
    texts = ["C(C(C(C)C)C)C", "C2CC2", "C12CC1C2", "C%10CC%10", "C%10.C%10"]
    assert all(accepted(texts, depth=3, lowest=False))
    assert accepted(texts, depth=2, lowest=False) == [False, True, True, True, True]
    assert accepted(texts, depth=3, lowest=True) == [True, False, True, False, False]
    assert accepted(texts, depth=3, rings=1, lowest=False) == [True, True, False, True, True]


def test_atoms_before_branches_are_remembered_as_asked():
    texts = ["F(C)C", "CN(C)(C)C", "CN(C(C)C)(C)C", "C(N(C)(C)C)C", "CN(C)C"]
    told = [accepted(texts, depth=3, memory=m) for m in (0, 1, 2)]
    nested = [False, False, True, False, True]  # forgotten while a branch is open inside
    assert told == [[True] * 5, nested, [False] * 4 + [True]]


def test_atoms_by_their_brackets():
    rooms = {"[nH]": 2, "[N+]": 4, "[O-]": 1, "[C@H]": 3, "[C@@]": 4, "[NH2+]": 2, "[NH3+]": 1,
             "[C-]": 3, "[CH-]": 2, "[B-]": 4, "[13CH3]": 1, "[S+]": 9, "[se]": 9, "[H]": 1,
             "[n+]": 3, "[n-]": 2, "[nH+]": 2, "[c-]": 3, "[cH+]": 2, "[o+]": 3,
             "[Na+]": 9}  # fmt: skip
    assert {s: label_of(s)[1].room for s in rooms} == rooms
    assert label_of("?") is None and label_of("[*]")[0] == "atom" and label_of("%12")[0] == "ring"


@pytest.mark.parametrize("name, least", [("qm9", 0.9995), ("moses_100k", 1.0)])
def test_training_strings_are_accepted(name, least):
    """What is refused of QM9 writes nitro groups with a nitrogen of five bonds."""
    texts = list(datasets.load(name).objects())[:: 13 if name == "qm9" else 20]
    grammar = ended(smiles(Vocabulary.build(texts), depth=2 if name == "qm9" else 4))
    accepted = grammar.accepts(encode_rows(Vocabulary.build(texts), texts))
    refused = [t for t, fine in zip(texts, accepted.tolist(), strict=True) if not fine]
    assert accepted.double().mean() >= least and all("O=N(=O)" in t for t in refused)


def shares(ids):
    """Of rows: those that RDKit reads as notation, and those that are molecules."""
    texts = [VOC.decode(row) for row in ids]
    with rdBase.BlockLogs():
        read = sum(Chem.MolFromSmiles(t, sanitize=False) is not None for t in texts)
        whole = sum(Chem.MolFromSmiles(t) is not None for t in texts)
    return read / len(texts), whole / len(texts)


def test_accepted_rows_are_read_by_rdkit_and_most_of_them_are_molecules():
    law = torch.full((len(VOC),), float("-inf"))
    weights = {"C": 6, "N": 1, "O": 1, "(": 1, ")": 1, "1": 1, "2": 0.5, "=": 1}
    for symbol, weight in weights.items():
        law[VOC.encode(symbol)[0]] = math.log(weight)
    law = law.log_softmax(0).expand(300, 12, -1)
    assert shares(race(law, seeded(0)))[1] < 0.1
    rows, _ = sample_accepted(Trellis(smiles(VOC, depth=2), 12), law, seeded(0))
    notation, molecules = shares(rows)
    # what the automaton cannot know: a ring bond beside a bond to the same atom, over a branch
    assert notation > 0.97 and molecules > 0.7


def test_other_notations_are_refused():
    assert "selfies" in NOTATIONS
    with pytest.raises(ValueError, match="of notation 'smiles', got a vocabulary of 'selfies'"):
        smiles(Vocabulary(("[C]",), "selfies"))
