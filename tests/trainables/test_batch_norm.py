"""Batch norm is where SAM codes go wrong: statistics moved twice, or by the wrong weights."""

import copy
import dataclasses
import math

import pytest
import torch
from torch import Tensor, nn

from tests.helpers.trial_reference import finish, image_data, same_bits, start, trial, weights
from trainables.data.augment import Augment
from trainables.data.batches import Batch, DeviceData
from trainables.network.batch_norm import recalibrate
from trainables.network.losses import LOSSES
from trainables.network.models import MODELS
from trainables.spec.errors import UsageError
from trainables.step.gradient import Gradient, NoiseScale, Stopped
from trainables.training import Training

DATA = image_data(200, 30, 30, side=8)
NORMALISED = ["cnn-bn", "resnet8"]
BN = {"batch_size": 80, "bn_batch": 20, "budget": "20steps", "reports": 4, "lr": 0.02}


def statistics(training: Training) -> list[Tensor]:
    return [buffer.clone() for buffer in training.model.buffers()]


@pytest.mark.parametrize("form", ["sam", "asam"])
@pytest.mark.parametrize("m", [0, 40])
@pytest.mark.parametrize("model", NORMALISED)
def test_a_step_moves_the_statistics_as_a_single_pass_does(model: str, m: int, form: str) -> None:
    config = trial(model=model, formulation=form, rho=0.5, m=m, **BN)
    training = start(config, DATA)
    single = copy.deepcopy(training.model)
    before = statistics(training)
    training._step()
    single.train()
    for part in training.batch(0).split(20):
        single(training.data.train.batch(part.indices)[0])
    assert same_bits(statistics(training), list(single.buffers()))
    assert not same_bits(statistics(training), before)


def test_a_stop_in_the_second_pass_leaves_no_statistics_of_the_moved_weights() -> None:
    config = trial(model="cnn-bn", formulation="sam", rho=0.5, **BN)
    training, calls = start(config, DATA), iter(range(100))
    training.gradient.stop = lambda: next(calls) == 6  # four ghost batches a pass
    with pytest.raises(Stopped):
        training._step()
    single = start(config, DATA)
    batch = single.batch(0)
    single.gradient.begin(batch, 0)
    single.gradient(batch)
    assert same_bits(statistics(training), statistics(single))


def test_one_ghost_batch_is_batch_norm_itself() -> None:
    # Against torch's own layers on the whole batch, by autograd and a plain SGD step.
    config = trial(model="cnn-bn", optimizer="sgd", **BN | {"bn_batch": 80, "warmup": 0.0})
    training = start(config, DATA)
    model = copy.deepcopy(training.model).train()
    base = torch.optim.SGD(model.parameters(), lr=config.lr, weight_decay=config.weight_decay)
    for step in range(3):
        training._step()
        images, labels = training.data.train.batch(training.batch(step).indices)
        base.param_groups[0]["lr"] = training.optimizer.param_groups[0]["lr"]
        base.zero_grad()
        nn.functional.cross_entropy(model(images), labels).backward()
        base.step()
    for ours, theirs in zip(weights(training), model.parameters(), strict=True):
        torch.testing.assert_close(ours, theirs.detach(), rtol=1e-4, atol=1e-6)
    for mine, other in zip(training.model.buffers(), model.buffers(), strict=True):
        torch.testing.assert_close(mine, other, rtol=1e-4, atol=1e-5)


def test_ghost_batches_as_large_as_the_batch_or_larger_change_nothing() -> None:
    config = trial(model="cnn-bn", formulation="sam", rho=0.3, **BN | {"bn_batch": 80})
    one, other = (start(dataclasses.replace(config, bn_batch=n), DATA) for n in (80, 1000))
    assert finish(one) == finish(other)
    assert same_bits(weights(one), weights(other))
    smaller = start(dataclasses.replace(config, bn_batch=20), DATA)
    finish(smaller)
    assert not same_bits(weights(one), weights(smaller))


def test_a_ragged_batch_is_cut_into_equal_ghost_batches() -> None:
    training = start(trial(model="cnn-bn", **BN | {"batch_size": 65, "bn_batch": 64}), DATA)
    assert [len(part) for part in training.gradient._parts(training.batch(0))] == [33, 32]


@pytest.mark.parametrize(
    ("batch", "m", "bn_batch"), [(1, 0, 64), (8, 1, 64), (9, 4, 64), (8, 0, 1), (5, 0, 2)]
)
def test_batch_norm_over_a_single_image_is_refused(batch: int, m: int, bn_batch: int) -> None:
    values = {"batch_size": batch, "m": m, "bn_batch": bn_batch}
    with pytest.raises(UsageError, match=r"^--bn-batch: batch norm over single images .*accepted"):
        start(trial(model="cnn-bn", **values), DATA)
    start(trial(model="cnn", **values), DATA)


def test_recalibrated_statistics_are_those_of_the_images() -> None:
    model = nn.Sequential(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.Dropout())
    images = torch.randn(120, 1, 6, 6) * 3 + 1
    recalibrate(model, images.split(30))
    out = model[0](images).detach()
    assert isinstance(model[1], nn.BatchNorm2d)
    mean, var = model[1].running_mean, model[1].running_var
    assert mean is not None and var is not None
    torch.testing.assert_close(mean, out.mean((0, 2, 3)), rtol=1e-4, atol=1e-5)
    within = torch.stack([out[i : i + 30].var((0, 2, 3)) for i in range(0, 120, 30)]).mean(0)
    torch.testing.assert_close(var, within, rtol=1e-4, atol=1e-5)
    assert model[1].momentum == 0.1 and not any(layer.training for layer in model.modules())


def test_a_report_does_not_depend_on_past_weights() -> None:
    # One step, after which moving averages would still be nine tenths those of the start.
    training = start(trial(model="cnn-bn", **BN), DATA)
    training._step()
    training.report, training.seconds = 1, 1.0
    report = training._report()
    fresh = start(trial(model="cnn-bn", **BN), DATA)
    with torch.no_grad():
        for mine, theirs in zip(fresh.model.parameters(), weights(training), strict=True):
            mine.copy_(theirs)
    fresh._recalibrate()
    assert fresh.evaluate(fresh.data.val) == (report["val_loss"], report["val_accuracy"])


def test_the_noise_scale_takes_ghost_batches_as_its_shards() -> None:
    training = start(trial(model="cnn-bn", **BN), DATA)
    noise, batch = NoiseScale(), training.batch(0)
    training.gradient.begin(batch, 0)
    _, grads = training.gradient.sampled(noise)(batch)
    squares = []
    for part in batch.split(20)[:2]:
        training.gradient.begin(part, 0)
        _, alone = training.gradient(part)
        squares.append(sum(float((g * g).sum()) for g in alone if g is not None))
    big = sum(float((g * g).sum()) for g in grads if g is not None)
    small = sum(squares) / 2
    assert float(noise.noise) == pytest.approx((small - big) / (1 / 20 - 1 / 80), rel=1e-4)


OTHERWISE = [
    {"model": "cnn-bn"},
    {"model": "resnet8"},
    {"model": "cnn", "augment": "shift,flip,cutout"},
    {"model": "cnn", "precision": "bf16"},
    {"model": "cnn-bn", "augment": "shift,flip", "label_smoothing": 0.1, "precision": "bf16"},
    {"model": "cnn", "loss": "mse"},
]


@pytest.mark.parametrize("form", ["sam", "asam"])
@pytest.mark.parametrize("values", OTHERWISE, ids=str)
def test_radius_zero_is_the_base_optimizer_to_the_bit(values: dict, form: str) -> None:
    base = trial(**BN | values)
    one = start(base, DATA)
    other = start(dataclasses.replace(base, formulation=form, rho=0.0), DATA)
    reports, zero = finish(one), finish(other)
    assert same_bits(weights(one), weights(other))
    assert same_bits(statistics(one), statistics(other))
    assert [r | {"grads": 0} for r in reports] == [r | {"grads": 0} for r in zero]
    assert float(one.noise.noise) != 0


@pytest.mark.parametrize("values", OTHERWISE, ids=str)
def test_a_resumed_trial_is_the_uninterrupted_one_to_the_bit(values: dict) -> None:
    config = trial(formulation="asam", rho=0.3, m=40, **BN | values)
    whole = start(config, DATA)
    expected = finish(whole)
    first = start(config, DATA)
    reports = [first.run(), first.run()]
    second = start(config, DATA)
    second.load_state_dict(first.state_dict())
    again = finish(second)
    assert again == expected[len(reports) :]
    assert same_bits(weights(whole), weights(second))
    assert same_bits(statistics(whole), statistics(second))


def test_augmentation_does_not_depend_on_the_micro_batch() -> None:
    images = DeviceData(DATA, "cpu").train
    losses = []
    for micro_batch in (7, 50):
        torch.manual_seed(0)
        model = MODELS["cnn"](DATA.shape, 3)
        gradient = Gradient(
            model, LOSSES["cross_entropy"], images, micro_batch, augment=Augment("shift,flip")
        )
        batch = Batch(torch.arange(50))
        gradient.begin(batch, 3)
        losses.append(float(gradient(batch)[0]))
        gradient.begin(batch, 4)
        assert not math.isclose(float(gradient(batch)[0]), losses[-1], rel_tol=1e-4)
    assert math.isclose(*losses, rel_tol=1e-5)
