"""An experiment: several trials of a cell as one batched network, each with its own LR and rho."""

import argparse
from collections.abc import Callable, Iterator

import torch
from torch import Tensor
from torch.func import functional_call, grad, stack_module_state, vmap
from torch.nn import functional

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
from trainables.step.captured import graphed
from trainables.training import Training


def together(trials: list[Training]) -> tuple[Callable[[], None], dict[str, Tensor]]:
    """One step of SAM with momentum in all trials at once, and their weights, stacked by name."""
    data, network = trials[0].data, trials[0].model
    weights, _ = stack_module_state([each.model for each in trials])
    velocity = {name: torch.zeros_like(w) for name, w in weights.items()}
    lr, rho = (
        torch.tensor([getattr(each.config, name) for each in trials], device=data.device)
        for name in ("lr", "rho")
    )
    decay, momentum = trials[0].config.weight_decay, trials[0].config.momentum
    step = 0

    def loss(w: dict[str, Tensor], images: Tensor, labels: Tensor) -> Tensor:
        return functional.cross_entropy(functional_call(network, w, (images,)), labels)

    gradient = vmap(grad(loss))
    rows = torch.stack([each.batch(0).indices for each in trials])

    def scaled(by: Tensor, tensor: Tensor) -> Tensor:
        return by.view(-1, *[1] * (tensor.ndim - 1)) * tensor

    @torch.no_grad()
    def move() -> None:
        batches = [data.train.batch(indices) for indices in rows]
        images = torch.stack([images.contiguous() for images, _ in batches])
        labels = torch.stack([labels for _, labels in batches])
        g = gradient(weights, images, labels)
        norm = torch.stack([each.flatten(1).square().sum(1) for each in g.values()]).sum(0).sqrt()
        moved = {name: w + scaled(rho / norm, g[name]) for name, w in weights.items()}
        g = gradient(moved, images, labels)
        for name, w in weights.items():
            velocity[name].mul_(momentum).add_(g[name] + decay * w)
            w.sub_(scaled(lr, velocity[name]))

    replay = move if data.device.type == "cpu" else graphed(move, data.device)

    def call() -> None:
        nonlocal step
        for row, each in zip(rows, trials, strict=True):
            row.copy_(each.batch(step).indices)
        step += 1
        replay()

    setattr(call, "of", move)  # noqa: B010 - keeps the tensors that the replay works in
    return call, weights


def measure(options: argparse.Namespace) -> Iterator[Row]:
    torch.set_num_threads(1)
    data = DeviceData(load("glyphs", train_size=IMAGES), options.device)
    for network in ("mlp", "cnn"):
        for size in parse_batch_sizes(options.batch_sizes):
            for count in options.trials:
                trials = [training(data, network, size, "sam", 0) for _ in range(count)]
                calls: dict[str, Callable[[], object]] = {
                    "one": lambda trials=trials: [each._step() for each in trials],  # type: ignore[misc]
                    "together": together(trials)[0],
                }
                steps = {name: repeated(call, data.device) for name, call in calls.items()}
                spent = rounds(steps, options.seconds)
                yield {
                    "network": network, "B": size, "trials": count,
                    "one after another ms": milliseconds(spent["one"]),
                    "together ms": milliseconds(spent["together"]),
                    "gain": ratio(spent["one"], spent["together"]),
                }  # fmt: skip


def goals(rows: list[Row]) -> list[Goal]:
    best = max((row["gain"]["median"] for row in rows), default=float("nan"))
    least = min((row["gain"]["median"] for row in rows), default=float("nan"))
    text = "at least 1.5 × somewhere, to be worth a second way of a batch"
    return [Goal(text, f"{least:.2f} to {best:.2f}", best >= 1.5)]


def options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--batch-sizes", default="64,512")
    parser.add_argument("--trials", type=int, nargs="+", default=[4])
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--seconds", type=float, default=8.0, help="of each row, at least")


ABOUT = """\
A step of SAM in several trials of a cell, each with its own LR, rho and order of the data: one
after another as they are trained, and as one network batched by `torch.func.stack_module_state` and
`vmap`; on a GPU both are captured. An experiment, not a part of the study: on a CPU it is slower,
and on a GPU as many processes that share it (*Several trials on one GPU*) train more at B = 64."""

BENCHMARK = Benchmark(
    "batched",
    "Several trials as one network",
    ABOUT,
    {
        "network": "network", "B": "B", "trials": "trials",
        "one after another ms": "one after another, ms", "together ms": "together, ms",
        "gain": "gain",
    },
    options,
    measure,
    goals,
)  # fmt: skip
