"""Noise variances of many small samples: each its own, moderated by what all have in common.

Three seeds tell little of a variance, and one variance for all is wrong by orders of magnitude
where large batches are the noisier ones. So the samples' variances are taken as draws around a
common one, and how far they scatter says how much each counts for itself; as long as they are not
shown to differ one variance serves all.
"""

from dataclasses import dataclass

import numpy as np
from scipy import stats  # type: ignore[import-untyped,unused-ignore]
from scipy.optimize import brentq  # type: ignore[import-untyped,unused-ignore]
from scipy.special import polygamma, psi  # type: ignore[import-untyped,unused-ignore]

DIFFER = 0.05
MOST = 1e3  # degrees of freedom that stand for "all samples have one variance"


@dataclass(frozen=True, eq=False)
class Variances:
    """`variance` of each sample with its degrees of freedom `df`, shape (k,); NaN, 0 if unknown."""

    variance: np.ndarray
    df: np.ndarray
    common: float
    prior_df: float


def moderated(squares: np.ndarray, df: np.ndarray) -> Variances:
    """Empirical Bayes variances of k samples (Smyth 2004, section 6.2).

    Parameters
    ----------
    squares : (k,) sums of squared deviations; df : (k,) their degrees of freedom, 0 for none.

    Notes
    -----
    With s^2 | sigma^2 ~ sigma^2 chi^2_df / df and 1/sigma^2 ~ chi^2_d0 / (d0 s0^2), log s^2 has
    the mean log s0^2 and the variance trigamma(df/2) + trigamma(d0/2) up to known terms, from
    which s0^2 and d0 follow; the posterior mean is (d0 s0^2 + squares) / (d0 + df).
    """
    squares, df = np.asarray(squares, float), np.asarray(df, float)
    some = (df > 0) & (squares > 0)
    if not some.any():
        return Variances(np.full(len(df), np.nan), np.zeros(len(df)), np.nan, 0.0)
    half, weight = df[some] / 2, df[some] / df[some].sum()
    logs = np.log(squares[some] / df[some]) - psi(half) + np.log(half)
    # What is known least scatters most, so samples count by their degrees of freedom.
    mean = float(weight @ logs)
    freedom = 1 - float(weight @ weight)
    excess = float(weight @ (logs - mean) ** 2) - float(
        weight @ (polygamma(1, half) * (1 - weight))
    )
    differ = _bartlett(squares[some], df[some]) < DIFFER
    prior = _prior_df(excess / freedom) if freedom > 0 and differ else MOST
    if prior >= MOST:  # one variance: known as well as all samples together know it
        common = float(squares.sum() / df.sum())
        return Variances(np.full(len(df), common), np.full(len(df), df.sum()), common, prior)
    common, total = float(np.exp(mean + psi(prior / 2) - np.log(prior / 2))), prior + df
    return Variances((prior * common + squares) / total, total, common, prior)


def _bartlett(squares: np.ndarray, df: np.ndarray) -> float:
    """p of Bartlett's (1937) test that all samples have one variance."""
    if len(df) < 2:
        return 1.0
    total = df.sum()
    statistic = total * np.log(squares.sum() / total) - df @ np.log(squares / df)
    correction = 1 + ((1 / df).sum() - 1 / total) / (3 * (len(df) - 1))
    return float(stats.chi2.sf(statistic / correction, len(df) - 1))


def _prior_df(excess: float) -> float:
    """d0 with trigamma(d0 / 2) = excess."""
    if excess <= polygamma(1, MOST / 2):
        return MOST
    return 2 * float(brentq(lambda half: polygamma(1, half) - excess, 1e-3, MOST / 2))
