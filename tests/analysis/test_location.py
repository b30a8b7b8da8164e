"""Where a surface is highest: Fieller's interval, its coverage, a bounded rho, shared errors."""

import numpy as np
import pytest
from scipy import optimize, stats  # type: ignore[import-untyped,unused-ignore]
from test_surface import TILTED, height, many, observe, start

from analysis.location import locate
from analysis.surface import fit


def textbook(x, y):
    """Fieller's interval for the ratio -b / 2a of a x^2 + b x + c, in its closed form."""
    (a, b, _), covariance = np.polyfit(x, y, 2, cov=True)
    top, bottom = -b, 2 * a
    v11, v12, v22 = covariance[1, 1], -2 * covariance[0, 1], 4 * covariance[0, 0]
    t, ratio = stats.t.ppf(0.975, len(x) - 3), top / bottom
    g = t**2 * v22 / bottom**2
    if g >= 1 or bottom >= 0:
        return -np.inf, np.inf
    inner = v11 - 2 * ratio * v12 + ratio**2 * v22 - g * (v11 - v12**2 / v22)
    half = t / abs(bottom) * np.sqrt(inner)
    return (ratio - g * v12 / v22 - half) / (1 - g), (ratio - g * v12 / v22 + half) / (1 - g)


@pytest.mark.parametrize("noise", [0.02, 0.5, 5.0])
def test_the_interval_of_one_parabola_is_the_textbooks(noise):
    """Bounded where a t test shows that the score falls on both sides, and only there."""
    random, theirs = np.random.default_rng(0), []
    for _ in range(40):
        seen = many([[0.5]], 10, random, noise=noise)
        surface = fit(seen, start(1))
        if surface.bent or np.isfinite(surface.width):
            continue
        found, expected = locate(surface), textbook(seen.x, seen.y)
        assert [found.low[0], found.high[0]] == pytest.approx(expected, rel=1e-6, abs=1e-6)
        theirs.append(expected[0])
    assert len(theirs) > 25 and np.isfinite(theirs).all() == (noise < 0.1)


def test_the_peak_is_where_the_parabola_says():
    seen = many([[-0.7], [1.1]], 10, np.random.default_rng(1))
    found = locate(fit(seen, start(2)))
    assert found.at == pytest.approx([-0.7, 1.1], abs=1e-6)
    assert found.fall == pytest.approx(-0.2, abs=1e-6)
    assert found.low == pytest.approx(found.high, abs=1e-3)


def test_the_interval_covers_in_cells_that_share_their_curvature():
    """One cell of each of 500 groups, whose noise differs by cell."""
    random, covered = np.random.default_rng(2), 0
    for i in range(500):
        peaks = random.uniform(-2, 2, (4, 1))
        seen = many(peaks, 10, random)
        sd = np.array([0.1, 0.1, 0.2, 0.4])[seen.cell]
        y = seen.y + sd * random.standard_normal(40)
        found = locate(fit(observe(seen.cell, seen.x, y), start(4)))
        c = i % 4
        covered += found.low[c] <= peaks[c, 0] <= found.high[c]
    assert stats.binomtest(int(covered), 500, 0.95).pvalue > 0.001


@pytest.mark.parametrize("axis", [0, 1])
def test_the_interval_covers_with_a_radius_to_tune(axis):
    random, covered = np.random.default_rng(3 + axis), 0
    for i in range(150):
        peaks = random.uniform(-1, 1, (2, 2))
        found = locate(fit(many(peaks, 16, random, TILTED, noise=0.1), start(2, 2)), axis)
        c = i % 2
        covered += found.low[c] <= peaks[c, axis] <= found.high[c]
    assert stats.binomtest(int(covered), 150, 0.95).pvalue > 0.001


@pytest.mark.parametrize("bounds", [(-3.0, 3.0), (0.5, 3.0), (-3.0, -2.0), (0.7, 0.7)])
def test_the_best_lr_with_rho_within_bounds(bounds):
    """Against a numerical maximum of the true score, rho free to move within its bounds."""
    peak = np.array([[0.4, -0.6]])
    surface = fit(many(peak, 9, np.random.default_rng(5), TILTED), start(1, 2))
    best = optimize.minimize(
        lambda p: -height(p[None], peak, TILTED)[0], [0.0, np.mean(bounds)],
        bounds=[(-9, 9), bounds], tol=1e-12,
    )  # fmt: skip
    found = locate(surface, 0, np.array([bounds]))
    assert found.at == pytest.approx([best.x[0]], abs=1e-3)
    assert found.low == pytest.approx(found.at, abs=1e-3)


@pytest.mark.parametrize(("rise", "expected"), [(0.3, 0.6), (-0.3, -0.6)])
def test_without_a_peak_in_rho_its_better_end_is_taken(rise, expected):
    """The score changes evenly with log rho, the best LR by 0.3 octaves an octave of it."""
    random = np.random.default_rng(6)
    seen = many([[0.0, 0.0]], 20, random, np.array([[-0.1, 0.03], [0.03, 0.0]]), noise=0.001)
    surface = fit(observe(seen.cell, seen.x, seen.y + rise * seen.z, seen.z), start(1, 2))
    found = locate(surface, 0, np.array([[-2.0, 2.0]]))
    assert found.at == pytest.approx([expected], abs=0.02)
    assert found.low[0] - 0.01 <= expected <= found.high[0] + 0.01


@pytest.mark.parametrize(("d", "repetitions"), [(1, 400), (2, 200)])
def test_the_covariance_is_that_of_repeated_studies(d, repetitions):
    """New noise at the same places. All peaks lie to one side: the shared curvature ties them."""
    random, hessian = np.random.default_rng(7), -0.2 if d == 1 else TILTED
    seen = many(np.ones((3, d)), 20, random, hessian, high=2.5)
    places, expected = [], []
    for _ in range(repetitions):
        y = seen.y + 0.05 * random.standard_normal(60)
        surface = fit(observe(seen.cell, seen.x, y, seen.z), start(3, d))
        if not surface.bent and np.isinf(surface.width):
            found = locate(surface)
            places.append(found.at)
            expected.append(found.covariance)
    assert len(places) > 0.8 * repetitions
    ours, theirs = np.mean(expected, axis=0), np.cov(np.transpose(places))
    variance, off = np.diag(theirs), ~np.eye(3, dtype=bool)
    assert np.diag(ours) == pytest.approx(variance, rel=0.25)
    assert np.diag(ours).mean() == pytest.approx(variance.mean(), rel=0.2)
    assert ours[off].mean() == pytest.approx(theirs[off].mean(), abs=0.1 * variance.mean())
    assert d == 2 or ours[off].min() > 0.1 * variance.mean()


def test_a_rise_is_said_only_where_it_is_shown():
    random = np.random.default_rng(8)
    x = np.linspace(-3, 3, 12)
    for slope, noise, said in ((0.5, 0.05, 1), (-0.5, 0.05, -1)):
        y = slope * x - 0.001 * x**2 + noise * random.standard_normal(12)
        found = locate(fit(observe(np.zeros(12), x, y), start(1)))
        assert [found.rises(0, end) for end in (-2.0, 2.0)] == [said, said]
    wrong = 0
    for _ in range(200):
        y = random.standard_normal(12)
        wrong += locate(fit(observe(np.zeros(12), x, y), start(1))).rises(0, 0.0) != 0
    assert stats.binomtest(wrong, 200, 0.05, "greater").pvalue > 0.001


def test_an_unknown_cell_has_no_place_and_no_bounds():
    random = np.random.default_rng(9)
    seen = many([[0.0], [1.0]], 10, random, noise=0.05)
    found = locate(fit(observe([*seen.cell, 2], [*seen.x, 1.0], [*seen.y, 3.0]), start(3)))
    assert np.isnan(found.at[2]) and np.isnan(found.covariance[2, 2])
    assert (found.low[2], found.high[2]) == (-np.inf, np.inf)
    assert np.isfinite(found.low[:2]).all() and np.isfinite(found.covariance[:2, :2]).all()
