"""How much the loss rises around a minimum: over Keskar's box, SAM's ball and ASAM's ellipsoid.

Each region is the image of a unit ball, u -> w, so that one ascent serves them all.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from scipy.optimize import Bounds, minimize
from torch import Tensor

from trainables.minima.objective import Cost, Measure, Objective
from trainables.network.losses import Loss

SAM_RHO, ASAM_RHO, NOISE = 0.05, 0.5, 0.1
M = 128  # images that share a perturbation
CONVERGED = 0.02  # the gap, in shares of the rise
Function = Callable[[Tensor], tuple[float, Tensor]]  # w -> loss and its gradient


@dataclass(frozen=True)
class Region:
    """w(u) for |u| <= 1, in the maximum norm of a box or the Euclidean one of a ball.

    place : u (k,) -> w (n,); pull : gradient in w (n,) -> gradient in u (k,)
    """

    size: int
    place: Callable[[Tensor], Tensor]
    pull: Callable[[Tensor], Tensor]
    is_box: bool

    def steepest(self, g: Tensor) -> Tensor:
        """The u of norm 1 that g rises most along."""
        return g.sign() if self.is_box else g / g.norm().clamp(min=torch.finfo(g.dtype).tiny)

    def project(self, u: Tensor) -> Tensor:
        """The nearest u of the region."""
        return u.clamp(-1, 1) if self.is_box else u / u.norm().clamp(min=1.0)

    def gap(self, u: Tensor, g: Tensor) -> float:
        """max over the region of g'(v - u): zero just where no first-order step rises further."""
        return float((g.abs().sum() if self.is_box else g.norm()) - u @ g)


def box(objective: Objective, epsilon: float) -> Region:
    """|z_i| <= epsilon (|w_i| + 1) (Keskar et al. 2017, eq. 3 with A the identity)."""
    w, r = objective.w, epsilon * (objective.w.abs() + 1)
    return Region(objective.size, lambda u: w + r * u, lambda g: r * g, True)


def subspace(objective: Objective, epsilon: float, dimensions: int, seed: int = 0) -> Region:
    """w + Az with |z_i| <= epsilon (|(A^+ w)_i| + 1) (Keskar et al. 2017, eq. 3).

    A (n, dimensions) has standard normal entries. It is held whole.
    """
    w, generator = objective.w, objective.random(seed)
    columns = torch.randn(dimensions, objective.size, generator=generator, dtype=objective.dtype)
    a = columns.T.to(objective.device)
    r = epsilon * (torch.linalg.lstsq(a.T @ a, a.T @ w[:, None]).solution[:, 0].abs() + 1)
    return Region(dimensions, lambda u: w + a @ (r * u), lambda g: r * (a.T @ g), True)


def ball(objective: Objective, rho: float, adaptive: bool) -> Region:
    """|z| <= rho, or adaptively |z / |w|| <= rho with every weight's own |w| (Kwon et al. 2021).

    The adaptive one is invariant to rescalings of the weights that keep the function; so it scales
    biases as well, and leaves weights of zero where they are.
    """
    w = objective.w
    r = rho * (w.abs() if adaptive else torch.ones_like(w))
    return Region(objective.size, lambda u: w + r * u, lambda g: r * g, False)


def epsilon_sharpness(
    objective: Objective,
    *,
    epsilon: float = 1e-3,
    dimensions: int = 0,
    restarts: int = 2,
    iterations: int = 10,
    steps: int = 20,
    seed: int = 0,
) -> Measure:
    """phi = 100 (max f(w + z) - f(w)) / (1 + f(w)) over the box (Keskar et al. 2017, metric 2.1).

    The best of `restarts` random interior starts, each climbed from by `iterations` of L-BFGS-B,
    as in the paper, and by `steps` of projected ascent. The residual is the first-order gap in
    shares of the rise. phi is never negative, since z = 0 is in the box; where nothing higher was
    found it is 0 with `converged` false, unless the gradient there vanishes.

    Parameters
    ----------
    objective : in float64, since rises are small beside f
    dimensions : of a random subspace; 0 means the full space
    """
    with objective.cost() as cost:
        if dimensions:
            region = subspace(objective, epsilon, dimensions, seed)
        else:
            region = box(objective, epsilon)
        here = objective.value(objective.w)
        climb = _Climb(region, objective.gradient)
        generator = objective.random(seed + 1)
        for _ in range(restarts):
            start = torch.rand(region.size, generator=generator, dtype=objective.dtype) - 0.5
            climb.lbfgs(start.to(objective.device), iterations)
            climb.ascend(start.to(objective.device), steps)
        rise, gap = climb.result(here)
        return _maximum(cost, 100 * rise / (1 + here), 100 * gap / (1 + here))


def ball_sharpness(
    objective: Objective,
    *,
    rho: float = SAM_RHO,
    adaptive: bool = False,
    m: int = M,
    steps: int = 20,
    seed: int = 0,
) -> Measure:
    """max f(w + z) - f(w) over the ball, in nats; the mean over batches of m images.

    SAM's sharpness (Foret et al. 2021, eq. 1), and adaptively ASAM's (Kwon et al. 2021, eq. 3) as
    measured by Andriushchenko et al. (2023). One step is SAM's own, along the gradient to the rim,
    and may descend; more of them are projected ascent, from w and from a random interior start.
    """
    with objective.cost() as cost:
        region, generator = ball(objective, rho, adaptive), objective.random(seed)
        rise = gap = 0.0
        for first in range(0, objective.count, m):
            batch = slice(first, min(first + m, objective.count))
            share = (batch.stop - batch.start) / objective.count
            if steps == 1:
                rise += share * _one_step(objective, region, batch)
                continue
            here = objective.value(objective.w, batch)
            climb = _Climb(region, partial(objective.gradient, within=batch))
            climb.ascend(torch.zeros_like(objective.w), steps)
            start = torch.randn(region.size, generator=generator, dtype=objective.dtype)
            climb.ascend(region.steepest(start.to(objective.device)) / 2, steps)
            batch_rise, batch_gap = climb.result(here)
            rise, gap = rise + share * batch_rise, gap + share * batch_gap
        return cost.measure(rise) if steps == 1 else _maximum(cost, rise, gap)


def _one_step(objective: Objective, region: Region, batch: slice) -> float:
    here, g = objective.gradient(objective.w, batch)
    rim = region.place(region.steepest(region.pull(g)))
    return objective.value(rim, batch) - here


def _maximum(cost: Cost, rise: float, gap: float) -> Measure:
    """A maximum and how far from it the first-order gap says that it may be, in shares of it."""
    residual = gap / rise if rise > 0 else math.inf if gap > 0 else 0.0
    return cost.measure(rise, residual=residual, converged=residual <= CONVERGED)


def mean_sharpness(
    objective: Objective,
    *,
    noise: float = NOISE,
    adaptive: bool = True,
    draws: int = 16,
    seed: int = 0,
) -> Measure:
    """The mean of f(w + z) - f(w), in nats, z normal with SD noise |w| adaptively, or else `noise`.

    Average-case sharpness (Andriushchenko et al. 2023, section 3). Each draw is taken with its
    negative, so that the gradient at w drops out; the standard error is over these pairs. It may
    be negative.
    """
    with objective.cost() as cost:
        here, w, generator = objective.value(objective.w), objective.w, objective.random(seed)
        scale = noise * (w.abs() if adaptive else torch.ones_like(w))
        pairs = []
        for _ in range(draws):
            z = torch.randn(objective.size, generator=generator, dtype=objective.dtype)
            z = scale * z.to(objective.device)
            pairs.append((objective.value(w + z) + objective.value(w - z)) / 2 - here)
        stderr = float(np.std(pairs, ddof=1)) / math.sqrt(draws) if draws > 1 else math.nan
        return cost.measure(float(np.mean(pairs)), stderr=stderr)


def normalised(loss: Loss) -> Loss:
    """The loss of logits with mean 0 and norm 1, so that their scale is no sharpness.

    As Andriushchenko et al. (2023) have it for adaptive measures.
    """

    def of_normalised(logits: Tensor, labels: Tensor) -> Tensor:
        centred = logits - logits.mean(1, keepdim=True)
        return loss(centred / centred.norm(dim=1, keepdim=True).clamp(min=1e-10), labels)

    return of_normalised


class _Climb:
    """The highest point of a region that several ascents have met."""

    def __init__(self, region: Region, gradient: Function) -> None:
        self.region, self.gradient = region, gradient
        self.best, self.gap = -math.inf, math.inf

    def __call__(self, u: Tensor) -> tuple[float, Tensor]:
        """f and its gradient in u."""
        value, g = self.gradient(self.region.place(u))
        g = self.region.pull(g)
        if value > self.best:
            self.best, self.gap = value, self.region.gap(u, g)
        return value, g

    def result(self, here: float) -> tuple[float, float]:
        """The rise above `here`, never negative, and the gap that is left."""
        return max(0.0, self.best - here), max(0.0, self.gap)

    def ascend(self, u: Tensor, steps: int) -> None:
        """Full steps that shrink towards the end, projected back."""
        for step in range(steps):
            _, g = self(u)
            length = 2 * min(1.0, 0.6 ** (step - steps // 2))
            u = self.region.project(u + length * self.region.steepest(g))
        self(u)

    def lbfgs(self, u: Tensor, iterations: int) -> None:
        """L-BFGS-B on a box.

        f is scaled to a mean slope of 10. In its own scale the first step is as short as the
        gradient at a minimum, which is how the line search comes to stop at once.
        """
        _, g = self(u)
        slope = float(g.abs().mean())
        if slope == 0:
            return

        def descent(x: np.ndarray) -> tuple[float, np.ndarray]:
            value, g = self(torch.from_numpy(x).to(u))
            return -10 / slope * value, -10 / slope * g.double().cpu().numpy()

        minimize(
            descent,
            u.double().cpu().numpy(),
            jac=True,
            method="L-BFGS-B",
            bounds=Bounds(-np.ones(len(u)), np.ones(len(u))),
            options={"maxiter": iterations, "maxcor": 10, "ftol": 0.0, "gtol": 0.0},
        )
