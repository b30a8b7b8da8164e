"""The score near its best as a quadratic in (log LR, log rho): curvature shared, location free.

All cells of a method share how fast the score falls away from its best; where the best lies is
each cell's own. That makes the fit linear least squares, and puts no law of the batch size into it.
"""

from dataclasses import dataclass, replace
from itertools import product

import numpy as np
from scipy import stats  # type: ignore[import-untyped,unused-ignore]

from analysis.laws import LEVEL
from analysis.noise import moderated
from analysis.regression import Form, design_of, full_rank, misfit

WIDTHS = (np.inf, 5.0, 3.5, 2.5, 1.75)  # octaves on either side of a cell's best
LACK_OF_FIT = 0.05  # below this p of cubic and quartic terms, the window narrows
SETTLED = 0.1  # octaves between a window's centre and the best in it
NARROW = 0.05  # octaves: trials closer together than this show no slope
EXACT = 1e-9  # of the scores' range: less noise than that is rounding


@dataclass(frozen=True, eq=False)
class Observations:
    """Scores of completed trials, shape (n,): `x`, `z` are log2 of LR and rho, `z` None for none.

    `cell` in 0..cells-1. `weight`: how many trials each stands for, by its chance of being seen.
    """

    cell: np.ndarray
    x: np.ndarray
    z: np.ndarray | None
    y: np.ndarray
    weight: np.ndarray
    cells: int

    def at(self, chosen: np.ndarray) -> "Observations":
        z = None if self.z is None else self.z[chosen]
        return replace(self, cell=self.cell[chosen], x=self.x[chosen], z=z, y=self.y[chosen],
                       weight=self.weight[chosen])  # fmt: skip

    @property
    def points(self) -> np.ndarray:
        """(n, d): the coordinates, d = 1 or 2."""
        return np.column_stack([self.x] if self.z is None else [self.x, self.z])


@dataclass(frozen=True, eq=False)
class Surface:
    """y = a_c + b_c u + u'Hu/2 + noise, u = (x, z) - centre_c, with d = 1 or 2 coordinates.

    level : (cells,), a. centre, slope : (cells, d). hessian : (d, d), the same for all cells.
    form : "own" where each cell has a rho* of its own, "common" where too few trials leave one for
    all; where they show none, the score only changes with rho, and so does the best LR if "tilted",
    but not if "level".
    covariance : of (all b_c in order, then H's free entries xx[, xz, zz]). sigma : (cells,), the
    noise SD, with df (cells,) degrees of freedom. known : which cells the trials determine.
    bent : whether cubic and quartic terms, the same for all, let the two sides fall differently,
    with the factors bend, (2, d); what is said at the best, u = 0, does not name them. width : of
    the window, octaves. misfit_p : of the terms of the next orders in this window.
    """

    level: np.ndarray
    centre: np.ndarray
    slope: np.ndarray
    hessian: np.ndarray
    covariance: np.ndarray
    sigma: np.ndarray
    df: np.ndarray
    known: np.ndarray
    width: float
    form: Form
    bent: bool
    bend: np.ndarray
    misfit_p: float

    @property
    def t(self) -> np.ndarray:
        """(cells,): the quantile of a two-sided interval."""
        return np.asarray(stats.t.ppf((1 + LEVEL) / 2, np.maximum(self.df, 1)))

    @property
    def d(self) -> int:
        return self.slope.shape[1]


def fit(seen: Observations, start: np.ndarray) -> Surface | None:
    """The richest form that the trials determine; None if they determine no cell.

    Parameters
    ----------
    start : (cells, d), log2 of where each cell's best is thought to be; NaN where unknown.
    """
    if start.shape[1] == 1:
        return _narrowed(seen, start, "own")
    radii = len(np.unique(np.round(seen.points[:, 1] / NARROW)))
    if radii == 1:
        return _narrowed(replace(seen, z=None), start[:, :1], "own")
    common = _narrowed(seen, start, "common") if radii > 2 else None
    own = _narrowed(seen, start, "own") if radii > 2 else None
    for each in (own, common):
        if each is None or np.linalg.eigvalsh(each.hessian).max() >= 0:
            continue
        if common is None or each.known.sum() >= common.known.sum():
            return each
    tilted = _narrowed(seen, start, "tilted")
    if tilted is not None and tilted.hessian[0, 0] < 0:
        tilt, se = tilted.hessian[0, 1], np.sqrt(tilted.covariance[-2, -2])
        if abs(tilt) > se * np.nanmin(tilted.t):
            return tilted
    return _narrowed(seen, start, "level")


def _narrowed(seen: Observations, start: np.ndarray, form: Form) -> Surface | None:
    """The fit in the widest window in which a quadratic is enough.

    A quadratic is the first terms of an expansion about the best. Where cubic and quartic terms
    tell more, they are taken in, and where that is not enough the window, centred on each
    cell's own best, narrows, as long as no cells are lost.
    """
    found: Surface | None = None
    for width, bent in product(WIDTHS, (False, True)):
        now = _in_window(seen, start, width, form, bent)
        if now is None or (found and now.known.sum() < found.known.sum()):
            if bent:
                continue
            break
        if found is None or not bent or now.misfit_p > LACK_OF_FIT:
            found = now
        if now.misfit_p > LACK_OF_FIT:
            break
    return found


def _in_window(
    seen: Observations, start: np.ndarray, width: float, form: Form, bent: bool
) -> Surface | None:
    """The fit whose window is centred on its own optimum, by a few rounds.

    A bent one says what it says at its centre only, so it must have settled there.
    """
    surface, centre = None, start
    low, high = _tried(seen)
    for step in (1.0, 1.0, 1.0, 0.5, 0.5, 0.5, 0.5, 0.5) if bent else (1.0, 1.0, 1.0):
        if form != "own":  # one rho for all cells, so that one slope is one rho*
            centre = np.column_stack([centre[:, 0], np.full(len(centre), _middle(centre[:, 1]))])
        near = np.abs(seen.points - centre[seen.cell]).max(axis=1) <= width
        now = _solve(seen.at(near), centre, width, form, bent)
        if now is None:
            return None if bent else surface
        surface = now
        best = np.clip(_bests(surface), low, high)
        off = np.nanmax(np.abs(best - centre), initial=0.0)
        if off < SETTLED or (np.isinf(width) and not bent):
            return surface
        centre = np.where(np.isnan(best), centre, centre + step * (best - centre))
    return None if bent else surface


def _middle(values: np.ndarray) -> float:
    known = values[np.isfinite(values)]
    return float(np.median(known)) if len(known) else 0.0


def _tried(seen: Observations) -> tuple[np.ndarray, np.ndarray]:
    low = np.full((seen.cells, seen.points.shape[1]), np.inf)
    high = -low
    np.minimum.at(low, seen.cell, seen.points)
    np.maximum.at(high, seen.cell, seen.points)
    return low, high


def _solve(
    seen: Observations, centre: np.ndarray, width: float, form: Form, bent: bool
) -> Surface | None:
    """Feasible weighted least squares: the noise of each cell from the residuals, twice."""
    known = _determined(seen, centre, form)
    seen = seen.at(known[seen.cell])
    count, d = int(known.sum()), centre.shape[1]
    cell, u = (np.cumsum(known) - 1)[seen.cell], seen.points - centre[seen.cell]
    design, expand = design_of(cell, u, count, form, bent)
    if not count or len(u) <= design.shape[1] or not full_rank(design):
        return None
    sigma, own = np.ones(count), 1 + (d if form == "own" else 1)
    for _ in range(3):
        weight = seen.weight / sigma[cell] ** 2
        inverse = np.linalg.pinv(design.T @ (design * weight[:, None]), hermitian=True)
        solution = inverse @ (design.T @ (weight * seen.y))
        residual = seen.y - design @ solution
        sigma, freedom = _noise(residual, cell, count, own, len(u) - design.shape[1])
        sigma = np.maximum(sigma, EXACT * np.ptp(seen.y))
    gain = expand @ inverse @ (design * weight[:, None]).T
    every = expand @ solution
    hessian = every[-1:, None] if d == 1 else every[[-3, -2, -2, -1]].reshape(2, 2)

    def spread(values: np.ndarray) -> np.ndarray:
        whole = np.full((len(known), *values.shape[1:]), np.nan)
        whole[known] = values
        return whole

    first = 2 * count + (0 if d == 1 else count if form == "own" else 1)  # after the slopes
    bend = solution[first : first + 2 * d].reshape(2, d) if bent else np.zeros((2, d))
    return Surface(
        level=spread(solution[:count]), centre=centre,
        slope=spread(every[: count * d].reshape(count, d)), hessian=hessian, bend=bend,
        covariance=(gain * sigma[cell] ** 2) @ gain.T, sigma=spread(sigma), df=spread(freedom),
        known=known, width=width, form=form, bent=bent,
        misfit_p=misfit(design, u, seen.y, seen.weight, sigma[cell], bent),
    )  # fmt: skip


def _determined(seen: Observations, centre: np.ndarray, form: Form) -> np.ndarray:
    """Cells whose trials span the height and the slopes that are their own."""
    known = np.zeros(seen.cells, bool)
    for c in range(seen.cells):
        u = (seen.points - centre[seen.cell])[seen.cell == c]
        if form != "own":
            u = u[:, :1]
        if len(u) > u.shape[1] and not np.isnan(u).any():
            values = np.linalg.svd(u - u.mean(axis=0), compute_uv=False)
            spread = values[-1] > NARROW * np.sqrt(len(u))
            places = len(np.unique(u, axis=0)) > u.shape[1] + (u.shape[1] == 2)
            known[c] = spread and places
    return known


def _noise(
    residual: np.ndarray, cell: np.ndarray, count: int, own: int, df: int
) -> tuple[np.ndarray, np.ndarray]:
    """Noise SD of each cell and its degrees of freedom, moderated over the cells."""
    free = np.maximum(np.bincount(cell, minlength=count) - own, 0)
    free = free * df / max(free.sum(), 1)  # the shared curvature takes its part from all
    found = moderated(np.bincount(cell, residual**2, minlength=count), free)
    return np.sqrt(np.maximum(found.variance, 1e-18)), found.df


def _bests(surface: Surface) -> np.ndarray:
    """The vertices, or where there are none the best LR at the centre's rho."""
    H = surface.hessian
    found = vertices(surface)
    if surface.d == 2 and np.isnan(found).all() and H[0, 0] < 0:
        found = surface.centre.copy()
        found[:, 0] -= surface.slope[:, 0] / H[0, 0]
    return found


def height(surface: Surface, c: int, points: np.ndarray) -> np.ndarray:
    """The expected score of cell c at points (n, d), log2 of LR and rho; shape (n,)."""
    u = points - surface.centre[c]
    square = np.einsum("ni,ij,nj->n", u, surface.hessian, u) / 2
    bend = u**3 @ surface.bend[0] + u**4 @ surface.bend[1]
    return np.asarray(surface.level[c] + u @ surface.slope[c] + square + bend)


def vertices(surface: Surface) -> np.ndarray:
    """(cells, d): the stationary point of each cell; NaN where it is no maximum."""
    if np.linalg.eigvalsh(surface.hessian).max() >= 0:
        return np.full_like(surface.slope, np.nan)
    return surface.centre - np.linalg.solve(surface.hessian, surface.slope.T).T
