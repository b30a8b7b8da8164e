"""How long a study takes, and how much of the bare training rate it reaches, from a calibration."""

import functools
import random
from collections import Counter
from dataclasses import dataclass, replace

from study.log.log import Event, MemoryLog
from study.log.record import Record, taken
from study.plan.config import StudyConfig
from study.plan.planner import Planner
from study.show.progress import duration
from trainables.spec.errors import UsageError
from trainables.spec.grid import Cell, Rates
from trainables.spec.ladder import Ladder
from trainables.spec.trial import Budget
from trainables.spec.workers import ONE, Workers

# Gradients of single images that examining a minimum costs, about, by --sharpness.
EXAMINING = {"off": 0, "fast": 60 * 512, "full": 900 * 1024}
MOST_TRIALS = 1000  # a cell, that --within chooses
Expected = Counter[tuple[Cell, str]]


@dataclass(frozen=True)
class Forecast:
    """Seconds of work by the calibrated rates, for `slots` workers at a time.

    A trial over N workers takes N slots: its steps are divided by as many as they occupy, but for
    what the workers tell each other, which is not calibrated; evaluation is one worker's.
    """

    config: StudyConfig
    train_size: int
    rates: Rates
    slots: int
    workers: Workers = ONE

    def trial(self, cell: Cell, steps: float | None = None, reports: float | None = None) -> float:
        """Seconds of one trial of a cell, whole or as far as it came, summed over its workers."""
        per_step, per_report = self.rates[cell.name]
        steps = self.steps(cell) if steps is None else steps
        reports = self.config.reports if reports is None else reports
        return steps * per_step + reports * per_report * self.workers_of(cell)

    def workers_of(self, cell: Cell) -> int:
        trial = self.config.trial(cell, "forecast", "search", "search", 0, {"lr": 1.0})
        return self.workers.of(trial, self.slots)

    def steps(self, cell: Cell) -> int:
        budget = Budget.parse(self.config.budget)
        return budget.steps(cell.batch_size, self.train_size, cell.passes)

    def share(self, phase: str) -> float:
        """The share of its schedule that a trial trains in expectation."""
        if phase != "search" or self.config.scheduler == "none":
            return 1.0
        config = self.config
        most = max(config.cells, key=config.searches)
        stopped = expected_progress(
            config.searches(most), config.reports, config.warmup, config.grace, config.final(most)
        )
        return self.config.control_share + (1 - self.config.control_share) * stopped

    def work(self, expected: Expected) -> float:
        """Seconds of training for so many of each (cell, phase), summed over all slots."""
        return sum(
            n * self.share(phase) * self.trial(cell) for (cell, phase), n in expected.items()
        )

    def examining(self) -> float:
        """Seconds for the sharpness of all winners' minima, summed over all slots."""
        each = EXAMINING[self.config.sharpness] * self.config.seeds
        per_gradient = [
            self.rates[cell.name][0] / (cell.batch_size * cell.passes) for cell in self.config.cells
        ]
        return each * sum(per_gradient)

    def gradients(self, expected: Expected) -> float:
        """Gradients of single images for so many of each (cell, phase)."""
        return sum(
            n * self.share(phase) * self.steps(cell) * cell.batch_size * cell.passes
            for (cell, phase), n in expected.items()
        )

    def done(self, planner: Planner) -> float:
        """Seconds by the calibrated rates of what the study has trained so far."""
        return sum(map(self.record, planner.records.values()))

    def record(self, record: Record) -> float:
        if not record.reports:
            return 0.0
        last = record.reports[-1]
        return self.trial(record.cell, last["steps"], last["report"])

    def left(self, planner: Planner) -> float:
        """Seconds of work that is still to come; a stopped trial has none left."""
        begun: Expected = Counter()
        rest = 0.0
        for record in planner.records.values():
            phase = "confirm" if record.config.phase == "confirm" else "search"
            if record.ended and planner.confirmation.superseded(record):
                continue
            begun[record.cell, phase] += 1
            if not record.ended:
                whole = self.share(record.config.phase) * self.trial(record.cell)
                rest += max(0.0, whole - self.record(record))
        return rest + self.work(planner.expected() - begun)


def known(events: list[Event], slots: int, host: str) -> Rates:
    """The rates of the cells that sessions with as many slots, begun on this host, have timed."""
    rates: Rates = {}

    def take(event: Event) -> None:
        if event["event"] == "session" and (event["slots"], event.get("host")) == (slots, host):
            rates.update({name: (float(a), float(b)) for name, (a, b) in event["rates"].items()})

    taken(events, take)
    return rates


def most_searches(config: StudyConfig) -> int:
    """Search trials of the cell with the most."""
    return max(map(config.searches, config.cells))


@functools.cache
def expected_progress(
    trials: int, reports: int, warmup: float, grace: int = 0, final: int | None = None
) -> float:
    """The mean share of its schedule that one of `trials` in random order trains under ASHA, which
    stops none of the first `grace`, nor from `final` on.

    By simulation with the ladder itself, ranks being the same at every rung.
    """
    choose, progress, cells = random.Random(0), 0.0, max(1, 4000 // trials)
    for _ in range(cells):
        ladder = Ladder.build(reports, warmup)
        for number, score in enumerate(choose.random() for _ in range(trials)):
            may = grace <= number < (trials if final is None else final)
            stops = (rung for rung in ladder.rungs if not ladder.keep(rung, score) and may)
            progress += next(stops, reports) / reports
    return progress / (cells * trials)


def overview(forecast: Forecast) -> str:
    """Cells, trials, gradients and time of the whole study."""
    planner = Planner(forecast.config, MemoryLog([]))
    expected = planner.expected()
    seconds = (forecast.work(expected) + forecast.examining()) / forecast.slots
    config = forecast.config
    ms = f", up to {len(config.m)} m" if len(config.m) > 1 else ""
    most = max(map(forecast.workers_of, config.cells))
    each = f" workers, up to {most} a trial, whose communication is not in it" if most > 1 else ""
    first = f", under {config.loss} where @ names no loss" if len(config.losses) > 1 else ""
    return (
        f"{len(config.cells)} cells ({len(config.methods)} methods{first} x "
        f"{len(config.batch_sizes)} "
        f"batch sizes{ms}), {expected.total()} trials ({most_searches(config)} searched a cell, "
        f"others confirm), {forecast.gradients(expected) / 1e6:,.3g} million gradients, "
        f"about {duration(seconds)} on {forecast.slots}{each or ' at a time'}"
    )


def against_actual(
    forecast: Forecast, planner: Planner, before: float, ahead: float, wall: float, busy: float
) -> str:
    """How the session went against its calibration, whose rate is that of bare processes."""
    if not wall:
        return "nothing was left to train"
    capacity = wall * forecast.slots
    bare = (forecast.done(planner) - before) / capacity
    return (
        f"forecast {duration(ahead / forecast.slots)}, actual {duration(wall)}; workers were "
        f"inside training {busy / capacity:.1%} of the time; throughput {bare:.1%} of what "
        f"{forecast.slots} bare processes reach at the calibrated rates"
    )


def sized(forecast: Forecast, limit: float) -> Forecast:
    """The forecast with as many trials as fit into `limit` seconds."""

    def work(trials: int) -> float:
        config = forecast.config.with_trials(trials)
        expected = Planner(config, MemoryLog([])).expected()
        return replace(forecast, config=config).work(expected) + forecast.examining()

    trials, beyond = 0, MOST_TRIALS + 1
    while beyond - trials > 1:  # the work grows with the trials, so halve what is between
        middle = (trials + beyond) // 2
        if work(middle) / forecast.slots <= limit:
            trials = middle
        else:
            beyond = middle
    if trials < 1:
        least = duration(work(1) / forecast.slots)
        raise UsageError(
            f"--within: one trial a cell and the confirmation take about {least} after "
            "calibration; accepted: more time, fewer cells or seeds, or a shorter --budget"
        )
    return replace(forecast, config=forecast.config.with_trials(trials))
