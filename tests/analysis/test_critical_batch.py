"""The critical batch size against its law, another optimiser and its promised coverage."""

import numpy as np
import pytest
from scipy import optimize, stats  # type: ignore[import-untyped,unused-ignore]

from analysis.questions.critical_batch import Estimate, fit_critical_batch, regime

SIZES = 2.0 ** np.arange(6, 14)


def law(sizes, b_crit=700.0, s_min=40.0):
    return s_min * (1 + b_crit / sizes)


@pytest.mark.parametrize("b_crit", [20.0, 700.0, 30_000.0])
def test_exact_curves_give_the_law_back(b_crit):
    found = fit_critical_batch(SIZES, law(SIZES, b_crit))
    assert found.b_crit.value == pytest.approx(b_crit, rel=0.01)
    assert found.s_min.value == pytest.approx(40, rel=0.01)
    assert found.e_min.value == pytest.approx(40 * b_crit, rel=0.01)
    assert found.b_crit.low < b_crit < found.b_crit.high < 1.03 * b_crit
    assert found.residual_sd < 1e-2


def test_fit_agrees_with_scipy_and_its_interval_with_the_f_distribution():
    y = np.log(law(SIZES)) + 0.1 * np.random.default_rng(3).standard_normal(8)

    def residuals(at):
        return y - at[0] - np.log1p(np.exp(at[1]) / SIZES)

    found = fit_critical_batch(SIZES, np.exp(y))
    theirs = optimize.least_squares(residuals, [3.0, 6.0])
    assert np.log(found.b_crit.value) == pytest.approx(theirs.x[1], abs=0.01)
    assert np.log(found.s_min.value) == pytest.approx(theirs.x[0], abs=0.01)
    limit = stats.f.ppf(0.95, 1, 6)
    for end in (found.b_crit.low, found.b_crit.high):
        rss = 8 * np.var(y - np.log1p(end / SIZES))
        assert (rss / (2 * theirs.cost) - 1) * 6 == pytest.approx(limit, rel=0.05)
    for end in (found.s_min.low, found.s_min.high):
        at = optimize.minimize_scalar(lambda psi, s=end: sum(residuals([np.log(s), psi]) ** 2))
        assert (at.fun / (2 * theirs.cost) - 1) * 6 == pytest.approx(limit, rel=0.05)


def test_intervals_cover_at_their_nominal_rate():
    """300 repetitions, cells off the law by 0.2 octaves; binomial test at 0.001 against 95 %."""
    random, truth = np.random.default_rng(11), law(SIZES)
    covered = np.zeros(3)
    for _ in range(300):
        found = fit_critical_batch(SIZES, truth * 2 ** (0.2 * random.standard_normal(8)))
        pairs = ((found.b_crit, 700), (found.s_min, 40), (found.e_min, 28_000))
        covered += [each.low <= true <= each.high for each, true in pairs]
    for count in covered:
        assert stats.binomtest(int(count), 300, 0.95).pvalue > 0.001


def test_the_limits_are_one_sided():
    signs = 1 + 0.02 * np.array([1, -1, -1, 1, 1, -1, -1, 1])
    perfect = fit_critical_batch(SIZES, 1e6 / SIZES * signs)
    assert perfect.b_crit.high == np.inf and perfect.b_crit.low > SIZES[-1]
    assert perfect.s_min.low == 0 and perfect.e_min.value == pytest.approx(1e6, rel=0.1)
    steeper = fit_critical_batch(SIZES, 1e6 * SIZES**-1.2)
    assert steeper.b_crit.value == np.inf and steeper.s_min.value == 0
    flat = fit_critical_batch(SIZES, 50 * signs)
    assert flat.b_crit.low == 0 == flat.e_min.low and flat.b_crit.high < SIZES[0]
    rising = fit_critical_batch(SIZES, SIZES**0.5)
    assert rising.b_crit.value == 0 and np.isfinite(rising.s_min.value)


def test_fewer_than_three_batch_sizes_determine_nothing():
    for k in (0, 1, 2):
        found = fit_critical_batch(SIZES[:k], law(SIZES[:k]))
        assert found.k == k and np.isnan(found.b_crit.value)
        assert (found.b_crit.low, found.b_crit.high) == (0, np.inf)
        assert regime(64, found.b_crit) == "undetermined"


def test_regimes_need_both_ends_of_the_interval():
    def at(low, high):
        return regime(256, Estimate(500, low, high))

    assert at(1025, np.inf) == "perfect scaling"  # slope -0.8 at B_crit = 4 B
    assert at(1000, 1100) == "undetermined"
    assert at(64, 1024) == "diminishing returns"
    assert at(60, 70) == "undetermined"
    assert at(0, 63) == "maximal parallelism"
