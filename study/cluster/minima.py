"""Examining saved minima in parallel on Ray: what is left to do, the driver, the worker."""

import itertools
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from study.log.log import Event, read
from study.log.record import Record, closeness
from study.plan.config import StudyConfig
from study.plan.planner import Planner
from trainables.data.image_data import ImageData
from trainables.spec.grid import Cell, grid
from trainables.spec.plugins import reason
from trainables.spec.trial import TrialConfig

if TYPE_CHECKING:
    from study.cluster.cluster import Resources


class Job(NamedTuple):
    """A minimum to examine, or the straight line from it to that of the trial `other`."""

    trial_id: str
    other: str = ""


@dataclass(frozen=True)
class Bench:
    """Where and how minima are measured; `images` 0 leaves their number to the level."""

    path: Path
    level: str
    data: ImageData
    resources: "Resources"
    images: int = 0


def saved(planner: Planner, path: Path) -> list[Record]:
    """The complete confirmed trials whose weights are kept."""
    from trainables.network import weights  # with torch

    records = planner.records.values()
    complete = [r for r in records if r.config.phase == "confirm" and r.status == "complete"]
    return [r for r in complete if weights.path(path, r.config.trial_id).exists()]


def winners(planner: Planner) -> list[Record]:
    """The winners that came to their end on fresh seeds and were not replaced by better ones."""
    return [
        record
        for record in planner.records.values()
        if record.config.role == "winner"
        and record.status == "complete"
        and not planner.confirmation.superseded(record)
    ]


def lost(planner: Planner, path: Path) -> list[str]:
    """Winners without saved weights, which cannot be examined."""
    kept = {record.config.trial_id for record in saved(planner, path)}
    ids = [record.config.trial_id for record in winners(planner)]
    return [trial_id for trial_id in ids if trial_id not in kept]


def missing(planner: Planner, path: Path) -> list[str]:
    """A line on the winners that cannot be examined, if there are any."""
    ids = lost(planner, path)
    if not ids:
        return []
    return [
        f"{len(ids)} winners have no weights in {path / 'weights'}, so their minima cannot be "
        f"examined, the first {ids[0]}: was the disk full, or not shared by all nodes?"
    ]


def pending(planner: Planner, path: Path, level: str, images: int = 0) -> list[Job]:
    """What the winners with saved weights still lack, at that level and number of images."""
    if level == "off":
        return []
    missing = set(lost(planner, path))
    records = [r for r in winners(planner) if r.config.trial_id not in missing]
    count = images_of(level, images, planner.config.train_size)
    jobs = [Job(r.config.trial_id) for r in records if r.closeness < closeness(level, count)]
    if level == "full":
        drawn = {
            (event["trial_id"], event["other"])
            for event in read(path)
            if event["event"] == "landscape" and event["images"] >= count
        }
        jobs += [job for job in lines(planner.config, records) if job not in drawn]
    return jobs


def images_of(level: str, images: int, available: int) -> int:
    """How many images are looked at; 0 leaves it to the level."""
    from trainables.minima.minimum import IMAGES

    return min(images or IMAGES[level], available)


def lines(config: StudyConfig, records: list[Record]) -> list[Job]:
    """Pairs of one seed: the smallest against the largest batch, and plain against not.

    A method is followed along the batch sizes at each m of the study, which is the batch where
    that is smaller.
    """
    jobs: dict[Job, None] = {}
    for seed in dict.fromkeys(r.config.seed for r in records):
        ours = {r.cell: r.config.trial_id for r in records if r.config.seed == seed}
        for method, m in itertools.product(config.methods, config.m):
            along = grid((method,), tuple(sorted(config.batch_sizes)), (m,))
            ends = [ours[cell] for cell in along if cell in ours]
            if len(ends) > 1:
                jobs[Job(ends[0], ends[-1])] = None
        for cell, trial_id in ours.items():
            plain = Cell(cell.base, cell.batch_size, cell.batch_size)
            if not cell.plain and plain in ours:
                jobs[Job(ours[plain], trial_id)] = None
    return list(jobs)


def measure(
    jobs: list[Job], planner: Planner, bench: Bench, tick: Callable[[], None]
) -> tuple[float, list[str]]:
    """Do the jobs, each logged as it is done: seconds of work, and what failed, a line each."""
    import ray

    from study.show.progress import Measuring
    from trainables.network import weights

    resources, seconds = bench.resources, 0.0
    errors: list[str] = []
    shared = ray.put(_few(bench))
    task = ray.remote(examine).options(
        num_cpus=resources.cpus, num_gpus=resources.gpus, max_retries=1
    )
    waiting = list(jobs)
    running: dict[ray.ObjectRef[list[Event]], Job] = {}
    with Measuring(len(jobs)) as progress:
        while waiting or running:
            while waiting and len(running) <= resources.slots():
                job = waiting.pop(0)
                configs = [planner.records[name].config.to_dict() for name in job if name]
                try:
                    content = [weights.path(bench.path, n).read_bytes() for n in job if n]
                except OSError as error:
                    errors.append(f"{job.trial_id}: {reason(error)}")
                    progress.done += 1
                    continue
                ref = task.remote(job, configs, content, shared, bench.level, resources)
                running[ref] = job
            for done in ray.wait(list(running), timeout=0.2)[0] if running else ():
                job = running.pop(done)
                try:
                    events = ray.get(done)
                except Exception as error:  # whatever a network of one's own, or Ray, raises
                    cause = getattr(error, "cause", None) or error
                    errors.append(f"{job.trial_id}: {reason(cause)}")
                    events = []
                for event in events:
                    errors += [f"{job.trial_id}: {text}" for text in event.get("errors", [])]
                    seconds += event["seconds"]
                    planner.measured(event)
                progress.done += 1
            progress()
            tick()
    return seconds, errors


def _few(bench: Bench) -> ImageData:
    """The images that are looked at: those measured on, and with lines those of the test."""
    count = images_of(bench.level, bench.images, len(bench.data.train))
    data, test = bench.data, len(bench.data.test) if bench.level == "full" else 0
    return replace(
        data, train=data.train.first(count), val=data.val.first(0), test=data.test.first(test)
    )


def examine(
    job: Job,
    configs: list[dict[str, Any]],
    content: list[bytes],
    data: ImageData,
    level: str,
    resources: "Resources",
) -> list[Event]:
    """The events of one job, in a worker; `content` are the files of its one or two networks."""
    import torch

    from trainables.data.batches import DeviceData
    from trainables.minima import landscape, minimum
    from trainables.network import losses, weights

    images, device = len(data.train), "cuda" if resources.gpus else "cpu"
    trials = [TrialConfig.from_dict(values) for values in configs]
    torch.set_num_threads(max(1, int(resources.cpus)))
    torch.backends.cudnn.allow_tf32 = False  # ten bits are too few for the smaller eigenvalues
    tensors, loss = DeviceData(data, device), losses.build(trials[0])
    networks = [
        weights.load(file, trial, data.shape, len(data.classes))
        .to(device)
        .to(memory_format=torch.channels_last)
        for file, trial in zip(content, trials, strict=True)
    ]
    model, events = networks[0], []
    begun = time.perf_counter()

    def found(event: str, **what: Any) -> None:
        nonlocal begun
        seconds, begun = time.perf_counter() - begun, time.perf_counter()
        shared = job._asdict() | {"level": level, "images": images, "seconds": seconds}
        events.append({"event": event} | shared | what)

    def drawn(kind: str, points: list[landscape.Point]) -> None:
        found("landscape", kind=kind, points=[asdict(point) for point in points])

    if job.other:
        terrain = landscape.Terrain(model, loss, tensors.train, tensors.test, images)
        drawn("line", landscape.line(terrain, networks[1]))
        return events
    if level == "full":
        terrain = landscape.Terrain(model, loss, tensors.train, None, images)
        drawn("slice", landscape.slices(terrain, model))
        drawn("plane", landscape.plane(terrain, model))
    # The last, since it says that the minimum has been examined.
    found_there, errors = minimum.examine(model, loss, tensors.train, level, images)
    measures = {name: asdict(figure) for name, figure in found_there.items()}
    found("measured", measures=measures, errors=errors)
    return events
