"""The accuracy of a cell: its winner's on fresh seeds, and what the winner lacks of the optimum."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd

from analysis.data.cells import Cell, complete
from analysis.fit.optimum import Optimum


@dataclass(frozen=True)
class Mean:
    """Mean accuracy over n fresh seeds (a fraction), its variance and that one's df.

    diverged : seeds that did not survive and are not in the mean, which flatters it. doubt : the
    part of the variance that comes from the search.
    """

    value: float
    variance: float
    df: float
    n: int
    diverged: int
    doubt: float = 0.0

    @property
    def parts(self) -> list[tuple[float, float]]:
        """(variance, df): of the seeds, and of the search, whose doubt is a posterior's."""
        return [(self.variance - self.doubt, self.df), (self.doubt, np.inf)]

    def without_doubt(self) -> "Mean":
        return replace(self, variance=self.variance - self.doubt, doubt=0.0)


@dataclass(frozen=True)
class Lacking:
    """How much less than at its cell's optimum a winner's accuracy is: expectation and variance."""

    value: float = 0.0
    variance: float = 0.0


Lack = Mapping[tuple[str, int, int], Lacking]


def mean_of(runs: pd.DataFrame, noise: tuple[float, float]) -> Mean:
    """Over the runs that came to their end; noise : the SD of a seed, and its df."""
    values = complete(runs)["test_accuracy"].dropna().to_numpy(float)
    diverged = int(runs["status"].eq("diverged").sum())
    n = len(values)
    if not n:
        return Mean(np.nan, np.nan, 0.0, 0, diverged)
    return Mean(float(values.mean()), noise[0] ** 2 / n, noise[1], n, diverged)


def freedom(parts: Sequence[tuple[float, float]]) -> float:
    """Satterthwaite's degrees of freedom of a sum of (variance, df)."""
    squares = sum(v**2 / max(df, 1) for v, df in parts)
    return sum(v for v, _ in parts) ** 2 / squares if squares else np.inf


def lacking(cells: Sequence[Cell], optima: Sequence[Optimum], score: str) -> Lack:
    """By cell key, from what the surface expects the winner to score less than the optimum.

    Of the scores `log_error` and `accuracy`; of a loss no accuracy follows, so nothing is known.
    Where a cell has no surface its winner is taken as it is.
    """
    if score not in ("log_error", "accuracy"):
        return {}
    found = {}
    for cell, each in zip(cells, optima, strict=True):
        error = 1 - complete(cell.winner_runs)["test_accuracy"].mean()
        if not np.isfinite(each.shortfall * error):
            found[cell.key] = Lacking()
        elif score == "accuracy":
            found[cell.key] = Lacking(each.shortfall, each.shortfall_sd**2)
        else:  # d error = -error d score
            less = error * -np.expm1(-each.shortfall)
            slope = error * np.exp(-each.shortfall)
            found[cell.key] = Lacking(float(less), float((slope * each.shortfall_sd) ** 2))
    return found


def at_best(mean: Mean, cell: Cell, lacks: Lack) -> Mean:
    """The accuracy at the cell's optimum, from its winner's and what that is expected to lack."""
    lack = lacks.get(cell.key, Lacking())
    return replace(mean, value=mean.value + lack.value, variance=mean.variance + lack.variance,
                   doubt=lack.variance)  # fmt: skip
