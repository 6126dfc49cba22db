"""The domain of molecules in pieces."""

import pytest
import torch

from scidiff.data.tokens import Vocabulary
from scidiff.domains.domain import find_domain
from scidiff.domains.safe import DOMAIN, fragment_record

MOLECULES = ["O=C(Nc1ccccc1)C1CC1", "CC(c1ccc(-c2ccncc2)cc1)N1CCOCC1", "CCO"]


@pytest.fixture
def domain() -> DOMAIN:
    return DOMAIN(Vocabulary.build([DOMAIN.spell(m) for m in MOLECULES], DOMAIN.notation))


def test_it_is_found_by_name() -> None:
    assert find_domain("safe") is DOMAIN


def test_objects_come_back(domain: DOMAIN) -> None:
    state = domain.encode(MOLECULES)
    assert state.ids.dtype == torch.int64
    records = domain.decode(state)
    assert all(r.valid for r in records)
    assert [domain.key(r) for r in records] == MOLECULES
    assert records[0].text == DOMAIN.spell(MOLECULES[0])
    assert domain.keys([r.text for r in records]) == MOLECULES


@pytest.mark.parametrize(("text", "reason"), [
    ("c1%10ccccc1.C%11C", "attachment %10 %11 has no partner"),
    ("C%10(C)(C)(C)C.C%10C", "valence"),
    ("c1%10cccc1.C%10C", "cannot alternate"),
    ("C1%10CC.C%10C", "ring"),
    ("", "nothing is written")])  # fmt: skip
def test_an_invalid_row_says_why(text: str, reason: str) -> None:
    record = fragment_record(text)
    assert not record.valid and reason in record.reason and record.text == text


def test_a_row_that_cannot_be_written_is_named(domain: DOMAIN) -> None:
    with pytest.raises(ValueError, match="row 2: .*open end"):
        domain.encode(["CCO", "*CCO"])
    with pytest.raises(ValueError, match="row 1: unknown token 'Br'"):
        domain.encode(["BrCCO"])
