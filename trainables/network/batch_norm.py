"""Batch norm's running statistics, taken anew before a network is evaluated."""

from collections.abc import Iterable

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from trainables.spec.errors import UsageError
from trainables.spec.trial import TrialConfig


def layers(model: nn.Module) -> list[_BatchNorm]:
    """The layers that normalise over a batch in training; not those that a network has frozen,
    as by `eval()` in its own `train()`."""
    mode = model.training
    model.train()
    normalising = [m for m in model.modules() if isinstance(m, _BatchNorm) and m.training]
    model.train(mode)
    return normalising


def has_batch_norm(model: nn.Module) -> bool:
    """Whether what the network makes of an image depends on the others of its micro-batch."""
    return bool(layers(model))


def ghost_size(batch: int, bn_batch: int) -> int:
    """Images in the smallest of the equal parts, of at most `bn_batch`, that make up a batch."""
    return batch // -(-batch // bn_batch)


def require_pairs(config: TrialConfig) -> None:
    """Raises UsageError where batch norm would be over single images."""
    shards = {config.m, config.batch_size % config.m} - {0}
    if min(ghost_size(shard, config.bn_batch) for shard in shards) < 2:
        raise UsageError(
            f"--bn-batch: batch norm over single images (batch size {config.batch_size}, m "
            f"{config.m}, --bn-batch {config.bn_batch}); accepted: where each has two or more"
        )


@torch.no_grad()
def recalibrate(model: nn.Module, batches: Iterable[Tensor]) -> None:
    """Set every running statistic to its mean over `batches` at the present weights.

    The moving averages of training are a blend of past weights: of nearly all of them where a
    large batch leaves only some tens of steps. Other layers stay as in evaluation.
    """
    normalising = [layer for layer in layers(model) if layer.track_running_stats]
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
