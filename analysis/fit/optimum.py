"""The best learning rate of each cell, LR*, how well it is known, and whether to believe it.

LR*(B) is the argmax over LR of the max over rho of the score expected over seeds, within what was
tried. It is read off a surface fitted to all trials, so it is not one of the learning rates that
happened to be tried.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import groupby
from typing import Literal

import numpy as np

from analysis.data.cells import Cell, complete
from analysis.fit.edge import Edge
from analysis.fit.evidence import edges, observations
from analysis.fit.location import Location, locate
from analysis.fit.noise import moderated
from analysis.fit.surface import Observations, Surface, fit

Verdict = Literal[
    "interior",
    "at_lower",
    "at_upper",
    "stability_edge",
    "flat",
    "disputed",
    "insufficient",
    "warm_started",
    "held",
]

WARM: Verdict = "warm_started"
AXES = ("lr", "rho")  # as a surface has them
MIN_SEARCH_TRIALS = 4
SPANS = 0.85  # of what was tried: an interval as wide says nothing
NEXT = 0.5  # octaves: an LR* this near to LR_max, or within its error, is at the edge
SURE = 1e-3  # octaves: an LR* this near to the end of what was tried is at the end
PROFILE = (65, 9)  # places of LR and rho at which near-optimal learning rates are sought


@dataclass(frozen=True)
class Optimum:
    """LR* of a cell; learning rates and radii as they are, NaN where unknown.

    lr_star with lr_low, lr_high : 95 % interval, 0 and infinite where open; se : octaves.
    near_low, near_high : LRs whose expected score is within one seed-SD of the best, where that is
    interior. rho_star likewise, with its own verdict. why, rho_why : what an insufficient one
    lacks. lr_at_rho : the best LR at the method's middle rho*. lr_max : where half of the trainings
    diverge. tried_low, tried_high : the search's ends. winner_lr, winner_rho : confirmed (or else
    the best of the search). shortfall : how much less the winner is expected to score than the
    optimum, with its SD. Without a surface LR* is the winner's; where it is held, the value that
    all trials had.
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
    why: str = ""
    rho_why: str = ""
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
    shortfall_sd: float = np.nan


@dataclass(frozen=True, eq=False)
class Response:
    """How the cells of one method answer to LR and rho.

    covariance, rho_covariance : (cells, cells) of log2 LR* and log2 rho*, octaves squared; what the
    cells share ties them. surface : None where the trials determine none.
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


def responses(cells: Sequence[Cell]) -> list[Response]:
    """The answer of every method, whose cells share what the trials show that they share."""
    noise = seed_noise(cells)
    return [response(list(own), noise) for _, own in groupby(cells, key=lambda cell: cell.method)]


def response(cells: list[Cell], noise: dict[int, tuple[float, float]]) -> Response:
    """Fit the surface of one method and judge LR*, rho* and LR_max in each of its cells."""
    bare = [without_surface(cell) for cell in cells]
    plain = not any((cell.trials["rho"] > 0).any() for cell in cells)
    failing = edges(cells, [each.winner_lr for each in bare], plain)
    optima = [with_edge(each, failing, c) for c, each in enumerate(bare)]
    seen = observations(cells, plain)
    surface = fit(seen) if len(seen.y) else None
    if surface is None:
        nothing = np.full((len(cells), len(cells)), np.nan)
        return Response(cells[0].method, tuple(optima), nothing, nothing, None)
    bounds = tried(seen)
    winners = np.log2([[o.winner_lr, o.winner_rho if o.winner_rho > 0 else np.nan]
                       for o in optima])[:, : surface.d]  # fmt: skip
    found = locate(surface, bounds, winners)
    middle = None
    if surface.d == 2:
        level = np.nanmedian(found.at[:, 1])
        fixed = bounds.copy()
        fixed[:, 1] = level
        middle = locate(surface, fixed, winners)
    judged = [
        _judged(cell, each, c, surface, found, middle, noise[cell.batch_size][0])
        for c, (cell, each) in enumerate(zip(cells, optima, strict=True))
    ]
    covariance = found.covariance()
    rho = found.covariance(1) if surface.d == 2 else np.full_like(covariance, np.nan)
    return Response(cells[0].method, tuple(judged), covariance, rho, surface)


def tried(seen: Observations) -> np.ndarray:
    """(cells, d, 2): the least and the largest log2 LR and rho of each cell's trials."""
    bounds = np.full((seen.cells, seen.points.shape[1], 2), np.nan)
    for c in np.unique(seen.cell):
        own = seen.points[seen.cell == c]
        bounds[c] = np.column_stack([own.min(axis=0), own.max(axis=0)])
    return bounds


def without_surface(cell: Cell) -> Optimum:
    """What is known without a surface: the winner and the ends of the search."""
    searched, confirmed = cell.search, complete(cell.winner_runs)
    best = confirmed if len(confirmed) else cell.searched.nlargest(1, "score")
    verdicts: dict[str, Verdict] = dict.fromkeys(cell.held, "held")
    verdict, why = verdicts.get("lr", WARM if _warm(cell) else "insufficient"), lacking(cell)
    empty = Optimum(
        *cell.key, verdict, rho_verdict=verdicts.get("rho", "insufficient"), why=why, rho_why=why
    )
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


def lacking(cell: Cell) -> str:
    """What the cell's trials lack to tell LR*, where they do not."""
    ended, done = cell.search, cell.searched
    n, diverged = len(ended), int(ended["status"].eq("diverged").sum())
    if n < MIN_SEARCH_TRIALS:
        return f"{n} trial{'s' * (n != 1)} ended, it takes {MIN_SEARCH_TRIALS}"
    if diverged == n:
        return f"all {n} trials diverged"
    if ended["lr"].nunique() == 1:
        return "one learning rate"
    if len(done) + diverged < MIN_SEARCH_TRIALS:
        return f"{len(done)} of {n} trials ran to their end, it takes {MIN_SEARCH_TRIALS}"
    if not len(done):
        return f"none of {n} trials ran to its end"
    return "all trials score alike" if done["score"].nunique() == 1 else "no radius is known"


def _warm(cell: Cell) -> bool:
    """Whether another study has told where to look."""
    return bool(cell.trials["role"].eq("warm").any())


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
    surface: Surface,
    found: Location,
    middle: Location | None,
    seed_sd: float,
) -> Optimum:
    """LR*, rho* and their verdicts in one cell; of what is held there is nothing to judge.

    Where nothing came to its end, or at one place only, all would be its neighbours' word.
    """
    axes = [i for i, name in enumerate(AXES[: surface.d]) if name not in cell.held]
    told = surface.known[c] and bare.winner_lr > 0 and axes
    if not told or not np.ptp(found.bounds[c, axes[0]]) > 0 or len(cell.search) < MIN_SEARCH_TRIALS:
        return bare
    lost = found.lost[:, c]
    answer = replace(bare, shortfall=float(lost.mean()), shortfall_sd=float(lost.std()))
    if 0 in axes:
        answer = _with_lr(answer, c, surface, found, seed_sd if seed_sd > 0 else surface.sigma[c])
    if answer.verdict == "flat":
        return replace(answer, rho_verdict=answer.verdict if 1 in axes else bare.rho_verdict)
    if 0 in axes and middle is not None:
        at = 2.0 ** middle.at[c, 0]
        answer = replace(answer, lr_at_rho=at, lr_at_rho_se=_se(middle, c, 0))
    if 1 not in axes:
        return answer
    if not np.ptp(found.bounds[c, 1]) > 0:
        return replace(answer, rho_why="one radius")
    verdict, low, high = _verdict(found, c, 1)
    return replace(
        answer, rho_verdict=WARM if _warm(cell) else verdict, rho_star=2.0 ** found.at[c, 1],
        rho_low=2.0**low, rho_high=2.0**high, rho_se=_se(found, c, 1),
    )  # fmt: skip


def _with_lr(bare: Optimum, c: int, surface: Surface, found: Location, seed_sd: float) -> Optimum:
    """The cell with LR*, its interval and its verdict; with the verdict alone where it is flat."""
    verdict, low, high = _verdict(found, c, 0)
    ends = {"at_lower": found.bounds[c, 0, 0], "at_upper": found.bounds[c, 0, 1]}
    at = ends.get(verdict, found.at[c, 0])
    edge = np.log2(bare.lr_max) if bare.lr_max > 0 else np.inf
    if verdict == "interior" and edge - at <= max(NEXT, _se(found, c, 0)):
        verdict = "stability_edge"
    verdict = WARM if bare.verdict == WARM else verdict
    if verdict == "flat":
        return replace(bare, verdict=verdict)
    near = _near(surface, c, found, seed_sd)
    return replace(
        bare, verdict=verdict, lr_star=2.0**at, lr_low=2.0**low, lr_high=2.0**high,
        se=_se(found, c, 0), near_low=2.0 ** near[0], near_high=2.0 ** near[1],
    )  # fmt: skip


def _se(found: Location, c: int, axis: int) -> float:
    """Octaves, of this cell alone, not of all for each."""
    return float(np.sqrt(np.mean((found.draws[:, c, axis] - found.at[c, axis]) ** 2)))


def _verdict(found: Location, c: int, axis: int) -> tuple[Verdict, float, float]:
    """Where the optimum lies in what was tried, and its interval, open where it may lie beyond.

    Beyond an end of what was tried nothing is known, so a best place at an end is a bound.
    """
    low, high = (ends[c] for ends in found.interval(axis))
    first, last = found.bounds[c, axis]
    if high - low >= SPANS * (last - first):
        return "flat", -np.inf, np.inf
    if found.at[c, axis] >= last - SURE:
        return "at_upper", low, np.inf
    if found.at[c, axis] <= first + SURE:
        return "at_lower", -np.inf, high
    low, high = -np.inf if low <= first + SURE else low, np.inf if high >= last - SURE else high
    return "interior", low, high


def _near(surface: Surface, c: int, found: Location, seed_sd: float) -> tuple[float, float]:
    """log2 of the LRs about the best whose expected score, rho at its best, is within `seed_sd`."""
    ends = zip(found.bounds[c], PROFILE, strict=False)
    axes = [np.linspace(low, high, n) for (low, high), n in ends]
    grid = np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1).reshape(-1, surface.d)
    profile = surface.height(c, grid).reshape(len(axes[0]), -1).max(axis=1)
    best = int(np.abs(axes[0] - found.at[c, 0]).argmin())
    far = profile < profile.max() - seed_sd
    below, above = np.flatnonzero(far[:best]), np.flatnonzero(far[best:])
    first = below[-1] + 1 if len(below) else 0
    last = best + above[0] - 1 if len(above) else len(far) - 1
    return float(min(axes[0][first], found.at[c, 0])), float(max(axes[0][last], found.at[c, 0]))
