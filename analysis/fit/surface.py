"""The expected score over (log LR, log rho) in all cells of a method, as one Gaussian process.

A real response rises gently, may stay level for octaves and then falls off a cliff; its shape is
not the same at every batch size. So no shape is assumed, only that neighbours are alike: in LR and
rho, and, as far as the trials bear it out, in batch size. No law of LR* is in it.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
from scipy.linalg import solve_triangular  # type: ignore[import-untyped,unused-ignore]

from analysis.fit.kernels import Kernel, Points, Posterior, apart, drawn

MOST = 400  # observations; more are averaged over places
LEAST = 4  # observations of a cell that has an answer
REACH = 8.0  # times the shortfall that a third of the trials stays within
ROUGH = (61, 9)  # places of LR and rho at which a cell's best is first looked for


@dataclass(frozen=True, eq=False)
class Observations:
    """Scores of trials, shape (n,): `x`, `z` are log2 of LR and rho, `z` None for none.

    cell : index in 0..cells-1. extra : variance beyond the seed's, of scores that were foretold.
    places : (cells, p), log2 of batch size, and of m where it varies. count : trials behind each.
    """

    cell: np.ndarray
    x: np.ndarray
    z: np.ndarray | None
    y: np.ndarray
    extra: np.ndarray
    places: np.ndarray
    count: np.ndarray | float = 1.0

    @property
    def cells(self) -> int:
        return len(self.places)

    @property
    def points(self) -> np.ndarray:
        """(n, d): the coordinates, d = 1 or 2."""
        return np.column_stack([self.x] if self.z is None else [self.x, self.z])

    def best(self) -> np.ndarray:
        """(cells,): log2 LR of each cell's best trial; of none the mean of the others'."""
        found = np.full(self.cells, np.nan)
        for c in np.unique(self.cell):
            own = self.cell == c
            found[c] = self.x[own][self.y[own].argmax()]
        return np.where(np.isnan(found), np.nanmean(found), found)

    def averaged(self) -> "Observations":
        """Means over trials so close together that `MOST` are left; their variance falls."""
        step, seen = 1 / 16, self
        while len(seen.y) > MOST and step < 2:
            step *= 2**0.25
            off = self.points - self.points.min(axis=0)
            keys = np.column_stack([self.cell, np.round(off / step)])
            _, which, count = np.unique(keys, axis=0, return_inverse=True, return_counts=True)
            parts = {"cell": self.cell, "x": self.x, "y": self.y, "extra": self.extra}
            if self.z is not None:
                parts["z"] = self.z
            means = {n: np.bincount(which.ravel(), part) / count for n, part in parts.items()}
            means["extra"] = means["extra"] / count
            means["cell"] = means["cell"].round().astype(int)
            seen = replace(self, **means, count=count.astype(float))
        return seen


@dataclass(frozen=True, eq=False)
class Surface:
    """The posterior of the expected score, as `kernels`, the likeliest first.

    top : (cells,), best score seen in a cell, NaN where none. bend : the `reach`, in scores; up to
    it a shortfall counts ever less, by -bend log(1 + shortfall / bend), so that cliffs are gentle.
    unit : scores, SD of what the process sees. sigma : (cells,), the noise SD of a trial near the
    top. known : (cells,), whether a cell has observations enough. best : (cells,), log2 of the best
    LR by a first fit, from which kinks are counted.
    """

    seen: Observations
    top: np.ndarray
    bend: float
    unit: float
    kernels: tuple[Kernel, ...]
    sigma: np.ndarray
    known: np.ndarray
    best: np.ndarray

    @property
    def d(self) -> int:
        return 1 if self.seen.z is None else 2

    @property
    def noise_share(self) -> float:
        """Of the variance that the process sees, what is noise."""
        return float(np.mean((self.sigma[self.known] / self.unit) ** 2))

    @property
    def data(self) -> Points:
        return self.points(self.seen.cell, self.seen.points)

    def points(self, cell: np.ndarray, at: np.ndarray) -> Points:
        return Points(at, cell, self.seen.places[cell], self.best[cell])

    def moments(self, where: Points) -> Iterator[tuple[float, np.ndarray, np.ndarray]]:
        """Share, mean (n,) and covariance (n, n) of the process there, in its units, by kernel."""
        off, own = apart(where, self.data), apart(where, where)
        for kernel in self.kernels:
            across = kernel.covariance(off)
            half = solve_triangular(kernel.factor, across.T, lower=True)
            covariance = kernel.covariance(own) - half.T @ half
            yield kernel.share, across @ kernel.solution, covariance

    def spread(self, where: Points, most: int) -> tuple[np.ndarray, np.ndarray]:
        """Mean (n,) and SD (n,) of the process there, in its units, of the likeliest kernels."""
        off, some = apart(where, self.data), self.kernels[:most]
        share = np.array([kernel.share for kernel in some])
        share = share / share.sum()
        means = np.empty((len(some), len(where.at)))
        variances = np.empty_like(means)
        for i, kernel in enumerate(some):
            across = kernel.covariance(off)
            half = solve_triangular(kernel.factor, across.T, lower=True)
            means[i] = across @ kernel.solution
            variances[i] = np.maximum(kernel.variance - (half**2).sum(axis=0), 0.0)
        mean = share @ means
        return mean, np.sqrt(share @ (variances + (means - mean) ** 2))

    def mean(self, where: Points) -> np.ndarray:
        """(n,): the posterior mean, in units of the process."""
        off = apart(where, self.data)
        found = [k.share * (k.covariance(off) @ k.solution) for k in self.kernels]
        return np.asarray(np.sum(found, axis=0))

    def highest(self) -> np.ndarray:
        """(cells,): log2 LR where the posterior mean of each cell is highest in what was tried."""
        found = self.best.copy()
        for c in np.flatnonzero(self.known):
            own = self.seen.points[self.seen.cell == c]
            axes = [np.linspace(low, high, n) for low, high, n in
                    zip(own.min(axis=0), own.max(axis=0), ROUGH, strict=False)]  # fmt: skip
            grid = np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1).reshape(-1, self.d)
            mean = self.mean(self.points(np.full(len(grid), c), grid))
            found[c] = grid[mean.argmax(), 0]
        return found

    def score(self, cell: np.ndarray, process: np.ndarray) -> np.ndarray:
        """Units of the process -> scores."""
        return unwarped(process * self.unit, self.top[cell], self.bend)

    def height(self, c: int, at: np.ndarray) -> np.ndarray:
        """(n,): the expected score of cell c at points (n, d), log2 of LR and rho."""
        cell = np.full(len(at), c)
        return self.score(cell, self.mean(self.points(cell, at)))


def fit(seen: Observations) -> Surface | None:
    """The posterior given the trials; None where no cell has `LEAST`, or all score alike in each.

    A first fit, by the likeliest kernel and with kinks about the cell's best trial, says where each
    cell's best is; a second one counts kinks from there.
    """
    known = np.bincount(seen.cell, minlength=seen.cells) >= LEAST
    seen = seen.averaged()
    top = np.full(seen.cells, -np.inf)
    np.maximum.at(top, seen.cell, seen.y)
    shortfall = top[seen.cell] - seen.y
    if not known.any() or not (shortfall > 0).any():
        return None
    bend = reach(shortfall)
    shortfall = np.minimum(shortfall, bend)
    process = warped(top[seen.cell] - shortfall, top[seen.cell], bend)
    unit = float(process.std())
    if not unit > 0:  # alike but for rounding
        return None
    extra = (np.sqrt(seen.extra) / (1 + shortfall / bend) / unit) ** 2
    octaves = seen.places[:, 0] - seen.places[:, 0].mean()
    here = Surface(seen, np.where(np.isfinite(top), top, np.nan), bend, unit, (), octaves, known,
                   seen.best())  # fmt: skip
    given = process / unit, extra, seen.count, octaves
    first = Posterior(here.data, *given)
    likeliest = first.likeliest()
    here = replace(here, kernels=(first.kernel(likeliest),))
    here = replace(here, best=here.highest())
    both = [Posterior(here.data, *given, smooth) for smooth in (True, False)]
    kernels = drawn(both, likeliest)
    growth = np.array([k.theta["noise"] + np.log(2) * k.theta["noisier"] * octaves
                       for k in kernels])  # fmt: skip
    sigma = unit * np.array([k.share for k in kernels]) @ np.exp(growth)
    return replace(here, kernels=kernels, sigma=sigma)


def reach(shortfall: np.ndarray) -> float:
    """The shortfall, in scores, beyond which all count alike: how bad a bad trial was tells nothing
    of where the best is, but a cliff of its depth would bend the whole surface."""
    return float(np.quantile(shortfall[shortfall > 0], 1 / 3)) * REACH


def warped(y: np.ndarray, top: np.ndarray | float, bend: float) -> np.ndarray:
    """Scores with their cliffs made gentle: -log(1 + shortfall), but equal to it near the top."""
    return np.asarray(-bend * np.log1p((top - y) / bend))


def unwarped(inner: np.ndarray, top: np.ndarray | float, bend: float) -> np.ndarray:
    """The inverse of `warped`."""
    return np.asarray(top - bend * np.expm1(np.clip(-inner / bend, -50.0, 50.0)))
