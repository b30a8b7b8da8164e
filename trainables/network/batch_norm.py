"""Batch norm over ghost batches, and its running statistics, taken anew before an evaluation."""

import contextlib
import functools
from collections.abc import Iterable, Iterator

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.modules.batchnorm import _BatchNorm
from torch.utils.hooks import RemovableHandle

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


def foldable(normalising: list[_BatchNorm]) -> bool:
    """Whether `apart` knows how they normalise: as torch's own, not by a subclass or a patch."""
    forwards = [getattr(layer.forward, "__func__", None) for layer in normalising]
    return all(forward is _BatchNorm.forward for forward in forwards)


@contextlib.contextmanager
def apart(normalising: list[_BatchNorm], count: int) -> Iterator[None]:
    """Inside the block each of `count` equal parts of a batch is normalised by itself, in one call,
    and moves the running statistics as if they came one after another."""
    patched = normalising if count > 1 else []
    for layer in patched:
        layer.forward = functools.partial(_forward, layer, count)  # type: ignore[method-assign]
    try:
        yield
    finally:
        for layer in patched:
            del layer.forward


def _forward(layer: _BatchNorm, count: int, x: Tensor) -> Tensor:
    """(count g, C, ...) as (g, count C, ...), where channels are statistics' own."""
    if not layer.training:  # frozen only now
        return _BatchNorm.forward(layer, x)
    layer._check_input_dim(x)
    last = x.ndim == 4 and not x.is_contiguous() and x.stride(1) == 1
    at = 3 if last else 1  # where channels lie in memory, and are to lie
    x = x.movedim(1, at).unflatten(0, (count, -1)).movedim(0, at)
    x = x.flatten(at, at + 1).movedim(at, 1)
    weight, bias = (p if p is None else p.repeat(count) for p in (layer.weight, layer.bias))
    running = (layer.running_mean, layer.running_var) if layer.track_running_stats else ()
    own = [r.repeat(count) for r in running if r is not None]
    mean, var = own or (None, None)  # the ghost batches' own, at a momentum of 1
    y = functional.batch_norm(x, mean, var, weight, bias, True, 1.0, layer.eps)
    if own:
        _move(layer, count, own)
    y = y.movedim(1, at).unflatten(at, (count, -1)).movedim(at, 0)
    return y.flatten(0, 1).movedim(at, 1)


@torch.no_grad()
def _move(layer: _BatchNorm, count: int, statistics: list[Tensor]) -> None:
    """The running mean and variance by those of `count` ghost batches, one after another."""
    assert layer.num_batches_tracked is not None
    layer.num_batches_tracked.add_(count)
    ages = torch.arange(count, device=statistics[0].device, dtype=statistics[0].dtype).flip(0)
    if layer.momentum is None:  # the plain mean
        shares = torch.ones_like(ages) / layer.num_batches_tracked
    else:
        shares = layer.momentum * (1 - layer.momentum) ** ages
    for running, own in zip((layer.running_mean, layer.running_var), statistics, strict=True):
        assert running is not None
        added = (shares[:, None] * own.view(count, -1)).sum(0)  # a product would be in bfloat16
        running.mul_(1 - shares.sum()).add_(added)


@torch.no_grad()
def recalibrate(model: nn.Module, batches: Iterable[Tensor]) -> None:
    """Set every running statistic to its mean over `batches` at the present weights.

    The moving averages of training are a blend of past weights: of nearly all of them where a
    large batch leaves only some tens of steps. Other layers stay as in evaluation, and so does one
    that the network freezes in its forward pass, or by a momentum of zero.
    """
    normalising = [m for m in layers(model) if m.track_running_stats and m.momentum != 0]
    momenta = [layer.momentum for layer in normalising]
    model.eval()
    hooks: dict[nn.Module, RemovableHandle] = {}

    def begin(layer: nn.Module, _: object) -> None:
        if layer.training and layer in hooks:
            hooks.pop(layer).remove()
            layer.reset_running_stats()  # type: ignore[operator]

    for layer in normalising:
        hooks[layer] = layer.register_forward_pre_hook(begin)
        layer.momentum = None  # the plain mean
        layer.train()
    for images in batches:
        model(images)
    for layer, momentum in zip(normalising, momenta, strict=True):
        layer.momentum = momentum
        layer.eval()
    for hook in hooks.values():
        hook.remove()
