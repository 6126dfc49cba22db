"""The fragment notation: read back as the same molecule, by rules that a label obeys."""

import gzip
import itertools
import re
from collections import Counter
from pathlib import Path
from random import Random

import pytest
from rdkit import Chem

from scidiff.chem.attachments import piece
from scidiff.chem.fragments import connected, cut_bonds, free_labels, pieces, spell, write
from scidiff.chem.molecules import canonical, parse

LABEL = re.compile(r"%\d\d")

HARD = {  # what other notations have failed on
    "chiral centre at a cut": "C[C@H](c1ccccc1)N1CCOCC1",
    "chiral nitrogen": "C[N@@+]1(CC)CC[C@H](c2ccccc2)C1",
    "chiral sulfoxide": "C[S@](=O)Cc1ccccc1",
    "ring geometry": "c1ccc([C@H]2CC[C@@H](N3CCCC3)CC2)cc1",
    "spiro centre, three cuts": "c1ccc([C@]2(N3CCCC3)CCC3(CCN(c4ccccc4)CC3)O2)cc1",
    "double bond geometry at a ring": "O=C(/C=C/c1ccccc1)NCc1ccccc1",
    "geometry in a piece": "C/C=C/COc1ccccc1",
    "ring closed by a bond symbol": "CCNC(=O)c1ccc2c(c1)C(=O)c1nc3c(OC)cccc3c(=O)n1-2",
    "fused rings": "O=C(Nc1ccc2c(c1)OCO2)c1cc2ccccc2[nH]1",
    "bracket atoms": "CC(=O)[O-].C[NH+](C)Cc1cc[nH]c1",
    "isotopes": "[2H]C([2H])(OC)c1ccc([13CH2]C)cc1",
    "ring numbers above 9": "C1CC%10CCC1CCC%10c1ccccc1",
    "peptide": "NCC(=O)N[C@@H](C)C(=O)N[C@@H](CO)C(=O)NCC(=O)O",
    "macrocycle": "O=C1CCCCCCCCCCC(=O)Nc2cc(ccc2OC)CN1",
    "salt": "CCN(CC)Cc1ccccc1.Cl",
    "no ring": "CCOCC",
    "hydrogen": "[H][H]",
    "esomeprazole": "COc1ccc2[nH]c([S@@](=O)Cc3ncc(C)c(OC)c3C)nc2c1",
    "simvastatin": "CCC(C)(C)C(=O)O[C@H]1C[C@@H](C)C=C2C=C[C@H](C)[C@H](CC[C@@H]3C[C@@H](O)CC(=O)"
    "O3)[C@H]21",
    "lopinavir": "Cc1cccc(C)c1OCC(=O)N[C@@H](Cc1ccccc1)[C@@H](O)C[C@H](Cc1ccccc1)NC(=O)[C@H](C(C)"
    "C)N1CCCNC1=O",
    "sunitinib": "CCN(CC)CCNC(=O)c1c(C)[nH]c(/C=C2\\C(=O)Nc3ccc(F)cc32)c1C",
}


def same(text: str, smiles: str) -> bool:
    return canonical(text) == canonical(smiles)


def follows_the_rules(text: str) -> bool:
    """Every label twice; every piece but the first has exactly one from before."""
    if any(times != 2 for times in Counter(LABEL.findall(text)).values()):
        return False
    before: set[str] = set()
    for i, part in enumerate(text.split(".")):
        labels = LABEL.findall(part)
        if i and len(before.intersection(labels)) != 1:
            return False
        before.update(labels)
    return True


@pytest.mark.parametrize("smiles", HARD.values(), ids=HARD)
def test_what_is_spelled_reads_back(smiles: str) -> None:
    for seed in (None, 1, 2, 3):
        assert same(spell(smiles, seed), smiles)
    if "." not in smiles and "%" not in smiles:
        assert follows_the_rules(spell(smiles))


@pytest.mark.parametrize("smiles", HARD.values(), ids=HARD)
def test_writing_needs_no_rescue(smiles: str) -> None:
    """`spell` writes what would not read back whole; none of these is saved by that."""
    mol = parse(canonical(smiles) or "")
    assert mol is not None
    for seed in range(5):
        assert same(write(mol, cut_bonds(mol), Random(seed)), smiles)


def test_every_order_of_the_neighbours_of_a_centre() -> None:
    """A chiral atom with four cuts, all 24 ways to write it, with and without a hydrogen."""
    three = ("c2ccccc2", "C3CC3", "C4CCC4")
    for arms in ((*three, "N5CCCC5"), (*three, None)):
        for order in itertools.permutations(arms):
            first, *others = (a for a in order if a is not None)
            mark = "[C@]" if None not in order else "[C@H]"
            smiles = first + mark + "".join(f"({a})" for a in others)
            mol = parse(smiles)
            assert mol is not None and len(cut_bonds(mol)) == len(others) + 1
            assert same(write(mol, cut_bonds(mol), Random(0)), smiles)


def test_what_is_cut() -> None:
    def cuts(smiles: str) -> int:
        mol = parse(smiles)
        assert mol is not None
        return len(cut_bonds(mol))

    assert cuts("Cc1ccc(F)cc1O") == 0  # single atoms stay on their ring
    assert cuts("CCc1ccccc1-c1ccccc1") == 2  # chain on ring, ring on ring
    assert cuts("c1ccc2ccccc2c1") == 0
    assert cuts("CCC(=O)NCC") == 1  # an amide in a chain
    assert cuts("CCC(=O)Nc1ccccc1") == 1  # beside the ring the amide stays whole
    assert cuts("CCS(=O)(=O)NCC") == 1
    assert cuts("C/C=C/c1ccccc1") == 0  # the bond that says which side
    assert cuts("C=Cc1ccccc1") == 1


def test_one_molecule_has_one_text_and_other_seeds_give_others() -> None:
    smiles = "CC(N1CCOCC1)c1ccc(-c2ccncc2)cc1"
    mol = parse(smiles)
    written = {spell(Chem.MolToSmiles(mol, doRandom=True)) for _ in range(20)}
    assert len(written) == 1
    drawn = {spell(smiles, seed) for seed in range(200)}
    assert {text.split(".")[0].count("%") for text in drawn} == {1, 2}  # any piece comes first
    assert {LABEL.findall(text)[0] for text in drawn} == {"%10", "%11", "%12"}


def test_labels_leave_ring_numbers_alone() -> None:
    ring = piece("C%10CC%11CC%10C%11*", [None] * 6 + [0])
    assert free_labels([ring], 3) == [12, 13, 14]
    assert free_labels([ring], 2, taken=(12,)) == [13, 14]
    with pytest.raises(ValueError, match="89 cuts are more than the 88 labels"):
        free_labels([ring], 89)


def test_attachment_points_are_ends() -> None:
    mol = parse("*c1ccc([C@@H](*)C)cc1")
    assert mol is not None
    parts = pieces(mol, cut_bonds(mol))
    assert sorted(end for part in parts for end in part.ends) == [-2, -1, 0, 0]
    first = next(i for i, part in enumerate(parts) if -2 in part.ends)
    text = ".".join(p.text({-1: 20, -2: 21, 0: 10}) for p in connected(parts, Random(0), first))
    assert same(text + ".F%20.Cl%21", "Fc1ccc([C@@H](Cl)C)cc1")


def test_attachment_points_of_one_centre_differ() -> None:
    mol = parse("[1*][C@]([2*])(C)c1ccccc1")
    assert mol is not None
    parts = pieces(mol, cut_bonds(mol))
    text = ".".join(p.text({-1: 20, -2: 21, 0: 10}) for p in parts)
    assert same(text + ".F%20.Cl%21", "F[C@](Cl)(C)c1ccccc1")


@pytest.mark.parametrize(("smiles", "ends", "what"), [
    ("*=C", [0, None], "before '='"), ("C=*", [None, 0], "behind '='"),
    ("C(=*)C", [None, 0, None], "behind '='"), ("[Pt@SP1](*)(F)(Cl)Br", [None, 0, *[None] * 3],
                                               "not tetrahedral")])  # fmt: skip
def test_ends_that_cannot_be_labels(smiles: str, ends: list[int | None], what: str) -> None:
    with pytest.raises(ValueError, match=re.escape(what)):
        piece(smiles, ends)


@pytest.mark.parametrize(("smiles", "what"), [
    ("C1CC", "is not a molecule: ring 1"), ("", "nothing is written"),
    ("*c1ccccc1", "has an open end")])  # fmt: skip
def test_what_cannot_be_spelled(smiles: str, what: str) -> None:
    with pytest.raises(ValueError, match=what):
        spell(smiles)


@pytest.mark.parametrize("name", ["moses_train.csv.gz", "qm9_133885.smi.gz"])
def test_data_sets_read_back(name: str, shared_data: Path) -> None:
    with gzip.open(shared_data / name, "rt") as file:
        lines = [line.split()[0].split(",")[0] for line in file][1:]
    for smiles in lines[:: len(lines) // 300]:
        text = spell(smiles)
        assert same(text, smiles)
        mol = parse(canonical(smiles) or "")
        assert text.count(".") == len(cut_bonds(mol))  # nothing had to be written whole
        assert follows_the_rules(text)
