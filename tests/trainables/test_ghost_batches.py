"""Ghost batches normalised together are those one after another, which stand here as they were."""

import copy
import dataclasses
from collections.abc import Callable, Iterator

import pytest
import torch
from torch import Tensor, nn
from torch.autograd.graph import saved_tensors_hooks
from torch.nn.modules.batchnorm import _BatchNorm

from tests.helpers.trial_reference import finish, image_data, same_bits, start, trial, weights
from trainables.network.batch_norm import apart, foldable, layers
from trainables.step.gradient import Gradient, NoiseScale
from trainables.training import Training

EXACT = {"rtol": 1e-12, "atol": 1e-12}
DATA = image_data(200, 30, 30, side=8)
BN = {"batch_size": 80, "bn_batch": 20, "budget": "20steps", "reports": 4, "lr": 0.02}
LAYERS: dict[str, Callable[[], _BatchNorm]] = {
    "usual": lambda: nn.BatchNorm2d(3),
    "heavy": lambda: nn.BatchNorm2d(3, momentum=0.7),
    "plain mean": lambda: nn.BatchNorm2d(3, momentum=None),
    "not affine": lambda: nn.BatchNorm2d(3, affine=False),
    "no statistics": lambda: nn.BatchNorm2d(3, track_running_stats=False),
    "1d": lambda: nn.BatchNorm1d(3),
    "1d, of series": lambda: nn.BatchNorm1d(3),
    "3d": lambda: nn.BatchNorm3d(3),
}
SHAPES = {"1d": (), "1d, of series": (7,), "3d": (2, 3, 4)}


def one_after_another(layer: nn.Module, images: Tensor, count: int) -> Tensor:
    return torch.cat([layer(part) for part in images.chunk(count)])


def together(layer: nn.Module, images: Tensor, count: int) -> Tensor:
    with apart(layers(layer), count):
        return layer(images)


@pytest.fixture
def double() -> Iterator[None]:
    torch.set_default_dtype(torch.float64)
    torch.manual_seed(0)
    yield
    torch.set_default_dtype(torch.float32)


@pytest.mark.parametrize("last", [False, True])
@pytest.mark.parametrize("name", LAYERS)
def test_output_derivatives_and_statistics_are_those_of_one_after_another(
    name: str, last: bool, double: None
) -> None:
    layer = LAYERS[name]()
    for p in layer.parameters():
        nn.init.normal_(p)
    images = torch.randn(20, 3, *SHAPES.get(name, (5, 6))) * 3 + 1
    if last and images.ndim == 4:
        images = images.to(memory_format=torch.channels_last)
    found = []
    for way in (one_after_another, together):
        mine, x = copy.deepcopy(layer), images.clone().requires_grad_()
        for _ in range(3):  # the statistics of the later ones move what the first have left
            y = way(mine, x, 4)
        inputs = [x, *mine.parameters()]
        first = torch.autograd.grad(y.pow(3).sin().sum(), inputs, create_graph=True)
        second = torch.autograd.grad(sum(g.pow(2).sum() for g in first), inputs)
        found.append(([y, *first, *second], dict(mine.named_buffers()), y.stride()))
        assert "forward" not in vars(mine)
    (values, buffers, strides), (others, moved, other_strides) = found
    torch.testing.assert_close(values, others, **EXACT)
    torch.testing.assert_close(buffers, moved, **EXACT)
    assert strides == other_strides, "what views the output goes on to"


def test_a_layer_frozen_since_is_in_evaluation() -> None:
    layer, images = nn.BatchNorm2d(3), torch.randn(8, 3, 2, 2)
    with apart([layer], 4):
        layer.eval()
        assert torch.equal(layer(images), images / (1 + layer.eps) ** 0.5)
    assert torch.equal(layer.running_mean, torch.zeros(3))  # type: ignore[arg-type]


def with_ghosts_together(training: Training, micro_batch: int = 1024) -> Training:
    """As on a GPU."""
    training.gradient.together, training.gradient.micro_batch = True, micro_batch
    return training


class Watched:
    """How many images the network is called with at a time."""

    def __init__(self, training: Training) -> None:
        self.sizes: list[int] = []
        training.model.register_forward_pre_hook(lambda _, args: self.sizes.append(len(args[0])))


@pytest.mark.parametrize("model", ["cnn-bn", "resnet8"])
@pytest.mark.parametrize(
    ("batch", "micro_batch", "sizes"),
    [
        (80, 1024, [80]),
        (80, 50, [40, 40]),
        (80, 7, [20] * 4),  # a ghost batch at least
        (93, 1024, [57, 36]),  # 19, 19, 19, 18 and 18 images
        (93, 40, [38, 19, 36]),
        (20, 1024, [20]),
    ],
)
def test_a_gradient_is_that_of_one_after_another(
    model: str, batch: int, micro_batch: int, sizes: list[int]
) -> None:
    config = trial(model=model, **BN | {"batch_size": batch})
    found = []
    for training in (start(config, DATA), with_ghosts_together(start(config, DATA), micro_batch)):
        training.model.double()
        _in_double(training.gradient)
        watched = Watched(training)
        training.gradient.begin(training.batch(0), 0)
        loss, grads = training.gradient(training.batch(0))
        found.append([loss, *grads, *training.model.buffers()])
    assert watched.sizes == sizes
    torch.testing.assert_close(found[0], found[1], rtol=1e-10, atol=1e-12)


def _in_double(gradient: Gradient) -> None:
    batch = gradient.images.batch
    gradient.images.batch = lambda i: (batch(i)[0].double(), batch(i)[1])  # type: ignore[method-assign]


def test_the_noise_scale_looks_at_ghost_batches_alone() -> None:
    found = []
    for training in (
        start(trial(model="cnn-bn", **BN), DATA),
        with_ghosts_together(start(trial(model="cnn-bn", **BN), DATA)),
    ):
        watched, noise = Watched(training), NoiseScale()
        training.gradient.begin(training.batch(0), 0)
        training.gradient.sampled(noise)(training.batch(0))
        found.append((float(noise.signal), float(noise.noise)))
    assert watched.sizes == [20, 20, 40]
    assert found[0] == pytest.approx(found[1], rel=1e-4)


@pytest.mark.parametrize("form", ["sam", "asam"])
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_radius_zero_is_the_base_optimizer_to_the_bit(form: str, precision: str) -> None:
    base = trial(model="cnn-bn", precision=precision, **BN)
    one = with_ghosts_together(start(base, DATA))
    zero = dataclasses.replace(base, formulation=form, rho=0.0)
    other = with_ghosts_together(start(zero, DATA))
    finish(one), finish(other)
    assert same_bits(weights(one), weights(other))
    assert same_bits(list(one.model.buffers()), list(other.model.buffers()))


def test_together_they_keep_no_more_for_the_backward_pass_than_one_batch_does() -> None:
    model = nn.Sequential(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Conv2d(4, 2, 3))
    images = torch.randn(64, 1, 8, 8).to(memory_format=torch.channels_last)

    def kept(count: int) -> int:
        found: dict[int, int] = {}

        def pack(tensor: Tensor) -> Tensor:
            found[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
            return tensor

        with saved_tensors_hooks(pack, lambda tensor: tensor), apart(layers(model), count):
            out = model.train()(images)
        assert out.requires_grad
        return sum(found.values())

    assert kept(8) < 1.1 * kept(1)


class Own(nn.BatchNorm2d):
    def forward(self, input: Tensor) -> Tensor:
        return super().forward(input) + input.mean()


def test_what_normalises_in_a_way_of_its_own_is_not_folded() -> None:
    assert foldable([nn.BatchNorm2d(3), nn.BatchNorm1d(2)])
    assert not foldable([nn.BatchNorm2d(3), Own(3)])
    assert not foldable([nn.SyncBatchNorm(3)])
    patched = nn.BatchNorm2d(3)
    patched.forward = lambda x: x  # type: ignore[method-assign]
    assert not foldable([patched])
