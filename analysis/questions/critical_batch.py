"""The critical batch size: where more examples a step stop saving steps in proportion.

McCandlish et al. (2018): to reach a loss takes S(B) = S_min (1 + B_crit / B) steps.
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike
from scipy import stats  # type: ignore[import-untyped,unused-ignore]

from analysis.fit.laws import LEVEL

Regime = Literal["perfect scaling", "diminishing returns", "maximal parallelism", "undetermined"]
REACH, STEP = 10.0, 1 / 128  # the grid of log2 B_crit beyond the batch sizes; octaves
EDGE = 4.0  # |slope| = B_crit / (B + B_crit) is 0.8 at B = B_crit / EDGE and 0.2 at EDGE B_crit


@dataclass(frozen=True)
class Estimate:
    """A value with its `LEVEL` interval; nothing known is NaN in [0, inf]."""

    value: float = float("nan")
    low: float = 0.0
    high: float = float("inf")


@dataclass(frozen=True)
class CriticalBatch:
    """S(B) = S_min (1 + B_crit / B) over k batch sizes; `residual_sd` of log2 S, octaves.

    `b_crit` and `e_min` = S_min B_crit in examples, `s_min` in steps. Where the best fit is a
    limit, B_crit is 0 (steps do not fall with B) or infinite (perfect scaling, S_min is 0).
    """

    b_crit: Estimate = Estimate()
    s_min: Estimate = Estimate()
    e_min: Estimate = Estimate()
    residual_sd: float = float("nan")
    k: int = 0


def fit_critical_batch(batch_sizes: ArrayLike, steps: ArrayLike) -> CriticalBatch:
    """Fit S(B) = S_min (1 + B_crit / B) (McCandlish et al. 2018, eq. 2.11), least squares on log S.

    batch_sizes, steps: shape (k,), each batch size one replicate; k < 3 determines nothing.

    B_crit is sought on a grid. In its interval the residual sum of squares is at most
    1 + t^2 / (k - 2) times its least, t of k - 2 degrees of freedom: exact for a linear model of
    unknown variance, approximate for this one. It is rounded outwards to the grid, and an end at
    the grid's end is 0 or infinite: the data bound B_crit on one side only. The intervals of S_min
    and E_min are projections of the same region.
    """
    b, y = np.asarray(batch_sizes, float), np.log(np.asarray(steps, float))
    k = len(b)
    if k < 3 or np.ptp(b) == 0:
        return CriticalBatch(k=k)
    log_b_crit, log_s_min, rss = _profile(b, y)
    t = float(stats.t.ppf((1 + LEVEL) / 2, k - 2))
    bound = rss.min() * (1 + t**2 / (k - 2))
    half = np.sqrt(np.maximum(bound - rss, 0) / k)  # of log S_min at a given B_crit
    log_e_min = log_s_min + log_b_crit
    log_b_crit[0] = log_e_min[0] = log_s_min[-1] = -np.inf  # the grid's ends stand for the limits
    log_b_crit[-1] = np.inf
    best, inside = int(rss.argmin()), rss <= bound
    return CriticalBatch(
        _projected(log_b_crit, np.log(2) * STEP, best, inside),
        _projected(log_s_min, half, best, inside),
        _projected(log_e_min, half, best, inside),
        float(np.sqrt(rss[best] / (k - 2)) / np.log(2)),
        k,
    )


def regime(batch_size: float, b_crit: Estimate) -> Regime:
    """The regime by the slope of log S on log B, if both ends of B_crit's interval agree on it.

    Magnitude B_crit / (B + B_crit) above 0.8: perfect scaling; below 0.2: maximal parallelism.
    """
    if b_crit.low > EDGE * batch_size:
        return "perfect scaling"
    if b_crit.high < batch_size / EDGE:
        return "maximal parallelism"
    if batch_size / EDGE <= b_crit.low and b_crit.high <= EDGE * batch_size:
        return "diminishing returns"
    return "undetermined"


def _profile(b: np.ndarray, log_s: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """log B_crit on a grid, the log S_min that fits best with each, and the squares left over."""
    log_b_crit = np.log(2) * np.arange(np.log2(b.min()) - REACH, np.log2(b.max()) + REACH, STEP)
    residual = log_s - np.logaddexp(0.0, log_b_crit[:, None] - np.log(b))
    log_s_min = residual.mean(axis=1)
    return log_b_crit, log_s_min, ((residual - log_s_min[:, None]) ** 2).sum(axis=1)


def _projected(log_value: np.ndarray, width: ArrayLike, best: int, inside: np.ndarray) -> Estimate:
    low, high = log_value - width, log_value + width
    ends = np.exp([log_value[best], low[inside].min(), high[inside].max()])
    return Estimate(*(float(end) for end in ends))
