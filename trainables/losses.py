"""The losses by name; each is a sum over a micro-batch, so that parts add up to the whole."""

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional

Loss = Callable[[Tensor, Tensor], Tensor]


def cross_entropy(logits: Tensor, labels: Tensor) -> Tensor:
    """Summed cross-entropy in nats; logits (N, classes), labels (N,) -> scalar."""
    return functional.cross_entropy(logits, labels, reduction="sum")


LOSSES: dict[str, Loss] = {"cross_entropy": cross_entropy}


def correct(logits: Tensor, labels: Tensor) -> Tensor:
    """How many of N images the largest logit names correctly, as a device tensor."""
    return (logits.argmax(1) == labels).sum(dtype=torch.int64)
