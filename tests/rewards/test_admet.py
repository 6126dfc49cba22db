"""ADMET: endpoints by name, their ranges, and the numbers that ADMET-AI itself gives."""

import math
from importlib.machinery import PathFinder

import pytest
from rdkit import Chem

from scidiff.rewards import admet, singly
from scidiff.rewards.admet import Admet, endpoints
from scidiff.rewards.combine import reward
from scidiff.rewards.identity import identity
from scidiff.rewards.singly import ExtraMissing
from scidiff.testing import check_reward

METOPROLOL, ETHANOL = "CC(C)NCC(O)COc1ccc(CCOC)cc1", "CCO"
TABLE = """category,id,name,task_type,units
Physicochemical,logP,LogP,regression,log-ratio
Toxicity,hERG,Blocking of hERG,classification,-
Absorption,Solubility_AqSolDB,Aqueous Solubility,regression,log(mol/L)
"""


def mols(*smiles):
    return [Chem.MolFromSmiles(s) for s in smiles]


@pytest.fixture
def packages(tmp_path, monkeypatch):
    """Folders where the packages would stand, with a table of two endpoints."""
    for name in ("admet_ai", "chemprop"):
        (tmp_path / name / "resources" / "data").mkdir(parents=True)
        (tmp_path / name / "__init__.py").write_text("")
    (tmp_path / "admet_ai" / "resources" / "data" / "admet.csv").write_text(TABLE)
    monkeypatch.syspath_prepend(str(tmp_path))
    # on the path, whatever another test has imported
    monkeypatch.setattr(singly, "find_spec", PathFinder.find_spec)


@pytest.fixture(scope="module")
def installed():
    for module in ("admet_ai", "chemprop"):
        if singly.find_spec(module) is None:
            pytest.skip("needs the extra admet: pip install 'scidiff[admet]'")


def test_missing_packages_name_the_extra(monkeypatch):
    monkeypatch.setattr(singly, "find_spec", lambda name: None)
    with pytest.raises(ExtraMissing, match=r"admet needs admet_ai: .*'scidiff\[admet\]'"):
        reward("admet('hERG')")


def test_endpoints_have_ranges_and_units(packages):
    assert list(endpoints()) == ["hERG", "Solubility_AqSolDB"]
    risk, amount = Admet("hERG"), Admet("Solubility_AqSolDB")
    assert (risk.bounds, risk.floor, risk.unit) == ((0, 1), 0, "-")
    assert (amount.bounds, amount.floor) == ((-math.inf, math.inf), None)
    assert amount.unit == "log(mol/L)" and amount.name == "admet('Solubility_AqSolDB')"
    assert reward("qed * (1 - admet('hERG'))").floor == 0
    assert reward("window(admet('Solubility_AqSolDB'), -4, 0)").floor == 0
    assert identity(risk).parameters != identity(amount).parameters


@pytest.mark.parametrize("wrong, hint", [("herg", "did you mean 'hERG'"), ("logP", "hERG, Sol"),
                                         ("Solubility", "did you mean 'Solubility_AqSolDB'")])
def test_another_endpoint_is_refused(packages, wrong, hint):
    with pytest.raises(ValueError, match=f"admet: no endpoint {wrong!r} among 2; {hint}"):
        Admet(wrong)


def test_predictions_as_measured(installed):
    """ADMET-AI 2.0.1 by its own interface."""
    for name, value in {"hERG": 0.5811, "AMES": 0.0650, "BBB_Martins": 0.7719,
                        "Solubility_AqSolDB": -1.0292, "PPBR_AZ": 29.2014}.items():
        assert Admet(name)(mols(METOPROLOL))[0] == pytest.approx(value, rel=1e-3)
    assert len(endpoints()) == 41 and sum(t == "regression" for t, _ in endpoints().values()) == 10


def test_contract(installed, capfd):
    made = Admet("hERG")
    check_reward(made, mols(METOPROLOL, ETHANOL, "C", "c1ccccc1", "C[N+](C)(C)CC(=O)[O-]"))
    assert made(mols("OCC")) == made(mols(ETHANOL)) and made([]) == []
    assert capfd.readouterr() == ("", "")


def test_a_formula_runs_each_ensemble_once(installed):
    admet._predicted.cache_clear()
    formula = reward("(1 - admet('hERG')) * (1 - admet('AMES'))")
    (found,) = formula(mols(METOPROLOL))
    assert found == pytest.approx((1 - 0.5811) * (1 - 0.0650), rel=1e-3)
    assert admet._predicted.cache_info().misses == 1


def test_batches_do_not_change_predictions(installed, monkeypatch):
    some = mols(*("C" * i + "O" for i in range(1, 8)))  # the last batch of 3 is of one molecule
    whole = Admet("Lipophilicity_AstraZeneca")(some)
    monkeypatch.setattr(admet, "BATCH", 3)
    admet._predicted.cache_clear()
    assert Admet("Lipophilicity_AstraZeneca")(some) == pytest.approx(whole, rel=1e-5)


@pytest.mark.slow  # its own interface starts a trainer for each network
@pytest.mark.filterwarnings("ignore")
def test_every_endpoint_is_what_the_package_says(installed):
    from admet_ai import ADMETModel

    texts = [METOPROLOL, ETHANOL, "CC(=O)Oc1ccccc1C(=O)O", "c1ccc2c(c1)[nH]c1ccccc12"]
    table = ADMETModel(include_physchem=False, drugbank_path=None, num_workers=0).predict(texts)
    for name in endpoints():
        ours = Admet(name)(mols(*texts))
        assert ours == pytest.approx(table[name].tolist(), rel=1e-4, abs=1e-5), name
