"""Batch norm's running statistics, taken anew before a network is evaluated."""

from collections.abc import Iterable

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm


def layers(model: nn.Module) -> list[_BatchNorm]:
    """The layers that keep running statistics of their batches."""
    found = (layer for layer in model.modules() if isinstance(layer, _BatchNorm))
    return [layer for layer in found if layer.track_running_stats]


def has_batch_norm(model: nn.Module) -> bool:
    """Whether what the network makes of an image depends on the others of its micro-batch."""
    return any(isinstance(layer, _BatchNorm) for layer in model.modules())


@torch.no_grad()
def recalibrate(model: nn.Module, batches: Iterable[Tensor]) -> None:
    """Set every running statistic to its mean over `batches` at the present weights.

    The moving averages of training are a blend of past weights: of nearly all of them where a
    large batch leaves only some tens of steps. Other layers stay as in evaluation.
    """
    normalising = layers(model)
    momenta = [layer.momentum for layer in normalising]
    model.eval()
    for layer in normalising:
        layer.reset_running_stats()
        layer.momentum = None  # the plain mean
        layer.train()
    for images in batches:
        model(images)
    for layer, momentum in zip(normalising, momenta, strict=True):
        layer.momentum = momentum
        layer.eval()
