"""PoseBusters: a sound structure passes, a bent one fails the checks that it breaks."""

import logging
import sys

import numpy as np
import pandas as pd
import pytest
import rdkit
from rdkit import Chem, RDLogger
from rdkit.Geometry import Point3D

from scidiff.chem.conformers import embed
from scidiff.rewards import poses, singly
from scidiff.rewards.combine import reward
from scidiff.rewards.identity import identity
from scidiff.rewards.poses import PoseBusters
from scidiff.rewards.scores import Status
from scidiff.rewards.singly import ExtraMissing
from scidiff.testing import check_reward

ASPIRIN = "CC(=O)Oc1ccccc1C(=O)O"
CHECKS = 12  # of the configuration "mol"


def mols(*smiles):
    return [Chem.MolFromSmiles(s) for s in smiles]


@pytest.fixture(scope="module")
def posebusters():
    return pytest.importorskip("posebusters",
                               reason="needs the extra poses: pip install 'scidiff[poses]'")


def test_missing_packages_name_the_extra(monkeypatch):
    monkeypatch.setattr(singly, "find_spec", lambda name: None)
    with pytest.raises(ExtraMissing, match=r"posebusters needs posebusters: .*'scidiff\[poses\]'"):
        reward("posebusters()")


def test_wrong_parameters():
    with pytest.raises(ValueError, match="measure must be one of share, all, got 'some'"):
        PoseBusters("some")
    with pytest.raises(ValueError, match="posebusters: seed must be a whole number"):
        PoseBusters(seed=-1)


def test_a_sound_structure_passes_and_a_bent_one_does_not(posebusters):
    sound = embed(mols(ASPIRIN)[0])
    bent = Chem.Mol(sound)
    place = bent.GetConformer().GetAtomPosition(0)
    place.x += 1.5  # the methyl carbon leaves its bond
    bent.GetConformer().SetAtomPosition(0, place)
    assert PoseBusters()([sound]) == [1] and PoseBusters("all")([sound, bent]) == [1, 0]
    failed = {name for name, passed in PoseBusters().checks(bent).items() if not passed}
    assert "bond_lengths" in failed and "aromatic_ring_flatness" not in failed
    assert PoseBusters()([bent]) == [pytest.approx(1 - len(failed) / CHECKS)]


def test_a_bent_ring_is_told(posebusters):
    bent = embed(mols("c1ccccc1")[0])
    places = bent.GetConformer().GetPositions()
    upwards = np.cross(places[1] - places[0], places[5] - places[0])
    moved = places[0] + 1.5 * upwards / np.linalg.norm(upwards)
    bent.GetConformer().SetAtomPosition(0, Point3D(*moved))
    assert PoseBusters().checks(bent)["aromatic_ring_flatness"] is False


def test_contract(posebusters, capfd):
    made = PoseBusters()
    check_reward(made, mols("CCO", "C.C", "c1ccncc1"))
    (fragments,) = made.answers(mols("C.C"))
    assert fragments.status == Status.FAILED and fragments.message.startswith("2 fragments")
    assert capfd.readouterr() == ("", "")


class Talking:
    """Busts as PoseBusters does what it cannot measure: it warns, and RDKit with it."""

    def bust(self, mols):
        logging.getLogger("posebusters.modules.energy_ratio").warning("no conformations")
        RDLogger.EnableLog("rdApp.*")
        rdkit.logger.error("UFFTYPER: unrecognized atom type")
        return pd.DataFrame([{"internal_energy": float("nan")}])


def test_what_it_cannot_measure_is_not_written_to_the_terminal(posebusters, monkeypatch, capfd):
    monkeypatch.setattr(poses, "_tests", Talking)
    monkeypatch.setattr(rdkit.log_handler, "stream", sys.stderr)  # not the one at its import
    levels = [logging.getLogger("posebusters").level, rdkit.log_handler.level]
    assert PoseBusters("all")([embed(mols("C")[0])]) == [0]
    assert capfd.readouterr() == ("", "")
    assert [logging.getLogger("posebusters").level, rdkit.log_handler.level] == levels


def test_expressions_name_it(posebusters):
    assert reward("posebusters('all') * qed").floor == 0
    assert identity(PoseBusters("all")) != identity(PoseBusters())
    assert identity(PoseBusters()).version.startswith("posebusters ")
