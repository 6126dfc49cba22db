"""What is asked of strings, from how it is typed to the finished rows."""

import re
from itertools import product

import pytest
import torch
from tiny_models import SYMBOLS, write_tiny_model

import scidiff as sd
from scidiff.api.string_constraints import EXAMPLES, checked, read
from scidiff.core import Tape
from scidiff.data.records import Record
from scidiff.data.tokens import PAD, Vocabulary, encode_rows
from scidiff.samplers.automata import ended

DNA = Vocabulary(("A", "C", "G", "T"), "characters")
LETTERS = {"dna": "ACGT", "rna": "ACGU", "peptide": "AKGL"}
ASKED = {
    "dna": (["require:TA?A", "forbid:GC,AAA", "fixed:0=C", "runs:2"],
            r"C(?=.*TA.A)(?!.*(GC|AAA)).*"),
    "rna": (["pattern:AU?*G", "forbid:CC"], r"AU.(?!.*CC).*G"),
    "peptide": (["pattern:*K?K*", "require:GL", "runs:3"], r"(?=.*GL).*K.K.*"),
    "smiles": (["grammar", "require:O", "pattern:C*"], r"C.*O.*"),
}  # fmt: skip


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    root = tmp_path_factory.mktemp("strings")
    made = {"smiles": write_tiny_model(root / "smiles")}
    for domain, letters in LETTERS.items():
        told = {"notation": "characters", "symbols": list(letters)}
        made[domain] = write_tiny_model(
            root / domain, domain=domain, vocabulary=told, length_counts=[0] * 6 + [1, 2, 1]
        )
    return made


@pytest.mark.parametrize("domain", ASKED)
def test_every_row_is_what_was_asked(folders, domain):
    model, (asked, expression) = sd.load(folders[domain]), ASKED[domain]
    free = model.sample(60, seed=2)
    assert not all(re.fullmatch(expression, r.text) for r in free.records)
    drawn = model.sample(60, seed=2, constraints=asked)
    assert all(re.fullmatch(expression, r.text) for r in drawn.records)
    assert all(r.valid for r in drawn.records) or domain == "smiles"
    assert len({r.text for r in drawn.records}) > 5
    assert list(drawn.provenance["sampling"]["constraints"]) == asked
    objects = model.sample(60, seed=2, constraints=[read(text) for text in asked])
    assert [r.text for r in objects.records] == [r.text for r in drawn.records]


@pytest.mark.parametrize("text", [*EXAMPLES, "forbid:GAATTC:both", "require:TA,CC:both"])
def test_what_is_written_is_read_back(text):
    assert str(read(text)) == text and read(str(read(text))) == read(text)
    assert read(read(text)) == read(text)


@pytest.mark.parametrize("text", [
    "fixed:0=A,2=T", "fixed:1=?", "fixed:0=n", "forbid:CA,G?T", "forbid:AC:both", "forbid:gnc",
    "require:TA", "require:AC,GT", "require:cag:both", "pattern:A?*T", "pattern:*C?G*",
    "pattern:ann*", "runs:1", "runs:2",
])  # fmt: skip
def test_automata_and_finished_texts_agree(text):
    """Two ways of saying which strings satisfy it, on all strings of up to five bases."""
    constraint = read(text)
    strings = ["".join(row) for n in range(1, 6) for row in product("ACGT", repeat=n)]
    accepted = ended(constraint.automaton(DNA)).accepts(encode_rows(DNA, strings)).tolist()
    assert accepted == [constraint.holds(s, DNA) for s in strings]
    assert 0 < sum(accepted) < len(strings) or text in ("fixed:1=?", "fixed:0=n")


def test_both_strands_are_meant_where_asked():
    strings = ["AAGAC", "GTCTT", "GACTT"]
    told = {both: [read(f"forbid:AAGAC{both}").holds(s, DNA) for s in strings]
            for both in ("", ":both")}  # fmt: skip
    assert told == {"": [False, True, True], ":both": [False, False, True]}
    small = sd.Forbid("aagac", both_strands=True)
    assert [small.holds(s, DNA) for s in strings] == told[":both"]


@pytest.mark.parametrize("domain, asked, message", [
    ("dna", ["require:AUG"], "'U' at position 2 of 'AUG' is no token of this model; expected A C"),
    ("peptide", ["forbid:KXK"], "'X' at position 2 of 'KXK' is no token"),
    ("rna", ["forbid:GC:both"], "both_strands is of DNA, a model of A C G T, got one of A C G U"),
    ("dna", ["pattern:ACGT"], "'pattern:ACGT' holds for no string of 6 to 8 tokens, .* write [*]"),
    ("dna", ["fixed:9=A"], "'fixed:9=A' holds for no string of 6 to 8 tokens, which this model"),
    ("dna", ["fixed:1000000=A"], "'fixed:1000000=A' holds for no string of 6 to 8 tokens"),
    ("dna", ["pattern:*" + "A" * 300_000], "holds for no string of 6 to 8 tokens"),
    ("dna", ["require:ACGTACGTA"], "'require:ACGTACGTA' holds for no string of 6 to 8 tokens"),
    ("dna", ["fixed:0=A,1=C", "forbid:AC"], "fixed:0=A,1=C, forbid:AC contradict each other"),
    ("dna", ["fixed:0=AC"], "position 0 takes one token, got 'AC'"),
    ("dna", ["grammar"], "the grammar is of notation 'smiles'"),
    ("dna", ["forbd:A"], "unknown constraint 'forbd:A'; .* did you mean 'forbid'"),
    ("dna", ["forbid"], "'forbid' must be written as 'forbid:GAATTC,GGATCC'"),
    ("dna", ["runs:0"], "the longest run, 1 or more, got 0"),
    ("dna", ["forbid:??"], "motifs with at least one token"),
    ("dna", "forbid:A", "must be a list, got the text 'forbid:A'"),
    ("dna", [3], "a constraint is one of fixed:0=A,5=T, .* got 3"),
    ("smiles", ["require:Br"], "'Br' at position 1 of 'Br' is no token of this model"),
    ("smiles", ["pattern:CS*"], "'S' at position 2 of 'CS[*]'"),
    ("smiles", ["grammar", "pattern:CF*C", "fixed:2=C"], "contradict each other: no string of 3"),
])  # fmt: skip
def test_what_cannot_be_asked_is_said_in_a_line(folders, domain, asked, message):
    with pytest.raises(ValueError, match=message) as error:
        sd.load(folders[domain]).sample(4, constraints=asked)
    assert "\n" not in str(error.value)


def test_fillings_and_edits_hold_what_is_asked(folders):
    model = sd.load(folders["dna"])
    rows = model.infill("AC[*]GT", 40, gap=(2, 4), constraints=["forbid:CG", "require:TTG"])
    fillings = [re.fullmatch(r"AC([ACGT]{2,4})GT", r.text) for r in rows.records if r.valid]
    assert all(fillings) and len(fillings) > 10
    assert all("TTG" in f[0] and "CG" not in f[0] for f in fillings)
    edited = model.edit("ACGTACGT", 30, fraction=0.5, constraints=["forbid:AAA,TT"])
    assert not any(re.search("AAA|TT", r.text) for r in edited.records)


@pytest.mark.parametrize("asked, said", [
    (["forbid:GT"], "contradicts constraint 'forbid:GT' at 'T', position 8: no way to write"),
    (["runs:3", "fixed:0=C"], "contradicts constraint 'fixed:0=C' at 'A', position 1: no way"),
    (["require:TTTT", "require:AAAA"], "contradicts constraints .* together at 'C', position 2"),
])  # fmt: skip
def test_patterns_that_contradict_constraints_are_refused(folders, asked, said):
    model = sd.load(folders["dna"])
    with pytest.raises(ValueError, match=said):
        model.infill("AC[*]GT", 4, gap=(4, 4), constraints=asked)


def test_some_gaps_may_be_too_short_for_what_is_required(folders):
    """Rows that cannot be written are there, invalid, with a reason."""
    rows = sd.load(folders["dna"]).infill("A[*]A", 40, gap=(4, 6), constraints=["require:CGCGC"])
    fine = [r for r in rows.records if r.valid]
    assert 0 < len(fine) < 40 == len(rows.records) and all("CGCGC" in r.text for r in fine)
    assert all(r.reason for r in rows.records if not r.valid)


def test_finished_rows_are_read_again():
    texts = ["ACGT", "AAGT", "CC"]
    records = [Record(t, t, True) for t in texts[:2]] + [Record("CC", None, False, "short")]
    ids = encode_rows(DNA, texts, 6)
    found = checked(records, ids, ["fixed:0=A", sd.Forbid("CG"), "runs:1"], DNA)
    assert [r.valid for r in found] == [False] * 3 and [r.text for r in found] == texts
    told = ["constraint 'forbid:CG' does not hold", "constraint 'runs:1' does not hold", "short"]
    assert [r.reason for r in found] == told and found[0].obj is None
    assert checked(records, ids, (), DNA) == records == checked(records, ids, ["fixed:0=?"], DNA)


def test_a_filling_that_breaks_a_constraint_would_be_invalid(folders, monkeypatch):
    """As if the automata were wrong."""
    import scidiff.api.infilling as infilling

    model, asked = sd.load(folders["dna"]), {"gap": (3, 3), "constraints": ["forbid:GG"]}
    assert all(r.valid for r in model.infill("AC[*]GT", 20, **asked).records)
    monkeypatch.setattr(infilling, "constraints_of", lambda engine, overrides: ("forbid:GT",))
    monkeypatch.setattr(infilling, "check_given", lambda *given: None)
    rows = model.infill("AC[*]GT", 20, **asked).records
    assert {r.reason for r in rows} == {"constraint 'forbid:GT' does not hold"}


def test_left_to_right_models_hold_constraints_too(tmp_path):
    model = sd.load(write_tiny_model(tmp_path / "ar", "autoregressive"))
    rows = model.sample(40, constraints=["pattern:C?*", "forbid:F", "require:NO"])
    ended_rows = [r.text for r in rows.records]
    assert all(re.fullmatch(r"C.+", t) and "F" not in t and "NO" in t for t in ended_rows)
    assert len(Vocabulary(tuple(SYMBOLS))) == model.engine.network.config.vocab_size


def test_constraints_are_asked_at_any_pace(folders):
    model, asked = sd.load(folders["dna"]), ["require:ACGT", "runs:2"]
    for how in ({"tokens_per_step": 4}, {"order": "confidence"}, {"temperature": 0.0}):
        rows = model.sample(20, constraints=asked, **how).records
        assert all("ACGT" in r.text and not re.search(r"(.)\1\1", r.text) for r in rows)
    with pytest.raises(ValueError, match="leave remask and schedule = 'ancestral' out"):
        model.sample(4, constraints=asked, steps=4, schedule="ancestral")


def test_behind_the_longest_row_nothing_is_left_to_ask(folders):
    model = sd.load(folders["dna"])
    sampler = model.sampler(constraints=["runs:2"])
    x = sampler.init(7, torch.Generator().manual_seed(0))
    law, later = sampler.given.law(x)
    width = int((x.ids != 0).sum(1).max())
    assert width < x.ids.shape[1]
    cut = sampler.given.log_accepted(law, later)
    sampler.given._width = lambda law: law.shape[1]
    torch.testing.assert_close(sampler.given.log_accepted(law, later), cut)


@pytest.mark.parametrize("kind", ["masked", "autoregressive", "block"])
def test_what_a_row_draws_does_not_depend_on_how_far_others_reach(tmp_path, kind):
    sampler = sd.load(write_tiny_model(tmp_path, kind)).sampler(constraints=["fixed:0=C"])
    x0 = sampler.init(9, torch.Generator().manual_seed(1))
    tape = Tape(torch.Generator().manual_seed(2))

    def run(x, tape):
        for k in range(sampler.num_steps):
            x = sampler.step(x, k, tape)
        return x.ids

    whole = run(x0, tape)
    lengths = (whole != PAD).sum(1)
    short = lengths.argsort()[:2]
    assert lengths[short].max() < lengths.max()
    assert torch.equal(run(x0[short], tape[short]), whole[short])



def test_noise_is_searched_under_constraints(folders):
    hits = sd.design(sd.load(folders["smiles"]), lambda mols: [m.GetNumAtoms() for m in mols], n=3,
                     method="noise", budget=36, floor=0.0, constraints=["fixed:0=C"])
    assert len(hits) == 3 and all(text.startswith("C") for text in hits.asked.texts)
