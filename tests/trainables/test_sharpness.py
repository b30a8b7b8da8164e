"""Sharpness against closed forms, brute force and its invariances."""

import itertools
import json
import math
from collections.abc import Callable
from dataclasses import asdict

import numpy as np
import pytest
import torch
from scipy.optimize import brentq
from torch import Tensor, nn

from tests.helpers.minima_reference import (
    images,
    objective_of,
    quadratic,
    relu_mlp,
    small_cnn,
    symmetric,
    trained,
)
from trainables.minima import sharpness
from trainables.minima.curvature import spectrum
from trainables.minima.objective import Objective
from trainables.minima.sharpness import (
    ball_sharpness,
    epsilon_sharpness,
    mean_sharpness,
    normalised,
)
from trainables.network.losses import cross_entropy, mse


def vector(*values: float) -> Tensor:
    return torch.tensor(values, dtype=torch.float64)


def network_objective(model: nn.Module, count: int | None = None) -> Objective:
    return Objective(model, cross_entropy, images(), count, torch.float64)


# ---- balls


def test_sam_sharpness_of_a_minimum_is_half_rho_squared_lambda_max() -> None:
    objective = quadratic(symmetric([0.1, 0.5, 1, 2, 5]), torch.zeros(5).double())
    found = ball_sharpness(objective, rho=0.3)
    assert found.value == pytest.approx(0.3**2 * 5 / 2, rel=1e-3)
    assert found.converged


@pytest.mark.parametrize("eigenvalues", [[0.1, 1, 2, 4], [-3.0, -1, 0.5, 2], [-3.0, -2, -1, -0.5]])
def test_sam_sharpness_of_a_quadratic_in_closed_form(eigenvalues: list[float]) -> None:
    a, b, rho = symmetric(eigenvalues), vector(0.5, -0.3, 0.2, 0.4), 0.5
    found = ball_sharpness(quadratic(a, b), rho=rho)
    assert found.value == pytest.approx(trust_region(a, b, rho), rel=2e-3)
    assert found.converged and found.residual < sharpness.CONVERGED


def trust_region(a: Tensor, b: Tensor, rho: float) -> float:
    """max b'z + z'Az/2 over |z| <= rho: z = (mu I - A)^-1 b with |z| = rho, or inside."""
    values, vectors = np.linalg.eigh(a.numpy())
    c = vectors.T @ b.numpy()

    def excess(mu: float) -> float:
        return float(np.linalg.norm(c / (mu - values))) - rho

    lowest = max(0.0, values[-1])
    inside = values[-1] < 0 and excess(0.0) < 0
    mu = 0.0 if inside else brentq(excess, lowest + 1e-9, 1e6)
    z = c / (mu - values)
    return float(c @ z + z @ (values * z) / 2)


def test_one_step_is_what_sam_takes() -> None:
    a, b, rho = symmetric([-1.0, 1, 3]), vector(1, 2, -1), 0.2
    expected = rho * b.norm() + rho**2 * (b @ a @ b) / (2 * b.norm() ** 2)
    found = ball_sharpness(quadratic(a, b), rho=rho, steps=1)
    assert found.value == pytest.approx(float(expected), rel=1e-9)
    assert found.converged


def test_where_sams_step_descends_its_rise_is_negative() -> None:
    """As at a point that is no minimum and bends down."""
    a, b = symmetric([-9.0, -9]), vector(0.3, 0.4)
    assert ball_sharpness(quadratic(a, b), rho=0.5, steps=1).value == pytest.approx(-0.875)
    assert ball_sharpness(quadratic(a, b), rho=0.5).value > 0


def test_a_loss_that_is_flat_has_no_sharpness_and_can_be_logged() -> None:
    flat = quadratic(torch.zeros(4, 4).double(), torch.zeros(4).double())
    for found in (ball_sharpness(flat), ball_sharpness(flat, steps=1), epsilon_sharpness(flat)):
        assert found.value == 0 and found.converged is True
        assert json.loads(json.dumps(asdict(found)))["value"] == 0


def test_m_images_share_a_perturbation() -> None:
    """41 images in batches of 16, 16 and 9, each with its own climb, averaged by size."""
    model = trained(relu_mlp())
    objective = network_objective(model)
    inputs, labels = images().batch(slice(0, 41))
    expected = 0.0
    for first in (0, 16, 32):
        x, y = inputs[first : first + 16].double(), labels[first : first + 16]
        copy = relu_mlp().double()
        copy.load_state_dict(model.state_dict())
        loss = cross_entropy(copy(x), y) / len(y)
        grads = torch.autograd.grad(loss, list(copy.parameters()))
        length = math.sqrt(sum(float((g * g).sum()) for g in grads))
        with torch.no_grad():
            for p, g in zip(copy.parameters(), grads, strict=True):
                p += 0.05 * g / length
            expected += float(cross_entropy(copy(x), y)) - float(loss) * len(y)
    found = ball_sharpness(objective, rho=0.05, m=16, steps=1)
    assert found.value == pytest.approx(expected / 41, rel=1e-9)


def test_asam_sharpness_of_a_quadratic_in_closed_form() -> None:
    """f = w'Aw/2 in u, w + |w| u: a trust region with |w| g and |w| A |w|."""
    a, w, rho = symmetric([0.5, 1, 2]), vector(1, -2, 0.5), 0.3
    objective = quadratic(a, torch.zeros(3).double(), w)
    t = torch.diag(w.abs())
    found = ball_sharpness(objective, rho=rho, adaptive=True)
    assert found.value == pytest.approx(trust_region(t @ a @ t, t @ a @ w, rho), rel=2e-3)


def test_more_steps_climb_higher() -> None:
    objective = network_objective(trained(small_cnn()))
    values = [ball_sharpness(objective, rho=0.5, m=41, steps=steps).value for steps in (1, 3, 20)]
    assert values == sorted(values) and values[2] > 1.01 * values[0]


def test_mean_sharpness_of_a_quadratic_is_half_its_weighted_trace() -> None:
    a, w = symmetric([0.5, 1, 2, 3]), vector(1, -2, 0.5, 4)
    objective = quadratic(a, vector(1, 1, 1, 1), w)
    truth = 0.1**2 / 2 * float((torch.diag(a) * w**2).sum())
    found = mean_sharpness(objective, noise=0.1, draws=2000)
    assert found.stderr < 0.05 * truth
    assert abs(found.value - truth) < 4 * found.stderr
    plain = mean_sharpness(objective, noise=0.1, adaptive=False, draws=2000)
    assert abs(plain.value - 0.1**2 / 2 * 6.5) < 4 * plain.stderr


# ---- boxes


def brute_force(function: Callable[[Tensor], Tensor], w: Tensor, r: Tensor, points: int) -> float:
    axes = [torch.linspace(-1, 1, points).double() for _ in w]
    grid = w + torch.cartesian_prod(*axes).view(-1, len(w)) * r
    return max(float(function(row)) for row in grid)


@pytest.mark.parametrize("seed", range(4))
def test_the_box_maximum_against_brute_force(seed: int) -> None:
    """A function with bends and saddles, over a box large enough to hold several of them."""
    generator = torch.Generator().manual_seed(seed)
    mix = torch.randn(3, 3, generator=generator, dtype=torch.float64)
    w = torch.randn(3, generator=generator, dtype=torch.float64)

    def function(v: Tensor) -> Tensor:
        return 2 + torch.tanh(mix @ v).sum() + 0.3 * (v @ mix @ v)

    objective, epsilon = objective_of(function, w), 0.3
    top = brute_force(function, w, epsilon * (w.abs() + 1), 41)
    here = float(function(w))
    found = epsilon_sharpness(objective, epsilon=epsilon, restarts=4)
    assert found.value >= 100 * (top - here) / (1 + here) * (1 - 1e-3)
    assert found.value <= 100 * (top - here) / (1 + here) * 1.02  # the grid misses a little
    assert found.converged


def test_the_box_maximum_of_a_convex_quadratic_is_its_best_corner() -> None:
    a, w = symmetric(np.linspace(0.1, 3, 10)), torch.linspace(-1, 2, 10).double()
    objective, epsilon = quadratic(a, torch.zeros(10).double(), w), 1e-2
    corners = torch.tensor(list(itertools.product((-1.0, 1.0), repeat=10)), dtype=torch.float64)
    z = corners * epsilon * (w.abs() + 1)
    top = float((z @ a @ w + ((z @ a) * z).sum(1) / 2).max())
    here = objective.value(objective.w)
    found = epsilon_sharpness(objective, epsilon=epsilon)
    assert found.value == pytest.approx(100 * top / (1 + here), rel=1e-6)


def test_no_silent_zero_where_the_gradient_vanishes() -> None:
    """A line search started at w itself stops at once there."""
    a, epsilon = symmetric([1e-3, 2e-3, 5e-3]), 1e-3
    found = epsilon_sharpness(quadratic(a, torch.zeros(3).double()), epsilon=epsilon)
    corners = torch.tensor(list(itertools.product((-1.0, 1.0), repeat=3)), dtype=torch.float64)
    top = float(((corners @ a) * corners).sum(1).max()) / 2 * epsilon**2
    assert found.value == pytest.approx(100 * top / 2, rel=1e-4)  # f(w) is 1
    assert found.value > 0


def test_sharpness_is_never_negative_and_zero_is_not_silent() -> None:
    peak = quadratic(symmetric([-1.0, -2, -3]), torch.zeros(3).double())
    found = epsilon_sharpness(peak, epsilon=0.1)
    assert found.value == 0 and not found.converged
    flat = quadratic(torch.zeros(3, 3).double(), torch.zeros(3).double())
    found = epsilon_sharpness(flat, epsilon=0.1)
    assert found.value == 0 and found.converged


def test_the_random_subspace_against_brute_force() -> None:
    model = trained(relu_mlp())
    objective = network_objective(model, 20)
    region = sharpness.subspace(objective, 5e-3, 2, seed=0)
    axis = torch.linspace(-1, 1, 61).double()
    grid = torch.cartesian_prod(axis, axis)
    top = max(objective.value(region.place(u)) for u in grid)
    here = objective.value(objective.w)
    found = epsilon_sharpness(objective, epsilon=5e-3, dimensions=2, restarts=4)
    assert found.value == pytest.approx(100 * (top - here) / (1 + here), rel=1e-2)
    assert region.place(torch.zeros(2).double()).equal(objective.w)


def test_the_subspace_box_follows_the_pseudo_inverse() -> None:
    objective = network_objective(trained(relu_mlp()))
    region = sharpness.subspace(objective, 1e-3, 3, seed=0)
    a = torch.stack([region.place(e) - objective.w for e in torch.eye(3).double()], 1)
    columns = torch.randn(3, objective.size, generator=objective.random(0), dtype=torch.float64).T
    r = 1e-3 * ((torch.linalg.pinv(columns) @ objective.w).abs() + 1)
    torch.testing.assert_close(a, columns * r)


# ---- invariances


def rescaled(model: nn.Sequential, alpha: float) -> nn.Module:
    """Another network of the same function: a ReLU layer times alpha, the next one over alpha."""
    copy = relu_mlp()
    copy.load_state_dict(model.state_dict())
    with torch.no_grad():
        copy[1].weight *= alpha
        copy[1].bias *= alpha
        copy[3].weight /= alpha
    return copy


def test_adaptive_sharpness_survives_rescaling_and_plain_does_not() -> None:
    model = trained(relu_mlp())
    one, other = network_objective(model), network_objective(rescaled(model, 8.0))
    assert one.value(one.w) == pytest.approx(other.value(other.w), rel=1e-6)
    for measure in (
        lambda o: ball_sharpness(o, rho=0.3, adaptive=True),
        lambda o: ball_sharpness(o, rho=0.3, adaptive=True, steps=1),
        lambda o: mean_sharpness(o, noise=0.1),
    ):
        assert measure(one).value == pytest.approx(measure(other).value, rel=1e-4)
    for measure in (
        lambda o: ball_sharpness(o, rho=0.05),
        lambda o: epsilon_sharpness(o, epsilon=1e-3),
        lambda o: spectrum(o, top=1, bottom=False).largest[0],
    ):
        ratio = measure(one).value / measure(other).value
        assert abs(math.log(ratio)) > 0.1


def test_normalised_logits_take_away_their_scale() -> None:
    model = trained(relu_mlp())
    louder = rescaled(model, 1.0)
    with torch.no_grad():
        louder[5].weight *= 10
        louder[5].bias *= 10
    for loss, same in ((normalised(cross_entropy), True), (cross_entropy, False)):
        one, other = (
            ball_sharpness(Objective(m, loss, images(), None, torch.float64), adaptive=True).value
            for m in (model, louder)
        )
        assert (one == pytest.approx(other, rel=1e-4)) is same
    logits = torch.tensor([[3.0, 1, 2], [5, 5, 5]])
    labels = torch.tensor([0, 1])
    half = math.sqrt(0.5)
    expected = mse(torch.tensor([[half, -half, 0], [0, 0, 0]]), labels)
    torch.testing.assert_close(normalised(mse)(logits, labels), expected)


def test_sharpness_in_float64_resolves_what_float32_cannot() -> None:
    """At f = 1 a rise of 1e-9 is below float32's resolution."""
    a = symmetric([1e-3, 2e-3])
    rises = []
    for dtype in (torch.float32, torch.float64):
        objective = objective_of(
            lambda v: 1 + v @ a.to(v.dtype) @ v / 2, torch.zeros(2).to(dtype), w_dtype=dtype
        )
        rises.append(epsilon_sharpness(objective, epsilon=1e-3).value)
    assert rises[0] == 0 or not math.isclose(rises[0], rises[1], rel_tol=0.01)
    assert 0 < rises[1] < 1e-6
