"""LR_max: the learning rate at which half of the trainings of a cell fail.

It is not LR*: the largest stable learning rate follows the batch size by laws of its own (Granziol
et al. 2022). Only here do diverged trials count, and all trials that did not diverge, stopped ones
too.
"""

from dataclasses import dataclass

import numpy as np

SOFTNESS = (0.05, 0.1, 0.2, 0.4, 0.8)  # octaves over which failing sets in, one for a method
SLANTS = (0.0, 0.25, 0.5, 1.0)  # octaves that LR_max falls by an octave of rho, one for a method
BEYOND = 3.0  # octaves below and above what was tried


@dataclass(frozen=True, eq=False)
class Edge:
    """log2 LR_max of each cell at its middle rho, shape (cells,).

    at : NaN where nothing failed or nothing survived; then `low` (or `high`) is the highest LR that
    survived (the lowest that failed) and the other end infinite. low, high : 95 % interval; at, sd
    : mean and SD, octaves, under a flat prior, softness and slant averaged over.
    """

    at: np.ndarray
    low: np.ndarray
    high: np.ndarray
    sd: np.ndarray


def edge(
    cell: np.ndarray, x: np.ndarray, z: np.ndarray | None, failed: np.ndarray, cells: int
) -> Edge:
    """Logistic regression of failing on log LR, located anew in each cell, equally soft in all.

    Parameters
    ----------
    cell, x, z, failed : (n,) cell index, log2 LR, log2 rho or None, whether it diverged.
    """
    rises = np.zeros(len(x))
    if z is not None and len(z):
        middle = np.array(
            [np.median(z[cell == c]) if (cell == c).any() else 0 for c in range(cells)]
        )
        rises = z - middle[cell]
    nan = np.full(cells, np.nan)
    both = [c for c in range(cells) if 0 < failed[cell == c].sum() < (cell == c).sum()]
    found = Edge(nan.copy(), -np.inf + np.zeros(cells), np.inf + np.zeros(cells), nan.copy())
    for c in range(cells):
        own = cell == c
        if own.any() and not failed[own].any():
            found.low[c] = x[own].max()
        elif own.any() and failed[own].all():
            found.high[c] = x[own].min()
    if not both:
        return found
    shapes = [(s, k) for s in SOFTNESS for k in (SLANTS if z is not None else (0.0,))]
    shared, own = np.zeros(len(shapes)), {}
    for c in both:
        mine = cell == c
        grid, logs = _likelihoods(x[mine], rises[mine], failed[mine], shapes)
        top = logs.max(axis=1, keepdims=True)
        own[c] = grid, np.exp(logs - top)
        shared += top[:, 0] + np.log(own[c][1].sum(axis=1))
    shared = np.exp(shared - shared.max())
    for c, (grid, likely) in own.items():
        share = (shared / shared.sum()) @ (likely / likely.sum(axis=1, keepdims=True))
        below = np.cumsum(share) - share / 2
        found.at[c] = share @ grid
        found.sd[c] = np.sqrt(share @ (grid - found.at[c]) ** 2)
        found.low[c], found.high[c] = np.interp([0.025, 0.975], below, grid)
    return found


def _likelihoods(
    x: np.ndarray, rises: np.ndarray, failed: np.ndarray, shapes: list[tuple[float, float]]
) -> tuple[np.ndarray, np.ndarray]:
    """Places for the edge, from below what was tried to above; log likelihoods (shapes, places)."""
    low, high = x.min() - BEYOND, x.max() + BEYOND
    grid = np.linspace(low, high, int((high - low) / 0.1) + 1)
    soft, slant = np.array(shapes).T[:, :, None, None]
    steps = (x + slant * rises - grid[:, None]) / soft
    return grid, -np.logaddexp(0, np.where(failed, -steps, steps)).sum(axis=2)
