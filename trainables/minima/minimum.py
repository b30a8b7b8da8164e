"""What is measured at a minimum: a few quick figures, or all of them."""

from collections.abc import Callable, Iterator
from dataclasses import replace

import torch
from torch import nn

from trainables.data.batches import Images
from trainables.minima.curvature import spectrum, trace
from trainables.minima.objective import Measure, Objective
from trainables.minima.sharpness import (
    ASAM_RHO,
    ball_sharpness,
    epsilon_sharpness,
    mean_sharpness,
    normalised,
)
from trainables.network.losses import Loss
from trainables.spec import plugins

IMAGES = {"fast": 512, "full": 1024}  # the first of the training images
PROBES = {"fast": 8, "full": 64}
EPSILONS = {"1e3": 1e-3, "5e4": 5e-4}
DIMENSIONS = 100  # of the random subspace
SUBSPACE_WEIGHTS = 2_500_000  # a larger network's subspace would take more than 2 GB
Measures = dict[str, Measure]


def examine(
    model: nn.Module, loss: Loss, images: Images, level: str, count: int = 0
) -> tuple[Measures, list[str]]:
    """Figures by name on the first `count` images, or as many as the level takes where it is 0.

    level : `fast` is lambda_max, the trace with 8 probes and SAM's own one step; `full` is all

    Beside them what could not be measured, a line each: a network or a loss of one's own may, say,
    not be differentiable twice, and the other figures are not lost for it.
    """
    single = Objective(model, loss, images, count or IMAGES[level])
    measures: Measures = {}
    errors: list[str] = []
    for take in _all(single, model, loss) if level == "full" else _few(single):
        try:
            measures |= take()
        except Exception as error:
            errors.append(plugins.reason(error))
    return measures, errors


def _few(objective: Objective) -> Iterator[Callable[[], Measures]]:
    yield lambda: norms(objective)
    yield lambda: {"hessian_trace": trace(objective, probes=PROBES["fast"])}
    yield lambda: {"lambda_max": spectrum(objective, top=1, bottom=False).largest[0]}
    yield lambda: {"sam_sharpness": ball_sharpness(objective, steps=1)}


def _all(objective: Objective, model: nn.Module, loss: Loss) -> Iterator[Callable[[], Measures]]:
    images, count = objective.images, objective.count
    yield lambda: norms(objective)
    yield lambda: {"hessian_trace": trace(objective, probes=PROBES["full"])}
    yield lambda: eigenvalues(objective)
    yield lambda: balls(objective, Objective(model, normalised(loss), images, count))
    yield lambda: boxes(Objective(model, loss, images, count, torch.float64))


def norms(objective: Objective) -> Measures:
    """Loss, norm of the weights and norm of the gradient, without which sharpness misleads."""
    with objective.cost() as cost:
        value, g = objective.gradient(objective.w)
        w = objective.w
        figures = {"sharpness_loss": value, "weight_norm": w.norm(), "gradient_norm": g.norm()}
        return {name: cost.measure(float(figure)) for name, figure in figures.items()}


def eigenvalues(objective: Objective) -> Measures:
    """Both ends of the Hessian's spectrum, and lambda_max / lambda_5 where that is defined."""
    found = spectrum(objective)
    first, fifth = found.largest[0], found.largest[-1]
    measures = {"lambda_max": first, "lambda_min": found.smallest}
    if len(found.largest) == 5 and fifth.value > 0:
        measures["lambda_ratio_5"] = replace(
            first,
            value=first.value / fifth.value,
            residual=(first.residual or 0.0) + (fifth.residual or 0.0),
            converged=first.converged and fifth.converged,
        )
    return measures


def balls(objective: Objective, adaptive: Objective) -> Measures:
    """SAM's sharpness, and ASAM's on the objective of normalised logits, worst and average case."""
    return {
        "sam_sharpness": ball_sharpness(objective),
        "asam_sharpness": ball_sharpness(adaptive, rho=ASAM_RHO, adaptive=True),
        "asam_sharpness_mean": mean_sharpness(adaptive),
    }


def boxes(objective: Objective) -> Measures:
    """Keskar's sharpness in the full space and in a random subspace, of a float64 objective."""
    measures = {}
    for name, epsilon in EPSILONS.items():
        column = f"epsilon_sharpness_{name}"
        measures[column] = epsilon_sharpness(objective, epsilon=epsilon)
        if objective.size <= SUBSPACE_WEIGHTS:
            measures[f"{column}_subspace"] = epsilon_sharpness(
                objective, epsilon=epsilon, dimensions=DIMENSIONS, restarts=1
            )
    return measures
