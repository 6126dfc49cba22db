"""GuacaMol and PMO objectives against their definitions, worked out by hand."""

import math

import pytest
from rdkit import Chem, DataStructs
from rdkit.Chem import Descriptors, rdMolDescriptors
from rdkit.Chem.Pharm2D import Generate, Gobbi_Pharm2D

from scidiff.rewards import pmo, registry
from scidiff.rewards.combine import reward
from scidiff.rewards.identity import identity
from scidiff.rewards.pmo import OBJECTIVES, Isomers, atom_counts
from scidiff.rewards.scores import evaluate


def mol(smiles):
    return Chem.MolFromSmiles(smiles)


def score(name, smiles):
    return OBJECTIVES[name]([mol(smiles)])[0]


def tanimoto(fingerprint, a, b):
    return DataStructs.TanimotoSimilarity(fingerprint(mol(a)), fingerprint(mol(b)))


def ecfp(radius, features=False):
    """Unfolded counts through RDKit's older functions."""
    return lambda m: rdMolDescriptors.GetMorganFingerprint(m, radius, useFeatures=features)


def pairs(m):
    return rdMolDescriptors.GetAtomPairFingerprint(m, maxLength=10)


def bell(x, mu, sigma):
    return math.exp(-((x - mu) ** 2) / (2 * sigma**2))


@pytest.mark.parametrize("name, smiles", [
    ("celecoxib_rediscovery", pmo.CELECOXIB), ("troglitazone_rediscovery", pmo.TROGLITAZONE),
    ("thiothixene_rediscovery", pmo.THIOTHIXENE), ("aripiprazole_similarity", pmo.ARIPIPRAZOLE),
    ("albuterol_similarity", pmo.ALBUTEROL), ("mestranol_similarity", pmo.MESTRANOL),
    ("isomers_c11h24", "CC(CCC)CCCCCC"), ("isomers_c7h8n2o2", "Cc1ccc([N+](=O)[O-])cc1N")])
def test_a_target_or_an_isomer_scores_one(name, smiles):
    assert score(name, smiles) == pytest.approx(1)


@pytest.mark.parametrize("name", ["celecoxib_rediscovery", "albuterol_similarity"])
def test_other_molecules_score_less(name):
    assert 0 < score(name, pmo.ZALEPLON) < 0.5


def test_drug_formulas_are_the_published_ones():
    for smiles, formula in [
            (pmo.OSIMERTINIB, "C28H33N7O2"), (pmo.FEXOFENADINE, "C32H39NO4"),
            (pmo.RANOLAZINE, "C24H33N3O4"), (pmo.PERINDOPRIL, "C19H32N2O5"),
            (pmo.AMLODIPINE, "C20H25ClN2O5"), (pmo.SITAGLIPTIN, "C16H15F6N5O"),
            (pmo.ZALEPLON, "C17H15N5O"), (pmo.CELECOXIB, "C17H14F3N3O2S"),
            (pmo.TROGLITAZONE, "C24H27NO5S"), (pmo.THIOTHIXENE, "C23H29N3O2S2"),
            (pmo.ARIPIPRAZOLE, "C23H27Cl2N3O2"), (pmo.ALBUTEROL, "C13H21NO3"),
            (pmo.MESTRANOL, "C21H26O2"), (pmo.CAMPHOR, "C10H16O"), (pmo.MENTHOL, "C10H20O"),
            (pmo.TADALAFIL, "C22H19N3O4"), (pmo.SILDENAFIL, "C22H30N6O4S")]:
        assert rdMolDescriptors.CalcMolFormula(mol(smiles)) == formula
        assert Isomers(formula)([mol(smiles)]) == [pytest.approx(1)]


def test_formulas_penalise_each_element_and_the_total():
    ether = "CCCCCCCCOCCC"  # C11H24O
    assert score("isomers_c11h24", ether) == pytest.approx(math.exp(-1 / 8) ** (1 / 3))
    off = Isomers("C12H24")([mol(ether)])[0]  # one carbon short, no atom too many
    assert off == pytest.approx(math.exp(-1 / 2) ** (1 / 3))
    assert Isomers("CH4O")([mol("CO"), mol("[H]OC")]) == [1, 1]


def test_a_formula_of_seven_elements_is_a_mean_of_eight_bells():
    smiles = "NC(=O)c1cc(Cl)c(PC)c(F)c1OCF"
    wanted = {"C": 9, "H": 10, "N": 2, "O": 2, "P": 1, "F": 2, "Cl": 1}
    found = atom_counts(mol(smiles))
    assert found == {"C": 9, "H": 9, "N": 1, "O": 2, "P": 1, "F": 2, "Cl": 1}
    parts = [bell(found[e], n, 1) for e, n in wanted.items()] + [bell(25, 27, 2)]
    assert score("isomers_c9h10n2o2pf2cl", smiles) == pytest.approx(math.prod(parts) ** (1 / 8))


def test_medians_are_geometric_means():
    close = tanimoto(ecfp(2), pmo.CAMPHOR, pmo.MENTHOL)
    assert score("median1", pmo.CAMPHOR) == pytest.approx(math.sqrt(close))
    close = tanimoto(ecfp(3), pmo.TADALAFIL, pmo.SILDENAFIL)
    assert score("median2", pmo.SILDENAFIL) == pytest.approx(math.sqrt(close))


PROBES = [pmo.OSIMERTINIB, pmo.RANOLAZINE, pmo.ZALEPLON, pmo.SITAGLIPTIN, pmo.AMLODIPINE,
          "CC(C)(C(=O)O)c1ccc(cc1)C(O)CCCN2CCC(CC2)C(O)(c3ccccc3)c4ccc(F)cc4"]


@pytest.mark.parametrize("smiles", PROBES)
def test_mpo_objectives_are_their_formulas(smiles):
    m = mol(smiles)
    logp, tpsa = Descriptors.MolLogP(m), Descriptors.TPSA(m)

    def up(x, mu, sigma):
        return bell(min(x, mu), mu, sigma)

    def down(x, mu, sigma):
        return bell(max(x, mu), mu, sigma)

    expected = {
        "osimertinib_mpo": [
            min(tanimoto(ecfp(2, True), pmo.OSIMERTINIB, smiles) / 0.8, 1),
            down(tanimoto(ecfp(3), pmo.OSIMERTINIB, smiles), 0.85, 0.1),
            up(tpsa, 100, 10), down(logp, 1, 1)],
        "fexofenadine_mpo": [min(tanimoto(pairs, pmo.FEXOFENADINE, smiles) / 0.8, 1),
                             up(tpsa, 90, 10), down(logp, 4, 1)],
        "ranolazine_mpo": [min(tanimoto(pairs, pmo.RANOLAZINE, smiles) / 0.7, 1),
                           up(logp, 7, 1), up(tpsa, 95, 20), bell(smiles.count("F"), 1, 1)],
        "perindopril_mpo": [tanimoto(ecfp(2), pmo.PERINDOPRIL, smiles),
                            bell(rdMolDescriptors.CalcNumAromaticRings(m), 2, 0.5)],
        "amlodipine_mpo": [tanimoto(ecfp(2), pmo.AMLODIPINE, smiles),
                           bell(rdMolDescriptors.CalcNumRings(m), 3, 0.5)],
        "zaleplon_mpo": [tanimoto(ecfp(2), pmo.ZALEPLON, smiles),
                         Isomers("C19H17N3O2")([m])[0]],
        "sitagliptin_mpo": [bell(tanimoto(ecfp(2), pmo.SITAGLIPTIN, smiles), 0, 0.1),
                            bell(logp, Descriptors.MolLogP(mol(pmo.SITAGLIPTIN)), 0.2),
                            bell(tpsa, Descriptors.TPSA(mol(pmo.SITAGLIPTIN)), 5),
                            Isomers("C16H15F6N5O")([m])[0]]}
    for name, parts in expected.items():
        assert score(name, smiles) == pytest.approx(math.prod(parts) ** (1 / len(parts))), name


def test_targets_of_the_mpo_objectives():
    assert score("perindopril_mpo", pmo.PERINDOPRIL) == pytest.approx(math.exp(-4))  # no ring
    assert score("amlodipine_mpo", pmo.AMLODIPINE) == pytest.approx(math.exp(-1))  # two rings
    assert score("sitagliptin_mpo", pmo.SITAGLIPTIN) == pytest.approx(math.exp(-50 / 4))


def test_valsartan_needs_the_pattern_and_the_properties_of_sitagliptin():
    biphenyl = "CN(C=O)Cc1ccc(-c2ccccc2)cc1"
    target, m = mol(pmo.SITAGLIPTIN), mol(biphenyl)
    parts = [bell(f(m), f(target), s) for f, s in (
        (Descriptors.MolLogP, 0.2), (Descriptors.TPSA, 5), (Descriptors.BertzCT, 30))]
    expected = math.prod(parts) ** 0.25
    assert 0 < score("valsartan_smarts", biphenyl) == pytest.approx(expected, rel=1e-9, abs=0)
    assert score("valsartan_smarts", pmo.SITAGLIPTIN) == 0


def test_hops_are_means_of_pharmacophores_and_patterns():
    """The starting molecule has the scaffold and both decorations."""
    assert score("deco_hop", pmo.HOPPED) == pytest.approx((1 + 0 + 0 + 1) / 4)
    assert score("scaffold_hop", pmo.HOPPED) == pytest.approx((1 + 1 + 0) / 3)

    def phco(m):
        return Generate.Gen2DFingerprint(m, Gobbi_Pharm2D.factory)

    bare = "CCCOc1cc2ncnc(N)c2cc1"  # no decoration; its scaffold has lost a substituent
    close = tanimoto(phco, pmo.HOPPED, bare)
    has = float(mol(bare).HasSubstructMatch(mol_pattern(pmo.QUINAZOLINE)))
    assert score("deco_hop", bare) == pytest.approx((min(close / 0.85, 1) + 1 + 1 + has) / 4)


def mol_pattern(smarts):
    return Chem.MolFromSmarts(smarts)


def test_objectives_are_found_by_name_and_score_in_the_unit_interval():
    assert len(pmo.PMO) == 20 and set(pmo.PMO) - {"qed"} < set(OBJECTIVES)
    mols = [mol(s) for s in (*PROBES, "C", "[Na+].[Cl-]")]
    for name in pmo.PMO:
        found = registry.find(name)
        scores = evaluate(found, mols)
        assert scores.ok.all() and 0 <= scores.values.min() <= scores.values.max() <= 1, name
        assert found.floor == 0 and identity(found) is not None
    assert reward("0.5*zaleplon_mpo + 0.5*isomers('C7H8N2O2')").bounds == (0, 1)


@pytest.mark.parametrize("formula", ["", "c7h8", "C7 H8", "C7H8?"])
def test_formulas_are_checked(formula):
    with pytest.raises(ValueError, match="is not a formula such as"):
        Isomers(formula)
