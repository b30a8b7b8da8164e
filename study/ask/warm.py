"""Where a search begins if another study has already looked at the same methods."""

import math
from pathlib import Path

from study.log.record import Record, best_first
from study.plan.config import StudyConfig
from study.plan.planner import Planner
from study.show import results
from trainables.spec.errors import UsageError
from trainables.spec.grid import Cell

POINTS = 2  # of the other study, in each cell


def warm_points(path: Path, config: StudyConfig) -> dict[str, list[list[float]]]:
    """Cell name -> the best points (lr, rho) of the other study's nearest cell of the method.

    The points are tried first and scored here, since scores on other data say nothing. They anchor
    where Optuna looks, so the exponents of a study that was started so are not fitted.

    Raises
    ------
    UsageError
        If `path` holds no study, or nothing that serves.
    """
    try:
        planner, found = results.planner_of(path), {}
    except UsageError as error:
        raise UsageError(f"--warm-start: {error}") from None
    for cell in config.cells:
        near = [c for c in planner.config.cells if c.method == cell.method and _best(planner, c)]
        if near:
            nearest = min(near, key=lambda other: _distance(cell, other))
            points = [_inside(record, config, cell) for record in _best(planner, nearest)]
            found[cell.name] = [point for point in points if point][:POINTS]
    found = {name: points for name, points in found.items() if points}
    if not found:
        raise UsageError(
            f"--warm-start: {path} has no complete trial of these methods within their ranges; "
            "accepted: results that have"
        )
    return found


def _best(planner: Planner, cell: Cell) -> list[Record]:
    """The winner, then the others by what they scored."""
    winner, ranked = planner.winner(cell), best_first(planner.searched[cell.name])
    return ([winner] if winner else []) + [record for record in ranked if record is not winner]


def _distance(one: Cell, other: Cell) -> tuple[float, float]:
    """In octaves of the batch size, then of m."""
    return (
        abs(math.log2(one.batch_size / other.batch_size)),
        abs(math.log2(one.m / other.m)),
    )


def _inside(record: Record, config: StudyConfig, cell: Cell) -> list[float] | None:
    """The point in the order of the cell's space, if it lies within it."""
    ranges = config.space(cell).ranges
    point = [getattr(record.config, name) for name in ranges]
    inside = (low <= x <= high for x, (low, high) in zip(point, ranges.values(), strict=True))
    return point if all(inside) else None
