"""A step or two of a trial before it counts, so that what cannot train is said in one line."""

import pickle
import random
import re
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import nn

from trainables.data.batches import Batch, DeviceData
from trainables.data.image_data import ImageData
from trainables.network import losses, models
from trainables.spec import plugins
from trainables.spec.errors import UsageError
from trainables.spec.trial import TrialConfig
from trainables.step.formulation import shifted
from trainables.step.gradient import Gradients
from trainables.training import Training

IMAGES = 8
STEPS = 10  # over which a formulation that skips some takes its passes on the average
REPEATS = 8, 200  # of a forward pass, in which a draw shows: at least, and within SECONDS
SECONDS = 0.5
SUM_TOLERANCE = 1e-3
OPTIONS = {
    "optimizer": "--methods",
    "formulation": "--methods",
    "model": "--model",
    "loss": "--loss",
}


Held = Callable[[str], None]  # takes a line: what was checked, and that it held


def check(
    config: TrialConfig, data: ImageData, here: bool = True, held: Held = lambda line: None
) -> None:
    """Train some steps on a few images where anything but the built-in parts is asked for.

    `here` says whether this machine is the one to train on; `held` is told of every check.

    Raises
    ------
    UsageError
        Naming the user's own part that raised or is of the wrong kind, or a --precision that this
        machine does not have.
    """
    if config.precision == "bf16" and here:
        _has_bfloat16(config.device)
        held(f"--precision bf16: this {config.device} has it")
    own = {name: OPTIONS[name] for name in config.foreign}
    if not own:
        held(f"{config.method}: all parts are built in, so none is rehearsed")
        return
    train, val, test = (split.first(IMAGES) for split in (data.train, data.val, data.test))
    few = replace(data, train=train, val=val, test=test)
    m = IMAGES if config.m == config.batch_size else min(config.m, IMAGES // 2)
    small = replace(config, batch_size=IMAGES, m=m, budget="2steps", reports=1, device="cpu")
    try:
        tensors = DeviceData(few, "cpu")
        _check_output(small, tensors, held)
        _check_formulation(small, tensors, held)
        _check_rate(replace(small, formulation="none", rho=0.0), tensors, held)
        # What is remembered every few steps only, as by a lookahead of five, shows in twelve.
        steps = 12 if plugins.is_plugin(config.optimizer) or "formulation" in own else 2
        _check_resume(replace(small, budget=f"{steps}steps", reports=2), tensors)
        held(f"--methods {config.method}: trains {steps} steps, and goes on from its saved state "
             "as without a stop")  # fmt: skip
    except UsageError:
        raise
    except Exception as error:  # a user's code may raise whatever it likes
        kind = _culprit(error, {kind: getattr(config, kind) for kind in own})
        raise UsageError(
            f"{own[kind]}: {getattr(config, kind)} raised {plugins.reason(error)}; "
            f"accepted: {'an' if kind == 'optimizer' else 'a'} {kind} that trains (see "
            "trainables/spec/plugins.py)"
        ) from error


@torch.no_grad()
def _check_output(config: TrialConfig, data: DeviceData, held: Held) -> None:
    """The network's promise, the logits and the loss, which later fail in ways that name none."""
    images, labels = data.train.batch(slice(0, IMAGES))
    model, drawn = models.build(config.model, data.shape, data.classes), torch.get_rng_state()
    model.train()
    logits = model(images.clone())
    if getattr(model, "capturable", False) and not torch.equal(torch.get_rng_state(), drawn):
        raise plugins.wrong(
            "--model", config.model, "is capturable = True and draws at random", "one that is not"
        )
    good = (len(labels), data.classes)
    evaluated = _logits(model, images, training=False)
    for mode, given in (("training", logits), ("evaluation", evaluated)):
        if not isinstance(given, torch.Tensor) or given.shape != good:
            what = f"gives {_kind(given)} for {len(labels)} images in {mode}"
            raise plugins.wrong("--model", config.model, what, f"logits of shape {good}")
    held(f"--model {config.model}: gives logits of shape {good} in training and in evaluation")
    if not any(p.requires_grad for p in model.parameters()):
        raise plugins.wrong("--model", config.model, "has nothing to train", "one with parameters")
    if config.loss == "cross_entropy" and _are_shares(evaluated):
        what = "gives probabilities in evaluation, of which the loss would take the softmax again"
        raise plugins.wrong("--model", config.model, what, "logits, in both modes")
    if what := _strays(model, images):
        accepted = "draws from torch, as by torch.rand, and a memory in buffers"
        raise plugins.wrong("--model", config.model, what, accepted)
    held(f"--model {config.model}: draws nothing but from torch")
    if not _follows(model, images):
        what = "does not follow its parameters when others take their place"
        raise plugins.wrong("--model", config.model, what, "one that reads them in forward()")
    held(f"--model {config.model}: follows its parameters when others take their place")
    loss = losses.build(config)(logits, labels)
    if not isinstance(loss, torch.Tensor) or loss.ndim:
        raise plugins.wrong(
            "--loss", config.loss, f"gives {_kind(loss)}", "a scalar tensor, summed over images"
        )
    _check_sum(config, logits, labels)
    held(f"--loss {config.loss}: a scalar that is summed over images")


def _check_sum(config: TrialConfig, logits: torch.Tensor, labels: torch.Tensor) -> None:
    """That the loss adds up over images: of an average the gradient would be divided by B again."""
    loss, half = losses.build(config), len(labels) // 2
    whole = float(loss(logits, labels))
    parts = [float(loss(logits[own], labels[own])) for own in (slice(half), slice(half, None))]
    if abs(whole - sum(parts)) > SUM_TOLERANCE * (abs(whole) + sum(map(abs, parts))):
        what = f"gives {whole:.4g} for {len(labels)} images and {parts[0]:.4g} + {parts[1]:.4g} for"
        accepted = "a sum over images, as with reduction='sum'"
        raise plugins.wrong("--loss", config.loss, f"{what} their halves", accepted)


def _logits(model: nn.Module, images: torch.Tensor, training: bool) -> Any:
    """What the network gives, with the same draws each time; it may change its input in place."""
    model.train(training)  # what it gives back some of people's forget
    with torch.random.fork_rng(devices=()):
        torch.manual_seed(0)
        return model(images.clone())


def _are_shares(given: torch.Tensor) -> bool:
    return bool((given >= 0).all()) and torch.allclose(given.sum(1), torch.ones(()), atol=1e-3)


def _strays(model: nn.Module, images: torch.Tensor) -> str:
    """How the network gives otherwise each time, where torch's seed does not reach, if it does:
    SAM's two passes would be of two networks, and a replay of another one."""
    before, alike = _elsewhere(), True
    first, until = _afresh(model, images), time.monotonic() + SECONDS
    least, most = REPEATS
    for number in range(1, most):
        if not alike or (number >= least and time.monotonic() > until):
            break
        alike = torch.allclose(_afresh(model, images), first, 0.0, 0.0, equal_nan=True)
    if before != _elsewhere():
        return "draws from NumPy or random, which no seed of a trial reaches"
    return "" if alike else "draws or remembers what no seed of a trial and no buffer holds"


def _afresh(model: nn.Module, images: torch.Tensor) -> Any:
    """What it gives in training, which may move the buffers that it reads and is not to here."""
    buffers = [(buffer, buffer.clone()) for buffer in model.buffers()]
    given = _logits(model, images, training=True)
    for buffer, value in buffers:
        buffer.copy_(value)
    return given


def _elsewhere() -> tuple[object, ...]:
    """Where the generators of the standard library and NumPy are."""
    state = np.random.get_state(legacy=False)["state"]
    return random.getstate(), state["key"].tobytes(), state["pos"]


def _check_formulation(config: TrialConfig, data: DeviceData, held: Held) -> None:
    """That a user's own leaves the weights where they were, and takes the passes that it says."""
    if ":" not in config.formulation:
        return
    training, spent = Training(config, data), 0.0
    step = training.advance

    def gradient(batch: Batch) -> tuple[torch.Tensor, Gradients]:
        nonlocal spent
        spent += len(batch) / IMAGES
        return step.gradient(batch)

    with torch.no_grad():
        for seed in range(STEPS):
            before = [param.clone() for param in step.gradient.params]
            batch = training.batch(0)
            step.gradient.begin(batch, seed)
            step.formulation(gradient, batch, step.gradient.params)
            if not all(map(torch.equal, step.gradient.params, before)):
                what = "leaves the weights shifted"
                raise plugins.wrong("--methods", config.formulation, what, "them as they were")
    said = STEPS * config.passes
    if not said - max(1, said / 4) <= spent <= said + 1:
        what = f"has passes = {config.passes:g} and takes {spent / STEPS:.2g} a step"
        raise plugins.wrong("--methods", config.formulation, what, "as many as it says")
    held(f"--methods {config.formulation}: leaves the weights as they were, and takes "
         f"{config.passes:g} gradients a step")  # fmt: skip


def _check_rate(config: TrialConfig, data: DeviceData, held: Held) -> None:
    """That a user's own optimizer goes by the rate that it is built with and then set to: at half
    of either it moves otherwise, at once or within STEPS."""
    if not plugins.is_plugin(config.optimizer):
        return

    def end(built: float, given: float, steps: int) -> Sequence[torch.Tensor]:
        training = Training(replace(config, lr=built * config.lr), data)
        for seed in range(steps):
            training.advance(training.batch(0), seed, given * config.lr)
        return training.gradient.params

    def same(built: float, given: float, steps: int) -> bool:
        return all(map(torch.equal, end(1, 1, steps), end(built, given, steps)))

    for built, what in ((0.5, "does not move by config.lr"),
                        (1.0, "does not read 'lr' of its param_groups at each step")):  # fmt: skip
        if all(same(built, 0.5, steps) for steps in (1, STEPS)):
            accepted = "one whose rate is that, since a study varies it, and warmup and schedule do"
            raise plugins.wrong("--methods", config.optimizer, what, accepted)
    held(f"--methods {config.optimizer}: moves by config.lr and by the lr that its groups have")


def _check_resume(config: TrialConfig, data: DeviceData) -> None:
    """That a training that goes on from its saved state is the one that was not interrupted."""
    whole, resumed = Training(config, data), Training(config, data)
    whole.run()
    content = whole.to_bytes()
    try:
        resumed.from_bytes(content)
    except pickle.UnpicklingError as error:
        kind = re.search(r"GLOBAL ([\w.]+)", str(error))  # of a long text with codes for terminals
        what = f"has state that cannot be saved ({kind[1] if kind else type(error).__name__})"
        raise plugins.wrong(*_stateful(config), what, "tensors and plain scalars") from None
    ends = []
    for training in (whole, resumed):
        if not training.done:
            training.run()
        with training.evaluating():
            ends.append([param.clone() for param in training.gradient.params])
    alike = (torch.allclose(a, b, 0.0, 0.0, equal_nan=True) for a, b in zip(*ends, strict=True))
    if not all(alike):
        what = "goes on from its saved state otherwise than without a stop"
        raise plugins.wrong(*_stateful(config), what, "all that it remembers in its state_dict")


def _stateful(config: TrialConfig) -> tuple[str, str]:
    """The option and the name of the part that most likely remembers something."""
    for kind in ("optimizer", "formulation", "model", "loss"):
        if ":" in getattr(config, kind):
            return OPTIONS[kind], getattr(config, kind)
    raise AssertionError("nothing of it is a user's own")


def _follows(model: nn.Module, images: torch.Tensor) -> bool:
    """Whether parameters that are replaced do what parameters do that are changed, at once and
    after a training pass, as they do not where a view of one or what was made of it was kept."""
    params = [p for p in model.parameters() if p.requires_grad]
    half = [p / 2 for p in params]
    _logits(model, images, training=False)  # from which one may keep
    with shifted(params, list(half)):
        replaced = _logits(model, images, training=False)
    for param, more in zip(params, half, strict=True):
        param.add_(more)
    changed = _logits(model, images, training=False)
    _afresh(model, images)
    after = _logits(model, images, training=False)
    pairs = ((replaced, changed), (changed, after))
    return all(torch.allclose(*pair, rtol=1e-3, atol=1e-5, equal_nan=True) for pair in pairs)


def _kind(value: object) -> str:
    if isinstance(value, torch.Tensor):
        return f"shape {tuple(value.shape)}"
    return f"a {type(value).__name__}"


def _culprit(error: BaseException, own: dict[str, str]) -> str:
    """Which part the innermost frame is of: of its module, and better of its own name."""
    found, trace = list(own)[-1], error.__traceback__
    while trace:
        frame = trace.tb_frame
        names = {frame.f_code.co_name, type(frame.f_locals.get("self")).__name__}
        module = frame.f_globals.get("__name__")
        inside = [kind for kind, name in own.items() if name.partition(":")[0] == module]
        exact = [kind for kind in inside if own[kind].partition(":")[2] in names]
        found = next(iter(exact or inside), found)
        trace = trace.tb_next
    return found


def _has_bfloat16(device: str) -> None:
    if device.startswith("cuda"):
        capable = torch.cuda.is_available() and torch.cuda.is_bf16_supported()
    else:
        capable = torch.ops.mkldnn._is_mkldnn_bf16_supported()
    if not capable:
        raise UsageError(f"--precision: this {device} has no bfloat16; accepted: fp32")
