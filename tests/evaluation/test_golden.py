"""Equal to the original MOSES code: values computed once by molsets 0.3.1 (see docs/evaluation.md)
on rows of the shipped data sets."""

import pytest

from scidiff.data import datasets
from scidiff.evaluation.suites.moses import moses

# moses_100k rows 0, 400, ... and qm9 rows 0, 500, ... against moses_100k rows 1, 101, ...
AGAINST_ROWS = {
    "snn": 0.29004272568636225, "frag_cos": 0.9756359020935136, "scaf_cos": 0.11060281008297168,
    "fcd": 10.597398255006382, "logp_w1": 1.0838886635937504, "sa_w1": 0.9120720416816138,
    "qed_w1": 0.17558967142032278, "mw_w1": 94.25960671875004,
}
OF_ROWS = {"filters": 0.84375, "int_div": 0.9100438372424833, "int_div2": 0.8902281649149506}
# qm9 rows 0, 100, ... and five that are invalid, against the statistics in the package
AGAINST_TEST = {
    "valid": 0.9961948249619482, "unique@1000": 1.0, "filters": 0.6585179526355996,
    "int_div": 0.9171969299530391, "int_div2": 0.9004348916763373,
    "fcd_test": 30.307530832203376, "fcd_testsf": 31.03504146710469,
    "logp_w1_test": 2.1043997929046716, "sa_w1_test": 1.795748240919473,
    "qed_w1_test": 0.33818754404775553, "mw_w1_test": 184.6090278335296,
}
BAD = ["C(", "C1CC", "CX", "c1ccc", "N(C)(C)(C)(C)C"]


def needs_chemnet():
    pytest.importorskip("fcd_torch")


def test_every_metric_against_rows():
    needs_chemnet()
    drug_like, small = (datasets.load(name).objects() for name in ("moses_100k", "qm9"))
    report = moses(drug_like[::400] + small[::500], reference=drug_like[1::100])
    for name, value in AGAINST_ROWS.items():
        assert report[f"{name}_reference"].value == pytest.approx(value, rel=1e-6), name
    for name, value in OF_ROWS.items():
        assert report[name].value == pytest.approx(value, rel=1e-6), name


def test_published_statistics(tmp_path, monkeypatch):
    needs_chemnet()
    monkeypatch.setenv("SCIDIFF_CACHE", str(tmp_path))
    report = moses(datasets.load("qm9").objects()[::100] + BAD)
    for name, value in AGAINST_TEST.items():
        tolerance = 3e-5 if "_w1_" in name else 1e-6  # those are against 16,384 quantiles
        assert report[name].value == pytest.approx(value, rel=tolerance), name
