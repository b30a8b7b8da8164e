"""Keeps the results directory's files for other programs up with the planner while it runs."""

import math
import time
from collections.abc import Callable, Iterable
from itertools import islice
from pathlib import Path

from study.log.record import Record
from study.plan.planner import Planner
from study.show import results
from study.show.board import Board
from study.show.trackers import Tracker

EVERY, SHARE = 30.0, 0.02  # seconds between two tables, and the most of the time that they take


class Views:
    """TensorBoard and the Optuna journal live, the tables now and then and when closed, and what
    has ended to those `elsewhere`, of which `say` tells what goes wrong.

    All could be made again.
    """

    def __init__(
        self,
        path: Path,
        planner: Planner,
        elsewhere: Iterable[str] = (),
        say: Callable[[str], None] = print,
    ) -> None:
        records = list(planner.records.values())
        self.path, self.planner = path, planner
        self.trackers = [Tracker(name, path, say) for name in elsewhere]
        self.board = Board(path, planner.config, records)
        self.journal = results.OptunaJournal(path, planner.config, records)
        for record in records:
            if record.ended:
                self._track(record)
        self.open = {r.config.trial_id: len(r.reports) for r in records if not r.ended}
        self.known = len(records)
        self.busy = -self._trained()
        self.due = 0.0  # when the tables are to be written

    def _track(self, record: Record) -> None:
        for tracker in self.trackers:
            tracker.end(record)

    def _trained(self) -> float:
        """Seconds inside training over all trials."""
        return sum(record.seconds for record in self.planner.records.values())

    def update(self) -> None:
        """Write what is new since the last call."""
        new = len(self.planner.records) - self.known
        for trial_id in [*islice(reversed(self.planner.records), new)][::-1]:
            self.open[trial_id] = 0
        self.known += new
        for trial_id, seen in list(self.open.items()):
            record = self.planner.records[trial_id]
            if len(record.reports) < seen:
                self.board.begin_anew(record)
                seen = 0
            for index in range(seen, len(record.reports)):
                self.board.report(record, index)
            self.open[trial_id] = len(record.reports)
            if record.ended:
                self.board.end(record)
                self.journal.add(record)
                self._track(record)
                del self.open[trial_id]
        if time.monotonic() > self.due:
            self._write()

    def _write(self) -> None:
        """The tables; with the next ones due when this has taken a small share of the time."""
        start = time.monotonic()
        results.write_tables(self.path, self.planner, points=False)
        now = time.monotonic()
        self.due = now + max(EVERY, (now - start) / SHARE)

    def close(self) -> None:
        self.due = math.inf  # once, below
        self.update()
        self.busy += self._trained()
        self.board.close()
        try:
            results.write_tables(self.path, self.planner)
        finally:
            for tracker in self.trackers:
                tracker.close(all=self.planner.done)
            for tracker in self.trackers:
                tracker.join()
