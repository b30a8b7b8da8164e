"""The base optimizers by name, and the learning rate over a trial's schedule."""

import contextlib
import functools
import inspect
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import nn
from torch.optim import Optimizer

from trainables.spec import plugins
from trainables.spec.errors import UsageError
from trainables.spec.names import OPTIMIZERS, of_library
from trainables.spec.trial import TrialConfig

# What torch wraps around its optimizers imports its compiler, which takes three seconds of every
# process and is not used here. These wrappers call what this attribute says, where there is one.
for wrapped in (Optimizer.add_param_group, Optimizer.state_dict, Optimizer.load_state_dict):
    inner = getattr(wrapped, "__wrapped__", wrapped)
    setattr(inner, "__dynamo_disable", inner)


def build(config: TrialConfig, params: list[nn.Parameter], names: Sequence[str] = ()) -> Optimizer:
    """The base optimizer; weight decay lives here, so the perturbation does not see it.

    A user's own gets (name, parameter) pairs if its first argument is called `named_params` or
    `named_parameters`.

    `adamw` decouples it (Loshchilov & Hutter 2019), `lars` and `lamb` put it into the ratio by
    which they scale a layer, the others couple it to the gradient (L2).

    Raises
    ------
    UsageError
        Where a user's own is none, has a rate by another name, or decays what it is not to.
    """
    name = config.optimizer
    if name in ("lars", "lamb"):
        return _layerwise(config, params)
    if of_library(name):
        return _from_library(config, _groups(config, params))
    if name in OPTIMIZERS:
        return _built_in(config, params)
    make = plugins.find("--methods", name)
    made = make(list(zip(names, params, strict=True)) if _wants_names(make) else params, config)
    if not isinstance(made, Optimizer):
        raise plugins.wrong(
            "--methods", name, f"gives a {type(made).__name__}", "a torch.optim.Optimizer"
        )
    if strange := [group for group in made.param_groups if "lr" not in group]:
        what = f"has param_groups without 'lr' ({', '.join(sorted({*strange[0]} - {'params'}))})"
        accepted = "one whose rate is called lr, since warmup and schedule set that"
        raise plugins.wrong("--methods", name, what, accepted)
    if config.decayed == "weights":
        _require_spared(name, made)
    if modes := _modes(made):
        modes[1]()  # schedule-free ones take no step before
    return made


def _require_spared(name: str, made: Optimizer) -> None:
    for group in made.param_groups:
        if group.get("weight_decay") and any(p.ndim <= 1 for p in group["params"]):
            what = "decays biases or normalisation parameters"
            accepted = "groups without weight_decay for those of one dimension"
            raise plugins.wrong("--decayed", name, what, accepted)


def _groups(config: TrialConfig, params: list[nn.Parameter]) -> list[dict[str, Any]]:
    """All parameters, or weights apart from what is not decayed: biases and normalisation, which
    have one dimension."""
    if config.decayed == "all":
        return [{"params": params}]
    weights = [p for p in params if p.ndim > 1]
    others = [p for p in params if p.ndim <= 1]
    groups: list[dict[str, Any]] = [{"params": weights}, {"params": others, "weight_decay": 0.0}]
    return [group for group in groups if group["params"]]


def _built_in(config: TrialConfig, params: list[nn.Parameter]) -> Optimizer:
    """Those of torch."""
    name, groups = config.optimizer, _groups(config, params)
    betas = (config.beta1, config.beta2)
    common: dict[str, Any] = {"lr": config.lr, "weight_decay": config.weight_decay}
    if name in ("sgd", "momentum", "nesterov"):
        return _sgd(groups, 0.0 if name == "sgd" else config.momentum, name == "nesterov", common)
    if name == "adam":
        return torch.optim.Adam(groups, betas=betas, fused=True, **common)
    if name == "adamw":
        return torch.optim.AdamW(groups, betas=betas, fused=True, **common)
    if name == "rmsprop":
        return torch.optim.RMSprop(groups, alpha=config.alpha, foreach=True, **common)
    return torch.optim.Adagrad(groups, foreach=True, **common)


def _from_library(config: TrialConfig, groups: list[dict[str, Any]]) -> Optimizer:
    """torch.optim's class or timm's entry of that name, with those settings that it takes."""
    library, _, name = config.optimizer.partition(":")
    known: dict[str, Any] = {
        "lr": config.lr, "weight_decay": config.weight_decay, "momentum": config.momentum,
        "betas": (config.beta1, config.beta2), "alpha": config.alpha,
    }  # fmt: skip
    if library == "torch":
        if name != "RMSprop":
            del known["alpha"]  # what others call alpha is another thing
        if name != "SGD":
            del known["momentum"]  # nor have others any unless they are asked to
        make = getattr(torch.optim, name, None)
        if isinstance(make, type) and issubclass(make, Optimizer) and make is not Optimizer:
            taken = inspect.signature(make).parameters
            return make(groups, **{key: known[key] for key in known if key in taken})
        raise UsageError(f"--methods: torch.optim has no {name}; accepted: the name of its class")
    from timm.optim import create_optimizer_v2, get_optimizer_info, list_optimizers

    if name not in list_optimizers():
        raise UsageError(
            f"--methods: timm has no optimizer {name}; accepted: what timm.optim.list_optimizers() "
            "gives"
        )
    info = get_optimizer_info(name)
    known.pop("alpha")
    if not (info.has_betas and info.num_betas == 2):
        del known["betas"]
    return create_optimizer_v2(groups, opt=name, **known)


def _wants_names(make: Callable[..., object]) -> bool:
    try:
        first = next(iter(inspect.signature(make).parameters), "")
    except (TypeError, ValueError):  # of a builtin
        return False
    return first in ("named_params", "named_parameters")


def counters(optimizer: Optimizer) -> dict[str, bool | int | float]:
    """Plain numbers that an optimizer has as attributes, such as its own count of steps."""
    return {
        name: value
        for name, value in vars(optimizer).items()
        if not name.startswith("_") and isinstance(value, (bool, int, float))
    }


@contextlib.contextmanager
def evaluating(optimizer: Optimizer) -> Iterator[None]:
    """Inside the block the weights are those to evaluate: an optimizer with modes, as
    schedule-free ones have (Defazio et al. 2024), puts them in place by `eval()`, and those to
    train by `train()`."""
    to_eval, to_train = _modes(optimizer) or (lambda: None, lambda: None)
    to_eval()
    try:
        yield
    finally:
        to_train()


def _modes(optimizer: Optimizer) -> tuple[Callable[[], object], Callable[[], object]] | None:
    """Its `eval` and `train`, where it has both."""
    to_eval, to_train = (getattr(optimizer, name, None) for name in ("eval", "train"))
    return (to_eval, to_train) if callable(to_eval) and callable(to_train) else None


def step_of(config: TrialConfig, optimizer: Optimizer) -> Callable[[], object]:
    """One step, under `torch.no_grad`; of torch's optimizers as built here without torch's
    wrappers, which one from elsewhere may need for its hooks."""
    kind = type(optimizer)
    if config.optimizer in OPTIMIZERS and kind.__module__.startswith("torch.optim"):
        return functools.partial(inspect.unwrap(kind.step), optimizer)
    return optimizer.step


def _sgd(
    groups: list[dict[str, Any]], momentum: float, nesterov: bool, common: dict[str, Any]
) -> Optimizer:
    """Momentum begins at zero in every parameter, which changes nothing, since torch's fused step
    fails where one first gets a gradient when others have theirs."""
    nesterov &= momentum > 0  # without momentum the two are one
    made = torch.optim.SGD(groups, momentum=momentum, nesterov=nesterov, fused=True, **common)
    for group in groups if momentum else ():
        for param in group["params"]:
            made.state[param]["momentum_buffer"] = torch.zeros_like(param)
    return made


def _layerwise(config: TrialConfig, params: list[nn.Parameter]) -> Optimizer:
    """LARS (You et al. 2017) and LAMB (You et al. 2020), from timm.

    A layer's weights are scaled; biases and normalisation parameters are neither scaled nor
    decayed, as in the published large-batch runs.
    """
    from timm.optim.lamb import Lamb  # here, since timm takes seconds to import
    from timm.optim.lars import Lars

    groups = [
        group | {"always_adapt": "weight_decay" not in group}
        for group in _groups(replace(config, decayed="weights"), params)
    ]
    common: dict[str, Any] = {"lr": config.lr, "weight_decay": config.weight_decay}
    if config.optimizer == "lars":
        return Lars(groups, momentum=config.momentum, **common)
    return Lamb(groups, betas=(config.beta1, config.beta2), max_grad_norm=None, **common)


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
