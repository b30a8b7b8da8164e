"""How the score answers to LR and rho in each cell: every trial, and the surface through them."""

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from analysis.data.cells import Cell
from analysis.data.rows import rows
from analysis.figures.grammar import Axis, Figure, Panel, figure, polyline
from analysis.fit.optimum import Optimum, Response
from analysis.fit.scaling import IN_FIT
from analysis.questions.answers import Answers

SIGNS = {
    "dot": "ran to its end", "ring": "stopped early, its score then", "cross": "diverged",
    "star": "on a fresh seed",
}  # fmt: skip
OF = {"complete": "dot", "stopped": "ring", "diverged": "cross"}
SCORES = {"log_error": "−log val. error", "loss": "−val. loss", "accuracy": "val. accuracy"}
CONTEXT = 2.0  # of the spread of the better half, below its least
WORST = 0.25  # of the trials with a score: no more lie at the foot


def responses(found: Answers, order: Mapping[str, int]) -> Iterator[Figure]:
    """A figure a method for LR, and for each formulation one for rho."""
    for each in found.responses:
        own = [cell for cell in found.cells if cell.method == each.method]
        yield _figure(found, order, each, own, "lr")
    for each in found.responses:
        own = [cell for cell in found.cells if cell.method == each.method]
        radii = {rho for cell in own for rho in cell.trials["rho"] if rho > 0}
        if len(radii) > 1:
            yield _figure(found, order, each, own, "rho")


def _figure(
    found: Answers, order: Mapping[str, int], each: Response, own: list[Cell], axis: str
) -> Figure:
    panels: dict[str, Panel] = {}
    marks, lines, bounds = list[Any](), list[Any](), list[Any]()
    number = next(n for label, n in order.items() if label.partition(", m=")[0] == each.method)
    ranges = (found.study.config.get(f"{axis}_range") or {}).get(each.method)
    score = str(found.study.config.get("score") or "score")
    name = {"lr": "learning rate", "rho": "radius ρ"}[axis]
    for c, (cell, best) in enumerate(zip(own, each.optima, strict=True)):
        if axis in cell.held:
            continue
        key = str(cell)
        trials = cell.trials[cell.trials["status"].isin(list(OF)) & (cell.trials[axis] > 0)]
        floor = _floor(cell)
        panels[key] = Panel(key.removeprefix(f"{each.method} "), Axis(name, 10),
                            Axis(SCORES.get(score, score)))  # fmt: skip
        for row in rows(trials):
            sign = "star" if row["phase"] == "confirm" else OF[row["status"]]
            sign = "cross" if row["status"] == "diverged" else sign
            shown = sign != "cross" and row["score"] >= floor
            marks.append({
                "panel": key, "group": each.method, "x": row[axis],
                "y": row["score"] if shown else np.nan, "sign": sign, "trial": row["trial_id"],
            })  # fmt: skip
        lines += _ridge(each, c, best, trials[axis].to_numpy(float), key, axis, floor)
        bounds += _bounds(best, key, each.method, axis, ranges)
    return figure(
        f"{axis}_response-{each.method}", f"{each.method}: score against {name}",
        f"Every trial of {each.method}, a panel a cell. "
        + (f"Line: the fitted surface at the best {'ρ' if axis == 'lr' else 'learning rate'}. "
           if lines else "")
        + "Dashed with its band: the optimum and its 95 % interval. "
        + ("Shaded: outside of the search range. " if ranges else "")
        + "In the strip at the foot: diverged, or far worse.",
        panels, {each.method: number}, marks=marks, lines=lines, bounds=bounds, signs=SIGNS,
    )  # fmt: skip


def _floor(cell: Cell) -> float:
    """Below it a trial is drawn at the foot of its panel, so that the best can be told apart."""
    ended = cell.trials[cell.trials["status"].isin(["complete", "stopped"])]
    scores = np.sort(ended["score"].dropna().to_numpy(float))
    better = scores[len(scores) // 2 :]
    if len(better) < 2:
        return -np.inf
    spread = better[0] - CONTEXT * max(np.ptp(better), 1e-9)
    return float(min(spread, scores[int(WORST * len(scores))]))


def _ridge(
    each: Response, c: int, best: Optimum, tried: np.ndarray, key: str, axis: str, floor: float
) -> list[dict[str, Any]]:
    """The surface along one axis, the other coordinate at the cell's optimum."""
    surface = each.surface
    if surface is None or best.verdict == "insufficient" or not len(tried):
        return []
    if axis == "rho" and surface.d < 2:
        return []
    x = np.linspace(np.log2(tried.min()), np.log2(tried.max()), 60)
    at = np.full((len(x), surface.d), np.nan)
    own, other = (0, 1) if axis == "lr" else (1, 0)
    at[:, own] = x
    if surface.d == 2:
        at[:, other] = np.log2(best.rho_star if other == 1 else best.lr_star)
    y = surface.height(c, at)
    return polyline(key, each.method, "fit", 2**x, np.where(y >= floor, y, np.nan))


def _bounds(
    best: Optimum, key: str, method: str, axis: str, ranges: Any
) -> Iterator[dict[str, Any]]:
    """The optimum with its interval, and what lies outside of the search range."""
    verdict, at, low, high = (
        (best.verdict, best.lr_star, best.lr_low, best.lr_high)
        if axis == "lr"
        else (best.rho_verdict, best.rho_star, best.rho_low, best.rho_high)
    )
    if verdict in IN_FIT and at > 0:
        yield {"panel": key, "group": method, "axis": "x", "at": at, "low": low, "high": high}
    if ranges and ranges[0] < ranges[1]:
        for low, high in ((1e-12, ranges[0]), (ranges[1], 1e12)):
            yield {"panel": key, "axis": "x", "low": low, "high": high}
