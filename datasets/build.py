"""Rebuild the shipped data sets, their cards and index.json from the wheels they come from.

    python datasets/build.py                    # downloads the wheels with pip (175 MB)
    python datasets/build.py --source FOLDER    # takes them from a folder

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

from scidiff.data.packages import sha256, wheel
from scidiff.data.packing import pack_dna, pack_qm9, unpack_dna

Entry = dict[str, Any]
HERE = Path(__file__).parent
MOSES = ("train", "test", "test_scaffolds")
PEPTIDES = {
    "AMPvsUniProt": "AMPvsUniProt", "AMPvsTM": "AMPvsTMset",
    "ACPvsRandom": "ACP_CancPPD_vs_Random", "ACPvsTM": "ACP_CancPPD_vs_TM",
}
ENHANCERS = "dnadiffusion/data/K562_hESCT0_HepG2_GM12878_12k_sequences_per_group.txt"
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
    return (f"# {name}\n\n{entry['title']}.\n\n{entry['notes']}\n\n"
            f"| column | |\n|---|---|\n{columns}\n\n"
            f"- rows: {entry['rows']:,}\n- file: `{entry['file']}`, {entry['bytes']:,} bytes\n"
            f"- sha256: `{entry['sha256']}`\n"
            f"- sha256 of the objects, one a line: `{entry['content_sha256']}`\n"
            f"- source: PyPI package `{entry['package']}`; rebuilt by `datasets/build.py`\n"
            f"- licence: {entry['licence']}, notice in `{entry['notice']}`; the licence covers "
            f"the package, cite the origin of the data\n- cite: {entry['cite']}\n")


def main() -> None:
    parser = argparse.ArgumentParser(description="Rebuild the shipped data sets.")
    parser.add_argument("--source", type=Path, help="folder that holds the four wheels")
    source = parser.parse_args().source
    # ZINC250k is on no package index: the digest identifies a copy that the user brings.
    index = {"zinc250k": {
        "rows": 249_455, "files": {"all": {"file": "zinc250k.smi.gz", "rows": 249_455}},
        "content_sha256": "b2a780b520e9188fdbc3dd1affe785f0f21151ac7e9fa8889e33832067763a9b",
    }}
    for package, build in BUILDERS.items():
        with wheel(package, source) as archive:
            index |= build(archive)
            notice(archive, package)
    about = tomllib.loads((HERE / "about.toml").read_text())
    index = {name: {**about[name], **index[name]} for name in about}
    (HERE / "index.json").write_text(json.dumps(index, indent=1) + "\n")
    for name, entry in index.items():
        if "notice" in entry:
            (HERE / f"{name}.md").write_text(card(name, entry))
        print(f"{name}: {entry['rows']:,} rows, {entry.get('bytes', 0):,} bytes")


if __name__ == "__main__":
    main()
