"""Examining saved minima in parallel on Ray: what is left to do, the driver, the worker."""

import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from study.log import Event, read
from study.planner import Planner
from study.record import SHARPNESS, Record
from trainables.config import TrialConfig
from trainables.data import ImageData, Split

if TYPE_CHECKING:
    from study.execute import Resources


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
    """The complete trials whose weights are kept."""
    from trainables import weights  # with torch

    records = planner.records.values()
    complete = (record for record in records if record.status == "complete")
    return [r for r in complete if weights.path(path, r.config.trial_id).exists()]


def winners(planner: Planner, records: list[Record]) -> list[Record]:
    """Those of the records that are winners on fresh seeds, and not replaced by better ones."""
    return [
        record
        for record in records
        if record.config.role == "winner" and not planner.confirmation.superseded(record)
    ]


def pending(planner: Planner, path: Path, level: str, images: int = 0) -> list[Job]:
    """What the winners with saved weights still lack, at that level or above it."""
    if level == "off":
        return []
    records = winners(planner, saved(planner, path))
    jobs = [Job(r.config.trial_id) for r in records if not _measured(r, level, images)]
    if level == "full":
        drawn = {(e["trial_id"], e["other"]) for e in read(path) if e["event"] == "landscape"}
        jobs += [job for job in lines(records) if job not in drawn]
    return jobs


def _measured(record: Record, level: str, images: int) -> bool:
    was = record.measured
    if was is None or SHARPNESS.index(was["level"]) < SHARPNESS.index(level):
        return False
    return images in (0, was["images"])


def lines(records: list[Record]) -> Iterator[Job]:
    """Pairs of one seed: the smallest against the largest batch, and plain against not."""
    for a in records:
        same = [b for b in records if b.config.seed == a.config.seed]
        sizes = [b.config.batch_size for b in same if _method(b) == _method(a)]
        for b in same:
            ends = a.config.batch_size == min(sizes) < b.config.batch_size == max(sizes)
            plain = a.cell.plain and not b.cell.plain
            cell = (a.cell.optimizer, a.cell.batch_size) == (b.cell.optimizer, b.cell.batch_size)
            if (ends and _method(b) == _method(a)) or (plain and cell):
                yield Job(a.config.trial_id, b.config.trial_id)


def _method(record: Record) -> tuple[str, int]:
    """Method and m, 0 where m is the batch."""
    cell = record.cell
    return cell.method, 0 if cell.m == cell.batch_size else cell.m


def measure(
    jobs: list[Job], planner: Planner, bench: Bench, tick: Callable[[], None]
) -> tuple[float, list[str]]:
    """Do the jobs, each logged as it is done: seconds of work, and the errors of what failed."""
    import ray

    from study.progress import Measuring
    from trainables import weights

    resources, seconds, errors = bench.resources, 0.0, []
    shared = ray.put(_few(bench))
    task = ray.remote(examine).options(
        num_cpus=resources.cpus, num_gpus=resources.gpus, max_retries=1
    )
    waiting = list(jobs)
    running: set[ray.ObjectRef[list[Event]]] = set()
    with Measuring(len(jobs)) as progress:
        while waiting or running:
            while waiting and len(running) <= resources.slots():
                job = waiting.pop(0)
                names = [name for name in job if name]
                configs = [planner.records[name].config.to_dict() for name in names]
                content = [weights.path(bench.path, name).read_bytes() for name in names]
                device = "cuda" if resources.gpus else "cpu"
                running.add(task.remote(job, configs, content, shared, bench.level, device))
            for done in ray.wait(list(running), timeout=0.2)[0]:
                running.remove(done)
                try:
                    events = ray.get(done)
                except ray.exceptions.RayError as error:
                    text = str(getattr(error, "cause", None) or error)
                    errors.append(text.strip().splitlines()[-1])
                    events = []
                for event in events:
                    planner.measured(event)
                    seconds += event["seconds"]
                progress.done += 1
            progress()
            tick()
    return seconds, errors


def _few(bench: Bench) -> ImageData:
    """The images that are looked at: those measured on, and with lines those of the test."""
    from trainables.minimum import IMAGES

    count = min(bench.images or IMAGES[bench.level], len(bench.data.train))
    data, test = bench.data, len(bench.data.test) if bench.level == "full" else 0
    return replace(
        data,
        train=_first(data.train, count),
        val=_first(data.val, 0),
        test=_first(data.test, test),
    )


def _first(split: Split, count: int) -> Split:
    return Split(split.images[:count], split.labels[:count])


def examine(
    job: Job,
    configs: list[dict[str, Any]],
    content: list[bytes],
    data: ImageData,
    level: str,
    device: str,
) -> list[Event]:
    """The events of one job, in a worker; `content` are the files of its one or two networks."""
    import torch

    from trainables import landscape, losses, minimum, weights
    from trainables.batches import DeviceData

    images = len(data.train)
    trials = [TrialConfig.from_dict(values) for values in configs]
    torch.set_num_threads(trials[0].threads)
    tensors, loss = DeviceData(data, device), losses.build(trials[0])
    networks = [
        weights.load(file, trial, data.shape, len(data.classes))
        .to(device)
        .to(memory_format=torch.channels_last)  # type: ignore[call-overload]
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
    measures = minimum.examine(model, loss, tensors.train, level, images)
    found("measured", measures={name: asdict(figure) for name, figure in measures.items()})
    if level == "full":
        terrain = landscape.Terrain(model, loss, tensors.train, None, images)
        drawn("slice", landscape.slices(terrain, model))
        drawn("plane", landscape.plane(terrain, model))
    return events
