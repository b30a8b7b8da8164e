"""The best learning rate of each cell, LR*, how well it is known, and whether to believe it.

This is the plain estimator: the confirmed winner of the search. LR* is then one of a finite
number of learning rates drawn at random, so it carries the gaps between them and the luck of the
draw; the near-optimal interval and the verdict say how much that matters in each cell.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import pandas as pd

from analysis.cells import Cell, complete

Verdict = Literal[
    "interior", "at_lower", "at_upper", "stability_edge", "insufficient", "warm_started"
]

MIN_SEARCH_TRIALS = 4
# A trial nearer than half an octave is a neighbour of LR*, not a witness that it was passed.
BRACKET = 2**0.5


@dataclass(frozen=True)
class SeedSpread:
    """SD of the score over seeds at one setting, pooled over cells; NaN where df is 0."""

    sd: float
    df: int
    cells: int


@dataclass(frozen=True)
class Optimum:
    """LR* of a cell; learning rates and rho are NaN where unknown.

    `lr_low` and `lr_high` bound the near-optimal learning rates. `confirmed`: the winner
    completed on at least one fresh seed; else LR* is the best complete trial of the search.
    """

    method: str
    batch_size: int
    m: int
    lr_star: float
    lr_low: float
    lr_high: float
    rho_star: float
    verdict: Verdict
    confirmed: bool


def seed_spread(cells: Sequence[Cell]) -> SeedSpread:
    """Pool the score's variance over the confirmed winners: sum of squares / sum of (n - 1).

    A cell alone has two or three seeds, too few for an SD of its own.
    """
    squares, df, used = 0.0, 0, 0
    for cell in cells:
        winners = complete(cell.confirm("winner"))
        sizes = [
            (float(((scores - scores.mean()) ** 2).sum()), len(scores) - 1)
            for _, scores in winners.groupby(["lr", "rho"])["score"]
        ]
        cell_df = sum(n for _, n in sizes)
        squares, df, used = squares + sum(s for s, _ in sizes), df + cell_df, used + (cell_df > 0)
    return SeedSpread(float(np.sqrt(squares / df)) if df else float("nan"), df, used)


def winner_runs(cell: Cell) -> pd.DataFrame:
    """The fresh-seed trials of the cell's winner, of any status.

    After a study was extended a cell can have confirmed two winners: the one that the search
    ranks higher counts, then the one with more seeds.
    """
    runs = cell.confirm("winner")
    seeds = complete(runs).groupby(["lr", "rho"]).size()
    if seeds.empty:
        return runs
    scores = complete(cell.search).groupby(["lr", "rho"])["score"].max()
    lr, rho = max(seeds.index, key=lambda at: (scores.get(at, -np.inf), seeds[at]))
    return runs[runs["lr"].eq(lr) & runs["rho"].eq(rho)]


def optimum(cell: Cell, spread: SeedSpread) -> Optimum:
    """LR* of one cell with its near-optimal interval and verdict."""
    confirmed = complete(winner_runs(cell))
    searched = complete(cell.search)
    best = confirmed if len(confirmed) else searched.nlargest(1, "score")
    if best.empty:
        nan = float("nan")
        return Optimum(cell.method, cell.batch_size, cell.m, nan, nan, nan, nan,
                       "insufficient", False)  # fmt: skip
    lr_star, rho_star = float(best["lr"].iloc[0]), float(best["rho"].iloc[0])
    low, high = _near_optimal(cell, lr_star, spread)
    enough = len(cell.search) >= MIN_SEARCH_TRIALS and len(searched) > 0
    verdict = _verdict(cell, lr_star) if enough else "insufficient"
    if cell.trials["role"].eq("warm").any():  # another study has told where to look
        verdict = "warm_started"
    return Optimum(cell.method, cell.batch_size, cell.m, lr_star, low, high, rho_star,
                   verdict, len(confirmed) > 0)  # fmt: skip


def _near_optimal(cell: Cell, lr_star: float, spread: SeedSpread) -> tuple[float, float]:
    """Range of the learning rates that scored within one seed-SD of the cell's best trial.

    Single trials at any rho, of the search or around the confirmed winner; LR* always belongs.
    The best of many is lucky, so the interval errs on the narrow side.
    """
    if not np.isfinite(spread.sd):
        return float("nan"), float("nan")
    around = cell.confirm("winner", "half", "double")
    scored = complete(pd.concat([cell.search, around]))
    near = scored.loc[scored["score"] >= scored["score"].max() - spread.sd, "lr"]
    return float(min(near.min(), lr_star)), float(max(near.max(), lr_star))


def _verdict(cell: Cell, lr_star: float) -> Verdict:
    """Whether the search passed the optimum on both sides.

    Passed below: a trial half an octave or more below LR* survived (complete, or stopped for being
    worse); above likewise. Not passed below: `at_lower`. Not passed above, or diverged before it
    was: `stability_edge` if anything above LR* diverged, else `at_upper`. Passed on neither side,
    the trials tell no direction: `insufficient`.
    """
    tried = pd.concat([cell.search, cell.confirm("half", "double")])
    lr, status = tried["lr"], tried["status"]
    best_from, best_to = _best_on_fresh_seeds(cell, lr_star)
    below = status.isin(["complete", "stopped"]) & (lr <= best_from / BRACKET)
    beyond = lr >= best_to * BRACKET
    worked = bool((beyond & (status == "complete")).any())
    nearest_stopped = lr[beyond & (status == "stopped")].min()  # NaN, never smaller, where none
    nearest_diverged = lr[(lr > lr_star) & (status == "diverged")].min()
    edge = not worked and bool(nearest_diverged > 0) and not nearest_stopped < nearest_diverged
    passed_above = worked or bool(nearest_stopped > 0)
    if not below.any():
        return "at_lower" if passed_above or edge else "insufficient"
    if edge:
        return "stability_edge"
    return "interior" if passed_above else "at_upper"


def _best_on_fresh_seeds(cell: Cell, lr_star: float) -> tuple[float, float]:
    """LR*, widened to the neighbours that did as well or better than it on fresh seeds.

    The search's other trials are worse by construction; a neighbour need not be, and one that is
    better shows that the optimum was not passed there.
    """
    fresh = complete(cell.confirm("winner", "half", "double")).groupby("lr")["score"].mean()
    equals = fresh.index[fresh >= fresh.get(lr_star, np.inf)]
    return float(min([lr_star, *equals])), float(max([lr_star, *equals]))
