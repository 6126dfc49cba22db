"""The recipe of a bare data file: what `sd.train("my.csv")` does where nobody wrote one."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from scidiff.api.model import Model, model_folder
from scidiff.api.recipes import Recipe, parse, read
from scidiff.api.settings import sampled_as
from scidiff.core import ScidiffError
from scidiff.data.conditions import Conditions
from scidiff.data.formats import FASTA, GRAPHS
from scidiff.data.tables import stream
from scidiff.domains.domain import find_domain
from scidiff.processes.tokens import OWNERS

NUCLEIC = 0.9  # of the letters of a FASTA: the rest may be gaps and IUPAC codes, which are refused


def choose_recipe(
    source: Path,
    init: str | None,
    domain: str | None,
    column: str | None,
    steps: int | None,
    seed: int | None,
) -> Recipe:
    """Read a recipe, or make the default one for a data file.

    Strings from scratch: autoregression, then blocks of four. Graphs (a graph file, or a domain of
    graphs): masked diffusion over nodes and pairs. Sequences (FASTA, or a domain of sequences):
    masked diffusion; of FASTA the letters say which domain. From `init`: its own process at a
    tenth of the learning rate, stopping after five validations without a better loss, and told
    what it was where the file has columns of those names.
    """
    if source.suffix == ".toml":
        given = {"init": init, "domain": domain, "column": column, "steps": steps, "seed": seed}
        extra = [name for name, value in given.items() if value is not None]
        if extra:
            raise ScidiffError(f"a recipe says {', '.join(extra)} itself; change it in {source}")
        return read(source)
    if not source.is_file():
        raise ScidiffError(f"no such file: {source}; expected a recipe (.toml) or a data file")
    content: dict[str, Any] = {
        "name": source.name.split(".")[0],
        "seed": seed or 0,
        "data": {"source": str(source), "column": column},
    }
    if init is None:
        content |= _fresh(domain or _usual(source), 2000 if steps is None else steps)
    else:
        config = Model(model_folder(init), device="cpu").config
        if domain not in (None, config["domain"]):
            raise ScidiffError(f"{init} is a {config['domain']} model, got domain={domain!r}")
        own = vars(sampled_as(config))
        content["data"]["condition"] = _conditions(config, source, column)
        content |= {"init": init, "domain": config["domain"], "sampling": own}
        content["stages"] = [_tuning_stage(config["process"], 1000 if steps is None else steps)]
    return parse(content, str(source))


def _conditions(config: Mapping[str, Any], source: Path, column: str | None) -> list[str]:
    """What a model is told, where a file has all of it."""
    if not config.get("conditions"):
        return []
    names = Conditions.of_config(config["conditions"]).names
    return list(names) if {*names} <= {*next(stream(source, column)).columns} else []


def _usual(source: Path) -> str:
    """The domain that a file is probably of."""
    suffixes = set(source.suffixes)
    if suffixes & set(GRAPHS):
        return "graph"
    if ".xyz" in suffixes:
        return "molecule_3d"
    return domain_of_letters(source) if suffixes & set(FASTA) else "smiles"


def domain_of_letters(source: Path) -> str:
    """The domain of a FASTA: dna, rna or peptide, by what it is mostly written in."""
    first = next(stream(source)).objects()
    letters = Counter("".join(first).upper())
    if sum(letters[base] for base in "ACGTUN") < NUCLEIC * letters.total():
        return "peptide"
    return "rna" if letters["U"] > letters["T"] else "dna"


def _fresh(domain: str, steps: int) -> dict[str, Any]:
    """Domain, network and stages of a model from scratch."""
    short = {"warmup": max(0, min(200, steps // 10)), "batch_size": 128}
    if find_domain(domain).notation == "graph":
        network = {"kind": "graph_transformer"}
        stage = {"process": "masked", "steps": steps, "ema": 0.999, **short}
        return {"domain": domain, "network": network, "stages": [stage]}
    if find_domain(domain).notation == "points":
        stage = {"process": "points", "steps": steps, "ema": 0.999, **short}
        return {"domain": domain, "network": {"kind": "points"}, "stages": [stage]}
    if find_domain(domain).kind == "sequence":
        stage = {"process": "masked", "steps": steps, **short}
        return {"domain": domain, "network": {"width": 128}, "stages": [stage]}
    first = {"process": "autoregressive", "steps": steps, **short}
    half = max(1, steps // 2)
    second = {"process": "block", "block_size": 4, "lr": 2e-3, "steps": half, **short}
    return {"domain": domain, "stages": [first, second]}


def _tuning_stage(process: dict[str, Any], steps: int) -> dict[str, Any]:
    own = {name: process[name] for name in OWNERS if process.get(name) is not None}
    each = max(min(10, steps), steps // 40)
    return {
        "process": process["kind"],
        **own,
        "steps": steps,
        "lr": 3e-4,
        "batch_size": 64,
        "warmup": min(50, each),
        "validate_every": each,
        "checkpoint_every": each,
        "ema": 0.99,
        "patience": 5,
    }
