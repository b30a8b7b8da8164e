"""Where a study trains next: what the surface of a method's trials says of each cell's optimum.

Neighbours in batch size share the surface, so that a cell of few trials is searched where theirs
and its own together leave its optimum possible. A proposal is the optimum of one function drawn
from the posterior (Thompson 1933): it falls where the optimum may lie, as often as it may lie
there, so trials that run side by side differ by themselves.
"""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from threadpoolctl import threadpool_limits

from analysis.data.cells import Cell, complete
from analysis.fit.evidence import observations
from analysis.fit.location import highest, locate
from analysis.fit.surface import Surface, fit


def surface_of(cells: Sequence[Cell]) -> Surface | None:
    """The surface of one method's trials; None while they tell nothing."""
    plain = not any((cell.trials["rho"] > 0).any() for cell in cells)
    seen = observations(list(cells), plain)
    with threadpool_limits(1):  # the cores are the trainings'
        return fit(seen) if len(seen.y) else None


def drawn(surface: Surface, c: int, box: np.ndarray, seed: int) -> np.ndarray:
    """(d,): log2 of LR (and rho) in `box` (d, 2) where one drawn function of cell c is highest."""
    cells = surface.seen.cells
    here = replace(surface, known=np.arange(cells) == c)  # however few trials it has
    bounds, asked = np.broadcast_to(box, (cells, *box.shape)), np.full((cells, len(box)), np.nan)
    with threadpool_limits(1):
        found = locate(here, bounds, asked, seed)
    return np.asarray(found.draws[np.random.default_rng(seed).integers(len(found.draws)), c])


def expected(surface: Surface, c: int, box: np.ndarray) -> np.ndarray:
    """(d,): log2 of LR (and rho) in `box` (d, 2) where the expected score of cell c is highest."""
    with threadpool_limits(1):
        return highest(surface, c, box)


def chosen(surface: Surface | None, cell: Cell, c: int) -> str | None:
    """The complete trial whose point has the highest expected score; None where none is complete.

    The expectation is the surface's, since the best of many noisy scores is luck.
    """
    done = complete(cell.trials)
    if done.empty:
        return None
    height = done["score"].to_numpy(float)
    if surface is not None:
        at = np.log2(done[["lr", "rho"][: surface.d]].to_numpy(float))
        height = surface.mean(surface.points(np.full(len(at), c), at))
    return str(done["trial_id"].iloc[int(height.argmax())])
