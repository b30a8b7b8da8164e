"""Forecasts are sums that can be checked by hand."""

import dataclasses
from collections import Counter

import pytest

from study.cluster.calibrate import merge
from study.log.log import Event
from study.show.forecast import Forecast, expected_progress, known, overview, sized
from tests.helpers.simulated import make_config, planner_of, simulate
from trainables.spec.errors import UsageError
from trainables.spec.grid import Cell
from trainables.spec.workers import Workers


def forecast_of(**changes: object) -> Forecast:
    config = make_config(**changes)
    rates = {cell.name: (0.01 * (1 if cell.plain else 2), 0.1) for cell in config.cells}
    return Forecast(config, 16_384, rates, slots=2)


def test_a_trial_costs_its_steps_and_reports() -> None:
    forecast = forecast_of()
    assert forecast.trial(Cell("momentum", 64, 64)) == pytest.approx(2560 * 0.01 + 9 * 0.1)
    assert forecast.trial(Cell("momentum+sam", 1024, 1024)) == pytest.approx(160 * 0.02 + 0.9)


def test_a_trial_over_two_workers_takes_two_slots_while_one_evaluates() -> None:
    one, cell = forecast_of(), Cell("momentum", 64, 64)
    two = dataclasses.replace(one, workers=Workers(2))
    assert two.trial(cell) == pytest.approx(2560 * 0.01 + 2 * 9 * 0.1)
    assert " 2 workers, up to 2 a trial, whose communication is not in it" in overview(two)
    assert overview(one).endswith(" on 2 at a time")


def test_gradients_are_counted_twice_for_sam() -> None:
    forecast = forecast_of(scheduler="none")
    plain, sam = (Cell(method, 64, 64) for method in ("momentum", "momentum+sam"))
    assert forecast.gradients(Counter([(plain, "search")])) == 163_840
    assert forecast.gradients(Counter([(sam, "confirm"), (plain, "confirm")])) == 3 * 163_840


def test_expected_progress_of_one_trial_and_of_very_many() -> None:
    """One is never stopped; of many, half reach 4/9 of the schedule and a quarter the end."""
    assert expected_progress(1, 9, 0.1) == 1.0
    assert expected_progress(4000, 9, 0.1) == pytest.approx(2 / 9 + 1 / 9 + 5 / 36, abs=0.02)
    assert expected_progress(4, 9, 0.1, grace=4) == 1.0
    assert expected_progress(8, 9, 0.1) < expected_progress(8, 9, 0.1, grace=4) < 1.0
    assert expected_progress(8, 9, 0.6) == 1.0  # no rung lies after so long a warmup


def test_two_trials_are_stopped_as_can_be_counted() -> None:
    """The first never is; the second at 2/9 if it is worse, which is every other time."""
    assert expected_progress(2, 9, 0.1) == pytest.approx((1 + (2 / 9 + 1) / 2) / 2, abs=0.02)


def test_what_is_left_shrinks_to_nothing() -> None:
    forecast = forecast_of()
    planner = planner_of()
    left = [forecast.left(planner)]
    assert left[0] == pytest.approx(forecast.work(planner.expected()))
    for _ in range(4):
        simulate(planner, events=25)
        left.append(forecast.left(planner))
    simulate(planner)
    assert left[0] > left[1] > left[-1] > 0
    assert forecast.left(planner) == 0


def test_rates_are_averaged_over_processes() -> None:
    assert merge([{"a": (1.0, 2.0)}, {"a": (3.0, 6.0)}]) == {"a": (2.0, 4.0)}


def test_the_last_sessions_rates_are_known_as_far_as_they_hold_here() -> None:
    def session(rates: dict[str, list[float]], slots: int = 2, host: str = "here") -> Event:
        return {"event": "session", "time": 0.0, "slots": slots, "host": host, "rates": rates}

    old = {"event": "session", "time": 0.0, "slots": 2}
    first, more = session({"a": [1.0, 2.0]}), session({"a": [3.0, 4.0], "b": [5.0, 6.0]})
    assert known([old], 2, "here") == {}
    assert known([old, first], 2, "here") == {"a": (1.0, 2.0)}
    assert known([first, more], 2, "here") == {"a": (3.0, 4.0), "b": (5.0, 6.0)}
    elsewhere = [session({"a": [7.0, 8.0]}, slots=3), session({"a": [9.0, 9.0]}, host="there")]
    assert known([first, *elsewhere], 2, "here") == {"a": (1.0, 2.0)}


@pytest.mark.parametrize("rates", [None, {"a": 1.0}, {"a": [1.0]}, {"a": ["fast", 1.0]}])
def test_rates_that_are_none_are_refused_in_one_line(rates: object) -> None:
    damaged = {"event": "session", "slots": 2, "host": "here", "rates": rates}
    with pytest.raises(UsageError, match=r"line 1 is not to be understood"):
        known([damaged], 2, "here")


def test_within_takes_as_many_trials_as_fit() -> None:
    forecast = forecast_of(scheduler="none")
    for limit in (200.0, 500.0):
        chosen = sized(forecast, limit)
        trials = chosen.config.trials

        def seconds(count: int) -> float:
            planner = planner_of(scheduler="none", trials=count)
            return forecast.work(planner.expected()) / 2

        assert seconds(trials) <= limit < seconds(trials + 1)
    with pytest.raises(UsageError, match="--within: one trial a cell and"):
        sized(forecast, 10.0)
