"""Where an expected score is highest, cell by cell, and how well the trials tell."""

from dataclasses import dataclass

import numpy as np
from scipy.linalg.lapack import dpstrf  # type: ignore[import-untyped,unused-ignore]
from scipy.stats import trim_mean  # type: ignore[import-untyped,unused-ignore]

from analysis.fit.kernels import Points
from analysis.fit.laws import LEVEL
from analysis.fit.surface import Surface

COARSE = (41, 11)  # places of LR and rho at which contenders are looked for
FINE = {1: (96,), 2: (45, 11)}  # and from which they come; by dimension
LIKELY = 3.0  # SDs: a place further below the best is none
CONTENDERS = 112  # places of a cell: two of each LR, and of each rho
KERNELS = 4  # by which contenders are chosen
DRAWS = 512
# Times the posterior's SDs, since of real responses no process is more than a likeness: as much as
# LR* and what a winner lacks are found to need on the dense table, by dimension.
CAUTION = {1: 1.3, 2: 1.1}
LOST_CAUTION = {1: 1.0, 2: 1.3}
TRIM = 0.4  # of the draws at either side: the median, but not bound to one of the places
RANK = 1e-10  # of the largest variance: what is left over is rounding


@dataclass(frozen=True, eq=False)
class Location:
    """log2 of LR and rho where the expected score of each cell is highest; NaN where unknown.

    at : (cells, d), the mean of the draws' middle fifth. draws : (DRAWS, cells, d), of functions
    drawn from the posterior, the same ones in all cells. lost : (DRAWS, cells), how much less than
    the optimum is expected, in scores, at the points asked for. bounds : (cells, d, 2), what was
    tried.
    """

    at: np.ndarray
    draws: np.ndarray
    lost: np.ndarray
    bounds: np.ndarray

    def interval(self, axis: int = 0) -> tuple[np.ndarray, np.ndarray]:
        """(cells,), (cells,): the middle 95 % of the draws."""
        tail = (1 - LEVEL) / 2
        low, high = np.quantile(self.draws[:, :, axis], [tail, 1 - tail], axis=0)
        return low, high

    def covariance(self, axis: int = 0) -> np.ndarray:
        """(cells, cells), octaves squared, about `at`."""
        off = self.draws[:, :, axis] - self.at[:, axis]
        return np.asarray(off.T @ off / len(off))


def locate(surface: Surface, bounds: np.ndarray, asked: np.ndarray, seed: int = 0) -> Location:
    """The maximum of every known cell within its `bounds` (cells, d, 2), log2 of LR and rho.

    asked : (cells, d), points whose shortfall is wanted, NaN for none. Equal bounds fix an axis.
    """
    random = np.random.default_rng(seed)
    cells = [c for c in range(surface.seen.cells) if surface.known[c]]
    places = []
    for c in cells:
        grid = _grid(_likely(surface, c, bounds[c]), FINE[surface.d])
        best = _highest(surface, c, grid)
        wanted = np.where(np.isnan(asked[c]), best, asked[c])
        places.append(np.vstack([_contenders(surface, c, grid), best, wanted]))
    sizes, every = [len(own) for own in places], np.vstack(places)
    where = surface.points(np.repeat(cells, sizes), every)
    expected, off = _drawn(surface, where, random)
    functions = expected + LOST_CAUTION[surface.d] * off
    cautious = expected + CAUTION[surface.d] * off
    draws = np.full((len(off), surface.seen.cells, surface.d), np.nan)
    lost = np.full(draws.shape[:2], np.nan)
    ends = np.cumsum(sizes)
    for c, first, end in zip(cells, ends - sizes, ends, strict=True):
        draws[:, c] = every[first:end][cautious[:, first:end].argmax(axis=1)]
        own = functions[:, first:end]
        top = surface.score(np.full(len(own), c), own.max(axis=1))
        lost[:, c] = top - surface.score(np.full(len(own), c), own[:, -1])
    return Location(trim_mean(draws, TRIM, axis=0), draws, lost, bounds)


def highest(surface: Surface, c: int, box: np.ndarray) -> np.ndarray:
    """(d,): where in the box (d, 2) the expected score of cell c is highest."""
    return _highest(surface, c, _grid(_likely(surface, c, box), FINE[surface.d]))


def _highest(surface: Surface, c: int, grid: np.ndarray) -> np.ndarray:
    mean = surface.mean(surface.points(np.full(len(grid), c), grid))
    return np.asarray(grid[int(mean.argmax())])


def _grid(box: np.ndarray, places: tuple[int, ...]) -> np.ndarray:
    """(n, d): all places of a box (d, 2)."""
    axes = [np.linspace(low, high, n if high > low else 1)
            for (low, high), n in zip(box, places, strict=False)]  # fmt: skip
    return np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1).reshape(-1, len(box))


def _spread(surface: Surface, c: int, grid: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    return surface.spread(surface.points(np.full(len(grid), c), grid), KERNELS)


def _likely(surface: Surface, c: int, box: np.ndarray) -> np.ndarray:
    """The smallest box with all places that could be the best."""
    grid = _grid(box, COARSE)
    mean, sd = _spread(surface, c, grid)
    best = int(mean.argmax())
    likely = grid[mean + LIKELY * sd >= mean[best] - LIKELY * sd[best]]
    step = np.ptp(box, axis=1) / (np.array(COARSE[: len(box)]) - 1)
    return np.column_stack([
        np.maximum(likely.min(axis=0) - step, box[:, 0]),
        np.minimum(likely.max(axis=0) + step, box[:, 1]),
    ])  # fmt: skip


def _contenders(surface: Surface, c: int, grid: np.ndarray) -> np.ndarray:
    """Places that could be the best: of each LR, and of each rho, the most promising ones.

    The most promising of all would cover a ridge and leave out what lies further along LR, so that
    intervals would end where the places do.
    """
    mean, sd = _spread(surface, c, grid)
    promise = mean + LIKELY * sd
    best = int(mean.argmax())
    likely = np.flatnonzero(promise >= mean[best] - LIKELY * sd[best])
    likely = likely[np.argsort(-promise[likely])]
    rank = np.min([_place_among(grid[likely, axis]) for axis in range(grid.shape[1])], axis=0)
    return grid[likely[np.argsort(rank, kind="stable")[:CONTENDERS]]]


def _place_among(values: np.ndarray) -> np.ndarray:
    """(n,): how many of the same value come before each."""
    order = np.argsort(values, kind="stable")
    first = np.r_[True, values[order][1:] != values[order][:-1]]
    starts = np.maximum.accumulate(np.where(first, np.arange(len(values)), 0))
    place = np.empty(len(values), int)
    place[order] = np.arange(len(values)) - starts
    return place


def _drawn(
    surface: Surface, where: Points, random: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """(DRAWS, n), (DRAWS, n): the expectation, and how far functions drawn from the posterior lie
    off it."""
    means, off = [], []
    for share, mean, covariance in surface.moments(where):
        root = _root(covariance)
        each = round(DRAWS * share)
        means.append(np.tile(mean, (each, 1)))
        off.append(random.standard_normal((each, root.shape[1])) @ root.T)
    return np.vstack(means), np.vstack(off)


def _root(covariance: np.ndarray) -> np.ndarray:
    """(n, r) with root @ root.T the covariance: smooth functions have far fewer than n degrees of
    freedom, which a pivoted Cholesky factor finds without an eigenvalue problem."""
    tol = RANK * float(np.diag(covariance).max())
    factor, pivots, rank, _ = dpstrf(covariance, tol=tol, lower=1)
    root = np.zeros((len(covariance), rank))
    root[pivots - 1] = np.tril(factor)[:, :rank]
    return root
