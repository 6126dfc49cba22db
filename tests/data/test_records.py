"""A decoded row says either that it is valid or why it is not."""

import dataclasses

import pytest

from scidiff.data.records import Record


def test_a_record_is_frozen_and_compares_by_value():
    record = Record("CCO", None, True)
    assert record == Record("CCO", None, True, "")
    with pytest.raises(dataclasses.FrozenInstanceError):
        record.valid = False


@pytest.mark.parametrize("valid, reason", [(True, "valence"), (False, "")])
def test_validity_and_reason_go_together(valid, reason):
    with pytest.raises(ValueError, match="reason"):
        Record("C", None, valid, reason)
