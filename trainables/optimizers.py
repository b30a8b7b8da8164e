"""The base optimizers by name, and the learning rate over a trial's schedule."""

import math
from collections.abc import Iterable
from typing import Any

import torch
from torch import nn

from trainables.config import TrialConfig


def build(config: TrialConfig, params: Iterable[nn.Parameter]) -> torch.optim.Optimizer:
    """The base optimizer; weight decay lives here, so the perturbation does not see it.

    `sgd`, `momentum` and `nesterov` couple it to the gradient (L2), as does `adam`;
    `adamw` decouples it (Loshchilov & Hutter 2019).
    """
    # Not fused: torch's fused SGD fails where a parameter first gets a gradient in a later step.
    common: dict[str, Any] = {"lr": config.lr, "weight_decay": config.weight_decay, "foreach": True}
    if config.optimizer in ("adam", "adamw"):
        kind = torch.optim.Adam if config.optimizer == "adam" else torch.optim.AdamW
        return kind(params, betas=(config.beta1, config.beta2), **common)
    momentum = 0.0 if config.optimizer == "sgd" else config.momentum
    return torch.optim.SGD(
        params, momentum=momentum, nesterov=config.optimizer == "nesterov", **common
    )


def learning_rate(config: TrialConfig, step: int, steps: int) -> float:
    """Learning rate of step 0 … steps-1: linear warmup, then the schedule down towards zero."""
    warmup = int(config.warmup * steps)
    if step < warmup:
        return config.lr * (step + 1) / (warmup + 1)
    progress = (step - warmup) / (steps - warmup)
    factor = {
        "constant": 1.0,
        "linear": 1.0 - progress,
        "cosine": 0.5 * (1.0 + math.cos(math.pi * progress)),
    }[config.schedule]
    return config.lr * factor
