"""The noise scale is compared with the critical batch size; a bias would decide the comparison."""

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from tests.helpers.trial_reference import finish, image_data, start, trial
from trainables.data.batches import Batch, Images
from trainables.data.image_data import Split
from trainables.network.losses import LOSSES
from trainables.network.models import MODELS
from trainables.step.gradient import Gradient, NoiseScale

SIDE = 4
D = SIDE * SIDE


class Dot(nn.Module):
    """w . x; with the sum of outputs as the loss, the gradient of an image is the image."""

    def __init__(self) -> None:
        super().__init__()
        self.w = nn.Parameter(torch.zeros(D))

    def forward(self, images: Tensor) -> Tensor:
        return images.flatten(1) @ self.w


def total(outputs: Tensor, _: Tensor) -> Tensor:
    return outputs.sum()


def gradient_of(pixels: np.ndarray, centre: float, micro_batch: int = 64) -> Gradient:
    """Of images that are normalised to (pixel - centre) / 10."""
    split = Split(pixels.reshape(-1, 1, SIDE, SIDE).astype(np.uint8), np.zeros(len(pixels), int))
    mean, std = torch.tensor([centre / 255]), torch.tensor([10 / 255])
    return Gradient(Dot(), total, Images(split, mean, std, torch.device("cpu")), micro_batch)


@pytest.mark.parametrize("size", [33, 64, 100, 1000])
def test_signal_and_noise_are_right_within_their_standard_errors(size: int) -> None:
    # Pixels 90 or 110 with equal chance, centre 95: mean gradient 0.5, variance 1 in each of D.
    count = 60_000 // size
    pixels = np.random.default_rng(size).choice([90, 110], (count * size, D))
    gradient = gradient_of(pixels, 95)
    together, estimates = NoiseScale(), []
    for k in range(count):
        batch = Batch(torch.arange(k * size, (k + 1) * size))
        alone = NoiseScale()
        gradient.sampled(alone)(batch)
        gradient.sampled(together)(batch)
        estimates.append((float(alone.signal), float(alone.noise)))
    mean, error = np.mean(estimates, 0), np.std(estimates, 0, ddof=1) / count**0.5
    assert error[0] < 0.1 * D and error[1] < 0.3 * D  # the check below says something
    assert abs(mean[0] - D * 0.5**2) < 4 * error[0]  # |G|^2
    assert abs(mean[1] - D * 1.0) < 4 * error[1]  # tr(Sigma)
    assert together.value() == pytest.approx(mean[1] / mean[0], rel=1e-4)


def test_one_step_is_the_formula() -> None:
    # 70 images: two shards of 32, and 6 that only the whole batch sees.
    pixels = np.random.default_rng(0).integers(0, 256, (70, D))
    x = (pixels - 100) / 10
    noise = NoiseScale()
    gradient_of(pixels, 100).sampled(noise)(Batch(torch.arange(70)))
    small = np.mean([np.sum(x[a : a + 32].mean(0) ** 2) for a in (0, 32)])
    big = np.sum(x.mean(0) ** 2)
    assert float(noise.signal) == pytest.approx((70 * big - 32 * small) / (70 - 32), rel=1e-4)
    assert float(noise.noise) == pytest.approx((small - big) / (1 / 32 - 1 / 70), rel=1e-4)


@pytest.mark.parametrize(("batch", "shards"), [(500, 2), (1000, 3), (5000, 16)])
def test_sampling_is_bounded_in_shards(batch: int, shards: int) -> None:
    # Only the images after those shards differ from the mean.
    pixels = np.full((batch, D), 105)
    pixels[32 * shards : 32 * shards + 244] = 145
    noise = NoiseScale()
    gradient_of(pixels, 95).sampled(noise)(Batch(torch.arange(batch)))
    big, small = D * (1 + 244 * 4 / batch) ** 2, D * 1.0
    assert float(noise.noise) == pytest.approx((small - big) / (1 / 32 - 1 / batch), rel=1e-4)


@pytest.mark.parametrize("batch", [33, 64, 70, 200, 600])
@pytest.mark.parametrize("name", ["mlp", "cnn"])
def test_a_sampled_step_returns_the_same_gradient(name: str, batch: int) -> None:
    data = image_data(700, side=8)
    training = start(trial(model=name, batch_size=batch, micro_batch=50), data)
    whole = training.batch(0)
    loss, grads = training.gradient(whole)
    sampled = training.gradient.sampled(NoiseScale())
    for _ in range(2):  # both passes of a SAM step
        again, same = sampled(whole)
        assert float(again) == pytest.approx(float(loss), rel=1e-5)
        for one, other in zip(grads, same, strict=True):
            assert one is not None and other is not None
            assert (one - other).abs().max() < 1e-5 * one.abs().max()


def test_only_the_first_pass_of_a_step_counts() -> None:
    gradient = gradient_of(np.random.default_rng(1).integers(0, 256, (64, D)), 100)
    once, twice = NoiseScale(), NoiseScale()
    gradient.sampled(once)(Batch(torch.arange(64)))
    sampled = gradient.sampled(twice)
    for _ in range(2):
        sampled(Batch(torch.arange(64)))
    assert (float(once.signal), float(once.noise)) == (float(twice.signal), float(twice.noise))


@pytest.mark.parametrize("batch", [1, 31, 32])
def test_undetermined_where_the_batch_is_no_larger_than_a_shard(batch: int) -> None:
    noise = NoiseScale()
    loss, _ = gradient_of(np.full((32, D), 120), 95).sampled(noise)(Batch(torch.arange(batch)))
    assert torch.isfinite(loss)
    assert noise.value() is None
    assert finish(start(trial(batch_size=batch), image_data(40)))[-1]["noise_scale"] is None


def test_undetermined_where_the_signal_is_not_positive() -> None:
    pixels = np.full((64, D), 105)
    pixels[32:] = 85  # the halves cancel around the centre: |g_B| = 0
    noise = NoiseScale()
    gradient_of(pixels, 95).sampled(noise)(Batch(torch.arange(64)))
    assert float(noise.signal) < 0
    assert noise.value() is None


@pytest.mark.parametrize("pair", [(0.0, 0.0), (float("nan"), 1.0), (1.0, float("nan")), (-1, 2)])
def test_undetermined_sums_give_none(pair: tuple[float, float]) -> None:
    assert NoiseScale(*pair).value() is None


def test_sums_are_divided_last() -> None:
    # Two samples with |G|^2 = 1 and 3, S = 100 and 20: 120 / 4, not the mean of 100 and 20 / 3.
    noise = NoiseScale()
    for signal, trace in ((1.0, 100.0), (3.0, 20.0)):
        small, big = signal + trace / 32, signal + trace / 128
        noise.add(torch.tensor(small), torch.tensor(big), 32, 128)
    assert noise.value() == pytest.approx(30.0)


def test_a_trial_samples_every_16th_step_after_its_warmup(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    training = start(trial(batch_size=40, budget="40steps", warmup=0.2, reports=5), image_data())
    seen = []

    class Counted(NoiseScale):
        def add(self, *args) -> None:  # type: ignore[no-untyped-def]
            seen.append(training.step)
            super().add(*args)

    training.noise = Counted()
    reports = finish(training)
    assert seen == [8, 24]
    assert reports[0]["noise_scale"] is None


def test_a_trial_reports_the_ratio_of_its_model(monkeypatch: pytest.MonkeyPatch) -> None:
    # The gradient does not depend on the weights, so that all steps sample the same ratio.
    monkeypatch.setitem(MODELS, "dot", lambda shape, classes: Dot())
    monkeypatch.setitem(LOSSES, "cross_entropy", lambda out, labels: out.sum())
    monkeypatch.setattr("trainables.training.correct", lambda out, labels: torch.tensor(0))
    data = image_data(20_000, classes=3)
    config = trial(model="dot", batch_size=500, budget="400steps", warmup=0.0, micro_batch=500)
    noise_scale = finish(start(config, data))[-1]["noise_scale"]
    x = (data.train.images.reshape(20_000, -1) / 255 - data.mean[0]) / data.std[0]
    assert noise_scale == pytest.approx(x.var(0).sum() / (x.mean(0) ** 2).sum(), rel=0.1)
