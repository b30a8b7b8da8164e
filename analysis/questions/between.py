"""What a method's cells say at a batch size: as measured there, or between two by line or law."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np
import pandas as pd
from scipy import stats  # type: ignore[import-untyped,unused-ignore]

from analysis.fit.bend import UNKNOWN, Bend, Estimate, fit_bend
from analysis.fit.foretell import foretold
from analysis.fit.laws import LEVEL, Series
from analysis.fit.optimum import SPANS, Optimum
from analysis.fit.scaling import CENSORED, IN_FIT, Group, series
from analysis.questions.accuracies import Mean, freedom
from trainables.spec.roles import base_of, is_plain

INNER = 2  # batch sizes with a neighbour on either side, for how far a line between two misses
STATED = (*IN_FIT, *CENSORED, "warm_started")  # verdicts of cells whose LR* is stated


class Measured(NamedTuple):
    """A value with the variance of its error, and the degrees of freedom of that."""

    value: float
    variance: float
    df: float


class Reading(NamedTuple):
    """A learning rate by the "cell" itself, by the "law", or the "winner"'s where neither tells,
    or as "held" in all trials;
    law : what that of the other batch sizes says."""

    value: Estimate
    source: str
    law: Estimate


Points = Mapping[int, Measured]  # by batch size


@dataclass(frozen=True, eq=False)
class Line:
    """A method, and m, over its batch sizes.

    accuracy : of the test set at a cell's optimum, a fraction. gain : that less the accuracy of the
    optimizer alone. equal : of validation accuracy at equal gradients, for which a schedule is cut
    to its `share`.
    """

    group: Group
    accuracy: Points
    gain: Points
    equal: Points
    share: Mapping[int, float]

    @cached_property
    def optima(self) -> dict[int, Optimum]:
        return {each.batch_size: each for each in self.group.optima}

    @cached_property
    def rates(self) -> Series:
        return series(self.group)[0]

    @cached_property
    def bend(self) -> Bend:
        return fit_bend(self.rates)

    def lr(self, size: int) -> Reading | None:
        """LR*; None where neither a cell nor the law tells it."""
        law, own = self._by_law(self.rates, size, self.bend), self.optima.get(size)
        if own and own.verdict in STATED and np.isfinite(own.se):
            return Reading(Estimate(own.lr_star, own.lr_low, own.lr_high), "cell", law)
        if own and own.verdict == "held":
            return Reading(_alone(own.winner_lr), "held", law)
        if law.value > 0:
            return Reading(law, "law", law)
        return Reading(_alone(own.winner_lr), "winner", law) if own and own.winner_lr > 0 else None

    def rho(self, size: int) -> Estimate:
        """rho*; where that is not told a winner's, here or at the nearest batch size."""
        if is_plain(self.group.method):
            return _alone(0.0)
        own = self.optima.get(size)
        if own and own.rho_verdict == "interior":
            return Estimate(own.rho_star, own.rho_low, own.rho_high)
        law = self._by_law(series(self.group, "rho")[0], size)
        nearest = min(self.optima, key=lambda b: abs(np.log2(b / size)))
        return law if own is None and law.value > 0 else _alone(self.optima[nearest].winner_rho)

    def edge(self, size: int) -> Estimate:
        """LR_max; where nothing has failed only that it lies above what was tried."""
        if own := self.optima.get(size):
            return Estimate(own.lr_max, own.lr_max_low, own.lr_max_high)
        law = self._by_law(series(self.group, "lr_max")[0], size)
        around = sorted(self.optima, key=lambda b: abs(np.log2(b / size)))[:2]
        least = min(self.optima[b].lr_max_low for b in around)
        return law if law.value > 0 else Estimate(np.nan, least, np.inf)

    def _by_law(self, data: Series, size: int, bend: Bend | None = None) -> Estimate:
        """Of all other batch sizes; unknown where it leaves open all that was tried."""
        for i in np.flatnonzero(data.x == np.log2(size)):
            data = data.but(int(i))
        found = foretold(data, float(np.log2(size)), bend or Bend())
        tried = [np.log2(each.tried_high / each.tried_low) for each in self.group.optima
                 if each.tried_low > 0]  # fmt: skip
        if not tried or found.high - found.low >= SPANS * np.median(tried):
            return UNKNOWN
        return Estimate(*(float(2.0**each) for each in found))


def line_of(group: Group, means: Mapping[tuple[str, int, int], Mean], equal: pd.DataFrame) -> Line:
    """`means` : accuracies at the cells' optima, by key; `equal` : as of `Budgets`."""
    accuracy, gain, price, share = {}, {}, {}, {}
    equal = equal[equal["budget"].eq("grads") & equal["n_pairs"].gt(1)]
    prices = equal.set_index(["method", "batch_size", "m"]).to_dict("index")
    for each in group.optima:
        size, key = each.batch_size, (each.method, each.batch_size, each.m)
        ours, theirs = means[key], means.get((base_of(each.method), size, size))
        if ours.n:
            accuracy[size] = _measured(ours.value, *ours.parts)
        if ours.n and theirs and theirs.n and not is_plain(each.method):
            gain[size] = _measured(ours.value - theirs.value, *ours.parts, *theirs.parts)
        if own := prices.get(key):
            df = own["n_pairs"] - 1
            half = (own["difference_high"] - own["difference_low"]) / 2
            sd = half / stats.t.ppf((1 + LEVEL) / 2, df)
            price[size], share[size] = Measured(own["difference"], sd**2, df), own["share"]
    return Line(group, accuracy, gain, price, share)


def read(points: Points, size: int) -> Estimate:
    """The value at batch size `size` with its 95 % interval.

    Between two batch sizes linear in log B, with the error of both and how far such a line between
    their neighbours misses the inner ones, which lie twice as far from what it is drawn through.
    Unknown where that is not known, and outside of all.
    """
    if size in points:
        return _interval(*points[size])
    x, at = np.log2(sorted(points)), np.log2(size)
    if len(x) < INNER + 2 or not x[0] < at < x[-1]:
        return UNKNOWN
    y, v, df = np.array([points[b] for b in sorted(points)], float).T
    miss = [y[i] - np.interp(x[i], x[[i - 1, i + 1]], y[[i - 1, i + 1]])
            for i in range(1, len(x) - 1)]  # fmt: skip
    above = int(np.searchsorted(x, at))
    share = float((at - x[above - 1]) / (x[above] - x[above - 1]))
    variance = (1 - share) ** 2 * v[above - 1] + share**2 * v[above] + np.mean(np.square(miss))
    return _interval(float(np.interp(at, x, y)), float(variance), min(len(miss), df.min()))


def _measured(value: float, *parts: tuple[float, float]) -> Measured:
    return Measured(value, sum(variance for variance, _ in parts), freedom(parts))


def _alone(value: float) -> Estimate:
    """Without an interval."""
    return Estimate(value, -np.inf, np.inf)


def _interval(value: float, variance: float, df: float) -> Estimate:
    half = float(stats.t.ppf((1 + LEVEL) / 2, df) * np.sqrt(variance)) if df > 0 else np.inf
    return Estimate(value, value - half, value + half) if np.isfinite(half) else _alone(value)
