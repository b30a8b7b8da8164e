"""A user's own model, data, optimizer, loss or formulation, named as package.module:callable.

Each kind is one class below: what is called with what, and what it must give.
"""

import hashlib
import importlib
import re
import sys
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from trainables.spec.errors import UsageError

if TYPE_CHECKING:
    import numpy as np
    import torch
    from torch import Tensor, nn

    from trainables.data.batches import Batch
    from trainables.spec.trial import TrialConfig

    Gradients = list[Tensor | None]
    GradientOf = Callable[[Batch], tuple[Tensor, Gradients]]

# Those with these first words are the project's own.
NAME = re.compile(
    r"(?!(?:folder|torchvision|timm|torch):)[A-Za-z_]\w*(\.[A-Za-z_]\w*)*:[A-Za-z_]\w*"
)
ACCEPTED = "package.module:callable"


class Model(Protocol):
    """Builds the network: float32 images (N, *shape), normalised -> logits (N, classes).

    It reads its parameters where it uses them, since SAM puts others in their place for a pass.
    A network with an attribute `capturable = True` promises to draw nothing at random in training,
    to keep all of its state in weights and buffers, and to decide nothing by values: with a loss
    and a formulation that are built in, its steps are then captured on a GPU.

    shape : (channels, height, width)
    """

    def __call__(self, shape: tuple[int, int, int], classes: int) -> "nn.Module": ...


@dataclass(frozen=True)
class Raw:
    """A decoded data set: uint8 images (N, C, H, W), int64 labels (N,), class names."""

    train_images: "np.ndarray"
    train_labels: "np.ndarray"
    test_images: "np.ndarray"
    test_labels: "np.ndarray"
    classes: tuple[str, ...]


class Data(Protocol):
    """Loads a data set; validation images are cut from its training images."""

    def __call__(self, data_dir: Path) -> Raw: ...


class Optimizer(Protocol):
    """Builds the base optimizer of a trial from config.lr, config.momentum and the like.

    `lr_range` is where its learning rate is searched without --lr-range.
    """

    lr_range: tuple[float, float]

    def __call__(
        self, params: "list[nn.Parameter]", config: "TrialConfig"
    ) -> "torch.optim.Optimizer": ...


class Loss(Protocol):
    """logits (N, classes), labels (N,) -> the losses of the N images, added up: a scalar.

    Logits are float32, or float64 where Keskar's sharpness is measured.
    """

    def __call__(self, logits: "Tensor", labels: "Tensor") -> "Tensor": ...


class Formulation:
    """What a step does with a batch; to be derived from.

    `passes` are its sequential gradients of a step, on the average. `rho_range` is where its radius
    is searched without --rho-range; None means that it has none. What it remembers from step to
    step belongs into `state_dict`, or a resumed trial would differ from an uninterrupted one.
    """

    passes: float = 2
    rho_range: tuple[float, float] | None = None

    names: Sequence[str] = ()  # of `params`, set before the first step

    def __init__(self, config: "TrialConfig") -> None:
        self.rho, self.m = config.rho, config.m

    def __call__(
        self, gradient: "GradientOf", batch: "Batch", params: "list[nn.Parameter]"
    ) -> "tuple[Tensor, Gradients]":
        """(mean loss at w, gradients for the base step); the weights are as before.

        `gradient` gives (mean loss, gradients) of the batch, or of a part of it (`batch[a:b]`,
        `batch.split(m)`, `batch[mask]`), at the present weights. The first time that it sees an
        image counts as its first pass.
        """
        raise NotImplementedError

    def state_dict(self) -> dict[str, Any]:
        """Tensors and plain scalars."""
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from what `state_dict` gave."""


def is_plugin(name: str) -> bool:
    return NAME.fullmatch(name) is not None


def find(option: str, name: str) -> Any:
    """The callable of that name.

    Raises
    ------
    UsageError
        If it cannot be imported or called.
    """
    module, _, attribute = name.partition(":")
    try:
        found = getattr(importlib.import_module(module), attribute)
    except (Exception, SystemExit) as error:  # a module may raise whatever it likes
        raise UsageError(
            f"{option}: {name} cannot be imported ({reason(error)}); "
            f"accepted: {ACCEPTED} on the Python path"
        ) from None
    if not callable(found):
        raise wrong(option, name, f"is a {type(found).__name__}", "something to call")
    return found


def formulation(name: str) -> type[Formulation]:
    """The formulation of that name."""
    found = find("--methods", name)
    if not (isinstance(found, type) and issubclass(found, Formulation)):
        raise wrong("--methods", name, "is no formulation", "a class derived from Formulation")
    if not isinstance(found.passes, (int, float)) or not 0 < found.passes < 1e6:
        raise wrong("--methods", name, f"has passes = {found.passes!r}", "a positive number")
    return found


def fingerprint(name: str) -> str:
    """A hash of the files that a user's callable is named in and comes from, which are two where a
    package exports it; empty where there is no file."""
    module, _, attribute = name.partition(":")
    named = importlib.import_module(module)
    origin = sys.modules.get(getattr(getattr(named, attribute), "__module__", module), named)
    files = dict.fromkeys(each.__file__ or "" for each in (named, origin))
    try:
        return hashlib.sha256(b"".join(Path(file).read_bytes() for file in files)).hexdigest()
    except OSError:
        return ""


def wrong(option: str, name: str, what: str, accepted: str) -> UsageError:
    """What to raise where a user's callable is not of its kind; `what` says how."""
    return UsageError(
        f"{option}: {name} {what}; accepted: {accepted} (see trainables/spec/plugins.py)"
    )


def reason(error: BaseException) -> str:
    """An exception in one line, with the place in the code that raised it."""
    text = (str(error).splitlines() or [""])[0]
    frames = traceback.extract_tb(error.__traceback__)
    where = f", {Path(frames[-1].filename).name}:{frames[-1].lineno}" if frames else ""
    return f"{type(error).__name__}: {text}{where}"
