"""The expected score over (log LR, log rho) in all cells of a method, as one Gaussian process.

A real response rises gently, may stay level for octaves and then falls off a cliff; its shape is
not the same at every batch size. So no shape is assumed, only that neighbours are alike: in LR and
rho, and, as far as the trials bear it out, in batch size. No law of the batch size is in it.
"""

from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from scipy.linalg import cho_solve, solve_triangular  # type: ignore[import-untyped,unused-ignore]
from scipy.optimize import minimize  # type: ignore[import-untyped,unused-ignore]

MOST = 400  # observations; more are averaged over places
LEAST = 4  # observations of a cell that has an answer
KERNELS = 16  # of the posterior over kernels
WIDER = 1.2  # than its normal approximation, in SDs: what is drawn must cover it
CONSTANT = 2.0  # prior SD of the level of all, in SDs of the scores
REACH = 8.0  # times the shortfall that a third of the trials stays within
JITTER = 1e-8
SMALL = 1e-12


@dataclass(frozen=True)
class Prior:
    """A normal prior of the logarithm of a kernel's parameter; lengths in octaves, else in SDs."""

    middle: float
    sd: float


# Lengths: over 2 octaves of LR a response changes, and over some more of rho and of batch size.
PRIORS = {
    "lr": Prior(np.log(2.0), 0.4),
    "rho": Prior(np.log(3.0), 0.5),
    "place": Prior(np.log(3.0), 0.6),
    "lr_own": Prior(np.log(2.0), 0.4),
    "height": Prior(0.0, 1.0),
    "own": Prior(np.log(0.3), 0.7),  # what a cell does not share with its neighbours, of the height
    "level": Prior(0.0, 1.0),  # of a cell
    "noise": Prior(np.log(0.15), 1.0),
    "noisier": Prior(0.25, 0.3),  # log2 of the noise's growth an octave of batch size
}


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
class Kernel:
    """One draw of the kernel's parameters, with the process it leads to.

    K = level + height^2 k(LR) k(rho) (k(place) + own^2 [same cell]), squared exponentials. share :
    of the posterior; all of them sum to 1.
    """

    share: float
    theta: dict[str, float]  # logarithms
    factor: np.ndarray
    solution: np.ndarray

    def covariance(self, a: "Points", b: "Points") -> np.ndarray:
        return _total(_terms(self.theta, a, b))

    @property
    def variance(self) -> float:
        """Of the process at any place, before the trials."""
        height = np.exp(2 * self.theta["height"]) * (1 + np.exp(2 * self.theta["own"]))
        return float(height + np.exp(2 * self.theta["level"]) + CONSTANT**2)


@dataclass(frozen=True, eq=False)
class Points:
    """Places in the cells: `at` (n, d) log2 of LR and rho, `cell` (n,), `place` (n, p)."""

    at: np.ndarray
    cell: np.ndarray
    place: np.ndarray


def _terms(theta: dict[str, float], a: Points, b: Points) -> dict[str, np.ndarray]:
    """The parts of the covariance that depend on where a and b are."""
    same = np.nonzero(a.cell[:, None] == b.cell)
    radius = np.zeros((len(a.at), len(b.at)))
    if a.at.shape[1] > 1:
        radius = _square(a.at[:, 1], b.at[:, 1]) * np.exp(-2 * theta["rho"])
    lr = _square(a.at[:, 0], b.at[:, 0])
    far = sum(_square(x, y) for x, y in zip(a.place.T, b.place.T, strict=True))
    height = 2 * theta["height"]
    shared = -(lr * np.exp(-2 * theta["lr"]) + radius + far * np.exp(-2 * theta["place"])) / 2
    own, level = np.zeros_like(lr), np.zeros_like(lr)
    alike = -(lr[same] * np.exp(-2 * theta["lr_own"]) + radius[same]) / 2
    own[same], level[same] = np.exp(height + 2 * theta["own"] + alike), np.exp(2 * theta["level"])
    return {"shared": np.exp(height + shared), "own": own, "level": level}


def _total(terms: dict[str, np.ndarray]) -> np.ndarray:
    return np.asarray(terms["shared"] + terms["own"] + terms["level"] + CONSTANT**2)


def _square(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    return np.asarray((a[:, None] - b) ** 2)


@dataclass(frozen=True, eq=False)
class Surface:
    """The posterior of the expected score, as `kernels`, the likeliest first.

    top : (cells,), best score seen in a cell, NaN where none. bend : the `reach`, in scores; up to
    it a shortfall counts ever less, by -bend log(1 + shortfall / bend), so that cliffs are gentle.
    unit : scores, SD of what the process sees. sigma : (cells,), the noise SD of a trial near the
    top. known : (cells,), whether a cell has observations enough.
    """

    seen: Observations
    top: np.ndarray
    bend: float
    unit: float
    kernels: tuple[Kernel, ...]
    sigma: np.ndarray
    known: np.ndarray

    @property
    def d(self) -> int:
        return 1 if self.seen.z is None else 2

    @property
    def noise_share(self) -> float:
        """Of the variance that the process sees, what is noise."""
        return float(np.mean((self.sigma[self.known] / self.unit) ** 2))

    @cached_property
    def data(self) -> Points:
        return self.points(self.seen.cell, self.seen.points)

    def points(self, cell: np.ndarray, at: np.ndarray) -> Points:
        return Points(at, cell, self.seen.places[cell])

    def moments(self, where: Points, kernel: Kernel) -> tuple[np.ndarray, np.ndarray]:
        """Mean (n,) and covariance (n, n) of the process there under one kernel, in its units."""
        across = kernel.covariance(where, self.data)
        half = solve_triangular(kernel.factor, across.T, lower=True)
        return across @ kernel.solution, kernel.covariance(where, where) - half.T @ half

    def spread(self, where: Points, kernel: Kernel) -> tuple[np.ndarray, np.ndarray]:
        """Mean (n,) and variance (n,) of the process there under one kernel, in its units."""
        across = kernel.covariance(where, self.data)
        half = solve_triangular(kernel.factor, across.T, lower=True)
        left = kernel.variance - (half**2).sum(axis=0)
        return across @ kernel.solution, np.maximum(left, 0.0)

    def mean(self, where: Points) -> np.ndarray:
        """(n,): the posterior mean, in units of the process."""
        found = [k.share * (k.covariance(where, self.data) @ k.solution) for k in self.kernels]
        return np.asarray(np.sum(found, axis=0))

    def score(self, cell: np.ndarray, process: np.ndarray) -> np.ndarray:
        """Units of the process -> scores."""
        return unwarped(process * self.unit, self.top[cell], self.bend)

    def height(self, c: int, at: np.ndarray) -> np.ndarray:
        """(n,): the expected score of cell c at points (n, d), log2 of LR and rho."""
        cell = np.full(len(at), c)
        return self.score(cell, self.mean(self.points(cell, at)))


def fit(seen: Observations) -> Surface | None:
    """The posterior given the trials; None where no cell has `LEAST`, or all score alike in each.

    The kernel's parameters maximise their posterior (Rasmussen & Williams 2006, section 5.4), and
    further ones are drawn around it, since few trials leave them open: importance resampling from
    a normal approximation.
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
    target = _Target(seen, process / unit, extra)
    kernels = target.kernels()
    growth = np.array([k.theta["noise"] + np.log(2) * k.theta["noisier"] * target.octaves
                       for k in kernels])  # fmt: skip
    sigma = unit * np.array([k.share for k in kernels]) @ np.exp(growth)
    return Surface(seen, np.where(np.isfinite(top), top, np.nan), bend, unit, kernels, sigma, known)


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


class _Target:
    """The posterior density of the kernel's parameters."""

    def __init__(self, seen: Observations, v: np.ndarray, extra: np.ndarray) -> None:
        self.points = Points(seen.points, seen.cell, seen.places[seen.cell])
        self.v, self.extra, self.count = v, extra, seen.count
        b = seen.places[:, 0]
        self.octaves = b - b.mean()
        self.names = [n for n in PRIORS if n != "rho" or seen.z is not None]
        self.middle = np.array([PRIORS[n].middle for n in self.names])
        self.sd = np.array([PRIORS[n].sd for n in self.names])
        self.squares = {
            "lr": _square(seen.x, seen.x),
            "rho": _square(seen.z, seen.z) if seen.z is not None else np.zeros(1),
            "place": sum(_square(p, p) for p in self.points.place.T),
        }

    def whole(
        self, theta: np.ndarray
    ) -> tuple[dict[str, float], dict[str, np.ndarray], np.ndarray]:
        named = dict(zip(self.names, theta.tolist(), strict=True))
        noise = np.exp(2 * (named["noise"] + np.log(2) * named["noisier"]
                            * self.octaves[self.points.cell]))  # fmt: skip
        return named, _terms(named, self.points, self.points), noise / self.count

    def __call__(self, theta: np.ndarray) -> tuple[float, np.ndarray]:
        """Minus the log posterior density and its gradient."""
        named, terms, noise = self.whole(theta)
        K = _total(terms)
        K[np.diag_indices(len(K))] += noise + self.extra + JITTER
        factor = np.linalg.cholesky(K)
        inverse = cho_solve((factor, True), np.eye(len(K)))
        solution = inverse @ self.v
        W = (inverse - np.outer(solution, solution)) / 2
        value = self.v @ solution / 2 + np.log(np.diag(factor)).sum()
        shared, own, level = (W * terms[name] for name in ("shared", "own", "level"))
        both = shared + own
        nugget = 2 * np.diag(W) * noise
        slopes = {
            "height": 2 * both.sum(), "own": 2 * own.sum(), "level": 2 * level.sum(),
            "noise": nugget.sum(),
            "noisier": np.log(2) * (nugget * self.octaves[self.points.cell]).sum(),
        }  # fmt: skip
        for name, part, square in (("lr", shared, "lr"), ("lr_own", own, "lr"),
                                   ("rho", both, "rho"), ("place", shared, "place")):  # fmt: skip
            if name in named:
                slopes[name] = (part * self.squares[square]).sum() * np.exp(-2 * named[name])
        off = (theta - self.middle) / self.sd
        gradient = np.array([slopes[name] for name in self.names])
        return float(value + off @ off / 2), gradient + off / self.sd

    def kernels(self) -> tuple[Kernel, ...]:
        """Draws of the kernel from its posterior, the same for the same data."""
        bounds = list(zip(self.middle - 3 * self.sd, self.middle + 3 * self.sd, strict=True))
        best = minimize(self, self.middle, jac=True, method="L-BFGS-B", bounds=bounds).x
        step, k = 0.05 * self.sd, len(best)
        hessian = np.array([
            (self(best + step * unit)[1] - self(best - step * unit)[1]) / (2 * step[i])
            for i, unit in enumerate(np.eye(k))
        ])  # fmt: skip
        values, turn = np.linalg.eigh((hessian + hessian.T) / 2 * np.outer(self.sd, self.sd))
        spread = self.sd[:, None] * turn / np.sqrt(np.maximum(values, 0.25))
        random = np.random.default_rng(0)
        normal = random.standard_normal((KERNELS - 1, k))
        tried = np.vstack([best, best + WIDER * normal @ spread.T])
        logs = np.array([-self(theta)[0] for theta in tried])
        logs += np.concatenate([[0.0], (normal**2).sum(axis=1) / 2])
        weight = np.exp(logs - logs.max())
        chosen = random.choice(len(tried), KERNELS, p=weight / weight.sum())
        which, times = np.unique(chosen, return_counts=True)
        order = np.argsort(-times, kind="stable")
        return tuple(self._kernel(tried[which[i]], times[i] / KERNELS) for i in order)

    def _kernel(self, theta: np.ndarray, share: float) -> Kernel:
        named, terms, noise = self.whole(theta)
        K = _total(terms)
        K[np.diag_indices(len(K))] += noise + self.extra + JITTER
        factor = np.linalg.cholesky(K)
        return Kernel(float(share), named, factor, cho_solve((factor, True), self.v))
