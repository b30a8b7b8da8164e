"""Several trials on one GPU: what all of them train together, against one alone."""

import argparse
import contextlib
import multiprocessing
import sys
import time
from collections.abc import Iterator
from multiprocessing.connection import Connection

import torch

from study.cluster import mps
from tests.benchmarks.step import training
from tests.benchmarks.table import Benchmark, Goal, Row, require_gpu
from trainables.data.batches import DeviceData
from trainables.data.image_data import load
from trainables.spec.errors import UsageError
from trainables.training import Training

NETWORKS = ("mlp", "cnn")
IMAGES, SIZE = 2048, 64
AHEAD = 0.2  # seconds from the word to the start, so that all start together


def serve(connection: Connection) -> None:
    """Train as asked, a network with SAM from one moment to another, and say how many steps."""
    torch.set_num_threads(1)
    data = DeviceData(load("glyphs", train_size=IMAGES), "cuda")
    made: dict[str, Training] = {}
    for network, start, end in iter(connection.recv, None):
        if network not in made:
            made[network] = training(data, network, SIZE, "sam", 0)
        while time.time() < start:
            pass
        steps, begun = 0, time.time()
        while time.time() < end:
            for _ in range(50):  # after which a trial reads its loss
                loss = made[network]._step()
            float(loss)
            steps += 50
        connection.send(steps / max(time.time() - begun, 1e-9))


class Workers:
    """Processes that each have a network on the GPU; a context."""

    def __init__(self, count: int) -> None:
        context = multiprocessing.get_context("spawn")
        self.pipes = [context.Pipe() for _ in range(count)]
        self.processes = [
            context.Process(target=serve, args=(other,), daemon=True) for _, other in self.pipes
        ]

    def __enter__(self) -> "Workers":
        for process in self.processes:
            process.start()
        return self

    def __exit__(self, *_: object) -> None:
        for (connection, _), process in zip(self.pipes, self.processes, strict=True):
            connection.send(None)
            process.join()

    def rate(self, network: str, count: int, seconds: float) -> float:
        """Steps a second of the first so many together."""
        start = time.time() + AHEAD
        for connection, _ in self.pipes[:count]:
            connection.send((network, start, start + seconds))
        return sum(connection.recv() for connection, _ in self.pipes[:count])


def measure(options: argparse.Namespace) -> Iterator[Row]:
    require_gpu("gpu-share")
    if mps.running():
        raise UsageError("gpu-share: CUDA's Multi-Process Service runs; accepted: where none does")
    alone: dict[str, float] = {}
    for service in (False, True):
        with contextlib.ExitStack() as stack:
            variables = stack.enter_context(mps.served(service))
            if service and not variables:
                print(mps.TURNS, file=sys.stderr)
                continue
            stack.enter_context(mps.seen(variables))
            workers = stack.enter_context(Workers(max(options.trials)))
            for network in options.networks:
                workers.rate(network, len(workers.pipes), 0.0)  # until all have captured it
                counts = (1, *options.trials)
                rates = {n: workers.rate(network, n, options.seconds) for n in counts}
                alone.setdefault(network, rates[1])
                for count, rate in rates.items():
                    yield {
                        "network": network, "service": "yes" if service else "no",
                        "trials": count, "steps/s": rate, "images/s": rate * SIZE,
                        "gain": rate / alone[network],
                    }  # fmt: skip


def goals(rows: list[Row]) -> list[Goal]:
    found = []
    for network in dict.fromkeys(row["network"] for row in rows):
        best = max(row["gain"] for row in rows if row["network"] == network)
        text = f"{network}, B = {SIZE}: several trials train at least twice as much as one"
        found.append(Goal(text, f"{best:.2f}", best >= 2))
    return found


def options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--networks", nargs="+", default=list(NETWORKS), metavar="NAME")
    parser.add_argument("--trials", type=int, nargs="+", default=[2, 4, 8])
    parser.add_argument("--seconds", type=float, default=1.5, help="of each row")


ABOUT = """\
Captured steps of SAM at B = 64 on one GPU in so many processes at once, by themselves and under
CUDA's Multi-Process Service, which a study starts where trials share a GPU; *gain* is over one
without the service."""

BENCHMARK = Benchmark(
    "gpu-share",
    "Several trials on one GPU",
    ABOUT,
    {
        "network": "network", "service": "service", "trials": "trials", "steps/s": "steps/s",
        "images/s": "images/s", "gain": "gain",
    },
    options,
    measure,
    goals,
)  # fmt: skip
