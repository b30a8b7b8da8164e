"""Options that one trial and a study of many have in common."""

from collections.abc import Callable
from typing import Any

from trainables.spec.names import LOSSES, NETWORKS, OPTIMIZERS, averaging
from trainables.spec.plugins import ACCEPTED
from trainables.spec.trial import (
    AUGMENTATIONS,
    DECAYED,
    PRECISIONS,
    SCHEDULES,
    SCORES,
    TrialConfig,
)

Add = Callable[..., Any]
DEFAULT = TrialConfig()
TASK = (
    ("model", str, "NAME", f"{', '.join(NETWORKS)}, torchvision:NAME or {ACCEPTED}"),
    ("loss", str, "NAME", f"{', '.join(LOSSES)} or {ACCEPTED}; of a study a list"),
    ("label_smoothing", float, "X", "share of each label spread over all classes"),
    ("label_noise", float, "SHARE", "training labels that are made wrong"),
    ("augment", str, "LIST", f"of {', '.join(AUGMENTATIONS)}; none; auto: what is usual"),
    ("reports", int, "R", "of each trial"),
    ("score", str, "NAME", "|".join(SCORES)),
)
STEP = (
    ("schedule", str, "NAME", "|".join(SCHEDULES)),
    ("warmup", float, "SHARE", "of the schedule"),
    ("momentum", float, "X", f"of {averaging('momentum')}"),
    ("beta1", float, "X", f"of {averaging('beta1')}"),
    ("beta2", float, "X", f"of {averaging('beta2')}"),
    ("alpha", float, "X", f"of {averaging('alpha')}"),
    ("weight_decay", float, "X", "in the base optimizer"),
    (
        "decayed",
        str,
        "NAME",
        f"{'|'.join(DECAYED)}: not biases and normalisation, as lars and lamb",
    ),
    ("clip", float, "NORM", "of a step's gradient, at most; 0: any"),
    ("eta", float, "X", "of asam"),
    ("bn_batch", int, "N", "images that share batch norm's statistics"),
    ("precision", str, "NAME", "|".join(PRECISIONS)),
)
NAMES = tuple(name for name, *_ in TASK + STEP)
# Resolved by the data set, and by the optimizer.
AUTO = {"augment": "auto", "weight_decay": None}
SAID = {"weight_decay": f"{DEFAULT.weight_decay:g}, adamw {OPTIMIZERS['adamw'].weight_decay:g}"}


def add(options: tuple[tuple[str, type, str, str], ...], to: Add, **preset: Any) -> None:
    """Add those options to a parser's group, with the defaults of TrialConfig; those that a
    `preset` sets have none of their own."""
    for name, kind, metavar, text in options:
        default = preset.get(name, AUTO.get(name, getattr(DEFAULT, name)))
        to(
            "--" + name.replace("_", "-"),
            type=kind,
            metavar=metavar,
            default=None if name in preset else default,
            help=f"{text} (default: {SAID.get(name, default)})",
        )
