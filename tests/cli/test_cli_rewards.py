"""`scidiff rewards`."""


def test_rewards_are_listed_with_their_range(scidiff):
    document = scidiff("rewards", "list", "--json").document
    told = {r["name"]: r for r in document["rewards"]}
    assert told["qed"]["range"] == "0 to 1" and "Bickerton" in told["qed"]["what"]
    assert told["mw"]["range"] == "0 and above" and told["logp"]["range"] == "unbounded"
    assert told["mfe"]["range"] == "0 and below"
    of = {name: told[name]["of"] for name in ("qed", "mfe", "length", "charge", "oracle")}
    assert of == {"qed": "molecule", "mfe": "dna, rna", "length": "sequence",
                  "charge": "peptide", "oracle": ""}
    assert told["similarity"]["arguments"].startswith("(smiles, counts=False")
    assert "mfe" in scidiff("rewards", "list").out


def test_a_reward_says_what_it_takes(scidiff):
    said = scidiff("rewards", "info", "similarity").out
    assert "similarity(smiles" in said and "Tanimoto" in said


def test_the_nearest_reward_is_named(scidiff):
    assert "no reward is called 'qde'; did you mean 'qed'?" in scidiff(
        "rewards", "info", "qde").one_line()
