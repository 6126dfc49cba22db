"""What this installation can do: versions, devices, optional extras and their licences.

`report()` is plain data for `--json` and bug reports; `render` shows it on a terminal.
"""

from __future__ import annotations

import os
import platform
import re
import shutil
import subprocess
import warnings
from importlib import metadata
from typing import Any

import torch
from rich.console import Group
from rich.table import Table
from rich.text import Text

from scidiff import __version__

SWITCHES_OFF = {
    "fcd": "the Frechet ChemNet distance in evaluate",
    "docking": "the reward dock (AutoDock Vina, receptors of dockstring)",
    "admet": "the reward admet (ADMET-AI's 41 endpoints)",
    "rna": "the rewards mfe and fold (ViennaRNA)",
    "motifs": "the rewards motif and motif_pair, motif spectra in evaluate (JASPAR)",
    "qm": "the rewards gfn2_gap and gfn2_dipole, relaxation by GFN2-xTB (tblite)",
    "poses": "the reward posebusters, its pass rate in the suite 3d",
    "graphs": "the tests, where ORCA checks our own orbit counts",
    "peptides": "the rewards amp and haemolytic (macrel)",
    "ray": "rewards and sampling on a Ray cluster",
    "umap": "maps by UMAP; principal axes are drawn instead",
    "notebook": "JupyterLab and interactive 3D viewers",
}
_FOR_DEVELOPERS = {"dev", "docs"}
_COPYLEFT = re.compile(r"\b[AL]?GPL|(Affero|Lesser|GNU) General Public", re.IGNORECASE)
_REQUIREMENT = re.compile(r"^([\w.-]+).*?(?:extra\s*==\s*['\"]([\w-]+)['\"])?$")


def report() -> dict[str, Any]:
    """Describe the installation as plain JSON-able data.

    `extras` lists every optional extra with its packages, their version (None = absent), licence
    and copyleft flag, and what its absence switches off.
    """
    needs = _requirements()
    always = needs.pop("", [])
    return {
        "scidiff": __version__,
        "python": platform.python_version(),
        "platform": platform.platform(),
        "torch": _torch(),
        "drawing": _drawing(),
        "packages": [package(name) for name in always],
        "extras": [
            {
                "name": extra,
                "packages": (found := [package(name) for name in names]),
                "installed": all(p["version"] for p in found),
                "switches_off": SWITCHES_OFF.get(extra, "what it names"),
            }
            for extra, names in needs.items()
            if extra not in _FOR_DEVELOPERS
        ],
    }


def package(name: str) -> dict[str, Any]:
    """Version, licence and whether it is copyleft, from the installed metadata of `name`."""
    try:
        found = metadata.metadata(name)
    except metadata.PackageNotFoundError:
        return {"name": name, "version": None, "licence": None, "copyleft": False}
    licence = _licence(found)
    copyleft = bool(_COPYLEFT.search(licence))
    return {"name": name, "version": found["Version"], "licence": licence, "copyleft": copyleft}


def _licence(found: Any) -> str:
    """The SPDX expression; else the classifier; else the first line of the licence field."""
    if expression := found.get("License-Expression"):
        return str(expression)
    classifiers = [c for c in found.get_all("Classifier") or [] if c.startswith("License ::")]
    if classifiers:
        return ", ".join(c.split(" :: ")[-1] for c in classifiers)
    lines = str(found.get("License") or "").strip().splitlines()
    return lines[0][:60] if lines else "not stated"


def _requirements() -> dict[str, list[str]]:
    """Package names by extra ("" = always needed), in the order of the metadata."""
    try:
        lines = metadata.requires("scidiff") or []
    except metadata.PackageNotFoundError:  # a source tree on the path, not installed
        return {}
    needs: dict[str, list[str]] = {}
    for line in lines:
        if match := _REQUIREMENT.match(line):
            needs.setdefault(match[2] or "", []).append(match[1])
    return needs


def _torch() -> dict[str, Any]:
    with warnings.catch_warnings(record=True) as caught:  # a driver too old says so in a warning
        warnings.simplefilter("always")
        available = torch.cuda.is_available()
    return {
        "version": torch.__version__,
        "threads": torch.get_num_threads(),
        "cores": os.cpu_count(),
        "cuda_build": torch.version.cuda,
        "cuda": available,
        "driver": _driver(),
        "devices": [_device(i) for i in range(torch.cuda.device_count())] if available else [],
        "problem": str(caught[0].message).splitlines()[0] if caught else None,
    }


def _device(index: int) -> dict[str, Any]:
    found = torch.cuda.get_device_properties(index)
    return {
        "name": found.name,
        "memory_gib": round(found.total_memory / 2**30, 1),
        "capability": f"{found.major}.{found.minor}",
    }


def _driver() -> str | None:
    """The NVIDIA driver's version, if its tool is there and answers."""
    tool = shutil.which("nvidia-smi")
    if tool is None:
        return None
    command = [tool, "--query-gpu=driver_version", "--format=csv,noheader"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=20)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.splitlines()[0].strip() if done.returncode == 0 and done.stdout else None


def _drawing() -> str:
    """Whether RDKit can draw: on bare servers a missing X library stops it."""
    try:
        from rdkit.Chem import Draw  # noqa: F401
    except ImportError as error:
        return f"unavailable: {str(error).splitlines()[0]}"
    return "available"


def render(found: dict[str, Any]) -> Group:
    """Lay a report out for the terminal: print it with rich."""
    system, always = _system(found), _core_table(found["packages"])
    return Group(system, Text(), always, Text(), _extras_table(found["extras"]), *_notes(found))


def _system(found: dict[str, Any]) -> Table:
    torch_found = found["torch"]
    gpus = [f"{d['name']} ({d['memory_gib']} GiB)" for d in torch_found["devices"]]
    build = f"CUDA {torch_found['cuda_build']}" if torch_found["cuda_build"] else "CPU build"
    table = Table.grid(padding=(0, 2))
    rows = {
        "scidiff": found["scidiff"],
        "Python": f"{found['python']} on {found['platform']}",
        "torch": f"{torch_found['version']} ({build})",
        "GPU": ", ".join(gpus) or "none",
        "driver": torch_found["driver"] or "none found",
        "threads": f"{torch_found['threads']} of {torch_found['cores']} cores",
        "drawing": found["drawing"],
    }
    for key, value in rows.items():
        table.add_row(Text(key, style="bold"), Text(value))
    return table


def _core_table(packages: list[dict[str, Any]]) -> Table:
    table = Table("package", "version", "licence", title="Always needed", title_justify="left")
    for p in packages:
        table.add_row(*_cells(p))
    return table


def _extras_table(extras: list[dict[str, Any]]) -> Table:
    columns = ("extra", "package", "version", "licence", "absent, it switches off")
    table = Table(*columns, title="Optional extras", title_justify="left")
    for extra in extras:
        for row, p in enumerate(extra["packages"]):
            name, off = (extra["name"], extra["switches_off"]) if row == 0 else ("", "")
            table.add_row(Text(name, style="bold"), *_cells(p), Text(off))
    return table


def _cells(p: dict[str, Any]) -> tuple[Text, Text, Text]:
    version = Text(p["version"]) if p["version"] else Text("absent", style="yellow")
    return Text(p["name"]), version, Text(p["licence"] or "", style="red" if p["copyleft"] else "")


def _notes(found: dict[str, Any]) -> list[Text]:
    packages = found["packages"] + [p for extra in found["extras"] for p in extra["packages"]]
    copyleft = ", ".join(f"{p['name']} ({p['licence']})" for p in packages if p["copyleft"])
    missing = [e["name"] for e in found["extras"] if not e["installed"]]
    lines = []
    if found["torch"]["problem"]:
        lines.append(Text(f"torch: {found['torch']['problem']}", style="red"))
    if copyleft:
        lines.append(Text(f"Copyleft licences are installed: {copyleft}", style="red"))
    if missing:
        lines.append(Text(f"Install an extra with: pip install 'scidiff[{missing[0]}]'"))
    return lines
