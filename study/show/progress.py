"""What a person watches: one line a cell, redrawn in place on a terminal; else now and then one."""

import contextlib
import itertools
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.table import Table
from rich.text import Text

from study.log.record import Record, best_first
from study.plan.planner import Planner
from trainables.spec.roles import SEARCH_PHASES
from trainables.spec.workers import ONE, Workers

if TYPE_CHECKING:
    from typing_extensions import Self

REDRAW, LINE = 0.5, 30.0  # seconds
SHARE = 0.02  # of the time that may be spent on looking


def duration(seconds: float) -> str:
    """`45 s`, `12.3 min` or `5.1 h`."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.1f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


def counts(records: list[Record]) -> Counter[str]:
    return Counter(record.status for record in records)


def training(planner: Planner, slots: int, workers: Workers) -> set[str]:
    """The trials given out that train; what was issued later waits for slots, one a worker."""
    ends = itertools.accumulate(
        workers.of(planner.records[name].config, slots) for name in planner.running
    )
    return {name for name, end in zip(planner.running, ends, strict=True) if end <= slots}


def table(planner: Planner, running: set[str]) -> Table:
    """One line a cell: how many trials are where, and the best so far."""
    made = Table(box=None, pad_edge=False, header_style="bold")
    made.add_column("cell")
    for name in ("done", "running", "stopped", "diverged", "error", "best score", "lr", "rho"):
        made.add_column(name, justify="right")
    by_cell: dict[str, list[Record]] = {name: [] for name in planner.cells}
    for record in planner.records.values():
        by_cell[record.cell.name].append(record)
    for name, records in by_cell.items():
        made.add_row(name, *_row(records, running))
    return made


def _row(records: list[Record], running: set[str]) -> list[str]:
    count = counts(records)
    ranked = best_first([r for r in records if r.config.phase in SEARCH_PHASES])
    best = ranked[0] if ranked else None
    active = sum(record.config.trial_id in running for record in records)
    return [
        str(sum(record.ended for record in records)),
        *(str(number or "·") for number in (active, count["stopped"], count["diverged"])),
        str(count["error"] or "·"),
        *(
            (f"{best.score:.3f}", f"{best.config.lr:.3g}", f"{best.config.rho:.3g}")
            if best
            else ("·", "·", "·")
        ),
    ]


class Shown:
    """A line kept up: in place on a terminal, else now and then one more; call it often."""

    def __init__(self, console: Console | None = None) -> None:
        self.console = console or Console(stderr=True)
        self.start = self.lined = time.monotonic()
        self.due = self.start + (REDRAW if self.console.is_terminal else LINE)
        self.live = (
            Live(console=self.console, auto_refresh=False) if self.console.is_terminal else None
        )

    def __enter__(self) -> "Self":
        if self.live:
            self.live.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self.live:
            self.live.update(self.render(), refresh=True)
            self.live.stop()

    def __call__(self) -> None:
        begun = time.monotonic()
        if begun < self.due:
            return
        if self.live:
            self.live.update(self.render(), refresh=True)
        if begun - self.lined >= LINE:
            self.lined = begun
            self.line()
        now = time.monotonic()  # what it took grows with the study
        self.due = now + max(REDRAW if self.live else LINE, (now - begun) / SHARE)

    def line(self) -> None:
        if not self.live:
            self.console.print(self.summary(), highlight=False, soft_wrap=True)

    def render(self) -> RenderableType:
        return Text(self.summary(), style="bold")

    def summary(self) -> str:
        raise NotImplementedError


class Measuring(Shown):
    """How many minima, and lines between them, have been measured."""

    def __init__(self, total: int, console: Console | None = None) -> None:
        super().__init__(console)
        self.total, self.done = total, 0

    def summary(self) -> str:
        elapsed = time.monotonic() - self.start
        left = duration(elapsed / self.done * (self.total - self.done)) if self.done else "?"
        return f"{self.done}/{self.total} measured, {duration(elapsed)} elapsed, about {left} to go"


class Progress(Shown):
    """Shows a planner while it runs, in the planner's thread."""

    def __init__(
        self,
        planner: Planner,
        remaining: Callable[[], float],
        slots: Callable[[], int],
        log: Path,
        console: Console | None = None,
        workers: Workers = ONE,
    ) -> None:
        """`remaining` gives the seconds to go, `slots` how many workers train at a time; `log` is a
        file that takes the lines too."""
        super().__init__(console)
        self.log, self.workers = log, workers
        self.planner, self.remaining, self.slots = planner, remaining, slots

    def __enter__(self) -> "Self":
        self.note()
        return super().__enter__()

    def __exit__(self, *_: object) -> None:
        super().__exit__(*_)
        self.note()

    def line(self) -> None:
        super().line()
        self.note()

    def note(self) -> None:
        """A line for who watches from elsewhere; a full disk costs the line, not the study."""
        with contextlib.suppress(OSError), self.log.open("a", encoding="utf-8") as file:
            print(time.strftime("%Y-%m-%d %H:%M:%S"), self.summary(), file=file)

    def render(self) -> RenderableType:
        # The summary first: on a small terminal the end is cut off.
        return Group(Text(self.summary(), style="bold"), table(self.planner, self.running()))

    def running(self) -> set[str]:
        return training(self.planner, self.slots(), self.workers)

    def summary(self) -> str:
        planner = self.planner
        count = counts(list(planner.records.values()))
        total = planner.expected().total()
        ended = sum(record.ended for record in planner.records.values())
        return (
            f"{ended}/{total} trials ({count['stopped']} stopped, {count['diverged']} diverged, "
            f"{count['error']} errors), {len(self.running())} running, "
            f"{duration(time.monotonic() - self.start)} elapsed, "
            f"about {duration(self.remaining())} to go"
        )
