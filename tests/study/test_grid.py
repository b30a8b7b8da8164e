"""`--sampler grid`: every point of a grid, each on several seeds, and the best of them on more."""

from collections import Counter

import numpy as np
import pytest

from study.plan.config import StudyConfig
from study.plan.planner import Planner
from tests.helpers.simulated import make_config, planner_of, simulate
from trainables.spec.errors import UsageError
from trainables.spec.grid import parse_grid, parse_search_seeds

GRID = {"sampler": "grid", "grid": (5, 3), "scheduler": "none", "search_seeds": (2, 4)}


def times(planner: Planner, cell: str) -> Counter[tuple[float, float]]:
    return Counter((r.config.lr, r.config.rho) for r in planner.searched[cell])


def test_every_point_is_trained_on_each_seed_and_the_best_on_more() -> None:
    planner = planner_of(**GRID)
    simulate(planner)
    sizes = {"momentum-b64": 5, "momentum-b1024": 5, "momentum+sam-b64": 15}
    for cell, points in sizes.items():
        seen = times(planner, cell)
        assert len(seen) == points and Counter(seen.values())[4] == min(points, 5)
        assert sorted(set(seen.values())) == ([2, 4] if points > 5 else [4])
        seeds = [r.config.seed for r in planner.searched[cell]]
        assert len(set(seeds)) == len(seeds)
    assert planner.done and len(planner.records) == planner.expected().total()


def test_the_ends_of_the_range_are_points_and_the_steps_are_even() -> None:
    planner = planner_of(**GRID)
    simulate(planner)
    low, high = planner.config.lr_ranges["momentum"]
    lrs = sorted({lr for lr, _ in times(planner, "momentum+sam-b1024")})
    assert lrs == pytest.approx(np.geomspace(low, high, 5).tolist())


def test_the_best_points_are_those_of_the_best_mean() -> None:
    planner = planner_of(**GRID)
    simulate(planner)
    history = planner.searched["momentum+sam-b64"]
    first: dict[tuple[float, float], list[float]] = {}
    for record in history[:30]:
        first.setdefault((record.config.lr, record.config.rho), []).append(record.score or 0.0)
    ranked = sorted(first, key=lambda point: -sum(first[point]))
    more = {point for point, n in times(planner, "momentum+sam-b64").items() if n == 4}
    assert more == set(ranked[:5])


def test_what_is_there_at_any_time_covers_the_grid_evenly() -> None:
    planner = planner_of(**GRID)
    simulate(planner, events=9 * 60)
    for cell in planner.cells:
        seen = times(planner, cell)
        assert max(seen.values()) - min(seen.values()) <= 1 or len(seen) == 5


def test_the_winner_has_the_best_mean_over_the_points_trained_most() -> None:
    planner = planner_of(**GRID)
    simulate(planner)
    for cell in planner.cells.values():
        seen: dict[tuple[float, float], list[float]] = {}
        for record in planner.searched[cell.name]:
            seen.setdefault((record.config.lr, record.config.rho), []).append(record.score or 0.0)
        means = {at: np.mean(scores) for at, scores in seen.items() if len(scores) == 4}
        winner = planner.winner(cell)
        assert winner and (winner.config.lr, winner.config.rho) == max(means, key=means.__getitem__)


def test_more_seeds_go_on_where_fewer_have_ended() -> None:
    fewer = planner_of(**GRID | {"search_seeds": (1, 2)})
    simulate(fewer)
    more = planner_of(fewer.log.events, **GRID | {"search_seeds": (3, 3)})
    simulate(more)
    assert set(times(more, "momentum+sam-b64").values()) == {3}


def test_a_point_comes_again_for_a_sampler_that_learns_too() -> None:
    planner = planner_of(trials=6, search_seeds=(3, 3), scheduler="none")
    simulate(planner)
    assert list(times(planner, "momentum+sam-b64").values()) == [3] * 6


def test_a_configuration_survives_its_dictionary() -> None:
    config = make_config(**GRID)
    assert StudyConfig.from_dict(config.to_dict()) == config
    old = {k: v for k, v in config.to_dict().items() if k not in ("grid", "search_seeds")}
    assert StudyConfig.from_dict(old).search_seeds == (1, 1)


@pytest.mark.parametrize(("text", "grid"), [("13x6", (13, 6)), ("9", (9, 2)), (" 2x2 ", (2, 2))])
def test_grids(text: str, grid: tuple[int, int]) -> None:
    assert parse_grid(text) == grid


@pytest.mark.parametrize("text", ["", "x", "1x3", "3x1", "0", "13x6x2", "-3x2", "3.5x2", "13×6"])
def test_bad_grids_are_named(text: str) -> None:
    with pytest.raises(UsageError, match=r"^--grid: .*accepted: .*13x6"):
        parse_grid(text)


@pytest.mark.parametrize("text", ["", "0", "5..2", "2..", "..5", "-1", "1.5", "two"])
def test_bad_search_seeds_are_named(text: str) -> None:
    with pytest.raises(UsageError, match=r"^--search-seeds: .*accepted: "):
        parse_search_seeds(text)
