"""Batch norm over the ghost batches of a micro-batch: in one call, and one after another."""

import argparse
from collections.abc import Iterator
from unittest import mock

import torch

from tests.benchmarks.step import training
from tests.benchmarks.table import (
    IMAGES,
    Benchmark,
    Goal,
    Row,
    milliseconds,
    ratio,
    repeated,
    rounds,
)
from trainables.data.batches import DeviceData
from trainables.data.image_data import load
from trainables.spec.grid import parse_batch_sizes
from trainables.step import gradient
from trainables.training import Training


def way(data: DeviceData, network: str, size: int, together: bool) -> Training:
    with mock.patch.object(gradient, "TOGETHER", (data.device.type,) if together else ()):
        return training(data, network, size, "sam", 0)


def measure(options: argparse.Namespace) -> Iterator[Row]:
    torch.set_num_threads(1)
    data = DeviceData(load("glyphs", train_size=IMAGES), options.device)
    for network in ("cnn-bn", "resnet8"):
        for size in parse_batch_sizes(options.batch_sizes):
            ways = {each: way(data, network, size, each) for each in (False, True)}
            steps = {str(each): repeated(t._step, data.device) for each, t in ways.items()}
            spent = rounds(steps, options.seconds)
            yield {
                "network": network, "B": size, "device": options.device,
                "images at a time": len(ways[True].gradient._parts(ways[True].batch(0))[0]),
                "one after another ms": milliseconds(spent["False"]),
                "together ms": milliseconds(spent["True"]),
                "gain": ratio(spent["False"], spent["True"]),
            }  # fmt: skip


def goals(rows: list[Row]) -> list[Goal]:
    """That a device does what, at its worst, loses less beside the other way."""
    found = []
    for device in dict.fromkeys(row["device"] for row in rows):
        gains = [row["gain"]["median"] for row in rows if row["device"] == device]
        together, apart = 1 / min(gains), max(gains)
        chosen, other = (together, apart) if device in gradient.TOGETHER else (apart, together)
        text = f"{device}: the way taken is at its worst no slower than the other at its worst"
        found.append(Goal(text, f"{chosen:.3g} × and {other:.3g} ×", chosen <= max(other, 1.03)))
    return found


def options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--batch-sizes", default="256,1024")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--seconds", type=float, default=20.0, help="of each row, at least")


ABOUT = """\
A step of SAM with batch norm over ghost batches of 64 images: all of a micro-batch's normalised in
one call, their channels side by side, and as micro-batches of their own, one after another. The
step does the first on a GPU, which a ghost batch leaves idle, and the second on a CPU, whose caches
hold a ghost batch of a larger network and not more."""

BENCHMARK = Benchmark(
    "ghosts",
    "Ghost batches",
    ABOUT,
    {
        "network": "network", "B": "B", "images at a time": "images at a time",
        "one after another ms": "one after another, ms", "together ms": "together, ms",
        "gain": "gain",
    },
    options,
    measure,
    goals,
)  # fmt: skip
