"""What the log says of each trial; the planner and the tables both read it from here."""

import math
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

from study.log.log import FILE, Event
from trainables.spec.errors import UsageError
from trainables.spec.grid import Cell
from trainables.spec.trial import TrialConfig

SHARPNESS = ("off", "fast", "full")  # how closely minima are examined, rising


@dataclass
class Record:
    """A trial so far; `status` is running until it ended complete, stopped, diverged or error."""

    config: TrialConfig
    number: int  # among the search trials of its cell, or over the fresh seeds
    started: float  # Unix time
    reports: list[dict[str, Any]] = field(default_factory=list)
    status: str = "running"
    error: str | None = None
    asha_would_stop_at: int | None = None
    finished: float | None = None  # Unix time
    failures: int = 0  # without an end, since its last report
    measured: Event | None = None  # what was found at its minimum, at the highest level

    @property
    def cell(self) -> Cell:
        return Cell(self.config.method, self.config.batch_size, self.config.m)

    @property
    def ended(self) -> bool:
        return self.status != "running"

    @property
    def score(self) -> float | None:
        return self.reports[-1]["score"] if self.reports else None

    @property
    def seconds(self) -> float:
        """Spent inside training and evaluation by all its workers, who wait while one evaluates."""
        last = self.reports[-1] if self.reports else {"seconds": 0.0, "eval_seconds": 0.0}
        return last.get("workers", 1) * (last["seconds"] + last["eval_seconds"])

    @property
    def over(self) -> str | None:
        """The status to end with, if the last report says that nothing is left to train."""
        if not self.reports:
            return None
        if self.reports[-1]["diverged"]:
            return "diverged"
        if self.reports[-1]["report"] == self.config.reports:
            return "complete"
        stop = self.asha_would_stop_at is not None and self.config.phase == "search"
        return "stopped" if stop else None

    def see(self, figures: dict[str, Any], would_stop: bool) -> None:
        """Raises ValueError for what is not the next report."""
        if figures["report"] != len(self.reports) + 1:
            raise ValueError(f"report {figures['report']} after {len(self.reports)}")
        if not all(isinstance(value, (int, float, type(None))) for value in figures.values()):
            raise ValueError("a figure is no number")
        self.reports.append(figures)
        self.failures = 0
        if would_stop and self.asha_would_stop_at is None:
            self.asha_would_stop_at = figures["report"]

    def has_failed(self, _: Event) -> None:
        self.failures += 1

    def begin_anew(self, event: Event) -> None:
        """Another configuration, to which what was reported before does not belong."""
        self.config = replace(self.config, micro_batch=event["micro_batch"])
        self.reports, self.asha_would_stop_at, self.failures = [], None, 0

    def end(self, event: Event) -> None:
        """Raises ValueError where it has ended before."""
        if self.ended:
            raise ValueError("it has ended before")
        self.status, self.error = event["status"], event.get("error")
        self.finished = event["time"]

    def reopen(self, _: Event) -> None:
        self.status, self.error, self.finished, self.failures = "running", None, None, 0

    @property
    def closeness(self) -> tuple[int, int]:
        """How closely its minimum has been examined, to be compared."""
        was = self.measured
        return closeness(was["level"], was["images"]) if was else (0, 0)

    def examined(self, event: Event) -> None:
        """The last examination counts, but none that looked less closely than one before."""
        if closeness(event["level"], event["images"]) >= self.closeness:
            self.measured = event


def closeness(level: str, images: int) -> tuple[int, int]:
    """Sorts examinations: by level, then by the number of images."""
    return SHARPNESS.index(level), images


def best_first(records: list[Record]) -> list[Record]:
    """The complete ones by falling score, in the order given where it is the same.

    Where points were trained on several seeds, by their mean, and only those trained most often:
    the best of many single seeds is luck.
    """
    complete = [record for record in records if record.status == "complete"]
    scores: dict[tuple[float, float], list[float]] = {}
    for record in records:
        if record.status in ("complete", "diverged"):
            scores.setdefault((record.config.lr, record.config.rho), []).append(record.score or 0.0)
    most = max(map(len, scores.values()), default=0)
    means = {at: math.fsum(some) / len(some) for at, some in scores.items() if len(some) == most}
    best = [r for r in complete if (r.config.lr, r.config.rho) in means]
    return sorted(best, key=lambda r: means[r.config.lr, r.config.rho], reverse=True)


def fold(events: list[Event]) -> dict[str, Record]:
    """All trials by id, in the order they were first started."""
    records: dict[str, Record] = {}
    taken(events, lambda event: apply(records, event))
    return records


def taken(events: list[Event], take: Callable[[Event], object]) -> None:
    """Each event taken in order; raises UsageError for the first that is none of a study's."""
    for number, event in enumerate(events, 1):
        try:
            take(event)
        except (LookupError, TypeError, ValueError, AttributeError) as error:
            raise UsageError(
                f"{FILE}: line {number} is not to be understood ({type(error).__name__}: {error}); "
                "accepted: lines written by study.run of this version (to go on without the rest, "
                "remove this line and all after it)"
            ) from None


def apply(records: dict[str, Record], event: Event) -> Record | None:
    """One event into the records: the trial that it changes, if it does."""
    kind = event["event"]
    if kind == "started":
        config = TrialConfig.from_dict(event["trial"])
        if config.trial_id in records:
            return None
        records[config.trial_id] = Record(config, event["number"], event["time"])
        return records[config.trial_id]
    change = CHANGES.get(kind)
    if change is None:
        return None
    record = records[event["trial_id"]]
    change(record, event)
    return record


CHANGES: dict[str, Callable[[Record, Event], None]] = {
    "report": lambda record, event: record.see(event["figures"], event["would_stop"]),
    "failed": Record.has_failed,
    "reduced": Record.begin_anew,
    "ended": Record.end,
    "reopened": Record.reopen,
    "measured": Record.examined,
}
