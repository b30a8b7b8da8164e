"""A step that is subtly another algorithm would be tuned and compared all the same, unnoticed."""

import copy
import inspect
import subprocess
import sys
from dataclasses import replace

import pytest
import torch

from tests.helpers.trial_reference import Reference, image_data, start, trial, weights
from trainables.data.batches import Batch, DeviceData
from trainables.network.losses import LOSSES
from trainables.spec.names import FORMULATIONS, OPTIMIZERS
from trainables.spec.trial import TrialConfig
from trainables.step import formulation, optimizers
from trainables.step.gradient import Gradient
from trainables.training import Training

RADIUS = {"none": 0.0, "sam": 0.3, "asam": 1.5}  # large, so that a wrong ascent shows


def assert_like_the_formulas(config: TrialConfig, tolerance: float, side: int = 4) -> None:
    """Each weight's whole way over the trial, relative to the largest way in its tensor."""
    data = image_data(side=side)
    training = start(config, data)
    before, reference = weights(training), Reference(training, data)
    training.run()
    for step in range(training.steps):
        reference.step(training.batch(step).indices)
    for old, new, exact in zip(before, weights(training), reference.w, strict=True):
        way = (exact - old).abs().max()
        assert way > 3e-4
        assert (new - exact).abs().max() < tolerance * way


@pytest.mark.parametrize("m", [12, 4, 5])
@pytest.mark.parametrize("form", FORMULATIONS)
@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_steps_are_the_formulas(optimizer: str, form: str, m: int) -> None:
    lr = {"lars": 3.0, "adagrad": 0.03, "rmsprop": 0.03}.get(optimizer, 0.1)
    config = trial(optimizer=optimizer, formulation=form, m=m, rho=RADIUS[form], warmup=0.3, lr=lr)
    assert_like_the_formulas(config, 5e-5)


@pytest.mark.parametrize("form", FORMULATIONS)
@pytest.mark.parametrize("optimizer", ["momentum", "adam"])
@pytest.mark.parametrize("batch", [1, 12])
def test_steps_of_the_convolutional_net_are_the_formulas(
    batch: int, optimizer: str, form: str
) -> None:
    # Its four-dimensional weights lie channels last in memory, their gradients perhaps not.
    config = trial(
        model="cnn",
        optimizer=optimizer,
        formulation=form,
        rho=RADIUS[form] / 10,
        batch_size=batch,
        lr=0.03 if optimizer == "momentum" else 0.01,
    )
    assert_like_the_formulas(config, 1e-3, side=7)


def test_eta_momentum_and_betas_are_the_configured_ones() -> None:
    values = {"formulation": "asam", "rho": 1.5, "eta": 0.2, "momentum": 0.5, "warmup": 0.0}
    assert_like_the_formulas(trial(optimizer="nesterov", **values), 1e-4)
    assert_like_the_formulas(trial(optimizer="adam", beta1=0.5, beta2=0.8, **values), 1e-4)


@pytest.mark.parametrize("form", ["none", "asam"])
@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_clipped_gradients_and_spared_biases_are_the_formulas(optimizer: str, form: str) -> None:
    # Both so strong that a step without either is another one.
    strong = {"clip": 0.1, "decayed": "weights", "weight_decay": 0.5, "budget": "12steps"}
    lr = {"lars": 3.0, "adagrad": 0.03, "rmsprop": 0.03}.get(optimizer, 0.1)
    config = trial(optimizer=optimizer, formulation=form, rho=RADIUS[form], m=5, lr=lr, **strong)
    assert_like_the_formulas(config, 2e-4)
    for other in ({"clip": 0.0}, {} if optimizer[0] == "l" else {"decayed": "all"}):
        ends = []
        for values in (config, replace(config, **other)):
            training = start(values, image_data())
            training.run()
            ends.append(torch.cat([w.flatten() for w in weights(training)]))
        assert not other or not torch.allclose(*ends, atol=1e-3)


def test_a_gradient_below_the_norm_is_left_alone() -> None:
    config = trial()
    ends = [start(replace(config, clip=clip), image_data()) for clip in (0.0, 1e6)]
    for training in ends:
        training.run()
    assert all(map(torch.equal, weights(ends[0]), weights(ends[1])))


def test_adamw_decays_as_torchs_does_unless_asked() -> None:
    usual = inspect.signature(torch.optim.AdamW).parameters["weight_decay"].default
    for name in ("adamw", "torch:AdamW", "timm:adamw"):
        assert TrialConfig(optimizer=name).weight_decay == usual
        assert TrialConfig(optimizer=name, weight_decay=0.0).weight_decay == 0.0
    assert TrialConfig(optimizer="adam").weight_decay == TrialConfig().weight_decay == 5e-4


@pytest.mark.parametrize("optimizer", [name for name in OPTIMIZERS if name[0] != "l"])
def test_base_optimizers_are_those_of_torch(optimizer: str) -> None:
    # torch's plain for-loop implementation, driven by the textbook order of calls.
    data = image_data()
    config = trial(optimizer=optimizer, micro_batch=12, schedule="constant", warmup=0.0)
    training = start(config, data)
    model = copy.deepcopy(training.model)
    decay = {"lr": config.lr, "weight_decay": config.weight_decay, "foreach": False}
    peer: torch.optim.Optimizer
    if optimizer == "adam":
        peer = torch.optim.Adam(model.parameters(), **decay)
    elif optimizer == "adamw":
        peer = torch.optim.AdamW(model.parameters(), **decay)
    elif optimizer == "rmsprop":
        peer = torch.optim.RMSprop(model.parameters(), **decay)
    elif optimizer == "adagrad":
        peer = torch.optim.Adagrad(model.parameters(), **decay)
    else:
        momentum = 0.0 if optimizer == "sgd" else 0.9
        nesterov = optimizer == "nesterov"
        peer = torch.optim.SGD(model.parameters(), momentum=momentum, nesterov=nesterov, **decay)
    training.run()
    for step in range(training.steps):
        images, labels = training.data.train.batch(training.batch(step).indices)
        peer.zero_grad()
        torch.nn.functional.cross_entropy(model(images), labels).backward()
        peer.step()
    for ours, theirs in zip(weights(training), model.parameters(), strict=True):
        torch.testing.assert_close(ours, theirs.detach(), rtol=1e-4, atol=2e-6)


def test_formulation_and_optimizer_work_without_a_training() -> None:
    data = image_data()
    config = trial(optimizer="momentum", formulation="sam", m=5, rho=0.3, lr=0.2, warmup=0.0)
    training: Training = start(config, data)
    reference = Reference(training, data)
    images = DeviceData(data, "cpu").train
    gradient = Gradient(training.model, LOSSES["cross_entropy"], images, 7)
    step, base = formulation.build(config), optimizers.build(config, gradient.params)
    indices = torch.tensor([3, 1, 4, 15, 9, 2, 6, 5, 35, 8, 39, 7])
    _, grads = step(gradient, Batch(indices), gradient.params)
    for param, grad in zip(gradient.params, grads, strict=True):
        param.grad = grad
    base.step()
    reference.step(indices)
    for ours, exact in zip(weights(training), reference.w, strict=True):
        torch.testing.assert_close(ours.double(), exact, rtol=1e-5, atol=1e-6)


def test_a_weight_that_first_has_a_gradient_in_a_later_step_moves_as_torch_moves_it() -> None:
    config = trial(optimizer="momentum", lr=0.1, warmup=0.0)
    start = [torch.full((3,), 2.0), torch.full((4,), -1.0)]
    ours, theirs = ([torch.nn.Parameter(w.clone()) for w in start] for _ in range(2))
    decay = {"lr": 0.1, "momentum": config.momentum, "weight_decay": config.weight_decay}
    both = optimizers.build(config, ours), torch.optim.SGD(theirs, foreach=False, **decay)
    for step in range(4):
        for optimizer, params in zip(both, (ours, theirs), strict=True):
            params[0].grad = torch.full((3,), 0.5)
            params[1].grad = torch.full((4,), 0.25) if step > 1 else None
            optimizer.step()
    for mine, peer in zip(ours, theirs, strict=True):
        torch.testing.assert_close(mine, peer)


def test_no_optimizer_of_torch_imports_its_compiler() -> None:
    """It would take three seconds of every process."""
    code = """
import sys
from trainables.data.batches import DeviceData
from trainables.spec.trial import TrialConfig
from trainables.data.image_data import load
from trainables.training import Training
data = DeviceData(load("glyphs", train_size=64), "cpu")
for name in ("sgd", "momentum", "nesterov", "adam", "adamw", "rmsprop", "adagrad"):
    config = TrialConfig(optimizer=name, batch_size=32, budget="2steps", reports=1)
    training = Training(config, data)
    training.run()
    training.load_state_dict(training.state_dict())
    assert training.step == 2 and "torch._dynamo" not in sys.modules, name
"""
    subprocess.run([sys.executable, "-c", code], check=True)
