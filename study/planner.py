"""The brain of a study, free of Ray: what to train next and when to stop, a fold of the log."""

import statistics
import time
from collections.abc import Iterator
from typing import Any, NamedTuple

from study import record as records
from study.asha import Ladder
from study.cells import Cell
from study.config import RULES, StudyConfig
from study.log import Event, Log, MemoryLog
from study.record import SEARCH_PHASES, Record
from study.search import is_control, suggest
from trainables.config import Budget, TrialConfig, stable_hash

SMALL_BATCH = 512  # the reference learning rate is looked for at or below it
NEIGHBOURS = {"half": 0.5, "double": 2.0}


Point = tuple[float, float]  # learning rate, radius


class Job(NamedTuple):
    """A trial that could start now; `number` counts within its cell or over the fresh seeds."""

    config: TrialConfig
    number: int


class Planner:
    """`next()` gives the next trial, `report()` says whether one goes on, `ended()` closes it.

    The state is computed from the log, so a study continues from whatever a crash left: trials
    that had not ended are issued again first, finished ones never.
    """

    def __init__(self, config: StudyConfig, log: Log | MemoryLog) -> None:
        self.config, self.log = config, log
        self.records: dict[str, Record] = {}
        self.cells = {cell.name: cell for cell in config.cells}
        self.searched: dict[str, list[Record]] = {name: [] for name in self.cells}
        self.running: dict[str, None] = {}  # in the order they were issued
        self._winners: dict[str, Record | None] = {}
        self._confirmed: dict[tuple[str, str], list[Point]] = {}  # by cell and role, as they came
        self._ladders = {name: Ladder.build(config.reports, config.warmup) for name in self.cells}
        for event in log.events:
            self._take(event)
        for trial_id, record in self.records.items():
            if not record.ended and record.over:  # the crash came between report and end
                self.ended(trial_id)
        self._again = [trial_id for trial_id, r in self.records.items() if not r.ended]

    # ---- what a driver calls

    def next(self) -> TrialConfig | None:
        """The next trial to train; None if nothing is ready before a running one ends."""
        if self._again:
            config = self.records[self._again.pop(0)].config
        else:
            job = self._plan()
            if job is None:
                return None
            config = job.config
            self._write({"event": "started", "number": job.number, "trial": config.to_dict()})
        self.running[config.trial_id] = None
        return config

    def report(self, trial_id: str, figures: dict[str, Any]) -> bool:
        """Take a report; True if the trial is to go on.

        A trial that is trained again after a crash repeats its reports; those are not taken twice.
        """
        taken = self.records[trial_id].reports
        if taken and figures["report"] <= taken[-1]["report"]:
            return True
        self._write({"event": "report", "trial_id": trial_id, "figures": figures})
        return self.records[trial_id].over is None

    def ended(self, trial_id: str, error: str | None = None) -> None:
        """Close a trial; one that neither came to its end nor was stopped is an error."""
        record = self.records[trial_id]
        self.running.pop(trial_id, None)
        if record.ended:
            return
        status = record.over or "error"
        reason = {"error": error or "ended early"} if status == "error" else {}
        self._write({"event": "ended", "trial_id": trial_id, "status": status} | reason)

    @property
    def done(self) -> bool:
        """Nothing is under way, and nothing is left to start."""
        return not self.running and not self._again and self._plan() is None

    def expected(self) -> Iterator[tuple[Cell, str]]:
        """(cell, phase) of every trial the study comes to, as far as can be told now."""
        for cell in self.cells.values():
            yield from ((cell, "search") for _ in range(self.config.trials))
            confirmations = 0
            if self.winner(cell) or cell.name not in self._winners:
                per_seed = 1 + (len(NEIGHBOURS) if self.config.neighbours else 0)
                confirmations += per_seed * self.config.seeds
            if self._follows_rules(cell):
                confirmations += len(RULES) * self.config.reference_seeds
            yield from ((cell, "confirm") for _ in range(confirmations))
        for record in self.records.values():
            if self.superseded(record):
                yield record.cell, "confirm"

    # ---- the fold

    def _write(self, event: Event) -> None:
        self._take({"time": time.time()} | event, write=True)

    def _take(self, event: Event, write: bool = False) -> None:
        if event["event"] == "report":
            event = event | {"would_stop": self._judge(event["trial_id"], event["figures"])}
        if write:
            self.log.append(event)
        new = event["event"] == "started" and event["trial"]["trial_id"] not in self.records
        records.apply(self.records, event)
        if new:
            record = self.records[event["trial"]["trial_id"]]
            if record.config.phase in SEARCH_PHASES:
                self.searched[record.cell.name].append(record)
            else:
                known = self._confirmed.setdefault((record.cell.name, record.config.role), [])
                if point_of(record.config) not in known:
                    known.append(point_of(record.config))

    def _judge(self, trial_id: str, figures: dict[str, Any]) -> bool:
        """Whether ASHA would stop the trial at this report; its score is put on the ladder.

        A control that ASHA would have stopped stays off the higher rungs, as if it had been.
        A diverged trial loses the next rung.
        """
        record = self.records[trial_id]
        searching = self.config.scheduler == "asha" and record.config.phase in SEARCH_PHASES
        if not searching or record.asha_would_stop_at is not None:
            return False
        ladder = self._ladders[record.cell.name]
        if figures["diverged"]:
            for rung in [rung for rung in ladder.rungs if rung >= figures["report"]][:1]:
                ladder.keep(rung, figures["score"])
            return False
        rung = figures["report"]
        return rung in ladder.rungs and not ladder.keep(rung, figures["score"])

    # ---- what comes next

    def _plan(self) -> Job | None:
        return self._plan_search() or next(self._plan_confirm(), None)

    def _plan_search(self) -> Job | None:
        """A trial of the cell with the fewest started; among equals the longest job first."""
        open_cells = [
            cell
            for cell in self.cells.values()
            if len(self.searched[cell.name]) < self.config.trials
        ]
        if not open_cells:
            return None
        cell = min(open_cells, key=lambda c: (len(self.searched[c.name]), *self._shortness(c)))
        number = len(self.searched[cell.name])
        phase = "control" if is_control(self.config, cell, number) else "search"
        config = self.config.trial(
            cell,
            trial_id=f"{cell.name}-{number:04d}",
            phase=phase,
            role="warm" if number < len(self.config.warm.get(cell.name, [])) else "search",
            seed=stable_hash(self.config.seed, cell.name, number),
            point=suggest(self.config, cell, self.searched[cell.name], number),
        )
        return Job(config, number)

    def _shortness(self, cell: Cell) -> tuple[float, int]:
        """Sorts the longest job first: most gradients of images, then most steps."""
        budget, size = Budget.parse(self.config.budget), cell.batch_size
        steps = budget.steps(size, self.config.train_size or size, cell.passes)
        return -steps * size * cell.passes, -steps

    def winner(self, cell: Cell) -> Record | None:
        """The best complete search trial once the cell's search is over; None if there is none."""
        if cell.name not in self._winners:
            searched = self.searched[cell.name]
            if len(searched) < self.config.trials or not all(r.ended for r in searched):
                return None
            complete = [record for record in searched if record.status == "complete"]
            self._winners[cell.name] = max(
                complete, key=lambda record: record.score or 0.0, default=None
            )
        return self._winners[cell.name]

    def _plan_confirm(self) -> Iterator[Job]:
        """Winners on fresh seeds (small plain batches first, since others wait for their
        learning rate), their neighbours, and the plain methods at rule-scaled learning rates."""
        cells = sorted(
            self.cells.values(),
            key=lambda c: (not (c.plain and c.batch_size <= SMALL_BATCH), *self._shortness(c)),
        )
        for points in (self._winner_points, self._rule_points):
            for cell in cells:
                for role, point, seeds in points(cell):
                    yield from self._confirm(cell, role, point, seeds)

    def _winner_points(self, cell: Cell) -> Iterator[tuple[str, Point, int]]:
        """(role, point, seeds) of the winner and its neighbours."""
        winner = self.winner(cell)
        if winner:
            lr, rho = point_of(winner.config)
            yield "winner", (lr, rho), self.config.seeds
            for role, factor in NEIGHBOURS.items() if self.config.neighbours else ():
                yield role, (factor * lr, rho), self.config.seeds

    def _rule_points(self, cell: Cell) -> Iterator[tuple[str, Point, int]]:
        """(role, point, seeds) of the reference learning rate taken over by each rule."""
        reference = self.reference(cell.optimizer) if cell.plain else None
        if reference and cell.batch_size > reference.batch_size:
            ratio = cell.batch_size / reference.batch_size
            for role, factor in zip(RULES, (1.0, ratio**0.5, ratio), strict=True):
                yield role, (factor * reference.lr, 0.0), self.config.reference_seeds

    def _confirm(self, cell: Cell, role: str, point: Point, seeds: int) -> Iterator[Job]:
        lr, rho = point
        for index in range(seeds):
            trial_id = self._confirm_id(cell, role, point, index)
            if trial_id not in self.records:
                point_by_name = {"lr": lr} if cell.plain else {"lr": lr, "rho": rho}
                seed = self.config.confirm_seed(index)
                config = self.config.trial(cell, trial_id, "confirm", role, seed, point_by_name)
                yield Job(config, index)

    def _confirm_id(self, cell: Cell, role: str, point: Point, index: int) -> str:
        """An extended study may find another winner, whose trials are then numbered on."""
        known = self._confirmed.get((cell.name, role), [])
        turn = known.index(point) if point in known else len(known)
        return f"{cell.name}-{role}{f'-{turn + 1}' if turn else ''}-s{index}"

    def superseded(self, record: Record) -> bool:
        """Whether it confirms what is no longer the winner or the reference."""
        config = record.config
        if len(self._confirmed.get((record.cell.name, config.role), ())) < 2:
            return False
        rows = [*self._winner_points(record.cell), *self._rule_points(record.cell)]
        now = [point for role, point, _ in rows if role == config.role]
        return bool(now) and point_of(config) not in now

    def reference(self, optimizer: str) -> TrialConfig | None:
        """The plain small-batch winner that scores best on the fresh seeds, once all have run."""
        cells = self._reference_cells(optimizer)
        if not all(self._settled(cell) for cell in cells):
            return None
        candidates = []
        for cell in cells:
            runs = [run for run in self._winner_runs(cell) if run and run.status == "complete"]
            if len(runs) == self.config.seeds:
                scores = [run.score or 0.0 for run in runs]
                candidates.append((statistics.mean(scores), runs[0].config))
        return max(candidates, key=lambda pair: pair[0])[1] if candidates else None

    def _reference_cells(self, optimizer: str) -> list[Cell]:
        plain = [c for c in self.cells.values() if c.plain and c.optimizer == optimizer]
        small = [c for c in plain if c.batch_size <= SMALL_BATCH]
        return small or sorted(plain, key=lambda c: c.batch_size)[:1]

    def _follows_rules(self, cell: Cell) -> bool:
        """Whether the rule-scaled learning rates are run in this cell, as far as can be told."""
        if not cell.plain:
            return False
        reference = self.reference(cell.optimizer)
        candidates = self._reference_cells(cell.optimizer)
        if reference is None and all(self._settled(each) for each in candidates):
            return False  # none of them could be one
        least = min(each.batch_size for each in candidates)
        return cell.batch_size > (reference.batch_size if reference else least)

    def _settled(self, cell: Cell) -> bool:
        """Whether all that the reference is chosen by has ended in this cell."""
        if cell.name not in self._winners:
            return False
        return self._winners[cell.name] is None or all(
            trial is not None and trial.ended for trial in self._winner_runs(cell)
        )

    def _winner_runs(self, cell: Cell) -> list[Record | None]:
        winner = self._winners[cell.name]
        if winner is None:
            return []
        point = point_of(winner.config)
        ids = (self._confirm_id(cell, "winner", point, i) for i in range(self.config.seeds))
        return [self.records.get(trial_id) for trial_id in ids]


def point_of(config: TrialConfig) -> Point:
    return config.lr, config.rho
