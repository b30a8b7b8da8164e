"""python -m tests.growth: whether a study's own work grows faster than its trials; takes minutes.

First the planner alone, with reports that a law gives at once: what one decision takes as trials
become many, the memory, and the time in which a driver that died knows all again. Then no-op
trials through Ray Tune, as many at a time as there are slots, beside their nominal time.
"""

import argparse
import resource
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import ray
from ray import tune
from rich.console import Console

from study import results
from study.cells import parse_methods
from study.config import StudyConfig
from study.execute import Resources, execute
from study.forecast import Forecast
from study.log import Log, MemoryLog, read
from study.planner import Planner
from study.progress import Progress
from study.space import LR_RANGES, RHO_RANGES
from study.views import Views
from tests.study.simulated import figures, study_event
from trainables.config import TrialConfig


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


def planner_alone(cells: int, trials: int, sampler: str, slots: int, folder: Path) -> None:
    """A line at each doubling, and one for the resume."""
    asked, clock = config(cells, trials, sampler), Clock()
    heads = ("trials", "next", "report", "ended", "one look at progress", "memory")
    print(f"\nthe planner alone: {len(asked.cells)} cells, --sampler {sampler}, {slots} at a time")
    print("".join(head.rjust(22) for head in heads))
    with Log(folder) as log:
        log.append(study_event(asked))
        planner = Planner(asked, log)
        running: dict[str, Any] = {}
        shown = 1000
        while True:
            while len(running) < slots and (trial := clock("next", planner.next)):
                running[trial.trial_id] = (trial, 0)
            if not running:
                break
            name = next(iter(running))
            trial, report = running.pop(name)
            going = clock("report", planner.report, name, figures(trial, report + 1))
            if going:
                running[name] = (trial, report + 1)
            else:
                clock("ended", planner.ended, name)
            if len(planner.records) == shown:
                look(planner, clock)
                shown *= 10
        look(planner, clock)
        reports = sum(len(r.reports) for r in planner.records.values())
    size = (folder / "log.jsonl").stat().st_size / 2**20
    del planner, log
    begun = time.perf_counter()
    again = Planner(asked, MemoryLog(read(folder)))
    seconds = time.perf_counter() - begun
    assert again.done
    print(f"resumed from a log of {size:,.0f} MiB with {reports:,} reports in {seconds:.1f} s")
    begun = time.perf_counter()
    rows = len(results.trials(again))
    print(f"the table of {rows:,} trials in {time.perf_counter() - begun:.1f} s")


class Nothing(tune.Trainable):
    """A trial that sleeps and reports once."""

    def setup(self, config: dict[str, Any], seconds: float) -> None:
        self.seconds = seconds
        self.reset_config(config)

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        self.trial = TrialConfig.from_dict(new_config)
        return True

    def step(self) -> dict[str, Any]:
        time.sleep(self.seconds)
        return {"figures": figures(self.trial, 1)}


def through_tune(trials: int, slots: int, seconds: float, folder: Path) -> None:
    """A line at each tenth of the trials: seconds, against so many times a second at a time."""
    asked = replace(config(40, trials, "random"), reports=1, scheduler="none", seeds=1)
    ray.init(num_cpus=slots, include_dashboard=False, log_to_driver=False, logging_level="ERROR")
    print(f"\nthrough Ray Tune: trials of {seconds:g} s, {slots} at a time, views kept up")
    heads = ("trials", "seconds", "nominal", "ms a trial", "memory")
    print("".join(head.rjust(14) for head in heads))
    with Log(folder) as log:
        log.append(study_event(asked))
        planner = Planner(asked, log)
        trainable = tune.with_parameters(Nothing, seconds=seconds)
        views, begun, seen = Views(folder, planner), time.perf_counter(), (0, 0.0)
        whole = planner.expected().total()

        def tick() -> None:
            nonlocal seen
            views.update()
            ended = len(planner.records) - len(planner.running)
            spent = time.perf_counter() - begun
            if ended >= seen[0] + whole // 10:
                each = 1000 * (spent - seen[1]) / (ended - seen[0])
                nominal = ended * seconds / slots
                cells = f"{ended:,}", f"{spent:.0f}", f"{nominal:.0f}", f"{each:.1f}"
                print("".join(c.rjust(14) for c in (*cells, f"{memory():,.0f} MiB")), flush=True)
                seen = ended, spent

        execute(planner, trainable, Resources(1, 0.0), folder, tick)
        print(f"all {len(planner.records):,} in {time.perf_counter() - begun:.0f} s")
    ray.shutdown()


def look(planner: Planner, clock: Clock) -> None:
    rates = {cell.name: (0.01, 0.1) for cell in planner.config.cells}
    forecast = Forecast(planner.config, planner.config.train_size, rates, 16)
    with open("/dev/null", "w") as nowhere:
        console = Console(file=nowhere)
        shown = Progress(
            planner, lambda: forecast.left(planner), lambda: 16, Path("/dev/null"), console
        )
        clock("look", lambda: console.print(shown.render()))
    micro = [f"{1e6 * clock.mean(name):,.0f} µs" for name in ("next", "report", "ended")]
    each = [f"{len(planner.records):,}", *micro, f"{1e3 * clock.mean('look'):,.0f} ms"]
    print("".join(cell.rjust(22) for cell in (*each, f"{memory():,.0f} MiB")), flush=True)


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.growth", description=__doc__)
    parser.add_argument("--trials", type=int, default=100_000, help="of the planner alone")
    parser.add_argument("--cells", type=int, default=100)
    parser.add_argument("--sampler", default="qmc")
    parser.add_argument("--slots", type=int, default=16)
    parser.add_argument("--tune-trials", type=int, default=2000, help="no-op ones through Ray Tune")
    parser.add_argument("--seconds", type=float, default=1.0, help="that each of these sleeps")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        if options.trials:
            place = Path(folder, "alone")
            planner_alone(options.cells, options.trials, options.sampler, options.slots, place)
        if options.tune_trials:
            place = Path(folder, "tune")
            through_tune(options.tune_trials, options.slots, options.seconds, place)
    return 0


if __name__ == "__main__":
    sys.exit(main())
