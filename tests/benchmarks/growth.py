"""Whether a study's own work grows faster than its trials, its cells and its nodes."""

import argparse
import os
import resource
import tempfile
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import ray
from ray import tune
from ray.cluster_utils import Cluster
from rich.console import Console

from study.cluster.cluster import Resources
from study.cluster.execute import execute
from study.log.log import Log, MemoryLog, read
from study.plan.config import StudyConfig
from study.plan.planner import Planner
from study.plan.space import LR_RANGES, RHO_RANGES
from study.show import results
from study.show.forecast import Forecast
from study.show.progress import Progress
from study.show.views import Views
from tests.benchmarks.table import Benchmark, Goal, Row
from tests.helpers.simulated import figures, study_event
from trainables.spec.grid import parse_methods
from trainables.spec.trial import TrialConfig

SLOTS = 16  # as in Ray's published benchmark
PUBLISHED = 715 / 625  # its time over the nominal one, 10,000 trials of a second


def config(cells: int, trials: int, sampler: str) -> StudyConfig:
    """Ten batch sizes, and methods until there are `cells`."""
    methods = parse_methods("all")[: -(-cells // 10)]
    return StudyConfig(
        methods=methods,
        batch_sizes=tuple(16 * 2**k for k in range(10)),
        lr_ranges=LR_RANGES,
        rho_ranges={name: bounds for name, bounds in RHO_RANGES.items() if bounds},
        train_size=49_152,
        trials=-(-trials // cells),
        sampler=sampler,
        seeds=3,
    )


class Clock:
    """Seconds by what they went into, since the last look."""

    def __init__(self) -> None:
        self.seconds: dict[str, list[float]] = {}

    def __call__(self, name: str, call: Any, *arguments: Any) -> Any:
        begun = time.perf_counter()
        result = call(*arguments)
        spent = self.seconds.setdefault(name, [0.0, 0.0])
        spent[0] += time.perf_counter() - begun
        spent[1] += 1
        return result

    def mean(self, name: str) -> float:
        """Seconds of one, counted anew from here."""
        spent, count = self.seconds.pop(name, [0.0, 0.0])
        return spent / count if count else float("nan")


def memory() -> float:
    """Resident now, in MiB."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * resource.getpagesize() / 2**20


def planner_alone(cells: int, trials: int, sampler: str, folder: Path) -> Iterator[Row]:
    """Mean times of a decision since the row before, at each power of ten; then the resume."""
    asked, clock = config(cells, trials, sampler), Clock()
    fixed = {"what": f"planner, {sampler}", "cells": cells, "slots": SLOTS}
    with Log(folder) as log:
        log.append(study_event(asked))
        planner = Planner(asked, log)
        running: dict[str, Any] = {}
        shown = 1000
        while True:
            while len(running) < SLOTS and (trial := clock("next", planner.next)):
                running[trial.trial_id] = (trial, 0)
            if not running:
                break
            name = next(iter(running))
            trial, report = running.pop(name)
            if clock("report", planner.report, name, figures(trial, report + 1)):
                running[name] = (trial, report + 1)
            else:
                clock("ended", planner.ended, name)
            if len(planner.records) == shown:
                yield fixed | look(planner, clock)
                shown *= 10
        yield fixed | look(planner, clock)
        count = len(planner.records)
    del planner, log
    begun = time.perf_counter()
    again = Planner(asked, MemoryLog(read(folder)))
    resumed = time.perf_counter() - begun
    assert again.done
    results.trials(again)
    tabled = time.perf_counter() - begun - resumed
    yield fixed | {"what": "resume", "trials": count, "s": resumed, "MiB": memory()}
    yield fixed | {"what": "table of trials", "trials": count, "s": tabled, "MiB": memory()}


def look(planner: Planner, clock: Clock) -> Row:
    rates = {cell.name: (0.01, 0.1) for cell in planner.config.cells}
    forecast = Forecast(planner.config, planner.config.train_size, rates, SLOTS)
    with open("/dev/null", "w") as nowhere:
        console = Console(file=nowhere)
        shown = Progress(
            planner, lambda: forecast.left(planner), lambda: SLOTS, Path("/dev/null"), console
        )
        clock("look", lambda: console.print(shown.render()))
    found: Row = {"trials": len(planner.records), "MiB": memory(), "s": clock.mean("look")}
    for name in ("next", "report", "ended"):
        found[f"{name} ms"] = 1000 * clock.mean(name)
    return found


class Nothing(tune.Trainable):
    """A trial that sleeps and reports once; the first ones wait until every slot has a worker.

    Tune gives a trial whose worker is still starting to the first worker that becomes free, and
    stops the one being started; here 16 workers take longer to start than such a trial lasts.
    """

    def setup(self, config: dict[str, Any], seconds: float, started: Path) -> None:
        self.seconds, self.started = seconds, started
        (started / str(os.getpid())).touch()
        self.reset_config(config)

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        self.trial = TrialConfig.from_dict(new_config)
        return True

    def step(self) -> dict[str, Any]:
        while len(os.listdir(self.started)) < SLOTS:
            time.sleep(0.1)
        time.sleep(self.seconds)
        return {"figures": [figures(self.trial, 1)]}


def through_tune(trials: int, nodes: int, seconds: float, folder: Path) -> Iterator[Row]:
    """No-op trials through Ray Tune, `SLOTS` at a time, shared by the nodes; a row a quarter.

    What the first trials take goes into starting the workers, so it is a row of its own.
    """
    asked = replace(config(40, trials, "random"), reports=1, scheduler="none", seeds=1)
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 0})
    for _ in range(nodes):
        cluster.add_node(num_cpus=SLOTS // nodes)
    ray.init(cluster.address, log_to_driver=False, logging_level="ERROR")
    started = folder / "started"
    started.mkdir(parents=True)
    trial = tune.with_parameters(Nothing, seconds=seconds, started=started)
    what = f"Tune, trials of {seconds:g} s"
    fixed = {"what": what, "cells": 40, "nodes": nodes, "slots": SLOTS}
    rows: list[Row] = []
    try:
        with Log(folder) as log:
            log.append(study_event(asked))
            planner = Planner(asked, log)
            views, whole = Views(folder, planner), planner.expected().total()
            quarters = (whole * k // 4 for k in range(1, 5))
            marks = [4 * SLOTS, *(mark for mark in quarters if mark > 4 * SLOTS)]
            seen = 0, time.perf_counter()

            def tick() -> None:
                nonlocal seen
                views.update()
                ended, now = len(planner.records) - len(planner.running), time.perf_counter()
                if marks and (ended >= marks[0] or planner.done):
                    del marks[0]
                    count, spent = ended - seen[0], now - seen[1]
                    nominal = count * seconds / SLOTS
                    row = {"trials": ended, "s": spent, "MiB": memory()}
                    row |= {"ms a trial": 1000 * spent / count}
                    rows.append(fixed | row | {"of nominal": spent / nominal if nominal else None})
                    seen = ended, now

            execute(planner, trial, Resources(1, 0.0), folder, tick)
            tick()
    finally:
        ray.shutdown()
        cluster.shutdown()
    rows[0]["what"] += ", the first"
    yield from rows


def measure(options: argparse.Namespace) -> Iterator[Row]:
    with tempfile.TemporaryDirectory() as folder:
        for cells in options.cells:
            for sampler in options.samplers:
                place = Path(folder, f"alone-{cells}-{sampler}")
                yield from planner_alone(cells, options.trials, sampler, place)
        for nodes in options.nodes:
            place = Path(folder, f"tune-{nodes}")
            yield from through_tune(options.tune_trials, nodes, options.seconds, place)


def goals(rows: list[Row]) -> list[Goal]:
    text = (
        f"trials of a second, {SLOTS} at a time, once all workers run: no worse over nominal than "
        f"Ray's {PUBLISHED:.3f}"
    )
    shares = [
        row["of nominal"] for row in rows
        if row.get("of nominal") and row["nodes"] == 1 and "first" not in row["what"]
    ]  # fmt: skip
    worst = max(shares, default=None)
    found = [Goal(text, f"{worst:.3f}" if worst else "–", worst and worst <= PUBLISHED)]
    for name in ("next ms", "report ms"):
        alone = [row for row in rows if name in row and "qmc" in row["what"]]
        for cells in dict.fromkeys(row["cells"] for row in alone):
            times = [row[name] for row in alone if row["cells"] == cells]
            text = f"{name} at most 3 × that of the first 1,000 trials, {cells} cells"
            grown = max(times) / times[0]
            found.append(Goal(text, f"{grown:.2f}", grown <= 3))
    return found


def options(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("--trials", type=int, default=10_000, help="of the planner alone")
    add("--cells", type=int, nargs="*", default=[10, 100], help="multiples of ten")
    add("--samplers", nargs="+", default=["qmc"], choices=["qmc", "random", "tpe"])
    add("--nodes", type=int, nargs="*", default=[1, 4], choices=[1, 2, 4, 8, 16],
        help="of a simulated cluster")  # fmt: skip
    add("--tune-trials", type=int, default=2000, help="no-op ones through Ray Tune")
    add("--seconds", type=float, default=1.0, help="that each of these sleeps")


ABOUT = """\
The planner alone, with reports that a law gives at once and the log written to disk: what one
decision takes (means since the row above), *s* of one look at the progress; then how long a driver
that died takes to know all again. After that no-op trials through Ray Tune with the log and the
views kept up, on a simulated cluster, beside their nominal time; the first 64 wait until all
workers have started, and are a row of their own. How a step grows with B and with the network is
in the first table."""

BENCHMARK = Benchmark(
    "growth",
    "Growth",
    ABOUT,
    {
        "what": "what", "cells": "cells", "nodes": "nodes", "slots": "at a time",
        "trials": "trials", "next ms": "next ms", "report ms": "report ms", "ended ms": "ended ms",
        "s": "s", "ms a trial": "ms a trial", "of nominal": "over nominal", "MiB": "MiB",
    },
    options,
    measure,
    goals,
)  # fmt: skip
