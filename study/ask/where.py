"""Where a study lies and what it may occupy: what may change without changing its trials."""

import argparse
import os
import re
from dataclasses import dataclass
from pathlib import Path

from study.show.trackers import parse_log
from trainables.spec.errors import UsageError
from trainables.spec.trial import stable_hash
from trainables.spec.workers import ONE, OPTION, Workers
from trainables.storage import Storage


@dataclass(frozen=True)
class Where:
    """What does not change a study's trials: where its data and results lie, what it may occupy."""

    results: Path
    data_dir: str
    cpus: float
    gpus: float
    address: str | None
    warm_start: str | None = None
    storage: str | None = None
    workers: Workers = ONE
    log: tuple[str, ...] = ()  # beside TensorBoard

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
    cpus, gpus = options.cpus_per_trial, options.gpus_per_trial
    workers = Workers.parse(options.workers_per_trial)
    check_resources(cpus, gpus, options.address, workers.asked)
    warm = options.warm_start and str(Path(options.warm_start).resolve())
    path = Path(options.results) / name
    storage = options.storage
    if storage and "://" not in storage:
        storage = str(Path(storage).resolve())
    log = parse_log(options.log)
    where = Where(path, options.data_dir, cpus, gpus, options.address, warm, storage, workers, log)
    _ = where.checkpoints  # raises for what is no storage
    return where


def check_resources(cpus: int, gpus: float, address: str | None, workers: int = 1) -> None:
    """Raises UsageError for what no trial can have, or none here where there is no address."""
    if cpus < 1:
        raise UsageError(f"--cpus-per-trial: {cpus} is out of range; accepted: 1 or more")
    if not 0 <= gpus < 1e6 or (gpus > 1 and gpus != int(gpus)):
        raise UsageError(f"--gpus-per-trial: {gpus:g} cannot be given; accepted: 0 to 1, or whole")
    if workers != 1 and 0 < gpus < 1:
        raise UsageError(
            f"{OPTION}: workers on shares of a GPU ({gpus:g}) may be on the same one, over which "
            "NCCL does not sum; accepted: 1, or a whole --gpus-per-trial"
        )
    if address is None:
        _fits_here(cpus, gpus, workers)


def _fits_here(cpus: int, gpus: float, workers: int) -> None:
    cores = os.cpu_count() or 1
    if cpus > cores:
        raise UsageError(f"--cpus-per-trial: {cpus} of {cores} here; accepted: up to {cores}")
    have = 0
    if gpus:
        import torch

        have = torch.cuda.device_count()
        if gpus > have:
            raise UsageError(f"--gpus-per-trial: {gpus:g} of {have} here; accepted: up to {have}")
    most = min(cores // cpus, int(have // gpus) if gpus else cores)
    if workers > max(1, most):
        each = f"{cpus} CPUs" + (f" and {gpus:g} GPUs" if gpus else "")
        raise UsageError(
            f"{OPTION}: {workers} workers of {each} do not fit here; accepted: up to {most}"
        )
