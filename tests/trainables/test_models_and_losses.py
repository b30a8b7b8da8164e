"""Networks for whatever data a user brings, and losses that mean what their names say."""

import math

import numpy as np
import pytest
import torch
from torch import nn

from tests.helpers.trial_reference import finish, image_data, start, trial
from trainables.data.image_data import noisy
from trainables.network import losses, models
from trainables.network.batch_norm import has_batch_norm
from trainables.spec.errors import UsageError
from trainables.spec.names import NETWORKS

LOGITS = torch.tensor([[2.0, -1.0, 0.5], [0.0, 0.3, -2.0]])
LABELS = torch.tensor([0, 2])


@pytest.mark.parametrize("shape", [(1, 8, 8), (3, 32, 32), (4, 17, 23)])
@pytest.mark.parametrize("name", models.MODELS)
def test_every_network_takes_any_size_and_channels(name: str, shape: tuple[int, int, int]) -> None:
    logits = models.build(name, shape, 7)(torch.randn(5, *shape))
    assert logits.shape == (5, 7)


def test_what_is_said_of_the_networks_without_building_them_holds() -> None:
    built = {name: models.build(name, (1, 28, 28), 10) for name in NETWORKS}
    assert {name: has_batch_norm(model) for name, model in built.items()} == {
        name: each.batch_norm for name, each in NETWORKS.items()
    }
    assert NETWORKS.keys() == models.MODELS.keys() - {"tanh", "dropout"}


def test_resnet8_has_eight_layers_and_three_widths() -> None:
    convolutions = [m for m in models.resnet8((3, 32, 32), 10).modules() if _is_3x3(m)]
    assert [c.out_channels for c in convolutions] == [16, 16, 16, 32, 32, 64, 64]


def _is_3x3(module: nn.Module) -> bool:
    return isinstance(module, nn.Conv2d) and module.kernel_size == (3, 3)


def test_batch_norm_takes_the_place_of_the_bias() -> None:
    plain, normalised = (models.build(name, (1, 28, 28), 10) for name in ("cnn", "cnn-bn"))
    count = [sum(p.numel() for p in model.parameters()) for model in (plain, normalised)]
    assert count[1] - count[0] == 8 + 16  # a scale and a shift for each bias


@pytest.mark.parametrize("name", ["resnet18", "squeezenet1_1", "alexnet"])
def test_torchvision_networks_take_grey_images_of_any_size(name: str) -> None:
    # AlexNet needs more than 28 pixels; its images are enlarged.
    model = models.build(f"torchvision:{name}", (1, 28, 28), 7)
    assert model(torch.zeros(2, 1, 28, 28)).shape == (2, 7)
    assert isinstance(model[0], nn.Upsample) if name == "alexnet" else True  # type: ignore[index]


def test_torchvision_networks_train_and_are_untrained() -> None:
    data = image_data(40, 12, 12, side=8, channels=3)
    config = trial(model="torchvision:squeezenet1_0", batch_size=8, budget="2steps", reports=2)
    one, other = (start(config, data) for _ in range(2))
    first = finish(one)
    assert math.isfinite(first[0]["train_loss"]) and first == finish(other)


@pytest.mark.parametrize("name", ["resnet17", "fcn_resnet50", ""])
def test_an_unknown_torchvision_network_is_refused(name: str) -> None:
    with pytest.raises(UsageError, match=r"^--model: .*accepted: torchvision: and one of alexnet"):
        models.build(f"torchvision:{name}", (1, 28, 28), 7)


def test_label_smoothing_is_the_cross_entropy_with_the_smoothed_label() -> None:
    loss = losses.build(trial(label_smoothing=0.3))
    target = torch.full((2, 3), 0.1)
    target[0, 0] = target[1, 2] = 0.8
    exact = -(target * LOGITS.log_softmax(1)).sum()
    assert float(loss(LOGITS, LABELS)) == pytest.approx(float(exact), rel=1e-6)
    named, tenth = losses.build(trial(loss="smoothed")), losses.build(trial(label_smoothing=0.1))
    assert torch.equal(named(LOGITS, LABELS), tenth(LOGITS, LABELS))
    plain = losses.build(trial())
    exact = -LOGITS.log_softmax(1)[[0, 1], LABELS].sum()
    assert float(plain(LOGITS, LABELS)) == pytest.approx(float(exact), rel=1e-6)


def test_mse_is_to_the_one_hot_label() -> None:
    loss = losses.build(trial(loss="mse"))
    exact = (1 + 1 + 0.25) / 3 + (0 + 0.09 + 9) / 3
    assert float(loss(LOGITS, LABELS)) == pytest.approx(exact, rel=1e-6)


def test_label_noise_changes_its_share_of_labels_to_other_classes() -> None:
    labels = np.random.default_rng(0).integers(0, 5, 10_000)
    before = labels.copy()
    changed = noisy(labels, 0.3, 5, seed=1)
    assert np.array_equal(labels, before)  # the caller's are its own
    wrong = changed != labels
    assert wrong.sum() == 3000
    moves = np.bincount((changed - labels)[wrong] % 5, minlength=5)
    assert moves[0] == 0 and np.abs(moves[1:] - 750).max() < 100  # 4 SD: each other class alike
    assert np.array_equal(changed, noisy(labels, 0.3, 5, seed=1))
    assert not np.array_equal(changed, noisy(labels, 0.3, 5, seed=2))
    assert noisy(labels, 0.0, 5, seed=1) is labels


def test_bf16_rounds_the_layers_and_not_the_weights() -> None:
    data = image_data(60, 12, 12, side=8)
    config = {"model": "cnn", "optimizer": "sgd", "batch_size": 30, "weight_decay": 0.0}
    full, half = (start(trial(precision=p, **config), data) for p in ("fp32", "bf16"))
    grads = []
    for training in (full, half):
        batch = training.batch(0)
        training.gradient.begin(batch, 0)
        grads.append(torch.cat([g.flatten() for g in training.gradient(batch)[1]]))  # type: ignore[union-attr]
    assert grads[1].dtype == torch.float32 and all(
        p.dtype == torch.float32 for p in half.model.parameters()
    )
    apart = float((grads[0] - grads[1]).norm() / grads[0].norm())
    assert 1e-5 < apart < 0.03
