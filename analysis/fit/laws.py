"""The laws that a best learning rate may follow, and how well cells tell them apart.

The cells are the replicates, not the trials. No law holds exactly: each cell misses it by an amount
that more trials in the same cell cannot average away, so errors from trials alone are too narrow
and grow more wrong with compute. Every fit therefore carries a random effect for each cell.
"""

from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from typing import NamedTuple

import numpy as np
from scipy import stats  # type: ignore[import-untyped,unused-ignore]
from scipy.special import log_ndtr  # type: ignore[import-untyped,unused-ignore]

LEVEL = 0.95
TAUS = np.concatenate([[1e-3], np.geomspace(5e-3, 8, 72)])  # SD of the cells' misses, octaves
SLOPES = np.arange(-3.0, 3.0001, 0.02)


@dataclass(frozen=True)
class Law:
    """log2 value = intercept + shape(log2 B, psi); without psi where `scans` is empty."""

    name: str
    formula: str
    shape: Callable[[np.ndarray, np.ndarray], np.ndarray]
    scans: str = ""  # what psi is: a slope, or log2 of a batch size
    special: tuple[str, ...] = ()  # laws that this one can imitate

    def grid(self, x: np.ndarray) -> np.ndarray:
        """The values of psi to try."""
        if not self.scans:
            return np.zeros(1)
        return SLOPES if self.scans == "slope" else np.arange(x.min() - 5, x.max() + 5.01, 0.1)


LAWS = {
    law.name: law
    for law in (
        Law("constant", "c", lambda x, psi: 0 * x + 0 * psi),
        Law("sqrt", "c B^1/2", lambda x, psi: x / 2 + 0 * psi),
        Law("linear", "c B", lambda x, psi: x + 0 * psi),
        Law("power", "c B^a", lambda x, psi: psi * x, "slope", ("constant", "sqrt", "linear")),
        Law("saturating", "c / (1 + B*/B)", lambda x, psi: -np.log2(1 + 2 ** (psi - x)),
            "batch", ("constant", "linear")),
        Law("surge", "2c / ((B*/B)^1/2 + (B/B*)^1/2)",
            lambda x, psi: 1 - np.log2(2 ** ((psi - x) / 2) + 2 ** ((x - psi) / 2)),
            "batch", ("sqrt",)),
    )
}  # fmt: skip


@dataclass(frozen=True, eq=False)
class Series:
    """Cells along log2 B (or log2 m): `x`, `y`, `side` of shape (k,), `covariance` (k, k).

    y : log2 of the value. side : 0 where y is an estimate with `covariance`; 1 (-1) where the value
    is only known to lie above (below) y.
    """

    x: np.ndarray
    y: np.ndarray
    side: np.ndarray
    covariance: np.ndarray

    def but(self, i: int) -> "Series":
        """Without cell i."""
        keep = np.arange(len(self.x)) != i
        return Series(self.x[keep], self.y[keep], self.side[keep],
                      self.covariance[np.ix_(keep, keep)])  # fmt: skip


@dataclass(frozen=True, eq=False)
class Fit:
    """Maximum likelihood of one law, with psi's 95 % interval and tau, the cells' misses, octaves.

    profile : log likelihood along `grid`. points : cells that are not censored. aicc : lower is
    better.
    """

    law: Law
    psi: float
    low: float
    high: float
    intercept: float
    tau: float
    loglik: float
    points: int
    aicc: float
    grid: np.ndarray
    profile: np.ndarray

    def at(self, x: np.ndarray) -> np.ndarray:
        """log2 of the law's value at log2 B."""
        return np.asarray(self.intercept + self.law.shape(np.asarray(x, float), np.array(self.psi)))

    def interval(self, level: float) -> tuple[float, float]:
        """Where the profile likelihood keeps psi; an end of the grid stands for no bound.

        The drop allowed is k log(1 + t^2 / (k - 2)) for k points, which is exact for a line through
        them with one unknown variance, instead of the chi^2 of many; censored cells tell so little
        of a variance that they do not count.
        """
        free = self.points - 2
        if free < 1 or not self.law.scans or np.isnan(self.loglik):
            return -np.inf, np.inf
        t = stats.t.ppf((1 + level) / 2, free)
        spare = self.profile - (self.loglik - self.points * np.log1p(t**2 / free) / 2)
        inside = np.flatnonzero(spare >= 0)
        return (crossing(self.grid, spare, int(inside[0]), -1),
                crossing(self.grid, spare, int(inside[-1]), 1))  # fmt: skip


def fit_law(
    series: Series, law: Law, grid: np.ndarray | None = None, taus: np.ndarray = TAUS
) -> Fit:
    """The law through the cells: points with errors V + tau^2 I, censored ones by their side.

    y = intercept + shape(x, psi) + u + e with u ~ N(0, tau^2) for each cell and e ~ N(0, V); psi
    and tau are scanned, the intercept follows in closed form, or by Newton where cells are
    censored. Without a point, or without a second x for psi, there is nothing to fit: all NaN.
    """
    grid = law.grid(series.x) if grid is None else grid
    points = int((series.side == 0).sum())
    if not points or (law.scans and np.ptp(series.x) == 0):
        nan, flat = float("nan"), np.full(len(grid), np.nan)
        return Fit(law, nan, -np.inf, np.inf, nan, nan, nan, points, nan, grid, flat)
    logs, intercepts = _likelihoods(series, law.shape(series.x[:, None], grid), taus)
    t, p = np.unravel_index(int(np.argmax(logs)), logs.shape)
    k, parameters = len(series.x), 2 + bool(law.scans)
    spare = k - parameters - 1
    aicc = -2 * logs[t, p] + 2 * parameters + 2 * parameters * (parameters + 1) / max(spare, 0.5)
    profile = logs.max(axis=0)
    found = Fit(law, float(_top(grid, profile, int(p))), -np.inf, np.inf, float(intercepts[t, p]),
                float(taus[t]), float(logs[t, p]), points, float(aicc), grid,
                profile)  # fmt: skip
    low, high = found.interval(LEVEL)
    return Fit(**{**vars(found), "low": low, "high": high})


def crossing(grid: np.ndarray, spare: np.ndarray, i: int, step: int) -> float:
    """Where `spare` falls below 0 beyond place i of the grid; infinite at its end."""
    j = i + step
    if not 0 <= j < len(spare):
        return step * np.inf
    share = spare[i] / (spare[i] - spare[j])
    return float(grid[i] + share * (grid[j] - grid[i]))


def _top(grid: np.ndarray, profile: np.ndarray, p: int) -> float:
    """The maximum between the places of the grid, by a parabola through three."""
    if not 0 < p < len(grid) - 1:
        return float(grid[p])
    below, top, above = profile[p - 1 : p + 2]
    bend = below - 2 * top + above
    return float(grid[p] + (grid[1] - grid[0]) * (below - above) / 2 / bend) if bend else grid[p]


def _likelihoods(
    series: Series, shape: np.ndarray, taus: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """(taus, psis): log likelihoods and intercepts; `shape` is (k, psis)."""
    point = series.side == 0
    values, turn = np.linalg.eigh(series.covariance[np.ix_(point, point)])
    e = turn.T @ (series.y[point, None] - shape[point])
    one = turn.T @ np.ones(point.sum())
    w = 1 / (np.maximum(values, 0) + taus[:, None] ** 2)
    weight = (w @ one**2)[:, None]
    centre = (w * one) @ e / weight
    logs = -(w @ e**2 - centre**2 * weight - np.log(w / (2 * np.pi)).sum(axis=1)[:, None]) / 2
    if point.all():
        return logs, centre
    sign = series.side[~point][:, None, None]
    sd = np.maximum(taus, 0.02)[:, None]  # without a miss the side would be a step
    ahead = sign * (shape[~point][:, None, :] - series.y[~point][:, None, None])
    alpha = centre.copy()
    for _ in range(30):
        z = (ahead + sign * alpha) / sd
        mills = np.exp(-(z**2) / 2 - log_ndtr(z)) / np.sqrt(2 * np.pi)
        slope = -weight * (alpha - centre) + (sign * mills / sd).sum(axis=0)
        bend = weight + (mills * (mills + z) / sd**2).sum(axis=0)
        step = np.clip(slope / bend, -1, 1)
        alpha = alpha + step
        if np.abs(step).max() < 1e-6:
            break
    z = (ahead + sign * alpha) / sd
    return logs - weight * (alpha - centre) ** 2 / 2 + log_ndtr(z).sum(axis=0), alpha


class Slope(NamedTuple):
    """Between neighbouring points: log2 B from and to, slope an octave, its standard error.

    The error is that of the two cells alone: how far they miss a law is part of the slope.
    """

    start: float
    end: float
    value: float
    se: float

    @property
    def interval(self) -> tuple[float, float]:
        """95 %."""
        half = float(stats.norm.ppf((1 + LEVEL) / 2)) * self.se
        return self.value - half, self.value + half


def local_slopes(data: Series) -> list[Slope]:
    """The slope from each point to the next."""
    found = []
    at = [int(i) for i in np.argsort(data.x) if data.side[i] == 0]
    for i, j in pairwise(at):
        step = float(data.x[j] - data.x[i])
        v = data.covariance
        se = np.sqrt(max(v[i, i] + v[j, j] - 2 * v[i, j], 0.0)) / step
        value = float(data.y[j] - data.y[i]) / step
        found.append(Slope(float(data.x[i]), float(data.x[j]), value, float(se)))
    return found
