"""The losses by name; each is a sum over a micro-batch, so that parts add up to the whole."""

import functools

import torch
from torch import Tensor
from torch.nn import functional

from trainables.spec import plugins
from trainables.spec.names import SMOOTHING
from trainables.spec.plugins import Loss
from trainables.spec.trial import TrialConfig


def cross_entropy(logits: Tensor, labels: Tensor, smoothing: float = 0.0) -> Tensor:
    """Summed cross-entropy in nats; logits (N, classes), labels (N,) -> scalar.

    Label smoothing gives every class an equal share of `smoothing` (Szegedy et al. 2016).
    """
    return functional.cross_entropy(logits, labels, reduction="sum", label_smoothing=smoothing)


def mse(logits: Tensor, labels: Tensor) -> Tensor:
    """Squared distance to the one-hot label, the mean over classes, summed over images."""
    target = functional.one_hot(labels, logits.shape[1]).to(logits.dtype)
    return (logits - target).square().mean(1).sum()


LOSSES: dict[str, Loss] = {
    "cross_entropy": cross_entropy,
    "smoothed": functools.partial(cross_entropy, smoothing=SMOOTHING),
    "mse": mse,
}


def build(config: TrialConfig) -> Loss:
    """The loss that the configuration names."""
    if config.label_smoothing:
        return functools.partial(cross_entropy, smoothing=config.label_smoothing)
    return LOSSES.get(config.loss) or plugins.find("--loss", config.loss)


def correct(logits: Tensor, labels: Tensor) -> Tensor:
    """How many of N images the largest logit names correctly, as a device tensor."""
    return (logits.argmax(1) == labels).sum(dtype=torch.int64)
