"""LR* where trials also differ in what nobody recorded: the upper envelope of the scores.

Badly set nuisance parameters only drag scores down, unevenly over LR, so the mean misleads. What an
LR can reach with the others set well is an upper quantile of the scores there.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from itertools import groupby

import numpy as np

from analysis.data.cells import Cell, complete
from analysis.fit.evidence import collapsed, edges
from analysis.fit.laws import LEVEL
from analysis.fit.optimum import (
    SURE,
    Optimum,
    Response,
    Verdict,
    with_edge,
    without_surface,
)

PLACES = 33  # of the grid of mu
SAMPLES = 200  # of the bootstrap
SOFT = 1e-3  # of the scores' spread: residuals smaller than that weigh alike
MEMORY = 100_000  # residuals at once
ROUNDS, AGAIN = 60, 8  # of reweighting; from a fit to the same place
FAR = 5.0  # standard errors of the loss: a place as much worse is no contender
LEAST = 12  # trials: fewer do not show an upper tenth
SPANS = 0.9  # of what was tried: an interval as wide says nothing


@dataclass(frozen=True, eq=False)
class Envelope:
    """Quantile q of y at x: height - left min(u, 0)^2 - right max(u, 0)^2 with u = x - mu.

    mu, with its 95 % interval low, high and its SD se, in the units of x, octaves for log2 LR;
    left, right >= 0 in those of y an octave squared. grid, loss : (places,), the mean pinball loss
    with mu at each. All NaN, and no places, where the trials are fewer than four or all at one x.
    """

    mu: float = np.nan
    low: float = np.nan
    high: float = np.nan
    se: float = np.nan
    height: float = np.nan
    left: float = np.nan
    right: float = np.nan
    grid: np.ndarray = field(default_factory=lambda: np.empty(0))
    loss: np.ndarray = field(default_factory=lambda: np.empty(0))


def envelope(
    x: np.ndarray, y: np.ndarray, q: float = 0.9, weight: np.ndarray | None = None, seed: int = 0
) -> Envelope:
    """Fit the envelope by quantile regression (Koenker & Bassett 1978), mu on a grid within x.

    Parameters
    ----------
    x, y : (n,) log2 LR and score. weight : (n,), how many trials each stands for; None: one.

    Notes
    -----
    The interval is from the percentiles of a bootstrap over trials. A resample that does not fall
    off to one side has its maximum anywhere there, so it counts with the end of what was tried.
    """
    x, y = np.asarray(x, float), np.asarray(y, float)
    weight = np.ones(len(x)) if weight is None else np.asarray(weight, float)
    if len(x) < 4 or np.ptp(x) == 0:
        return Envelope()
    grid = np.linspace(x.min(), x.max(), PLACES)
    u = x - grid[:, None]
    whole = _regress(u, y, weight[None], q, ROUNDS)
    each = weight * _pinball(_residual(y, whole, _terms(u)), q)[:, 0]
    some = _contenders(each)
    counts = np.random.default_rng(seed).multinomial(len(x), np.full(len(x), 1 / len(x)), SAMPLES)
    # All places times all samples would fill the memory of large tables.
    many = max(MEMORY // counts.size, 1)
    samples = [
        _regress(u[part], y, weight * counts, q, AGAIN, whole[:, part])
        for g in range(some.start, some.stop, many)
        for part in [slice(g, min(g + many, some.stop))]
    ]
    mu = float(_lowest(grid, whole)[0][0])
    height, left, right = _regress(x[None] - mu, y, weight[None], q, ROUNDS)[:3, 0, 0]
    at, falls_left, falls_right = _lowest(grid[some], np.concatenate(samples, axis=1))
    low = np.quantile(np.where(falls_left > 0, at, x.min()), (1 - LEVEL) / 2)
    high = np.quantile(np.where(falls_right > 0, at, x.max()), (1 + LEVEL) / 2)
    return Envelope(
        mu, min(float(low), mu), max(float(high), mu), float(at.std(ddof=1)),
        float(height), float(left), float(right), grid, whole[3, :, 0],
    )  # fmt: skip


def envelope_responses(cells: Sequence[Cell]) -> list[Response]:
    """`optimum.responses` with LR* by the envelope, for tables whose rho is not recorded.

    No surface, no rho*, and the cells share nothing, so the covariance is diagonal. A cell of fewer
    than `LEAST` trials is insufficient; one is flat whose interval is as wide as what was tried.
    Nothing is raised, whatever is missing.
    """
    return [_response(list(own)) for _, own in groupby(cells, key=lambda c: c.method)]


def _response(cells: list[Cell]) -> Response:
    bare = [without_surface(cell) for cell in cells]
    plain = not any((cell.trials["rho"] > 0).any() for cell in cells)
    failing = edges(cells, [each.winner_lr for each in bare], plain)
    done = [own[own["lr"].gt(0)] for own in (complete(cell.trials) for cell in cells)]
    floor = collapsed(np.concatenate([own["score"].to_numpy(float) for own in done]))
    trained = [own[own["score"].gt(floor)] for own in done]
    optima = tuple(
        _judged(cell, with_edge(each, failing, c), np.log2(own["lr"].to_numpy(float)),
                own["score"].to_numpy(float))
        for c, (cell, each, own) in enumerate(zip(cells, bare, trained, strict=True))
    )  # fmt: skip
    errors = np.diag([each.se**2 for each in optima])
    return Response(cells[0].method, optima, errors, np.full_like(errors, np.nan), None)


def _judged(cell: Cell, bare: Optimum, x: np.ndarray, y: np.ndarray) -> Optimum:
    """LR* and its verdict in one cell, from the trials that trained."""
    if bare.verdict == "held":
        return bare
    if len(x) < LEAST:
        trained = f"{len(x)} of {len(cell.search)} trials trained, an upper envelope takes {LEAST}"
        return replace(bare, why=trained if len(x) else bare.why)
    found = envelope(x, y)
    warm = bare.verdict == "warm_started"
    if warm and np.isnan(found.mu):
        return bare
    verdict = bare.verdict if warm else _verdict(bare, found, x)
    if verdict in ("flat", "insufficient"):
        return replace(bare, verdict=verdict)
    if verdict == "stability_edge":
        return replace(
            bare, verdict=verdict, lr_star=bare.lr_max, lr_low=bare.lr_max_low,
            lr_high=bare.lr_max_high, se=bare.lr_max_se,
        )  # fmt: skip
    return replace(
        bare, verdict=verdict, lr_star=2.0**found.mu, lr_low=2.0**found.low,
        lr_high=2.0**found.high, se=found.se,
    )  # fmt: skip


def _verdict(bare: Optimum, found: Envelope, x: np.ndarray) -> Verdict:
    """Where mu lies in what was tried; beyond the last trial that trained lies the edge, if any."""
    if np.isnan(found.mu):
        return "insufficient"
    if found.high - found.low >= SPANS * np.ptp(x):
        return "flat"
    at, last = 2.0**found.mu, 2.0 ** (x.max() - SURE)
    if bare.lr_max <= bare.tried_high and at >= min(bare.lr_max, last):
        return "stability_edge"
    if at >= bare.tried_high / 2**SURE:
        return "at_upper"
    return "at_lower" if at <= bare.tried_low * 2**SURE else "interior"


def _regress(
    u: np.ndarray,
    y: np.ndarray,
    weight: np.ndarray,
    q: float,
    rounds: int,
    start: np.ndarray | None = None,
) -> np.ndarray:
    """(4, G, S): a, l, r >= 0 and the mean pinball loss for u (G, n) and weight (S, n).

    Majorise and minimise (Hunter & Lange 2000): a parabola that touches the loss of a residual e
    from above has the weight 1 / |e|, so that every round is weighted least squares.
    """
    terms = _terms(u)
    moments = np.concatenate([terms, terms[:, 1:] ** 2, y * terms], axis=1)
    moments = np.ascontiguousarray(np.swapaxes(moments, 1, 2))
    tilt = (2 * q - 1) * (weight @ moments[..., :3])
    soft = SOFT * max(float(np.ptp(np.quantile(y, [0.25, 0.75]))), 1e-9)
    if start is None:
        start = np.quantile(y, q) * np.array([1.0, 0, 0])[:, None, None]
    at = np.broadcast_to(start[:3], (3, len(u), len(weight)))
    for _ in range(rounds):
        sums = (weight / (soft + np.abs(_residual(y, at, terms)))) @ moments
        at = _least_squares(sums[..., :3], sums[..., 3:5], sums[..., 5:] + tilt)
    loss = (weight * _pinball(_residual(y, at, terms), q)).sum(axis=-1) / weight.sum(axis=-1)
    return np.concatenate([at, loss[None]])


def _terms(u: np.ndarray) -> np.ndarray:
    """(G, 3, n): 1, A, B, what a, -l and -r multiply."""
    return np.stack([np.ones_like(u), np.minimum(u, 0) ** 2, np.maximum(u, 0) ** 2], axis=1)


def _residual(y: np.ndarray, at: np.ndarray, terms: np.ndarray) -> np.ndarray:
    """(G, S, n)."""
    a, left, right = at[:3]
    return np.asarray(y - np.stack([a, -left, -right], axis=-1) @ terms)


def _pinball(e: np.ndarray, q: float) -> np.ndarray:
    return np.asarray(np.abs(e) / 2 + (q - 0.5) * e)


def _contenders(loss: np.ndarray) -> slice:
    """The places that a resample could prefer, three at least, from each trial's loss (G, n)."""
    excess = loss - loss[loss.mean(axis=1).argmin()]
    error = excess.std(axis=1) / np.sqrt(loss.shape[1])
    likely = np.flatnonzero(excess.mean(axis=1) <= FAR * error)
    return slice(max(min(likely[0] - 1, len(loss) - 3), 0), max(likely[-1] + 2, 3))


def _least_squares(first: np.ndarray, square: np.ndarray, score: np.ndarray) -> np.ndarray:
    """(3, G, S): a, l, r of y = a - l A - r B with l, r >= 0, from the weighted moments.

    first : (..., 3) of 1, A, B. square : (..., 2) of A^2, B^2. score : (..., 3) of y, A y, B y.
    As A B = 0, l and r follow from a, and a from one equation with two kinks, which is increasing
    and concave: Newton's steps from the left, where l = r = 0, end at the solution after two more.
    """
    s, side = first[..., 0], first[..., 1:]
    square = np.maximum(square, 1e-300)
    fall = np.zeros_like(side)
    for _ in range(3):
        share = np.where(fall > 0, side / square, 0.0)
        rest = np.maximum(s - (share * side).sum(axis=-1), 1e-12 * s)
        a = (score[..., 0] - (share * score[..., 1:]).sum(axis=-1)) / rest
        fall = np.where(side > 0, (a[..., None] * side - score[..., 1:]) / square, 0.0)
    return np.stack([a, *np.moveaxis(np.maximum(fall, 0.0), -1, 0)])


def _lowest(grid: np.ndarray, fits: np.ndarray) -> tuple[np.ndarray, ...]:
    """mu, l, r of least loss in each sample, (S,); a parabola finds mu between the places."""
    loss, every = fits[3], np.arange(fits.shape[2])
    best = loss.argmin(axis=0)
    i = np.clip(best, 1, len(grid) - 2)
    below, least, above = loss[i - 1, every], loss[i, every], loss[i + 1, every]
    bend = np.where(best == i, below - 2 * least + above, np.inf)
    step = np.clip((below - above) / 2 / np.maximum(bend, 1e-300), -0.5, 0.5)
    return grid[best] + (grid[1] - grid[0]) * step, *fits[1:3, best, every]
