"""The networks by name, built for the shape of the data."""

import copy
import math

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.parameter import is_lazy

from trainables.spec import plugins
from trainables.spec.errors import UsageError
from trainables.spec.plugins import Model
from trainables.spec.trial import require_model

Shape = tuple[int, int, int]  # channels, height, width
SIDES = (0, 32, 64, 96, 128, 192, 224, 299)  # that torchvision's networks are tried at; 0: as it is


def mlp(shape: Shape, classes: int) -> nn.Module:
    """Two hidden layers of 256 units."""
    channels, height, width = shape
    return nn.Sequential(
        nn.Flatten(),
        nn.Linear(channels * height * width, 256),
        nn.ReLU(),
        nn.Linear(256, 256),
        nn.ReLU(),
        nn.Linear(256, classes),
    )


def mlp64(shape: Shape, classes: int) -> nn.Module:
    """Two hidden layers of 64 units: the cheapest network that fits its training set."""
    return nn.Sequential(
        nn.Flatten(),
        nn.Linear(math.prod(shape), 64),
        nn.ReLU(),
        nn.Linear(64, 64),
        nn.ReLU(),
        nn.Linear(64, classes),
    )


class FlattenChannelsLast(nn.Module):
    """(N, C, H, W) -> (N, H*W*C), a view where channels are last in memory: no copy either way."""

    def forward(self, images: Tensor) -> Tensor:
        return images.permute(0, 2, 3, 1).flatten(1)


def cnn(shape: Shape, classes: int) -> nn.Module:
    """Two strided 3x3 convolutions of 8 and 16 channels, a dense layer of 64; no batch norm.

    Strides instead of pooling: the same accuracy range at several times the speed on a CPU.
    """
    return _cnn(shape, classes, batch_norm=False)


def cnn_bn(shape: Shape, classes: int) -> nn.Module:
    """`cnn` with batch norm after each convolution, in place of its bias."""
    return _cnn(shape, classes, batch_norm=True)


def _cnn(shape: Shape, classes: int, batch_norm: bool) -> nn.Module:
    channels, height, width = shape
    quarter = ((height + 3) // 4) * ((width + 3) // 4)
    layers: list[nn.Module] = []
    for before, after in ((channels, 8), (8, 16)):
        layers.append(nn.Conv2d(before, after, 3, stride=2, padding=1, bias=not batch_norm))
        layers += [nn.BatchNorm2d(after)] if batch_norm else []
        layers.append(nn.ReLU())
    dense = [nn.Linear(16 * quarter, 64), nn.ReLU(), nn.Linear(64, classes)]
    return nn.Sequential(*layers, FlattenChannelsLast(), *dense)


class Block(nn.Module):
    """relu(x + bn(conv(relu(bn(conv(x)))))); a strided 1x1 convolution where the shape changes."""

    def __init__(self, before: int, after: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(before, after, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(after)
        self.conv2 = nn.Conv2d(after, after, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(after)
        self.shortcut: nn.Module = nn.Identity()
        if stride > 1 or before != after:
            project = nn.Conv2d(before, after, 1, stride, bias=False)
            self.shortcut = nn.Sequential(project, nn.BatchNorm2d(after))

    def forward(self, x: Tensor) -> Tensor:
        y = functional.relu(self.bn1(self.conv1(x)))
        return functional.relu(self.bn2(self.conv2(y)) + self.shortcut(x))


def resnet8(shape: Shape, classes: int) -> nn.Module:
    """The CIFAR ResNet with one block a stage: 16, 32 and 64 channels (He et al. 2016, n = 1)."""
    return nn.Sequential(
        nn.Conv2d(shape[0], 16, 3, padding=1, bias=False),
        nn.BatchNorm2d(16),
        nn.ReLU(),
        Block(16, 16, 1),
        Block(16, 32, 2),
        Block(32, 64, 2),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(64, classes),
    )


def from_torchvision(name: str, shape: Shape, classes: int) -> nn.Module:
    """A classification network of torchvision without its weights, for any size and channels.

    Its first convolution takes the channels of the data; images too small for it are enlarged to
    the first of `SIDES` at which it runs.
    """
    from torchvision import models  # type: ignore[import-untyped,unused-ignore]

    known = models.list_models(module=models)
    if name not in known:
        raise UsageError(
            f"--model: torchvision has no {name!r}; accepted: torchvision: and one of "
            f"{', '.join(known)}"
        )
    extra = {"aux_logits": False, "init_weights": True} if name in AUXILIARY else {}
    error = ""
    for side in SIDES:
        if side and side <= min(shape[1:]):
            continue
        size: dict[str, object] = {}
        if name.startswith("vit"):
            size = {"image_size": side or shape[1]}
        elif name.startswith("maxvit"):
            size = {"input_size": (side or shape[1],) * 2}
        try:
            model = models.get_model(name, weights=None, num_classes=classes, **extra, **size)
            _take_channels(model, shape[0])
            enlarge = nn.Upsample(size=(side, side), mode="bilinear") if side else nn.Identity()
            whole = nn.Sequential(enlarge, model) if side else model
            with torch.no_grad():
                whole.train()(torch.zeros(2, *shape))
            return whole
        except (RuntimeError, ValueError, AssertionError) as failure:
            error = plugins.reason(failure)
    raise UsageError(
        f"--model: torchvision:{name} does not run on images of {shape[1]}x{shape[2]} ({error}); "
        "accepted: another network"
    )


AUXILIARY = ("googlenet", "inception_v3")  # networks with further outputs while they train


def _take_channels(model: nn.Module, channels: int) -> None:
    """Replace the convolution that takes the image by one for another number of channels."""
    name, first = next((n, m) for n, m in model.named_modules() if isinstance(m, nn.Conv2d))
    if first.in_channels == channels:
        return
    parent, _, attribute = name.rpartition(".")
    new = nn.Conv2d(
        channels,
        first.out_channels,
        first.kernel_size,  # type: ignore[arg-type]
        first.stride,  # type: ignore[arg-type]
        first.padding,  # type: ignore[arg-type]
        bias=first.bias is not None,
    )
    setattr(model.get_submodule(parent), attribute, new)


MODELS: dict[str, Model] = {
    "mlp": mlp,
    "mlp64": mlp64,
    "cnn": cnn,
    "cnn-bn": cnn_bn,
    "resnet8": resnet8,
}


def build(name: str, shape: Shape, classes: int) -> nn.Module:
    """The network of that name.

    Raises
    ------
    UsageError
        If there is none, or a user's own is not of its kind.
    """
    if name in MODELS:
        return MODELS[name](shape, classes)
    require_model(name)
    kind, _, rest = name.partition(":")
    if kind == "torchvision":
        return from_torchvision(rest, shape, classes)
    made = plugins.find("--model", name)(shape, classes)
    if not isinstance(made, nn.Module):
        raise plugins.wrong("--model", name, f"gives a {type(made).__name__}", "a torch.nn.Module")
    if any(map(is_lazy, (*made.parameters(), *made.buffers()))):  # a forward pass makes them
        made.eval()
        with torch.no_grad():
            made(torch.zeros(2, *shape))
    if _views(made, shape):
        made.register_forward_pre_hook(_channels_first)
        made.channels_first = True  # type: ignore[assignment]
    return made


@torch.no_grad()
def _views(model: nn.Module, shape: Shape) -> bool:
    """Whether the network views what a convolution gives, as in `x.view(len(x), -1)`, which it
    cannot where images have their channels last in memory."""
    images = torch.zeros(2, *shape).to(memory_format=torch.channels_last)
    try:
        own = copy.deepcopy(model).to(memory_format=torch.channels_last)
        with torch.random.fork_rng(devices=()):
            for mode in (False, True):
                own.train(mode)
                own(images)
    except Exception as error:  # of other kinds the rehearsal tells
        return "view size is not compatible" in str(error)
    return False


def _channels_first(model: nn.Module, inputs: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    images, *rest = inputs
    return images.clone(memory_format=torch.contiguous_format), *rest
