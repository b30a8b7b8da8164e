"""A power law that bends: one slope up to a batch size, another beyond it; and whether it does.

LR* that grows and then stays, or falls, follows no power law, and one exponent over all of it is an
average that describes none of it.
"""

from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple

import numpy as np
from scipy import stats  # type: ignore[import-untyped,unused-ignore]
from scipy.special import log_ndtr  # type: ignore[import-untyped,unused-ignore]

from analysis.fit.laws import LEVEL, TAUS, Series, crossing

STEP = 0.25  # octaves between the bends tried
PARAMETERS = 4  # of the mean: height, two slopes, place
LEAST = PARAMETERS + 2  # points for a bend: two remain to tell how far cells miss it
SDS = TAUS[::2]  # of the cells' misses
DRAWS = 10_000  # of straight series, which p is counted over
BELOW, ABOVE = np.array([0.0, 1.0, 0.0]), np.array([0.0, 1.0, 1.0])


class Estimate(NamedTuple):
    """A value with its 95 % interval."""

    value: float
    low: float
    high: float


UNKNOWN = Estimate(float("nan"), -np.inf, np.inf)


@dataclass(frozen=True, eq=False)
class Bend:
    """log2 value = height + (below if x < batch else above) (x - batch), x = log2 B.

    tau, loglik, points, aicc : as of `analysis.fit.laws.Fit`. p : how often a power law that cells
    miss at random seems to bend as much. left_out : root mean square error, octaves, at a batch
    size that was not fitted to; straight : that of the power law. NaN of fewer than `LEAST` points.
    """

    below: Estimate = UNKNOWN
    above: Estimate = UNKNOWN
    batch: Estimate = UNKNOWN
    height: float = float("nan")
    tau: float = float("nan")
    loglik: float = float("nan")
    points: int = 0
    aicc: float = float("nan")
    p: float = float("nan")
    left_out: float = float("nan")
    straight: float = float("nan")

    @property
    def told(self) -> bool:
        """The power law is rejected, and the bend foretells a batch size left out better."""
        return self.p <= 1 - LEVEL and self.left_out < self.straight

    def at(self, x: np.ndarray) -> np.ndarray:
        """log2 of the value at log2 B."""
        u = np.asarray(x, float) - self.batch.value
        return self.height + u * np.where(u < 0, self.below.value, self.above.value)


@dataclass(frozen=True, eq=False)
class Scan:
    """Maximum likelihood for each tau and each of n designs of q columns.

    logs : (taus, n). beta : (taus, n, q), with `covariance` (taus, n, q, q).
    """

    logs: np.ndarray
    beta: np.ndarray
    covariance: np.ndarray

    @property
    def best(self) -> tuple[int, int]:
        t, n = np.unravel_index(int(np.argmax(self.logs)), self.logs.shape)
        return int(t), int(n)


def fit_bend(series: Series) -> Bend:
    """The bend of maximum likelihood, its three intervals, and its case against the power law.

    As in `laws.fit_law` each cell misses the law by N(0, tau^2), and censored cells enter
    by their side. Bends are tried from the second point to the last but one.
    """
    x = series.x[series.side == 0]
    points = len(x)
    if points < LEAST or len(np.unique(x)) < points:
        return Bend(points=points)
    places = places_of(x)
    found, line = scan(series, hinged(series.x, places)), scan(series, straight(series.x))
    t, n = found.best
    logs, top, cells = found.logs, found.logs[t, n], len(series.x)
    # Exact for a slope if the place were known and the errors all misses: see `Fit.interval`.
    free = points - PARAMETERS
    cut = top - points * np.log1p(stats.t.ppf((1 + LEVEL) / 2, free) ** 2 / free) / 2
    profile = logs.max(axis=0)
    inside = np.flatnonzero(profile >= cut)
    ends = (
        crossing(places, profile - cut, int(i), s) for i, s in ((inside[0], -1), (inside[-1], 1))
    )
    count = PARAMETERS + 1
    return Bend(
        _slope(found, BELOW, cut), _slope(found, ABOVE, cut),
        Estimate(float(places[n]), *ends), float(found.beta[t, n, 0]), float(SDS[t]),
        float(top), points,
        float(-2 * top + 2 * count + 2 * count * (count + 1) / max(cells - count - 1, 0.5)),
        _p(x, float(top - line.logs.max())), *_left_out(series),
    )  # fmt: skip


def places_of(x: np.ndarray) -> np.ndarray:
    """Where a bend is tried, log2 B, between points at x."""
    x = np.sort(x)
    return np.arange(x[1], x[-2] + 1e-9, STEP)


def hinged(x: np.ndarray, places: np.ndarray) -> np.ndarray:
    """(n, k, 3): of the height at the place, the slope below it, and what it gains beyond."""
    u = x - places[:, None]
    return np.stack([np.ones_like(u), u, np.maximum(u, 0)], axis=-1)


def straight(x: np.ndarray) -> np.ndarray:
    return np.stack([np.ones_like(x), x], axis=-1)[None]


def _slope(found: Scan, weights: np.ndarray, cut: float) -> Estimate:
    """A sum of coefficients, wherever its profile likelihood is above `cut`.

    At one tau and place the profile is a parabola, so each gives an interval; theirs is the union.
    """
    value = found.beta @ weights
    spare = np.maximum(found.logs - cut, 0)
    reach = np.sqrt(2 * spare * (found.covariance @ weights @ weights))
    inside = found.logs >= cut
    low, high = (value - reach)[inside].min(), (value + reach)[inside].max()
    return Estimate(float(value[found.best]), float(low), float(high))


def scan(series: Series, design: np.ndarray, sds: np.ndarray = SDS) -> Scan:
    """Generalised least squares with V + tau^2 I; Newton from there where cells are censored."""
    point = series.side == 0
    values, turn = np.linalg.eigh(series.covariance[np.ix_(point, point)])
    w = 1 / (np.maximum(values, 0) + sds[:, None] ** 2)
    d, y = turn.T @ design[:, point], turn.T @ series.y[point]
    information = np.tensordot(w, d[..., None] * d[..., None, :], (1, 1))
    covariance = np.linalg.inv(information)
    b = np.tensordot(w * y, d, (1, 1))
    beta = (covariance @ b[..., None])[..., 0]
    flat = np.log(w / (2 * np.pi)).sum(axis=1) - w @ y**2
    logs = (flat[:, None] + np.einsum("tni,tni->tn", b, beta)) / 2
    if point.all():
        return Scan(logs, beta, covariance)
    side, bound, d = series.side[~point], series.y[~point], design[:, ~point]
    sd = np.maximum(sds, 0.02)[:, None, None]  # without a miss the side would be a step
    start = beta
    for _ in range(30):
        z = side * (np.einsum("nci,tni->tnc", d, beta) - bound) / sd
        mills = np.exp(-(z**2) / 2 - log_ndtr(z)) / np.sqrt(2 * np.pi)
        pull = np.einsum("tnc,nci->tni", side * mills / sd, d)
        slope = pull - np.einsum("tnij,tnj->tni", information, beta - start)
        weight = mills * (mills + z) / sd**2
        curved = information + np.einsum("tnc,nci,ncj->tnij", weight, d, d, optimize=True)
        step = np.linalg.solve(curved, slope[..., None])[..., 0]
        moved = np.abs(np.einsum("nci,tni->tnc", d, step)).max(axis=-1, keepdims=True)
        beta = beta + step / np.maximum(moved, 1)
        if moved.max() < 1e-6:
            break
    off = beta - start
    logs = logs - np.einsum("tni,tnij,tnj->tn", off, information, off) / 2
    return Scan(logs + log_ndtr(z).sum(axis=-1), beta, np.linalg.inv(curved))


def _p(x: np.ndarray, gain: float) -> float:
    return float(1 + (_gains(tuple(x)) >= gain).sum()) / (1 + DRAWS)


@lru_cache
def _gains(x: tuple[float, ...]) -> np.ndarray:
    """Log likelihood that a bend gains over straight points at x, all of whose error is misses.

    Then it depends on no slope, height or tau. Errors known from the trials make it smaller, so
    that p is too large; a bootstrap with them and the fitted tau called power laws bent in up to
    12 % of data sets at 5 %.
    """
    places = places_of(np.array(x))
    design, _ = np.linalg.qr(straight(np.array(x))[0])
    hinge = np.maximum(np.array(x)[:, None] - places, 0)
    hinge -= design @ (design.T @ hinge)
    hinge /= np.linalg.norm(hinge, axis=0)
    e = np.random.default_rng(0).standard_normal((len(x), DRAWS))
    e -= design @ (design.T @ e)
    rest = (e**2).sum(axis=0)
    gained: np.ndarray = -len(x) / 2 * np.log1p(-((hinge.T @ e) ** 2).max(axis=0) / rest)
    return gained


def _left_out(series: Series) -> tuple[float, float]:
    """Root mean square error of the bend, and of the power law, at a point left out of the fit."""
    errors = []
    for i in np.flatnonzero(series.side == 0):
        rest, at = series.but(int(i)), series.x[i : i + 1]
        places = places_of(rest.x[rest.side == 0])
        bent = scan(rest, hinged(rest.x, places), SDS[::3])
        line = scan(rest, straight(rest.x), SDS[::3])
        foretold = [own[f.best[1], 0] @ f.beta[f.best] for own, f in
                    ((hinged(at, places), bent), (straight(at), line))]  # fmt: skip
        errors.append(np.subtract(foretold, series.y[i]))
    ours, theirs = np.sqrt(np.mean(np.square(errors), axis=0)).tolist()
    return ours, theirs
