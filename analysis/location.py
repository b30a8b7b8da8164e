"""Where a fitted surface is highest, cell by cell, with intervals that know when it is not.

A maximum is where the slope along an axis vanishes, the other coordinate at its own best. Testing
slope = 0 at every place, instead of adding an error to the place found, gives Fieller's interval:
it is exact for a parabola, and unbounded where the curvature could be zero.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from analysis.surface import Surface


@dataclass(frozen=True, eq=False)
class Location:
    """log2 of the best LR (or rho) of each cell, shape (cells,); NaN where there is no maximum.

    low, high : 95 % interval, infinite where unbounded. covariance : (cells, cells), octaves
    squared. fall : second derivative of the score along the axis, the other coordinate following.
    slope : (cells, 2), the slope as A + Q u at u octaves from `centre`; gradient : its d0 + d1 u
    in the fitted parameters, whose covariance is `errors`; t : (cells,), the quantile.
    """

    at: np.ndarray
    low: np.ndarray
    high: np.ndarray
    covariance: np.ndarray
    fall: float
    slope: np.ndarray
    centre: np.ndarray
    gradient: tuple[np.ndarray, np.ndarray]
    errors: np.ndarray
    t: np.ndarray

    def rises(self, c: int, at: float) -> int:
        """1 (-1) if the score is shown to rise (fall) in cell c at log2 LR `at`, else 0."""
        u = at - self.centre[c]
        slope = self.slope[c] @ [1, u]
        pull = self.gradient[0][c] + self.gradient[1][c] * u
        bound = self.t[c] * np.sqrt(max(pull @ self.errors @ pull, 0.0))
        return int(np.sign(slope)) if abs(slope) > bound else 0


def fieller(a2: ArrayLike, a1: ArrayLike, a0: ArrayLike) -> tuple[np.ndarray, np.ndarray]:
    """All u with a2 u^2 + 2 a1 u + a0 <= 0, elementwise; unbounded where a2 > 0 does not hold."""
    a2, a1, a0 = (np.asarray(each, float) for each in (a2, a1, a0))
    root = np.sqrt(np.maximum(a1**2 - a2 * a0, 0.0))
    with np.errstate(divide="ignore", invalid="ignore"):
        low, high = (-a1 - root) / a2, (-a1 + root) / a2
    return np.where(a2 > 0, low, -np.inf), np.where(a2 > 0, high, np.inf)


def locate(surface: Surface, axis: int = 0, bounds: np.ndarray | None = None) -> Location:
    """The maximum along `axis` over the other coordinate, which stays within `bounds`.

    Parameters
    ----------
    bounds : (cells, 2), log2 of what the other coordinate may be; None: unbounded. Equal bounds fix
        it, so that the maximum is at that value.
    """
    cells, d = surface.slope.shape
    slopes, constants, gradients = [], [], []
    for c in range(cells):
        held = None if d == 1 else _held(surface, c, axis, bounds)
        slope, constant, gradient = _slope(surface, c, axis, held)
        slopes.append(slope)
        constants.append(constant)
        gradients.append(gradient)
    A, Q = np.array(constants), np.array(slopes)
    at = np.where(Q < 0, -A / np.where(Q < 0, Q, 1.0), np.nan)
    d0, d1 = (np.array([g[i] for g in gradients]) for i in (0, 1))
    C = surface.covariance
    pull = (d0 + d1 * np.nan_to_num(at)[:, None]) / np.where(Q < 0, Q, np.nan)[:, None]
    low, high = _where_flat(A, Q, d0, d1, C, surface.t)
    shift = surface.centre[:, axis]
    return Location(at + shift, low + shift, high + shift, pull @ C @ pull.T, float(np.nanmean(Q)),
                    np.column_stack([A, Q]), shift, (d0, d1), C, surface.t)  # fmt: skip


def _held(surface: Surface, c: int, axis: int, bounds: np.ndarray | None) -> float | None:
    """Where the other coordinate is held: at the bound it would pass, or None where it is free."""
    if bounds is None:
        return None if surface.hessian[1 - axis, 1 - axis] else 0.0
    other, H, b = 1 - axis, surface.hessian, surface.slope[c]
    low, high = bounds[c] - surface.centre[c, other]
    if np.isnan(b).any():
        return None
    if np.linalg.eigvalsh(H).max() < 0:
        best = -np.linalg.solve(H, b)[other]
        return None if low <= best <= high else float(np.clip(best, low, high))
    if H[axis, axis] >= 0:
        return float(low)

    def highest(held: float) -> float:
        slope = b[axis] + H[0, 1] * held
        return float(b[other] * held + H[other, other] * held**2 / 2 - slope**2 / 2 / H[axis, axis])

    return float(max((low, high), key=highest))


def _slope(
    surface: Surface, c: int, axis: int, held: float | None
) -> tuple[float, float, tuple[np.ndarray, np.ndarray]]:
    """Slope A + Q u along the axis, as (Q, A, its gradient (d0, d1)) in the fitted parameters."""
    d, known = surface.d, np.cumsum(surface.known) - 1
    size = len(surface.covariance)
    d0, d1 = np.zeros(size), np.zeros(size)
    if not surface.known[c]:
        return np.nan, np.nan, (d0, d1)
    own, first = known[c] * d, size - (1 if d == 1 else 3)
    b, H = surface.slope[c], surface.hessian
    d0[own + axis] = 1
    if d == 1:
        d1[first] = 1
        return float(H[0, 0]), float(b[0]), (d0, d1)
    other, along = 1 - axis, (first, first + 2)
    cross, across = H[0, 1], H[other, other]
    d1[along[axis]] = 1
    if held is not None:
        d0[first + 1] = held
        return float(H[axis, axis]), float(b[axis] + cross * held), (d0, d1)
    ratio = cross / across
    d0[own + other] = -ratio
    d0[first + 1], d1[first + 1] = -b[other] / across, -2 * ratio
    d0[along[other]], d1[along[other]] = ratio * b[other] / across, ratio**2
    return float(H[axis, axis] - cross * ratio), float(b[axis] - ratio * b[other]), (d0, d1)


def _where_flat(
    A: np.ndarray, Q: np.ndarray, d0: np.ndarray, d1: np.ndarray, C: np.ndarray, t: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """All u with (A + Q u)^2 <= t^2 (d0 + d1 u)' C (d0 + d1 u); unbounded where Q >= 0."""

    def form(left: np.ndarray, right: np.ndarray) -> np.ndarray:
        return t**2 * np.einsum("ci,ij,cj->c", left, C, right)

    a2 = np.where(Q < 0, Q**2 - form(d1, d1), np.nan)
    return fieller(a2, A * Q - form(d0, d1), A**2 - form(d0, d0))
