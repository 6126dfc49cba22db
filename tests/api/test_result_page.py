"""A result that is saved as HTML is the page of `sd.report`: one file that needs no network, with
every row, every word escaped, and equal bytes for equal results."""

import json
import math
import re
from html.parser import HTMLParser

import pytest

from scidiff.api.campaigns import saved_designs
from scidiff.api.design_result import DesignResult
from scidiff.api.reporting import page_of, report
from scidiff.api.results import SampleResult
from scidiff.data.records import Record
from scidiff.domains.smiles import molecule_record
from scidiff.guidance.certificate import Certificate, Ledger

VOID = {"meta", "br", "rect", "path", "circle"}
PROVENANCE = {"model": "m", "seed": 3, "ended": "rounds",
              "design": {"reward": "a<b", "method": "smc", "budget": 4}}


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


def told(page: str):
    """The document inside a page."""
    return json.loads(re.search(r"id='data'>(.*?)</script>", page, re.DOTALL)[1])


def result(notes=("weights <fine>",), **more):
    rows = [molecule_record(s) for s in ("CCO", "c1ccccc1O", "CC(C", "CCN")]
    columns = {"score": [0.9, 0.5, 0.0, math.nan], "docked": [1.0, 2.0, math.nan, math.nan],
               "status": ["ok", "ok", "invalid", "skipped"], **more}
    return SampleResult(rows, kind="molecule", notes=notes, columns=columns,
                        provenance=PROVENANCE)


def design(terms=("qed", "sa")):
    """Designs as `sd.design` makes them: what they cost stands in the notes of the rows too."""
    certificate = Certificate(0.0, None, 3, 3.0, "improper rule")
    columns = {"score": [0.9, 0.5, math.nan, math.nan],
               **{name: [0.1 * i, 0.5, 0.9, math.nan] for i, name in enumerate(terms)}}
    rows = result(["2 designs fewer than asked for", str(certificate),
                   "4 objects asked, 1 cache hits, 50 network rows"])
    asked = SampleResult(rows.records, kind="molecule", provenance={},
                         columns={**columns, "round": [0, 0, 1, 1]})
    history = [{"asked": 2, "best": 0.5, "mean_10": 0.5},
               {"asked": 4, "best": 0.9, "mean_10": 0.7}]
    return DesignResult(rows, certificate=certificate, ledger=Ledger(50, 4, 1, 2.5), settings={},
                        history=history, asked=lambda: asked)


def test_a_page_holds_all_parts_and_loads_nothing() -> None:
    page = result().to_html()
    found = parsed(page)
    for words in ("Designs from m</h1>", "weights &lt;fine&gt;", "reward a&lt;b · method smc",
                  "seed 3", "Provenance", "never closed", "4 rows, 3 valid", "internal diversity",
                  "&quot;seed&quot;: 3"):
        assert words in page, words
    links = [v for _, attrs in found.seen for k, v in attrs.items()
             if k in ("src", "href", "xlink:href")]
    assert links == [] and "default-src 'none'" in page
    (facts,) = [attrs for tag, attrs in found.seen if tag == "details"]
    assert "open" in facts  # else it is not printed


def test_every_row_is_there_with_its_columns_and_its_reason() -> None:
    document = told(result().to_html())
    columns = {c["name"]: c["values"] for c in document["columns"]}
    assert document["text"] == ["CCO", "c1ccccc1O", "CC(C", "CCN"]
    assert columns["score"] == [0.9, 0.5, 0.0, None] and columns["docked"] == [1, 2, None, None]
    assert columns["status"] == ["ok", "ok", "invalid", "skipped"]
    assert columns["QED"][2] is None and 0 < columns["QED"][3] < 1
    assert document["full"] == {"2": "'(' at position 3 is never closed"}
    assert [bool(d) for d in document["drawn"]] == [True, True, False, True]


def test_equal_results_give_the_page_that_a_report_writes(tmp_path) -> None:
    for make in (result, design):
        assert report(make(), tmp_path / "r.html").read_text() == page_of(make())
    result().save(tmp_path / "s.html")
    assert (tmp_path / "s.html").read_text() == page_of(result())


def test_hostile_words_stay_words() -> None:
    hostile = "</script><script>window.hacked=1</script><img src=x>"
    row = Record(hostile, None, False, hostile)
    found = parsed(SampleResult(
        [row], kind="molecule", columns={hostile: [hostile]}, notes=[hostile],
        provenance={"model": hostile, "seed": hostile, hostile: hostile}).to_html())
    tags = [tag for tag, _ in found.seen]
    assert tags.count("script") == 2 and "img" not in tags


def test_of_many_rows_some_are_shown_evenly_and_all_are_described(monkeypatch) -> None:
    monkeypatch.setattr("scidiff.api.reporting.ROWS", 5)
    many = SampleResult([molecule_record("C" * n if n % 2 else "C(") for n in range(1, 42)],
                        kind="molecule", provenance={})
    page = many.to_html()
    assert told(page)["place"] == [0, 10, 20, 30, 40]
    assert "41 rows, 5 of them shown, 5 valid of these" in page and "n = 41" in page
    assert ">20<title>" in page  # rows that are invalid, of all 41


@pytest.mark.parametrize("kind", ["molecule", "sequence", "graph"])
def test_a_result_without_rows_is_a_page_too(kind) -> None:
    page = SampleResult([], kind=kind, provenance={}).to_html()
    parsed(page)
    assert "Samples</h1>" in page and told(page)["text"] == []


# ---------------------------------------------------------------- designs


def test_a_campaign_ends_with_the_page_of_its_designs(tmp_path) -> None:
    saved_designs(design(), tmp_path)
    page = (tmp_path / "summary.html").read_text()
    assert page == page_of(design())
    (campaign,) = told(page)["campaigns"]
    assert campaign["history"]["best"] == [0.5, 0.9] and campaign["asked"] == 4
    assert campaign["best"] == [0, 0, 1, 0] and sorted(campaign["terms"]) == ["qed", "sa"]
    assert told(page)["runs"] == [{"name": "designs", "total": 4}]


def test_notes_say_what_is_missing_and_the_cost_once() -> None:
    page = page_of(design())
    notes = re.findall(r"<p class='note'>(.*?)</p>", page)
    assert notes[0].startswith("model m · reward a&lt;b · method smc · budget 4 · seed 3")
    assert notes[1] == "2 designs fewer than asked for" and len(notes) == 4
    assert notes[2].startswith("improper rule: a search")
    assert notes[3].endswith("50 network rows, 2.5 s; ended by rounds")


@pytest.mark.parametrize("terms", [(), ("qed",)])
def test_a_reward_of_one_term_has_curves_and_no_front(terms) -> None:
    (campaign,) = told(page_of(design(terms)))["campaigns"]
    assert list(campaign["terms"]) == list(terms) and campaign["best"] == [0] * 4


def test_designs_are_saved_with_their_curves(tmp_path) -> None:
    hits = design()
    hits.save(tmp_path / "hits.html")
    assert (tmp_path / "hits.html").read_text() == page_of(hits)
    hits.save(tmp_path / "hits.csv")
    assert (tmp_path / "hits.csv").read_text().count("\n") == 5
