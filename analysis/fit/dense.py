"""Studies drawn from a dense table of real trainings, so that the truth has no assumed shape.

A table is a grid of learning rates and radii in every cell, on several seeds each. Its means are
smoothed as far as the seeds' noise asks for and interpolated; a trial drawn at any place is
that expectation and the deviation, report by report, of a real trial that did about as well.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import pandas as pd
from scipy.interpolate import CubicSpline, RectBivariateSpline  # type: ignore[import-untyped,unused-ignore]

from analysis.data.cells import Cell
from analysis.fit.noise import moderated
from analysis.fit.surface import unwarped, warped

NEAR = 0.15  # scores: nodes no further below the best tell the noise of seeds near it
BEND = 0.15  # scores: as `analysis.fit.surface.warped` has it, in which a cliff can be smoothed
STIFFNESS = 10.0 ** np.arange(-1, 6.01, 0.25)  # that are tried
TINY = 1e-9
ALIKE = 8  # trials whose deviations are drawn from
OCTAVE = 0.5  # octaves from an edge, over which its slope is read
FINE = (401, 101)  # places of LR and rho among which the optimum is found


@dataclass(frozen=True, eq=False)
class DenseCell:
    """The expected scores of one cell, by report, over its grid.

    lr : (n,) log2; rho : (k,) log2, or one 0 where there is none. means, counts : (reports, n, k),
    (n, k), as trained. sd : of seeds near the top. deviations : (trials, reports), of each trial
    from its node's mean, near the top widened to be unbiased; depths : (trials,), how far below the
    best node its own is, negative at smaller learning rates than that: a cliff's noise is none of a
    slope's. tested : (trials,), their deviations of -log(test error), which a lucky seed shares in
    part. stiffness : of the smoothing, 0 to be found.
    """

    key: tuple[str, int, int]
    lr: np.ndarray
    rho: np.ndarray
    means: np.ndarray
    counts: np.ndarray
    sd: float
    deviations: np.ndarray
    depths: np.ndarray
    tested: np.ndarray
    stiffness: float = 0.0

    @property
    def plain(self) -> bool:
        return len(self.rho) == 1

    @property
    def bounds(self) -> np.ndarray:
        """(d, 2): log2 of the least and the largest LR and rho."""
        axes = [self.lr] if self.plain else [self.lr, self.rho]
        return np.array([[axis[0], axis[-1]] for axis in axes])

    @cached_property
    def smooth(self) -> np.ndarray:
        """(reports, n, k): the means, smoothed by squared second differences of warped scores."""
        tops = np.nanmax(self.means, axis=(1, 2))[:, None, None]
        flat = np.nan_to_num(warped(self.means, tops, BEND)).reshape(len(self.means), -1)
        fitted = flat @ self._hat(self.chosen).T
        return unwarped(fitted.reshape(self.means.shape), tops, BEND)

    @cached_property
    def chosen(self) -> float:
        """The stiffness: as given, or of the least expected error at the end (Mallows 1973)."""
        if self.stiffness:
            return self.stiffness
        end = self.means[-1]
        values = np.nan_to_num(warped(end, np.nanmax(end), BEND)).ravel()

        def expected_error(stiffness: float) -> float:
            hat = self._hat(stiffness)
            misses = self.counts.ravel() / self.sd**2 @ (values - hat @ values) ** 2
            return float(misses + 2 * np.trace(hat))

        return float(min(STIFFNESS, key=expected_error))

    def _hat(self, stiffness: float) -> np.ndarray:
        """(nk, nk): from the nodes' means to their smoothed ones."""
        n, k = self.counts.shape
        rough = np.kron(_rough(n), np.eye(k))
        rough = rough + np.kron(np.eye(n), _rough(k)) if k > 2 else rough
        weight = np.diag(self.counts.ravel() / self.sd**2)
        return np.asarray(
            np.linalg.solve(weight + stiffness * rough + TINY * np.eye(n * k), weight)
        )

    @cached_property
    def _splines(self) -> list[CubicSpline | RectBivariateSpline]:
        tops = self.smooth.max(axis=(1, 2))
        inner = warped(self.smooth, tops[:, None, None], BEND)
        if self.plain:
            return [CubicSpline(self.lr, values[:, 0]) for values in inner]
        order = min(3, len(self.rho) - 1)
        return [RectBivariateSpline(self.lr, self.rho, v, kx=3, ky=order, s=0) for v in inner]

    def expected(self, points: np.ndarray, report: int = -1) -> np.ndarray:
        """(n,): expected scores at points (n, d), log2 of LR and rho, at a report, -1 the last.

        Beyond the grid they fall as they do at its edge, and nowhere rise.
        """
        low, high = self.bounds.T
        edge = np.clip(points, low, high)
        found, beyond = self._within(edge, report), points - edge
        for axis in np.flatnonzero(beyond.any(axis=0)):
            inside = edge.copy()
            inside[:, axis] -= OCTAVE * np.sign(beyond[:, axis])
            fall = np.maximum(self._within(inside, report) - found, 0) / OCTAVE
            found = found - fall * np.abs(beyond[:, axis])
        return np.asarray(np.maximum(found, 0.0))

    def _within(self, points: np.ndarray, report: int) -> np.ndarray:
        spline = self._splines[report]
        inner = spline(points[:, 0]) if self.plain else spline.ev(points[:, 0], points[:, 1])
        top = float(self.smooth[report].max())
        return unwarped(np.minimum(inner, BEND / 2), top, BEND)

    def drawn(self, points: np.ndarray, random: np.random.Generator) -> np.ndarray:
        """(n, reports): the scores of a trial at each point."""
        expected, like = self._like(points, random)
        return np.asarray(expected + self.deviations[like])

    def confirmed(self, points: np.ndarray, random: np.random.Generator) -> np.ndarray:
        """(n, 2): a trial's score at the end and -log of its test error, of one expectation."""
        expected, like = self._like(points, random)
        off = np.column_stack([self.deviations[like, -1], self.tested[like]])
        return np.asarray(expected[:, -1:] + off)

    def _like(
        self, points: np.ndarray, random: np.random.Generator
    ) -> tuple[np.ndarray, np.ndarray]:
        """(n, reports) expected, and (n,) which real trial's deviations each takes."""
        expected = np.column_stack([self.expected(points, r) for r in range(len(self.means))])
        depth = np.maximum(self.top - expected[:, -1], 0)
        depth = np.where(points[:, 0] < self.best, -depth, depth)
        apart = np.abs(_place(depth)[:, None] - _place(self.depths))
        alike = np.argsort(apart, axis=1, kind="stable")[:, :ALIKE]
        which = random.integers(alike.shape[1], size=len(alike))
        return expected, alike[np.arange(len(alike)), which]

    @cached_property
    def profile(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """log2 LR, the expected score with rho at its best, and that rho's log2."""
        x = np.linspace(self.lr[0], self.lr[-1], FINE[0])
        z = self.rho if self.plain else np.linspace(self.rho[0], self.rho[-1], FINE[1])
        grid = np.stack(np.meshgrid(x, z, indexing="ij"), axis=-1).reshape(-1, 2)
        heights = self.expected(grid).reshape(len(x), len(z))
        return x, heights.max(axis=1), z[heights.argmax(axis=1)]

    @property
    def best(self) -> float:
        """log2 LR* within the grid."""
        x, heights, _ = self.profile
        return float(x[heights.argmax()])

    @property
    def top(self) -> float:
        return float(self.profile[1].max())

    def given_away(self, x: float) -> float:
        """How much less than the best is expected at log2 LR `x` with rho at its best there."""
        places, heights, _ = self.profile
        return self.top - float(np.interp(x, places, heights))

    def again(self, random: np.random.Generator) -> "DenseCell":
        """Another table as seeds might have made it: what is drawn from it carries its error."""
        error = self.sd / np.sqrt(np.maximum(self.counts, 1))
        shift = error * random.standard_normal(self.counts.shape)
        return replace(self, means=self.smooth + shift, stiffness=self.chosen)


def _place(depth: np.ndarray) -> np.ndarray:
    """Signed depths, those near the top told apart as they are and others by their ratio."""
    return np.asarray(np.sign(depth) * np.log1p(np.abs(depth) / NEAR))


def _rough(n: int) -> np.ndarray:
    """(n, n): sum of squared second differences, as a quadratic form."""
    second = np.diff(np.eye(n), 2, axis=0)
    return np.asarray(second.T @ second)


def dense(cells: Sequence[Cell], reports: pd.DataFrame) -> list[DenseCell]:
    """Each cell of a study by `--sampler grid`; the noise of its seeds is moderated over the cells.

    A cell of few points on several seeds takes the deviations of all cells.
    """
    curves = reports.pivot_table(index="trial_id", columns="report", values="score").ffill(axis=1)
    made = [_gridded(cell, curves) for cell in cells if len(cell.search)]
    squares, freedom = np.array([_seeds(each) for each in made]).T
    sds = np.sqrt(moderated(squares, freedom).variance)
    found = []
    for each, sd in zip(made, sds, strict=True):
        own = [each] if len(each.deviations) >= ALIKE else [m for m in made if len(m.deviations)]
        found.append(replace(
            each, sd=float(sd), deviations=np.concatenate([m.deviations for m in own]),
            depths=np.concatenate([m.depths for m in own]),
            tested=np.concatenate([m.tested for m in own]),
        ))  # fmt: skip
    return found


def _gridded(cell: Cell, curves: pd.DataFrame) -> DenseCell:
    trials = cell.search[cell.search["status"].isin(["complete", "diverged"])]
    scores = curves.loc[trials["trial_id"]].to_numpy(float)
    lr, i = np.unique(np.round(np.log2(trials["lr"].to_numpy(float)), 4), return_inverse=True)
    rho, j = np.zeros(1), np.zeros(len(trials), int)
    if (trials["rho"] > 0).any():
        rho, j = np.unique(np.round(np.log2(trials["rho"].to_numpy(float)), 4), return_inverse=True)
    counts = np.zeros((len(lr), len(rho)))
    np.add.at(counts, (i, j), 1)
    sums = np.zeros((scores.shape[1], *counts.shape))
    for report, values in enumerate(scores.T):
        np.add.at(sums[report], (i, j), values)
    with np.errstate(invalid="ignore"):
        means = sums / counts
    several, end = counts[i, j] > 1, np.nan_to_num(means[-1], nan=-np.inf)
    depth = end.max() - end[i, j]
    widen = np.sqrt(counts[i, j] / np.maximum(counts[i, j] - 1, 1))
    widen[depth >= NEAR] = 1.0  # of two that collapsed and survived none did better than that
    deviations = ((scores - means[:, i, j].T) * widen[:, None])[several]
    best = int(end.max(axis=1).argmax())
    depths = np.where(i < best, -depth, depth)[several]
    with np.errstate(divide="ignore"):
        test = pd.Series(-np.log1p(-trials["test_accuracy"].to_numpy(float)))
    tested = ((test - test.groupby([i, j]).transform("mean")) * widen).fillna(0.0)[several]
    return DenseCell(
        cell.key, lr, rho, means, counts, np.nan, deviations, depths, tested.to_numpy()
    )


def _seeds(cell: DenseCell) -> tuple[float, float]:
    """Squared deviations of trials near the top, and their degrees of freedom."""
    near = np.abs(cell.depths) < NEAR
    shallow = (np.nanmax(cell.means[-1]) - cell.means[-1] < NEAR) & (cell.counts > 1)
    counts = cell.counts[shallow]
    freedom = float((counts - 1).sum())
    # Deviations were widened trial by trial, to have the variance of a trial.
    squares = float((cell.deviations[near, -1] ** 2).sum())
    return squares * freedom / max(int(near.sum()), 1), freedom


def points_of(cell: DenseCell, n: int, random: np.random.Generator) -> np.ndarray:
    """(n, d): places drawn evenly from the cell's box."""
    low, high = cell.bounds.T
    return np.asarray(low + (high - low) * random.random((n, len(low))))


def curves_of(cell: DenseCell, point: np.ndarray, random: np.random.Generator) -> Iterator[float]:
    """The score of one trial, report by report."""
    yield from cell.drawn(point[None], random)[0].tolist()
