"""What designing hands back: designs, what they cost, and everything that was asked on the way."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from scidiff.api.results import SampleResult
from scidiff.api.saving import check_output
from scidiff.data.records import Record
from scidiff.files import write_atomically
from scidiff.guidance.certificate import Certificate, Ledger

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa

    from scidiff.api.plotting import DesignPlots
    from scidiff.evaluation.description import Known


class DesignResult:
    """Designs, best first, with what they cost and how far their weights can be trusted.

    `rows` has the columns score, one a term of the reward where there are several, status, and of
    a method with populations log_w (log mean weight of the one a design was drawn from); unscored
    rows come last.
    """

    def __init__(
        self,
        rows: SampleResult,
        *,
        certificate: Certificate,
        ledger: Ledger,
        settings: Mapping[str, Any],
        history: Sequence[Mapping[str, Any]] = (),
        asked: Callable[[], SampleResult] | None = None,
        hypervolume: float | None = None,
    ) -> None:
        self.rows, self.certificate = rows, certificate
        self.ledger, self.settings = ledger, dict(settings)
        self._history, self._asked = tuple(history), asked
        self.hypervolume = hypervolume  # of all that was asked, for a reward of 2 to 4 terms

    def __len__(self) -> int:
        return len(self.rows)

    def __iter__(self) -> Iterator[Record]:
        return iter(self.rows)

    def __getitem__(self, index: Any) -> Any:
        """One row, or several as a SampleResult."""
        return self.rows[index]

    @property
    def provenance(self) -> dict[str, Any]:
        return self.rows.provenance

    @property
    def novelty(self) -> Known | None:
        return self.rows.novelty

    @property
    def texts(self) -> list[str]:
        return self.rows.texts

    @property
    def objects(self) -> list[Any]:
        return self.rows.objects

    @property
    def scores(self) -> NDArray[np.float64]:
        """Score of every row, (B,); NaN where the reward was not asked or did not answer."""
        return np.asarray(self.rows.columns["score"], np.float64)

    @property
    def scored(self) -> NDArray[np.bool_]:
        """Which rows the reward answered for, (B,)."""
        return np.array([s == "ok" for s in self.rows.columns["status"]], np.bool_)

    @property
    def history(self) -> pd.DataFrame:
        """A row a round: what had been asked and spent after it, the best score so far, the mean
        of the ten best, and that of the round's own objects."""
        import pandas as pd

        return pd.DataFrame(self._history)

    @cached_property
    def asked(self) -> SampleResult:
        """Every distinct object that was asked, in that order: score, terms, status, round, why it
        failed, and the object it was made from where the method knows one."""
        return self.rows if self._asked is None else self._asked()

    def to_frame(self) -> pd.DataFrame:
        """See SampleResult.to_frame."""
        return self.rows.to_frame()

    def to_arrow(self) -> pa.Table:
        """See SampleResult.to_arrow."""
        return self.rows.to_arrow()

    def summary(self) -> dict[str, Any]:
        """SampleResult.summary, with the scores of scored rows, the verdict and the cost."""
        found = self.scores[self.scored]
        top, mean = (found.max(), found.mean()) if len(found) else (math.nan, math.nan)
        return {"scored": len(found), "score_best": float(top), "score_mean": float(mean),
                **self.rows.summary(), "verdict": self.certificate.verdict,
                "log_z": self.certificate.log_z, "asked": self.ledger.asked,
                "cache_hits": self.ledger.cache_hits, "network_rows": self.ledger.network_rows,
                **({} if self.hypervolume is None else {"hypervolume": self.hypervolume})}

    def to_html(self) -> str:
        """The page of `sd.report`: rows, curves, Pareto front, certificate and cost."""
        from scidiff.api.reporting import page_of

        return page_of(self)

    def save(self, path: str | Path) -> None:
        """See SampleResult.save; .html shows what was asked on the way too."""
        if Path(path).suffix.lower() != ".html":
            return self.rows.save(path)
        check_output(path)
        write_atomically(Path(path), self.to_html().encode())
        return None

    @property
    def plot(self) -> DesignPlots:
        """Pictures: .curves(), .pareto(), and those of `SampleResult.plot`."""
        from scidiff.api.plotting import DesignPlots

        return DesignPlots(self)

    def __repr__(self) -> str:
        found = self.scores[self.scored]
        scores = f": best {found.max():.4g}, mean {found.mean():.4g}" if len(found) else ""
        head = f"{len(self):,} designs, {len(found):,} scored{scores}"
        return "\n".join([head, str(self.certificate), str(self.ledger)])

    def _repr_html_(self) -> str:
        return self.rows._repr_html_()
