"""The brain of a study, free of Ray: what to train next and when to stop, a fold of the log."""

import math
import time
from collections import Counter, deque
from functools import cached_property
from typing import Any

from study.log import record as records
from study.log.log import Event, Log, MemoryLog
from study.log.record import Record
from study.plan.config import StudyConfig
from study.plan.confirm import Confirmation, Job
from study.plan.neighbours import Neighbours
from study.plan.search import is_control, may_go_on, suggest
from trainables.spec.grid import Cell
from trainables.spec.ladder import Ladder
from trainables.spec.roles import SEARCH_PHASES
from trainables.spec.trial import Budget, TrialConfig, stable_hash

TRIES = {"raised": 2, "lost": 4}  # of a trial without a new report, by how it failed
ERROR_BUDGET = 5  # trials in a row
OPENED = {"started": 1, "reopened": 1, "ended": -1}  # how an event changes what has not ended


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
        self.errors: list[str] = []  # trials that ended so in a row, since this planner began
        self._searching = dict.fromkeys(self.cells, 0)  # search trials that have not ended
        self.neighbours = Neighbours(config)
        self._chosen: dict[str, dict[str, str]] = {}  # by method and cell, the surface's winners
        self._winners: dict[str, Record | None] = {}
        self._bests: dict[tuple[str, ...], Record] = {}  # of winners, by the trials' ids
        self.confirmation = Confirmation(
            config, self.records, self.winner, self.search_over, self._best,
            lambda cell: self._rank[cell.name],
        )  # fmt: skip
        self._ladders = {name: Ladder.build(config.reports, config.warmup) for name in self.cells}
        records.taken(log.events, self._take)
        for trial_id, record in self.records.items():
            if not record.ended and record.over:  # the crash came between report and end
                self.ended(trial_id)
        self._again = deque(trial_id for trial_id, r in self.records.items() if not r.ended)

    # ---- what a driver calls

    def next(self) -> TrialConfig | None:
        """The next trial to train; None if nothing is ready before a running one ends."""
        if self._again:
            config = self.records[self._again.popleft()].config
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
        self.errors = [*self.errors, trial_id] if reason else []

    def failed(self, trial_id: str, error: str, lost: bool) -> None:
        """Give the trial out once more, or close it where it fails again and again.

        `lost` says that its worker was, which need not be its fault, so that it has more tries;
        every new report is a new beginning.
        """
        self.running.pop(trial_id, None)
        record = self.records[trial_id]
        if record.ended or record.over:
            return self.ended(trial_id)
        self._write({"event": "failed", "trial_id": trial_id, "error": error, "lost": lost})
        if record.failures < TRIES["lost" if lost else "raised"]:
            self._again.append(trial_id)
        else:
            self.ended(trial_id, error)

    def exhausted(self, trial_id: str, error: str, micro_batch: int) -> None:
        """Begin the trial anew with that micro-batch, which takes less memory; 0 ends it."""
        if not micro_batch:
            return self.ended(trial_id, f"out of memory at the smallest micro-batch: {error}")
        self.running.pop(trial_id, None)
        reduced = {"event": "reduced", "trial_id": trial_id, "micro_batch": micro_batch}
        self._write(reduced | {"error": error})
        self._again.append(trial_id)

    @property
    def hopeless(self) -> bool:
        """Whether so many trials in a row have ended with an error that all of them will."""
        return len(self.errors) >= ERROR_BUDGET

    def forgive(self) -> None:
        """Leave the last errors in a row open, to be tried again once their reason is gone."""
        for trial_id in self.errors:
            self._write({"event": "reopened", "trial_id": trial_id})

    def measured(self, event: Event) -> None:
        """Take what was found at a minimum, or between two."""
        self._write(event)

    @property
    def done(self) -> bool:
        """Nothing is under way, and nothing is left to start."""
        return not self.running and not self._again and self._plan() is None

    def expected(self) -> Counter[tuple[Cell, str]]:
        """How many trials of a cell and phase the study comes to, as far as can be told now."""
        count: Counter[tuple[Cell, str]] = Counter()
        for cell in self.cells.values():
            count[cell, "search"] = self.config.searches(cell)
            count[cell, "confirm"] = self.confirmation.count(cell)
        for record in self.records.values():
            if self.confirmation.superseded(record):
                count[record.cell, "confirm"] += 1
        return count

    # ---- the fold

    def _write(self, event: Event) -> None:
        self._take({"time": time.time()} | event, write=True)

    def _take(self, event: Event, write: bool = False) -> None:
        if event["event"] == "report":
            event = event | {"would_stop": self._judge(event["trial_id"], event["figures"])}
        elif event["event"] == "reduced":
            self._unjudge(self.records[event["trial_id"]])
        if write:
            self.log.append(event)
        if event["event"] == "chosen":
            self._chosen.setdefault(event["method"], {}).update(event["winners"])
        record = records.apply(self.records, event)
        if record is None:
            return
        searching = record.config.phase in SEARCH_PHASES
        if event["event"] == "started" and searching:
            self.searched[record.cell.name].append(record)
        elif event["event"] == "started":
            self.confirmation.begun(record)
        if searching and event["event"] in OPENED:
            self._searching[record.cell.name] += OPENED[event["event"]]
            self._chosen.pop(record.config.method, None)
            self._bests.clear()
        if event["event"] != "report":
            self.confirmation.changed()

    def _judge(self, trial_id: str, figures: dict[str, Any]) -> bool:
        """Whether ASHA would stop the trial at this report; its score is put on the ladder.

        A cell's first trials only fill it, whatever their scores. They count as any other in the
        analysis, since nothing that was seen of them decided that they came to their end.
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
        passed = rung not in ladder.rungs or ladder.keep(rung, figures["score"])
        return not passed and self.config.grace <= record.number < self.config.final(record.cell)

    def _unjudge(self, record: Record) -> None:
        """Take a trial that begins anew off the ladder."""
        ladder, last = self._ladders[record.cell.name], record.asha_would_stop_at or math.inf
        for figures in record.reports if record.config.phase in SEARCH_PHASES else ():
            if figures["report"] <= last:
                ladder.forget(figures["report"], figures["score"])

    # ---- what comes next

    def _plan(self) -> Job | None:
        job = self._plan_search()
        if job is None:
            self._choose()
            job = next(self.confirmation.plan(), None)
        return job

    def _choose(self) -> None:
        """Write down the winners of each method whose search is over, "" where there is none.

        Plain cells among which the reference is looked for come first; the others wait for the
        trials at its learning rate and what the rules make of it, which are candidates too.
        """
        if self.config.sampler != "surface":
            return
        for method in self.config.methods:
            own = [cell for cell in self.cells.values() if cell.method == method]
            chosen = self._chosen.get(method, {})
            left = [cell for cell in own if cell.name not in chosen]
            if not left or not all(map(self._trained, own)):
                continue
            ready = [cell for cell in left if self.confirmation.raced(cell)]
            if ready and (not chosen or ready == left):
                rules = {c.name: [r for r in self.confirmation.rule_runs(c) if r] for c in own}
                tried = {name: self.searched[name] + runs for name, runs in rules.items()}
                winners = self.neighbours.winners(method, ready, tried)
                self._write({"event": "chosen", "method": method, "winners": winners})

    def _plan_search(self) -> Job | None:
        """A trial of the cell with the fewest started; among equals the longest job first.

        The surfaces of formulations begin where those of the optimizers alone lead, which come
        first.
        """
        open_cells = [
            cell
            for cell in self.cells.values()
            if len(self.searched[cell.name]) < self.config.searches(cell)
            and may_go_on(self.config, cell, self.searched[cell.name])
        ]
        if not open_cells:
            return None
        later = {c.name: self.config.sampler == "surface" and not c.plain for c in open_cells}
        cell = min(
            open_cells,
            key=lambda c: (later[c.name], len(self.searched[c.name]), self._rank[c.name]),
        )
        number = len(self.searched[cell.name])
        warm = len(self.config.warm.get(cell.name, []))
        phase = "control" if is_control(self.config, cell, number) else "search"
        config = self.config.trial(
            cell,
            trial_id=f"{cell.name}-{number:04d}",
            phase=phase,
            role="warm" if number // self.config.search_seeds[0] < warm else "search",
            seed=stable_hash(self.config.seed, cell.name, number),
            point=suggest(self.neighbours, cell, self.searched, number),
        )
        return Job(config, number)

    @cached_property  # and not begun with, as it imports the methods that are a user's own
    def _rank(self) -> dict[str, int]:
        """The place of each cell, the longest job first."""
        longest_first = sorted(self.cells.values(), key=self._shortness)
        return {cell.name: rank for rank, cell in enumerate(longest_first)}

    def _shortness(self, cell: Cell) -> tuple[float, int]:
        """Sorts the longest job first: most gradients of images, then most steps."""
        budget, size = Budget.parse(self.config.budget), cell.batch_size
        steps = budget.steps(size, self.config.train_size or size, cell.passes)
        return -steps * size * cell.passes, -steps

    def _trained(self, cell: Cell) -> bool:
        """Whether every search trial of the cell has ended."""
        begun = len(self.searched[cell.name])
        return begun >= self.config.searches(cell) and not self._searching[cell.name]

    def search_over(self, cell: Cell) -> bool:
        """Whether the cell's winner is settled; where a surface chooses it, that comes last."""
        chosen = self.config.sampler != "surface" or cell.name in self._chosen.get(cell.method, {})
        return chosen and self._trained(cell)

    def winner(self, cell: Cell) -> Record | None:
        """The trial whose point is confirmed, once it is settled; None if there is none."""
        if not self.search_over(cell):
            return None
        if self.config.sampler == "surface":
            return self.records.get(self._chosen[cell.method][cell.name])
        if cell.name not in self._winners:
            ranked = records.best_first(self.searched[cell.name])
            self._winners[cell.name] = ranked[0] if ranked else None
        return self._winners[cell.name]

    def _best(self, winners: list[Record]) -> Record:
        """The winner that is expected to score highest, by the search."""
        key = tuple(winner.config.trial_id for winner in winners)
        if key not in self._bests:
            self._bests[key] = self.neighbours.best(winners, self.searched)
        return self._bests[key]
