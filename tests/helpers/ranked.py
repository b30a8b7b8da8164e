"""What the ranks of the tests train, in processes of their own as in the test's."""

import math
import sys
import time
import types
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch import distributed as dist

from tests.helpers.own_parts import OWN
from tests.helpers.trial_reference import image_data, start, trial, untimed
from trainables.spec.plugins import Formulation
from trainables.spec.trial import TrialConfig
from trainables.step.ranks import ALONE, Ranks, leave
from trainables.training import Training

DATA = image_data(160, 12, 16, side=6)
PARTS = "parts_of_ranks"  # the examples of users' formulations, as a module


class Double(nn.Sequential):
    """In float64, in which rounding is far below any difference that matters."""

    def forward(self, images: Tensor) -> Tensor:
        return super().forward(images.double())


def double(shape: tuple[int, int, int], classes: int) -> nn.Module:
    layers = nn.Linear(math.prod(shape), 7), nn.Tanh(), nn.Linear(7, classes)
    return Double(nn.Flatten(), *layers).double()


def double_bn(shape: tuple[int, int, int], classes: int) -> nn.Module:
    layers = nn.Conv2d(shape[0], 4, 3), nn.BatchNorm2d(4), nn.Tanh(), nn.Flatten()
    return Double(*layers, nn.Linear(4 * (shape[1] - 2) * (shape[2] - 2), classes)).double()


class Experts(nn.Module):
    """Of its layers the second is used by one image in some, and the third by none."""

    def __init__(self, shape: tuple[int, int, int], classes: int) -> None:
        super().__init__()
        self.layers = nn.ModuleList(nn.Linear(math.prod(shape), classes) for _ in range(3))
        self.double()

    def forward(self, images: Tensor) -> Tensor:
        flat = images.double().flatten(1)
        logits, chosen = self.layers[0](flat), flat.mean(1) > 1.25
        return logits + self.layers[1](flat) * chosen[:, None] if chosen.any() else logits


class Drawing(Formulation):
    """Asks for fewer images than there are ranks, and for some that it draws."""

    passes = 0.6

    def __call__(self, gradient: Any, batch: Any, params: Any) -> Any:
        loss, g = gradient(batch[:3])
        _, h = gradient(batch[torch.rand(len(batch)) < 0.5])
        return loss, [a + b for a, b in zip(g, h, strict=True)]


_parts = types.ModuleType(PARTS)
exec(OWN, _parts.__dict__)
_parts.__dict__["Drawing"] = Drawing
sys.modules[PARTS] = _parts


def config(model: str = "double", **values: Any) -> TrialConfig:
    """`model` : one of this module."""
    usual = {"batch_size": 128, "budget": "50steps", "micro_batch": 20, "reports": 2}
    rho = 0.1 * (values.get("formulation", "none") != "none")
    return trial(**usual | {"model": f"{__name__}:{model}", "rho": rho} | values)


@dataclass(frozen=True)
class Trained:
    """All weights in a row, the figures without times, and whether all ranks have those weights."""

    weights: Tensor
    reports: list[dict[str, Any]]
    agreed: bool
    signal: float
    noise: float


def trained(given: TrialConfig, ranks: Ranks = ALONE, stop: bool = False) -> Trained:
    """A trial to its end, on every rank; or from the state after its first report, with `stop`."""
    training = start(given, DATA, ranks=ranks)
    training.gradient.together = True  # as on a GPU
    while not training.done:
        _go_on(training)
        if stop:
            state = [training.to_bytes() if ranks.rank == 0 else b""]
            if ranks.size > 1:
                dist.broadcast_object_list(state)
            training, stop = start(given, DATA, ranks=ranks), False
            training.from_bytes(state[0])
    weights = torch.cat([p.detach().flatten() for p in training.model.parameters()])
    [mean] = ranks.mean(weights.sum(), device=weights.device)  # exact over two or four alike
    reports = [untimed(figures) for figures in training.reports]
    noise = float(training.noise.signal), float(training.noise.noise)
    return Trained(weights, reports, torch.equal(mean, weights.sum()), *noise)


def _go_on(training: Training) -> None:
    if training.ranks.rank == 0:
        training.run()
    else:
        training.train()


def late(ranks: Ranks, seconds: float) -> None:
    """Another rank, which takes so long to come to a sum; then one more sum, at once."""
    time.sleep(seconds)
    for _ in range(2):
        ranks.mean(1.0, device=torch.device("cpu"))
    leave()


def follow(ranks: Ranks, jobs: list[tuple[TrialConfig, bool]]) -> None:
    """The same trials by another rank, which then leaves."""
    for job in jobs:
        trained(job[0], ranks, job[1])
    leave()
