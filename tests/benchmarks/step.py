"""The step beside pytorch_optimizer's, the plain step, and forward and backward alone."""

import argparse
import contextlib
import math
import multiprocessing
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import Executor, ProcessPoolExecutor
from functools import cache, partial
from itertools import groupby
from operator import itemgetter
from statistics import median

import torch
from torch import nn
from torch.nn import functional

from tests.benchmarks.peers import KINDS, SAM, Elsewhere, grown
from tests.benchmarks.table import (
    IMAGES,
    LEAST,
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
from trainables.spec.errors import UsageError
from trainables.spec.grid import parse_batch_sizes
from trainables.spec.trial import TrialConfig
from trainables.step import memory
from trainables.training import Training

POOLED = "tests.benchmarks.step:pooled"
NARROW, WIDE = "tests.benchmarks.step:narrow", "tests.benchmarks.step:wide"
NETWORKS = (NARROW, "mlp", WIDE, "cnn", POOLED, "resnet8")
LARGEST = {"resnet8": 1024, WIDE: 2048}
FORMULATIONS = {"plain": ("none", 0), "SAM": ("sam", 0), "ASAM": ("asam", 0), "m-SAM": ("sam", 64)}
FLAT_FROM = 2 * TrialConfig.micro_batch  # images from which on memory must not grow
CLOSE, ROUNDS = ("plain", "SAM", "their SAM"), 20  # at least, since their goals are close
Call = Callable[[], object]
Spent = dict[str, list[float]]
Taken = dict[str, float]


def promising(*layers: nn.Module) -> nn.Module:
    """A network that may be captured on a GPU."""
    network = nn.Sequential(*layers)
    network.capturable = True  # type: ignore[assignment]
    return network


def pooled(shape: tuple[int, int, int], classes: int) -> nn.Module:
    """Two 3x3 convolutions of 16 and 32 channels, each with a pooling, and a dense layer of 64."""
    side = shape[1] // 4
    return promising(
        nn.Conv2d(shape[0], 16, 3, padding=1),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(16, 32, 3, padding=1),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Flatten(),
        nn.Linear(32 * side * side, 64),
        nn.ReLU(),
        nn.Linear(64, classes),
    )


def units(shape: tuple[int, int, int], classes: int, width: int) -> nn.Module:
    """The mlp with another number of units a layer."""
    inputs = shape[0] * shape[1] * shape[2]
    layers = [nn.Linear(inputs, width), nn.ReLU(), nn.Linear(width, width), nn.ReLU()]
    return promising(nn.Flatten(), *layers, nn.Linear(width, classes))


narrow, wide = partial(units, width=64), partial(units, width=1024)


def training(data: DeviceData, network: str, size: int, formulation: str, m: int) -> Training:
    gpu = data.device.type == "cuda"
    config = TrialConfig(
        dataset="glyphs", model=network, optimizer="momentum", formulation=formulation,
        batch_size=size, m=min(m, size), lr=1e-3, rho=0.05 if formulation != "none" else 0.0,
        budget="1000000steps", device=str(data.device),
        micro_batch=4096 if gpu else TrialConfig.micro_batch,
    )  # fmt: skip
    return Training(config, data)


def bare(ours: Training) -> Call:
    """Forward and backward through a micro-batch that lies ready, as often as a pass needs it."""
    parts = ours.gradient._parts(ours.batch(0))
    images, labels = ours.data.train.batch(parts[0].indices)

    def call() -> None:
        for _ in parts:
            ours.model.zero_grad()
            functional.cross_entropy(ours.model(images), labels).backward()

    return call


@cache
def place(device: str) -> tuple[DeviceData, Elsewhere | None]:
    """The data in this process, and the peer's, which lives as long."""
    torch.set_num_threads(1)
    return DeviceData(load("glyphs", train_size=IMAGES), device), peer(device).__enter__()


def timed(network: str, size: int, options: argparse.Namespace) -> tuple[Spent, Taken]:
    """Seconds of each call in every round, and MiB that it takes; in the process that asks."""
    data, theirs = place(options.device)
    trainings = {
        name: training(data, network, size, *each)
        for name, each in FORMULATIONS.items()
        if name != "m-SAM" or size > each[1]
    }
    calls: dict[str, Call] = {name: each._step for name, each in trainings.items()}
    calls["bare"] = bare(trainings["plain"])
    taken = {}
    for name, call in calls.items():
        memory.reset_peak(data.device)
        taken[name] = grown(call, data.device)
    steps = {name: repeated(call, data.device) for name, call in calls.items()}
    if theirs:
        taken |= theirs.make(network, size)
        steps |= {name: partial(theirs.steps, name) for name in KINDS}
    pairs = options.processes
    least = {n: math.ceil((ROUNDS if n in CLOSE else LEAST) / pairs) for n in steps}
    return rounds(steps, options.seconds / pairs, least), taken


def row(pairs: list[Executor], network: str, size: int, options: argparse.Namespace) -> Row:
    found = [pair.submit(timed, network, size, options).result() for pair in pairs]
    spent = {name: [t for each, _ in found for t in each[name]] for name in found[0][0]}
    made: Row = {"network": network.rpartition(":")[2], "B": size, "rounds": len(spent["SAM"])}
    made["device"] = options.device
    made |= {f"{name} ms": milliseconds(each) for name, each in spent.items()}
    made |= {f"{name} MiB": median(each[name] for _, each in found) for name in found[0][1]}
    for name in ("SAM", "ASAM", "m-SAM"):
        if name in spent:
            made[f"{name}/plain"] = ratio(spent[name], spent["plain"])
    made["images/s"] = size / median(spent["plain"])
    made["share of bare"] = ratio(spent["bare"], spent["plain"])["median"]
    made["SAM share of bare"] = 2 * ratio(spent["bare"], spent["SAM"])["median"]
    for name in ("plain", "SAM", "ASAM"):
        if f"their {name}" in spent:
            made[f"{name} gain"] = ratio(spent[f"their {name}"], spent[name])
    return made


def peer(device: str) -> contextlib.AbstractContextManager[Elsewhere | None]:
    """pytorch_optimizer in its process, where it is installed."""
    return Elsewhere(device) if SAM else contextlib.nullcontext()


def asked(options: argparse.Namespace) -> Iterator[tuple[str, int]]:
    """Networks and batch sizes."""
    if SAM is None:
        print("without pytorch_optimizer: pip install -e '.[bench]'", file=sys.stderr)
    for network in options.networks:
        for size in parse_batch_sizes(options.batch_sizes):
            if size <= LARGEST.get(network, size):
                yield network, size


def measure(options: argparse.Namespace) -> Iterator[Row]:
    if options.processes < 1:
        raise UsageError(f"--processes: {options.processes}; accepted: 1 or more")
    for network, sizes in groupby(asked(options), itemgetter(0)):
        # From one process to the next the same step differs by more than from round to round, by
        # where its memory has come to lie: so some pairs of them, ours and theirs.
        with contextlib.ExitStack() as stack:
            new = partial(ProcessPoolExecutor, 1, multiprocessing.get_context("spawn"))
            pairs = [stack.enter_context(new()) for _ in range(options.processes)]
            for _, size in sizes:
                yield row(pairs, network, size, options)


def goals(rows: list[Row]) -> list[Goal]:
    """Those of the CPU; a GPU has its own."""
    rows = [each for each in rows if each["device"] == "cpu"]

    def goal(text: str, key: str, bound: float, chosen: Callable[[Row], bool], most: bool) -> Goal:
        found = [each[key]["median"] for each in rows if chosen(each) and key in each]
        if not found:
            return Goal(text, "–", None)
        worst = max(found) if most else min(found)
        return Goal(text, f"{worst:.3g}", worst <= bound if most else worst >= bound)

    def special(each: Row) -> bool:
        large = each["network"] in ("cnn", "pooled") and each["B"] >= 4096
        return large or each["network"] in ("narrow", "wide")

    at = {
        b: partial(lambda each, b: each["network"] == "cnn" and each["B"] == b, b=b)
        for b in (4096, 8192)
    }
    found = [
        goal("SAM / plain at most 2.05, B ≥ 256", "SAM/plain", 2.05, lambda e: e["B"] >= 256, True),
        goal("SAM / plain at most 2.15, B = 64", "SAM/plain", 2.15, lambda e: e["B"] == 64, True),
        goal("SAM gain 1.3 on cnn at 4096", "SAM gain", 1.3, at[4096], False),
        goal("SAM gain 1.7 on cnn at 8192", "SAM gain", 1.7, at[8192], False),
        goal("SAM gain 3 on the pooled net, B ≥ 4096", "SAM gain", 3,
             lambda e: e["network"] == "pooled" and e["B"] >= 4096, False),
        goal("SAM gain 0.97 elsewhere, on mlp, cnn, pooled and resnet8", "SAM gain", 0.97,
             lambda e: not special(e), False),
    ]  # fmt: skip
    return [*found, *flat(rows)]


def flat(rows: list[Row]) -> list[Goal]:
    """Whether a step takes no more memory at the largest batch than at two micro-batches."""
    found = []
    for network in dict.fromkeys(each["network"] for each in rows):
        taken = {each["B"]: each["SAM MiB"] for each in rows if each["network"] == network}
        if FLAT_FROM in taken and max(taken) > FLAT_FROM:
            most, first = taken[max(taken)], taken[FLAT_FROM]
            said = f"{first:.0f} MiB at B={FLAT_FROM:,}, {most:.0f} at {max(taken):,}"
            found.append(Goal(f"memory flat in B, {network}", said, most <= 1.2 * first + 8))
    return found


def options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--networks", nargs="+", default=list(NETWORKS), metavar="NAME")
    parser.add_argument("--batch-sizes", default="64..8192")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--processes", type=int, default=3, help="pairs, for each network")
    parser.add_argument("--seconds", type=float, default=30.0, help="of each row, at least")


ABOUT = """\
One step on 28 x 28 images, one thread: *ms* is ours, *gain* the time of pytorch_optimizer's over
ours (its SAM around SGD with momentum, the loop as its documentation writes it, in a process of its
own with the default allocator, in turn with ours; ASAM is its `adaptive=True`). Its batches are
ours, but lie in memory as a DataLoader's do; that ours have their channels last is a part of the
gain where there are convolutions. *of bare* is how much of a pass is forward and backward of
micro-batches that lie ready. Each network has several pairs of processes, and each row so many
seconds of rounds: twenty at least where SAM is compared, with plain or with theirs, and some
elsewhere. m-SAM has m = 64; the noise scale, sampled every 16th step, is not in the medians. MiB is
what a SAM step takes at its peak, ours and theirs. `pooled` has two 3 x 3 convolutions with pooling
and 106,000 weights; `narrow` and `wide` are the mlp with 64 and 1,024 units a layer. `wide` ends at
2,048 and resnet8 at 1,024, beyond which their rounds take minutes."""

BENCHMARK = Benchmark(
    "step",
    "The step",
    ABOUT,
    {
        "network": "network", "B": "B", "images/s": "images/s", "plain ms": "plain ms",
        "SAM ms": "SAM ms",
        "SAM/plain": "SAM / plain", "ASAM/plain": "ASAM / plain", "m-SAM/plain": "m-SAM / plain",
        "share of bare": "plain of bare", "SAM share of bare": "SAM of bare",
        "plain gain": "plain gain", "SAM gain": "SAM gain", "ASAM gain": "ASAM gain",
        "SAM MiB": "SAM MiB", "their SAM MiB": "their MiB",
    },
    options,
    measure,
    goals,
)  # fmt: skip
