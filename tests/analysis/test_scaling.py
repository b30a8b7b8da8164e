"""From cells to statements on laws: which cells speak, what is singled out, what is paired."""

from dataclasses import replace

import numpy as np
import pytest
from scipy import stats  # type: ignore[import-untyped,unused-ignore]

from analysis.data.cells import cells
from analysis.fit.laws import LAWS, Series, fit_law, local_slopes
from analysis.fit.optimum import Response, responses
from analysis.fit.scaling import (
    differences,
    groups,
    groups_along_m,
    paired,
    scaling,
    series,
)
from analysis.simulate import Design, Truth, simulate
from tests.helpers.synthetic import point, study

SIZES = tuple(2**i for i in range(6, 14))
X = np.log2(SIZES)
RULES = {"constant": 0.0, "sqrt": 0.5, "linear": 1.0}


def best(size, lr=0.1, method="momentum", m=None, verdict="interior", se=0.03, **values):
    """A cell's answer given outright, to test what is made of it."""
    return replace(point(size, lr, method, m, verdict, se=se), **values)


def response(optima, covariance=None):
    errors = np.diag([each.se**2 for each in optima]) if covariance is None else covariance
    radii = np.diag([each.rho_se**2 for each in optima])
    return Response(optima[0].method, tuple(optima), errors, radii, None)


def only(optima, covariance=None):
    [group] = groups([response(optima, covariance)])
    return group


def along(name, psi=0.0, misfit=0.03, seed=1, sizes=SIZES, method="momentum"):
    """Cells that follow a law, each missing it at random."""
    x = np.log2(sizes)
    y = LAWS[name].shape(x, np.array(psi)) - 9
    y = y + misfit * np.random.default_rng(seed).standard_normal(len(x))
    return [best(b, 2.0**at, method) for b, at in zip(sizes, y, strict=True)]


@pytest.mark.parametrize(
    ("name", "psi"),
    [
        ("constant", 0),
        ("sqrt", 0),
        ("linear", 0),
        ("power", 0.75),
        ("saturating", 10),
        ("surge", 9),
    ],
)
def test_the_law_that_made_the_data_is_singled_out(name, psi):
    for seed in range(5):
        found = scaling(only(along(name, psi, seed=seed)))
        assert found.law == name
        own = found.fits[name]
        rivals = [n for n in LAWS if n != name and name not in LAWS[n].special]
        assert all(found.fits[n].aicc - own.aicc >= 4 for n in rivals)
        assert sum(found.weights.values()) == pytest.approx(1)


@pytest.mark.parametrize(
    ("name", "psi", "rule"),
    [("power", 0.5, "sqrt"), ("power", 1.0, "linear"), ("power", 0.0, "constant"),
     ("saturating", 30, "linear"), ("saturating", -10, "constant"), ("surge", 40, "sqrt")],
)  # fmt: skip
def test_a_law_that_imitates_a_rule_is_called_by_the_rule(name, psi, rule):
    """A power law with the exponent 1/2 is the square root, and so is a surge far from its peak."""
    found = scaling(only(along(name, psi)))
    assert found.law == rule and found.rules == (rule,) and found.equivalent == rule


@pytest.mark.parametrize(
    ("name", "psi", "misfit", "sizes"),
    [("sqrt", 0, 3.0, SIZES), ("linear", 0, 3.0, SIZES), ("power", 0.75, 3.0, SIZES),
     ("saturating", 10, 3.0, SIZES), ("surge", 9, 3.0, SIZES), ("sqrt", 0, 1.0, SIZES[:4]),
     ("saturating", 6, 1.0, SIZES[:4]), ("power", 0.75, 0.0, SIZES[:2])],
)  # fmt: skip
def test_what_cannot_be_told_apart_is_undetermined(name, psi, misfit, sizes):
    """By cells far off any law, or by too few of them: a false law is rare."""
    said = [scaling(only(along(name, psi, misfit, seed, sizes))) for seed in range(20)]
    false = sum(each.law not in ("undetermined", name) for each in said)
    assert stats.binomtest(false, 20, 0.05, alternative="greater").pvalue > 0.001
    assert sum(each.law == "undetermined" for each in said) >= 12
    assert sum(each.equivalent == "" for each in said) >= 18


def test_a_power_law_between_two_rules_is_neither():
    """The middle 3/4, cells a quarter octave off: not the one, not the other, and not bent."""
    said = [scaling(only(along("power", 0.75, 0.25, seed))).law for seed in range(30)]
    assert sum(law in ("power", "undetermined") for law in said) >= 27
    assert not {"constant", "surge"} & set(said)


def test_rules_are_those_inside_the_interval():
    said = [scaling(only(along("power", 0.75, 0.6, seed))) for seed in range(10)]
    for each in said:
        low, high = each.power.low, each.power.high
        assert each.rules == tuple(name for name, a in RULES.items() if low <= a <= high)
    assert len({each.rules for each in said}) > 2  # so that there was something to tell


@pytest.mark.parametrize("psi", [0.5, 0.6, 0.7, 0.8, 1.0])
@pytest.mark.parametrize("misfit", [0.05, 0.3, 0.6])
def test_equivalence_needs_the_90_percent_interval_within_a_quarter(psi, misfit):
    """Two one-sided tests at 5 %, against SciPy's regression of cells without trial errors."""
    optima = [replace(each, se=0.0) for each in along("power", psi, misfit, seed=4)]
    found, line = scaling(only(optima)), stats.linregress(X, np.log2([o.lr_star for o in optima]))
    half = stats.t.ppf(0.95, 6) * line.stderr
    low, high = line.slope - half, line.slope + half
    near = [name for name, a in RULES.items() if a - 0.25 <= low and high <= a + 0.25]
    assert found.equivalent == (near[0] if near else "")
    assert found.power.interval(0.9) == pytest.approx((low, high), abs=0.01)


@pytest.mark.parametrize("k", [0, 1, 2])
def test_fewer_than_three_cells_decide_nothing(k):
    optima = along("sqrt", sizes=SIZES[: max(k, 1)])
    if not k:
        optima = [replace(optima[0], verdict="insufficient")]
    found = scaling(only(optima))
    assert (found.law, found.equivalent, found.points) == ("undetermined", "", k)
    assert (found.power.low, found.power.high) == (-np.inf, np.inf)
    assert set(found.rules) == {"constant", "sqrt", "linear"} and found.leave_out == {}
    assert np.isfinite(found.power.psi) == (k > 1)


def test_a_boundary_optimum_tells_one_side_and_others_nothing():
    optima = [
        best(64, 0.01), best(128, 10.0, verdict="at_upper", tried_high=2.0),
        best(256, 0.001, verdict="at_lower", tried_low=0.5), best(512, verdict="flat"),
        best(1024, verdict="insufficient"), best(2048, verdict="warm_started"),
        best(4096, 0.25, verdict="stability_edge", se=0.2),
    ]  # fmt: skip
    data, left = series(only(optima))
    assert data.x.tolist() == [6, 7, 8, 12] and data.side.tolist() == [0, 1, -1, 0]
    assert data.y == pytest.approx([np.log2(0.01), 1, -1, -2])
    assert left == {"flat": 1, "insufficient": 1, "warm_started": 1}
    assert np.diag(data.covariance)[[0, 3]] == pytest.approx([0.03**2, 0.2**2])
    found = scaling(only(optima))
    assert (found.points, found.censored, found.excluded) == (2, 2, left)


def test_cells_tie_by_their_shared_curvature_unless_read_elsewhere():
    random = np.random.default_rng(6)
    root = 0.1 * random.standard_normal((8, 8))
    covariance = root @ root.T
    optima = [replace(o, se=float(np.sqrt(covariance[i, i])), lr_max=1.0, lr_max_se=0.3)
              for i, o in enumerate(along("sqrt"))]  # fmt: skip
    optima[2] = replace(optima[2], verdict="stability_edge", se=0.4)
    [data, edges] = [series(only(optima, covariance), q)[0] for q in ("lr", "lr_max")]
    rest = np.arange(8) != 2
    assert data.covariance[np.ix_(rest, rest)] == pytest.approx(covariance[np.ix_(rest, rest)])
    assert (data.covariance[2, rest] == 0).all() and data.covariance[2, 2] == pytest.approx(0.16)
    assert edges.covariance == pytest.approx(0.09 * np.eye(8))


def test_the_divergence_edge_is_one_sided_where_nothing_failed_or_nothing_survived():
    optima = [best(64, lr_max=1.0, lr_max_low=0.5, lr_max_high=2.0, lr_max_se=0.3),
              best(128, lr_max_low=4.0), best(256, lr_max_high=0.5), best(512)]  # fmt: skip
    data, left = series(only(optima), "lr_max")
    assert data.side.tolist() == [0, 1, -1] and data.y.tolist() == [0, 2, -1]
    assert left == {"no trial": 1}


def test_radii_by_their_own_verdict():
    optima = [best(64, rho_star=0.1, rho_se=0.2, rho_verdict="interior"),
              best(128, rho_star=0.5, rho_verdict="at_upper"),
              best(256, rho_star=0.01, rho_verdict="at_lower", verdict="flat"),
              best(512, rho_star=0.1, rho_verdict="flat")]  # fmt: skip
    data, left = series(only(optima), "rho")
    assert data.side.tolist() == [0, 1, -1] and left == {"flat": 1}
    assert data.y == pytest.approx(np.log2([0.1, 0.5, 0.01]))
    assert data.covariance[0, 0] == pytest.approx(0.04)


def test_m_apart_from_the_batch_size_makes_groups_of_its_own():
    whole = along("sqrt", method="momentum+sam")
    fixed = [best(b, method="momentum+sam", m=64) for b in SIZES[1:]]
    found = groups([response(along("sqrt")), response(whole + fixed)])
    assert {(group.label, group.m): len(group.optima) for group in found} == {
        ("momentum", None): 8, ("momentum+sam, m=B", None): 8, ("momentum+sam, m=64", 64): 8,
    }  # fmt: skip
    alone = [best(b, method="momentum+sam", m=64) for b in SIZES]
    assert [group.label for group in groups([response(alone)])] == ["momentum+sam, m=64"]
    below = [best(32, method="momentum+sam"), *alone]  # a batch below m perturbs as a whole
    assert [len(group.optima) for group in groups([response(below)])] == [2, 8]


def test_a_group_takes_its_own_part_of_the_covariance():
    covariance = np.arange(16.0).reshape(4, 4)
    optima = [best(64, m=64), best(128, m=64), best(256, m=64), best(256)]
    found = groups([response(optima, covariance)])
    [fixed] = [group for group in found if group.m == 64]
    assert (fixed.covariance == covariance[:3, :3]).all()


def test_the_radius_along_m():
    """rho* ~ m^0.4 at B=1024; at B=64 there is but one m."""
    cells_ = [best(1024, 0.1, "momentum+sam", m, rho_star=0.01 * m**0.4, rho_se=0.01,
                   rho_verdict="interior") for m in (32, 64, 128, 256, 512, 1024)]  # fmt: skip
    lone = best(64, 0.1, "momentum+sam", rho_star=0.1, rho_verdict="interior")
    [group] = groups_along_m([response([*cells_, lone])])
    assert (group.label, group.along, len(group.optima)) == ("momentum+sam, B=1024", "m", 6)
    found = scaling(group, "rho")
    assert found.series.x.tolist() == [5, 6, 7, 8, 9, 10]
    assert found.power.psi == pytest.approx(0.4, abs=0.01)


def test_slopes_between_neighbours():
    covariance = np.array([[0.04, 0.01, 0.0], [0.01, 0.09, 0.0], [0.0, 0.0, 0.01]])
    optima = [best(64, 0.25), best(1024, 1.0, se=0.3), best(4096, 0.5, se=0.1),
              best(256, 1.0, verdict="at_upper")]  # fmt: skip
    optima[0] = replace(optima[0], se=0.2)
    whole = np.zeros((4, 4))
    whole[:3, :3] = covariance
    [first, second] = local_slopes(scaling(only(optima, whole)).series)
    assert first == pytest.approx((6, 10, 0.5, np.sqrt(0.04 + 0.09 - 0.02) / 4))
    assert second == pytest.approx((10, 12, -0.5, np.sqrt(0.09 + 0.01) / 2))


def test_leave_one_out_error_of_a_constant_by_hand():
    """The mean of the others misses a cell by its own deviation times k / (k - 1)."""
    y = np.random.default_rng(2).standard_normal(8)
    optima = [best(b, 2.0**at, se=0.0) for b, at in zip(SIZES, y, strict=True)]
    found = scaling(only(optima))
    by_hand = np.sqrt(np.mean(((y - y.mean()) * 8 / 7) ** 2))
    assert found.leave_out["constant"] == pytest.approx(by_hand)
    tilted = found.leave_out["sqrt"]
    rest = y - X / 2
    assert tilted == pytest.approx(np.sqrt(np.mean(((rest - rest.mean()) * 8 / 7) ** 2)))


def test_leave_one_out_prefers_the_truth_and_keeps_censored_cells():
    optima = along("sqrt")
    found = scaling(only(optima))
    assert min(found.leave_out, key=lambda law: found.leave_out[law]) in ("sqrt", "power", "surge")
    assert found.leave_out["sqrt"] < 0.06 < found.leave_out["linear"]
    optima[-1] = replace(optima[-1], verdict="at_upper", tried_high=optima[-1].lr_star / 2)
    some = scaling(only(optima))
    assert some.points == 7 and set(some.leave_out) == {*LAWS, "bend"}
    assert some.leave_out["sqrt"] < 0.06


def test_difference_is_paired_over_common_batch_sizes_and_what_both_share_cancels():
    random = np.random.default_rng(2)
    shared = 2 ** (0.8 * random.standard_normal(8))  # what a batch size does to both
    plain = [best(b, 0.01 * b**0.5 * s) for b, s in zip(SIZES, shared, strict=True)]
    sam = [best(b, 0.02 * b**0.7 * s * 2 ** (0.02 * random.standard_normal()), "momentum+sam")
           for b, s in zip(SIZES, shared, strict=True)]  # fmt: skip
    sam[0] = replace(sam[0], verdict="insufficient")
    lone = along("sqrt", method="adam+sam")
    [found] = differences(groups([response(plain), response(sam), response(lone)]))
    assert (found.group.method, found.plain, found.fit.points) == ("momentum+sam", "momentum", 7)
    assert found.verdict == "differs" and found.fit.psi == pytest.approx(0.2, abs=0.03)
    assert found.fit.high - found.fit.low < 0.1 and found.fit.tau < 0.1
    apart = fit_law(series(only(plain))[0], LAWS["power"])
    assert apart.high - apart.low > 0.3  # either alone is far less certain
    other = along("sqrt", misfit=0.5, seed=9, method="momentum+sam")
    [same] = differences(groups([response(plain), response(other)]))
    assert same.verdict == "no difference shown" and same.fit.low <= 0 <= same.fit.high
    [few] = differences(groups([response(plain[:3]), response(sam[1:4])]))
    assert few.verdict == "undetermined" and few.fit.points == 2
    [none] = differences(groups([response(plain[:2]), response(sam[5:])]))
    assert none.verdict == "undetermined" and np.isnan(none.fit.psi)


@pytest.mark.parametrize(
    ("ours", "theirs", "side"),
    [(0, 0, 0), (1, 0, 1), (-1, 0, -1), (0, 1, -1), (0, -1, 1), (1, -1, 1), (-1, 1, -1),
     (1, 1, None), (-1, -1, None)],
)  # fmt: skip
def test_a_difference_is_censored_as_its_parts_are(ours, theirs, side):
    """Both beyond the same end tell nothing of their difference."""
    covariance = 0.01 * np.ones((2, 2))
    data = paired(
        Series(X[:2], np.array([1.0, 3.0]), np.array([0, ours]), covariance),
        Series(X[1:3], np.array([1.5, 0.0]), np.array([theirs, 0]), covariance),
    )
    if side is None:
        assert not (data.side == 0).any()
    else:
        assert data.x.tolist() == [7] and data.y.tolist() == [1.5] and data.side.tolist() == [side]
        assert data.covariance == pytest.approx(np.array([[0.02]]))


def test_a_cell_censored_on_one_side_bears_on_the_difference():
    """SAM's LR* above the highest tried at large B is evidence for the steeper exponent."""
    plain, sam = along("sqrt", misfit=0.1), along("power", 0.8, 0.1, 5, method="momentum+sam")
    cut = [replace(o, verdict="at_upper", tried_high=o.lr_star / 2) for o in sam[-2:]]
    [found] = differences(groups([response(plain), response([*sam[:-2], *cut])]))
    assert found.fit.points == 6
    assert found.fit.low <= 0.3 <= found.fit.high and found.verdict == "differs"


def test_exponents_are_recovered_from_whole_studies():
    """From trials to the exponent: noise, misfit, divergence and stopped trials included."""
    design = Design(trials=24)
    truths = {"momentum": Truth(exponent=0.9, misfit=0.15), "momentum+sam": Truth(misfit=0.15)}
    errors, inside = [], 0
    for seed in range(8):
        made, _ = simulate(design, truths, np.random.default_rng(seed))
        found = groups(responses(cells(made)))
        fits = [fit_law(series(group)[0], LAWS["power"]) for group in found]
        errors.append([fit.psi - a for fit, a in zip(fits, (0.9, 0.5), strict=True)])
        inside += sum(fit.low <= a <= fit.high for fit, a in zip(fits, (0.9, 0.5), strict=True))
    assert np.abs(np.mean(errors, axis=0)).max() < 0.06
    assert stats.binomtest(inside, 16, 0.95, alternative="less").pvalue > 0.001


def test_cells_that_all_lie_beyond_the_search_are_counted_as_one_sided():
    found = scaling(only([best(b, verdict="at_upper") for b in SIZES[:3]]))
    assert (found.points, found.censored, found.excluded, found.law) == (0, 3, {}, "undetermined")


def test_a_study_without_trials_has_cells_and_no_law():
    made = study([], methods=["momentum", "momentum+sam"], batch_sizes=[64, 128, 256])
    for group in groups(responses(cells(made))):
        for quantity in ("lr", "lr_at_rho", "lr_max", "rho"):
            found = scaling(group, quantity)
            assert (found.law, found.points, found.equivalent) == ("undetermined", 0, "")
            assert sum(found.excluded.values()) == 3 and found.censored == 0
