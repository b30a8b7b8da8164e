"""Moderated variances against pooled ones, the model they come from, and what is asked of them."""

import numpy as np
import pytest
from scipy import stats  # type: ignore[import-untyped,unused-ignore]

from analysis.data.cells import cells
from analysis.fit.noise import MOST, moderated
from analysis.fit.optimum import seed_noise
from tests.helpers.searches import winner
from tests.helpers.synthetic import study


def test_one_sample_keeps_its_own_variance():
    values = np.random.default_rng(0).standard_normal(7)
    found = moderated(np.array([((values - values.mean()) ** 2).sum()]), np.array([6]))
    assert found.variance == pytest.approx([stats.tvar(values)])
    assert found.df == pytest.approx([6])


def test_samples_that_agree_are_pooled():
    """Alike to the last digit, or scattered no more than chance lets them: one variance."""
    df = np.array([2, 5, 9, 4])
    found = moderated(0.3 * df, df)
    assert found.variance == pytest.approx(0.3) and found.df == pytest.approx(df.sum())
    assert found.prior_df == MOST
    squares = np.array([0.5, 1.1, 1.7, 0.9])
    found = moderated(squares, df)
    assert found.variance == pytest.approx(squares.sum() / df.sum())


def simulated(k, df, prior_df, common, seed):
    """(true variances, squares): inverse chi-square about `common`, as the model has it."""
    random = np.random.default_rng(seed)
    variance = common * prior_df / random.chisquare(prior_df, k)
    return variance, variance * random.chisquare(df, k)


@pytest.mark.parametrize(("df", "prior_df"), [(2, 4.0), (5, 10.0)])
def test_the_model_is_recovered_from_data_made_by_it(df, prior_df):
    _, squares = simulated(20_000, df, prior_df, 0.04, seed=1)
    found = moderated(squares, np.full(20_000, df))
    assert found.prior_df == pytest.approx(prior_df, rel=0.1)
    assert found.common == pytest.approx(0.04, rel=0.05)


def test_nearer_to_the_truth_than_each_sample_alone_and_than_all_pooled():
    random = np.random.default_rng(2)
    variance = 2.0 ** (np.arange(8) / 2)  # batch sizes of which the largest is the noisiest
    errors = {"moderated": [], "alone": [], "pooled": []}
    for _ in range(200):
        squares = variance * random.chisquare(4, 8)
        found = moderated(squares, np.full(8, 4)).variance
        pooled = np.full(8, squares.sum() / 32)
        for name, values in zip(errors, (found, squares / 4, pooled), strict=True):
            errors[name].append(np.log(values / variance) ** 2)
    mean = {name: np.mean(values) for name, values in errors.items()}
    assert mean["moderated"] < min(mean["alone"], mean["pooled"])


@pytest.mark.parametrize("prior_df", [4.0, 1e6])
def test_t_intervals_of_three_seeds_cover(prior_df):
    """What the variances are for: mean +- t SD / sqrt(3) with the degrees of freedom given."""
    variance, squares = simulated(4000, 2, prior_df, 1.0, seed=3)
    found = moderated(squares, np.full(4000, 2))
    error = np.random.default_rng(4).standard_normal(4000) * np.sqrt(variance / 3)
    half = stats.t.ppf(0.975, found.df) * np.sqrt(found.variance / 3)
    assert stats.binomtest(int((abs(error) < half).sum()), 4000, 0.95).pvalue > 0.001


def test_a_sample_without_repetition_has_the_common_variance():
    _, squares = simulated(50, 3, 4.0, 1.0, seed=5)
    alone = moderated(squares, np.full(50, 3))
    found = moderated(np.append(squares, 0.0), np.append(np.full(50, 3), 0))
    assert found.variance[:50] == pytest.approx(alone.variance)
    assert found.variance[50] == pytest.approx(alone.common)
    assert found.df[50] == pytest.approx(alone.prior_df)


@pytest.mark.parametrize("k", [0, 1, 3])
def test_nothing_repeated_is_nothing_known(k):
    found = moderated(np.zeros(k), np.zeros(k))
    assert found.variance.shape == (k,) and np.isnan(found.variance).all()
    assert (found.df == 0).all() and found.prior_df == 0


def test_samples_whose_values_are_all_equal_count():
    """Scores of a small validation set tie: no scatter is evidence too."""
    found = moderated(np.array([0.0, 0.0, 1.0, 1.2, 3.0]), np.full(5, 2))
    assert found.common < 0.8


def test_variances_follow_the_unit():
    _, squares = simulated(9, 3, 4.0, 1.0, seed=6)
    one, other = moderated(squares, np.full(9, 3)), moderated(1e-6 * squares, np.full(9, 3))
    assert other.variance == pytest.approx(1e-6 * one.variance)
    assert other.df == pytest.approx(one.df)


def test_seed_noise_is_pooled_over_the_methods_of_a_batch_size():
    a, b, alone = [1.0, 2.0, 4.0], [5.0, 5.5], [7.0]
    rows = winner(0.1, a) + winner(0.2, b, method="adam") + winner(0.3, alone, method="x")
    rows += winner(0.1, [100.0], "half") + winner(0.1, [-50.0], status="diverged")
    [(sd, df)] = seed_noise(cells(study(rows))).values()
    assert sd == pytest.approx(np.sqrt((2 * stats.tvar(a) + stats.tvar(b)) / 3)) and df == 3
    accuracy = [row | {"test_accuracy": row["score"]} for row in rows]
    assert seed_noise(cells(study(accuracy)), "test_accuracy")[64] == pytest.approx((sd, df))


def test_the_noisier_batch_size_keeps_its_noise():
    random, rows = np.random.default_rng(2), []
    true = {64: 0.01, 512: 0.01, 4096: 0.1, 8192: 0.1}
    for size, sd in true.items():
        for method in "abcd":
            rows += winner(0.1, 3 + sd * random.standard_normal(5), method=method, size=size)
    found = seed_noise(cells(study(rows)))
    assert [found[size][0] / sd for size, sd in true.items()] == pytest.approx([1] * 4, rel=0.4)
    assert all(df > 16 for _, df in found.values())


def test_no_repeated_seed_means_no_noise():
    [(sd, df)] = seed_noise(cells(study(winner(0.1, [1.0])))).values()
    assert np.isnan(sd) and df == 0
    assert seed_noise([]) == {}
