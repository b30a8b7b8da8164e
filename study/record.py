"""What the log says of each trial; the planner and the tables both read it from here."""

from dataclasses import dataclass, field, replace
from typing import Any

from study.cells import Cell
from study.log import Event
from trainables.config import TrialConfig

SEARCH_PHASES = ("search", "control")
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
        """Spent inside training and evaluation."""
        last = self.reports[-1] if self.reports else {"seconds": 0.0, "eval_seconds": 0.0}
        return last["seconds"] + last["eval_seconds"]

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
        self.reports.append(figures)
        self.failures = 0
        if would_stop and self.asha_would_stop_at is None:
            self.asha_would_stop_at = figures["report"]

    def begin_anew(self, micro_batch: int) -> None:
        """Another configuration, to which what was reported before does not belong."""
        self.config = replace(self.config, micro_batch=micro_batch)
        self.reports, self.asha_would_stop_at, self.failures = [], None, 0

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
    """The complete ones by falling score, in the order given where it is the same."""
    complete = [record for record in records if record.status == "complete"]
    return sorted(complete, key=lambda record: record.score or 0.0, reverse=True)


def fold(events: list[Event]) -> dict[str, Record]:
    """All trials by id, in the order they were first started."""
    records: dict[str, Record] = {}
    for event in events:
        apply(records, event)
    return records


def apply(records: dict[str, Record], event: Event) -> None:
    """One event into the records."""
    if event["event"] == "started":
        config = TrialConfig.from_dict(event["trial"])
        records.setdefault(config.trial_id, Record(config, event["number"], event["time"]))
    elif event["event"] == "report":
        records[event["trial_id"]].see(event["figures"], event["would_stop"])
    elif event["event"] == "ended":
        record = records[event["trial_id"]]
        record.status, record.error = event["status"], event.get("error")
        record.finished = event["time"]
    elif event["event"] == "failed":
        records[event["trial_id"]].failures += 1
    elif event["event"] == "reduced":
        records[event["trial_id"]].begin_anew(event["micro_batch"])
    elif event["event"] == "reopened":
        record = records[event["trial_id"]]
        record.status, record.error, record.finished, record.failures = "running", None, None, 0
    elif event["event"] == "measured":
        records[event["trial_id"]].examined(event)
