"""A classifier as a user names it: what is known of a label, of unfinished rows too."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from scidiff.core import ScidiffError
from scidiff.data.tokens import FIRST_SYMBOL, Vocabulary
from scidiff.rewards.learned import Oracle, loaded
from scidiff.rewards.predictors import Letters
from scidiff.samplers.classifier import Classifier, ClassifierGuided, ExactChange
from scidiff.samplers.predictions import TokenPredictor


@dataclass(frozen=True)
class ClassifierRequest:
    """Tokens drawn towards a label, see `samplers.classifier`: inside blocks it is CtrlDiff's
    control (Huang and Tang 2025, arXiv 2505.14455)."""

    classifier: Any = None  # an oracle of classes, its name or folder, or a `Classifier`
    label: str | None = None  # the class, where it is an oracle
    classifier_weight: float = 1.0  # 1 is p(x | y) where the classifier is exact, above it more

    def __post_init__(self) -> None:
        if self.classifier is None and (self.label, self.classifier_weight) != (None, 1.0):
            raise ValueError(
                "label and classifier_weight belong to classifier, got "
                f"label={self.label!r} and classifier_weight={self.classifier_weight} without one"
            )

    @property
    def told(self) -> dict[str, Any]:
        """What a result records of it."""
        if self.classifier is None:
            return {}
        said = {"label": self.label, "classifier_weight": self.classifier_weight}
        source = self.classifier
        if isinstance(source, str | Path | Oracle):
            oracle = opened(source)
            return {"classifier": oracle.name, **said}
        return {"classifier": type(source).__name__, **said}

    def around(self, inner: TokenPredictor, vocabulary: Vocabulary) -> TokenPredictor:
        """The denoiser with this classifier, if there is one."""
        if self.classifier is None:
            return inner
        found = find_classifier(self.classifier, self.label, vocabulary)
        return ClassifierGuided(inner, ExactChange(found), self.classifier_weight)


def opened(source: str | Path | Oracle) -> Oracle:
    """An oracle, or that of this name or folder."""
    return source if isinstance(source, Oracle) else loaded(str(source))


def find_classifier(source: Any, label: str | None, vocabulary: Vocabulary) -> Classifier:
    """The classifier that `source` means for rows over `vocabulary`."""
    if isinstance(source, str | Path | Oracle):
        return OracleClassifier(opened(source), label, vocabulary)
    if not callable(getattr(source, "log_prob", None)):
        raise ValueError(
            "classifier must be an oracle, its name or folder, or an object with log_prob(ids) "
            f"-> (B,), got {type(source).__name__}"
        )
    if label is not None:
        raise ValueError(f"label is a class of an oracle, got {label!r} beside an own classifier")
    found: Classifier = source
    return found


class OracleClassifier:
    """log p(label | x) by an oracle of sequences, to which a hidden letter is one that is not
    there: it was trained on whole rows, so on the way it guesses."""

    def __init__(self, oracle: Oracle, label: str | None, vocabulary: Vocabulary) -> None:
        reader = oracle.reader
        if oracle.task != "classes" or not isinstance(reader, Letters):
            raise ScidiffError(
                f"a classifier reads unfinished rows and tells classes, oracle {oracle.name!r} "
                f"reads whole {reader.domain} rows and tells {oracle.task}: expected an oracle of "
                "classes of sequences, or sd.design with it as a reward"
            )
        letters = reader.alphabet.letters
        if foreign := [s for s in vocabulary.symbols if s not in letters]:
            raise ScidiffError(
                f"oracle {oracle.name!r} reads the letters {letters}, this model also writes "
                f"{foreign[0]}"
            )
        self.oracle, self.column = oracle, oracle.index(label)
        self.letter = torch.full((len(vocabulary),), -1)
        for i, symbol in enumerate(vocabulary.symbols):
            self.letter[FIRST_SYMBOL + i] = letters.index(symbol)

    def log_prob(self, ids: Tensor) -> Tensor:
        """Rows (B, L), MASK where hidden -> (B,)."""
        told = self.oracle.log_probs(self.letter[ids.cpu()])
        return told[:, self.column].to(ids.device)
