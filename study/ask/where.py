"""Where a study lies and what it may occupy: what may change without changing its trials."""

import argparse
import re
from dataclasses import dataclass
from pathlib import Path

from study.log.log import so_far
from study.show.results import study_event
from study.show.trackers import parse_log
from trainables.spec.allowed import cores, slices
from trainables.spec.errors import UsageError
from trainables.spec.trial import TrialConfig, stable_hash
from trainables.spec.workers import ONE, OPTION, Workers
from trainables.storage import Storage

MICRO_BATCH = {"cpu": TrialConfig().micro_batch, "cuda": 4096}


@dataclass(frozen=True)
class Where:
    """What does not change a study's trials: where its data and results lie, what it may occupy.

    `gpus` of a worker are None until it is seen whether there are any, `asked_micro_batch` where
    it is the device's.
    """

    results: Path
    data_dir: str
    cpus: float
    gpus: float | None
    address: str | None
    warm_start: str | None = None
    storage: str | None = None
    workers: Workers = ONE
    asked_micro_batch: int | None = None
    log: tuple[str, ...] = ()  # beside TensorBoard

    @property
    def device(self) -> str:
        return "cuda" if self.gpus else "cpu"

    @property
    def micro_batch(self) -> int:
        asked = self.asked_micro_batch
        return MICRO_BATCH[self.device] if asked is None else asked

    @property
    def checkpoints(self) -> Storage:
        """Of this study, apart from those of others in the same storage."""
        if self.storage is None:
            return Storage(str(self.results), "checkpoints")
        path = stable_hash(self.results.resolve())
        return Storage(self.storage, f"{self.results.name}-{path:x}")


def where_of(options: argparse.Namespace) -> Where:
    """Raises UsageError for a name, resources or a storage that cannot be."""
    name = options.name or re.sub(r"\W+", "-", f"{options.dataset}-{options.preset}")
    if not re.fullmatch(r"[\w.-]+", name) or name.startswith("."):
        raise UsageError(f"--name: {name!r} is no name; accepted: letters, digits, '.', '_', '-'")
    path, cpus = Path(options.results) / name, options.cpus_per_trial
    gpus = (
        share_so_far(path) if options.gpus_per_trial == "auto" else _number(options.gpus_per_trial)
    )
    workers = Workers.parse(options.workers_per_trial)
    check_resources(cpus, gpus or 0.0, options.address, workers.asked)
    warm = options.warm_start and str(Path(options.warm_start).resolve())
    storage = options.storage
    if storage and "://" not in storage:
        storage = str(Path(storage).resolve())
    where = Where(
        path, options.data_dir, cpus, gpus, options.address, warm, storage, workers,
        options.micro_batch, parse_log(options.log),
    )  # fmt: skip
    _ = where.checkpoints  # raises for what is no storage
    return where


def share_so_far(path: Path) -> float | None:
    """What a worker of the study in `path` has had of a GPU, 0 on CPUs; None for a new study."""
    events = so_far(path)
    if not events:
        return None
    if study_event(events, path)["config"].get("device", "cpu") == "cpu":
        return 0.0
    return next((event["gpus"] for event in reversed(events) if event.get("gpus")), 1.0)


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise UsageError(
            f"--gpus-per-trial: {text!r} is no number; accepted: auto, or 0 to 1"
        ) from None


def check_resources(cpus: float, gpus: float, address: str | None, workers: int = 1) -> None:
    """Raises UsageError for what no trial can have, or none here where there is no address."""
    if not 0.01 <= cpus < 1e6:
        raise UsageError(f"--cpus-per-trial: {cpus:g} is out of range; accepted: 0.01 or more")
    if not 0 <= gpus <= 1:
        many = f"; one trial over {gpus:g} is study.run {OPTION} {gpus:g} --gpus-per-trial 1"
        raise UsageError(
            f"--gpus-per-trial: {gpus:g}, of which a worker uses one at the most; accepted: 0 to 1"
            + many * (1 < gpus < 1e6)
        )
    if workers != 1 and 0 < gpus < 1:
        raise UsageError(
            f"{OPTION}: workers on shares of a GPU ({gpus:g}) may be on the same one, over which "
            "NCCL does not sum; accepted: 1, or --gpus-per-trial 1"
        )
    if address is None:
        _fits_here(cpus, gpus, workers)


def _fits_here(cpus: float, gpus: float, workers: int) -> None:
    here, have = cores(), 0
    if cpus > here:
        raise UsageError(f"--cpus-per-trial: {cpus:g} of {here} here; accepted: up to {here}")
    if gpus:
        import torch

        have = slices() or torch.cuda.device_count()
        if gpus > have:
            raise UsageError(
                f"--gpus-per-trial: {gpus:g} of a GPU where torch sees none; accepted: 0, or a "
                "machine with GPUs and torch with CUDA"
            )
    most = int(here / cpus)
    if gpus:
        most = min(most, int(have / gpus))
    if workers > max(1, most):
        each = f"{cpus:g} CPUs" + (f" and {gpus:g} GPUs" if gpus else "")
        raise UsageError(
            f"{OPTION}: {workers} workers of {each} do not fit here; accepted: up to {most}"
        )
