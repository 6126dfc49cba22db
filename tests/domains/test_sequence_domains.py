"""DNA, RNA and peptides: what is read, what is refused with its place, and what one object is."""

import pytest
import torch

from scidiff.core import ScidiffError, seeded, uniform
from scidiff.data.strands import both_strands, other_strand, reverse_complement
from scidiff.data.tokens import EOS, FIRST_SYMBOL, PAD, TokenState, Vocabulary
from scidiff.domains.domain import find_domain, spelled

LETTERS = {"dna": "ACGT", "rna": "ACGU", "peptide": "ACDEFGHIKLMNPQRSTVWY"}


def domain(name, **options):
    found = find_domain(name)
    return found(Vocabulary(found.symbols(), found.notation), **options)


@pytest.mark.parametrize("name, letters", LETTERS.items())
def test_every_sequence_round_trips(name, letters):
    made, rng = domain(name), seeded(0)
    texts = ["".join(letters[int(i)] for i in uniform((n,), rng) * len(letters))
             for n in range(1, 40)]
    state = made.encode(texts)
    records = made.decode(state)
    assert [r.text for r in records] == texts and all(r.valid and r.obj == r.text for r in records)
    assert made.keys(texts) == [made.key(r) for r in records] == texts
    assert made.kind == "sequence" and made.name == name and made.symbols() == tuple(letters)
    assert bool((state.ids[0, 2:] == PAD).all()) and int(state.ids[-1, -1]) == EOS


@pytest.mark.parametrize("name, text, written", [
    ("dna", "acgtACGT", "ACGTACGT"), ("rna", "ACGTacgu", "ACGUACGU"), ("peptide", "glw", "GLW"),
])
def test_what_is_read(name, text, written):
    assert find_domain(name).spell(text) == written
    assert domain(name).decode(domain(name).encode([text]))[0].text == written


@pytest.mark.parametrize("name, text, reason", [
    ("dna", "ACNT", r"'N' at position 3 \(IUPAC for A or C or G or T\) is not in the DNA alpha"),
    ("dna", "ACGU", r"'U' at position 4 \(uracil: RNA\)"),
    ("dna", "AC-T", r"'-' at position 3 \(a gap\)"),
    ("dna", "AC T", r"' ' at position 3 is not in the DNA alphabet ACGT"),
    ("dna", "", "an empty sequence"),
    ("rna", "ARU", r"'R' at position 2 \(IUPAC for A or G\)"),
    ("rna", "AYU", r"'Y' at position 2 \(IUPAC for C or U\)"),
    ("peptide", "GLXW", r"'X' at position 3 \(any residue\)"),
    ("peptide", "glw*", r"'\*' at position 4 \(a stop\)"),
    ("peptide", "GL\u00e9", "'\u00e9' at position 3 is not in"),
    ("peptide", "G\u00dfL", "'\u00df' at position 2 is not in"),  # its upper case is SS
])
def test_what_is_refused_names_the_letter_and_its_place(name, text, reason):
    with pytest.raises(ValueError, match=f"^{reason}"):
        find_domain(name).spell(text)
    with pytest.raises(ValueError, match=f"^row 2: {reason}"):
        spelled(find_domain(name), [LETTERS[name], text])


def test_a_row_that_is_no_sequence_says_why():
    made = domain("dna")
    mask = made.vocabulary.mask_id
    a, c = FIRST_SYMBOL, FIRST_SYMBOL + 1
    ids = torch.tensor([[a, c, EOS], [a, mask, EOS], [EOS, PAD, PAD], [c, c, c]])
    records = made.decode(TokenState(ids))
    assert [r.valid for r in records] == [True, False, False, True]
    assert records[1].reason.startswith("'?' at position 2") and records[1].obj is None
    assert records[2].reason == "an empty sequence" and records[3].text == "CCC"


def test_both_strands_are_one_object_where_that_is_asked():
    one, two = domain("dna", strands="both"), domain("dna")
    assert one.keys(["AACG", "CGTT"]) == ["AACG", "AACG"]
    assert two.keys(["AACG", "CGTT"]) == ["AACG", "CGTT"]
    assert [one.key(r) for r in one.decode(one.encode(["CGTT"]))] == ["AACG"]
    with pytest.raises(ValueError, match="strands must be one of forward, both, got 'two'"):
        domain("dna", strands="two")


def test_the_other_strand_of_text_and_of_token_rows():
    assert reverse_complement("AACGT") == "ACGTT"
    assert both_strands(["AAC", "ACGT"]) == ["AAC", "ACGT", "GTT", "ACGT"]
    made, texts = domain("dna"), ["AAC", "G", "ACGTTT"]
    ids = made.encode(texts).ids
    turned = other_strand(ids, made.vocabulary)
    assert torch.equal(turned, made.encode([reverse_complement(t) for t in texts]).ids)
    assert torch.equal(other_strand(turned, made.vocabulary), ids)
    ids[0, 0] = mask = made.vocabulary.mask_id  # ?AC becomes GT?
    assert other_strand(ids, made.vocabulary)[0].tolist()[:4] == [
        *made.encode(["GT"]).ids[0, :2].tolist(), mask, EOS]
    with pytest.raises(ValueError, match="only one of C and G"):
        other_strand(ids, Vocabulary(("A", "C", "T"), "characters"))


def test_an_unknown_domain_lists_domains_and_not_what_they_are_made_of():
    with pytest.raises(ScidiffError, match="dna, graph.*peptide, rna") as caught:
        find_domain("protein")
    assert "sequence" not in str(caught.value)
