"""The best learning rate of each cell, LR*, how well it is known, and whether to believe it.

LR*(B) is the argmax over LR of the max over rho of the score expected over seeds. It is read off a
surface fitted to all trials that came to their end, with those that ASHA stopped accounted for by
weights, so it is not one of the learning rates that happened to be tried.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import groupby
from typing import Literal

import numpy as np

from analysis.cells import Cell, complete
from analysis.edge import Edge
from analysis.evidence import edges, observations, observed, rho_known
from analysis.location import Location, locate
from analysis.noise import moderated
from analysis.surface import Surface, fit

Verdict = Literal[
    "interior", "at_lower", "at_upper", "stability_edge", "flat", "insufficient", "warm_started"
]

MIN_SEARCH_TRIALS = 4
FAR = 100.0  # octaves
NEXT = 2.0  # an octave: a trial no further from an end is next to it
SURE = 1e-3  # octaves: an LR* this near to the end of what was tried is at the end


@dataclass(frozen=True)
class Optimum:
    """LR* of a cell; learning rates and radii as they are, NaN where unknown.

    lr_star with lr_low, lr_high : 95 % interval, 0 and infinite where open; se : octaves.
    near_low, near_high : LRs whose expected score is within one seed-SD of the best, where that is
    interior. rho_star likewise, with its own verdict. lr_at_rho : the best LR at the method's
    middle rho*. lr_max : where half of the trainings diverge. tried_low, tried_high : the search's
    ends. winner_lr, winner_rho : confirmed (or else the best of the search). shortfall : how much
    less the winner is expected to score than the optimum. Without a surface LR* is the winner's.
    """

    method: str
    batch_size: int
    m: int
    verdict: Verdict
    lr_star: float = np.nan
    lr_low: float = 0.0
    lr_high: float = np.inf
    se: float = np.nan
    near_low: float = np.nan
    near_high: float = np.nan
    rho_star: float = np.nan
    rho_low: float = 0.0
    rho_high: float = np.inf
    rho_se: float = np.nan
    rho_verdict: Verdict = "insufficient"
    lr_at_rho: float = np.nan
    lr_at_rho_se: float = np.nan
    lr_max: float = np.nan
    lr_max_low: float = 0.0
    lr_max_high: float = np.inf
    lr_max_se: float = np.nan
    tried_low: float = np.nan
    tried_high: float = np.nan
    winner_lr: float = np.nan
    winner_rho: float = np.nan
    confirmed: bool = False
    shortfall: float = np.nan


@dataclass(frozen=True, eq=False)
class Response:
    """How the cells of one method answer to LR and rho.

    covariance, rho_covariance : (cells, cells) of log2 LR* and log2 rho*, octaves squared; the
    shared curvature ties the cells. surface : None where the trials determine none.
    """

    method: str
    optima: tuple[Optimum, ...]
    covariance: np.ndarray
    rho_covariance: np.ndarray
    surface: Surface | None


def seed_noise(cells: Sequence[Cell], column: str = "score") -> dict[int, tuple[float, float]]:
    """(SD over seeds at one setting, its degrees of freedom) by batch size; NaN, 0 if unknown.

    Pooled over the methods at a batch size and moderated over batch sizes, since large batches are
    far noisier than small ones: one SD for all would be wrong for all.
    """
    sizes = sorted({cell.batch_size for cell in cells})
    squares, df = dict.fromkeys(sizes, 0.0), dict.fromkeys(sizes, 0)
    for cell in cells:
        runs = complete(cell.winners)
        values = runs[column].to_numpy(float)
        points = list(zip(runs["lr"], runs["rho"], strict=True))
        for point in set(points):
            own = values[[each == point for each in points]]
            own = own[np.isfinite(own)]
            squares[cell.batch_size] += float(((own - own.mean()) ** 2).sum()) if len(own) else 0.0
            df[cell.batch_size] += max(len(own) - 1, 0)
    found = moderated(np.array(list(squares.values())), np.array(list(df.values())))
    sds = np.sqrt(found.variance)
    return {b: (float(sds[i]), float(found.df[i])) for i, b in enumerate(sizes)}


def responses(cells: Sequence[Cell], control_share: float = np.nan) -> list[Response]:
    """The answer of every method; a method's cells share their curvature and nothing else.

    Parameters
    ----------
    control_share : the chance with which a trial was drawn to be a control, before its LR was; NaN
        takes their share among the trials.
    """
    noise = seed_noise(cells)
    return [
        response(list(own), noise, control_share)
        for _, own in groupby(cells, key=lambda cell: cell.method)
    ]


def response(
    cells: list[Cell], noise: dict[int, tuple[float, float]], control_share: float = np.nan
) -> Response:
    """Fit the surface of one method and judge LR*, rho* and LR_max in each of its cells."""
    bare = [without_surface(cell) for cell in cells]
    trials, floor = observed(cells, control_share)
    plain = not (trials["rho"] > 0).any()
    seen = observations(trials[trials["weight"] > 0], len(cells), plain)
    start = np.log2([[each.winner_lr] if plain else [each.winner_lr, each.winner_rho]
                     for each in bare])  # fmt: skip
    surface = fit(seen, start) if len(seen.y) else None
    failing = edges(cells, [each.winner_lr for each in bare], floor, plain)
    nothing = np.full((len(cells), len(cells)), np.nan)
    optima = [with_edge(each, failing, c) for c, each in enumerate(bare)]
    if surface is None:
        return Response(cells[0].method, tuple(optima), nothing, nothing, None)
    rho_bounds, rho, middle = None, None, None
    if surface.d == 1:
        lr = locate(surface, 0)
    else:
        rho_bounds = rho_known(seen)
        lr = locate(surface, 0, rho_bounds)
        rho = locate(surface, 1, np.log2([[o.tried_low, o.tried_high] for o in optima]))
        inside = rho.at[(rho.at > rho_bounds[:, 0]) & (rho.at < rho_bounds[:, 1])]
        level = np.median(inside) if len(inside) else np.nanmedian(rho_bounds)
        middle = locate(surface, 0, np.full((len(cells), 2), level))
    found = [
        _judged(
            cell, each, c, 2 ** seen.x[seen.cell == c], surface, lr, rho, rho_bounds, middle, noise
        )
        for c, (cell, each) in enumerate(zip(cells, optima, strict=True))
    ]
    rho_covariance = nothing if rho is None else rho.covariance
    return Response(cells[0].method, tuple(found), lr.covariance, rho_covariance, surface)


def without_surface(cell: Cell) -> Optimum:
    """What is known without a surface: the winner and the ends of the search."""
    searched, confirmed = cell.search, complete(cell.winner_runs)
    best = confirmed if len(confirmed) else cell.searched.nlargest(1, "score")
    warm = cell.trials["role"].eq("warm").any()  # another study has told where to look
    empty = Optimum(*cell.key, "warm_started" if warm else "insufficient")
    lrs = np.concatenate([searched["lr"], cell.confirm("half", "double")["lr"]])
    lrs = lrs[lrs > 0]
    tried = (float(lrs.min()), float(lrs.max())) if len(lrs) else (np.nan, np.nan)
    if best.empty:
        return replace(empty, tried_low=tried[0], tried_high=tried[1])
    lr, rho = float(best["lr"].iloc[0]), float(best["rho"].iloc[0])
    return replace(
        empty, lr_star=lr, rho_star=rho, winner_lr=lr, winner_rho=rho,
        confirmed=len(confirmed) > 0, tried_low=tried[0], tried_high=tried[1],
    )  # fmt: skip


def with_edge(bare: Optimum, edges: Edge, c: int) -> Optimum:
    """The cell with what is known of its divergence edge."""
    return replace(
        bare, lr_max=2.0 ** edges.at[c], lr_max_low=2.0 ** edges.low[c],
        lr_max_high=2.0 ** edges.high[c], lr_max_se=edges.sd[c],
    )  # fmt: skip


def _judged(
    cell: Cell,
    bare: Optimum,
    c: int,
    done: np.ndarray,
    surface: Surface,
    lr: Location,
    rho: Location | None,
    rho_bounds: np.ndarray | None,
    middle: Location | None,
    noise: dict[int, tuple[float, float]],
) -> Optimum:
    """LR*, rho* and their verdicts in one cell."""
    warm, known = bare.verdict == "warm_started", surface.known[c]
    if not known or len(cell.search) < MIN_SEARCH_TRIALS or (warm and np.isnan(lr.at[c])):
        return bare
    verdict = bare.verdict if warm else _verdict(bare, lr, c, done)
    if verdict in ("flat", "insufficient"):
        return replace(bare, verdict=verdict, rho_verdict=verdict)
    at, se = lr.at[c], float(np.sqrt(lr.covariance[c, c]))
    low, high = lr.low[c], lr.high[c]
    if verdict == "stability_edge":
        at, se = np.log2(bare.lr_max), bare.lr_max_se
        low, high = np.log2(bare.lr_max_low), np.log2(bare.lr_max_high)
    if verdict in ("at_lower", "at_upper"):  # beyond, which is no place
        at = np.log2(bare.tried_high if verdict == "at_upper" else bare.tried_low)
    half = np.sqrt(2 * noise[cell.batch_size][0] / max(-lr.fall, 1e-3))
    half = half if verdict == "interior" else np.nan
    found = replace(
        bare, verdict=verdict, lr_star=2.0**at, lr_low=_power(low), lr_high=_power(high), se=se,
        near_low=2.0 ** (at - half), near_high=2.0 ** (at + half),
        shortfall=_shortfall(surface, c, at, rho, rho_bounds, bare),
    )  # fmt: skip
    if rho is None or rho_bounds is None or middle is None:
        return found
    rho_verdict: Verdict = verdict if verdict in ("insufficient", "warm_started") else "interior"
    if surface.form != "own":  # what all cells share is no finding of each
        rho_verdict = "insufficient"
    ends = rho_bounds[c]
    if rho_verdict == "interior" and not np.isfinite(rho.low[c]):
        rho_verdict = "flat"
    elif rho_verdict == "interior" and not ends[0] + SURE < rho.at[c] < ends[1] - SURE:
        rho_verdict = "at_lower" if rho.at[c] <= ends[0] + SURE else "at_upper"
    return replace(
        found, rho_verdict=rho_verdict, rho_star=float(2.0 ** np.clip(rho.at[c], *ends)),
        rho_low=_power(rho.low[c]), rho_high=_power(rho.high[c]),
        rho_se=float(np.sqrt(rho.covariance[c, c])),
        lr_at_rho=2.0 ** middle.at[c], lr_at_rho_se=float(np.sqrt(middle.covariance[c, c])),
    )  # fmt: skip


def _power(octaves: float) -> float:
    """2^octaves; what no learning rate comes near counts as unbounded."""
    return float(2.0 ** np.where(np.abs(octaves) < FAR, octaves, np.inf * np.sign(octaves)))


def _verdict(bare: Optimum, lr: Location, c: int, done: np.ndarray) -> Verdict:
    """Where LR* lies in what was tried; beyond its ends the surface only says: beyond.

    Further than an octave from all trials that came to their end, `done`, it says nothing. Without
    a peak, a rise (fall) up to an end still tells, if the best trial lies next to it.
    """
    starts: dict[Verdict, float] = {
        "at_lower": bare.tried_low,
        "insufficient": done.min() / NEXT,
    }
    ends: dict[Verdict, float] = {
        "at_upper": bare.tried_high,
        "stability_edge": np.nan_to_num(bare.lr_max, nan=np.inf),
        "insufficient": done.max() * NEXT,
    }
    below, above = max(starts, key=lambda v: starts[v]), min(ends, key=lambda v: ends[v])
    low, high = starts[below], ends[above]
    if np.isfinite(lr.low[c]):
        at = 2.0 ** lr.at[c]
        if at >= high / 2**SURE:
            return above
        return below if at <= low * 2**SURE else "interior"
    slopes = lr.rises(c, np.log2(low)), lr.rises(c, np.log2(high))
    if slopes == (1, 1) and bare.winner_lr >= high / NEXT:
        return "flat" if above == "insufficient" else above
    if slopes == (-1, -1) and bare.winner_lr <= low * NEXT:
        return "flat" if below == "insufficient" else below
    return "flat"


def _shortfall(
    surface: Surface,
    c: int,
    at: float,
    rho: Location | None,
    rho_bounds: np.ndarray | None,
    bare: Optimum,
) -> float:
    """Expected score at the optimum less that at the winner's LR and rho."""
    best, point = [at], [np.log2(bare.winner_lr)]
    if rho is not None and rho_bounds is not None:
        if not np.isfinite(rho.at[c]):
            return float("nan")
        best.append(float(np.clip(rho.at[c], *rho_bounds[c])))
        point.append(np.log2(bare.winner_rho) if bare.winner_rho > 0 else np.nan)
    b, H = surface.slope[c], surface.hessian
    height = [
        b @ u + u @ H @ u / 2 for u in (np.array(p) - surface.centre[c] for p in (best, point))
    ]
    return float(max(height[0] - height[1], 0.0))
