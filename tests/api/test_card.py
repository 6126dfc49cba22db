"""Cards: facts, sections, and sections that are written anew."""

import pytest

from scidiff.api.card import card, hardware, replace_section, table

TEXT = card("toy", {"seed": 3}, {"Training": "ten steps", "Memorisation": "none", "Last": "end"})


def test_a_card_is_facts_and_sections():
    assert TEXT.startswith("# toy\n\n| what | value |\n| --- | --- |\n| seed | 3 |\n\n## Training")
    assert TEXT.endswith("## Last\n\nend\n")
    assert table([]) == "" and "| 0.1235 |" in table([{"loss": 0.123456}])
    assert "torch" in hardware()


@pytest.mark.parametrize("name", ["Training", "Memorisation", "Last"])
def test_a_section_is_replaced_and_the_others_stay(name):
    new = replace_section(TEXT, name, "much\n")
    titles = [line for line in new.splitlines() if line.startswith("#")]
    assert titles == ["# toy", "## Training", "## Memorisation", "## Last"]
    assert f"## {name}\n\nmuch\n" in new and new.endswith("\n") and not new.endswith("\n\n")
    kept = {"Training": "ten steps", "Memorisation": "none", "Last": "end"}
    assert [text in new for text in kept.values()] == [key != name for key in kept]
    assert replace_section(new, name, "much") == new
    assert replace_section(new, name, kept[name]) == TEXT


def test_a_new_section_goes_to_the_end():
    new = replace_section(TEXT, "Likes", "tea")
    assert new == f"{TEXT}\n## Likes\n\ntea\n"
    assert "## Memorisation details" in replace_section(
        TEXT.replace("## Memorisation\n", "## Memorisation details\n"), "Memorisation", "x"
    )
