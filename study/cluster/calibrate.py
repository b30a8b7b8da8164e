"""How fast every cell trains, found by stepping each for a moment before a study.

It is done in as many processes as the study will train in, so it is the rate of training alone on
the machines as they are when all of them work. These import nothing that it does not take.
"""

import time
from collections.abc import Callable
from dataclasses import replace
from typing import TypeVar

import ray

from study.cluster.cluster import Resources
from study.plan.config import StudyConfig
from trainables.data.batches import DeviceData
from trainables.data.image_data import ImageData
from trainables.spec.errors import UsageError
from trainables.spec.grid import Cell, Rates
from trainables.spec.plugins import reason
from trainables.step import memory
from trainables.training import NOISE_EVERY, Training

SAMPLE_SECONDS = 0.3  # of stepping for each cell

Answer = TypeVar("Answer")


def calibrate(config: StudyConfig, cells: list[Cell], data: ImageData) -> Rates:
    """The rates of these cells in this process."""
    tensors, rates = DeviceData(data, config.device), {}
    for cell in cells:
        try:
            rates[cell.name] = bounded(_rates, config, cell, tensors)
        except UsageError:
            raise
        except Exception as error:  # whatever a network or a user's own part raises
            raise UsageError(
                f"--methods: a step of {cell.name} raised {reason(error)}; "
                "accepted: what trains at every batch size"
            ) from None
    return rates


def bounded(
    call: Callable[[StudyConfig, Cell, DeviceData], Answer],
    config: StudyConfig,
    cell: Cell,
    tensors: DeviceData,
) -> Answer:
    """What it gives by the largest micro-batch for which there is memory, as trials find it."""
    try:
        return call(config, cell, tensors)
    except Exception as error:
        smaller = memory.smaller(config.micro_batch, cell.batch_size)
        if not smaller or not memory.exhausted(error):
            raise
    memory.release()
    return bounded(call, replace(config, micro_batch=smaller), cell, tensors)


def stepping(config: StudyConfig, cell: Cell, tensors: DeviceData) -> Training:
    """A trial of the cell that has taken one step, which builds the kernels, once in a process."""
    point = {"lr": 1e-4} if cell.plain else {"lr": 1e-4, "rho": 0.01}
    training = Training(config.trial(cell, "calibration", "search", "search", 0, point), tensors)
    timed(training, int(config.warmup * training.steps), 0.0)
    return training


def _rates(config: StudyConfig, cell: Cell, tensors: DeviceData) -> tuple[float, float]:
    """One step in NOISE_EVERY also samples the noise scale; the two kinds are timed apart."""
    training = stepping(config, cell, tensors)
    first = int(config.warmup * training.steps)  # the first step that samples
    sampled = timed(training, first, 0.0)
    ordinary = timed(training, first + 1, SAMPLE_SECONDS)
    seconds = (sampled + (NOISE_EVERY - 1) * ordinary) / NOISE_EVERY
    training.report, training.seconds, training.eval_seconds = 1, seconds, 0.0
    training._report()
    return seconds, training.eval_seconds


def timed(training: Training, step: int, at_least: float) -> float:
    """Mean seconds of this step, done once or until `at_least` seconds have gone."""
    start, done = time.perf_counter(), 0
    while done == 0 or time.perf_counter() - start < at_least:
        training.step = step
        loss = training._step()
        done += 1
    float(loss)  # waits for a GPU
    return (time.perf_counter() - start) / done


def rates_of(
    config: StudyConfig,
    cells: list[Cell],
    data: "ray.ObjectRef[ImageData]",
    resources: Resources,
    slots: int,
    check: Callable[[], None],
) -> Rates:
    """The mean rates over the slots, which calibrate at once, in plain Ray tasks.

    On a large cluster eight stand for all. `check` is called all the while.
    """
    task = ray.remote(calibrate).options(num_cpus=resources.cpus, num_gpus=resources.gpus)
    tasks = [task.remote(config, cells, data) for _ in range(min(slots, 8))]
    while len(ray.wait(tasks, num_returns=len(tasks), timeout=0.2)[0]) < len(tasks):
        check()
    try:
        return merge(ray.get(tasks))
    except UsageError as error:  # Ray has added the worker's traceback to it
        raise UsageError(str(getattr(error, "cause", error))) from None


def merge(measured: list[Rates]) -> Rates:
    """The mean over the processes that calibrated at the same time."""
    return {
        name: tuple(sum(rates[name][i] for rates in measured) / len(measured) for i in (0, 1))  # type: ignore[misc]
        for name in measured[0]
    }
