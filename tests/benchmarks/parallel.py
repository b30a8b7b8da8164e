"""One trial over several workers: what a step takes, and what of it is communication."""

import argparse
import math
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import torch

from tests.benchmarks.table import IMAGES, Benchmark, Goal, Row
from trainables.data.batches import DeviceData
from trainables.data.image_data import load
from trainables.spec.grid import parse_batch_sizes
from trainables.spec.trial import TrialConfig
from trainables.step.processes import together
from trainables.step.ranks import ALONE, Ranks
from trainables.training import Training

NETWORKS = ("cnn", "mlp64")
LARGEST = 8192
ENOUGH = 0.8  # of what as many trainings alone reach
CONFIG = TrialConfig(
    dataset="glyphs", formulation="sam", rho=0.05, lr=1e-3, budget="1000000steps", m=0
)  # fmt: skip


def timed(ranks: Ranks, call: Callable[[], object], seconds: float) -> float:
    """Seconds of a call that all ranks make, on the average over ranks, after one that is not
    counted; all make as many."""
    call()
    begun = time.perf_counter()
    call()
    [once] = ranks.mean(time.perf_counter() - begun, device=torch.device("cpu"))
    count = max(2, math.ceil(seconds / float(once)))
    begun = time.perf_counter()
    for _ in range(count):
        call()
    [mean] = ranks.mean((time.perf_counter() - begun) / count, device=torch.device("cpu"))
    return float(mean)


def rows(ranks: Ranks, options: argparse.Namespace) -> Iterator[Row]:
    """Of as many workers as there are ranks; every rank makes them all."""
    data = DeviceData(load("glyphs", train_size=IMAGES), "cpu")
    for network in options.networks:
        for size in parse_batch_sizes(options.batch_sizes):
            config = replace(CONFIG, model=network, batch_size=size, m=size)
            shared, alone = (Training(config, data, ranks=each) for each in (ranks, ALONE))
            spent, count = 0.0, 0

            def step(shared: Training = shared) -> None:
                nonlocal spent, count
                ranks.summing()  # what `timed` has asked
                shared._step()
                spent, count = spent + ranks.summing(), count + 1

            whole = timed(ranks, step, options.seconds)
            talk = spent / count
            row: dict[str, Any] = {
                "network": network, "B": size, "workers": ranks.size, "ms": 1000 * whole,
                "own ms": 1000 * (whole - talk), "talk ms": 1000 * talk, "images/s": size / whole,
            }  # fmt: skip
            if ranks.size > 1:
                apart = ranks.size * size / timed(ranks, alone._step, options.seconds)
                row |= {"apart images/s": apart, "of apart": size / whole / apart}
            yield row


def follow(ranks: Ranks, options: argparse.Namespace) -> None:
    for _ in rows(ranks, options):
        pass


def measure(options: argparse.Namespace) -> Iterator[Row]:
    for workers in options.workers:
        with together(workers, follow, options) as ranks:
            yield from rows(ranks, options)


def goals(found: list[Row]) -> list[Goal]:
    made = []
    for network in NETWORKS:
        shares = [
            row["of apart"]
            for row in found
            if (row["network"], row["B"], row["workers"]) == (network, LARGEST, 2)
        ]
        text = f"{network}, B = {LARGEST}: two workers reach {ENOUGH:.0%} of two trainings alone"
        made += [Goal(text, f"{share:.2f}", share >= ENOUGH) for share in shares]
        made += [] if shares else [Goal(text, "–", None)]
    return made


def options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--networks", nargs="+", default=list(NETWORKS), metavar="NAME")
    parser.add_argument("--batch-sizes", default=f"512,2048,{LARGEST}")
    parser.add_argument("--workers", type=int, nargs="+", default=[1, 2], metavar="N")
    parser.add_argument("--seconds", type=float, default=10.0, help="of each row, about")


ABOUT = """\
A step of SAM on 28 x 28 images over N workers, processes of one thread that sum by gloo: *ms* is
its time, *own* a worker's passes and moves, *communication* the sums, in which a worker also waits
for the slowest. *apart* is what as many trainings reach that share nothing but the machine."""

BENCHMARK = Benchmark(
    "parallel",
    "One trial over several workers",
    ABOUT,
    {
        "network": "network", "B": "B", "workers": "N", "ms": "ms", "own ms": "own ms",
        "talk ms": "communication ms", "images/s": "images/s", "apart images/s": "apart images/s",
        "of apart": "of apart",
    },
    options,
    measure,
    goals,
)  # fmt: skip
