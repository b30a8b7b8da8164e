"""What is measured at a minimum, that it leaves no trace, and the files that minima are kept in."""

import math
import random
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from tests.helpers.minima_reference import images, small_cnn, trained
from tests.helpers.trial_reference import finish, image_data, start, trial
from trainables.data.batches import DeviceData
from trainables.minima import landscape
from trainables.minima.minimum import DIMENSIONS, EPSILONS, IMAGES, PROBES, examine
from trainables.network import models, weights
from trainables.network.losses import cross_entropy
from trainables.network.models import MODELS
from trainables.spec.errors import UsageError

FAST = {
    "sharpness_loss", "weight_norm", "gradient_norm", "hessian_trace", "lambda_max",
    "sam_sharpness",
}  # fmt: skip
FULL = FAST | {
    "lambda_min", "lambda_ratio_5", "asam_sharpness", "asam_sharpness_mean",
    "epsilon_sharpness_1e3", "epsilon_sharpness_5e4",
    "epsilon_sharpness_1e3_subspace", "epsilon_sharpness_5e4_subspace",
}  # fmt: skip


class Restless(nn.Module):
    """Batch norm, dropout, and noise that is drawn in evaluation as well."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv2d(1, 4, 3, padding=1), nn.BatchNorm2d(4), nn.ReLU(), nn.Dropout(0.3)
        )
        self.head = nn.Linear(64, 3)

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        noise = 0.01 * torch.randn(len(inputs), 1, device=inputs.device)
        return self.head(self.layers(inputs).flatten(1)) + noise.to(inputs.dtype)


@pytest.mark.parametrize(("level", "names"), [("fast", FAST), ("full", FULL)])
def test_measuring_leaves_no_trace(level: str, names: set[str]) -> None:
    torch.manual_seed(0)
    model = Restless().to(memory_format=torch.channels_last)
    model.train()
    data = images()
    for p in model.parameters():
        p.grad = torch.full_like(p, 2.0)
    state = {name: value.clone() for name, value in model.state_dict().items()}
    draws = torch.get_rng_state(), np.random.get_state()[1].copy(), random.getstate()
    found, errors = examine(model, cross_entropy, data, level)
    assert errors == []
    terrain = landscape.Terrain(model, cross_entropy, data, data, 41)
    landscape.slices(terrain, model)
    landscape.plane(terrain, model, alphas=(-1.0, 0.0, 1.0))
    landscape.line(terrain, model)
    assert set(found) == names
    assert model.training and all(layer.training for layer in model.modules())
    assert all(value.equal(state[name]) for name, value in model.state_dict().items())
    assert all(p.grad is not None and (p.grad == 2).all() for p in model.parameters())
    assert all(p.requires_grad for p in model.parameters())
    assert torch.get_rng_state().equal(draws[0])
    assert (np.random.get_state()[1] == draws[1]).all() and random.getstate() == draws[2]


def test_measuring_again_gives_the_same() -> None:
    model = trained(small_cnn())
    first, _ = examine(model, cross_entropy, images(), "full")
    torch.manual_seed(99)
    again, _ = examine(model, cross_entropy, images(), "full")
    for name, measure in first.items():
        assert (measure.value, measure.residual) == (again[name].value, again[name].residual), name


def test_figures_carry_their_errors_and_costs() -> None:
    found, _ = examine(trained(small_cnn()), cross_entropy, images(), "full")
    for name, measure in found.items():
        assert math.isfinite(measure.value), name
        assert measure.converged, name
        assert measure.seconds >= 0
    for name in ("hessian_trace", "asam_sharpness_mean"):
        assert found[name].stderr is not None and found[name].stderr > 0
    for name in ("lambda_max", "lambda_min", "sam_sharpness", "epsilon_sharpness_1e3"):
        assert found[name].residual is not None
    assert found["hessian_trace"].products == PROBES["full"]
    assert found["lambda_max"].products > 5
    assert found["epsilon_sharpness_1e3"].gradients > 40
    assert found["lambda_ratio_5"].value > 1
    assert found["epsilon_sharpness_1e3"].value > found["epsilon_sharpness_5e4"].value > 0


def test_norms_are_those_of_weights_and_gradient() -> None:
    model = trained(small_cnn())
    found, _ = examine(model, cross_entropy, images(), "fast")
    inputs, labels = images().batch(slice(0, 41))
    loss = cross_entropy(model(inputs), labels) / 41
    grads = torch.autograd.grad(loss, list(model.parameters()))
    flat = torch.cat([g.reshape(-1) for g in grads])
    w = torch.cat([p.detach().reshape(-1) for p in model.parameters()])
    assert found["sharpness_loss"].value == pytest.approx(loss.item(), rel=1e-5)
    assert found["gradient_norm"].value == pytest.approx(float(flat.norm()), rel=1e-4)
    assert found["weight_norm"].value == pytest.approx(float(w.norm()), rel=1e-6)


def test_levels_take_the_first_images_of_the_stratified_set() -> None:
    assert IMAGES == {"fast": 512, "full": 1024}
    assert EPSILONS == {"1e3": 1e-3, "5e4": 5e-4} and DIMENSIONS == 100
    model = trained(small_cnn())
    ten, _ = examine(model, cross_entropy, images(), "fast", 10)
    inputs, labels = images().batch(slice(0, 10))
    with torch.no_grad():
        expected = float(cross_entropy(model(inputs), labels)) / 10
    assert ten["sharpness_loss"].value == pytest.approx(expected, rel=1e-5)


def test_what_cannot_be_measured_does_not_cost_the_rest() -> None:
    class Once(torch.autograd.Function):
        """Differentiable once."""

        @staticmethod
        def forward(ctx: Any, logits: torch.Tensor) -> torch.Tensor:
            return logits.clone()

        @staticmethod
        @torch.autograd.function.once_differentiable
        def backward(ctx: Any, g: torch.Tensor) -> torch.Tensor:
            return g

    def loss(logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        return cross_entropy(Once.apply(logits), labels)

    found, errors = examine(trained(small_cnn()), loss, images(), "fast")
    assert set(found) == {"sharpness_loss", "weight_norm", "gradient_norm", "sam_sharpness"}
    assert len(errors) == 2 and "only once" in errors[0]


# ---- weights


@pytest.mark.parametrize("model", ["cnn", "cnn-bn", "resnet8", "mlp"])
def test_saved_weights_are_the_network_to_the_bit(model: str) -> None:
    data = image_data(40, side=8)
    training = start(trial(model=model, batch_size=20, bn_batch=10, budget="3steps"), data)
    finish(training)
    content = weights.to_bytes(training.model, training.config)
    back = weights.load(content, training.config, data.shape, len(data.classes))
    for name, value in training.model.state_dict().items():
        assert back.state_dict()[name].equal(value), name
    test = DeviceData(data, "cpu").test
    inputs, _ = test.batch(slice(0, len(test)))
    with torch.no_grad():
        torch.testing.assert_close(back.eval()(inputs), training.model.eval()(inputs))


def test_shared_weights_are_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    def tied(shape: models.Shape, classes: int) -> nn.Module:
        layer = nn.Linear(16, 16)
        return nn.Sequential(nn.Flatten(), layer, nn.ReLU(), layer, nn.Linear(16, classes))

    monkeypatch.setitem(MODELS, "tied", tied)
    config = trial(model="tied")
    model = models.build("tied", (1, 4, 4), 3)
    back = weights.load(weights.to_bytes(model, config), config, (1, 4, 4), 3)
    assert back[1].weight is back[3].weight
    assert back[1].weight.equal(model[1].weight)


def test_damaged_or_foreign_weights_are_refused_in_one_line() -> None:
    config = trial(model="mlp")
    content = weights.to_bytes(models.build("mlp", (1, 4, 4), 3), config)
    for damaged in (b"", content[: len(content) // 2], b"\xff" * 100):
        with pytest.raises(UsageError, match="cannot be used") as error:
            weights.load(damaged, config, (1, 4, 4), 3)
        assert "\n" not in str(error.value)
    with pytest.raises(UsageError, match="cannot be used"):
        weights.load(content, config, (1, 8, 8), 3)
