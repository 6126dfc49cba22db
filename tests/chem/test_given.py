"""Given parts: read, written, opened, and whether a molecule still holds them."""

import re
from random import Random

import pytest

from scidiff.chem.given import (
    holds,
    open_sites,
    opened_at,
    points,
    read_part,
    without_each_piece,
    write_part,
)
from scidiff.chem.molecules import canonical, parse


@pytest.mark.parametrize(("smiles", "what"), [
    ("[*]C1CC", "is not readable: ring 1"), ("", "is not readable"),
    ("[*]C.C", "is in several parts"), ("**", "holds no atoms"),
    ("*=C", "one single bond"), ("C*C", "one single bond"),
    ("*/C=C/C", "plain single bond")])  # fmt: skip
def test_what_cannot_be_given(smiles, what):
    with pytest.raises(ValueError, match=re.escape(what)) as error:
        read_part(smiles)
    assert "\n" not in str(error.value) and repr(smiles) in str(error.value)


@pytest.mark.parametrize("smiles", ["[*]c1ccccc1", "*c1ccccc1", "[1*]c1ccccc1", "[*:3]c1ccccc1"])
def test_attachment_points_of_any_form(smiles):
    part = read_part(smiles)
    assert len(points(part)) == 1
    assert canonical(write_part(part, [20], [], Random(0)) + ".C%20") == "Cc1ccccc1"


def test_a_part_is_written_in_pieces_with_its_points_as_labels():
    part = read_part("[*]CCc1ccc([*])cc1")
    text = write_part(part, [20, 21], [10], Random(0), first=1)
    assert text.split(".")[0].count("%21") == 1 and text.count("%10") == 2
    assert canonical(f"{text}.F%20.Cl%21") == canonical("FCCc1ccc(Cl)cc1")
    whole = write_part(part, [20, 21], [], Random(0))  # too few labels of its own
    assert "." not in whole and canonical(f"{whole}.F%20.Cl%21") == canonical("FCCc1ccc(Cl)cc1")


HELD = [
    ("[*]c1ccccc1", "Cc1ccccc1", True),
    ("[*]c1ccccc1", "Cc1ccc(C)cc1", False),  # another hydrogen is gone
    ("[*]N1CCOCC1", "CN1CCOCC1", True),
    ("[*]N1CCOCC1", "C[NH+]1CCOCC1", False),  # charge
    ("[*]CO", "CCO", True),
    ("[*]CO", "CC[O-]", False),
    ("[*]CO", "CC[18OH]", False),
    ("[*]CO", "CC(C)O", False),
    ("[*][C@H](F)Cl", "N[C@H](F)Cl", True),
    ("[*][C@H](F)Cl", "N[C@@H](F)Cl", False),  # the mirror image
    ("[*]C(F)Cl", "N[C@H](F)Cl", True),  # nothing was said
    ("[*]C/C=C/F", "NC/C=C/F", True),
    ("[*]C/C=C/F", "NC/C=C\\F", False),
    ("[*]c1c[nH]cn1", "Cc1cnc[nH]1", False),  # a tautomer: hydrogens alone differ
    ("[*]C[O]", "CC[O-]", False),  # charge alone
    ("[*]C=O", "CC=O.C", False),  # two parts
]


@pytest.mark.parametrize(("part", "smiles", "kept"), HELD)
def test_a_molecule_holds_a_part_unchanged_or_not(part, smiles, kept):
    mol = parse(smiles)
    assert mol is not None and holds(mol, [read_part(part)]) is kept


def test_parts_stand_side_by_side():
    part = read_part("[*]c1ccccc1")
    one, two = parse("CCc1ccccc1"), parse("c1ccccc1CCc1ccccc1")
    assert one is not None and two is not None
    assert holds(one, [part]) and not holds(one, [part, part]) and holds(two, [part, part])


def test_what_is_left_without_each_piece():
    mol = parse("O=C(Nc1ccccc1)C1CC1")
    assert mol is not None
    left = [sorted(canonical(p) or "" for p in parts) for parts in without_each_piece(mol)]
    assert sorted(map(len, left)) == [1, 1, 2]  # without an end, without the middle
    assert all(len(points(p)) == 1 for parts in without_each_piece(mol) for p in parts)
    ring = parse("c1ccccc1")
    assert ring is not None and without_each_piece(ring) == []


def test_sites_are_hydrogens_that_something_may_replace():
    mol = parse("C[C@H](F)c1cc[nH]c1")
    assert mol is not None
    sites = open_sites(mol)
    names = sorted(mol.GetAtomWithIdx(i).GetSymbol() for i in sites)
    assert names == ["C", "C", "C", "C", "N"]  # neither fluorine nor the chiral centre
    for site in sites:
        grown = opened_at(mol, [site])
        assert len(points(grown)) == 1
        text = write_part(grown, [20], [], Random(0)) + ".Br%20"
        found = parse(text)
        assert found is not None and holds(found, [grown])
