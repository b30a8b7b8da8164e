"""The base optimizers by name, and the learning rate over a trial's schedule."""

import functools
import inspect
import math
from collections.abc import Callable
from typing import Any

import torch
from torch import nn
from torch.optim import Optimizer

from trainables.spec import plugins
from trainables.spec.names import OPTIMIZERS
from trainables.spec.trial import TrialConfig

# What torch wraps around its optimizers imports its compiler, which takes three seconds of every
# process and is not used here. These wrappers call what this attribute says, where there is one.
for wrapped in (Optimizer.add_param_group, Optimizer.state_dict, Optimizer.load_state_dict):
    inner = getattr(wrapped, "__wrapped__", wrapped)
    setattr(inner, "__dynamo_disable", inner)


def build(config: TrialConfig, params: list[nn.Parameter]) -> Optimizer:
    """The base optimizer; weight decay lives here, so the perturbation does not see it.

    `adamw` decouples it (Loshchilov & Hutter 2019), `lars` and `lamb` put it into the ratio by
    which they scale a layer, the others couple it to the gradient (L2).
    """
    name = config.optimizer
    betas = (config.beta1, config.beta2)
    common: dict[str, Any] = {"lr": config.lr, "weight_decay": config.weight_decay}
    if name in ("sgd", "momentum", "nesterov"):
        return _sgd(params, 0.0 if name == "sgd" else config.momentum, name == "nesterov", common)
    if name == "adam":
        return torch.optim.Adam(params, betas=betas, fused=True, **common)
    if name == "adamw":
        return torch.optim.AdamW(params, betas=betas, fused=True, **common)
    if name == "rmsprop":
        return torch.optim.RMSprop(params, alpha=config.alpha, foreach=True, **common)
    if name == "adagrad":
        return torch.optim.Adagrad(params, foreach=True, **common)
    if name in ("lars", "lamb"):
        return _layerwise(config, params)
    made = plugins.find("--methods", name)(params, config)
    if not isinstance(made, Optimizer):
        raise plugins.wrong(
            "--methods", name, f"gives a {type(made).__name__}", "a torch.optim.Optimizer"
        )
    return made


def step_of(config: TrialConfig, optimizer: Optimizer) -> Callable[[], object]:
    """One step, under `torch.no_grad`; of torch's optimizers as built here without torch's
    wrappers, which one from elsewhere may need for its hooks."""
    kind = type(optimizer)
    if config.optimizer in OPTIMIZERS and kind.__module__.startswith("torch.optim"):
        return functools.partial(inspect.unwrap(kind.step), optimizer)
    return optimizer.step


def _sgd(
    params: list[nn.Parameter], momentum: float, nesterov: bool, common: dict[str, Any]
) -> Optimizer:
    """Momentum begins at zero in every parameter, which changes nothing, since torch's fused step
    fails where one first gets a gradient when others have theirs."""
    nesterov &= momentum > 0  # without momentum the two are one
    made = torch.optim.SGD(params, momentum=momentum, nesterov=nesterov, fused=True, **common)
    for param in params if momentum else ():
        made.state[param]["momentum_buffer"] = torch.zeros_like(param)
    return made


def _layerwise(config: TrialConfig, params: list[nn.Parameter]) -> Optimizer:
    """LARS (You et al. 2017) and LAMB (You et al. 2020), from timm.

    A layer's weights are scaled; biases and normalisation parameters, which have one dimension,
    are neither scaled nor decayed, as in the published large-batch runs.
    """
    from timm.optim.lamb import Lamb  # here, since timm takes seconds to import
    from timm.optim.lars import Lars

    weights = [p for p in params if p.ndim > 1]
    others = [p for p in params if p.ndim <= 1]
    groups = [
        {"params": weights, "weight_decay": config.weight_decay, "always_adapt": True},
        {"params": others, "weight_decay": 0.0, "always_adapt": False},
    ]
    if config.optimizer == "lars":
        return Lars(groups, lr=config.lr, momentum=config.momentum)
    return Lamb(groups, lr=config.lr, betas=(config.beta1, config.beta2), max_grad_norm=None)


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
