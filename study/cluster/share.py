"""Which share of a GPU a trial gets where none was asked for: as many trials at once as train most.

A small network leaves most of a GPU idle, and how many fill it depends on the network, the GPU, and
whether CUDA's Multi-Process Service runs there; so they are tried, on one GPU.
"""

from collections.abc import Callable
from typing import Any

import ray
import torch
from ray.exceptions import RayError
from ray.util.placement_group import placement_group, remove_placement_group
from ray.util.scheduling_strategies import PlacementGroupSchedulingStrategy

from study.cluster.calibrate import bounded, stepping, timed
from study.cluster.cluster import Resources
from study.cluster.session import say
from study.plan.config import StudyConfig
from trainables.data.batches import DeviceData
from trainables.data.image_data import ImageData
from trainables.training import Training

COUNTS = (1, 2, 4, 8)  # of trials at once; a search learns little from more
ROOM = 0.8  # of a GPU's memory; the rest is for what processes keep of earlier trials
WORTH = 0.9  # of the most that any number trains: fewer at once are enough then
SECONDS = 1.0  # of steps at each count and batch size

Gather = Callable[[list[Any]], list[Any]]


def fitting(total: float, taken: float, most: int) -> list[int]:
    """How many of up to `most` may share `total` bytes, of which one takes `taken`."""
    return [n for n in COUNTS if n == 1 or (n <= most and n * taken <= ROOM * total)]


def enough(rates: dict[int, float]) -> int:
    """The fewest at once that train nearly as much as any; `rates` are of all n together."""
    return min(n for n, rate in rates.items() if rate >= WORTH * max(rates.values()))


class Stepper:
    """Steps of the dearest method at the largest batch size and at the smallest."""

    def __init__(self, config: StudyConfig, data: ImageData) -> None:
        self.config, self.data = config, data
        self.trainings: list[Training] = []

    def seen(self) -> bool:
        return torch.cuda.is_available()

    def begin(self) -> None:
        tensors = DeviceData(self.data, self.config.device)
        largest = max(self.config.cells, key=lambda cell: (cell.batch_size, cell.passes, cell.m))
        ours = [cell for cell in self.config.cells if cell.method == largest.method]
        for cell in (largest, min(ours, key=lambda cell: cell.batch_size)):
            self.trainings.append(bounded(stepping, self.config, cell, tensors))

    def memory(self) -> tuple[int, int]:
        """Bytes of the GPU, and those that are taken."""
        free, total = torch.cuda.mem_get_info()
        return total, total - free

    def rate(self, which: int) -> float:
        """Images a second."""
        training = self.trainings[which]
        return training.config.batch_size / timed(training, 1, SECONDS)


def chosen(
    config: StudyConfig,
    data: ImageData,
    resources: Resources,
    most: int,
    check: Callable[[], None],
) -> float:
    """The share of each worker, 0 where Ray counts no GPU or torch sees none there.

    `config` is of a study on GPUs, of which at most `most` workers may share one. What is chosen is
    said in a line, and `check` called all the while.
    """
    per_gpu = min(most, resources.per_gpu())
    if not per_gpu:
        return 0.0
    count = max(fitting(1, 0, per_gpu))
    group = placement_group([{"GPU": 1, "CPU": count * resources.cpus}])  # so that it is one GPU
    actor: Any = ray.remote(Stepper).options(
        num_cpus=resources.cpus,
        num_gpus=1 / count,
        scheduling_strategy=PlacementGroupSchedulingStrategy(group, 0),
    )

    def gather(calls: list[Any]) -> list[Any]:
        while len(ray.wait(calls, num_returns=len(calls), timeout=0.2)[0]) < len(calls):
            check()
        return ray.get(calls)

    try:
        shared = ray.put(data)
        first = actor.remote(config, shared)
        if not gather([first.seen.remote()])[0]:
            say(
                f"--gpus-per-trial auto: 0, trials train on CPUs, as torch {torch.__version__} "
                "sees none of the GPUs that Ray counts; accepted: a torch with CUDA, or 0"
            )
            return 0.0
        rates = {1: 1.0}
        if count > 1:
            rates = _tried(first, lambda: actor.remote(config, shared), count, gather)
    except RayError:  # whose reason the calibration says, where it is a trial's own
        rates = {1: 1.0}
    finally:
        remove_placement_group(group)
    n = enough(rates)
    gain = f", {n} at once, which train {rates[n] / rates[1]:.1f} times as much as one" * (n > 1)
    say(f"--gpus-per-trial auto: {1 / n:g}{gain}; accepted: any share, or 0 for CPUs")
    return 1 / n


def _tried(first: Any, another: Callable[[], Any], most: int, gather: Gather) -> dict[int, float]:
    """Images a second of n at once, for each n that fits, half of them of either batch size."""
    gather([first.begin.remote()])
    [(total, taken)] = gather([first.memory.remote()])
    counts = fitting(total, taken, most)
    all_of_them = [first, *(another() for _ in range(max(counts) - 1))]
    gather([each.begin.remote() for each in all_of_them[1:]])

    def rate(n: int, which: int) -> float:
        return sum(gather([each.rate.remote(which) for each in all_of_them[:n]]))

    return {n: 2 / sum(1 / rate(n, which) for which in (0, 1)) for n in counts}
