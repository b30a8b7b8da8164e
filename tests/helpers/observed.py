"""Scores of a quadratic, as the surface is given them."""

import numpy as np

from analysis.fit.surface import Observations

TILTED = np.array([[-0.10, 0.03], [0.03, -0.08]])


def observe(cell, x, y, z=None, extra=0.0, cells=None):
    """Batch sizes 64, 128, ... in the order of the cells."""
    cell, x = np.asarray(cell, int), np.asarray(x, float)
    places = 6.0 + np.arange(cells or cell.max() + 1)[:, None]
    extra = np.broadcast_to(extra, x.shape).astype(float)
    return Observations(cell, x, z, np.asarray(y, float), extra, places)


def quadratic(points, peaks, hessian=-0.2):
    """The score of each point about its own peak."""
    u = points - peaks
    return np.einsum("ni,ij,nj->n", u, np.atleast_2d(hessian), u) / 2


def many(peaks, trials, random, hessian=-0.2, low=-4, high=4, noise=0.0, top=0.0):
    """`trials` a cell at random places of [low, high], with the score's noise; d = 1 or 2."""
    peaks = np.asarray(peaks, float)
    cell = np.repeat(np.arange(len(peaks)), trials)
    points = random.uniform(low, high, (len(cell), peaks.shape[1]))
    y = np.broadcast_to(top, len(peaks))[cell] + quadratic(points, peaks[cell], hessian)
    y = y + noise * random.standard_normal(len(cell))
    return observe(cell, points[:, 0], y, points[:, 1] if peaks.shape[1] == 2 else None)
