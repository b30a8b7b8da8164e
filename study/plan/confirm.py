"""What is confirmed on fresh seeds: each cell's winner, its neighbours, rule-scaled references."""

from collections.abc import Callable, Iterator
from functools import cached_property
from typing import NamedTuple

from study.log.record import Record
from study.plan.config import StudyConfig
from trainables.spec.grid import Cell
from trainables.spec.roles import NEIGHBOURS, RULES, SMALL_BATCH
from trainables.spec.trial import TrialConfig

Point = tuple[float, float]  # learning rate, radius


class Job(NamedTuple):
    """A trial that could start now; `number` counts within its cell or over the fresh seeds."""

    config: TrialConfig
    number: int


class Confirmation:
    """The part of the planner that begins where a cell's search is over.

    records : the planner's, by trial id; winner : the trial whose point is a cell's best, None
    while or where there is none; searched : whether that is settled; best : of winners the one
    that is expected to score highest; rank : of cells, the longest job first
    """

    def __init__(
        self,
        config: StudyConfig,
        records: dict[str, Record],
        winner: Callable[[Cell], Record | None],
        searched: Callable[[Cell], bool],
        best: Callable[[list[Record]], Record],
        rank: Callable[[Cell], int],
    ) -> None:
        self.config, self.records, self.cells = config, records, config.cells
        self.winner, self.searched, self.best, self.rank = winner, searched, best, rank
        self._references: dict[str, TrialConfig | None] = {}
        self._points: dict[tuple[str, str], list[Point]] = {}  # by cell and role, as they came

    def begun(self, record: Record) -> None:
        """Take note of a confirming trial."""
        known = self._points.setdefault((record.cell.name, record.config.role), [])
        if point_of(record.config) not in known:
            known.append(point_of(record.config))

    def changed(self) -> None:
        """Take note that a trial has begun or ended."""
        self._references.clear()

    def plan(self) -> Iterator[Job]:
        """All that can be confirmed now and has not begun: winners first, then the rules."""
        for points in (self._winner_points, self._rule_points):
            for cell in self._order:
                for role, point, seeds in points(cell):
                    for index in range(seeds):
                        if self._id(cell, role, point, index) not in self.records:
                            yield self._job(cell, role, point, index)

    @cached_property
    def _order(self) -> list[Cell]:
        """Small plain batches first, as others wait for their learning rate; then the longest."""
        return sorted(
            self.cells,
            key=lambda c: (not (c.plain and c.batch_size <= SMALL_BATCH), self.rank(c)),
        )

    def count(self, cell: Cell) -> int:
        """Trials to be confirmed in a cell, as far as can be told now."""
        trials = 0
        if self.winner(cell) or not self.searched(cell):
            trials += (1 + len(self._neighbours(cell))) * self.config.seeds
        if self._follows_rules(cell):
            trials += len(RULES) * self.config.reference_seeds
        return trials

    def superseded(self, record: Record) -> bool:
        """Whether it confirms what is no longer the winner or the reference.

        An extended study may find a better winner, and with it another reference.
        """
        role, cell = record.config.role, record.cell
        if record.config.phase != "confirm":
            return False
        if role in RULES:
            known = self.reference(cell.base) is not None
            now = self._rule_points(cell)
        else:
            known = self.winner(cell) is not None
            now = self._winner_points(cell)
        mine = role, point_of(record.config)
        return known and all((role, point) != mine for role, point, _ in now)

    def reference(self, base: str) -> TrialConfig | None:
        """The best plain small-batch winner that survives all fresh seeds, once they have run."""
        if base not in self._references:
            self._references[base] = self._reference(base)
        return self._references[base]

    def _reference(self, base: str) -> TrialConfig | None:
        cells = self._reference_cells(base)
        if not all(self._settled(cell) for cell in cells):
            return None
        winners = [winner for cell in cells if (winner := self.winner(cell)) and all(
                   run and run.status == "complete" for run in self.winner_runs(cell))]  # fmt: skip
        return self.best(winners).config if winners else None

    def winner_runs(self, cell: Cell) -> list[Record | None]:
        """The cell's winner on each fresh seed, None where it has not begun."""
        winner = self.winner(cell)
        if winner is None:
            return []
        point = point_of(winner.config)
        ids = (self._id(cell, "winner", point, index) for index in range(self.config.seeds))
        return [self.records.get(trial_id) for trial_id in ids]

    def raced(self, cell: Cell) -> bool:
        """Whether all that may become the cell's winner, beside the search's trials, has ended.

        Those are the rules' learning rates, for a plain cell that their reference is not one of.
        """
        small = self._reference_cells(cell.base)
        if not cell.plain or cell in small:
            return True
        return all(map(self._settled, small)) and all(
            record is not None and record.ended for record in self.rule_runs(cell)
        )

    def rule_runs(self, cell: Cell) -> list[Record | None]:
        """The cell's trials at the rules' learning rates, None where one has not begun."""
        return [
            self.records.get(self._id(cell, role, point, index))
            for role, point, seeds in self._rule_points(cell)
            for index in range(seeds)
        ]

    def _winner_points(self, cell: Cell) -> Iterator[tuple[str, Point, int]]:
        """(role, point, seeds) of the winner and its neighbours."""
        winner = self.winner(cell)
        if winner:
            lr, rho = point_of(winner.config)
            yield "winner", (lr, rho), self.config.seeds
            for role, factor in self._neighbours(cell).items():
                yield role, (factor * lr, rho), self.config.seeds

    def _neighbours(self, cell: Cell) -> dict[str, float]:
        """By which factors the winner's learning rate is also trained: by none where it is held."""
        return NEIGHBOURS if self.config.neighbours and self._free(cell) else {}

    def _free(self, cell: Cell) -> bool:
        return "lr" not in self.config.space(cell).held

    def _rule_points(self, cell: Cell) -> Iterator[tuple[str, Point, int]]:
        """(role, point, seeds) of the reference learning rate taken over by each rule."""
        reference = self.reference(cell.base) if cell.plain and self._free(cell) else None
        if reference and cell.batch_size > reference.batch_size:
            ratio = cell.batch_size / reference.batch_size
            for role, rule in RULES.items():
                yield role, (ratio**rule.power * reference.lr, 0.0), self.config.reference_seeds

    def _job(self, cell: Cell, role: str, point: Point, index: int) -> Job:
        lr, rho = point
        values = {"lr": lr} if cell.plain else {"lr": lr, "rho": rho}
        seed_of = self.config.rule_seed if role in RULES else self.config.confirm_seed
        seed, trial_id = seed_of(index), self._id(cell, role, point, index)
        return Job(self.config.trial(cell, trial_id, "confirm", role, seed, values), index)

    def _id(self, cell: Cell, role: str, point: Point, index: int) -> str:
        """Another winner of the same cell is numbered on, `…-winner-2-s0`."""
        known = self._points.get((cell.name, role), [])
        turn = known.index(point) if point in known else len(known)
        return f"{cell.name}-{role}{f'-{turn + 1}' if turn else ''}-s{index}"

    def _reference_cells(self, base: str) -> list[Cell]:
        plain = [c for c in self.cells if c.plain and c.base == base]
        small = [c for c in plain if c.batch_size <= SMALL_BATCH]
        return small or sorted(plain, key=lambda c: c.batch_size)[:1]

    def _follows_rules(self, cell: Cell) -> bool:
        """Whether the rule-scaled learning rates are run in this cell, as far as can be told.

        Not where the learning rate is held, which they would leave.
        """
        if not cell.plain or not self._free(cell):
            return False
        reference = self.reference(cell.base)
        candidates = self._reference_cells(cell.base)
        if reference is None and all(self._settled(each) for each in candidates):
            return False  # none of them could be one
        least = min(each.batch_size for each in candidates)
        return cell.batch_size > (reference.batch_size if reference else least)

    def _settled(self, cell: Cell) -> bool:
        """Whether all that the reference is chosen by has ended in this cell."""
        runs = self.winner_runs(cell)
        return self.searched(cell) and all(run is not None and run.ended for run in runs)


def point_of(config: TrialConfig) -> Point:
    return config.lr, config.rho
