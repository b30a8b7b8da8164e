"""A step or two of a trial before it counts, so that what cannot train is said in one line."""

from dataclasses import replace

import torch
from torch import nn

from trainables.data.batches import DeviceData
from trainables.data.image_data import ImageData
from trainables.network import losses, models
from trainables.spec import plugins
from trainables.spec.errors import UsageError
from trainables.spec.trial import TrialConfig
from trainables.step.formulation import shifted
from trainables.training import Training

IMAGES = 8
OPTIONS = {
    "optimizer": "--methods",
    "formulation": "--methods",
    "model": "--model",
    "loss": "--loss",
}


def check(config: TrialConfig, data: ImageData, here: bool = True) -> None:
    """Train two steps on a few images where anything but the built-in parts is asked for.

    `here` says whether this machine is the one to train on.

    Raises
    ------
    UsageError
        Naming the user's own part that raised or is of the wrong kind, or a --precision that this
        machine does not have.
    """
    if config.precision == "bf16" and here:
        _has_bfloat16(config.device)
    own = {name: OPTIONS[name] for name in config.foreign}
    if not own:
        return
    train, val, test = (split.first(IMAGES) for split in (data.train, data.val, data.test))
    few = replace(data, train=train, val=val, test=test)
    m = IMAGES if config.m == config.batch_size else min(config.m, IMAGES // 2)
    small = replace(config, batch_size=IMAGES, m=m, budget="2steps", reports=1, device="cpu")
    try:
        tensors = DeviceData(few, "cpu")
        _check_output(small, tensors)
        training = Training(small, tensors)
        training.run()
        training.load_state_dict(training.state_dict())
    except UsageError:
        raise
    except Exception as error:  # a user's code may raise whatever it likes
        kind = _culprit(error, {kind: getattr(config, kind) for kind in own})
        raise UsageError(
            f"{own[kind]}: {getattr(config, kind)} raised {plugins.reason(error)}; "
            f"accepted: a {kind} that trains (see trainables/spec/plugins.py)"
        ) from error


@torch.no_grad()
def _check_output(config: TrialConfig, data: DeviceData) -> None:
    """The network's promise, the logits and the loss, which later fail in ways that name none."""
    images, labels = data.train.batch(slice(0, IMAGES))
    model, drawn = models.build(config.model, data.shape, data.classes), torch.get_rng_state()
    logits = model.train()(images)
    if getattr(model, "capturable", False) and not torch.equal(torch.get_rng_state(), drawn):
        raise plugins.wrong(
            "--model", config.model, "is capturable = True and draws at random", "one that is not"
        )
    good = (len(labels), data.classes)
    if not isinstance(logits, torch.Tensor) or logits.shape != good:
        what = f"gives {_kind(logits)} for {len(labels)} images"
        raise plugins.wrong("--model", config.model, what, f"logits of shape {good}")
    if not _follows(model, images):
        what = "does not follow its parameters when others take their place"
        raise plugins.wrong("--model", config.model, what, "one that reads them in forward()")
    loss = losses.build(config)(logits, labels)
    if not isinstance(loss, torch.Tensor) or loss.ndim:
        raise plugins.wrong(
            "--loss", config.loss, f"gives {_kind(loss)}", "a scalar tensor, summed over images"
        )


def _follows(model: nn.Module, images: torch.Tensor) -> bool:
    """Whether parameters that are replaced do what parameters do that are changed, as they do not
    where a view of one was kept."""

    def logits() -> torch.Tensor:
        with torch.random.fork_rng(devices=()):
            torch.manual_seed(0)
            return model.eval()(images)

    params = [p for p in model.parameters() if p.requires_grad]
    half = [p / 2 for p in params]
    with shifted(params, list(half)):
        replaced = logits()
    for param, more in zip(params, half, strict=True):
        param.add_(more)
    return torch.allclose(replaced, logits(), rtol=1e-3, atol=1e-5, equal_nan=True)


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
