"""Reports are one file that needs no network, with every word escaped."""

import math
import re
from html.parser import HTMLParser

from scidiff.api.results import SampleResult
from scidiff.domains.smiles import molecule_record
from scidiff.evaluation.drawing import Card
from scidiff.evaluation.metric import Metric
from scidiff.evaluation.report import Page, Table, cell_text, metric_strip, report

VOID = {"meta", "br", "rect", "path", "use"}


class Balance(HTMLParser):
    """Checks that every element is closed, in order."""

    def __init__(self) -> None:
        super().__init__()
        self.open, self.seen = [], []

    def handle_starttag(self, tag, attrs):
        self.seen.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.seen.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        if tag not in VOID:
            assert self.open.pop() == tag


def parsed(page: str) -> Balance:
    found = Balance()
    found.feed(page)
    assert found.open == []
    return found


def result():
    rows = [molecule_record(s) for s in ("CCO", "c1ccccc1O", "CC(C", "CCN")]
    return SampleResult(rows, kind="molecule", notes=("weights <fine>",), columns={
        "score": [0.9, 0.5, 0.0, math.nan], "status": ["ok", "ok", "invalid", "skipped"]},
        provenance={"model": "m", "seed": 3, "design": {"reward": "a<b", "method": "smc"}})


def test_report_holds_all_parts_and_loads_nothing() -> None:
    page = result().to_html()
    found = parsed(page)
    for words in ("Designs from m", "weights &lt;fine&gt;", "reward a&lt;b", "Provenance",
                  "never closed", "4 rows", "internal diversity", "skipped"):
        assert words in page, words
    links = [v for _, attrs in found.seen for k, v in attrs.items()
             if k in ("src", "href", "xlink:href")]
    assert [link for link in links if not link.startswith(("#", "data:"))] == []
    assert not re.search(r"@import|url\(\s*['\"]?https?:|fetch\(", page)
    assert page.count("<script>") == 1
    assert sum(tag == "tr" and attrs.get("class") == "wrong" for tag, attrs in found.seen) == 1


def test_equal_results_equal_pages() -> None:
    assert result().to_html() == result().to_html()


def test_rows_sort_by_numbers_and_missing_ones_go_last() -> None:
    found = parsed(result().to_html())
    keys = [a["data-v"] for tag, a in found.seen if tag == "td" and "data-v" in a]
    assert keys[:2] == ["0", "0.9"] and "-1e999" in keys and "nan" not in keys


def test_hostile_words_stay_words() -> None:
    card = Card("<img src=x>", None, "</td><script>alert(1)</script>")
    page = report(Page("<em>t</em>", notes=["<b>"], reasons={"<u>": 1}, provenance={"<q>": 1},
                       table=Table([card], {"<a>": ["'><script>"]}, 1)))
    found = parsed(page)
    tags = [tag for tag, _ in found.seen]
    assert tags.count("script") == 1 and not {"img", "em", "u", "b", "a", "q"} & set(tags)
    assert "&lt;em&gt;t" in page


def test_strip_formats_shares_intervals_and_gaps() -> None:
    nan = math.nan
    strip = metric_strip([
        Metric("valid", 0.9876, 0.97, 0.99, 100, "valid rows"),
        Metric("qed", nan, nan, nan, 0, ""),
        Metric("unique@1000", 0.99975, nan, nan, 10, "", "a note")])
    assert "98.8 %" in strip and "97 % – 99 %" in strip and "–</div>" in strip
    assert "a note" in strip and "99.98 %" in strip and "nan" not in strip


def test_cells() -> None:
    assert [cell_text(v) for v in (None, math.nan, 0.123456, 3, "x")] == [
        "–", "–", "0.1235", "3", "x"]


def test_empty_page() -> None:
    assert "<h2>" not in report(Page("nothing"))
