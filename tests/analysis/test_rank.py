"""Tau in strata and given controls against scipy and Kendall's formula; p by its error rate."""

import numpy as np
import pandas as pd
import pytest
from scipy import stats  # type: ignore[import-untyped,unused-ignore]

from analysis.questions.rank import associations, rank_test, stratified_tau


def tau(x, y, controls=None, strata=None):
    controls = np.empty((len(x), 0)) if controls is None else np.column_stack(controls)
    strata = np.zeros(len(x)) if strata is None else strata
    return stratified_tau(x, y[:, None], controls, strata)[0]


def test_tau_is_scipys_ties_included():
    random = np.random.default_rng(1)
    x, y = random.integers(0, 5, 30), random.integers(0, 5, 30)
    assert tau(x, y) == pytest.approx(stats.kendalltau(x, y).statistic)
    assert np.isnan(tau(np.ones(5), np.arange(5)))


def test_partial_tau_is_kendalls_formula_and_its_recursion():
    random = np.random.default_rng(2)
    x, y, z, w = random.integers(0, 9, (4, 25))

    def partial(of):
        def formula(a, b, c):
            ab, ac, bc = of(a, b), of(a, c), of(b, c)
            return (ab - ac * bc) / np.sqrt((1 - ac**2) * (1 - bc**2))

        return formula

    raw = lambda a, b: stats.kendalltau(a, b).statistic  # noqa: E731
    given_z = partial(raw)
    assert tau(x, y, [z]) == pytest.approx(given_z(x, y, z))
    both = partial(lambda a, b: given_z(a, b, z))(x, y, w)
    assert tau(x, y, [z, w]) == pytest.approx(both)
    assert np.isnan(tau(x, y, [x]))


def test_tau_within_strata_is_their_mean_by_pairs():
    random = np.random.default_rng(3)
    strata = np.repeat([0, 1, 2], [4, 7, 9])
    x, y = random.standard_normal((2, 20))
    pairs, taus = [6, 21, 36], []
    for stratum in range(3):
        taus.append(stats.kendalltau(x[strata == stratum], y[strata == stratum]).statistic)
    assert tau(x, y, strata=strata) == pytest.approx(np.average(taus, weights=pairs))


@pytest.mark.parametrize("strata", [np.zeros(14), np.repeat(np.arange(8), 3)])
def test_p_is_uniform_where_nothing_is_associated(strata):
    """Exact in one stratum; tau of strata of three has few values, where p may only be larger."""
    random, n, studies = np.random.default_rng(4), len(strata), 400
    p = np.array([
        rank_test(random.standard_normal(n), random.standard_normal(n), np.empty((n, 0)),
                  strata, random, 199)[2]
        for _ in range(studies)
    ])  # fmt: skip
    side = "two-sided" if not strata.any() else "greater"
    for level in (0.05, 0.2, 0.5):
        wrong = int((p <= level).sum())
        assert stats.binomtest(wrong, studies, level, alternative=side).pvalue > 0.001


@pytest.mark.parametrize("strata", [np.zeros(24), np.repeat(np.arange(8), 3)])
def test_what_the_learning_rate_alone_drives_is_not_shown(strata):
    """x and y depend on LR only: tau is high, partial tau is not 0 either, p must hold."""
    random, studies = np.random.default_rng(6), 400
    raw, partial, wrong = [], [], 0
    for _ in range(studies):
        lr = random.standard_normal(24)
        x, y = (lr + 0.7 * random.standard_normal(24) for _ in range(2))
        raw.append(tau(x, y, strata=strata))
        found, null, p = rank_test(x, y, lr[:, None], strata, random, 199)
        partial.append(found - null)
        wrong += p <= 0.05
    assert np.mean(raw) > 0.4 and abs(np.nanmean(partial)) < np.mean(raw) / 3
    assert stats.binomtest(wrong, studies, 0.05, alternative="greater").pvalue > 0.001


def test_two_controls_have_a_tau_and_no_p():
    x, y, z, w = np.random.default_rng(7).standard_normal((4, 20))
    found, _, p = rank_test(x, y, np.column_stack([z, w]), np.zeros(20), np.random.default_rng(1))
    assert found == pytest.approx(tau(x, y, [z, w])) and np.isnan(p)


def test_associations_are_of_cell_means_and_of_the_runs_that_have_all():
    """Two series at four batch sizes, two seeds a cell; of one cell the LR is not known."""
    random = np.random.default_rng(11)
    runs = pd.DataFrame({
        "series": np.repeat(["a", "b"], 8), "batch_size": np.tile(np.repeat([1, 2, 4, 8], 2), 2),
        "loss": "", "lr": [*random.uniform(size=14), np.nan, np.nan], "train_loss": 0.1,
        "sharp": random.uniform(size=16), "gap": random.uniform(size=16),
    })  # fmt: skip
    table = associations(runs, ["sharp"], ["gap"], permutations=99).set_index(["scope", "given"])
    means = runs.groupby(["series", "batch_size"])[["sharp", "gap"]].mean()
    for scope, own in (("all", means), ("a", means.loc["a"])):
        expected = stats.kendalltau(own["sharp"], own["gap"]).statistic
        assert table.at[(scope, ""), "tau"] == pytest.approx(expected)
    assert list(table["cells"]) == [8, 7, 7, 7, 8, 7, 8, 7, 4, 4]
    assert list(table["pairs"]) == [28, 21, 21, 21, 12, 9, 4, 3, 6, 6]


def test_many_permutations_agree_with_the_exact_p_of_scipy():
    x, y = np.random.default_rng(12).standard_normal((2, 8))
    exact = stats.kendalltau(x, y, method="exact").pvalue
    found = rank_test(x, y, np.empty((8, 0)), np.zeros(8), np.random.default_rng(1))
    assert found[0] == pytest.approx(tau(x, y)) and abs(found[1]) < 0.02
    assert found[2] == pytest.approx(exact, abs=4 * (exact * (1 - exact) / 4999) ** 0.5 + 1e-3)
