"""The laws against closed forms, other libraries, data made by them, and promised coverage."""

import numpy as np
import pytest
from scipy import optimize, stats  # type: ignore[import-untyped,unused-ignore]

from analysis.fit.laws import LAWS, SLOPES, TAUS, Series, fit_law

X = np.arange(6.0, 14.0)  # log2 of the batch sizes 64 to 8192
TRUE = {"constant": 0.0, "sqrt": 0.0, "linear": 0.0, "power": 0.72, "saturating": 10.0,
        "surge": 9.5}  # fmt: skip
COARSE = np.arange(-0.3, 1.4001, 0.05)  # a grid of slopes for many repetitions


def series(y, se=0.03, side=None, x=X):
    """Cells with independent errors of `se` octaves, one for all or one each."""
    k = len(y)
    return Series(x, np.asarray(y, float), np.zeros(k) if side is None else side,
                  np.diag(np.broadcast_to(np.square(se), k).astype(float)))  # fmt: skip


def made(name, random, misfit=0.03, se=0.03):
    law = LAWS[name]
    error = np.hypot(misfit, se) * random.standard_normal(len(X))
    return series(law.shape(X, np.array(TRUE[name])) - 9 + error, se)


def correlated(random, k=8, scale=0.2):
    """A covariance with all cells tied."""
    root = random.standard_normal((k, k))
    return scale**2 * (root @ root.T / k + 0.5)


@pytest.mark.parametrize(
    ("name", "psi", "formula"),
    [
        ("constant", 0.0, np.ones_like), ("sqrt", 0.0, np.sqrt), ("linear", 0.0, lambda b: b),
        ("power", 0.7, lambda b: b**0.7), ("saturating", 9.0, lambda b: 1 / (1 + 512 / b)),
        ("surge", 9.0, lambda b: 2 / (np.sqrt(512 / b) + np.sqrt(b / 512))),
    ],
)  # fmt: skip
def test_shapes_are_the_published_formulas(name, psi, formula):
    assert LAWS[name].shape(X, np.array(psi)) == pytest.approx(np.log2(formula(2.0**X)))


@pytest.mark.parametrize("name", LAWS)
def test_a_law_is_recovered_from_data_made_by_it(name):
    """The curve within 0.15 octaves throughout, psi inside its interval in most of 20 data sets."""
    random, law, inside = np.random.default_rng(3), LAWS[name], 0
    truth = law.shape(X, np.array(TRUE[name])) - 9
    for _ in range(20):
        fit = fit_law(made(name, random), law)
        assert fit.at(X) == pytest.approx(truth, abs=0.15) and fit.points == 8
        inside += fit.low <= TRUE[name] <= fit.high
    assert stats.binomtest(inside, 20, 0.95, alternative="less").pvalue > 0.001
    if law.scans:
        assert abs(fit.psi - TRUE[name]) < 0.3 and fit.high - fit.low < 1
    else:
        assert (fit.psi, fit.low, fit.high) == (0.0, -np.inf, np.inf)


@pytest.mark.parametrize("sd", [0.1, 0.3, 1.0])
def test_power_law_is_ordinary_regression_where_trials_are_exact(sd):
    y = 0.5 * X - 7 + sd * np.random.default_rng(5).standard_normal(8)
    fit, theirs = fit_law(series(y, 0.0), LAWS["power"]), stats.linregress(X, y)
    half = stats.t.ppf(0.975, 6) * theirs.stderr
    assert fit.psi == pytest.approx(theirs.slope, abs=0.01)
    assert fit.intercept == pytest.approx(theirs.intercept, abs=0.2)  # at the grid's own psi
    assert (fit.low, fit.high) == pytest.approx(
        (theirs.slope - half, theirs.slope + half), abs=0.01
    )
    residual = y - theirs.slope * X - theirs.intercept
    assert fit.tau == pytest.approx(np.sqrt(np.mean(residual**2)), rel=0.06)  # the step of TAUS


def test_generalised_least_squares_at_the_fitted_tau():
    random = np.random.default_rng(8)
    for _ in range(10):
        v = correlated(random)
        y = 0.6 * X - 7 + np.linalg.cholesky(v + 0.09 * np.eye(8)) @ random.standard_normal(8)
        fit = fit_law(Series(X, y, np.zeros(8), v), LAWS["power"])
        inverse = np.linalg.inv(v + fit.tau**2 * np.eye(8))
        design = np.column_stack([np.ones(8), X])
        alpha, beta = np.linalg.solve(design.T @ inverse @ design, design.T @ inverse @ y)
        assert fit.psi == pytest.approx(beta, abs=0.01)
        assert fit.intercept == pytest.approx(alpha, abs=0.15)


def test_likelihood_is_that_of_a_normal_distribution():
    random = np.random.default_rng(9)
    v, y = correlated(random), 0.6 * X - 7 + 0.3 * random.standard_normal(8)
    fit = fit_law(Series(X, y, np.zeros(8), v), LAWS["power"])
    mean = fit.intercept + fit.grid[np.argmax(fit.profile)] * X
    logs = stats.multivariate_normal.logpdf(y, mean, v + fit.tau**2 * np.eye(8))
    assert fit.loglik == pytest.approx(logs) == fit.profile.max()


def test_censored_cells_enter_by_their_side():
    """The likelihood at the fit, and that a free optimiser finds none better."""
    y = 0.6 * X - 7 + 0.6 * np.random.default_rng(10).standard_normal(8)
    side = np.array([-1, 0, 0, 0, 0, 0, 1, 1])
    y[[0, 6, 7]] += [0.2, -0.2, -0.8]
    fit, point = fit_law(series(y, 0.1, side), LAWS["power"]), side == 0

    def likelihood(parameters):
        intercept, psi, log_tau = parameters
        tau, mean = np.exp(log_tau), intercept + psi * X
        logs = stats.norm.logpdf(y, mean, np.hypot(0.1, tau))[point].sum()
        return logs + stats.norm.logcdf(side * (mean - y) / tau)[~point].sum()

    at = fit.grid[np.argmax(fit.profile)]
    assert fit.loglik == pytest.approx(likelihood((fit.intercept, at, np.log(fit.tau))), abs=1e-6)
    best = optimize.minimize(lambda p: -likelihood(p), (-6, 0.5, -1), method="Nelder-Mead")
    assert -best.fun - 0.02 < fit.loglik < -best.fun + 1e-6
    assert fit.psi == pytest.approx(best.x[1], abs=0.02)
    assert fit.points == 5 and fit.tau > 0.05  # far above the floor that keeps the side a slope


def covered(tau, se, seed, tops=0):
    """How often the exponent's interval holds the truth; the highest `tops` cells are censored."""
    random, side, inside = np.random.default_rng(seed), np.zeros(8), 0
    side[8 - tops :] = 1
    for _ in range(1000):
        y = 0.5 * X - 7 + np.hypot(tau, se) * random.standard_normal(8)
        y[8 - tops :] = 0.5 * X[8 - tops :] - 7 + tau * random.standard_normal(tops) - 0.5
        fit = fit_law(series(y, se, side), LAWS["power"], COARSE)
        inside += fit.low <= 0.5 <= fit.high
    return inside


@pytest.mark.parametrize("tau", [0.0, 0.15, 0.3])
def test_interval_covers_with_random_effects(tau):
    """1,000 data sets with trial errors of 0.1 octaves besides; binomial test at 0.001."""
    inside = covered(tau, 0.1, seed=round(100 * tau))
    assert stats.binomtest(inside, 1000, 0.95, alternative="less").pvalue > 0.001
    assert inside < 1000  # nor does it cover by saying nothing


@pytest.mark.parametrize("tau", [0.0, 0.15, 0.3])
def test_interval_covers_with_two_censored_cells(tau):
    inside = covered(tau, 0.1, seed=round(100 * tau) + 1, tops=2)
    assert stats.binomtest(inside, 1000, 0.95, alternative="less").pvalue > 0.001


def test_dropping_what_lies_beyond_the_search_biases_and_censoring_does_not():
    """LR* above the highest LR tried, of 24 cells: only those that miss low would be left."""
    random, top, x = np.random.default_rng(12), -1.6, np.linspace(6, 13, 24)
    kept, dropped = [], []
    for _ in range(150):
        truth = 0.75 * x - 10 + 0.8 * random.standard_normal(24)
        beyond = truth > top
        data = series(np.minimum(truth, top), 0.0, np.where(beyond, 1, 0), x)
        kept.append(fit_law(data, LAWS["power"], COARSE).psi - 0.75)
        dropped.append(np.polyfit(x[~beyond], truth[~beyond], 1)[0] - 0.75)
    se_kept, se_dropped = np.std([kept, dropped], axis=1) / np.sqrt(150)
    assert np.mean(dropped) < -8 * se_dropped and abs(np.mean(kept)) < 3 * se_kept


@pytest.mark.parametrize(("name", "parameters"), [("sqrt", 2), ("power", 3), ("surge", 3)])
@pytest.mark.parametrize("k", [8, 5])
def test_aicc_by_hand(name, parameters, k):
    """-2 log L + 2 p + 2 p (p + 1) / (k - p - 1)."""
    data = series((0.5 * X - 7 + 0.2 * np.sin(5 * X))[:k], x=X[:k])
    fit = fit_law(data, LAWS[name])
    penalty = 2 * parameters + 2 * parameters * (parameters + 1) / (k - parameters - 1)
    assert fit.aicc == pytest.approx(-2 * fit.loglik + penalty)


def test_one_side_alone_fits_nothing():
    fit = fit_law(series(X, side=np.ones(8)), LAWS["power"])
    assert np.isnan([fit.psi, fit.intercept, fit.tau, fit.aicc]).all() and fit.points == 0
    assert (fit.low, fit.high) == (-np.inf, np.inf)


@pytest.mark.parametrize("k", [1, 2])
def test_two_cells_bound_no_exponent(k):
    fit = fit_law(series(0.5 * X[:k], x=X[:k]), LAWS["power"])
    assert (fit.low, fit.high) == (-np.inf, np.inf) and fit.points == k


def test_an_exponent_beyond_the_grid_has_no_bound_there():
    fit = fit_law(series(SLOPES[-1] * X, 0.05), LAWS["power"])
    assert fit.high == np.inf and fit.low == pytest.approx(SLOPES[-1], abs=0.2)


def test_without_a_cell_series_are_one_shorter():
    random = np.random.default_rng(13)
    whole = Series(X, random.standard_normal(8), np.arange(8) % 3 - 1, correlated(random))
    rest, keep = whole.but(3), [0, 1, 2, 4, 5, 6, 7]
    assert (rest.x == X[keep]).all() and (rest.y == whole.y[keep]).all()
    assert (rest.side == whole.side[keep]).all()
    assert (rest.covariance == whole.covariance[keep][:, keep]).all()
    assert (np.diff(TAUS) > 0).all() and TAUS[0] > 0
