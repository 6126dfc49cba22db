"""On a Ray cluster the same rows are drawn and the same designs found."""

import sys

import pytest

import scidiff as sd
from scidiff.core import ScidiffError


@pytest.fixture
def two_workers():
    ray = pytest.importorskip("ray", reason='Ray is not installed: pip install "scidiff[ray]"')
    ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False)
    yield
    ray.shutdown()


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_actors_draw_what_one_process_draws(tiny_model, two_workers):
    model, told = sd.load(tiny_model, device="cpu"), []
    alone = model.sample(2500, seed=3)
    shared = model.sample(2500, seed=3, cluster="local", on_rows=told.append)
    assert shared.to_frame().equals(alone.to_frame()) and told == [1000, 1000, 500]


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_a_campaign_on_a_cluster_finds_the_same(tiny_model, two_workers, tmp_path):
    model = sd.load(tiny_model, device="cpu")
    how = {"n": 4, "method": "smc", "budget": 60, "seed": 2}
    alone = sd.design(model, "qed", out=tmp_path / "alone", **how)
    shared = sd.design(model, "qed", out=tmp_path / "shared", cluster="local", **how)
    assert shared.to_frame().equals(alone.to_frame())
    for name in ("designs.csv", "asked.csv"):
        files = [(tmp_path / which / name).read_bytes() for which in ("alone", "shared")]
        assert files[0] == files[1]


def test_without_ray_one_line_says_what_to_install(tiny_model, monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(ScidiffError, match=r'needs Ray: pip install "scidiff\[ray\]"'):
        sd.load(tiny_model).sample(5, cluster="local")
