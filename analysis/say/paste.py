"""A recommendation as lines of plain PyTorch to paste: optimizer, schedule, and a step."""

from string import Template

from analysis.questions.recommendation import Recommendation, Untold
from analysis.say.recipe_file import known
from trainables.spec.names import NETWORKS, OPTIMIZERS, SMOOTHING
from trainables.spec.trial import AVERAGES, TrialConfig

DECAYED = "weight_decay=$weight_decay"
MADE = {
    "sgd": f"torch.optim.SGD($of, lr=LR, {DECAYED})",
    "momentum": f"torch.optim.SGD($of, lr=LR, momentum=$momentum, {DECAYED})",
    "nesterov": "torch.optim.SGD(\n    $of, lr=LR, momentum=$momentum, nesterov=True, "
    f"{DECAYED}\n)",
    "adam": f"torch.optim.Adam($of, lr=LR, betas=($beta1, $beta2), {DECAYED})",
    "adamw": f"torch.optim.AdamW($of, lr=LR, betas=($beta1, $beta2), {DECAYED})",
    "rmsprop": f"torch.optim.RMSprop($of, lr=LR, alpha=$alpha, {DECAYED})",
    "adagrad": f"torch.optim.Adagrad($of, lr=LR, {DECAYED})",
    "lars": "timm.optim.Lars(GROUPS, lr=LR, momentum=$momentum)",
    "lamb": "timm.optim.Lamb(GROUPS, lr=LR, betas=($beta1, $beta2), max_grad_norm=None)",
}
GROUPS = """
GROUPS = [  # biases and normalisation are neither scaled nor decayed
    {
        "params": [p for p in parameters if p.ndim > 1],
        "weight_decay": $weight_decay,
        "always_adapt": True,
    },
    {"params": [p for p in parameters if p.ndim <= 1], "weight_decay": 0.0, "always_adapt": False},
]"""
SPARED = """
GROUPS = [  # biases and normalisation are not decayed
    {"params": [p for p in parameters if p.ndim > 1]},
    {"params": [p for p in parameters if p.ndim <= 1], "weight_decay": 0.0},
]"""
CLIP = "    torch.nn.utils.clip_grad_norm_(parameters, $clip)\n"
FACTORS = {
    "constant": "1.0",
    "linear": "(1 - done)",
    "cosine": "(1 + math.cos(math.pi * done)) / 2",
}
HEAD = """# $what
# `model` is yours; call step(images, labels, number) for number = 0 … STEPS - 1.
$notes
import math

import torch
$imports
STEPS, WARMUP = $steps, $warmup
LR = $lr
named = [(name, p) for name, p in model.named_parameters() if p.requires_grad]
parameters = [p for _, p in named]$groups
optimizer = $made


def learning_rate(number):
    if number < WARMUP:
        return LR * (number + 1) / (WARMUP + 1)
    done = (number - WARMUP) / (STEPS - WARMUP)
    return LR * $factor


def gradient(images, labels):
    optimizer.zero_grad()
    logits = model(images)
    loss = $loss
    loss.backward()
    return loss.detach()

"""
ASCENT = {
    "sam": """
RHO = $rho


def ascent():
    g = [p.grad for p in parameters]
    norm = torch.stack([x.norm() for x in g]).norm()
    return [RHO * x / (norm + 1e-12) for x in g]

""",
    "asam": """
RHO, ETA = $rho, $eta


def ascent():
    t = [p.detach().abs() + ETA if "weight" in name else torch.ones_like(p) for name, p in named]
    tg = [a * p.grad for a, p in zip(t, parameters)]
    norm = torch.stack([x.norm() for x in tg]).norm()
    return [RHO * a * x / (norm + 1e-16) for a, x in zip(t, tg)]

""",
}
CLIMBED = """
def climbed(images, labels):
    loss = gradient(images, labels)
    with torch.no_grad():
        kept, e_w = [p.clone() for p in parameters], ascent()
        for p, e in zip(parameters, e_w):
            p.add_(e)
    gradient(images, labels)
    with torch.no_grad():
        for p, w in zip(parameters, kept):
            p.copy_(w)
    return loss

"""
STEP = """
def step(images, labels, number):
    for group in optimizer.param_groups:
        group["lr"] = learning_rate(number)
    loss = $one(images, labels)
$clip    optimizer.step()
    return loss
"""
SHARDS = """
M = $m  # images that share a perturbation


def step(images, labels, number):
    for group in optimizer.param_groups:
        group["lr"] = learning_rate(number)
    mean = [torch.zeros_like(p) for p in parameters]
    loss = 0.0
    for some, theirs in zip(images.split(M), labels.split(M)):
        share = len(theirs) / len(labels)
        loss += share * climbed(some, theirs)
        for p, total in zip(parameters, mean):
            total.add_(p.grad, alpha=share)
    for p, total in zip(parameters, mean):
        p.grad = total
$clip    optimizer.step()
    return loss
"""


def as_python(each: Recommendation, name: str) -> str:
    """Code that needs torch alone, and timm for LARS and LAMB.

    Raises
    ------
    Untold
        For parts that are not built in, and where the tables do not hold all settings.
    """
    trial = known(each)
    foreign = [getattr(trial, part) for part in trial.foreign if part != "model"]
    if foreign:
        raise Untold(f"--format: python cannot write out {', '.join(foreign)}; accepted: text, "
                     "json or toml, or a study of built-in parts")  # fmt: skip
    what = f"{each.line.group.label} at batch size {each.batch_size}, as {name} recommends"
    return write(trial, int(each.steps), what)


def write(trial: TrialConfig, steps: int, what: str) -> str:
    """The code of a trial of so many steps."""
    ascent = ASCENT.get(trial.formulation, "")
    one = STEP if trial.m == trial.batch_size else SHARDS
    by_layer = OPTIMIZERS[trial.optimizer].decay == "layerwise"
    optimizer = trial.optimizer if trial.momentum or trial.optimizer != "nesterov" else "sgd"
    settings = (*AVERAGES, "weight_decay", "rho", "eta", "lr", "m", "clip")
    inner = {name: repr(getattr(trial, name)) for name in settings}
    spared = trial.decayed == "weights" and not by_layer
    inner["of"] = "GROUPS" if spared else "parameters"
    outer = {
        "what": what, "steps": str(steps), "warmup": str(int(trial.warmup * steps)),
        "imports": "import timm.optim\n" if by_layer else "",
        "groups": Template(GROUPS).substitute(inner) if by_layer else SPARED if spared else "",
        "clip": Template(CLIP).substitute(inner) if trial.clip else "",
        "made": Template(MADE[optimizer]).substitute(inner),
        "factor": FACTORS[trial.schedule], "loss": _loss(trial), "notes": _notes(trial),
        "one": "climbed" if ascent else "gradient",
    }  # fmt: skip
    body = HEAD + (ascent + CLIMBED + one if ascent else STEP)
    return Template(body).substitute(inner | outer)


def _loss(trial: TrialConfig) -> str:
    functional = "torch.nn.functional"
    if trial.loss == "mse":
        return f"(logits - {functional}.one_hot(labels, logits.shape[1])).square().mean()"
    smoothing = SMOOTHING if trial.loss == "smoothed" else trial.label_smoothing
    smoothed = f", label_smoothing={smoothing!r}" if smoothing else ""
    return f"{functional}.cross_entropy(logits, labels{smoothed})"


def _notes(trial: TrialConfig) -> str:
    """What the study did that these lines do not."""
    notes = []
    network = NETWORKS.get(trial.model)
    if network is None or network.batch_norm:
        notes.append(
            f"With batch norm the study took its statistics over ghost batches of {trial.bn_batch} "
            "images; these lines take them over what `model` is called with, in both passes of SAM."
        )
    if trial.augment != "none":
        notes.append(f"The study augmented its images: {trial.augment}.")
    if trial.precision != "fp32":
        notes.append(f"The study's layers computed in {trial.precision}.")
    return "".join(f"# {note}\n" for note in notes)
