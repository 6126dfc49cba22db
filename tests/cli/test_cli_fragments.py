"""`scidiff fragments`: what is typed reaches the task, what is wrong is one line."""

import pytest

from scidiff.api import tasks


@pytest.fixture
def asked(monkeypatch, tiny_model):
    """What the tasks were called with; they draw plain rows of a tiny model."""
    calls = []

    def verb(name):
        def run(model, *parts, n, seed, size, **how):
            calls.append((name, parts, n, seed, size, how))
            return model.sample(n, seed)

        return run

    for name in ("linker", "motif_extension", "de_novo"):
        monkeypatch.setattr(tasks, name, verb(name))
    return calls


def test_parts_sizes_and_settings_reach_the_task(scidiff, tiny_model, asked):
    typed = ["fragments", tiny_model]
    parts = ["[*]C", "[*]N"]
    told = scidiff(*typed, "linker", *parts, "-n", 3, "--size", "2-5", "--order", "confidence",
                   "--json").document  # fmt: skip
    assert len(told["rows"]) == 3
    assert scidiff(*typed, "motif_extension", "[*]C", "--seed", 4).code == 0
    assert scidiff(*typed, "de_novo", "-n", 2).code == 0
    assert asked == [
        ("linker", (parts,), 3, 0, (2, 5), {"order": "confidence"}),
        ("motif_extension", ("[*]C",), 16, 4, None, {}),
        ("de_novo", (), 2, 0, None, {}),
    ]


@pytest.mark.parametrize(
    "typed, said",
    [
        (["linkr", "C"], "unknown task 'linkr'; expected one of linker, .*did you mean 'linker'"),
        (["motif_extension"], "motif_extension takes 1 part, got 0"),
        (["superstructure", "C", "N"], "superstructure takes 1 part, got 2"),
        (["de_novo", "C"], "de_novo takes 0 parts, got 1"),
        (["linker", "[*]C", "[*]N", "--size", "3"], "a size is written LOW-HIGH, .* got '3'"),
        (["linker", "[*]C", "[*]N"], "masked model of molecules in pieces"),
    ],
)
def test_wrong_requests_are_one_line(scidiff, tiny_model, typed, said):
    import re

    assert re.search(said, scidiff("fragments", tiny_model, *typed).one_line())
