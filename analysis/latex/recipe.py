"""What the parts of a study are, in sentences of LaTeX: network, data, steps, schedule.

Said from the configuration alone; what it does not hold is not said.
"""

import re
from collections.abc import Mapping
from typing import Any

from analysis.latex.tex import breakable, escape, num
from trainables.spec.names import FORMULATIONS, LOSSES, NETWORKS, OPTIMIZERS, weight_decay
from trainables.spec.roles import formulation_of, loss_of, optimizer_of

Facts = Mapping[str, Any]

DECAYS = {
    "coupled": "an L2 term of the gradient",
    "decoupled": "decoupled from the gradient (Loshchilov and Hutter, 2019)",
    "layerwise": "part of each layer's ratio, on weights alone",
}
SCHEDULES = {"constant": "is then constant", "linear": "then falls linearly towards zero",
             "cosine": "then falls towards zero along half a cosine"}  # fmt: skip
AUGMENTATIONS = {
    "shift": "shifts by up to an eighth of a side",
    "flip": "horizontal flips of half the images",
    "cutout": "cutouts of a square of half a side",
}
UNITS = {"epochs": "epochs", "steps": "steps", "samples": "images", "grads": "sequential gradients"}


def listed(parts: list[str]) -> str:
    """`a, b and c`."""
    return " and ".join([", ".join(parts[:-1]), parts[-1]] if len(parts) > 1 else parts)


def given(value: Any) -> str:
    """A number as mathematics, any other value as text."""
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return breakable(value)
    if isinstance(value, int):
        return f"{value:,}".replace(",", "{,}") if abs(value) >= 10_000 else f"{value}"
    return num(f"{value:.6g}")


def code(name: object, most: int = 24) -> str:
    return rf"\texttt{{{breakable(name, most)}}}"


def network(config: Facts) -> list[str]:
    """The network, what it is trained to do, and how batch norm is taken."""
    if "model" not in config:
        return []
    model = str(config["model"])
    own = model.partition(":")
    known = NETWORKS.get(model)
    said = (known and known.said) or (
        f"torchvision's {code(own[2])} from random weights, its first convolution fitted to the "
        "channels of the data and images too small for it enlarged"
        if own[0] == "torchvision"
        else f"{code(model)}"
    )
    lines = [f"The network is {said}."]
    if "loss" in config:
        loss, *others = dict.fromkeys(
            [str(config["loss"]), *filter(None, map(loss_of, config.get("methods") or ()))]
        )
        said = f"It is trained on {LOSSES.get(loss, code(loss))}"
        smoothing = config.get("label_smoothing")
        said += f" with label smoothing {given(smoothing)}" if smoothing else ""
        named = [f"{code(f'@{each}')} on {LOSSES.get(each, code(each))}" for each in others]
        lines.append(said + (f", methods with {listed(named)}" if named else "") + ".")
    if (not known or known.batch_norm) and "bn_batch" in config:
        has = "Batch" if known else "Where it has batch normalisation, batch"
        lines.append(
            f"{has} statistics are over ghost batches of {given(config['bn_batch'])} images at "
            "every batch size, as far as a batch can be cut so, and are taken anew over up to "
            "2,048 training images before each evaluation."
        )
    return lines


def data_set(config: Facts, data: Facts) -> list[str]:
    """The data, their sizes, split, hash and preprocessing."""
    if "dataset" not in config:
        return []
    kind, _, path = str(config["dataset"]).partition(":")
    folder = f"a folder of images ({code(path.rstrip('/').rpartition('/')[2])})"
    said = f"The data are {folder if kind == 'folder' else code(config['dataset'])}"
    if {"train", "val", "test"} <= data.keys():
        sizes = [given(data[split]) for split in ("train", "val", "test")]
        said += f": {sizes[0]} training, {sizes[1]} validation and {sizes[2]} test images"
        if isinstance(data.get("shape"), list):
            size = r"\times".join(map(given, data["shape"]))
            said += f" of ${size}$ (channels, height, width)"
        if isinstance(data.get("classes"), list):
            said += f" in {len(data['classes'])} classes"
    elif config.get("train_size"):
        said += f", {given(config['train_size'])} of their images for training"
    if config.get("image_size"):
        said += f", resized to {given(config['image_size'])} pixels a side"
    lines = [f"{said}."]
    if "sha256" in data:
        lines.append(f"The SHA-256 of class names, images and labels is {code(data['sha256'], 8)}.")
    if "seed" in config:
        lines.append(
            "Validation and training images are drawn from the original training images, "
            f"stratified by class, with the study's seed {given(config['seed'])}; the test images "
            "are the data set's own."
        )
    if isinstance(data.get("mean"), list) and isinstance(data.get("std"), list):
        mean, std = (
            listed([num(f"{x:.4g}") if isinstance(x, (int, float)) else escape(x) for x in some])
            for some in (data["mean"], data["std"])
        )
        lines.append(
            "Pixels are scaled to the range from 0 to 1, less the mean of the training images "
            f"({mean}) and over their standard deviation ({std}), by channel."
        )
    if "augment" in config:
        names = [AUGMENTATIONS.get(n, escape(n)) for n in str(config["augment"]).split(",")]
        used = (
            f"is augmentation by {listed(names)}"
            if config["augment"] != "none"
            else "is no augmentation"
        )
        lines.append(f"There {used}.")
    if noise := config.get("label_noise"):
        lines.append(
            rf"Of the training labels a share of {given(noise)} is replaced by another class, "
            "chosen evenly; validation and test labels are as they were."
        )
    return lines


def methods(config: Facts) -> list[str]:
    """Base optimizers, formulations, and what m is."""
    names = [str(name) for name in config.get("methods") or ()]
    optimizers = list(dict.fromkeys(map(optimizer_of, names)))
    formulations = list(dict.fromkeys(filter(None, map(formulation_of, names))))
    if not names:
        return []
    said = [OPTIMIZERS[o].said if o in OPTIMIZERS else code(o) for o in optimizers]
    said = [_filled(text, config) for text in said]
    lines = [f"The base optimizer{'s are' if len(said) > 1 else ' is'} {listed(said)}."]
    lines += _weight_decay(config, optimizers)
    if scale := config.get("scale_momentum"):
        lines.append(
            "One minus each coefficient of momentum or of an average is proportional to the batch "
            f"size, the values given being those at $B={given(scale)}$ (Malladi et al., 2022); "
            "where that asks for a coefficient of 0 or less there is no averaging."
        )
    for name in formulations:
        own = f"The formulation {code(name)} is the user's own code"
        known = FORMULATIONS.get(name)
        lines.append(_filled(known.said if known else own, config) + ".")
    if formulations and isinstance(config.get("m"), list):
        lines.append(_shards(config["m"]))
    return lines


def _filled(text: str, config: Facts) -> str:
    """The text with `{momentum}` and the like in it as configured, or as their name."""
    for name in ("momentum", "beta1", "beta2", "alpha", "eta"):
        value = config.get(name)
        shown = f"{value:g}" if isinstance(value, (int, float)) else r"\mathit{unknown}"
        text = text.replace(f"{{{name}}}", shown)
    return text


def _weight_decay(config: Facts, optimizers: list[str]) -> list[str]:
    if "weight_decay" not in config:
        return []
    decays = {o: weight_decay(o, config["weight_decay"]) for o in optimizers}
    values = sorted(set(decays.values()))
    if values == [0]:
        return ["There is no weight decay."]
    kinds = {
        how: [o for o in optimizers if o in OPTIMIZERS and OPTIMIZERS[o].decay == kind]
        for kind, how in DECAYS.items()
    }
    known = {how: names for how, names in kinds.items() if names}
    lone = len(known) == 1 and len(optimizers) == len(next(iter(known.values())))
    where = [how if lone else f"{how} in {listed(names)}" for how, names in known.items()]
    of = {
        value: listed([o if o in OPTIMIZERS else code(o) for o in optimizers if decays[o] == value])
        for value in values
    }
    amounts = [num(f"{v:g}") + (f" in {names}" if values[1:] else "") for v, names in of.items()]
    said = f"Weight decay is {listed(amounts)}"
    said += f", {listed(where)}" if where else ""
    if config.get("decayed") == "weights":
        said += ", and spares biases and normalisation parameters"
    return [f"{said}; no perturbation sees it."]


def _shards(ms: list[Any]) -> str:
    if ms == [0]:
        return "All images of a batch share one perturbation ($m=B$)."
    sizes = listed(["$B$" if m == 0 else given(m) for m in ms])
    return (
        f"Each $m$ images of a batch share a perturbation, with $m$ of {sizes}; the gradients of "
        "these shards are averaged by their sizes, and a batch below $m$ is perturbed as a whole."
    )


def schedule(config: Facts) -> list[str]:
    """How long a trial trains, and its learning rate on the way."""
    lines = []
    terms = re.findall(r"([\d.]+)([a-z]+)", str(config.get("budget", "")))
    if terms and all(unit in UNITS for _, unit in terms):
        amounts = " or ".join(f"{escape(amount)} {UNITS[unit]}" for amount, unit in terms)
        longest = ", whichever is longer" if len(terms) > 1 else ""
        said = f"Every trial trains for {amounts}{longest}, at every batch size"
        if any(unit == "grads" for _, unit in terms):
            said += ", of which SAM and ASAM spend two a step"
        lines.append(f"{said}; batches are cut from one endless stream of shuffled epochs, so that "
                     "none is ragged.")  # fmt: skip
    if {"schedule", "warmup"} <= config.keys():
        warmup = config["warmup"]
        rise = (
            rf"rises linearly over the first {num(f'{warmup * 100:g}')}\,\% of the steps and "
            if isinstance(warmup, (int, float)) and warmup
            else ""
        )
        falls = SCHEDULES.get(str(config["schedule"]), f"follows {code(config['schedule'])}")
        falls = falls if rise else falls.replace("then ", "")
        lines.append(f"The learning rate {rise}{falls}; LR is its highest value.")
    if "precision" in config and "micro_batch" in config:
        words = {"fp32": "single precision", "bf16": "bfloat16 autocast"}
        said = words.get(str(config["precision"]), escape(config["precision"]))
        known = NETWORKS.get(str(config.get("model")))
        free = known is not None and not known.batch_norm
        cut = f" and accumulated over micro-batches of up to {given(config['micro_batch'])} images"
        # With batch norm they are whole ghost batches, which have been told of.
        lines.append(f"Gradients are taken in {said}{cut if free else ''}.")
    if clip := config.get("clip"):
        lines.append(f"The base optimizer's gradient is scaled to a norm of {given(clip)} where "
                     "its own is larger.")  # fmt: skip
    return lines
