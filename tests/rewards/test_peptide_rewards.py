"""Peptides: scales by hand, charge at its limits, and Macrel as it was measured."""

import math

import pytest

from scidiff.rewards import peptides
from scidiff.rewards.combine import reward
from scidiff.rewards.peptides import Charge, charge, gravy, hydrophobic_moment
from scidiff.testing import check_reward

MAGAININ = "GIGKFLHSAKKFGKAFVGEIMNS"
PLAIN = ["DDEEDDEE", "GGGGGGGG", "KKRRKK", MAGAININ, "A"]


def test_charge_by_hand():
    """Far from every pKa each group is charged or not: whole numbers."""
    assert Charge(-9)(["KRHDECY"])[0] == pytest.approx(4)  # N-terminus, K, R, H
    assert Charge(23)(["KRHDECY"])[0] == pytest.approx(-5)  # C-terminus, D, E, C, Y
    n, c = 1 / (1 + 10 ** (7 - 8.6)), 1 / (1 + 10 ** (3.6 - 7))
    assert charge(["G"])[0] == pytest.approx(n - c)
    assert charge(["GK"])[0] - charge(["G"])[0] == pytest.approx(1 / (1 + 10 ** (7 - 10.8)))
    assert charge(["GH"])[0] - charge(["G"])[0] == pytest.approx(1 / (1 + 10 ** (7 - 6.5)))
    assert charge(["GD"])[0] - charge(["G"])[0] == pytest.approx(-1 / (1 + 10 ** (3.9 - 7)))
    assert charge([MAGAININ])[0] == pytest.approx(3.1, abs=0.3)
    assert Charge(5)(["KHD"])[0] > charge(["KHD"])[0] and Charge(5).name == "net_charge(ph=5)"


def test_hydropathy_and_moment_by_hand():
    assert gravy(["I", "R", "AR"]) == [4.5, -4.5, pytest.approx(-1.35)]
    assert hydrophobic_moment(["I", "R"]) == [1.38, 2.53]
    one = math.radians(100)
    two = math.hypot(0.62 + 0.62 * math.cos(one), 0.62 * math.sin(one)) / 2
    assert hydrophobic_moment(["AA"]) == [pytest.approx(two)]
    assert hydrophobic_moment(["A" * 18])[0] < 0.1 < 0.4 < hydrophobic_moment([MAGAININ])[0]
    assert hydrophobic_moment(["A" * 11 + MAGAININ])[0] == pytest.approx(max(
        hydrophobic_moment([("A" * 11 + MAGAININ)[i : i + 11] for i in range(24)])))
    for scale in (peptides.HYDROPATHY, peptides.CONSENSUS):
        assert sorted(scale) == sorted("ACDEFGHIKLMNPQRSTVWY")


@pytest.mark.parametrize("made", [charge, Charge(5.0), gravy, hydrophobic_moment])
def test_contract(made):
    check_reward(made, PLAIN)


def test_expressions_name_them():
    formula = reward("window(charge, 2, 6) * window(gravy, -1, 1)")
    assert formula.floor == 0 and 0 <= formula([MAGAININ])[0] <= 1
    assert reward("net_charge(ph=5)")(["KHD"]) == Charge(5)(["KHD"])


def test_macrel_as_measured(capfd):
    pytest.importorskip("macrel", reason="needs the extra peptides")
    assert peptides.amp([MAGAININ])[0] == pytest.approx(0.950, abs=0.005)
    assert peptides.haemolytic([MAGAININ])[0] == pytest.approx(0.911, abs=0.005)
    check_reward(peptides.amp, [MAGAININ, "DDEEDDEEDDEE", "GGGGGGGGGG"])
    assert math.isnan(peptides.amp(["M"])[0]) and len(peptides.amp(["M", MAGAININ])) == 2
    assert peptides.amp([]) == []
    assert reward("amp * (1 - haemolytic)").bounds == (0, 1)
    assert capfd.readouterr() == ("", "")


def test_macrel_tells_active_peptides_from_others():
    pytest.importorskip("macrel", reason="needs the extra peptides")
    from scidiff.data.datasets import load

    table = load("peptides")
    rows = [(s, label) for s, label, kind in zip(
        table.objects(), table.values("label"), table.values("set"), strict=True)
        if kind == "AMPvsUniProt" and len(s) <= 60][::20]
    found = peptides.amp([s for s, _ in rows])
    mean = [sum(p for p, (_, y) in zip(found, rows, strict=True) if y == label)
            / sum(y == label for _, y in rows) for label in (0, 1)]
    assert mean[1] > 0.6 > 0.3 > mean[0]


def test_the_moment_agrees_with_an_independent_one():
    pytest.importorskip("macrel", reason="needs the extra peptides")
    from macrel.macrel_features import hmoment

    for text in (MAGAININ, "GLWSKIKEVGKEAAKAAAKAAGKAALGAVSEAV", "YVPLPNVPQPGRRPFPTFPGQGPF"):
        ours = hydrophobic_moment([text])[0]
        assert ours == pytest.approx(hmoment(text, angle=100, window=11), abs=0.02)
