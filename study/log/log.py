"""log.jsonl: append-only, the only state of a study; everything else is computed from it."""

import contextlib
import fcntl
import json
import math
import os
from pathlib import Path
from typing import Any

from trainables.spec.errors import Halted, UsageError, unwritable

Event = dict[str, Any]
FILE = "log.jsonl"
TOGETHER = 10_000  # lines parsed at once


def read(results: Path) -> list[Event]:
    """The events of a study in order; a last line torn by a crash is left out.

    Raises
    ------
    UsageError
        If there is no log, or a line before the last is not JSON.
    """
    path = results / FILE
    try:
        lines = path.read_bytes().split(b"\n")
    except OSError as error:
        raise UsageError(
            f"{results} is no study ({error.strerror}: {FILE}); accepted: a results directory"
        ) from None
    del lines[-1]  # what follows the last newline was never finished
    parts = (lines[first : first + TOGETHER] for first in range(0, len(lines), TOGETHER))
    return [event for number, part in enumerate(parts) for event in _events(path, number, part)]


def so_far(results: Path) -> list[Event]:
    """As `read`; none where no study has begun."""
    return read(results) if (results / FILE).exists() else []


def _events(path: Path, number: int, lines: list[bytes]) -> list[Event]:
    """The events of the part of that number; one call to the parser for all lets them share keys,
    which are most of a log."""
    try:
        events = json.loads(b"[" + b",\n".join(lines) + b"]")
        if len(events) == len(lines) and all(map(_is_event, events)):
            return events
    except (ValueError, RecursionError):
        pass
    for place, line in enumerate(lines, TOGETHER * number + 1):
        try:
            whole = _is_event(json.loads(line))
        except (ValueError, RecursionError):
            whole = False
        if not whole:
            raise damaged(path, place)
    raise damaged(path, TOGETHER * number + 1)


def _is_event(event: Any) -> bool:
    return isinstance(event, dict) and isinstance(event.get("event"), str)


def damaged(path: Path, number: int) -> UsageError:
    """What to say of a line that `study.run` has not written so."""
    return UsageError(
        f"{path}: line {number} is damaged; accepted: lines written by study.run "
        "(to go on without the rest, remove this line and all after it)"
    )


class Log:
    """A study's log opened for writing by one process; use as a context manager.

    Raises
    ------
    UsageError
        If another process writes it, or it is damaged.
    """

    def __init__(self, results: Path) -> None:
        self.results = results
        try:
            results.mkdir(parents=True, exist_ok=True)
            self._file = open(results / FILE, "a+b", buffering=0)  # noqa: SIM115
        except OSError as error:
            raise UsageError(
                f"--results: cannot write {results} ({error.strerror}); accepted: a directory"
            ) from None
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            self._file.close()
            raise UsageError(
                f"--name: another process is running the study in {results}; accepted: "
                "another --name, or wait for it (python -m study.status shows it)"
            ) from None
        self.events = read(results)  # as they were when it was opened
        self._drop_torn_line()

    def _drop_torn_line(self) -> None:
        self._file.seek(0)
        content = self._file.read()
        if content[-1:] not in (b"", b"\n"):
            self._file.truncate(content.rfind(b"\n") + 1)

    def append(self, event: Event) -> None:
        """Write one event: with the system when this returns, on disk if it ends a trial.

        Raises
        ------
        Halted
            If it cannot be written, of which the log then holds nothing.
        """
        line = json.dumps(finite(event), separators=(",", ":")).encode() + b"\n"
        whole = self._file.seek(0, os.SEEK_END)
        try:
            while line:  # a disk that becomes full takes a part at first
                line = line[self._file.write(line) :]
            if event["event"] == "ended":
                os.fsync(self._file.fileno())
        except OSError as error:
            with contextlib.suppress(OSError):
                self._file.truncate(whole)
            error.filename = self.results / FILE
            raise Halted(unwritable(error)) from None
        if os.fstat(self._file.fileno()).st_nlink == 0:
            raise Halted(f"{self.results / FILE} has been removed while it was written")

    def __enter__(self) -> "Log":
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()


class MemoryLog:
    """Takes events and keeps nothing: for a planner that only looks."""

    def __init__(self, events: list[Event]) -> None:
        self.events = events

    def append(self, event: Event) -> None:
        pass


def finite(value: Any) -> Any:
    """The value with None for every number that JSON cannot hold."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {key: finite(item) for key, item in value.items()}
    return [finite(item) for item in value] if isinstance(value, (list, tuple)) else value
