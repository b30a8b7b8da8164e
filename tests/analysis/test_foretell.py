"""What a law says of a batch size that was not studied: against Student's t and by simulation."""

import numpy as np
import pytest
from scipy import stats

from analysis.fit.bend import Bend, fit_bend
from analysis.fit.foretell import foretold
from analysis.fit.laws import Series

SIZES = np.arange(6.0, 14.0)


def cells(y: np.ndarray, se: float, x: np.ndarray = SIZES) -> Series:
    return Series(x, y, np.zeros(len(x)), se**2 * np.eye(len(x)))


def test_the_median_is_the_line_and_a_line_without_misses_is_told_to_its_errors() -> None:
    found = foretold(cells(0.5 * SIZES - 7, 0.01), 9.5, Bend())
    assert found.value == pytest.approx(0.5 * 9.5 - 7, abs=1e-3)
    assert 0.005 < found.high - found.value < 0.1


def test_misses_widen_it_about_as_students_t_does() -> None:
    y = 0.5 * SIZES + 0.6 * np.array([1, -1, 1, -1, -1, 1, -1, 1])
    design = np.column_stack([np.ones(8), SIZES])
    beta, (squares,), *_ = np.linalg.lstsq(design, y, rcond=None)
    at = np.array([1, 9.5])
    sd = np.sqrt(squares / 6 * (1 + at @ np.linalg.inv(design.T @ design) @ at))
    found = foretold(cells(y, 1e-3), 9.5, Bend())
    assert found.value == pytest.approx(at @ beta, abs=0.02)
    assert found.high - found.value == pytest.approx(stats.t.ppf(0.975, 6) * sd, rel=0.15)


@pytest.mark.parametrize("misses", [0.0, 0.3])
def test_the_interval_holds_a_cell_that_misses_the_law_as_others_do(misses: float) -> None:
    random, inside = np.random.default_rng(1), 0
    for _ in range(100):
        y = 0.5 * SIZES + np.hypot(misses, 0.2) * random.standard_normal(8)
        found = foretold(cells(y, 0.2), 9.5, Bend())
        inside += found.low <= 0.5 * 9.5 + misses * random.standard_normal() <= found.high
    assert inside >= 90


def test_it_bends_where_the_bend_is_told() -> None:
    y = np.minimum(SIZES, 9.0)
    data = cells(y, 0.02)
    bend = fit_bend(data)
    assert bend.told
    bent, straight = foretold(data, 12.5, bend), foretold(data, 12.5, Bend())
    assert bent.value == pytest.approx(9.0, abs=0.05)
    assert bent.high - bent.low < (straight.high - straight.low) / 4


def test_two_points_tell_nothing_and_a_bound_tells_its_side() -> None:
    assert np.isnan(foretold(cells(np.zeros(2), 0.1, SIZES[:2]), 6.5, Bend()).value)
    point = cells(0.5 * SIZES, 0.1)
    bound = Series(SIZES, point.y + np.eye(8)[7], np.eye(8)[7], point.covariance)  # last lies above
    assert foretold(bound, 13.5, Bend()).value > foretold(point.but(7), 13.5, Bend()).value
