"""Paired comparisons against scipy, hand computation and simulated error rates."""

import numpy as np
import pandas as pd
import pytest
from scipy import stats  # type: ignore[import-untyped,unused-ignore]

from analysis.data.cells import cells
from analysis.questions.compare import (
    common_seeds,
    compare_lines,
    detectable_effect,
    hedges,
    holm,
    paired,
    pairwise,
)
from tests.helpers.synthetic import study, trial

SEEDS = (7382631055294507422, 8678485377259446515, 1849595751052145239, 11)
SIZES = (64, 512, 4096)


def winner(method, batch_size, seed, **values):
    return trial(method, batch_size, phase="confirm", role="winner", seed=seed, **values)


def rows(accuracy, method, batch_size, **values):
    """One fresh-seed run of the winner for each accuracy."""
    return [
        winner(method, batch_size, seed, test_accuracy=a, **values)
        for seed, a in zip(SEEDS, accuracy, strict=False)
    ]


def lines(table):
    found = compare_lines(pairwise(cells(table)))
    assert all(len(line) <= 110 for line in found)
    return " ".join(" ".join(found).split())


def test_holm_by_hand():
    """Sorted .005 x 4, .01 x 3, .03 x 2, .04 x 1, then never falling; a missing test is none."""
    p = [0.04, 0.01, float("nan"), 0.03, 0.005]
    assert holm(p) == pytest.approx([0.06, 0.03, float("nan"), 0.06, 0.02], nan_ok=True)
    assert holm([0.6, 0.9]) == pytest.approx([1.0, 1.0])
    assert len(holm([])) == 0


def test_paired_is_scipys():
    random = np.random.default_rng(1)
    a, b = random.standard_normal(5), random.standard_normal(5)
    ours, theirs = paired(a, b), stats.ttest_rel(a, b)
    interval = theirs.confidence_interval(0.95)
    assert (ours.low, ours.high) == pytest.approx((interval.low, interval.high))
    assert ours.p == pytest.approx(theirs.pvalue)
    d_z = (a - b).mean() / (a - b).std(ddof=1)
    assert ours.effect_size == pytest.approx(d_z * (1 - 3 / (4 * 4 - 1)), rel=0.01)


def test_hedges_factor():
    assert hedges(2) == pytest.approx(1 / np.sqrt(np.pi))  # gamma(1) / gamma(1/2)
    assert hedges(200) == pytest.approx(1 - 3 / (4 * 200 - 1), rel=1e-5)
    assert np.isnan(hedges(1))


@pytest.mark.parametrize("n", [2, 3, 10])
def test_a_detectable_difference_is_detected_four_times_in_five(n):
    random = np.random.default_rng(n)
    d = detectable_effect(n) + random.standard_normal((4000, n))
    found = int((stats.ttest_1samp(d, 0, axis=1).pvalue < 0.05).sum())
    assert stats.binomtest(found, 4000, 0.8).pvalue > 0.001
    assert detectable_effect(10) == pytest.approx(0.996, abs=0.001)  # tables of power


def test_too_few_or_identical_differences_have_no_test():
    assert paired([], []).n == 0 and np.isnan(paired([], []).difference)
    assert paired([1.0], [0.5]).difference == 0.5 and np.isnan(paired([1.0], [0.5]).p)
    same = paired(np.array([0.91, 0.92, 0.93]), np.array([0.90, 0.91, 0.92]))
    assert same.difference == pytest.approx(0.01) and same.sd == 0 and np.isnan(same.p)


def test_only_seeds_of_both_are_paired():
    """A seed run twice is one with its mean; a missing value or an unknown seed is no pair."""
    ours = pd.Series([0.8, 0.7, np.nan, 1.0, 0.3], [SEEDS[0], SEEDS[1], SEEDS[2], SEEDS[0], None])
    theirs = pd.Series([0.6, 0.7, 0.5, 0.2], [SEEDS[3], SEEDS[2], SEEDS[0], None])
    first, second = common_seeds(ours, theirs)
    assert first.tolist() == [pytest.approx(0.9)] and second.tolist() == [0.5]
    assert [len(values) for values in common_seeds(ours[:0], theirs)] == [0, 0]


def test_pairwise_pairs_by_seed_and_counts_what_is_lost():
    table = rows([0.90, 0.91, 0.92, 0.93], "momentum", 64)
    table += rows([0.91, 0.925, 0.93, 0.95], "momentum+sam", 64)[::-1]
    table += rows([0.89, 0.90], "momentum+asam", 64)
    table += [winner("momentum+asam", 64, SEEDS[2], status="diverged", test_accuracy=0.1)]
    table += rows([0.5], "adam+sam", 64)  # its plain optimizer was not run
    found = pairwise(cells(study(table))).set_index(["method", "against"])
    assert len(found) == 3
    sam = found.loc[("momentum+sam", "momentum")]
    theirs = stats.ttest_rel([0.91, 0.925, 0.93, 0.95], [0.90, 0.91, 0.92, 0.93])
    assert (sam["n"], sam["n_unpaired"], sam["n_diverged"]) == (4, 0, 0)
    assert sam["difference"] == pytest.approx(0.01375) and sam["p"] == pytest.approx(theirs.pvalue)
    asam = found.loc[("momentum+asam", "momentum")]
    assert (asam["n"], asam["n_unpaired"], asam["n_diverged"]) == (2, 2, 1)
    assert found.loc[("momentum+sam", "momentum+asam"), "n"] == 2
    assert list(found["p_holm"]) == pytest.approx(list(holm(found["p"])), nan_ok=True)
    assert "2 pairs are lost because a run diverged" in lines(study(table))


def test_shown_is_rare_where_all_methods_are_alike():
    """Familywise, over 10 comparisons of 3 seeds whose SD grows a hundredfold: at most 5 %."""
    random, studies = np.random.default_rng(5), 400
    sds = np.geomspace(1, 100, 10)
    wrong = 0
    for _ in range(studies):
        a, b = (sd[:, None] * random.standard_normal((10, 3)) for sd in (sds, sds))
        wrong += bool((holm([paired(*each).p for each in zip(a, b, strict=True)]) < 0.05).any())
    assert stats.binomtest(wrong, studies, 0.05, alternative="greater").pvalue > 0.001


def test_a_large_difference_is_shown():
    table = rows([0.90, 0.91, 0.92, 0.93], "momentum", 64)
    table += rows([0.70, 0.709, 0.72, 0.731], "momentum+sam", 64)
    [found] = pairwise(cells(study(table)))["shown"]
    assert found and "1 of 1 differences shown" in lines(study(table))


def test_each_m_meets_the_plain_optimizer_and_asam_of_its_m():
    table = rows([0.9, 0.8], "momentum", 512)
    for m in (64, 512):
        table += rows([0.9, 0.7], "momentum+sam", 512, m=m)
        table += rows([0.8, 0.6], "momentum+asam", 512, m=m)
    found = pairwise(cells(study(table)))
    assert len(found) == 6 and found["n"].eq(2).all()
    both = found[found["against"] == "momentum+asam"]
    assert list(both["m"]) == [64, 512] and both["difference"].to_numpy() == pytest.approx(0.1)


@pytest.mark.parametrize(
    "table",
    [
        [],
        [trial()],
        [winner("momentum", 64, 1, status="running", score=None)],
        rows([0.9], "momentum", 64) + rows([0.8], "momentum+sam", 64),
        rows([float("nan")] * 3, "momentum", 64) + rows([0.9] * 3, "momentum+sam", 64),
    ],
)
def test_young_studies_are_insufficient_not_wrong(table):
    young = study(table, methods=["momentum", "momentum+sam"], batch_sizes=list(SIZES))
    found = pairwise(cells(young))
    assert len(found) == len(SIZES) and found["p"].isna().all() and not found["shown"].any()
    assert "insufficient" in lines(young)
    seedless = study([{k: v for k, v in row.items() if k != "seed"} for row in table])
    assert not pairwise(cells(seedless))["n"].any()
    assert isinstance(lines(seedless), str)


def test_nothing_at_all():
    empty = study([])
    assert isinstance(pairwise(cells(empty)), pd.DataFrame)
    assert "no two methods to compare" in lines(empty)
