"""One gradient serves every method and batch size, so an error in it would reach every result."""

import math

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from tests.helpers.trial_reference import finish, image_data, start, trial, weights
from trainables.data.augment import Augment
from trainables.data.batches import Batch, DeviceData
from trainables.network import losses
from trainables.network.losses import LOSSES
from trainables.network.models import MODELS
from trainables.spec.names import OPTIMIZERS
from trainables.step.gradient import Gradient, NoiseScale, Stopped, norm

DATA = image_data(300, side=10, channels=3, classes=4)
IMAGES = DeviceData(DATA, "cpu").train
INDICES = torch.randperm(300, generator=torch.Generator().manual_seed(0))[:200]
BATCH = Batch(INDICES)


def network(name: str) -> nn.Module:
    torch.manual_seed(1)
    return MODELS[name](DATA.shape, 4).to(memory_format=torch.channels_last)


def gradient_of(model: nn.Module, micro_batch: int) -> Gradient:
    return Gradient(model, LOSSES["cross_entropy"], IMAGES, micro_batch)


@pytest.mark.parametrize("name", ["mlp", "cnn"])
@pytest.mark.parametrize("micro_batch", [1, 7, 64, 200, 1000])
def test_micro_batches_change_the_gradient_by_rounding_only(name: str, micro_batch: int) -> None:
    model = network(name)
    loss, grads = gradient_of(model, micro_batch)(BATCH)
    exact = network(name).double()
    images, labels = IMAGES.batch(INDICES)
    whole = functional.cross_entropy(exact(images.double()), labels)
    whole.backward()
    assert float(loss) == pytest.approx(whole.item(), rel=1e-5)
    for grad, param in zip(grads, exact.parameters(), strict=True):
        assert grad is not None and param.grad is not None
        assert (grad - param.grad).abs().max() < 1e-5 * param.grad.abs().max()


def test_gradient_is_the_slope_of_the_mean_loss() -> None:
    class Doubled(nn.Module):
        """Float64 throughout, for central differences."""

        def __init__(self) -> None:
            super().__init__()
            self.inner = nn.Sequential(nn.Flatten(), nn.Linear(300, 3), nn.Tanh(), nn.Linear(3, 4))
            self.inner.double()

        def forward(self, images: Tensor) -> Tensor:
            return self.inner(images.double())

    torch.manual_seed(0)
    model = Doubled()
    images, labels = IMAGES.batch(INDICES)
    _, grads = gradient_of(model, 33)(BATCH)
    generator = torch.Generator().manual_seed(5)
    for param, grad in zip(model.parameters(), grads, strict=True):
        direction = torch.randn(param.shape, generator=generator, dtype=torch.float64)
        heights = []
        for sign in (1, -1):
            with torch.no_grad():
                param += sign * 1e-5 * direction
                heights.append(float(functional.cross_entropy(model(images), labels)))
                param -= sign * 1e-5 * direction
        assert grad is not None
        slope = (heights[0] - heights[1]) / 2e-5
        assert slope == pytest.approx(float((grad * direction).sum()), rel=1e-6, abs=1e-9)


def test_images_of_a_batch_are_normalised_with_their_own_labels() -> None:
    images, labels = IMAGES.batch(INDICES[:5])
    chosen = INDICES[:5].numpy()
    for channel in range(3):
        pixels = DATA.train.images[chosen, channel] / 255
        expected = (pixels - DATA.mean[channel]) / DATA.std[channel]
        torch.testing.assert_close(
            images[:, channel], torch.from_numpy(expected).float(), atol=1e-6, rtol=1e-5
        )
    assert labels.tolist() == DATA.train.labels[chosen].tolist()
    part, _ = IMAGES.batch(slice(3, 9))
    assert torch.equal(part, IMAGES.batch(torch.arange(3, 9))[0])


def test_losses_are_sums_so_that_parts_add_up() -> None:
    logits, labels = torch.randn(9, 4, dtype=torch.float64), torch.arange(9) % 4
    by_hand = -sum(
        float(row[label]) - math.log(sum(math.exp(float(v)) for v in row))
        for row, label in zip(logits, labels, strict=True)
    )
    assert float(LOSSES["cross_entropy"](logits, labels)) == pytest.approx(by_hand, rel=1e-12)
    right = sum(int(max(range(4), key=row.__getitem__)) == k % 4 for k, row in enumerate(logits))
    assert int(losses.correct(logits, labels)) == right


class WithSpare(nn.Module):
    """`spare` is in no output; `frozen` takes no gradient."""

    def __init__(self, shape: tuple[int, int, int], classes: int) -> None:
        super().__init__()
        self.used = nn.Linear(math.prod(shape), classes)
        self.spare = nn.Linear(3, 3)
        self.frozen = nn.Parameter(torch.ones(2), requires_grad=False)

    def forward(self, images: Tensor) -> Tensor:
        return self.used(images.flatten(1))


def test_an_unused_parameter_has_gradient_none() -> None:
    gradient = gradient_of(WithSpare(DATA.shape, 4), 64)
    _, grads = gradient(BATCH)
    assert [grad is None for grad in grads] == [False, False, True, True]
    _, grads = gradient.sampled(NoiseScale())(BATCH)
    assert [grad is None for grad in grads] == [False, False, True, True]


@pytest.mark.parametrize("method", ["none", "sam", "asam"])
@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_unused_and_frozen_parameters_stay_as_they_were(
    optimizer: str, method: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(MODELS, "spare", WithSpare)
    config = trial(model="spare", optimizer=optimizer, formulation=method, rho=0.1, m=5)
    training = start(config, image_data())
    before = {k: v.clone() for k, v in training.model.state_dict().items()}
    finish(training)
    after = training.model.state_dict()
    moved = {name for name in before if not torch.equal(before[name], after[name])}
    assert moved == {"used.weight", "used.bias"}


class Sometimes(nn.Module):
    """The second layer takes part in every other call only, as with stochastic depth."""

    def __init__(self, shape: tuple[int, int, int], classes: int, first: bool) -> None:
        super().__init__()
        self.always = nn.Linear(math.prod(shape), classes)
        self.extra = nn.Linear(classes, classes)
        self.turn = first

    def forward(self, images: Tensor) -> Tensor:
        logits = self.always(images.flatten(1))
        if self.training:
            self.turn = not self.turn
        return self.extra(logits) if self.turn else logits


@pytest.mark.parametrize("first", [False, True])
@pytest.mark.parametrize("method", ["none", "sam"])
@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_parameters_may_take_part_in_some_steps_only(
    optimizer: str, method: str, first: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(MODELS, "now and then", lambda *args: Sometimes(*args, first))
    config = trial(
        model="now and then", optimizer=optimizer, formulation=method, rho=0.1, micro_batch=12
    )
    training = start(config, image_data())
    reports = finish(training)
    assert reports[-1]["steps"] == 7
    assert all(torch.isfinite(tensor).all() for tensor in weights(training))


def test_norm_is_over_all_parameters_and_skips_none() -> None:
    grads = [torch.tensor([[3.0, 0.0]]), None, torch.tensor([4.0, 12.0])]
    assert float(norm(grads)) == pytest.approx(13.0)


def test_the_stop_flag_ends_the_gradient_between_micro_batches() -> None:
    asked = []

    def stop() -> bool:
        asked.append(1)
        return len(asked) > 3

    gradient = Gradient(network("mlp"), LOSSES["cross_entropy"], IMAGES, 10, stop)
    with pytest.raises(Stopped):
        gradient(BATCH)
    assert len(asked) == 4  # of 20 micro-batches


@pytest.mark.parametrize("micro_batch", [1000, 100, 50])
def test_both_passes_of_a_step_see_the_same_images_and_other_steps_see_others(
    micro_batch: int,
) -> None:
    class Greedy(nn.Module):
        """Changes its input in place."""

        def __init__(self) -> None:
            super().__init__()
            self.inner = network("mlp")

        def forward(self, images: Tensor) -> Tensor:
            return self.inner(images.mul_(0.5))

    for model in (network("mlp"), Greedy()):
        gradient = Gradient(
            model, LOSSES["cross_entropy"], IMAGES, micro_batch, augment=Augment("shift,cutout")
        )
        seen = []
        for seed in (1, 2, 1):
            gradient.begin(BATCH, seed)
            seen.append([float(gradient(BATCH)[0]) for _ in range(2)])
        assert all(first == second for first, second in seen)
        assert seen[0] == seen[2] != seen[1]


@pytest.mark.parametrize(("micro_batch", "gathers"), [(1000, 1), (100, 2), (50, 4 + 3)])
def test_a_second_pass_has_the_images_of_the_first_where_they_are_few(
    micro_batch: int, gathers: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    sizes: list[int] = []
    batch = IMAGES.batch
    monkeypatch.setattr(IMAGES, "batch", lambda part: sizes.append(len(part)) or batch(part))
    gradient = gradient_of(network("mlp"), micro_batch)
    for step in (1, 2):
        gradient.begin(BATCH, step)
        first, second = gradient(BATCH), gradient(BATCH)
        assert torch.equal(first[0], second[0]) and len(sizes) == step * gathers


def test_every_part_of_a_batch_has_the_images_that_it_names() -> None:
    """Whatever was kept of another: slices, every other image, masks, choices in any order."""
    generator = torch.Generator().manual_seed(2)
    some = [slice(0, 100), slice(0, 200, 2), slice(100, 200), torch.arange(200) % 2 == 1]
    some += [torch.randperm(200, generator=generator)[:100] for _ in range(4)]
    alone = [gradient_of(network("mlp"), 1000)(Batch(INDICES[each]))[0] for each in some]
    gradient = gradient_of(network("mlp"), 1000)
    gradient.begin(BATCH, 0)
    for each, expected in zip(2 * some, 2 * alone, strict=True):
        assert torch.equal(gradient(BATCH[each])[0], expected)


def test_a_part_knows_where_it_begins_and_a_choice_is_a_pass_over_what_it_is_from() -> None:
    batch = Batch(INDICES, 40)
    parts = [*batch.split(64), *batch.cut(64), batch[30:50][5:10]]
    assert [(part.start, len(part)) for part in parts] == [
        (40, 64), (104, 64), (168, 64), (232, 8),
        (40, 50), (90, 50), (140, 50), (190, 50),
        (75, 5),
    ]  # fmt: skip
    assert all(torch.equal(part.indices, INDICES[part.start - 40 :][: len(part)]) for part in parts)
    chosen = batch[100:][INDICES[100:] > 150]
    assert (chosen.start, chosen.span, chosen.source) == (140, 100, None)
    assert torch.equal(chosen.indices, INDICES[100:][INDICES[100:] > 150])


def test_a_second_pass_over_chosen_images_moves_no_statistics() -> None:
    """As a formulation has it that perturbs by some of a batch alone."""
    for part in (slice(0, 50), INDICES % 2 == 0):
        model = network("cnn-bn")
        gradient = gradient_of(model, 1000)
        gradient.begin(BATCH, 0)
        gradient(BATCH)
        before = [buffer.clone() for buffer in model.buffers()]
        gradient(BATCH[part])
        assert all(map(torch.equal, before, model.buffers()))
