"""The Ray executor answers as the serial one does."""

import math
import sys

import odd_rewards
import pytest
from rdkit import Chem

from scidiff.rewards import molecules
from scidiff.rewards.clusters import RayExecutor
from scidiff.rewards.executors import Serial
from scidiff.rewards.scores import RewardError, Status


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_a_local_ray_with_two_workers_gives_bit_identical_answers():
    pytest.importorskip("ray", reason='Ray is not installed: pip install "scidiff[ray]"')
    mols = [Chem.MolFromSmiles(s) for s in ("CC(=O)Oc1ccccc1C(=O)O", "CCO", "F/C=C/Cl")] * 9
    cluster = RayExecutor(workers=2, chunk=4, timeout=30.0, retries=0)
    try:
        for reward in (molecules.qed, molecules.sa, molecules.Similarity("CCO")):
            assert cluster.run(reward, mols) == Serial().run(reward, mols)
        seen = {}
        found = cluster.run(odd_rewards.fragile, ["a", "bad", "bb", "ccc", "dddd"], lambda r, a:
                            seen.update(zip(r, a, strict=True)))
        assert found[1][1:] == (Status.FAILED, "KeyError: 'colour'") and math.isnan(found[1].value)
        assert [a.value for a in (found[0], *found[2:])] == [1, 2, 3, 4]
        assert [seen[i] for i in range(5)] == found
        dead = cluster.run(odd_rewards.fragile, ["dead", "a"])
        assert [a.status for a in dead] == [Status.FAILED, Status.OK] and dead[1].value == 1
        assert "died" in dead[0].message
        with pytest.raises(RewardError, match="'short' returned 1 values for 2 objects"):
            cluster.run(odd_rewards.short, ["a", "b"])
    finally:
        cluster.close()


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_a_task_that_hangs_is_a_time_out():
    pytest.importorskip("ray", reason='Ray is not installed: pip install "scidiff[ray]"')
    cluster = RayExecutor(workers=2, chunk=2, timeout=2.0, retries=0, startup=30.0)
    try:
        found = cluster.run(odd_rewards.fragile, ["a", "slow", "bb", "ccc"])
        assert [a.status for a in found] == [Status.OK, Status.TIMEOUT, Status.OK, Status.OK]
    finally:
        cluster.close()


def test_without_ray_one_line_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(RewardError, match=r'needs Ray: pip install "scidiff\[ray\]"'):
        RayExecutor()


def test_settings_are_checked():
    with pytest.raises(ValueError, match="chunk >= 1, timeout > 0 and retries >= 0, got 0"):
        RayExecutor(chunk=0)
