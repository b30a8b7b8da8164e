"""More of what people bring, each a member of a kind: it trains as meant, or is refused by name."""

import random
import sys
from collections.abc import Iterator
from types import ModuleType
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.optim import Optimizer

from tests.helpers.trial_reference import finish, image_data, same_bits, start, trial, weights
from trainables.minima.minimum import examine
from trainables.network.losses import cross_entropy
from trainables.rehearsal import check
from trainables.spec.errors import UsageError
from trainables.spec.trial import TrialConfig

DATA = image_data(60, 12, 12, side=8)
Shape = tuple[int, int, int]


# ---- optimizers


def unasked(params: Any, config: TrialConfig) -> Optimizer:
    """Its author's rate, whatever the study's."""
    return torch.optim.SGD(params, lr=0.1)


def copying(params: Any, config: TrialConfig) -> Optimizer:
    """Moves copies of the parameters."""
    return torch.optim.SGD([p.detach().clone().requires_grad_() for p in params], lr=config.lr)


def looking_ahead(params: Any, config: TrialConfig) -> Optimizer:
    from timm.optim import Lookahead

    return Lookahead(torch.optim.SGD(params, lr=config.lr, momentum=0.9))


class Own(Optimizer):
    def __init__(self, params: Any, config: TrialConfig) -> None:
        super().__init__(params, {"lr": config.lr, "ready": False})
        self.rate, self.history = config.lr, list[Any]()

    def move(self, rate: float, grads: Any = None) -> None:
        params = self.param_groups[0]["params"]
        for p, g in zip(params, grads or [p.grad for p in params], strict=True):
            p.data.add_(g, alpha=-rate)


class Attribute(Own):
    """Moves by a rate that no schedule reaches."""

    def step(self, closure: Any = None) -> None:  # type: ignore[override]
        self.move(self.rate)


class Delayed(Own):
    """Remembers gradients of three steps outside of its state."""

    def step(self, closure: Any = None) -> None:  # type: ignore[override]
        self.history.append([p.grad.clone() for p in self.param_groups[0]["params"]])
        self.move(self.param_groups[0]["lr"], self.history[-4:][0])


class Ready(Own):
    """Steps after train() alone, as schedulefree's do."""

    def train(self) -> None:
        self.param_groups[0]["ready"] = True

    def eval(self) -> None:
        self.param_groups[0]["ready"] = False

    def step(self, closure: Any = None) -> None:  # type: ignore[override]
        if not self.param_groups[0]["ready"]:
            raise RuntimeError("not in train mode")
        self.move(self.param_groups[0]["lr"])


# ---- networks


class Head(nn.Module):
    def __init__(self, shape: Shape, classes: int) -> None:
        super().__init__()
        self.norm = nn.BatchNorm2d(shape[0])
        self.norm.running_mean.fill_(0.25)  # type: ignore[union-attr]
        self.body = nn.Linear(shape[0] * shape[1] * shape[2], 16)
        self.head = nn.Linear(16, classes)
        self.register_buffer("count", torch.zeros(()))
        self.drawing = random.Random(0)

    def forward(self, x: Tensor) -> Any:
        return self.head(self.body(x.flatten(1)))


class ViewInTraining(nn.Module):
    def __init__(self, shape: Shape, classes: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(shape[0], 4, 3)
        self.head = nn.LazyLinear(classes)

    def forward(self, x: Tensor) -> Tensor:
        x = self.conv(x)
        return self.head(x.view(len(x), -1) if self.training else x.flatten(1))


class FrozenInForward(Head):
    def forward(self, x: Tensor) -> Tensor:
        self.norm.eval()
        return super().forward(self.norm(x))


class FrozenByMomentum(Head):
    def __init__(self, shape: Shape, classes: int) -> None:
        super().__init__(shape, classes)
        self.norm.momentum = 0.0

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(self.norm(x))


class TrainGivesNothing(Head):
    def train(self, mode: bool = True) -> None:  # type: ignore[override]
        super().train(mode)


class InPlace(Head):
    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x.mul_(0.5))


class Counting(Head):
    """Reads a buffer that it moves, as a warm-up of its own or an older spectral norm does."""

    def forward(self, x: Tensor) -> Tensor:
        if self.training:
            self.count += 1  # type: ignore[operator]
        return super().forward(x) * self.count / 100


class SeldomDrops(Head):
    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x * (not self.training or self.drawing.random() < 0.95))


class Shares(Head):
    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x) if self.training else super().forward(x).softmax(1)


class LogShares(Head):
    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x).log_softmax(1)


class Cached(Head):
    kept: Tensor | None = None

    def forward(self, x: Tensor) -> Tensor:
        if self.training or self.kept is None:
            self.kept = self.body.weight * 2
        return self.head(functional.linear(x.flatten(1), self.kept))


class Resting(Head):
    def __init__(self, shape: Shape, classes: int) -> None:
        super().__init__(shape, classes)
        self.requires_grad_(False)


class HalfGraph(Head):
    def forward(self, x: Tensor) -> Tensor:
        x = self.body(x.flatten(1))
        return self.head(x if self.training else x.detach())


class SideHead(Head):
    """A parameter that evaluation does not depend on."""

    def __init__(self, shape: Shape, classes: int) -> None:
        super().__init__(shape, classes)
        self.side = nn.Linear(16, classes)

    def forward(self, x: Tensor) -> Tensor:
        x = self.body(x.flatten(1))
        return self.head(x) + self.side(x) if self.training else self.head(x)


@pytest.fixture(autouse=True)
def _named(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    module = ModuleType("more")
    for name, value in globals().items():
        if callable(value):
            setattr(module, name, value)
    monkeypatch.setitem(sys.modules, "more", module)
    yield


def asked(**values: Any) -> TrialConfig:
    named = {kind: f"more:{values[kind]}" for kind in ("model", "optimizer") if kind in values}
    usual = {"model": "mlp64", "batch_size": 20, "rho": 0.1, "lr": 0.03, "budget": "12steps"}
    return trial(**usual | {"reports": 2} | values | named)


TRAINS = [{"model": net.__name__} for net in (
    ViewInTraining, FrozenInForward, FrozenByMomentum, TrainGivesNothing, InPlace, Counting,
    LogShares, HalfGraph, SideHead,
)] + [{"optimizer": "Ready"}, {"optimizer": "looking_ahead"}]  # fmt: skip


@pytest.mark.parametrize("values", TRAINS, ids=str)
def test_it_is_accepted_trains_and_is_the_base_optimizer_at_a_radius_of_zero(
    values: dict[str, Any],
) -> None:
    config = asked(**values)
    check(config, DATA)
    plain, sam = start(config, DATA), start(asked(**values, formulation="sam", rho=0.0), DATA)
    reports = finish(plain)
    assert reports[-1]["train_loss"] < plain.first_loss or "Counting" in str(values)
    finish(sam)
    assert same_bits(weights(plain), weights(sam))


REFUSED: dict[str, dict[str, Any]] = {
    "--methods: more:unasked does not move by config.lr": {"optimizer": "unasked"},
    "--methods: more:copying does not move by config.lr": {"optimizer": "copying"},
    "--methods: more:Attribute does not read 'lr' of its param_groups": {"optimizer": "Attribute"},
    "--methods: more:Delayed goes on from its saved state otherwise": {"optimizer": "Delayed"},
    "--model: more:SeldomDrops draws or remembers what no seed": {"model": "SeldomDrops"},
    "--model: more:Shares gives probabilities in evaluation": {"model": "Shares"},
    "--model: more:Cached does not follow its parameters": {"model": "Cached"},
    "--model: more:Resting has nothing to train": {"model": "Resting"},
}


@pytest.mark.parametrize("message", REFUSED)
def test_it_is_refused_in_one_line_with_the_remedy(message: str) -> None:
    with pytest.raises(UsageError, match=message) as told:
        check(asked(**REFUSED[message]), DATA)
    assert "\n" not in str(told.value) and "; accepted: " in str(told.value)


@pytest.mark.parametrize("model", ["FrozenInForward", "FrozenByMomentum"])
def test_statistics_that_a_network_holds_stay(model: str) -> None:
    training = start(asked(model=model), DATA)
    finish(training)
    mean = training.model.norm.running_mean
    assert torch.equal(mean, torch.full_like(mean, 0.25))  # type: ignore[arg-type]


def test_a_measure_of_a_part_of_the_graph_is_none() -> None:
    for model, said in (("HalfGraph", "a part of its graph"), ("SideHead", "")):
        training = start(asked(model=model), DATA)
        finish(training)
        measures, errors = examine(training.model, cross_entropy, training.data.train, "fast")
        assert bool(measures) is not bool(said)
        assert all(said in error for error in errors) and bool(errors) is bool(said)
