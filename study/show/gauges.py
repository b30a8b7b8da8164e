"""A running study as gauges, for Prometheus by way of Ray; the Grafana dashboard is made from the
same table. Free of Ray: what sets a gauge is given."""

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from study.log.record import Record, best_first
from study.plan.planner import Planner
from study.show.progress import counts, training
from trainables.spec.roles import SEARCH_PHASES
from trainables.spec.workers import ONE, Workers

STATUSES = ("running", "complete", "stopped", "diverged", "error")
CELL = ("study", "method", "batch_size", "m")


@dataclass(frozen=True)
class Gauge:
    """`unit` is Grafana's name of it; in Prometheus Ray puts `ray_` before `name`."""

    name: str
    title: str
    description: str
    unit: str = "short"
    tags: tuple[str, ...] = CELL


TRIALS = Gauge(
    "study_trials",
    "Trials",
    "Trials of a cell by status; those that wait for a slot are not running yet.",
    tags=(*CELL, "status"),
)
EXPECTED = Gauge(
    "study_trials_expected",
    "Trials expected",
    "Trials that a cell comes to, as far as can be told now.",
)
SCORE = Gauge(
    "study_best_score",
    "Best score",
    "Highest score of a cell's complete search trials.",
)
LR = Gauge("study_best_lr", "Learning rate at best", "Learning rate of the trial of best score.")
RHO = Gauge("study_best_rho", "Radius at best", "Radius of the trial of best score; 0 for none.")
SPEED = Gauge(
    "study_images_per_second",
    "Images per second",
    "Images per second inside training steps, summed over a cell's running trials, each by its "
    "last report.",
)
BUSY = Gauge(
    "study_busy_share",
    "Busy share",
    "Share of the slots' time since the command began that was spent in training and evaluation, "
    "by the reports so far. Slots are shared by all cells, so it has no method or batch size.",
    "percentunit",
    ("study",),
)
GAUGES = (TRIALS, EXPECTED, SCORE, LR, RHO, SPEED, BUSY)

Set = Callable[[float, dict[str, str]], object]


class Gauges:
    """Keeps the gauges of a study up with its planner; call it often."""

    def __init__(
        self,
        study: str,
        planner: Planner,
        slots: Callable[[], int],
        make: Callable[[Gauge], Set],
        workers: Workers = ONE,
    ) -> None:
        """`slots` says how many workers train at a time, which may change; `make` registers a gauge
        and gives what sets it to a value under tags."""
        self.study, self.planner, self.slots, self.workers = study, planner, slots, workers
        self.set = {gauge: make(gauge) for gauge in GAUGES}
        self.due = self.counted = time.monotonic()
        self.before, self.offered = self._trained(), 0.0  # seconds of training and of slots

    def __call__(self) -> None:
        """Once a second, less often where that took more than a hundredth of the time.

        Ray exports what was set since its last export, every 10 seconds, and forgets it.
        """
        begun = time.monotonic()
        if begun >= self.due:
            self.write()
            now = time.monotonic()
            self.due = now + min(max(1.0, 100 * (now - begun)), 5.0)

    def write(self) -> None:
        now = time.monotonic()
        self.offered += (now - self.counted) * self.slots()
        self.counted = now
        for gauge, tags, value in self.values():
            self.set[gauge](value, dict(zip(gauge.tags, tags, strict=True)))

    def values(self) -> Iterator[tuple[Gauge, tuple[str, ...], float]]:
        """(gauge, values of its tags, value) of all there are now."""
        cells = self.planner.cells
        by_cell: dict[str, list[Record]] = {name: [] for name in cells}
        for record in self.planner.records.values():
            by_cell[record.cell.name].append(record)
        expected = dict.fromkeys(cells, 0)
        for (cell, _), number in self.planner.expected().items():
            expected[cell.name] += number
        active = training(self.planner, self.slots(), self.workers)
        for name, records in by_cell.items():
            cell = cells[name]
            tags = (self.study, cell.method, str(cell.batch_size), str(cell.m))
            running = [record for record in records if record.config.trial_id in active]
            count = counts(records)
            count["running"] = len(running)
            for status in STATUSES:
                yield TRIALS, (*tags, status), count[status]
            yield EXPECTED, tags, expected[name]
            last = [record.reports[-1] for record in running if record.reports]
            yield SPEED, tags, sum(figures["images_per_second"] for figures in last)
            best = best_first([r for r in records if r.config.phase in SEARCH_PHASES])[:1]
            for record in best:
                yield SCORE, tags, record.reports[-1]["score"]
                yield LR, tags, record.config.lr
                yield RHO, tags, record.config.rho
        yield BUSY, (self.study,), (self._trained() - self.before) / max(self.offered, 1e-9)

    def _trained(self) -> float:
        return sum(record.seconds for record in self.planner.records.values())
