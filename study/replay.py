"""python -m study.replay NAME TRIAL_ID: train one trial alone and compare it with the log."""

import functools
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from study.log.log import finite, read
from study.log.record import Record, fold
from study.show import results
from trainables.data.image_data import ImageData
from trainables.spec.errors import Parser, UsageError, exit_code
from trainables.spec.trial import TrialConfig

if TYPE_CHECKING:
    from trainables.step.ranks import Ranks

# What a trial's configuration does not determine.
MEASURED = set(
    "seconds eval_seconds communication_seconds images_per_second peak_memory workers".split()
)


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
    """Over as many workers as it had, in processes of this machine."""
    from trainables.step.processes import together

    config, had = record.config, [logged.get("workers", 1) for logged in record.reports]
    if len(set(had)) > 1:
        print(f"it went on with another number of workers, {had}: the same up to rounding alone")
    _require_devices(config, had[-1])
    with together(had[-1], _follow, config, data, len(had), device=config.device) as ranks:
        return compared(record, data, ranks)


def _require_devices(config: TrialConfig, workers: int) -> None:
    """Raises UsageError where there are fewer GPUs than a trial on GPUs had workers."""
    if config.device != "cpu" and workers > 1:
        import torch

        if workers > torch.cuda.device_count():
            raise UsageError(
                f"TRIAL_ID: {config.trial_id} was trained over {workers} GPUs; accepted: where "
                "there are as many"
            )


def _follow(ranks: "Ranks", config: TrialConfig, data: ImageData, reports: int) -> None:
    """Another worker, as far as the trial came."""
    from trainables.data.batches import DeviceData
    from trainables.training import Training

    training = Training(config, DeviceData(data, config.device), ranks=ranks)
    for _ in range(reports):
        training.train()


def compared(record: Record, data: ImageData, ranks: "Ranks") -> int:
    """Train it and say what differs from the log."""
    from trainables.data.batches import DeviceData
    from trainables.train import line
    from trainables.training import Training

    config = record.config
    training = Training(config, DeviceData(data, config.device), ranks=ranks)
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
