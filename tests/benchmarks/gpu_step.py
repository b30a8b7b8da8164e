"""The step on a GPU: captured, as it is without, as bare replays, and beside the peer's."""

import argparse
from collections.abc import Callable, Iterator
from functools import partial
from statistics import median

import torch

from tests.benchmarks import table
from tests.benchmarks.peers import KINDS, Elsewhere, grown
from tests.benchmarks.step import FORMULATIONS, POOLED, asked, peer, training
from tests.benchmarks.table import (
    IMAGES,
    Benchmark,
    Goal,
    Row,
    milliseconds,
    ratio,
    repeated,
    require_gpu,
    rounds,
)
from trainables.data.batches import DeviceData
from trainables.data.image_data import load
from trainables.step import memory
from trainables.step.captured import Captured
from trainables.step.step import Step
from trainables.training import Training

NETWORKS = ("mlp", "cnn", POOLED, "resnet8")


def uncaptured(data: DeviceData, network: str, size: int) -> Training:
    made = training(data, network, size, "sam", 0)
    made.advance = Step(made.config, made.model, data, lambda: False)
    return made


def row(data: DeviceData, network: str, size: int, seconds: float, theirs: Elsewhere | None) -> Row:
    calls: dict[str, Callable[[], object]] = {}
    taken = {}
    for name, each in FORMULATIONS.items():
        if name != "m-SAM" or each[1] < size <= 1024:  # a graph of so many kernels for each shard
            memory.reset_peak(data.device)
            made = training(data, network, size, *each)
            assert isinstance(made.advance, Captured)
            calls[name], calls[f"bare {name}"] = made._step, made.advance.replays[False]
            taken[name] = (made.advance.peak - torch.cuda.memory_allocated(data.device)) / 2**20
    calls["uncaptured SAM"] = uncaptured(data, network, size)._step
    memory.reset_peak(data.device)
    taken["uncaptured SAM"] = grown(calls["uncaptured SAM"], data.device)
    steps = {name: repeated(call, data.device) for name, call in calls.items()}
    if theirs:
        taken |= theirs.make(network, size)
        steps |= {name: partial(theirs.steps, name) for name in KINDS}
    spent = rounds(steps, seconds)
    found: Row = {"network": network.rpartition(":")[2], "B": size, "rounds": len(spent["SAM"])}
    found |= {f"{name} ms": milliseconds(each) for name, each in spent.items()}
    found |= {f"{name} MiB": each for name, each in taken.items()}
    found["images/s"] = size / median(spent["plain"])
    found["capture"] = ratio(spent["uncaptured SAM"], spent["SAM"])
    for name in FORMULATIONS:
        if name in spent:
            found[f"{name} of bare"] = ratio(spent[f"bare {name}"], spent[name])
            found[f"{name}/plain"] = ratio(spent[name], spent["plain"])
            if f"their {name}" in spent:
                found[f"{name} gain"] = ratio(spent[f"their {name}"], spent[name])
    return found


def measure(options: argparse.Namespace) -> Iterator[Row]:
    require_gpu("gpu-step")
    torch.set_num_threads(1)
    data = DeviceData(load("glyphs", train_size=IMAGES), "cuda")
    with peer("cuda") as theirs:
        for network, size in asked(options):
            yield row(data, network, size, options.seconds, theirs)


def goals(rows: list[Row]) -> list[Goal]:
    shares = [row[key]["median"] for row in rows for key in ("plain of bare", "SAM of bare")]
    worst = min(shares, default=float("nan"))
    resnet8 = [row for row in rows if row["network"] == "resnet8" and "SAM gain" in row]
    gain = min((row["SAM gain"]["median"] for row in resnet8), default=None)
    return [
        Goal("at least 90 % of the bare replay rate", f"{worst:.1%}", worst >= 0.9),
        Goal("SAM gain 1 on resnet8", table.cell(gain), None if gain is None else gain >= 1),
    ]


def options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--networks", nargs="+", default=list(NETWORKS), metavar="NAME")
    parser.add_argument("--batch-sizes", default="64,1024,8192")
    parser.add_argument("--seconds", type=float, default=1.0, help="of each row, at least")


ABOUT = """\
The step of the first table on a GPU, where it is captured as a CUDA graph. *ms* is ours, *capture*
by how much a step of SAM is faster for it, *of bare* the time of the graph's replays alone over
that of steps, *gain* the time of pytorch_optimizer's step over ours, in a process of its own. MiB
is beyond what is there before the first step, to which only our momentum belongs."""

BENCHMARK = Benchmark(
    "gpu-step",
    "The step on a GPU",
    ABOUT,
    {
        "network": "network", "B": "B", "images/s": "images/s", "plain ms": "plain ms",
        "SAM ms": "SAM ms", "capture": "capture", "plain of bare": "plain of bare",
        "SAM of bare": "SAM of bare", "SAM/plain": "SAM / plain", "ASAM/plain": "ASAM / plain",
        "m-SAM/plain": "m-SAM / plain", "plain gain": "plain gain", "SAM gain": "SAM gain",
        "ASAM gain": "ASAM gain", "SAM MiB": "SAM MiB", "their SAM MiB": "their MiB",
    },
    options,
    measure,
    goals,
)  # fmt: skip
