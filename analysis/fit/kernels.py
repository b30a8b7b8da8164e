"""How alike the expected scores at two places are, and what the trials say of that.

A response rises gently with the learning rate and falls steeply beyond the best, so distances in
log LR count more above a kink near each cell's best; where it lies and how much more they count are
told by the trials, like the lengths.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.linalg import cho_solve, solve_triangular  # type: ignore[import-untyped,unused-ignore]
from scipy.optimize import minimize  # type: ignore[import-untyped,unused-ignore]

DRAWS = 16  # kernels of the posterior
WIDER = 1.2  # than its normal approximation, in SDs: what is drawn must cover it
CONSTANT = 2.0  # prior SD of the level of all, in SDs of the scores
JITTER = 1e-8
ENOUGH = 1e-5  # of the log density: it is known no better


@dataclass(frozen=True)
class Prior:
    """A normal prior of a parameter of the kernel."""

    middle: float
    sd: float


# Natural logarithms, but for the drift, the kink and the noise's growth. Lengths in octaves,
# heights in SDs of the scores: over 2 octaves of LR a response changes, over more of rho and of B.
PRIORS = {
    "lr": Prior(np.log(2.0), 0.4),
    "rho": Prior(np.log(3.0), 0.5),
    "place": Prior(np.log(3.0), 0.6),
    "lr_own": Prior(np.log(2.0), 0.4),
    # Octaves of rho by which a response moves, an octave of m: between 0 and 1/2, if the radius
    # makes up for the noise of the gradient that it follows, rho* ~ (1 + B_simple / m)^(-1/2).
    "rho_drift": Prior(0.25, 0.2),
    "steeper": Prior(0.2, 0.4),  # how much more an octave counts above the kink
    "kink": Prior(0.5, 0.7),  # octaves above the cell's best
    "height": Prior(0.0, 1.0),
    "own": Prior(np.log(0.3), 0.7),  # what a cell does not share with its neighbours, of the height
    "level": Prior(0.0, 1.0),  # of a cell
    "noise": Prior(np.log(0.15), 1.0),
    "noisier": Prior(0.25, 0.3),  # log2 of the noise's growth an octave of batch size
}
Parameters = dict[str, float]


@dataclass(frozen=True, eq=False)
class Points:
    """Places in the cells: `at` (n, d) log2 of LR and rho, `cell` (n,), `place` (n, p).

    best : (n,), log2 of about the best LR of each one's cell, where the kink is counted from.
    """

    at: np.ndarray
    cell: np.ndarray
    place: np.ndarray
    best: np.ndarray

    def stretched(self, theta: Parameters) -> np.ndarray:
        """(n,): log2 LR, counted by `steeper` beyond the kink."""
        above = np.maximum(self.at[:, 0] - self.best - theta["kink"], 0.0)
        return np.asarray(self.at[:, 0] + np.expm1(theta["steeper"]) * above)

    def radius(self, theta: Parameters) -> np.ndarray:
        """(n,): log2 rho, from where its drift has led; 0 where there is none."""
        if "rho" not in theta:
            return np.zeros(len(self.at))
        return np.asarray(self.at[:, 1] - theta["rho_drift"] * self.place[:, -1])


@dataclass(frozen=True, eq=False)
class Apart:
    """What does not depend on the kernel between places a and b: squared distances (n, k) in
    batch size, octaves squared, and the flat indices of those of the same cell."""

    a: Points
    b: Points
    place: np.ndarray
    same: np.ndarray


def apart(a: Points, b: Points) -> Apart:
    place = ((a.place[:, None] - b.place) ** 2).sum(axis=-1)
    return Apart(a, b, place, np.flatnonzero(a.cell[:, None] == b.cell))


def along_lr(distance: np.ndarray, smooth: bool) -> tuple[np.ndarray, np.ndarray]:
    """k at a distance in lengths, and minus the slope of log k in half the squared distance:
    squared exponential, or Matern of smoothness 5/2 (Rasmussen & Williams 2006, eq. 4.9, 4.17)."""
    if smooth:
        return np.exp(-(distance**2) / 2), np.ones_like(distance)
    r = np.sqrt(5.0) * np.abs(distance)
    polynomial = 1 + r + r**2 / 3
    return polynomial * np.exp(-r), 5 / 3 * (1 + r) / polynomial


def terms(theta: Parameters, smooth: bool, off: Apart) -> dict[str, np.ndarray]:
    """The parts of the covariance that depend on where the places are, (n, k) each; `own` and
    `level` of those of the same cell alone. `along`, `across` : distance in LR and rho, octaves."""
    along = off.a.stretched(theta)[:, None] - off.b.stretched(theta)
    across = off.a.radius(theta)[:, None] - off.b.radius(theta)
    far = np.exp(2 * theta["height"] - across**2 * np.exp(-2 * theta.get("rho", 0.0)) / 2)
    shared, curve = along_lr(along * np.exp(-theta["lr"]), smooth)
    shared *= far * np.exp(-off.place * np.exp(-2 * theta["place"]) / 2)
    own, own_curve = along_lr(along.take(off.same) * np.exp(-theta["lr_own"]), smooth)
    own *= far.take(off.same) * np.exp(2 * theta["own"])
    return {"shared": shared, "own": own, "level": np.full(len(own), np.exp(2 * theta["level"])),
            "along": along, "across": across, "curve": curve, "own_curve": own_curve}  # fmt: skip


def total(found: dict[str, np.ndarray], off: Apart) -> np.ndarray:
    """The covariance (n, k)."""
    K = found["shared"] + CONSTANT**2
    K.ravel()[off.same] += found["own"] + found["level"]
    return np.asarray(K)


@dataclass(frozen=True, eq=False)
class Kernel:
    """One draw of the kernel's parameters, with the process it leads to.

    K = level + height^2 k(rho) (k(LR) k(place) + own^2 k(LR) [same cell]) of the stretched LR,
    squared exponentials but for k(LR). share : of the posterior; all of them sum to 1.
    """

    share: float
    theta: Parameters
    smooth: bool
    factor: np.ndarray
    solution: np.ndarray

    def covariance(self, off: Apart) -> np.ndarray:
        return total(terms(self.theta, self.smooth, off), off)

    @property
    def variance(self) -> float:
        """Of the process at any place, before the trials."""
        height = np.exp(2 * self.theta["height"]) * (1 + np.exp(2 * self.theta["own"]))
        return float(height + np.exp(2 * self.theta["level"]) + CONSTANT**2)


class Posterior:
    """Of the kernel's parameters, given what the process is seen to be.

    v : (n,), scores in units of the process. extra : (n,), variance beyond the seed's. count : (n,)
    or 1, trials behind each. octaves : (cells,), log2 of batch sizes about their mean. smooth :
    whether the response to LR is, without kinks of its own.
    """

    def __init__(
        self,
        points: Points,
        v: np.ndarray,
        extra: np.ndarray,
        count: np.ndarray | float,
        octaves: np.ndarray,
        smooth: bool = True,
    ) -> None:
        self.smooth = smooth
        self.points, self.v, self.extra, self.count = points, v, extra, count
        self.octaves = octaves[points.cell]
        self.off = apart(points, points)
        self.names = [n for n in PRIORS if "rho" not in n or points.at.shape[1] > 1]
        self.middle = np.array([PRIORS[n].middle for n in self.names])
        self.sd = np.array([PRIORS[n].sd for n in self.names])

    def _whole(
        self, theta: np.ndarray
    ) -> tuple[Parameters, dict[str, np.ndarray], np.ndarray, np.ndarray]:
        """The parameters by name, the terms, the noise's variance (n,), the factor of them all."""
        named = dict(zip(self.names, theta.tolist(), strict=True))
        noise = np.exp(2 * (named["noise"] + np.log(2) * named["noisier"] * self.octaves))
        found = terms(named, self.smooth, self.off)
        K = total(found, self.off)
        K[np.diag_indices(len(K))] += noise / self.count + self.extra + JITTER
        return named, found, noise / self.count, np.linalg.cholesky(K)

    def __call__(self, theta: np.ndarray) -> tuple[float, np.ndarray]:
        """Minus the log posterior density and its gradient."""
        named, found, noise, factor = self._whole(theta)
        inverse = cho_solve((factor, True), np.eye(len(factor)))
        solution = inverse @ self.v
        W = (inverse - np.outer(solution, solution)) / 2
        value = self.v @ solution / 2 + np.log(np.diag(factor)).sum()
        shared, W_same = W * found["shared"], W.take(self.off.same)
        own, level = W_same * found["own"], W_same @ found["level"]
        nugget = 2 * np.diag(W) * noise
        along = found["along"]
        curve = shared * found["curve"] * np.exp(-2 * named["lr"]) * along
        own_curve = own * found["own_curve"] * np.exp(-2 * named["lr_own"])
        own_curve *= along.take(self.off.same)
        across, by_rho = found["across"], np.exp(-2 * named.get("rho", 0.0))
        tilt = shared * across
        slopes = {
            "height": 2 * (shared.sum() + own.sum()), "own": 2 * own.sum(), "level": 2 * level,
            "noise": nugget.sum(), "noisier": np.log(2) * (nugget @ self.octaves),
            "lr": np.vdot(curve, along), "lr_own": own_curve @ along.take(self.off.same),
            "place": np.vdot(shared, self.off.place) * np.exp(-2 * named["place"]),
            "rho": by_rho * (np.vdot(tilt, across) + own @ across.take(self.off.same) ** 2),
            "rho_drift": by_rho * (tilt.sum(axis=1) - tilt.sum(axis=0)) @ self.points.place[:, -1],
        }  # fmt: skip
        curve.ravel()[self.off.same] += own_curve
        pull = -2 * curve.sum(axis=1)  # of each observation's stretched LR
        above = self.points.at[:, 0] - self.points.best - named["kink"]
        slopes["steeper"] = pull @ np.maximum(above, 0.0) * np.exp(named["steeper"])
        slopes["kink"] = -pull[above > 0].sum() * np.expm1(named["steeper"])
        off = (theta - self.middle) / self.sd
        gradient = np.array([slopes[name] for name in self.names])
        return float(value + off @ off / 2), gradient + off / self.sd

    def value(self, theta: np.ndarray) -> float:
        """Minus the log posterior density, without its gradient a third of the work."""
        factor = self._whole(theta)[-1]
        half = solve_triangular(factor, self.v, lower=True)
        off = (theta - self.middle) / self.sd
        return float((half @ half + off @ off) / 2 + np.log(np.diag(factor)).sum())

    def likeliest(self, start: np.ndarray | None = None) -> np.ndarray:
        """The parameters of the highest density (Rasmussen & Williams 2006, section 5.4)."""
        start = self.middle if start is None else start
        bounds = list(zip(self.middle - 3 * self.sd, self.middle + 3 * self.sd, strict=True))
        found = minimize(self, start, jac=True, method="L-BFGS-B", bounds=bounds,
                         options={"ftol": ENOUGH})  # fmt: skip
        return np.asarray(found.x)

    def proposed(self, start: np.ndarray | None = None) -> tuple[np.ndarray, np.ndarray]:
        """(DRAWS, k) parameters from a normal approximation, wider, and (DRAWS,) log weights, whose
        mean is the evidence for this posterior but for a constant; the same for the same data."""
        best = self.likeliest(start)
        step, k, slope = 0.05 * self.sd, len(best), self(best)[1]
        hessian = np.array([
            (self(best + step * unit)[1] - slope) / step[i] for i, unit in enumerate(np.eye(k))
        ])  # fmt: skip
        values, turn = np.linalg.eigh((hessian + hessian.T) / 2 * np.outer(self.sd, self.sd))
        size = WIDER / np.sqrt(np.maximum(values, 0.25))
        normal = np.random.default_rng(0).standard_normal((DRAWS - 1, k))
        tried = np.vstack([best, best + (normal * size) @ turn.T * self.sd])
        logs = np.array([-self.value(theta) for theta in tried]) + np.log(size).sum()
        logs[1:] += (normal**2).sum(axis=1) / 2
        return tried, logs

    def kernel(self, theta: np.ndarray, share: float = 1.0) -> Kernel:
        named, _, _, factor = self._whole(theta)
        solution = cho_solve((factor, True), self.v)
        return Kernel(float(share), named, self.smooth, factor, solution)


def drawn(posteriors: Sequence[Posterior], start: np.ndarray) -> tuple[Kernel, ...]:
    """Kernels of one or the other, since few trials leave them open: systematic importance
    resampling (Kitagawa 1996), the likeliest first."""
    tried, logs = zip(*(posterior.proposed(start) for posterior in posteriors), strict=True)
    every = [(p, theta) for p, own in zip(posteriors, tried, strict=True) for theta in own]
    weight = np.exp(np.concatenate(logs) - np.max(logs))
    below = np.cumsum(weight) / weight.sum()
    chosen = np.searchsorted(below, (np.arange(DRAWS) + 0.5) / DRAWS)
    which, times = np.unique(chosen, return_counts=True)
    order = np.argsort(-times, kind="stable")
    return tuple(every[which[i]][0].kernel(every[which[i]][1], times[i] / DRAWS) for i in order)
