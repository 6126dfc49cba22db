"""scidiff: generate molecules, graphs and biological sequences with diffusion models and steer
them by any reward.

The public names are loaded when they are first used, so that `import scidiff` costs no more than
torch.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

_PUBLIC = {
    "load": "scidiff.api.entry",
    "sample": "scidiff.api.entry",
    "evaluate": "scidiff.api.entry",
    "train": "scidiff.api.train",
    "design": "scidiff.api.design",
    "campaign": "scidiff.api.campaigns",
    "finetune": "scidiff.api.finetuning",
    "fit_value": "scidiff.api.soft_values",
    "report": "scidiff.api.reporting",
    "tune": "scidiff.api.tuning",
    "learn_block_policy": "scidiff.api.block_policies",
    "reward": "scidiff.rewards.combine",
    "datasets": "scidiff.data",
    "perplexity": "scidiff.api.perplexity",
    **dict.fromkeys(
        ("Fixed", "Forbid", "Require", "Pattern", "Runs", "Grammar"),
        "scidiff.api.string_constraints",
    ),
    **dict.fromkeys(("product", "anneal", "superpose"), "scidiff.api.products"),
    "Property": "scidiff.api.properties",
    **dict.fromkeys(
        ("de_novo", "linker", "motif_extension", "scaffold_decoration", "scaffold_morphing",
         "superstructure", "lead_optimisation"),
        "scidiff.api.tasks",
    ),
    "Model": "scidiff.api.model",
    "ScidiffError": "scidiff.core",
}
__all__ = sorted([*_PUBLIC, "__version__"])

if TYPE_CHECKING:
    from scidiff.api.block_policies import learn_block_policy as learn_block_policy
    from scidiff.api.campaigns import campaign as campaign
    from scidiff.api.design import design as design
    from scidiff.api.entry import evaluate as evaluate
    from scidiff.api.entry import load as load
    from scidiff.api.entry import sample as sample
    from scidiff.api.finetuning import finetune as finetune
    from scidiff.api.model import Model as Model
    from scidiff.api.perplexity import perplexity as perplexity
    from scidiff.api.products import anneal as anneal
    from scidiff.api.products import product as product
    from scidiff.api.products import superpose as superpose
    from scidiff.api.properties import Property as Property
    from scidiff.api.reporting import report as report
    from scidiff.api.soft_values import fit_value as fit_value
    from scidiff.api.string_constraints import Fixed as Fixed
    from scidiff.api.string_constraints import Forbid as Forbid
    from scidiff.api.string_constraints import Grammar as Grammar
    from scidiff.api.string_constraints import Pattern as Pattern
    from scidiff.api.string_constraints import Require as Require
    from scidiff.api.string_constraints import Runs as Runs
    from scidiff.api.tasks import de_novo as de_novo
    from scidiff.api.tasks import lead_optimisation as lead_optimisation
    from scidiff.api.tasks import linker as linker
    from scidiff.api.tasks import motif_extension as motif_extension
    from scidiff.api.tasks import scaffold_decoration as scaffold_decoration
    from scidiff.api.tasks import scaffold_morphing as scaffold_morphing
    from scidiff.api.tasks import superstructure as superstructure
    from scidiff.api.train import train as train
    from scidiff.api.tuning import tune as tune
    from scidiff.core import ScidiffError as ScidiffError
    from scidiff.data import datasets as datasets
    from scidiff.rewards.combine import reward as reward


def __getattr__(name: str) -> Any:
    if name not in _PUBLIC:
        raise AttributeError(f"module 'scidiff' has no attribute {name!r}")
    home = import_module(_PUBLIC[name])
    value = import_module("scidiff.data.datasets") if name == "datasets" else getattr(home, name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return __all__
