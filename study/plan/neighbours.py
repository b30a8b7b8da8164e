"""`--sampler surface`: a cell's next trial and its winner by what its neighbours tell too."""

from typing import TYPE_CHECKING

import numpy as np

from study.log.record import Record
from study.plan.config import StudyConfig
from trainables.spec.grid import Cell
from trainables.spec.trial import stable_hash

if TYPE_CHECKING:
    import pandas as pd

    from analysis.data.cells import Cell as Table
    from analysis.fit.surface import Surface

WIDE = 2.0  # octaves
GROWTH = 1.1  # times the trials that a surface was fitted to, until it is fitted anew
Searched = dict[str, list[Record]]  # by cell


class Neighbours:
    """One surface a method, fitted to the search trials of all its cells that have ended.

    A function of the study's seed and of those trials, so nothing is lost with a process.
    """

    def __init__(self, config: StudyConfig) -> None:
        self.config = config
        self._fitted: dict[str, tuple[int, Surface | None]] = {}  # by method, with its trials

    def point(
        self, cell: Cell, number: int, final: bool, searched: Searched
    ) -> dict[str, float] | None:
        """(lr, rho) of a cell's point `number`: where the best is expected if it is the `final`
        one, else where it may be. None while the trials tell nothing."""
        from analysis.fit import proposal

        cells, space = self._cells(cell.method), self.config.space(cell)
        ended = _ended(cells, searched)
        surface = self._surface(cell.method, cells, ended[: _milestone(len(ended))])
        if surface is None or surface.d != len(space.ranges):
            return None
        c, box = cells.index(cell), np.log2(list(space.ranges.values()))
        if final:
            at = proposal.expected(surface, c, box)
        else:
            seed = stable_hash(self.config.seed, cell.name, "drawn", number)
            at = proposal.drawn(surface, c, box, seed)
        return dict(zip(space.ranges, (2.0**at).tolist(), strict=True))

    def near_plain(self, cell: Cell, at: float, searched: Searched) -> dict[str, float]:
        """A learning rate about where the optimizer alone is best at the cell's batch size.

        at : in [0, 1], where in `WIDE` octaves to either side of it. {} while nothing is told.
        """
        from analysis.fit import proposal

        cells = self._cells(cell.base)
        alone = [c for c, each in enumerate(cells) if each.batch_size == cell.batch_size]
        surface = self._surface(cell.base, cells, _ended(cells, searched)) if alone else None
        if surface is None:
            return {}
        box = np.log2([self.config.space(cell).lr])
        [best] = proposal.expected(surface, alone[0], box)
        return {"lr": float(2.0 ** np.clip(best + WIDE * (2 * at - 1), *box[0]))}

    def winners(self, method: str, cells: list[Cell], tried: Searched) -> dict[str, str]:
        """Of some of a method's cells, the complete trial at the point of highest expected score.

        "" where none is complete. tried : the search's trials, and others that may have won
        """
        from analysis.fit import proposal

        own = self._cells(method)
        ended = _ended(own, tried)
        surface, tables = self._surface(method, own, ended), _tables(own, ended)
        return {cell.name: proposal.chosen(surface, tables[own.index(cell)], own.index(cell)) or ""
                for cell in cells}  # fmt: skip

    def best(self, winners: list[Record], searched: Searched) -> Record:
        """Of some cells' winners, one at least, that of the highest expected score.

        By the search's trials of those cells alone: fresh seeds that are to tell how good it is
        must not choose it, and what other cells still search does not change it.
        """
        from analysis.fit import proposal

        cells = [winner.cell for winner in winners]
        surface = proposal.surface_of(_tables(cells, _ended(cells, searched)))
        scores = [winner.score or 0.0 for winner in winners]
        if surface is not None:
            points = np.log2([[w.config.lr, w.config.rho][: surface.d] for w in winners])
            scores = [surface.height(c, at[None]).item() for c, at in enumerate(points)]
        return winners[int(np.argmax(scores))]

    def _cells(self, method: str) -> list[Cell]:
        return [cell for cell in self.config.cells if cell.method == method]

    def _surface(self, method: str, cells: list[Cell], ended: list[Record]) -> "Surface | None":
        from analysis.fit import proposal

        trials, surface = self._fitted.get(method, (0, None))
        if trials != len(ended):
            surface = proposal.surface_of(_tables(cells, ended))
            self._fitted[method] = len(ended), surface
        return surface


def _milestone(count: int) -> int:
    """The first so many of `count` trials that a surface is fitted to."""
    found = 0
    while (following := max(found + 1, int(GROWTH * found))) <= count:
        found = following
    return found


def _ended(cells: list[Cell], searched: Searched) -> list[Record]:
    """In the order in which they ended."""
    records = [record for cell in cells for record in searched[cell.name] if record.ended]
    return sorted(records, key=lambda record: record.finished or 0.0)


def _tables(cells: list[Cell], records: list[Record]) -> "list[Table]":
    """The analysis' cells, each with its trials as rows."""
    from analysis.data.cells import Cell as Table

    return [Table(cell.method, cell.batch_size, cell.m, _rows(records, cell)) for cell in cells]


def _rows(records: list[Record], cell: Cell) -> "pd.DataFrame":
    import pandas as pd

    from analysis.data.cells import AT_REPORT

    stops = sorted({r.asha_would_stop_at or 0 for r in records if r.status == "stopped"})
    names = ["trial_id", "phase", "status", "lr", "rho", "score", "asha_would_stop_at"]
    rows = [
        [r.config.trial_id, r.config.phase, r.status, r.config.lr, r.config.rho, r.score,
         r.asha_would_stop_at, *(_score_at(r, stop) for stop in stops)]
        for r in records if r.cell == cell
    ]  # fmt: skip
    frame = pd.DataFrame(rows, columns=[*names, *(f"{AT_REPORT}{stop}" for stop in stops)])
    numbers = [name for name in frame if name not in ("trial_id", "phase", "status")]
    return frame.astype(dict.fromkeys(numbers, float))


def _score_at(record: Record, report: int) -> float:
    done = record.reports[:report]
    return done[-1]["score"] if len(done) == report else np.nan
