"""Constraints on strings and energies, as they are typed."""

from tiny_models import write_tiny_model


def test_constraints_are_typed_as_they_are_recorded(scidiff, tiny_model):
    asked = ["forbid:F,NN", "pattern:C*"]
    typed = [part for text in asked for part in ("--constraint", text)]
    told = scidiff("sample", tiny_model, "-n", 20, *typed, "--json").document
    texts = [row["smiles"] for row in told["rows"]]
    assert all(t.startswith("C") and "F" not in t and "NN" not in t for t in texts)
    assert told["provenance"]["sampling"]["constraints"] == asked


def test_what_cannot_be_asked_is_one_line(scidiff, tiny_model):
    def said(*asked):
        typed = [part for text in asked for part in ("--constraint", text)]
        return scidiff("sample", tiny_model, *typed).one_line()

    assert "'Br' at position 1 of 'Br' is no token of this model" in said("forbid:Br")
    assert "did you mean 'require'" in said("requir:C")
    assert "contradict each other" in said("pattern:C*", "forbid:C")


def test_a_left_to_right_model_is_an_energy(scidiff, tiny_model, tmp_path):
    left = write_tiny_model(tmp_path / "left", "autoregressive")
    typed = ["--energy", left, "--candidates", 4, "--tokens-per-step", 3]
    told = scidiff("sample", tiny_model, "-n", 5, *typed, "--json").document
    settings = told["provenance"]["sampling"]
    assert (settings["energy"], settings["candidates"]) == ("tiny-autoregressive", 4)
    assert str(tmp_path) not in str(told["provenance"])
    missing = scidiff("sample", tiny_model, "--energy", tmp_path / "none").one_line()
    assert "unknown model" in missing
    alone = scidiff("sample", tiny_model, "--candidates", 4).one_line()
    assert "candidates and window belong to energy" in alone
