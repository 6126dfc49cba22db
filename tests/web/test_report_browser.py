"""A report in headless Chromium: it loads without a complaint, sorts, filters, searches as RDKit
does, opens rows from the keyboard, prints, and stays quick with thousands of rows."""

import csv
import io
import json
import math
import re
import sys

import networkx as nx
import numpy as np
import pytest
from chromium import browser, installed
from rdkit import Chem

from scidiff.chem.molecules import parse
from scidiff.data.records import Record
from scidiff.domains.smiles import molecule_record
from scidiff.evaluation.metric import Metric
from scidiff.evaluation.web import page as pages
from scidiff.evaluation.web.contents import Campaign, Contents, Run
from scidiff.evaluation.web.page import page

HOSTILE = "</script><script>window.hacked=1</script><img src=x onerror='window.hacked=1'>"
VALID = [
    "CCO", "c1ccccc1O", "CC(=O)Nc1ccc(O)cc1", "CN1C=NC2=C1C(=O)N(C(=O)N2C)C",
    "O=C(O)c1ccccc1OC(C)=O", "C[N+](C)(C)CC(=O)[O-]", "c1ccc2[nH]ccc2c1", "C1CC1C1CCCC1",
    "FC(F)(F)c1ccc(Cl)cc1Br", "N#Cc1ccncc1", "C1CCC2CCCCC2C1", "O=S(=O)(N)c1ccc(N)cc1", "c1ccsc1",
    "c1ccoc1", "C/C=C/C=O", "CC#CC", "OCC(O)CO", "c1ccc(-c2ccccc2)cc1", "C1CC2CC1CC2",
    "O=[N+]([O-])c1ccccc1", "CP(=O)(O)O", "C[Si](C)(C)C", "[NH4+]", "[Na+].[Cl-]", "C1=CC=CN1",
    "C1CCCCCCC1", "c1cnc2ncccc2c1", "CSCC[C@H](N)C(=O)O", "NC(=N)N", "O=C1CCCCN1",
    "C1COCCN1c1ncccn1", "B(O)(O)c1ccccc1", "ClCCBr", "C=CC=C", "O", "c1cc[n+]([O-])cc1", "[2H]C",
    "CC(C)(C)OC(=O)N1CCC(CC1)n1cc(nn1)c1ccc2c(c1)OCO2", "C12C3C4C1C5C2C3C45", "[H][H]",
    "*c1ccccc1",
]  # fmt: skip
INVALID = ["CC(C", "CN(C)(C)(C)C", "c1cccc1", "C1CC", HOSTILE]
QUERIES = [
    "C", "c", "N", "n", "[nH]", "[NH2]", "[NX3;H2]", "C=O", "C(=O)[OH]", "C(=O)O", "c1ccccc1",
    "c1ccccc1O", "C1CCCCC1", "*1****1", "[R]", "[R0]", "[!R]", "[r5]", "[r6]", "[r3]", "[r8]",
    "[#6]", "[#7+]", "[+]", "[-]", "[+0]", "[D3]", "[D1]", "[X4]", "[CX4]", "[CH3]", "[CH2]C",
    "[C,N]", "[!C]", "[!#6;!#1]", "[c,n]1[c,n][c,n]1", "C-C", "C~N", "C=C", "C#C", "C#N", "c:c",
    "C:C", "c-c", "cc", "C@C", "C!@C", "*!@*", "[*]!-[*]", "C=,#C", "[F,Cl,Br,I]", "Cl", "Br",
    "F", "S(=O)(=O)N", "[S;D4]", "a", "A", "[a;r5]", "[A;R]", "C.N", "O.O.O", "[O-]",
    "[N+](=O)[O-]", "[n+]", "[Na+]", "[Si]", "[#1]", "C(C)(C)C", "C(F)(F)F", "OCC(O)CO",
    "c1ccc2c(c1)cccc2", "c1ccc(cc1)-c1ccccc1", "[OH]", "[O;!H0]", "[C;X3]=[O;X1]", "[N;R;X3]",
    "C1CC1", "C%12CC%12", "S", "[#6;R]-;!@[#6]", "[c;H1]", "[C&H2&R]", "[N,O;H1]", "b", "B", "P",
    "[P;X4]", "[#0]", "*", "**", "***", "[D0]", "[X0]", "[*;H0]", "[*;H4]", "[!a]~[a]", "[C]",
    "N-C(=O)", "O=C1CCCCN1", "[r7]", "[r;D3]", "[--]", "[-1]", "[+1]", "[++]", "C1=CC=CN1",
    "n1cccc1", "[#6]1[#6][#6][#6][#6]1", "CCCCCCCC",
]  # fmt: skip
REFUSED = {
    "[C@H](N)C": "chirality", "C/C=C/C": "double bond geometry", "[$(C=O)]": "$(…)",
    "[2H]": "isotopes", "[C:1]": "atom maps", "[R2]": "numbers of rings", "[v4]": "valence",
    "[^2]": "hybridisation", "[x2]": "ring bonds", "[H]": "hydrogens are not drawn",
    "C(": "'(' is never closed", "C1CC": "ring 1 is never closed", "C=": "no second atom",
    ")C": "')' closes nothing", "[C": "brackets ends too soon", "Qq": "not understood",
    "[Yy]": "not understood", "C>>N": "reactions", "=C": "between two atoms", "[C;]": "brackets",
    "[h1]": "implicit hydrogens",
}  # fmt: skip


@pytest.fixture(scope="module")
def chrome(tmp_path_factory):
    program = installed()
    if program is None:
        pytest.skip("no Chromium is installed: apt-get install chromium")
    with browser(program, tmp_path_factory.mktemp("profile")) as tab:
        tab.look(1280, 900)
        yield tab


def rows(n_runs=2):
    """Molecules of two runs, with a score that some lack and words that must not run."""
    records = [molecule_record(s) for s in (*VALID, *INVALID)]
    scores = [math.nan if i % 7 == 3 else math.sin(i) for i in range(len(records))]
    names = [HOSTILE if i == 0 else f"name {i % 5}" for i in range(len(records))]
    runs = []
    for r in range(n_runs):
        part = slice(r, None, n_runs)
        metric = Metric("valid", 0.9 - r / 10, 0.8, 0.95, 30, "valid rows / all rows")
        runs.append(Run(f"run {r}", "molecule", records[part],
                        list(range(len(records)))[part], len(records[part]),
                        {"score": scores[part], "name": names[part]}, [metric], 30_000))
    return runs


@pytest.fixture(scope="module")
def opened(chrome, tmp_path_factory):
    """The report of `rows`, with its document beside it."""
    file = tmp_path_factory.mktemp("report") / "report.html"
    file.write_text(page(Contents(HOSTILE, rows(), "moses")))
    chrome.open(file)
    return chrome


@pytest.fixture
def tab(opened):
    opened.run("document.getElementById('clear').click()")
    opened.run("document.querySelector('dialog').close()")
    opened.call("Input.dispatchMouseEvent", type="mouseMoved", x=2, y=2)
    for label, text in (("sort by", "as they came"), ("on a page", "48"), ("across", "map 1"),
                        ("up", "map 2"), ("colour", "run")):
        pick(opened, label, text)
    drawn(opened)
    return opened


def drawn(tab):
    """Wait for the plots, which follow the rows 30 ms later: timers of a page fire in order."""
    tab.run("new Promise(done => setTimeout(done, 60))")


def shown(tab):
    return tab.run("scidiff.rows()")


def column(tab, name):
    found = tab.run("scidiff.doc.columns")
    return next(c["values"] for c in found if c["name"] == name)


def write(tab, selector, text):
    """Type into a box as a person does, and wait for what follows."""
    tab.run(f"""new Promise(done => {{ const box = document.querySelector({json.dumps(selector)});
        box.value = {json.dumps(text)}; box.dispatchEvent(new Event('input'));
        setTimeout(done, 250); }})""")


def pick(tab, label, text):
    tab.run(f"""{{ const box = [...document.querySelectorAll('label')].find(
        l => l.firstChild.textContent === {json.dumps(label)}).querySelector('select');
        box.value = [...box.options].find(o => o.textContent === {json.dumps(text)}).value;
        box.dispatchEvent(new Event('change')); }}""")


def test_it_loads_without_a_complaint_and_asks_for_nothing(opened):
    assert opened.run("window.scidiff.ready") and opened.complaints == []
    assert len(opened.requests) == 1 and opened.requests[0].startswith("file://")


def test_no_word_of_the_data_runs(tab):
    assert tab.run("window.hacked === undefined")
    assert tab.run("document.images.length") == 0
    assert tab.run("document.querySelector('h1').textContent") == HOSTILE
    write(tab, "#words", "onerror")
    found = tab.run("document.getElementById('rows').textContent")
    assert "window.hacked=1" in found or len(shown(tab)) == 2


# ---------------------------------------------------------------- order and filters


def head(tab, name):
    tab.run(f"document.querySelector('th[data-column={json.dumps(name)}] button').click()")
    return tab.run("document.querySelector(`th[data-column=" + json.dumps(name)
                   + "]`).getAttribute('aria-sort')")


@pytest.fixture
def table(tab):
    tab.run("document.querySelectorAll('.toggle button')[1].click()")
    yield tab
    tab.run("document.querySelectorAll('.toggle button')[0].click()")


def test_numbers_are_sorted_both_ways_and_missing_ones_come_last(table):
    scores = column(table, "score")
    there = [i for i, v in enumerate(scores) if v is not None]
    missing = [i for i, v in enumerate(scores) if v is None]
    assert head(table, "score") == "descending"
    assert shown(table) == sorted(there, key=lambda i: (-scores[i], i)) + missing
    assert head(table, "score") == "ascending"
    assert shown(table) == sorted(there, key=lambda i: (scores[i], i)) + missing
    cells = table.run("[...document.querySelectorAll('.rows tbody tr')].map(r => +r.dataset.row)")
    assert cells == shown(table)[:48]
    assert head(table, "score") == "none" and shown(table) == list(range(len(scores)))


def test_words_are_sorted_and_equal_ones_stay_in_order(table):
    names = column(table, "name")
    assert head(table, "name") == "ascending"
    order = shown(table)
    assert [names[i] for i in order[1:]] == sorted(names[1:]) and names[order[0]] == HOSTILE
    assert all(a < b for a, b in zip(order[1:], order[2:], strict=False) if names[a] == names[b])


def test_the_focus_stays_on_the_heading_that_was_pressed(table):
    head(table, "score")
    assert table.run("document.activeElement.closest('th').dataset.column") == "score"


def test_words_runs_states_and_reasons_filter(tab):
    doc = tab.run("scidiff.doc")
    n = range(len(doc["text"]))
    write(tab, "#words", "C(=O)N")
    assert shown(tab) == [i for i in n if "c(=o)n" in doc["text"][i].lower()]
    write(tab, "#words", "NAME 3")
    assert shown(tab) == [i for i in n if column(tab, "name")[i] == "name 3"]
    write(tab, "#words", "")
    pick(tab, "run", "run 1")
    assert shown(tab) == [i for i in n if doc["run"][i] == 1]
    pick(tab, "rows", "invalid")
    assert shown(tab) == [i for i in n if doc["run"][i] == 1 and doc["why"][i]]
    pick(tab, "run", "all")
    pick(tab, "reason", "N has valence 5, more than it can carry")
    assert [doc["text"][i] for i in shown(tab)] == ["CN(C)(C)(C)C"]
    tab.run("document.getElementById('clear').click()")
    assert shown(tab) == list(n)


def test_ranges_filter_and_a_missing_number_is_in_none(tab):
    scores = column(tab, "score")
    boxes = ".panel[data-column=score] input"
    write(tab, f"{boxes}:first-of-type", "-0.25")
    assert shown(tab) == [i for i, v in enumerate(scores) if v is not None and v >= -0.25]
    write(tab, f"{boxes}:last-of-type", "0.5")
    assert shown(tab) == [i for i, v in enumerate(scores) if v is not None and -0.25 <= v <= 0.5]
    assert "rows" in tab.run("document.querySelector('.status').textContent")


def test_a_bar_of_a_histogram_filters_its_rows(tab):
    said = tab.run("""(() => { const bar = document.querySelectorAll(
        '.panel[data-column=score] .bin')[20]; bar.dispatchEvent(new Event('pointerenter'));
        const text = bar.querySelector('title').textContent;
        bar.dispatchEvent(new MouseEvent('click')); return text; })()""")
    counted = sum(map(int, re.findall(r"run \d (\d+)", said)))
    assert counted == len(shown(tab)) > 0


# ---------------------------------------------------------------- substructures


@pytest.fixture(scope="module")
def pairs():
    mols = [parse(s) for s in VALID]
    return {q: [m.HasSubstructMatch(Chem.MolFromSmarts(q)) for m in mols] for q in QUERIES}


def test_the_search_agrees_with_rdkit_on_every_pair(tab, pairs):
    """Some 4,500 pairs of a query and a molecule; half of the queries hit and miss."""
    doc = tab.run("scidiff.doc.text")
    place = [doc.index(s) for s in VALID]
    found = tab.run(f"""Object.fromEntries({json.dumps(QUERIES)}.map(q => [q,
        {json.dumps(place)}.map(i => scidiff.holds(q, i))].map(
        (x, k) => k ? x.map(hit => hit !== null) : x)))""")
    wrong = [(q, s) for q in QUERIES for s, ours, theirs in
             zip(VALID, found[q], pairs[q], strict=True) if ours != theirs]
    assert wrong == []
    assert sum(0 < sum(hits) < len(VALID) for hits in pairs.values()) > 80


def test_what_is_found_is_a_match(tab):
    """The atoms that are marked carry the query: checked by RDKit on the atoms themselves."""
    doc = tab.run("scidiff.doc.text")
    query = "[NX3]C(=O)"
    for smiles in VALID:
        hit = tab.run(f"scidiff.holds({json.dumps(query)}, {doc.index(smiles)})")
        matches = parse(smiles).GetSubstructMatches(Chem.MolFromSmarts(query), uniquify=False)
        assert (tuple(hit) in matches) if hit else not matches


def test_a_search_filters_and_marks_and_says_how_many(tab):
    write(tab, "#search", "c1ccccc1O")
    doc = tab.run("scidiff.doc")
    want = Chem.MolFromSmarts("c1ccccc1O")
    assert shown(tab) == [i for i, s in enumerate(doc["text"]) if not doc["why"][i]
                          and parse(s).HasSubstructMatch(want)]
    said = tab.run("document.querySelector('.found').textContent")
    assert said == f"{len(shown(tab))} valid rows hold it"
    assert tab.run("document.querySelectorAll('.card .hit').length") == len(shown(tab))


def test_kekule_rings_get_a_hint(tab):
    write(tab, "#search", "C1=CC=CC=C1Cl")
    assert "small" in tab.run("document.querySelector('.found').textContent")


@pytest.mark.parametrize("query", REFUSED)
def test_what_is_not_understood_is_refused_by_name(tab, query):
    write(tab, "#search", query)
    said = tab.run("document.querySelector('.found').textContent")
    assert REFUSED[query] in said, said
    assert tab.run("document.getElementById('search').getAttribute('aria-invalid')") == "true"
    assert len(shown(tab)) == len(VALID) + len(INVALID)
    assert tab.complaints == []


# ---------------------------------------------------------------- looking at rows


def test_failures_are_marked_and_say_why(tab):
    pick(tab, "rows", "invalid")
    told = tab.run("[...document.querySelectorAll('.card')].map(c => [c.className, c.textContent, "
                   "c.querySelectorAll('.broken').length, c.querySelectorAll('mark').length])")
    assert len(told) == len(INVALID) and all("wrong" in name for name, *_ in told)
    drawn = {text.split("⚠")[1].strip()[:1]: (atoms, marks) for _, text, atoms, marks in told}
    assert drawn["N"] == (1, 0)  # valence: the atom
    assert drawn["a"][0] >= 5  # kekulisation: the ring
    assert drawn["'"] == (0, 1) or drawn["r"] == (0, 1)  # form: a letter of the text


def test_a_card_opens_from_the_keyboard_and_arrows_walk(tab):
    tab.run("document.querySelector('.card').focus()")
    tab.press("Enter", 13, "\r")
    title = "document.querySelector('dialog[open] h3')?.textContent"
    assert tab.run(title) == "row 0 of run 0"
    tab.press("ArrowRight", 39)
    assert tab.run(title) == "row 2 of run 0"
    tab.press("Escape", 27)
    assert tab.run(title) is None


def test_a_dot_opens_its_molecule_by_mouse_and_by_key(tab):
    tab.run("document.querySelector('.scatter').scrollIntoView()")
    at = tab.run("""(() => { const p = document.querySelector('.space .scatter');
        const path = p.querySelector('.dots.run0').getAttribute('d');
        const [, x, y] = /M([-\\d.]+) ([-\\d.]+)/.exec(path), b = p.getBoundingClientRect();
        const s = b.width / p.viewBox.baseVal.width;
        return [b.left + (+x + 2.4) * s, b.top + y * s]; })()""")
    for kind in ("mouseMoved", "mousePressed", "mouseReleased"):
        tab.call("Input.dispatchMouseEvent", type=kind, x=at[0], y=at[1], button="left",
                 clickCount=1)
    assert tab.run("document.querySelector('dialog').open")
    tab.run("document.querySelector('dialog').close()")
    tab.call("Input.dispatchMouseEvent", type="mouseMoved", x=2, y=2)
    tab.run("document.querySelector('.space .scatter').focus()")
    tab.press("ArrowRight", 39)
    said = tab.run("document.querySelector('.space .said').textContent")
    assert re.match(r"row \d+ of run", said)
    tab.press("Enter", 13, "\r")
    assert tab.run("document.querySelector('dialog h3').textContent") in said


def test_axes_of_the_plot_are_chosen(tab):
    pick(tab, "across", "logP")
    pick(tab, "colour", "score")
    assert tab.run("document.querySelector('.space .name').textContent") == "logP"
    assert tab.run("document.querySelectorAll('.legend .scale rect').length") == 7


def test_every_control_has_a_name(tab):
    nameless = tab.run("""[...document.querySelectorAll('button,input,select')].filter(b =>
        !(b.getAttribute('aria-label') || b.textContent.trim() || b.closest('label')))
        .map(b => b.outerHTML)""")
    assert nameless == []


def test_rows_are_saved_as_csv(tab):
    write(tab, "#words", "onerror")
    text = tab.run("""new Promise(done => { const make = URL.createObjectURL;
        URL.createObjectURL = blob => { blob.text().then(done); return make(blob); };
        [...document.querySelectorAll('button')].find(b => b.textContent.includes('CSV'))
            .click(); })""")
    told = list(csv.DictReader(io.StringIO(text)))
    assert len(told) == len(shown(tab)) > 0
    assert any(HOSTILE in (row["smiles"], row["name"]) for row in told)


def test_narrow_windows_do_not_scroll_sideways_and_it_prints(tab):
    tab.look(380, 800)
    assert tab.run("document.documentElement.scrollWidth <= document.documentElement.clientWidth")
    tab.look(1280, 900, dark=True)
    dark = tab.run("getComputedStyle(document.body).backgroundColor")
    tab.look(1280, 900)
    assert dark != tab.run("getComputedStyle(document.body).backgroundColor")
    tab.look(1280, 900, media="print")
    hidden = tab.run("getComputedStyle(document.querySelector('.filters')).display")
    tab.look(1280, 900)
    assert hidden == "none"
    printed = tab.pdf()
    assert printed.startswith(b"%PDF") and len(re.findall(rb"/Type\s*/Page[^s]", printed)) >= 2


# ---------------------------------------------------------------- other rows than molecules


def show(tab, path, contents):
    path.write_text(page(contents))
    tab.open(path)
    assert tab.complaints == []
    return tab


@pytest.mark.parametrize("records", [
    [], [molecule_record("CCO")], [molecule_record("CC(C")] * 3,
], ids=["none", "one", "all-invalid"])  # fmt: skip
def test_few_or_no_valid_rows_are_a_page_too(chrome, opened, tmp_path, records):
    run = Run("few", "molecule", records, [1] * len(records), len(records))
    tab = show(chrome, tmp_path / "few.html", Contents("few", [run]))
    assert len(shown(tab)) == len(records)


def test_motifs_are_searched_as_a_regular_expression_does(chrome, opened, tmp_path):
    rng = np.random.default_rng(0)
    texts = ["".join(rng.choice(list("ACGT"), 60)) for _ in range(40)]
    records = [Record(t, t, True) for t in texts] + [Record("ACGN", None, False, "N is no base")]
    run = Run("dna", "sequence", records, range(41), 41, {"score": rng.random(41).tolist()})
    tab = show(chrome, tmp_path / "dna.html", Contents("dna", [run]))
    for motif, regex in (("TATA", "TATA"), ("CANNTG", "CA[ACGT]{2}TG"), ("wgatar", "[AT]GATA[AG]"),
                         ("[AC]GG", "[AC]GG"), ("{A}TT.", "[^A]TT."), ("AA", "AA")):
        write(tab, "#search", motif)
        assert shown(tab) == [i for i, t in enumerate(texts) if re.search(regex, t)], motif
    hits = tab.run("document.querySelector('.letters .hit').textContent")
    assert set(hits) == {"A"}
    write(tab, "#search", "ACE")
    assert "no letter of a DNA motif" in tab.run("document.querySelector('.found').textContent")


def test_graphs_are_drawn_with_their_distances(chrome, opened, tmp_path):
    """A path is laid out straight, its ends farthest apart: stress 0 is reachable."""
    graphs = [nx.path_graph(6), nx.cycle_graph(8), nx.empty_graph(3), nx.star_graph(5)]
    records = [Record(f"g{i}", g, True) for i, g in enumerate(graphs)]
    run = Run("graphs", "graph", records, range(4), 4)
    tab = show(chrome, tmp_path / "graphs.html", Contents("graphs", [run]))
    places = tab.run("[...document.querySelectorAll('.card svg')].map(s => [...s.querySelectorAll("
                     "'circle')].map(c => [+c.getAttribute('cx'), +c.getAttribute('cy')]))")
    assert [len(p) for p in places] == [6, 8, 3, 6]
    x = np.array(places[0])
    steps = np.linalg.norm(np.diff(x, axis=0), axis=1)
    assert np.linalg.norm(x[0] - x[5]) == pytest.approx(steps.sum(), rel=0.01)
    centre = np.array(places[1]).mean(0)
    radii = np.linalg.norm(np.array(places[1]) - centre, axis=1)
    assert radii.std() < 0.02 * radii.mean()


def test_a_campaign_shows_its_curve_and_its_front(chrome, opened, tmp_path):
    campaign = Campaign({"asked": [2, 4], "best": [0.5, 0.9], "mean_10": [0.2, 0.4]}, {},
                        ["CCO", "CCN", "CCC"], {"a": [0.0, 1.0, 0.9], "b": [1.0, 0.0, -0.1]})
    run = Run("hits", "molecule", [molecule_record("CCO")], [0], 1, campaign=campaign)
    tab = show(chrome, tmp_path / "hits.html", Contents("hits", [run]))
    assert tab.run("document.querySelectorAll('#campaigns .curves .line').length") == 2
    front = tab.run("document.querySelector('#campaigns .front').getAttribute('d')")
    assert front.count("L") == 1
    tab.run("document.querySelector('#campaigns .scatter').focus()")
    for text, steps in (("CCO", 1), ("CCN", 2)):
        for _ in range(steps):
            tab.press("ArrowRight", 39)
        assert text in tab.run("document.querySelector('#campaigns .said').textContent")
        tab.press("Enter", 13, "\r")
        assert tab.run("document.querySelectorAll('dialog svg.mol').length") == 1
        tab.run("document.querySelector('dialog').close()")


# ---------------------------------------------------------------- thousands of rows


def tiled(told, times):
    """A document with its rows so many times, each drawn and measured as the first."""
    n = len(told["text"])
    rows = {k: told[k] * times for k in ("run", "place", "text", "why", "drawn")}
    again = {k: {int(i) + n * t: v for i, v in told[k].items() for t in range(times)}
             for k in ("full", "marks")}
    columns = [{**c, "values": c["values"] * times} for c in told["columns"]]
    return {**told, **rows, **again, "columns": columns}


def test_five_thousand_rows_stay_responsive(chrome, opened, tmp_path, monkeypatch):
    made = pages.document
    times = 5_000 // len(rows(1)[0].records) + 1
    monkeypatch.setattr(pages, "document", lambda c: tiled(made(c), times))
    file = tmp_path / "many.html"
    file.write_text(page(Contents("many", rows(1))))
    assert file.stat().st_size < 12e6
    chrome.open(file)
    assert len(shown(chrome)) >= 5_000 and chrome.complaints == []
    chrome.run("document.querySelectorAll('.toggle button')[1].click()")
    filtered = """{ const box = [...document.querySelectorAll('label')].find(
        l => l.firstChild.textContent === 'rows').querySelector('select');
        box.selectedIndex = 1 - box.selectedIndex % 2; box.dispatchEvent(new Event('change')); }"""
    acts = {"sort": "document.querySelector('th[data-column=score] button').click()",
            "words": "document.querySelector('th[data-column=name] button').click()",
            "filter": filtered, "plots": "scidiff.drawPlots()",
            "search": "scidiff.search('c1ccccc1C(=O)N')"}
    took = {name: chrome.busy(act) for name, act in acts.items()}
    print({name: round(ms) for name, ms in took.items()}, file=sys.stderr)
    assert all(ms < 300 for ms in took.values()), took
