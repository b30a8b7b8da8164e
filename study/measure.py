"""python -m study.measure NAME [TRIAL_ID…]: examine saved minima again, in parallel on Ray."""

import functools
import math
import statistics
import sys
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from study.ask.continuing import require_same_code
from study.ask.where import check_resources
from study.cluster.minima import Bench, Job, lines, measure, missing, pending, saved, winners
from study.cluster.session import Interrupted, Interruption, connected, say
from study.log.log import Log, read
from study.log.record import SHARPNESS, Record
from study.plan.config import StudyConfig
from study.plan.planner import Planner
from study.show import results
from trainables.spec.errors import Parser, UsageError, exit_code
from trainables.spec.trial import choice

SHOWN = {  # by what it is called in the summary
    "lambda_max": "lambda_max",
    "trace": "hessian_trace",
    "sam": "sam_sharpness",
    "asam": "asam_sharpness",
    "phi(1e-3)": "epsilon_sharpness_1e3",
}


def parser() -> Parser:
    made = Parser(
        prog="python -m study.measure",
        description="Measure the minima whose weights a study has kept; results are appended to "
        "its log and enter its tables.",
    )
    made.add_argument("name", metavar="NAME")
    made.add_argument(
        "trial_ids",
        metavar="TRIAL_ID",
        nargs="*",
        help="or a pattern, as '*-b8192-*'; those that match are measured whether they have been "
        "or not (default: the winners, as far as they have not)",
    )
    made.add_argument("--sharpness", default="full", metavar="LEVEL", help="fast|full")
    made.add_argument(
        "--images", type=int, default=0, metavar="N", help="training images looked at"
    )
    made.add_argument("--results", default="results", metavar="DIR", help="default: results")
    made.add_argument("--data-dir", metavar="DIR", help="default: the study's")
    made.add_argument("--cpus-per-trial", type=float, metavar="X", help="default: the study's")
    made.add_argument(
        "--gpus-per-trial", type=float, metavar="X", help="default: 0, or 1 as the study"
    )
    made.add_argument("--address", metavar="ADDRESS", help="of a Ray cluster: auto or HOST:PORT")
    return made


def main(arguments: list[str] | None = None) -> int:
    options = parser().parse_args(arguments)
    choice("--sharpness", options.sharpness, SHARPNESS[1:])
    path = Path(options.results) / options.name
    first = results.study_event(read(path), path)
    config = StudyConfig.from_dict(first["config"])
    cpus = config.threads if options.cpus_per_trial is None else options.cpus_per_trial
    gpus = (
        float(config.device != "cpu") if options.gpus_per_trial is None else options.gpus_per_trial
    )
    check_resources(cpus, gpus, options.address)
    require_same_code(first, config.plugins, path)
    data = results.data_of(first, options.data_dir)
    if not 0 <= options.images <= len(data.train):
        raise UsageError(
            f"--images: {options.images:,} is out of range; accepted: 1 to the training set's "
            f"{len(data.train):,}, or 0 for the level's own"
        )
    interruption = Interruption()
    with Log(path) as log:
        planner = Planner(config, log)
        jobs = asked(planner, path, options.trial_ids, options.sharpness, options.images)
        for line in missing(planner, path):
            say(line)
        if not jobs:
            say(f"the winners in {path} have been measured; name trials to measure them again")
            return 0
        from study.cluster.cluster import Resources, check_address

        if options.address:
            check_address(options.address)
        resources = Resources(cpus, gpus, options.address)
        bench = Bench(path, options.sharpness, data, resources, options.images)
        try:
            with connected(resources, False, interruption):
                try:
                    _, errors = measure(jobs, planner, bench, interruption.check)
                finally:
                    results.write_tables(path, planner)
        except Interrupted:
            say("stopped; what was measured is kept")
            return 128 + interruption.number
    ids = {job.trial_id for job in jobs if not job.other}
    print(summary([record for i, record in planner.records.items() if i in ids]))
    if errors:
        say(f"{len(errors)} measurements failed, the first of {errors[0]}")
    return 1 if errors else 0


def asked(planner: Planner, path: Path, patterns: list[str], level: str, images: int) -> list[Job]:
    """The trials that match, and the lines between them; without patterns what the winners lack.

    Raises
    ------
    UsageError
        If a pattern matches no trial whose weights are kept.
    """
    records = saved(planner, path)
    if not records:
        raise UsageError(
            f"NAME: {path} has no saved weights; accepted: a study with confirmed trials"
        )
    if not patterns:
        return pending(planner, path, level, images)
    chosen: dict[str, Record] = {}
    for pattern in patterns:
        ids = {r.config.trial_id: r for r in records if fnmatchcase(r.config.trial_id, pattern)}
        if not ids:
            raise UsageError(
                f"TRIAL_ID: {pattern!r} matches no confirmed trial with saved weights; accepted: "
                f"such as {records[0].config.trial_id}, or a pattern as '*-winner-*'"
            )
        chosen |= ids
    jobs = [Job(trial_id) for trial_id in chosen]
    if level == "full":
        ours = [r for r in winners(planner) if r.config.trial_id in chosen]
        jobs += lines(planner.config, ours)
    return jobs


def summary(records: list[Record]) -> str:
    """One line a cell, role and level/images: mean and SD over seeds of what was measured."""
    groups: dict[str, list[dict[str, Any]]] = {}
    for record in records:
        if record.measured:
            level = f"{record.measured['level']}/{record.measured['images']}"
            name = f"{record.cell.name}-{record.config.role}, {level}"
            groups.setdefault(name, []).append(record.measured["measures"])
    table = [["minima (mean ± SD over seeds)", *SHOWN]]
    for name, members in groups.items():
        cells = (_spread([found.get(column) for found in members]) for column in SHOWN.values())
        table.append([f"{name} ({len(members)})", *cells])
    return "\n".join(row[0].ljust(44) + "".join(c.rjust(18) for c in row[1:]) for row in table)


def _spread(measures: list) -> str:
    values = [measure["value"] for measure in measures if measure]
    values = [value for value in values if value is not None and math.isfinite(value)]
    if not values:
        return "·"
    sd = f" ± {statistics.stdev(values):.2g}" if len(values) > 1 else ""
    return f"{statistics.mean(values):.4g}{sd}"


command = functools.partial(exit_code, main, "python -m study.measure")

if __name__ == "__main__":
    sys.exit(command())
