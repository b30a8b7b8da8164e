"""The edge of divergence against cells whose edge is known, and what one-sided cells can tell."""

import numpy as np
import pytest
from scipy import stats  # type: ignore[import-untyped,unused-ignore]
from scipy.special import expit  # type: ignore[import-untyped,unused-ignore]

from analysis.fit.edge import edge
from tests.helpers.searches import DIVERGED, curve, judge, last, octaves, others
from tests.helpers.synthetic import trial


def one(x, failed, z=None):
    found = edge(np.zeros(len(x), int), np.array(x), z, np.array(failed, bool), 1)
    return found.at[0], found.low[0], found.high[0], found.sd[0]


def test_a_clean_separation_leaves_the_gap():
    x = [-3.0, -2.0, -1.0, 0.0, 1.5, 2.5]
    at, low, high, sd = one(x, [0, 0, 0, 0, 1, 1])
    assert low <= 0.1 and high >= 1.4, "all of the gap"
    assert 0.5 < at < 1.0 and low > -0.75 and high < 2.25, "not much more, soft as it may be"
    assert 1.5 / 12**0.5 < sd < 0.75, "a place anywhere in the gap, and somewhat beyond"


@pytest.mark.parametrize("gap", [0.5, 1.0, 2.0])
def test_a_wider_gap_is_a_wider_interval(gap):
    x = [-3.0, -2.0, -1.0, 0.0, gap, gap + 1]
    _, low, high, _ = one(x, [0, 0, 0, 0, 1, 1])
    assert gap - 0.25 <= high - low <= gap + 2


def test_one_sided_cells_are_bounds():
    at, low, high, sd = one([-2.0, 1.0, 0.0], [0, 0, 0])
    assert (low, high) == (1.0, np.inf) and np.isnan(at) and np.isnan(sd)
    at, low, high, sd = one([-2.0, 1.0, 0.0], [1, 1, 1])
    assert (low, high) == (-np.inf, -2.0) and np.isnan(at) and np.isnan(sd)


def test_no_trial_tells_nothing_and_no_cell_is_no_error():
    at, low, high, _ = one(np.zeros(0), np.zeros(0))
    assert (low, high) == (-np.inf, np.inf) and np.isnan(at)
    found = edge(np.zeros(0, int), np.zeros(0), np.zeros(0), np.zeros(0, bool), 2)
    assert np.isnan(found.at).all() and (found.high == np.inf).all()


def test_one_sided_cells_stand_beside_others():
    cell = np.repeat([0, 1, 2], 5)
    x = np.tile(np.arange(5.0), 3)
    failed = np.concatenate([np.zeros(5), [0, 0, 0, 1, 1], np.ones(5)]).astype(bool)
    found = edge(cell, x, None, failed, 4)
    assert 2 < found.at[1] < 3 and np.isnan(found.at[[0, 2, 3]]).all()
    assert found.low.tolist()[0] == 4 and found.high.tolist()[2] == 0
    assert (found.low[3], found.high[3]) == (-np.inf, np.inf)


def recovered(soft, repetitions):
    """(error, its SD, whether inside) by cell: methods of 6 cells of 16 trials each."""
    random, rows = np.random.default_rng(0), []
    for _ in range(repetitions):
        true = random.uniform(-1, 1, 6)
        cell, x = np.repeat(np.arange(6), 16), random.uniform(-4, 4, 96)
        failed = random.random(96) < expit((x - true[cell]) / soft)
        found = edge(cell, x, None, failed, 6)
        inside = (found.low <= true) & (true <= found.high)
        known = np.isfinite(found.at)
        rows.append(np.column_stack([found.at - true, found.sd, inside])[known])
    return np.concatenate(rows).T


@pytest.mark.parametrize("soft", [0.03, 0.1, 0.3, 0.5])
def test_a_logistic_edge_is_recovered(soft):
    error, _, _ = recovered(soft, 50)
    assert len(error) > 280 and abs(error.mean()) < 0.1
    assert np.sqrt((error**2).mean()) < 0.3 + soft


@pytest.mark.parametrize("soft", [0.03, 0.1, 0.3])
def test_the_interval_of_a_logistic_edge_covers(soft):
    _, _, inside = recovered(soft, 50)
    assert stats.binomtest(int(inside.sum()), len(inside), 0.95, "less").pvalue > 0.001


@pytest.mark.parametrize("soft", [0.1, 0.3])
def test_the_sd_is_the_size_of_the_error(soft):
    error, sd, _ = recovered(soft, 50)
    assert np.std(error / sd) == pytest.approx(1, abs=0.25)


def test_a_radius_that_lowers_the_edge_is_accounted_for():
    """LR_max at the cell's middle rho; not knowing rho makes the edge look soft."""
    random = np.random.default_rng(2)
    cell = np.repeat(np.arange(8), 24)
    x, z = random.uniform(-4, 4, 192), random.uniform(-3, 3, 192)
    true = np.linspace(-1, 1, 8)
    middle = np.array([np.median(z[cell == c]) for c in range(8)])
    failed = x > true[cell] - 0.5 * (z - middle[cell])
    found, blind = edge(cell, x, z, failed, 8), edge(cell, x, None, failed, 8)
    assert found.at == pytest.approx(true, abs=0.4)
    assert np.mean(abs(found.at - true)) < 0.5 * np.mean(abs(blind.at - true))
    assert found.sd.mean() < 0.5 * blind.sd.mean()


def test_a_plain_edge_needs_no_radius():
    """A radius that does not matter takes nothing away."""
    random = np.random.default_rng(3)
    cell, x = np.repeat(np.arange(4), 20), random.uniform(-4, 4, 80)
    failed = x > 0.5
    found = edge(cell, x, random.uniform(-3, 3, 80), failed, 4)
    assert found.at == pytest.approx(edge(cell, x, None, failed, 4).at, abs=0.01)


def test_a_lone_failure_low_down_widens_instead_of_deciding():
    """Chance failures happen: the edge stays above the many that survived."""
    x = np.linspace(-4, 4, 17)
    failed = x > 2.2
    failed[3] = True
    at, low, high, _ = one(x, failed)
    _, clean_low, clean_high, _ = one(x, x > 2.2)
    assert 1.0 < at < 3.0 and high - low > clean_high - clean_low


def test_diverged_trials_far_above_do_not_move_lr_star():
    """How badly they ended does not count either: they are as bad as the worst that trained."""
    rows = others() + curve(512, 0.5)
    more = [trial(batch_size=512, lr=2.0**x) | DIVERGED for x in (4, 4.5, 5)]
    before, after = last(rows), last(rows + more)
    assert octaves(after.lr_star) == pytest.approx(octaves(before.lr_star), abs=1 / 3)
    assert after.lr_low < before.lr_star < after.lr_high
    assert np.isnan(before.lr_max) and before.lr_max_low == 2**4
    assert octaves(after.lr_max) == pytest.approx(4, abs=0.5)


def test_an_untrained_network_has_failed_above_lr_star_and_is_no_score():
    """At chance level: it did not diverge, and its score says nothing of the peak."""
    rows = others() + curve(512, 0.5, high=3)
    guess = [trial(batch_size=512, lr=2.0**x, score=-3.0) for x in (3.4, 3.6, 3.8, 4.0)]
    before, after = last(rows), last(rows + guess)
    assert octaves(after.lr_star) == pytest.approx(octaves(before.lr_star), abs=1 / 3)
    assert after.lr_low < before.lr_star < after.lr_high
    assert 3 < octaves(after.lr_max) < 3.5
    low = [trial(batch_size=512, lr=2.0**-x, score=-3.0) for x in (11, 12, 13, 14)]
    assert np.isnan(last(rows + low).lr_max), "too low a learning rate is no divergence"


def test_a_trial_stopped_early_did_not_fail():
    rows = others() + curve(512, 0.0)
    stopped = {"status": "stopped", "score": 0.5}
    rows = [row | stopped if row["score"] < 2.3 else row for row in rows]
    assert all(np.isnan(each.lr_max) for each in judge(rows).values())


def test_where_all_trained_nothing_failed():
    rows = [row for row in others() if row["lr"] > 2**-3]
    assert all(np.isnan(each.lr_max) for each in judge(rows).values())
