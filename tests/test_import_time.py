"""`import scidiff` is light: under two seconds beyond torch, nothing heavy until it is needed."""

import json
import subprocess
import sys

HEAVY = [
    "rdkit",
    "torch_geometric",
    "e3nn",
    "pandas",
    "pyarrow",
    "matplotlib",
    "lightning",
    "networkx",
    "scipy",
    "huggingface_hub",
    "pydantic",
    "selfies",
]
CODE = """
import json, sys, time
start = time.perf_counter()
import torch
middle, before = time.perf_counter(), set(sys.modules)
import scidiff
end = time.perf_counter()
loaded = sorted({name.split(".")[0] for name in set(sys.modules) - before})
print(json.dumps({"torch": middle - start, "scidiff": end - middle, "loaded": loaded}))
"""


def _measure() -> dict:
    done = subprocess.run(
        [sys.executable, "-c", CODE], capture_output=True, text=True, timeout=120, check=True
    )
    return json.loads(done.stdout)


def test_import_scidiff_is_light() -> None:
    runs = [_measure()]
    assert sorted(set(runs[0]["loaded"]) & set(HEAVY)) == []
    if runs[0]["scidiff"] >= 2:  # the machine may have been busy just then
        runs.append(_measure())
    assert min(r["scidiff"] for r in runs) < 2, f"seconds to import torch and scidiff: {runs}"
