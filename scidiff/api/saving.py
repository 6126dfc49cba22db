"""Results as files: what can be written is checked before any work, and written whole or not at
all. Equal results give equal bytes."""

from __future__ import annotations

import gzip
import io
import json
import math
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from scidiff.data.fasta import fasta_record
from scidiff.data.graph_exchange import UNTYPED
from scidiff.data.graph_files import pack
from scidiff.data.graph_text import parse
from scidiff.data.graph_tokens import EDGES
from scidiff.files import write_atomically
from scidiff.messages import closest

if TYPE_CHECKING:
    from scidiff.api.model import Model
    from scidiff.api.results import SampleResult

EVERY = (".csv", ".parquet", ".html")
OF_KIND: Mapping[str, tuple[str, ...]] = {
    "molecule": (".csv", ".smi", ".sdf", ".xyz", ".parquet", ".png", ".html"),
    "sequence": (".csv", ".fasta", ".fasta.gz", ".parquet", ".html"),
    "graph": (".csv", ".g6", ".npz", ".parquet", ".png", ".html"),
}
SUFFIXES = (
    ".csv", ".smi", ".sdf", ".xyz", ".fasta", ".fasta.gz", ".g6", ".npz", ".parquet", ".png",
    ".html",
)
_VALID_ONLY = (".smi", ".sdf", ".xyz", ".fasta", ".fasta.gz", ".g6", ".npz")
_CARRIES_PROVENANCE = (".parquet", ".html")


def suffixes(kind: str) -> tuple[str, ...]:
    """Names of files that a result of this kind can be saved to."""
    return OF_KIND.get(kind, EVERY)


def drawn(model: Model) -> tuple[str, ...]:
    """Names of files that the rows a model draws can be saved to: places are drawn by models of
    molecules in space alone, and .g6 holds graphs without types."""
    domain = model.domain
    typed = not {*model.engine.vocabulary.symbols} <= {UNTYPED, *EDGES[:2]}
    refused = {".xyz": domain.notation != "points", ".g6": typed}
    return tuple(s for s in suffixes(domain.kind) if not refused.get(s))


def check_output(path: str | Path | None, expected: Sequence[str] = SUFFIXES) -> None:
    """Find out before any work whether `path` can be written; None always can.

    Raises ValueError for a suffix that is not one of `expected`, OSError (one line, the path
    named) where the folder is missing or cannot be written to.
    """
    if path is None:
        return
    path = Path(path)
    suffix = _suffix(path)
    if suffix not in expected:
        near = closest(suffix, expected, cutoff=0.3)
        hint = f"; did you mean {path.name[: -len(suffix)]}{near[0]}?" if near else ""
        raise ValueError(f"cannot save to {path}: expected a name that ends with "
                         f"{', '.join(expected)}, got {suffix or 'no suffix'!r}{hint}")
    if path.is_dir():
        raise IsADirectoryError(f"cannot save to {path}: it is a folder")
    _check_folder(path)


def _suffix(path: Path) -> str:
    """How a name ends in small letters: ".csv", ".fasta.gz", or nothing."""
    packed = path.suffix.lower() == ".gz"
    return "".join(path.suffixes[-2:] if packed else path.suffixes[-1:]).lower()


def _check_folder(path: Path) -> None:
    if not path.parent.is_dir():
        raise FileNotFoundError(f"cannot save to {path}: the folder {path.parent} does not exist")
    try:
        with tempfile.TemporaryFile(dir=path.parent):
            pass
    except OSError as error:
        raise PermissionError(f"cannot save to {path}: the folder {path.parent} cannot be "
                              f"written to ({error.strerror})") from error


def save(result: SampleResult, path: str | Path) -> None:
    """Write a result by suffix; provenance in the file, else beside it in NAME.SUFFIX.json."""
    path = Path(path)
    check_output(path, suffixes(result.kind))
    suffix = _suffix(path)
    content = _WRITERS[suffix](result)
    if suffix not in _CARRIES_PROVENANCE:
        write_atomically(path.with_name(path.name + ".json"), _sidecar(result, suffix))
    write_atomically(path, content)


def provenance_text(result: SampleResult) -> str:
    """Where a result came from as JSON."""
    return json.dumps(plain(result.provenance), sort_keys=True, ensure_ascii=False)


def plain(value: Any) -> Any:
    """Reduce to what JSON has: numbers that are not finite become None, arrays lists, the rest
    text."""
    if hasattr(value, "tolist"):
        value = value.tolist()
    if isinstance(value, Mapping):
        return {str(k): plain(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [plain(v) for v in value]
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    return value if value is None or isinstance(value, bool | int | str) else str(value)


def _sidecar(result: SampleResult, suffix: str) -> bytes:
    found: dict[str, Any] = {"rows": len(result), "provenance": plain(result.provenance)}
    if suffix in _VALID_ONLY:
        found["left_out"] = [{"row": i, "text": r.text, "reason": r.reason}
                             for i, r in enumerate(result) if not r.valid]
    return (json.dumps(found, indent=1, sort_keys=True, ensure_ascii=False) + "\n").encode()


def left_out(path: str | Path) -> str:
    """What a saved file does not hold, by what stands beside it: a line where invalid rows of the
    result were left out, else ""."""
    beside = Path(f"{path}.json")
    try:
        said = json.loads(beside.read_text("utf-8"))
        n, rows = len(said["left_out"]), int(said["rows"])
    except (OSError, ValueError, LookupError, TypeError):
        return ""
    if not n:
        return ""
    return (f"{Path(path).name} holds the valid rows of a result of {rows:,}: {n:,} invalid ones "
            f"were left out ({beside.name}) and do not count here")


# ---------------------------------------------------------------- one function a format


def _csv(result: SampleResult) -> bytes:
    return result.to_frame().to_csv(index=False, lineterminator="\n").encode()


def _parquet(result: SampleResult) -> bytes:
    import pyarrow.parquet as pq

    buffer = io.BytesIO()
    pq.write_table(result.to_arrow(), buffer)
    return buffer.getvalue()


def _smi(result: SampleResult) -> bytes:
    """Valid rows as `SMILES row_number`; invalid ones would stop most readers."""
    return "".join(f"{r.text} row_{i}\n" for i, r in enumerate(result) if r.valid).encode()


def _sdf(result: SampleResult) -> bytes:
    """Valid rows with their columns as properties; flat coordinates where there are none."""
    from rdkit import Chem
    from rdkit.Chem import rdDepictor

    from scidiff.evaluation.description import molecules

    out = []
    for i, record in enumerate(result):
        for mol in map(Chem.Mol, molecules([record])):
            if not mol.GetNumConformers():
                rdDepictor.Compute2DCoords(mol)
            mol.SetProp("_Name", f"row_{i}")
            facts = {"row": i, "smiles": record.text, **_cells(result, i)}
            out.append(Chem.MolToMolBlock(mol) + "".join(_sdf_property(*f) for f in facts.items()))
    return "".join(f"{block}$$$$\n" for block in out).encode()


def _sdf_property(name: str, value: Any) -> str:
    name = name.replace("<", "(").replace(">", ")")  # an SDF field name stands between < and >
    return f">  <{name}>\n{' '.join(str(value).split())}\n\n"


def _xyz(result: SampleResult) -> bytes:
    """Valid rows in space, one behind the other; row, SMILES and columns in the comment."""
    from scidiff.chem.geometry import structure_of
    from scidiff.data.points import Points
    from scidiff.data.xyz import write_xyz
    from scidiff.evaluation.description import molecules

    out = []
    for i, record in enumerate(result):
        facts = {"smiles": record.text, **_cells(result, i)}
        said = " ".join(f"{name}={str(value)!r}" for name, value in facts.items())
        for mol in molecules([record]):
            try:
                out.append(write_xyz(Points.of(*structure_of(mol)), f"row_{i} {said}"))
            except ValueError:
                raise ValueError(f"row {i} has no structure in space: save to .sdf or .csv") \
                    from None
    return "".join(out).encode()


def _fasta(result: SampleResult) -> bytes:
    """Valid rows as `>seq_ROW key=value`."""
    rows = ((i, record.text) for i, record in enumerate(result) if record.valid)
    return "".join(fasta_record(f"seq_{i}", text, _cells(result, i)) for i, text in rows).encode()


def _packed_fasta(result: SampleResult) -> bytes:
    return gzip.compress(_fasta(result), mtime=0)


def _g6(result: SampleResult) -> bytes:
    """Valid rows as graph6 or sparse6, one a line, which have no types."""
    texts = [r.text for r in result if r.valid]
    for text in texts:
        nodes, edges = parse(text)
        if set(nodes) != {UNTYPED} or edges.max(initial=0) > 1:
            raise ValueError(f".g6 holds graphs without types, got {text!r}: save to .npz or .csv")
    return "".join(f"{text}\n" for text in texts).encode()


def _npz(result: SampleResult) -> bytes:
    """Valid rows as the arrays of `data.graph_files`."""
    graphs = [parse(r.text) for r in result if r.valid]
    if not graphs:
        raise ValueError("no row is valid: there is no graph to save to .npz")
    buffer = io.BytesIO()
    arrays: Mapping[str, Any] = pack(graphs)
    np.savez_compressed(buffer, **arrays)
    return buffer.getvalue()


def _cells(result: SampleResult, row: int) -> dict[str, Any]:
    """Values of the extra columns of a row, those without one left out."""
    found = {name: plain(values[row]) for name, values in result.columns.items()}
    return {name: value for name, value in found.items() if value is not None}


def _png(result: SampleResult) -> bytes:
    return result.plot.grid().png()


def _html(result: SampleResult) -> bytes:
    return result.to_html().encode()


_WRITERS: Mapping[str, Callable[[SampleResult], bytes]] = {
    ".csv": _csv, ".smi": _smi, ".sdf": _sdf, ".xyz": _xyz, ".fasta": _fasta,
    ".fasta.gz": _packed_fasta, ".parquet": _parquet, ".png": _png, ".html": _html, ".g6": _g6,
    ".npz": _npz,
}

__all__ = ["OF_KIND", "SUFFIXES", "check_output", "plain", "provenance_text", "save", "suffixes"]
