"""Bad FASTA, DNA, RNA and peptides at the command line: a row with its reason, or one line."""

import pytest
from tiny_models import LENGTH, write_tiny_model

LETTERS = {"dna": "ACGT", "rna": "ACGU", "peptide": "GIKF"}
UNREADABLE = {"dna": "'Z' at position 3 is not in the DNA alphabet ACGT",
              "rna": "'Z' at position 3 is not in the RNA alphabet ACGU",
              "peptide": "'Z' at position 3 (E or Q) is not in the peptide alphabet"}


@pytest.fixture(scope="module")
def rna(tmp_path_factory):
    return write_tiny_model(
        tmp_path_factory.mktemp("models") / "rna", domain="rna",
        vocabulary={"notation": "characters", "symbols": list("ACGU")})


def fasta(folder, name, *rows):
    file = folder / f"{name}.fasta"
    file.write_text("".join(f">{header}\n{sequence}\n" for header, sequence in rows))
    return file


@pytest.mark.parametrize("domain, letters", LETTERS.items())
def test_a_strange_letter_is_a_row_with_its_line_and_place(scidiff, tmp_path, domain, letters):
    file = fasta(tmp_path, "rows", ("a", letters * 2), ("b", "GGZ"), ("c", letters.lower()))
    held = fasta(tmp_path, "held", ("a", letters), ("b", letters[::-1] * 3))
    done = scidiff("evaluate", file, "--suite", domain, "--reference", held, "--json")
    invalid = done.document["provenance"]["invalid"]
    assert done.code == 0 and invalid["n"] == 1  # lower case is read
    (first,) = invalid["first"]
    assert (first["row"], first["text"]) == (3, "GGZ")
    assert first["reason"].startswith(UNREADABLE[domain])


@pytest.mark.parametrize("rows, reason", [
    ((("a", "ACGU"), ("b", "ACNU")), "row 3: 'N' at position 3 (IUPAC for A or C or G or U)"),
    ((("a", "ACGU"), ("a", "ACGG")), "row 3: name 'a' was used on line 1"),
    ((("a", "ACGU"), ("b", "A" * LENGTH)), f"row 3: has {LENGTH} tokens, the model takes at most"),
    ((("a", "ACGU"), ("b", "")), "row 3: a header without a sequence"),
])
def test_training_says_the_first_row_it_leaves_out(scidiff, tmp_path, rna, rows, reason):
    more = [(f"r{i}", "ACGU"[i % 4:] + "GG" * (i // 4)) for i in range(1, 12)]
    file = fasta(tmp_path, "rows", *rows, *more)
    done = scidiff("train", file, "--init", rna, "--steps", 1, "--out", tmp_path / "run")
    assert done.code == 0 and reason in done.err
    assert reason.removeprefix("row 3: ")[:20] in (tmp_path / "run/rejects.csv").read_text()


@pytest.mark.parametrize("content, said", [
    ("", "x.fasta is empty"), ("\n\n", "x.fasta holds no FASTA record"),
    ("\0\1", "x.fasta is not a text file"),
])
@pytest.mark.parametrize("command", ["train", "evaluate"])
def test_a_file_without_sequences(scidiff, tmp_path, command, content, said):
    file = tmp_path / "x.fasta"
    file.write_text(content)
    how = ("--out", tmp_path / "run") if command == "train" else \
        ("--suite", "rna", "--reference", fasta(tmp_path, "held", ("a", "ACGU")))
    assert said in scidiff(command, file, *how).one_line()


def test_a_file_with_no_row_to_use_says_where_the_reasons_are(scidiff, tmp_path):
    file = fasta(tmp_path, "rows", ("a", "AC*"), ("b", ""))
    done = scidiff("train", file, "--domain", "dna", "--out", tmp_path / "run")
    assert done.code == 2 and "no row can be used; see" in done.err.splitlines()[-1]
    assert "'*' at position 3 (a stop)" in done.err


@pytest.mark.parametrize("pattern, said", [
    ("ACX??", "unknown token 'X' at character 3 of the pattern 'ACX??'"),
    ("ACR??", "unknown token 'R' at character 3"),
    ("ACGU", "an infill pattern has [*]"),
    ("A" * LENGTH + "??", f"has at least {LENGTH + 3} tokens with its end, the model takes at"),
])
def test_patterns_that_cannot_be_filled(scidiff, rna, pattern, said):
    assert said in scidiff("infill", rna, pattern).one_line()


def test_patterns_may_be_lower_case_and_in_the_letters_of_dna(scidiff, rna):
    rows = scidiff("infill", rna, "acgt??", "-n", 2, "--json").document
    assert "ACGU" in str(rows) and "ACGT" not in str(rows).replace("acgt??", "")
