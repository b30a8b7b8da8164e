"""What the cells' law says at a batch size that was not studied, and how far a cell may miss it."""

from dataclasses import replace

import numpy as np
from scipy.optimize import brentq  # type: ignore[import-untyped,unused-ignore]
from scipy.special import ndtr  # type: ignore[import-untyped,unused-ignore]

from analysis.fit.bend import SDS, UNKNOWN, Bend, Estimate, hinged, places_of, scan, straight
from analysis.fit.laws import LEVEL, Series

LEAST = 3  # points: a line through two says nothing of how far cells miss it
MISSES = 0.5  # octaves: half of all laws are taken to be missed by a smaller SD


def foretold(data: Series, x: float, bend: Bend) -> Estimate:
    """log2 of the value at log2 B = `x`: median and 95 % prediction interval, of a cell there.

    By the bend where it is told, else by the power law, with flat priors on heights and slopes. The
    interval is of the law and of what a cell misses it by, N(0, tau^2). tau is averaged over, which
    makes a t distribution of the normal one; its prior is half a Cauchy distribution (Gelman 2006),
    as few cells tell little of it. What tells it is the cells' spread as it is, their own errors V
    not taken off: their values are means of a posterior, which the prior and their neighbours have
    drawn together already. (With V taken off, intervals held LR* of real trainings in about nine of
    ten.) Of fewer than `LEAST` points nothing is known.
    """
    point = data.side == 0
    if len(np.unique(data.x[point])) < LEAST:
        return UNKNOWN
    places = places_of(data.x[point]) if bend.told else None

    def design(at: np.ndarray) -> np.ndarray:
        return straight(at) if places is None else hinged(at, places)

    found, at = scan(data, design(data.x)), design(np.array([x]))[:, 0]
    spread = scan(replace(data, covariance=0 * data.covariance), design(data.x))
    mean = np.einsum("ni,tni->tn", at, found.beta)
    law = np.einsum("ni,tnij,nj->tn", at, found.covariance, at)
    sd = np.sqrt(law + SDS[:, None] ** 2)
    prior = np.log(np.gradient(SDS) / (1 + (SDS / MISSES) ** 2))
    logs = spread.logs + np.linalg.slogdet(spread.covariance)[1] / 2 + prior[:, None]
    share = np.exp(logs - logs.max())
    share /= share.sum()
    low, high = (mean - 40 * sd).min(), (mean + 40 * sd).max()

    def quantile(p: float) -> float:
        return float(brentq(lambda y: (share * ndtr((y - mean) / sd)).sum() - p, low, high))

    tail = (1 - LEVEL) / 2
    return Estimate(quantile(0.5), quantile(tail), quantile(1 - tail))
