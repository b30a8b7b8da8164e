"""The exponent against closed forms, another library, and its promised coverage."""

from dataclasses import replace

import numpy as np
import pytest
from scipy import stats  # type: ignore[import-untyped,unused-ignore]
from synthetic import Law, grid, point

from analysis.cells import cells
from analysis.optimum import optimum, seed_spread
from analysis.scaling import differences, exponent, fit_line, groups

SIZES = tuple(2**i for i in range(6, 14))


def series(alpha, method="momentum", sizes=SIZES, noise=0.0, **values):
    """Cells off the law by `noise` octaves up and down, without tilting a line through eight."""
    signs = (1, -1, -1, 1, 1, -1, -1, 1)
    return [
        point(b, 0.01 * b**alpha * 2 ** (noise * sign), method, **values)
        for b, sign in zip(sizes, signs, strict=False)
    ]


def only(optima):
    [group] = groups(optima)
    return exponent(group)


def test_line_agrees_with_scipy():
    random = np.random.default_rng(1)
    x, y = random.standard_normal(9), random.standard_normal(9)
    line, theirs = fit_line(x, y), stats.linregress(x, y)
    assert line.slope == pytest.approx(theirs.slope)
    assert line.intercept == pytest.approx(theirs.intercept)
    assert line.high - line.low == pytest.approx(2 * stats.t.ppf(0.975, 7) * theirs.stderr)
    assert line.residual_sd == pytest.approx(
        np.std(y - line.slope * x - line.intercept) * 3 / 7**0.5
    )


def test_interval_covers_at_its_nominal_rate_when_cells_miss_the_law():
    """tau = 0.3 octaves; a two-sided binomial test at 0.001 against 95 %."""
    random, x, repetitions = np.random.default_rng(7), np.log2(SIZES), 1000
    covered = sum(
        fit_line(x, 0.5 * x - 5 + 0.3 * random.standard_normal(len(x))).contains(0.5)
        for _ in range(repetitions)
    )
    assert stats.binomtest(covered, repetitions, 0.95).pvalue > 0.001


@pytest.mark.parametrize(
    ("alpha", "noise", "law"),
    [
        (0.0, 0.1, "constant"), (0.5, 0.1, "sqrt"), (1.0, 0.1, "linear"), (0.75, 0.1, "neither"),
        (0.75, 1.5, "undetermined"), (0.5, 0.0, "sqrt"), (0.75, 0.0, "neither"),
    ],
)  # fmt: skip
def test_laws(alpha, noise, law):
    assert only(series(alpha, noise=noise)).law == law


@pytest.mark.parametrize("k", [0, 1, 2])
def test_fewer_than_three_cells_decide_nothing(k):
    sizes = SIZES[:k] or (64,)
    found = only(series(0.5, sizes=sizes, verdict="interior" if k else "insufficient"))
    assert found.law == "undetermined" and found.line.k == k and found.line.df == 0
    assert (found.line.low, found.line.high) == (-np.inf, np.inf)
    assert np.isfinite(found.line.slope) == (k == 2)


def test_boundary_cells_are_counted_and_do_not_move_the_fit():
    optima = series(0.5)
    wrong = [point(2**14, 1e-6, verdict="at_upper"), point(2**15, 1e6, verdict="at_lower")]
    wrong.append(point(2**16, float("nan"), verdict="insufficient", confirmed=False))
    edge = point(2**5, 0.01 * 2**2.5, verdict="stability_edge", confirmed=False)
    found = only([edge, *optima, *wrong])
    assert found.line.slope == pytest.approx(0.5) and found.line.k == 9
    assert found.excluded == {"at_upper": 1, "at_lower": 1, "insufficient": 1}
    assert (found.at_edge, found.unconfirmed) == (1, 1)


def test_difference_is_paired_over_common_batch_sizes():
    random = np.random.default_rng(2)
    shared = 2 ** (0.8 * random.standard_normal(len(SIZES)))  # what a batch size does to both
    plain = [point(b, 0.01 * b**0.5 * s) for b, s in zip(SIZES, shared, strict=True)]
    sam = [
        point(b, 0.02 * b**0.7 * s * 2 ** (0.02 * random.standard_normal()), "momentum+sam")
        for b, s in zip(SIZES, shared, strict=True)
    ]
    sam[0] = point(64, 1.0, "momentum+sam", verdict="at_upper")
    lone = series(0.5, "adam+sam")
    [found] = differences(groups(plain + sam + lone))
    assert (found.group.method, found.plain, found.line.k) == ("momentum+sam", "momentum", 7)
    assert found.verdict == "differs" and found.line.slope == pytest.approx(0.2, abs=0.03)
    [same] = differences(groups(plain + series(0.5, "momentum+sam", noise=0.5)))
    assert same.verdict == "no difference shown"
    [few] = differences(groups(plain[:2] + sam[1:3]))
    assert few.verdict == "undetermined"


def test_m_apart_from_the_batch_size_makes_groups_of_its_own():
    sam = series(0.5, "momentum+sam") + [point(b, 0.1, "momentum+sam", 64) for b in SIZES[1:]]
    found = {group.label: len(group.optima) for group in groups(series(0.5) + sam)}
    assert found == {"momentum": 8, "momentum+sam, m=B": 8, "momentum+sam, m=64": 8}
    fixed = [point(b, 0.1, "momentum+sam", 64) for b in SIZES]
    assert [group.label for group in groups(fixed)] == ["momentum+sam, m=64"]
    below = [point(32, 0.1, "momentum+sam"), *fixed]  # a batch below m perturbs as a whole
    assert [len(group.optima) for group in groups(below)] == [2, 8]


def test_exponent_is_recovered_from_whole_studies():
    """From trials to the exponent: noise, misfit, divergence and stopped trials included."""
    law = Law(misfit=0.2, trials=40, lr_range=(2**-9, 2**4))
    methods = {"momentum": replace(law, alpha=0.9), "momentum+sam": law}
    slopes, covered = [], 0
    for seed in range(8):
        all_cells = cells(grid(methods, SIZES, np.random.default_rng(seed)))
        spread = seed_spread(all_cells)
        fits = [exponent(g) for g in groups([optimum(cell, spread) for cell in all_cells])]
        slopes.append([fit.line.slope for fit in fits])
        covered += sum(fit.line.contains(a) for fit, a in zip(fits, (0.9, 0.5), strict=True))
    assert np.mean(slopes, axis=0) == pytest.approx([0.9, 0.5], abs=0.06)
    assert stats.binomtest(covered, 16, 0.95).pvalue > 0.001
