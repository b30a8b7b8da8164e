"""Studies drawn from the dense table of real trainings, a small part of `python -m tests.truth`."""

import numpy as np
import pandas as pd

from tests.against import lacks
from tests.truth import TABLE, Row, once, summary, table


def test_intervals_hold_the_best_learning_rate_of_real_trainings() -> None:
    row = Row("momentum", "random", 12)
    line = summary(row, [once(TABLE, row, seed) for seed in range(6)])
    assert line["answered"] >= 0.8 and line["coverage"] >= 0.85
    assert line["median_error"] <= 0.5 and line["lost_half"] >= 0.75


def test_the_search_finds_what_plain_optuna_misses_at_the_same_cost() -> None:
    """Of SAM, in LR and rho: what the winners of 5 trials lack, in seed-SDs."""
    found = {}
    for search, trials in (("surface", 5), ("optuna", 5), ("random", 5)):
        row = Row("momentum+sam", search, trials)
        found[search] = summary(row, [once(TABLE, row, seed) for seed in range(4)])
        assert 4.5 < found[search]["cost"] < 6
    for other in (found["optuna"], found["random"]):
        assert found["surface"]["regret_90"] < 0.75 * other["regret_90"]
        assert found["surface"]["regret"] < 0.75 * other["regret"]


def test_the_table_has_every_batch_size_of_the_plain_method() -> None:
    plain = [cell for cell in table(TABLE) if cell.plain]
    assert [cell.key[1] for cell in plain] == [2**i for i in range(6, 14)]
    for cell in plain:
        low, high = cell.bounds[0]
        assert low + 1 < cell.best < high - 1, "no optimum lies at an end"
        assert cell.given_away(cell.best) < 1e-9 < cell.given_away(cell.best + 1.5)


def test_a_drawn_trial_is_expected_where_the_table_says() -> None:
    cell = next(cell for cell in table(TABLE) if cell.plain)
    points = np.full((400, 1), cell.best)
    drawn = cell.drawn(points, np.random.default_rng(0))[:, -1]
    assert abs(drawn.mean() - cell.top) < 0.03 and 0.01 < drawn.std() < 0.1


def test_seeds_matter_below_the_best_learning_rate_as_they_did_there() -> None:
    """Its neighbour at a cliff is by chance as deep, and 0.6 apart on two seeds."""
    cell = next(cell for cell in table(TABLE) if cell.key == ("momentum", 256, 256))
    lowest = cell.drawn(np.full((400, 1), cell.lr[0]), np.random.default_rng(0))[:, -1]
    cliff = cell.drawn(np.full((400, 1), cell.lr[-3]), np.random.default_rng(0))[:, -1]
    assert lowest.std() < 0.05 < 0.1 < cliff.std()
    assert lowest.max() < cell.top - 0.2 and cliff.max() < cell.top


def test_luck_on_the_test_set_is_partly_that_of_validation() -> None:
    lucky, spread = [], []
    for cell in table(TABLE):
        at = np.full((400, 1 if cell.plain else 2), cell.best)
        at[:, 1:] = cell.rho.mean()
        drawn = cell.confirmed(at, np.random.default_rng(0))
        lucky.append(np.corrcoef(drawn.T)[0, 1])
        spread.append(drawn[:, 1].std() / drawn[:, 0].std())
    assert 0.5 < np.median(lucky) < 0.95  # as of accuracies on five seeds
    assert 0.5 < np.median(spread) < 1.2


def test_a_winner_lacks_nothing_at_the_optimum_and_more_the_further_off() -> None:
    cell = next(cell for cell in table(TABLE) if cell.plain)
    short = [
        lacks(cell, pd.Series({"lr": 2 ** (cell.best + away), "rho": 0.0})) for away in (0, 1, 2)
    ]
    assert max(map(abs, short[0])) < 1e-9
    assert short == sorted(short) and [points for _, points in short] == sorted(p for _, p in short)
    assert short[1][0] > 0.5
    points = 100 * (np.exp(-cell.top) * np.expm1(short[1][0] * cell.sd))
    assert abs(points - short[1][1]) < 1e-9  # an error e^-score grows by e^(lack)
