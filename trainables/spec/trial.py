"""What is asked of one trial: every value that determines its outcome, validated and flat."""

import functools
import hashlib
import math
import re
from collections.abc import Collection
from dataclasses import asdict, dataclass, fields
from typing import Any, NamedTuple

from trainables.spec import plugins
from trainables.spec.errors import UsageError
from trainables.spec.names import (
    FORMULATIONS,
    LIBRARIES,
    LOSSES,
    NETWORKS,
    OPTIMIZERS,
    of_library,
    weight_decay,
)

SCHEDULES = ("constant", "cosine", "linear")
SCORES = ("log_error", "accuracy", "loss")
PRECISIONS = ("fp32", "bf16")
AUGMENTATIONS = ("shift", "flip", "cutout")
DECAYED = ("all", "weights")
# What `auto` stands for; a digit or a letter mirrored is another one or none.
USUAL = {
    "cifar10": "shift,flip",
    "cifar100": "shift,flip",
    "fashion-mnist": "shift,flip",
    "svhn": "shift",
}
UNITS = ("epochs", "steps", "samples", "grads")
AVERAGES = ("momentum", "beta1", "beta2", "alpha")  # settings that average over steps


def stable_hash(*parts: object) -> int:
    """A 63-bit seed from any printable parts, the same on every machine and in every process."""
    digest = hashlib.sha256("\x1f".join(map(str, parts)).encode()).digest()
    return int.from_bytes(digest[:8], "big") >> 1


def choice(option: str, value: str, accepted: Collection[str]) -> str:
    """`value` if it is accepted.

    Raises
    ------
    UsageError
        Naming the option and what is accepted.
    """
    if value not in accepted:
        raise UsageError(f"{option}: unknown {value!r}; accepted: {', '.join(accepted)}")
    return value


def pluggable(option: str, value: str, accepted: Collection[str]) -> str:
    """`choice` that also takes a user's own package.module:callable."""
    return (
        value if plugins.is_plugin(value) else choice(option, value, (*accepted, plugins.ACCEPTED))
    )


def require_model(name: str) -> None:
    """Raises UsageError where no network can have that name."""
    kind = name.partition(":")[0]
    if name not in NETWORKS and kind != "torchvision" and not plugins.is_plugin(name):
        accepted = ", ".join((*NETWORKS, "torchvision:NAME", plugins.ACCEPTED))
        raise UsageError(f"--model: unknown {name!r}; accepted: {accepted}")


def parse_augment(text: str, dataset: str) -> str:
    """`auto`, `none` or a list of AUGMENTATIONS -> `none` or the list in their order."""
    if text == "auto":
        return USUAL.get(dataset, "none")
    names = [name.strip() for name in text.split(",")]
    for name in names if names != ["none"] else []:
        choice("--augment", name, (*AUGMENTATIONS, "auto", "none"))
    return ",".join(name for name in AUGMENTATIONS if name in names) or "none"


def passes(formulation: str) -> float:
    """Sequential gradients of one step."""
    if known := FORMULATIONS.get(formulation):
        return known.passes
    return plugins.formulation(formulation).passes


def averaged(value: float, batch_size: int, reference: int) -> float:
    """momentum, beta1, beta2 or alpha at a batch size, of what it is at the `reference`, if any.

    1 - x grows with the batch, which keeps the horizon of an average the same in samples, as the
    scaling rules of Malladi et al. (2022) have it; 0 where that is less than a batch.
    """
    if not reference or not value or batch_size == reference:
        return value
    scaled = 1 - batch_size / reference * (1 - value)
    return scaled if scaled > 1e-9 else 0.0


def _require_optimizer(option: str, name: str) -> None:
    if not of_library(name):
        pluggable(option, name, (*OPTIMIZERS, *(f"{each}:NAME" for each in LIBRARIES)))


class Parts(NamedTuple):
    """Of a method; the formulation of a base optimizer alone is `none`, and the loss `` where it is
    the study's first."""

    optimizer: str
    formulation: str
    loss: str


@functools.cache  # a study asks for the parts of its methods again and again
def parse_method(method: str, option: str = "--methods") -> Parts:
    """`momentum@mse+sam` -> (`momentum`, `sam`, `mse`)."""
    base, plus, formulation = method.partition("+")
    optimizer, at, loss = base.partition("@")
    _require_optimizer(option, optimizer)
    if at:
        pluggable(option, loss, LOSSES)
    if plus:
        pluggable(option, formulation, [name for name in FORMULATIONS if name != "none"])
    return Parts(optimizer, formulation or "none", loss)


@dataclass(frozen=True)
class Budget:
    """How long a trial trains: `10epochs`, `2000steps`, `500000samples` or `4000grads`.

    `grads` counts sequential batch gradients, of which SAM spends two a step. Of several, as in
    `20epochs,500steps`, the longest counts: equal epochs starve large batches of steps, and a
    batch that has not fitted the training set is no minimum to compare.
    """

    terms: tuple[tuple[float, str], ...]

    @classmethod
    @functools.cache
    def parse(cls, text: str) -> "Budget":
        terms = []
        for part in text.split(","):
            match = re.fullmatch(r"(\d+(?:\.\d+)?)(epochs|steps|samples|grads)", part.strip())
            if not match or not 0 < float(match[1]) < 1e15:
                raise UsageError(
                    f"--budget: {text!r} is no budget; accepted: a positive number with one of "
                    f"{', '.join(UNITS)}, as in 10epochs or 2000steps, or several of which the "
                    "longest counts, as in 20epochs,500steps"
                )
            terms.append((float(match[1]), match[2]))
        return cls(tuple(terms))

    def steps(self, batch_size: int, train_size: int, passes: float) -> int:
        """Optimizer steps of a trial; the data are one endless stream, so no batch is ragged."""
        per_step = {
            "epochs": batch_size / train_size,
            "steps": 1,
            "samples": batch_size,
            "grads": passes,
        }
        # The small shift keeps 10 epochs of 16,384 at B=64 from losing a step to rounding.
        return max(int(amount / per_step[unit] + 1e-9) for amount, unit in self.terms)


@dataclass(frozen=True)
class Recipe:
    """What all trials of a study have in common.

    `train_size` 0 means all; `label_noise` is the share of training labels that are wrong;
    `bn_batch` images share batch norm's statistics; `eta` is ASAM's; `alpha` averages rmsprop's
    squares, as `beta2` those of the adams; `weight_decay` None is the optimizer's own, and
    `decayed` says of which parameters it is: all, or without biases and normalisation, which have
    one dimension; `clip` is the norm that a step's gradient has at most, 0 being any; `warmup` is
    a fraction of the schedule.
    """

    dataset: str = "glyphs"
    image_size: int = 0
    train_size: int = 0
    model: str = "cnn"
    loss: str = "cross_entropy"
    label_smoothing: float = 0.0
    label_noise: float = 0.0
    augment: str = "none"
    bn_batch: int = 64
    precision: str = "fp32"
    eta: float = 0.01
    momentum: float = 0.9
    beta1: float = 0.9
    beta2: float = 0.999
    alpha: float = 0.99
    weight_decay: float | None = None
    decayed: str = "all"
    clip: float = 0.0
    schedule: str = "cosine"
    warmup: float = 0.1
    budget: str = "10epochs"
    reports: int = 9
    score: str = "log_error"
    micro_batch: int = 1024
    device: str = "cpu"
    threads: int = 1


@dataclass(frozen=True)
class TrialConfig(Recipe):
    """Everything that determines a trial; flat scalars, so that it survives JSON and Ray Tune.

    `m` is the number of images that share one perturbation; 0 means the whole batch. `names_loss`:
    the method's name says the loss, which is not the first of its study.

    Raises
    ------
    UsageError
        For a value out of its domain, naming the command-line option.
    """

    trial_id: str = "trial"
    phase: str = "search"
    role: str = "search"
    data_seed: int = 0
    optimizer: str = "momentum"
    formulation: str = "none"
    batch_size: int = 64
    m: int = 0
    lr: float = 0.05
    rho: float = 0.0
    seed: int = 0
    names_loss: bool = False

    def __post_init__(self) -> None:
        if self.m == 0:
            object.__setattr__(self, "m", self.batch_size)
        decay = weight_decay(self.optimizer, self.weight_decay)
        object.__setattr__(self, "weight_decay", decay)
        _require_optimizer("--method", self.optimizer)
        pluggable("--method", self.formulation, FORMULATIONS)
        pluggable("--loss", self.loss, LOSSES)
        choice("--precision", self.precision, PRECISIONS)
        object.__setattr__(self, "augment", parse_augment(self.augment, self.dataset))
        choice("--decayed", self.decayed, DECAYED)
        choice("--schedule", self.schedule, SCHEDULES)
        choice("--score", self.score, SCORES)
        Budget.parse(self.budget)
        for name in ("batch_size", "reports", "micro_batch", "bn_batch", "threads"):
            self._require(name, getattr(self, name) >= 1, "a whole number of at least 1")
        for name in ("train_size", "image_size", "data_seed"):
            self._require(name, getattr(self, name) >= 0, "a whole number of at least 0")
        for name in ("momentum", "beta1", "beta2", "alpha", "label_smoothing", "label_noise"):
            self._require(name, 0 <= getattr(self, name) < 1, "a number in [0, 1)")
        smoothed = self.label_smoothing == 0 or self.loss == "cross_entropy"
        self._require("label_smoothing", smoothed, f"0 with --loss {self.loss}")
        in_nats = self.score != "loss" or self.loss == "cross_entropy"
        self._require("score", in_nats, f"log_error or accuracy with --loss {self.loss}")
        device = re.fullmatch(r"cpu|cuda(:\d+)?", self.device)
        self._require("device", device is not None, "cpu, cuda or cuda:N")
        self._require("lr", 0 < self.lr < math.inf, "a positive number")
        for name in ("rho", "eta", "weight_decay", "clip"):
            self._require(name, 0 <= getattr(self, name) < math.inf, "a number of at least 0")
        self._require("warmup", 0 <= self.warmup < 1, "a fraction in [0, 1)")
        self._require("m", 1 <= self.m <= self.batch_size, f"1 to the batch size {self.batch_size}")

    def _require(self, name: str, holds: bool, accepted: str) -> None:
        if not holds:
            option = "--" + name.replace("_", "-")
            raise UsageError(
                f"{option}: {getattr(self, name)} is out of range; accepted: {accepted}"
            )

    @property
    def method(self) -> str:
        base = self.optimizer + (f"@{self.loss}" if self.names_loss else "")
        return base + ("" if self.formulation == "none" else f"+{self.formulation}")

    @property
    def foreign(self) -> list[str]:
        """The fields whose part is not built in, but a user's own or a library's."""
        parts = ("optimizer", "formulation", "model", "loss")
        return [name for name in parts if ":" in getattr(self, name)]

    @property
    def passes(self) -> float:
        """Sequential gradients of one step."""
        return passes(self.formulation)

    def steps(self, train_size: int) -> int:
        """Optimizer steps on `train_size` images.

        Raises
        ------
        UsageError
            If a batch is larger than the training set or there are fewer steps than reports.
        """
        if self.batch_size > train_size:
            raise UsageError(
                f"--batch-sizes: {self.batch_size} is larger than the training set; "
                f"accepted: up to its {train_size:,} images"
            )
        steps = Budget.parse(self.budget).steps(self.batch_size, train_size, self.passes)
        if steps < self.reports:
            raise UsageError(
                f"--budget: {self.budget} gives {self.method} at batch size {self.batch_size} "
                f"{steps} steps, fewer than its {self.reports} reports; accepted: a longer budget, "
                "smaller batch sizes or fewer --reports"
            )
        return steps

    def to_dict(self) -> dict[str, Any]:
        """Flat; `names_loss` only where it does, so that a study of one loss is what it was."""
        return {k: v for k, v in asdict(self).items() if k != "names_loss" or v}

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> "TrialConfig":
        """The inverse of `to_dict`; raises UsageError for a name that is not a field."""
        unknown = set(values) - {field.name for field in fields(cls)}
        if unknown:
            raise UsageError(f"trial configuration: unknown fields {', '.join(sorted(unknown))}")
        return cls(**values)
