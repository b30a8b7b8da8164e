"""Every estimator of LR* against a peak known by construction, and the exponents they lead to."""

import numpy as np
import pandas as pd
import pytest
from scipy import stats  # type: ignore[import-untyped,unused-ignore]

from analysis.data.cells import cells
from analysis.fit.optimum import Response, responses
from analysis.questions.crosscheck import (
    ESTIMATE_COLUMNS,
    ESTIMATORS,
    crosscheck_lines,
    disputed,
    estimates,
    exponents,
    local_quadratic,
    top_k,
)
from tests.helpers.synthetic import Law, grid, point, study, trial

SIZES = tuple(2**i for i in range(6, 12))


def of(given):
    found = cells(given)
    return estimates(found, responses(found))


def searched(x, y, **values):
    return [trial(lr=2.0**a, score=s, **values) for a, s in zip(x, y, strict=True)]


@pytest.mark.parametrize("method", ["momentum", "momentum+sam"])
def test_all_are_near_the_truth_of_a_clean_cell(method):
    law = Law(trials=60, lr_range=(2**-9, 2**-1), edge=9, seed_sd=0.01)
    found = of(grid({method: law}, (64,), np.random.default_rng(1)))
    values = found.loc[0, list(ESTIMATORS)].astype(float)
    assert values.to_numpy() == pytest.approx(-5, abs=0.8) and len(values) == 5
    assert values[["surface", "local_quadratic"]].to_numpy() == pytest.approx(-5, abs=0.1)


def test_top_k_by_hand():
    table = pd.DataFrame(searched(range(12), range(12)))
    assert top_k(table) == np.mean([7, 8, 9, 10, 11])
    assert top_k(table[:9]) == np.mean([5, 6, 7, 8])
    assert top_k(table[:3]) == np.mean([1, 2])
    assert np.isnan(top_k(table[:1])) and np.isnan(top_k(table[:0]))


def test_local_quadratic_is_least_squares_near_the_best():
    random = np.random.default_rng(2)
    x = random.uniform(-6, 6, 40)
    y = -((x - 1.3) ** 2) + 0.5 * random.standard_normal(40)
    y[np.abs(x - x[y.argmax()]) > 2.5] = -100  # far away nothing counts
    near = y > -100
    square, slope, _ = np.polyfit(x[near], y[near], 2)
    assert local_quadratic(x[:, None], y) == pytest.approx(-slope / 2 / square)
    assert np.isnan(local_quadratic(x[:3, None], y[:3]))
    x = np.linspace(0, 2, 9)
    assert np.isnan(local_quadratic(x[:, None], (x - 0.8) ** 2)), "convex"
    assert np.isnan(local_quadratic(x[:, None], -((x - 3) ** 2))), "vertex beyond what was tried"
    assert np.isnan(local_quadratic(np.zeros((9, 1)), x))


def test_rho_enters_with_interaction_where_there_are_trials():
    points = np.random.default_rng(3).uniform(-2, 2, (40, 2))
    u, v = points[:, 0] - 0.4, points[:, 1] + 0.3
    y = 3 - u**2 - 0.5 * v**2 - 0.9 * u * v
    assert local_quadratic(points, y) == pytest.approx(0.4)
    few = points[:10], y[:10]
    assert local_quadratic(*few) == local_quadratic(few[0][:, :1], few[1])


def test_the_surface_finds_a_peak_that_is_no_parabola():
    x = np.random.default_rng(4).uniform(-5, 5, 100)
    y = -np.log1p(np.exp(4 * (x - 2))) + 0.5 * x
    truth = 2 - np.log(7) / 4  # where 4 / (1 + exp(4 (2 - x))) = 1 / 2
    assert of(study(searched(x, y))).loc[0, "surface"] == pytest.approx(truth, abs=0.2)


def test_an_end_of_the_search_is_no_estimate():
    x = np.linspace(-6, 0, 21)
    rising = searched(x, 0.1 * x) + searched([0] * 3, [0, 0.01, 0.02], phase="confirm",
                                             role="winner")  # fmt: skip
    [row] = of(study(rising)).to_dict("records")
    assert row["top_k"] == pytest.approx(-0.6)  # its mean cannot be an end, however wrong
    assert np.isnan([row[name] for name in ESTIMATORS if name != "top_k"]).all()
    peaked = searched(x, -((x + 3) ** 2))
    assert of(study(peaked)).loc[0, "surface"] == pytest.approx(-3, abs=0.1)
    warm = of(study([*peaked, trial(role="warm", lr=0.125, score=0.0)]))
    assert warm[list(ESTIMATORS)].isna().all(axis=None)


def test_exponents_of_whole_studies():
    """Noise, misfit, divergence and stopped trials included."""
    law = Law(trials=60, misfit=0.1, edge=5, lr_range=(2**-10, 2**2))
    found = exponents(of(grid({"momentum": law}, SIZES, np.random.default_rng(5))))
    own = found.set_index("estimator")
    assert set(own["group"]) == {"momentum"} and (own["cells"] == len(SIZES)).all()
    assert own["exponent"].to_numpy(float) == pytest.approx(0.5, abs=0.25)
    near = own.loc[["surface", "local_quadratic", "envelope"], "exponent"].to_numpy(float)
    assert near == pytest.approx(0.5, abs=0.12)
    assert ((own["low"] <= 0.5) & (own["high"] >= 0.5)).sum() >= 4
    assert own.loc["surface", "apart"] == 0 and own.loc["winner", "apart"] > 0


def by_hand(**columns):
    """Estimates of a plain method at the first batch sizes of `SIZES`."""
    size = len(next(iter(columns.values())))
    table = pd.DataFrame({"method": "momentum", "batch_size": SIZES[:size], "m": SIZES[:size]})
    for name in ESTIMATORS:
        table[name] = np.array(columns.get(name, [np.nan] * size), float)
    return table


def test_exponent_and_interval_are_those_of_a_regression():
    x = np.log2(SIZES)
    y = 0.4 * x + 0.2 * np.random.default_rng(6).standard_normal(len(x))
    wild = 9.6 * x + 0.2 * np.random.default_rng(6).standard_normal(len(x))
    found = exponents(by_hand(surface=y, top_k=wild)).set_index("estimator")
    theirs = stats.linregress(x, y)
    half = stats.t.ppf(0.975, len(x) - 2) * theirs.stderr
    row = found.loc["surface", ["exponent", "low", "high"]].to_numpy(float)
    assert row == pytest.approx(theirs.slope + half * np.array([0, -1, 1]), abs=0.02)
    assert found.loc["top_k", "exponent"] == pytest.approx(stats.linregress(x, wild)[0], abs=0.01)
    assert found.loc["winner", "cells"] == 0 and np.isnan(found.loc["winner", "exponent"])


def test_disagreement_names_the_cell():
    line = np.arange(6) / 2 - 5
    winner = line + [0, 0.5, np.nan, -2.5, 0, 1.2]
    table = by_hand(surface=line, winner=winner, top_k=[-5, -4.5, *[np.nan] * 4])
    found = exponents(table).set_index("estimator")
    assert tuple(found.loc["winner", ["apart", "apart_batch_size"]]) == (2.5, 512)
    assert np.isnan(found.loc["envelope", "apart"])
    two = found.loc["top_k", ["exponent", "high"]].tolist()
    assert two == [pytest.approx(0.5), np.inf]
    text = crosscheck_lines(exponents(table), table)
    assert "LR*" in text[0] and "0.50 (6)" in text[1] and "- (0)" in text[1]
    said = " ".join(" ".join(text[3:]).split())
    assert "in 2 of 5 cells" in said
    assert "momentum B=512 2.5 (winner to LR*), momentum B=2048 1.2" in said
    assert max(map(len, text)) <= 110
    alike = by_hand(surface=line, winner=line)
    assert "no two estimators differ" in crosscheck_lines(exponents(alike), alike)[-1]


def test_shards_apart_from_the_batch_size_are_groups_of_their_own():
    base = by_hand(surface=np.arange(6) / 2)
    sam = base.assign(method="momentum+sam")
    found = exponents(pd.concat([base, sam, sam[1:].assign(m=64)], ignore_index=True))
    assert found.drop_duplicates("group")["cells"].to_dict() == {0: 6, 5: 6, 10: 6}
    assert list(found["group"].unique()) == ["momentum", "momentum+sam, m=B", "momentum+sam, m=64"]


@pytest.mark.parametrize(
    "rows",
    [[], [trial()], [trial(status="running", score=None)], [trial(status="diverged")],
     [trial(lr=0.1), trial(lr=0.2)], [trial("momentum+sam", rho=0.1)] * 2],
)  # fmt: skip
def test_young_studies(rows):
    found = of(study(rows, methods=["momentum"], batch_sizes=[64]) if rows else study([]))
    assert tuple(found.columns) == ESTIMATE_COLUMNS
    assert found[list(set(ESTIMATORS) - {"top_k"})].isna().all(axis=None)
    table = exponents(found)
    assert table["exponent"].isna().all() and crosscheck_lines(table, found)


@pytest.mark.parametrize(
    ("verdict", "se", "others", "said"),
    [
        ("interior", 0.1, [-3.0, -2.8, -3.2], "disputed"),
        ("stability_edge", 0.1, [-3.0, -2.8, -3.2], "disputed"),
        ("interior", 0.1, [-3.0, -4.2, -4.1], "interior"),  # the median is within an octave
        ("interior", 2.0, [-3.0, -2.8, -3.2], "interior"),  # and here within the interval
        ("interior", 0.1, [-3.0, np.nan, np.nan], "interior"),  # one alone is no majority
        ("interior", 0.1, [np.nan] * 3, "interior"),
        ("at_upper", 0.1, [-3.0, -2.8, -3.2], "at_upper"),  # a bound, and no place
        ("insufficient", 0.1, [-3.0, -2.8, -3.2], "insufficient"),
    ],
)
def test_where_most_others_say_something_else_no_lr_is_stated(verdict, se, others, said):
    optima = point(64, 2.0**-5, verdict=verdict, se=se), point(128, 2.0**-5)
    nothing = np.zeros((2, 2))
    names = ["top_k", "local_quadratic", "envelope"]
    table = by_hand(**{name: [at, -5.0] for name, at in zip(names, others, strict=True)})
    [found] = disputed([Response("momentum", optima, nothing, nothing, None)], table)
    assert [each.verdict for each in found.optima] == [said, "interior"]
    assert found.optima[0].lr_star == 2.0**-5
