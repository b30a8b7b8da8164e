"""The fitted surface against scikit-learn's Gaussian process, another optimiser, known noise."""

from dataclasses import replace
from functools import partial

import numpy as np
import pytest
from scipy import optimize, stats  # type: ignore[import-untyped,unused-ignore]
from sklearn.gaussian_process import GaussianProcessRegressor  # type: ignore[import-untyped,unused-ignore]
from sklearn.gaussian_process.kernels import (  # type: ignore[import-untyped,unused-ignore]
    RBF,
    ConstantKernel,
    Matern,
)

from analysis.fit.kernels import CONSTANT, JITTER, PRIORS, Points, Posterior
from analysis.fit.surface import MOST, fit, unwarped, warped
from tests.helpers.observed import TILTED, many, observe

ALL, ONE = 1e6, 1e-3  # lengths over which nothing differs, and everything


def example(d):
    """Three unlike cells with a cliff, one of them without trials, some scores foretold."""
    random = np.random.default_rng(d)
    seen = many(np.zeros((3, d)) + [[0.0], [1.0], [2.0]], 9, random, -0.2 * np.eye(d), noise=0.1)
    y = np.where(seen.x > 3, seen.y - 8, seen.y)
    extra = np.where(np.arange(27) % 5 == 0, 0.04, 0.0)
    return observe(seen.cell * 2, seen.x, y, seen.z, extra, cells=6)


def process(seen):
    """What the Gaussian process sees, its unit and the bend, by the words of the documentation."""
    top = np.array([seen.y[seen.cell == c].max() for c in seen.cell])
    short = top - seen.y
    bend = 8 * np.quantile(short[short > 0], 1 / 3)
    short = np.minimum(short, bend)
    v = -bend * np.log(1 + short / bend)
    slope = 1 / (1 + short / bend)  # what is left of a small error
    return v / v.std(), seen.extra * slope**2 / v.var(), v.std(), bend


def noise_of(theta, places):
    octaves = places[:, 0] - places[:, 0].mean()
    return np.exp(2 * theta["noise"]) * 2 ** (2 * theta["noisier"] * octaves)


def theirs(theta, d, smooth=True):
    """The kernel in scikit-learn's words, over `features`."""
    of = {name: float(np.exp(value)) for name, value in theta.items()}
    free, rho = [ALL] * (d - 1), [of["rho"]] if d == 2 else []
    along = RBF if smooth else partial(Matern, nu=2.5)
    square = of["height"] ** 2
    return (
        ConstantKernel(CONSTANT**2)
        + ConstantKernel(square)
        * along([of["lr"], *free, ALL, ALL])
        * RBF([ALL, *rho, of["place"], ALL])
        + ConstantKernel(square * of["own"] ** 2)
        * along([of["lr_own"], *free, ALL, ALL])
        * RBF([ALL, *rho, ALL, ONE])
        + ConstantKernel(of["level"] ** 2) * RBF([*[ALL] * d, ALL, ONE])
    )


def features(theta, surface, points, cell):
    """(log LR, [log rho,] log B, cell), where octaves of LR above the kink are counted longer and
    radii from where they have drifted."""
    kink = surface.best[cell] + theta["kink"]
    above = points[:, 0] > kink
    x = np.where(above, kink + (points[:, 0] - kink) * np.exp(theta["steeper"]), points[:, 0])
    radii = points[:, 1:] - theta.get("rho_drift", 0.0) * surface.seen.places[cell][:, -1:]
    return np.column_stack([x, radii, surface.seen.places[cell], cell])


@pytest.mark.parametrize("d", [1, 2])
def test_the_posterior_is_scikit_learns_under_each_kernel(d):
    seen = example(d)
    surface = fit(seen)
    v, extra, unit, bend = process(seen)
    assert (surface.unit, surface.bend) == (pytest.approx(unit), pytest.approx(bend))
    random, n = np.random.default_rng(9), 12
    cell, at = random.integers(0, 6, n), random.uniform(-4, 4, (n, d))
    means, where = [], surface.points(cell, at)
    ours = list(surface.moments(where))
    for kernel, (share, mine, own) in zip(surface.kernels, ours, strict=True):
        alpha = noise_of(kernel.theta, seen.places)[seen.cell] + extra + JITTER
        theirs_of = theirs(kernel.theta, d, kernel.smooth)
        made = GaussianProcessRegressor(theirs_of, alpha=alpha, optimizer=None)
        made.fit(features(kernel.theta, surface, seen.points, seen.cell), v)
        there = features(kernel.theta, surface, at, cell)
        mean, covariance = made.predict(there, return_cov=True)
        assert share == kernel.share and mine == pytest.approx(mean, abs=1e-6)
        assert own == pytest.approx(covariance, abs=1e-6)
        means.append(share * mean)
        one = replace(surface, kernels=(kernel,))
        assert one.spread(where, 1)[1] ** 2 == pytest.approx(np.diag(covariance), abs=1e-6)
    assert sum(kernel.share for kernel in surface.kernels) == pytest.approx(1)
    assert surface.mean(surface.points(cell, at)) == pytest.approx(sum(means), abs=1e-6)
    own = cell == cell[0]
    top, total = seen.y[seen.cell == 2].max(), sum(means)
    scores = top - bend * np.expm1(-surface.mean(surface.points(np.full(n, 2), at)) * unit / bend)
    assert surface.height(2, at) == pytest.approx(scores)
    assert own.any() and np.isfinite(total).all()


@pytest.mark.parametrize("d", [1, 2])
def test_the_kernels_lie_about_the_highest_posterior_density(d):
    """Found again without a gradient of ours, from the middle of the prior."""
    seen = example(d)
    surface = fit(seen)
    v, extra, _, _ = process(seen)
    names = [name for name in PRIORS if "rho" not in name or d == 2]
    middle = np.array([PRIORS[name].middle for name in names])
    sd = np.array([PRIORS[name].sd for name in names])

    def against(theta, smooth=True):
        named = dict(zip(names, theta, strict=True))
        K = theirs(named, d, smooth)(features(named, surface, seen.points, seen.cell))
        K += np.diag(noise_of(named, seen.places)[seen.cell] + extra + JITTER)
        density = stats.multivariate_normal(np.zeros(len(v)), K, allow_singular=True).logpdf(v)
        return -density + (((theta - middle) / sd) ** 2).sum() / 2

    least = optimize.minimize(against, middle, method="L-BFGS-B").fun
    ours = [against(np.array([k.theta[n] for n in names]), k.smooth) for k in surface.kernels]
    assert least - 0.01 < min(ours) < least + 5, "drawn around it"
    assert max(ours) < least + 20, "and no draw is absurd"


def test_cliffs_become_gentle_and_the_top_stays_as_it_is():
    y = np.array([3.0, 2.999, 2.0, -20.0, -1e9])
    inner = warped(y, 3.0, 0.5)
    assert inner[:3] == pytest.approx([0, -0.001, -0.5 * np.log(3)], rel=2e-3)
    assert (np.diff(inner) < 0).all() and inner[-1] > -12
    assert unwarped(inner, 3.0, 0.5) == pytest.approx(y)
    assert np.isfinite(unwarped(np.array([-1e6, 1e6]), 3.0, 0.5)).all()


def test_how_deep_a_training_fell_does_not_matter():
    seen = example(1)
    deeper = replace(seen, y=np.where(seen.x > 3, seen.y - 1e4, seen.y))
    at = np.linspace(-4, 4, 9)[:, None]
    assert (fit(deeper).height(2, at) == fit(seen).height(2, at)).all()


def test_the_noise_of_each_batch_size_is_told():
    random, sd = np.random.default_rng(4), 0.02 * 2 ** np.arange(4.0)
    seen = many(np.zeros((4, 1)), 40, random)
    noisy = replace(seen, y=seen.y + sd[seen.cell] * random.standard_normal(160))
    assert np.log2(fit(noisy).sigma / sd) == pytest.approx(np.zeros(4), abs=0.5)


def test_means_over_trials_keep_the_noise_of_one_trial():
    """Else a large table of which most is noise would pass for a quiet one."""
    random = np.random.default_rng(5)
    large = many(np.zeros((4, 1)), 500, random, noise=0.3)
    small = many(np.zeros((4, 1)), 80, random, noise=0.3)
    whole, part = fit(large), fit(small)
    assert len(whole.seen.y) <= MOST < len(large.y) and len(part.seen.y) == 320
    assert np.log2(whole.sigma / part.sigma) == pytest.approx(np.zeros(4), abs=0.5)


def test_means_over_trials_are_means_and_as_many_as_they_stand_for():
    random = np.random.default_rng(6)
    seen = many(np.zeros((3, 2)), 900, random, TILTED, noise=0.1)
    made = seen.averaged()
    assert MOST / 2 < len(made.y) <= MOST and made.count.sum() == 2700
    for name in ("x", "y", "z"):
        for c in range(3):
            own = made.cell == c
            mean = np.average(getattr(made, name)[own], weights=made.count[own])
            assert mean == pytest.approx(getattr(seen, name)[seen.cell == c].mean())
    few = many(np.zeros((3, 1)), 30, random)
    assert few.averaged() is few


def test_the_same_trials_give_the_same_surface_to_the_bit():
    once, again = fit(example(2)), fit(example(2))
    assert [k.theta for k in once.kernels] == [k.theta for k in again.kernels]
    at = np.zeros((5, 2))
    assert (once.height(0, at) == again.height(0, at)).all()


def test_cells_without_trials_or_with_three_are_unknown():
    seen = many([[0.0], [1.0]], 10, np.random.default_rng(9), noise=0.1)
    more = observe([*seen.cell, 2, 2, 2], [*seen.x, 0.0, 1.0, 2.0], [*seen.y, 3, 3.1, 2.9], cells=5)
    surface = fit(more)
    assert surface.known.tolist() == [True, True, False, False, False]
    assert np.isnan(surface.top[3:]).all() and surface.top[2] == 3.1
    assert np.isfinite(surface.sigma).all()


@pytest.mark.parametrize("d", [1, 2])
def test_too_little_gives_no_surface(d):
    z = None if d == 1 else np.zeros(12)
    x, cell = np.linspace(-3, 3, 12), np.arange(12) // 6
    assert fit(observe(cell, x, np.full(12, 2.5), z)) is None, "all score alike"
    assert fit(observe(cell, x, 2.5 + cell, z)) is None, "and so in each cell"
    assert fit(observe(cell, x, 1e-300 * x, z)) is None, "and but for rounding"
    assert fit(observe(np.arange(12), x, x, z)) is None, "one trial a cell"
    assert fit(observe([0], [1.0], [3.0], z if z is None else z[:1])) is None


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize(
    "y",
    [[0, 0, 0, 0, 1e-12], [0, 1e9, 0, 0, 0], [5, 4, 4, -1e8, -1e8]],
    ids=str,
)
def test_wild_scores_are_finite_and_quiet(y):
    surface = fit(observe(np.zeros(5), [1, 1, 1, 2, 2], y))
    assert np.isfinite(surface.height(0, np.array([[1.0], [1.5]]))).all()


@pytest.mark.filterwarnings("error")
def test_points_far_away_are_the_priors_and_no_error():
    surface = fit(example(1))
    far = replace(surface, kernels=surface.kernels[:1])
    _, sd = far.spread(far.points(np.array([0]), np.array([[1e3]])), 1)
    height = 2 * surface.kernels[0].theta["height"]
    assert sd[0] ** 2 > 0.5 * np.exp(height)


@pytest.mark.parametrize("smooth", [True, False])
@pytest.mark.parametrize("d", [1, 2])
def test_slopes_are_finite_differences(d, smooth):
    random, n = np.random.default_rng(d), 30
    cell = random.integers(0, 3, n)
    points = Points(random.uniform(-4, 4, (n, d)), cell, 6.0 + cell[:, None], 0.3 * cell)
    octaves, count = np.array([-1.0, 0.0, 1.0]), random.integers(1, 4, n)
    given = points, random.standard_normal(n), random.random(n), count, octaves
    posterior = Posterior(*given, smooth)
    theta = posterior.middle + 0.3 * posterior.sd * random.standard_normal(len(posterior.sd))
    steps = 1e-5 * np.eye(len(theta))
    slopes = [(posterior(theta + e)[0] - posterior(theta - e)[0]) / 2e-5 for e in steps]
    assert posterior(theta)[1] == pytest.approx(slopes, abs=1e-4)


def test_a_fall_steeper_than_the_rise_is_told():
    """Twice or half as steep above the best as below it."""
    random, told = np.random.default_rng(3), []
    for steep in (0.5, 2.0):
        seen = many(np.zeros((4, 1)), 24, random)
        u = np.where(seen.x > 0, steep * seen.x, seen.x)
        noisy = -0.2 * u**2 + 0.05 * random.standard_normal(len(u))
        kernels = fit(replace(seen, y=noisy)).kernels
        told.append(sum(k.share * k.theta["steeper"] for k in kernels))
    expected = PRIORS["steeper"].middle
    assert told[0] < expected - 0.1 and told[1] > expected + 0.05
