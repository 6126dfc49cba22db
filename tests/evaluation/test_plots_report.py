"""A report as a picture and as a static table: what is compared with what."""

import math
from html.parser import HTMLParser

from scidiff.evaluation.baselines import baselines
from scidiff.evaluation.intervals import WILSON
from scidiff.evaluation.metric import Metric, Report, absent
from scidiff.evaluation.report_plots import nearby, strips

NAN = math.nan
METRICS = (
    Metric("valid", 0.95, 0.93, 0.97, 30_000, "valid rows / all rows", method=WILSON),
    Metric("fcd_test", 0.5, 0.4, 0.6, 30_000, "Frechet distance"),
    Metric("odd", 0.25, 0.2, 0.3, 30_000, "of <b>", method=WILSON),
    Metric("far", 3.0, NAN, NAN, 30_000, "a distance"),
    Metric("far_floor", 1.0, 0.5, 1.5, 30_000, "far of training rows"),
    absent("snn_test", 5, "mean similarity", "needs the molecules"),
)
REPORT = Report(METRICS, {"suite": "moses", "rows": 30_000}, ("a <note>", "  row 1: C("))


def test_lines_hold_what_follows_one_convention() -> None:
    found = {s.metric.name: s for s in strips(REPORT)}
    assert list(found) == ["valid", "fcd_test", "odd", "far"]  # NaN and floors are no lines
    assert found["far"].floor.value == 1 and found["odd"].published == ()
    values = [b.value for b in found["fcd_test"].published]
    models = sorted(b.value for b in baselines("moses", metric="fcd_test"))
    assert max(v for v in models if v <= 0.5) in values and min(models) in values
    few = Report(METRICS[:2], {"suite": "moses", "rows": 1_000})  # an FCD depends on n
    assert [bool(s.published) for s in strips(few)] == [True, False]
    assert [s.published for s in strips(Report(METRICS[:2]))] == [(), ()]


def test_the_nearest_published_values_stand_beside() -> None:
    known = baselines("moses", metric="snn_test")
    shown = nearby(0.58, known)
    train = [b for b in known if b.model.startswith("Train")]
    others = [b.value for b in known if b not in train]
    expected = {max(v for v in others if v <= 0.58), min(v for v in others if v > 0.58),
                *(b.value for b in train)}
    assert {b.value for b in shown} == expected
    assert len(nearby(-1.0, known)) == 1 + len(train)


def test_the_axis_holds_all_that_stands_on_it() -> None:
    for strip in strips(REPORT):
        low, high = strip.ends
        marks = [strip.metric.value, strip.metric.low, strip.metric.high,
                 *(b.value for b in strip.published)]
        assert all(low < v < high for v in marks if math.isfinite(v))
    share = next(s for s in strips(REPORT) if s.metric.name == "odd")
    assert share.ends[0] < 0 and share.ends[1] > 1


def test_a_report_is_drawn() -> None:
    picture = REPORT.plot()
    assert [a.texts[-2].get_text() for a in picture.axes] == ["valid", "fcd_test", "odd", "far"]
    assert picture.axes[3].texts[-1].get_text() == "3"
    assert picture.png() == REPORT.plot().png()
    assert "no metric" in Report(METRICS[-1:]).plot().axes[0].texts[0].get_text()


class _Tags(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.seen: list[str] = []

    def handle_starttag(self, tag, attrs) -> None:
        self.seen.append(tag)


def test_the_table_is_static_and_escaped() -> None:
    page, tags = REPORT._repr_html_(), _Tags()
    tags.feed(page)
    assert not {"script", "style", "link", "b>", "note"} & set(tags.seen)
    assert "of &lt;b&gt;" in page and "a &lt;note&gt;" in page and "<note>" not in page
    assert tags.seen.count("tr") == 1 + len(METRICS) and tags.seen.count("svg") == 4
    assert tags.seen.count("circle") == 4 and tags.seen.count("polygon") == 1
    assert "as many training rows: 1.0000" in page and "url(" not in page
