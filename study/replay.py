"""python -m study.replay NAME TRIAL_ID: train one trial alone and compare it with the log."""

import functools
import sys
from pathlib import Path

from study.log.log import finite, read
from study.log.record import Record, fold
from study.show import results
from trainables.data.image_data import ImageData
from trainables.spec.errors import Parser, UsageError, exit_code

# What a trial's configuration does not determine.
MEASURED = {"seconds", "eval_seconds", "images_per_second", "peak_memory"}


def main(arguments: list[str] | None = None) -> int:
    parser = Parser(
        prog="python -m study.replay",
        description="Train one trial again; exit code 0 if every figure is the same to the bit.",
    )
    parser.add_argument("name", metavar="NAME")
    parser.add_argument("trial_id", metavar="TRIAL_ID", help="as momentum+sam-b256-0003")
    parser.add_argument("--results", default="results", metavar="DIR", help="default: results")
    parser.add_argument("--data-dir", metavar="DIR", help="default: the study's")
    options = parser.parse_args(arguments)
    path = Path(options.results) / options.name
    events = read(path)
    first = results.study_event(events, path)
    record = fold(events).get(options.trial_id)
    if record is None or not record.reports:
        raise UsageError(
            f"TRIAL_ID: {options.trial_id!r} has no report in {path}; accepted: an id that "
            "trials.parquet lists"
        )
    return replay(record, results.data_of(first, options.data_dir))


def replay(record: Record, data: ImageData) -> int:
    from trainables.data.batches import DeviceData
    from trainables.train import line
    from trainables.training import Training

    config = record.config
    training = Training(config, DeviceData(data, config.device))
    differing = 0
    for logged in record.reports:
        figures = finite(training.run())
        print(line(figures, training.steps))
        for name in sorted(set(logged) | set(figures) - MEASURED):
            if name not in MEASURED and logged.get(name) != figures.get(name):
                print(f"  {name}: {logged.get(name)} logged, {figures.get(name)} now")
                differing += 1
    reports = f"{len(record.reports)} reports of {config.trial_id}"
    print(f"{reports}: {f'{differing} figures differ' if differing else 'reproduced to the bit'}")
    return 1 if differing else 0


command = functools.partial(exit_code, main, "python -m study.replay")

if __name__ == "__main__":
    sys.exit(command())
