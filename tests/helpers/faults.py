"""Studies as commands, here or as processes of their own, to be killed by tests and by the soak."""

import contextlib
import importlib
import io
import json
import logging
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from unittest import mock

import pandas as pd
import ray

from study.replay import MEASURED
from tests.helpers.tables import tables_of
from trainables.spec.columns import SHARPNESS_COLUMNS
from trainables.spec.errors import exit_code

TINY = (
    "--dataset digits --train-size 1024 --model mlp --budget 20epochs --batch-sizes 64,256 "
    "--trials 3 --seeds 1 --methods momentum,momentum+sam --sharpness off --no-dashboard "
    "--gpus-per-trial 0"
).split()
DETERMINED = ("--sampler", "random", "--scheduler", "none")  # whatever the order of events
MEASURED_TOO = (*DETERMINED, "--sharpness", "fast")
PATIENCE = 240.0  # seconds


def arguments(place: Path, name: str, *more: str, task: Sequence[str] = TINY) -> list[str]:
    return [*task, "--results", str(place), "--name", name, *more]


def command(place: Path, name: str, *more: str) -> list[str]:
    return [sys.executable, "-m", "study.run", *arguments(place, name, *more)]


def run(place: Path, name: str, *more: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command(place, name, *more), capture_output=True, text=True, timeout=600)


def here(module: str, *given: str) -> subprocess.CompletedProcess[str]:
    """`python -m module` within this process, whose Ray it uses if that runs."""
    out, told = io.StringIO(), io.StringIO()
    main = importlib.import_module(module).main
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(told):
        code = exit_code(partial(main, list(given)), f"python -m {module}")
    return subprocess.CompletedProcess([module, *given], code, out.getvalue(), told.getvalue())


def with_ray() -> None:
    """One Ray for all studies of this process; a test may have ended it."""
    if not ray.is_initialized():
        ray.init("local", include_dashboard=False, log_to_driver=False, logging_level=logging.ERROR)


def trained(
    place: Path, name: str, *more: str, task: Sequence[str] = TINY
) -> subprocess.CompletedProcess[str]:
    """`run` within this process, without drawing the report."""
    if "--address" not in more:
        with_ray()
    with mock.patch("analysis.report.write", return_value=""):
        return here("study.run", *arguments(place, name, *more, task=task))


def begin(place: Path, name: str, *more: str) -> "subprocess.Popen[bytes]":
    silent = subprocess.DEVNULL
    return subprocess.Popen(command(place, name, *more), stdout=silent, stderr=silent)


def events(place: Path, name: str) -> list[dict]:
    """Those of a log that may be being written; none where there is no log yet."""
    path = place / name / "log.jsonl"
    lines = path.read_bytes().split(b"\n")[:-1] if path.exists() else []
    return [json.loads(line) for line in lines]


def ended(place: Path, name: str) -> Counter[str]:
    """How often each trial was closed."""
    return Counter(e["trial_id"] for e in events(place, name) if e["event"] == "ended")


def wait_for(what: Callable[[], object], process: "subprocess.Popen[bytes]") -> None:
    """Raises TimeoutError where it does not become true while the process runs."""
    limit = time.monotonic() + PATIENCE
    while not what():
        if process.poll() is not None or time.monotonic() > limit:
            raise TimeoutError(f"it was to happen while the study ran ({process.poll()})")
        time.sleep(0.02)


def determined(place: Path, name: str) -> list[pd.DataFrame]:
    """The tables in one order, without what a clock, the memory or a look at the minima says."""
    _, trials, reports = tables_of(place / name)
    keys = ["trial_id"], ["trial_id", "report"]
    return [
        table.drop(columns=[*MEASURED, *SHARPNESS_COLUMNS], errors="ignore")
        .sort_values(by)
        .reset_index(drop=True)
        for table, by in zip((trials, reports), keys, strict=True)
    ]


def children(parent: int) -> dict[int, str]:
    """Process id -> command line of the processes that `parent` has started."""
    found = {}
    for path in Path("/proc").glob("[0-9]*"):
        try:
            status = (path / "stat").read_text().rpartition(")")[2].split()
            if int(status[1]) == parent:
                found[int(path.name)] = (path / "cmdline").read_bytes().decode().strip("\0")
        except (OSError, ValueError):  # it has ended in the meantime
            continue
    return found


def descendants(parent: int) -> dict[int, str]:
    """The same with those that these have started."""
    found = children(parent)
    for pid in list(found):
        found |= descendants(pid)
    return found


def workers(parent: int) -> list[int]:
    """Those that train, below a raylet or a driver that has started its own Ray.

    Ray titles them by the call, and then the trial by its cell.
    """
    titles = ("ray::TrialTrainable", "ray::momentum")
    return [pid for pid, line in descendants(parent).items() if line.startswith(titles)]


def kill(pid: int) -> None:
    os.kill(pid, signal.SIGKILL)
