"""Rebuild the shipped data sets, their cards and index.json from the wheels they come from.

    python datasets/build.py                    # downloads the wheels with pip (175 MB)
    python datasets/build.py --source FOLDER    # takes them from a folder
    python datasets/build.py --drawn            # only the sets that are drawn, not downloaded

Contents are the same every time; `content_sha256` in index.json says so (the packed bytes may
differ between versions of zlib and lzma).
"""

import argparse
import csv
import gzip
import io
import json
import lzma
import tomllib
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from zipfile import ZipFile

import numpy as np

from scidiff.core import seeded
from scidiff.data.graph_exchange import symbols
from scidiff.data.graph_text import compact
from scidiff.data.packages import sha256, wheel
from scidiff.data.packing import pack_dna, pack_qm9, unpack_dna
from scidiff.data.synthetic_graphs import Graphs, communities, grids, planar

Entry = dict[str, Any]
HERE = Path(__file__).parent
MOSES = ("train", "test", "test_scaffolds")
PEPTIDES = {
    "AMPvsUniProt": "AMPvsUniProt", "AMPvsTM": "AMPvsTMset",
    "ACPvsRandom": "ACP_CancPPD_vs_Random", "ACPvsTM": "ACP_CancPPD_vs_TM",
}
ENHANCERS = "dnadiffusion/data/K562_hESCT0_HepG2_GM12878_12k_sequences_per_group.txt"
ZINC250K = "b2a780b520e9188fdbc3dd1affe785f0f21151ac7e9fa8889e33832067763a9b"
PUBLISHED_GRAPHS: dict[str, tuple[int, str]] = {  # rows, digest
    "community_small": (100, "65c7f0d953d4c7ce3d142c2650a73d60e91b1bf1f1afe62bba15a8170af1f9d8"),
    "ego_small": (200, "cb1c4e530fa25361e3c4ce30688fd8c9646cf01b09a78bf8f17a0c373e4df08c"),
    "ENZYMES": (587, "d981a1c7bc178b0eea9680ad1018a84c9568be0e3073a80dad1c2fa9475588d0"),
    "grid": (100, "48e4902b27b31ccb37360d2af35cbf5246bb86ca5922258202c1e57b88216c41"),
}
TABLES: dict[str, tuple[str, int, str | None]] = {  # file, rows, digest where it is known
    "promoters": ("dna_yeast_promoter_gpra.csv.gz", 9_071,
                  "e32304f1136ec7795997ac26f4f93fbe7aa1153b3bfe0edaa8303d2d0bd8f37f"),
    "utr-mrl": ("rna_5utr_mrl_m1psi_20k.csv.gz", 20_000, None),
    "utr-human": ("rna_5utr_human_snv_3k.csv.gz", 3_002,
                  "8483b32237190288eef2b0a296618800eb1a0d06fd58705bbf9f681b4c222acb"),
    "tis": ("rna_tis_aug_65k.csv.gz", 65_536,
            "5dbe30c8d2a4e03698c1ecc5ecb84fc53e2c772aec8e27f54fd0bb5499a662f0"),
    "eterna": ("rna_eterna100.csv.gz", 100,
               "f31ee284ea0930a8ea3b84d7d4f9ea5a8743e8c33f865d5b99831319dc7a67bd"),
}
QM9 = [f"qm9pack/data/qm9_part{i}.csv" for i in (1, 2, 3)]
SPLITS = ["training", "validation", "test"]


def text_digest(objects: Sequence[str]) -> str:
    """Digest of a column of objects, one a line: the same for every packing of the file."""
    return sha256("\n".join(objects).encode())


def write(name: str, content: bytes, objects: Sequence[str]) -> Entry:
    """Write one shipped file and return what index.json says of it."""
    (HERE / name).write_bytes(content)
    return {"file": name, "rows": len(objects), "bytes": len(content), "sha256": sha256(content),
            "content_sha256": text_digest(objects)}


def smiles_file(name: str, smiles: Sequence[str]) -> Entry:
    return write(name, lzma.compress("\n".join([*smiles, ""]).encode(), preset=9), smiles)


def build_moses(archive: ZipFile) -> dict[str, Entry]:
    files: Entry = {}
    train: list[str] = []
    for split in MOSES:
        member = f"moses/dataset/data/{split}.csv.gz"
        content = archive.read(member)
        rows = gzip.decompress(content).decode().split()[1:]
        files[split] = {"member": member, "file": f"moses_{split}.csv.gz", "rows": len(rows),
                        "bytes": len(content), "sha256": sha256(content)}
        train = rows if split == "train" else train
    chosen = np.sort(np.random.default_rng(0).choice(len(train), 100_000, replace=False))
    return {"moses_100k": smiles_file("moses_100k.smi.xz", [train[i] for i in chosen]),
            "moses": {"files": files, "rows": sum(f["rows"] for f in files.values())}}


def build_qm9(archive: ZipFile) -> dict[str, Entry]:
    parts = [archive.read(name) for name in QM9]
    arrays = pack_qm9(parts)
    smiles = arrays["smiles"].tobytes().decode().split("\n")
    members = {name: sha256(part) for name, part in zip(QM9, parts, strict=True)}
    return {"qm9": smiles_file("qm9.smi.xz", smiles),
            "qm9_3d": {"files": {"all": {"file": "qm9_3d.npz", "rows": len(smiles),
                                         "members": members}}, "rows": len(smiles)}}


def build_enhancers(archive: ZipFile) -> dict[str, Entry]:
    text = io.StringIO(archive.read(ENHANCERS).decode())
    rows = list(csv.DictReader(text, delimiter="\t"))
    sequences = [row["sequence"] for row in rows]
    cells = list(dict.fromkeys(row["TAG"].split("_")[0] for row in rows))
    packed = pack_dna(sequences)
    assert unpack_dna(packed) == sequences
    content = io.BytesIO()
    np.savez_compressed(
        content, packed=packed, cells=np.array(cells), splits=np.array(SPLITS),
        cell=np.array([cells.index(row["TAG"].split("_")[0]) for row in rows], np.uint8),
        split=np.array([SPLITS.index(row["data_label"]) for row in rows], np.uint8))
    return {"enhancers": write("enhancers.npz", content.getvalue(), sequences)}


def build_peptides(archive: ZipFile) -> dict[str, Entry]:
    lines = ["sequence,set,label,len"]
    for name, stem in PEPTIDES.items():
        # The first line counts the rows; of a repeated peptide the last label stays.
        source = archive.read(f"modlamp/data/{stem}.csv").decode().splitlines()[1:]
        labels = dict((part.strip() for part in line.rsplit(",", 1)) for line in source if line)
        lines += [f"{peptide},{name},{label},{len(peptide)}" for peptide, label in labels.items()]
    content = gzip.compress("\n".join([*lines, ""]).encode(), mtime=0)
    return {"peptides": write("peptides.csv.gz", content, [s.split(",")[0] for s in lines[1:]])}


def graph_file(name: str, graphs: Graphs) -> Entry:
    texts = [compact(*symbols(graph)) for graph in graphs]
    return write(name, lzma.compress("\n".join([*texts, ""]).encode(), preset=9), texts)


def build_drawn() -> dict[str, Entry]:
    return {"community": graph_file("community.g6.xz", communities(100, seeded(0))),
            "grids": graph_file("grids.g6.xz", grids(100, seeded(0))),
            "planar": graph_file("planar.g6.xz", planar(200, seeded(0)))}


def brought() -> dict[str, Entry]:
    """Sets on no package index: the digest identifies a copy that the user brings."""
    found: dict[str, tuple[str, int, str | None]]
    found = {"zinc250k": ("zinc250k.smi.gz", 249_455, ZINC250K), **TABLES}
    found |= {name: (f"graphs_{name}.npz", rows, digest) for name, (rows, digest)
              in PUBLISHED_GRAPHS.items()}
    return {name: {"rows": rows, "files": {"all": {"file": file, "rows": rows}},
                   **({"content_sha256": digest} if digest else {})}
            for name, (file, rows, digest) in found.items()}


BUILDERS = {"molsets==0.3.1": build_moses, "qm9pack==1.0.3": build_qm9,
            "dnadiffusion==0.0.0.dev0": build_enhancers, "modlamp==4.3.3": build_peptides}


def notice(archive: ZipFile, package: str) -> None:
    """Copy the licence text of a wheel."""
    name = next(n for n in archive.namelist() if "dist-info" in n and "LICENSE" in n)
    folder = HERE / "LICENSES"
    folder.mkdir(exist_ok=True)
    text = archive.read(name).decode().replace("\r\n", "\n")
    (folder / f"{package.split('==')[0]}.txt").write_text(text.rstrip() + "\n")


def card(name: str, entry: Entry) -> str:
    """The card of one shipped set, as Markdown."""
    columns = "\n".join(f"| `{c}` | {what} |" for c, what in entry["columns"].items())
    source, notice = "drawn", ""
    if "package" in entry:
        source = f"PyPI package `{entry['package']}`"
        notice = (f", notice in `{entry['notice']}`; the licence covers the package, cite the "
                  "origin of the data")
    return (f"# {name}\n\n{entry['title']}.\n\n{entry['notes']}\n\n"
            f"| column | |\n|---|---|\n{columns}\n\n"
            f"- rows: {entry['rows']:,}\n- file: `{entry['file']}`, {entry['bytes']:,} bytes\n"
            f"- sha256: `{entry['sha256']}`\n"
            f"- sha256 of the objects, one a line: `{entry['content_sha256']}`\n"
            f"- source: {source}; rebuilt by `datasets/build.py`\n"
            f"- licence: {entry['licence']}{notice}\n- cite: {entry['cite']}\n")


def built_before() -> dict[str, Entry]:
    file = HERE / "index.json"
    return json.loads(file.read_text()) if file.exists() else {}


def main() -> None:
    parser = argparse.ArgumentParser(description="Rebuild the shipped data sets.")
    parser.add_argument("--source", type=Path, help="folder that holds the four wheels")
    parser.add_argument("--drawn", action="store_true", help="leave what comes out of wheels")
    args = parser.parse_args()
    index = {**built_before(), **brought(), **build_drawn()}
    for package, build in {} if args.drawn else BUILDERS.items():
        with wheel(package, args.source) as archive:
            index |= build(archive)
            notice(archive, package)
    about = tomllib.loads((HERE / "about.toml").read_text())
    index = {name: {**about[name], **index[name], **about[name]} for name in about}
    (HERE / "index.json").write_text(json.dumps(index, indent=1) + "\n")
    for name, entry in index.items():
        if "file" in entry:
            (HERE / f"{name}.md").write_text(card(name, entry))
        print(f"{name}: {entry['rows']:,} rows, {entry.get('bytes', 0):,} bytes")


if __name__ == "__main__":
    main()
