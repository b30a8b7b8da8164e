"""autograd gives gradients in any memory order, shared or spread out; sums must not care."""

import math

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from tests.helpers.trial_reference import Reference, image_data, start, trial, weights
from trainables.network.models import MODELS


class Scores(nn.Module):
    """A bias of attention scores, say: channels_last reorders it, nothing reorders its gradient."""

    def __init__(self, shape: tuple[int, int, int], classes: int) -> None:
        super().__init__()
        self.table = nn.Parameter(torch.randn(1, classes, 2, 3))
        self.inward = nn.Linear(math.prod(shape), classes * 6)

    def forward(self, images: Tensor) -> Tensor:
        scores = self.inward(images.flatten(1)).unflatten(1, self.table.shape[1:])
        return ((scores + self.table).tanh() * torch.arange(1, 4)).mean((2, 3))


class Summed(nn.Module):
    """A weight that is the sum of two, which get one and the same gradient tensor."""

    def __init__(self, shape: tuple[int, int, int], classes: int) -> None:
        super().__init__()
        self.one = nn.Parameter(0.1 * torch.randn(classes, math.prod(shape)))
        self.other = nn.Parameter(0.1 * torch.randn(classes, math.prod(shape)))

    def forward(self, images: Tensor) -> Tensor:
        return functional.linear(images.flatten(1), self.one + self.other)


class Spread(nn.Module):
    """A parameter that enters by its sum: one number in memory is the gradient of all of it."""

    def __init__(self, shape: tuple[int, int, int], classes: int) -> None:
        super().__init__()
        self.offset = nn.Parameter(0.1 * torch.randn(2, 3))
        self.inward = nn.Linear(math.prod(shape), classes)

    def forward(self, images: Tensor) -> Tensor:
        return self.inward(images.flatten(1)).tanh() + self.offset.sum() * torch.arange(3)


@pytest.fixture(params=[Scores, Summed, Spread], ids=lambda kind: kind.__name__)
def model(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setitem(MODELS, request.param.__name__, request.param)
    return request.param.__name__


@pytest.mark.parametrize("micro_batch", [12, 5])
def test_gradients_are_right_whatever_their_layout(model: str, micro_batch: int) -> None:
    data = image_data()
    training = start(trial(model=model, micro_batch=micro_batch), data)
    reference, batch = Reference(training, data), training.batch(0)
    _, grads = training.gradient(batch)
    for grad, exact in zip(grads, reference.gradient(reference.w, batch.indices), strict=True):
        assert grad is not None
        assert (grad - exact).abs().max() < 1e-5 * exact.abs().max()


@pytest.mark.parametrize("micro_batch", [12, 5])
@pytest.mark.parametrize(("form", "m"), [("none", 12), ("asam", 5)])
@pytest.mark.parametrize("optimizer", ["momentum", "adam"])
def test_steps_are_right_whatever_the_layout(
    optimizer: str, form: str, m: int, model: str, micro_batch: int
) -> None:
    data = image_data()
    config = trial(
        model=model, optimizer=optimizer, formulation=form, rho=0.2, m=m, micro_batch=micro_batch
    )
    training = start(config, data)
    before, reference = weights(training), Reference(training, data)
    training.run()
    for step in range(training.steps):
        reference.step(training.batch(step).indices)
    for old, new, exact in zip(before, weights(training), reference.w, strict=True):
        assert (new - exact).abs().max() < 5e-5 * (exact - old).abs().max()
