"""Eigenvalues and traces against known spectra, dense Hessians and other libraries."""

import math
from collections.abc import Callable

import numpy as np
import pytest
import torch
from scipy.sparse.linalg import LinearOperator, eigsh
from scipy.stats import binomtest, t
from torch import nn

from tests.helpers.minima_reference import (
    dense_hessian,
    images,
    objective_of,
    quadratic,
    relu_mlp,
    small_cnn,
    smooth_mlp,
    symmetric,
    trained,
)
from trainables.minima import curvature
from trainables.minima import objective as module
from trainables.minima.curvature import spectrum, trace
from trainables.minima.objective import Objective
from trainables.network.losses import cross_entropy

NETWORKS = pytest.mark.parametrize("network", [smooth_mlp, relu_mlp, small_cnn])


def test_a_quadratic_has_the_spectrum_it_was_given() -> None:
    eigenvalues = [-9.0, -1, 0, 0.5, 1, 1.5, 2, 3, 4, 6, 7, 8]
    found = spectrum(quadratic(symmetric(eigenvalues), torch.ones(12, dtype=torch.float64)))
    assert [m.value for m in found.largest] == pytest.approx([8, 7, 6, 4, 3])
    assert found.smallest.value == pytest.approx(-9)
    assert all(m.converged for m in (*found.largest, found.smallest))


def test_lambda_max_is_the_algebraically_largest() -> None:
    found = spectrum(
        quadratic(symmetric([-50.0, *np.linspace(-1, 2, 60)]), torch.zeros(61).double()),
        top=1,
        bottom=False,
    )
    assert found.largest[0].value == pytest.approx(2, rel=1e-3)


def test_lanczos_needs_fewer_products_than_there_are_weights() -> None:
    values = torch.cat([torch.linspace(-0.1, 0.1, 290).double(), torch.tensor([1.0, 2, 3, 4, 9])])
    found = spectrum(quadratic(symmetric(values), torch.zeros(295).double()))
    assert found.largest[0].products < 80
    assert [m.value for m in found.largest] == pytest.approx([9, 4, 3, 2, 1], rel=1e-6)
    assert found.smallest.value == pytest.approx(-0.1, rel=1e-3)
    assert found.largest[0].residual < 1e-6


def test_a_start_that_nearly_lacks_the_largest_does_not_hide_it() -> None:
    """A residual alone would take the second of a close pair for the first in 2 % of starts."""
    generator = torch.Generator().manual_seed(0)
    bulk = 0.01 * torch.randn(2000, generator=generator, dtype=torch.float64)
    d = torch.cat([torch.tensor([9, 8.9, 8.8, 5, 4, 3, 2, 1]).double(), bulk])
    objective = objective_of(lambda v: (d * v * v).sum() / 2, torch.zeros(len(d)).double())
    found = [spectrum(objective, top=1, bottom=False, seed=seed).largest[0] for seed in range(300)]
    assert max(abs(measure.value - 9) for measure in found) < 1e-2
    assert sum(measure.products for measure in found) / 300 < 20


def test_too_few_products_are_said_not_to_have_converged() -> None:
    objective = quadratic(symmetric(np.linspace(0.1, 1, 200)), torch.zeros(200).double())
    found = spectrum(objective, top=1, bottom=False, most=3)
    assert not found.largest[0].converged
    assert found.largest[0].residual > 1e-3
    assert found.largest[0].products == 3


@NETWORKS
def test_networks_against_the_dense_hessian(network: Callable[[], nn.Module]) -> None:
    model = trained(network())
    truth = np.linalg.eigvalsh(dense_hessian(model))
    objective = Objective(model, cross_entropy, images(), None, torch.float64)
    found = spectrum(objective)
    assert found.largest[0].value == pytest.approx(truth[-1], rel=1e-4)
    assert found.smallest.value == pytest.approx(truth[0], rel=1e-4)
    assert [m.value for m in found.largest] == pytest.approx(truth[:-6:-1], rel=1e-4)
    single = spectrum(Objective(model, cross_entropy, images()), top=1, bottom=False)
    assert single.largest[0].value == pytest.approx(truth[-1], rel=1e-4)


@NETWORKS
def test_the_trace_of_networks_against_the_dense_hessian(network: Callable[[], nn.Module]) -> None:
    model = trained(network())
    truth = np.trace(dense_hessian(model))
    objective = Objective(model, cross_entropy, images(), None, torch.float64)
    found = trace(objective, probes=400)
    assert found.stderr is not None and found.stderr < 0.05 * truth
    assert abs(found.value - truth) < 4 * found.stderr
    assert found.products == 400


def test_the_standard_error_of_the_trace_covers() -> None:
    """With t quantiles, over many seeds, on the Hessian of a network."""
    hessian = dense_hessian(trained(smooth_mlp()))
    objective = quadratic(torch.from_numpy(hessian), torch.zeros(len(hessian)).double())
    repetitions, probes, hits, values = 400, 8, 0, []
    for seed in range(repetitions):
        found = trace(objective, probes=probes, seed=seed)
        values.append(found.value)
        hits += abs(found.value - np.trace(hessian)) <= t.ppf(0.975, probes - 1) * found.stderr
    assert binomtest(hits, repetitions, 0.95).pvalue > 1e-3, hits / repetitions
    error = np.std(values) / math.sqrt(repetitions)
    assert abs(np.mean(values) - np.trace(hessian)) < 4 * error


@NETWORKS
def test_other_libraries_find_the_same(network: Callable[[], nn.Module]) -> None:
    curvlinops = pytest.importorskip("curvlinops")
    model = trained(network()).double()
    inputs, labels = images().batch(slice(0, 41))
    parts = list(zip(inputs.double().split(15), labels.split(15), strict=True))  # the last of 11
    theirs = curvlinops.HessianLinearOperator(
        model, nn.CrossEntropyLoss(reduction="sum"), list(model.parameters()), parts
    )
    objective = Objective(model, cross_entropy, images(), None, torch.float64)
    v = torch.randn(objective.size, generator=objective.random(0), dtype=torch.float64)
    product = objective.hessian()
    ours = product(v)
    operator = LinearOperator(
        (objective.size,) * 2, lambda x: product(torch.from_numpy(x)).numpy(), dtype=np.float64
    )
    largest = eigsh(operator, k=5, which="LA", return_eigenvectors=False)
    torch.testing.assert_close(41 * ours, theirs @ v)  # theirs is of the sum
    assert [m.value for m in spectrum(objective).largest] == pytest.approx(largest[::-1], rel=1e-4)


@NETWORKS
def test_ragged_parts_weigh_by_their_size(
    network: Callable[[], nn.Module], monkeypatch: pytest.MonkeyPatch
) -> None:
    model = trained(network())
    whole = Objective(model, cross_entropy, images(), None, torch.float64)
    v = torch.randn(whole.size, generator=whole.random(0), dtype=torch.float64)
    expected, value, g = whole.hessian()(v), whole.value(whole.w), whole.gradient(whole.w)
    for size, kept in ((7, 2**30), (7, 0), (30, 1)):
        monkeypatch.setattr(module, "PART", size)
        monkeypatch.setattr(module, "KEPT_BYTES", kept)
        cut = Objective(model, cross_entropy, images(), None, torch.float64)
        product = cut.hessian()
        torch.testing.assert_close(product(v), expected)
        torch.testing.assert_close(product(v), expected)
        assert cut.value(cut.w) == pytest.approx(value, rel=1e-12)
        assert cut.gradient(cut.w)[0] == pytest.approx(g[0], rel=1e-12)
        torch.testing.assert_close(cut.gradient(cut.w)[1], g[1])


def test_the_gradient_against_finite_differences() -> None:
    objective = Objective(trained(smooth_mlp()), cross_entropy, images(), 20, torch.float64)
    value, g = objective.gradient(objective.w)
    assert value == objective.value(objective.w)
    for index in (0, 50, objective.size - 1):
        step = torch.zeros_like(objective.w)
        step[index] = 1e-5
        up, down = objective.value(objective.w + step), objective.value(objective.w - step)
        assert float(g[index]) == pytest.approx((up - down) / 2e-5, abs=1e-8)
    first, rest = (
        objective.gradient(objective.w, slice(0, 7)),
        objective.gradient(objective.w, slice(7, 20)),
    )
    torch.testing.assert_close((7 * first[1] + 13 * rest[1]) / 20, g)


def test_a_linear_loss_has_no_curvature() -> None:
    objective = quadratic(torch.zeros(8, 8).double(), torch.ones(8).double())
    found = spectrum(objective)
    assert found.largest[0].value == 0 and found.smallest.value == 0
    assert found.largest[0].converged
    assert trace(objective).value == 0


def test_weights_that_are_frozen_or_unused_do_not_count() -> None:
    model = trained(smooth_mlp())
    model.append(nn.Identity())
    model[-1].unused = nn.Parameter(torch.ones(3))
    model[1].requires_grad_(False)
    objective = Objective(model, cross_entropy, images(), None, torch.float64)
    assert objective.size == sum(p.numel() for p in model.parameters() if p.requires_grad)
    hessian = dense_hessian(model)
    kept = [p.requires_grad for p in model.parameters() for _ in range(p.numel())]
    truth = np.linalg.eigvalsh(hessian[np.ix_(kept, kept)])
    assert spectrum(objective, top=1, bottom=False).largest[0].value == pytest.approx(
        truth[-1], rel=1e-4
    )


def test_a_smallest_eigenvalue_of_zero_is_found() -> None:
    """Of a linear network, whose Hessian is positive semidefinite and singular."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Flatten(), nn.Linear(16 * 16, 3))
    objective = Objective(model, cross_entropy, images(60, side=16))
    found = spectrum(objective)
    assert found.smallest.converged and found.smallest.products < 200
    assert abs(found.smallest.value) < 1e-4 * found.largest[0].value


def test_a_hessian_that_is_not_finite_is_said_to_be_so() -> None:
    objective = quadratic(torch.full((8, 8), math.nan).double(), torch.ones(8).double())
    with pytest.raises(ArithmeticError, match="not finite"):
        spectrum(objective)


def test_a_basis_that_would_not_fit_ends_early(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(curvature, "KRYLOV_BYTES", 15 * 200 * 8)
    objective = quadratic(symmetric(np.linspace(0.1, 1, 200)), torch.zeros(200).double())
    found = spectrum(objective)
    assert found.largest[0].products == 15 and not found.smallest.converged
