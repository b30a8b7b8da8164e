"""Fieller's interval of a ratio, which knows when its denominator could be zero."""

import numpy as np
from numpy.typing import ArrayLike


def fieller(a2: ArrayLike, a1: ArrayLike, a0: ArrayLike) -> tuple[np.ndarray, np.ndarray]:
    """All u with a2 u^2 + 2 a1 u + a0 <= 0, elementwise; unbounded where a2 > 0 does not hold."""
    a2, a1, a0 = (np.asarray(each, float) for each in (a2, a1, a0))
    root = np.sqrt(np.maximum(a1**2 - a2 * a0, 0.0))
    with np.errstate(divide="ignore", invalid="ignore"):
        low, high = (-a1 - root) / a2, (-a1 + root) / a2
    return np.where(a2 > 0, low, -np.inf), np.where(a2 > 0, high, np.inf)
