"""The benchmark of the time to an answer: small studies by every way, and what is made of them."""

import argparse

import numpy as np
import pandas as pd
import pytest

from analysis.simulate import Design
from tests.benchmarks import answer
from tests.benchmarks.answer_search import (
    GRACE,
    OPTUNA,
    TPE,
    WAYS,
    Way,
    argmax,
    reached,
    searched,
    surface,
)  # fmt: skip

DESIGN = Design(methods=answer.PLAIN, batch_sizes=(64, 256, 1024, 4096), trials=6)


def trials_of(way: Way, seed: int = 0) -> pd.DataFrame:
    random = np.random.default_rng(seed)
    config, train = answer.simulated(answer.BASE, DESIGN, random)
    return pd.DataFrame(searched(way, config, train, random))


@pytest.mark.parametrize("way", WAYS, ids=lambda way: way.name)
def test_every_way_searches_all_cells_and_is_charged_what_it_trained(way: Way) -> None:
    trials = trials_of(way)
    assert (trials.groupby("batch_size")["number"].apply(sorted) == 4 * [list(range(6))]).all()
    assert (trials["phase"].isin(["search", "control"])).all()
    whole = trials["status"] == "complete"
    assert (trials["cost"][whole] == 1).all() and (trials["cost"][~whole] < 1).all()
    assert (trials["cost"][trials["status"] == "diverged"] == 1 / 9).all()
    stopped = trials[trials["status"] == "stopped"]
    assert len(stopped) if way in (TPE, GRACE) else not len(stopped)
    assert (stopped["number"] >= way.grace).all()
    assert surface(trials)[1] < surface(trials)[2]


def test_argmax_is_a_line_through_the_best_complete_trials() -> None:
    sizes, lrs = np.array([64, 128, 256, 512]), np.array([0.1, 0.2, 0.4, 0.4])
    best = pd.DataFrame({"batch_size": sizes, "lr": lrs, "score": 3.0, "status": "complete"})
    worse = best.assign(lr=9.0, score=2.0)
    failed = best.assign(lr=99.0, score=5.0, status="diverged")
    slope, low, high = argmax(pd.concat([worse, best, failed], ignore_index=True))
    x, y = np.log2(sizes) - np.log2(sizes).mean(), np.log2(lrs)
    expected = (x @ y) / (x @ x)
    residual = y - y.mean() - expected * x
    half = 4.30265273 * np.sqrt(residual @ residual / 2 / (x @ x))  # t of two degrees of freedom
    assert (slope, low, high) == pytest.approx((expected, expected - half, expected + half))


def test_the_cost_is_read_between_the_two_widths_about_the_goal() -> None:
    cost = np.array([10.0, 20.0, 40.0])
    assert reached(cost, np.array([0.6, 0.6, 0.15])) == pytest.approx(20 * 2**0.5)
    assert reached(cost, np.array([np.inf, 0.2, 0.1])) == 20
    assert reached(cost, np.array([0.2, 0.4, 0.1])) == 10
    assert np.isnan(reached(cost, np.array([0.6, 0.5, 0.4])))


def test_a_table_compares_all_ways_and_its_goals_can_fail(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two small studies of each way, beside the same cells of the default."""
    made = argparse.ArgumentParser()
    answer.options_of(made)
    asked = ["--repetitions", "2", "--trials", "6", "--longest", "6", "--only", "a=1"]
    rows = list(answer.measure(made.parse_args(asked)))
    assert [(row["search"], row["reading"]) for row in rows] == [
        ("Optuna", "argmax"), ("Optuna", "surface"), *((way.name, "surface") for way in WAYS[1:])
    ]  # fmt: skip
    grace = next(row for row in rows if row["search"] == GRACE.name)
    assert not grace["cost"] <= 0  # nan: the width is not reached in so few trials
    assert next(row for row in rows if row["search"] == TPE.name)["worse"] == 0
    good = [row | {"cost": 20.0 if row is grace else 50.0} for row in rows]
    said = {goal.text: goal.met for goal in answer.goals(good)}
    assert said[f"{GRACE.name}: width 0.3 sooner than Optuna's argmax, in every truth"]
    bad = [row | ({"cost": 99.0, "cover": 0.0} if row is grace else {"cost": 50.0}) for row in rows]
    said = {goal.text: goal.met for goal in answer.goals(bad)}
    assert said[f"{GRACE.name}: width 0.3 sooner than Optuna's argmax, in every truth"] is False
    assert said[f"{GRACE.name}: the interval holds the truth in 95 %"] is False
    assert OPTUNA.name in {row["search"] for row in rows}
