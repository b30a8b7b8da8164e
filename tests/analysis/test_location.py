"""Where a surface is highest: known maxima, shapes that are not its own, what must not matter."""

from dataclasses import replace

import numpy as np
import pytest
from scipy import optimize, special, stats  # type: ignore[import-untyped,unused-ignore]

from analysis.fit.location import locate
from analysis.fit.optimum import tried
from analysis.fit.surface import fit
from tests.helpers.observed import TILTED, many, observe, quadratic


def located(seen, bounds=None, asked=None):
    surface = fit(seen)
    bounds = tried(seen) if bounds is None else bounds
    asked = np.full((seen.cells, surface.d), np.nan) if asked is None else asked
    return locate(surface, bounds, asked)


def softly(x):
    return np.logaddexp(0, x)


def cliff(u):
    """A gentle rise, then an octave in which most is lost, and nothing more to lose."""
    return 0.15 * np.minimum(u, 3) - 3 * special.expit(4 * (u - 1.2))


def plateau(u):
    """Level over three octaves, falling away on both sides."""
    return -0.4 * (softly(6 * (u - 1.5)) + softly(-3 * (u + 1.5))) / 3


def top(shape):
    return float(optimize.minimize_scalar(lambda u: -shape(u), bounds=(-2, 2), method="bounded").x)


TOP = {shape: top(shape) for shape in (cliff, plateau)}


def shaped(shape, peaks, trials, random, noise=0.03):
    peaks = np.asarray(peaks, float)
    cell = np.repeat(np.arange(len(peaks)), trials)
    x = random.uniform(-5, 5, len(cell))
    return observe(cell, x, shape(x - peaks[cell]) + noise * random.standard_normal(len(cell)))


def test_parabolas_of_hardly_any_noise_are_located_exactly():
    peaks = np.array([[-1.3], [0.4], [2.2], [0.0]])
    found = located(many(peaks, 10, np.random.default_rng(0), noise=0.001, top=[1, 5, -2, 0]))
    assert found.at == pytest.approx(peaks, abs=0.15)
    low, high = found.interval()
    assert (low <= found.at[:, 0]).all() and (found.at[:, 0] <= high).all()
    assert (high - low < 0.6).all()


def test_tilted_parabolas_are_located_in_both():
    peaks = np.array([[-1.0, 0.5], [0.3, -1.2], [1.5, 0.1]])
    found = located(many(peaks, 24, np.random.default_rng(1), TILTED, noise=0.002))
    assert found.at == pytest.approx(peaks, abs=0.1)


@pytest.mark.parametrize("shape", [cliff, plateau])
def test_the_interval_covers_where_the_score_is_not_drawn_from_our_kernel(shape):
    """The study is the unit, since its cells share what they show of the shape."""
    random, shares, widths, errors = np.random.default_rng(2), [], [], []
    for _ in range(16):
        peaks = random.uniform(-1.5, 1.5, 4)
        found = located(shaped(shape, peaks, 12, random))
        low, high = found.interval()
        truth = peaks + TOP[shape]
        shares.append(np.mean((low <= truth) & (truth <= high)))
        widths.append(np.mean(high - low))
        errors.append(np.abs(found.at[:, 0] - truth))
    error = np.std(shares, ddof=1) / np.sqrt(len(shares))
    assert np.mean(shares) > 0.95 - 3 * max(error, 0.02)
    assert np.median(errors) < (0.4 if shape is cliff else 1.5)
    assert np.mean(widths) < 4.5 and (shape is cliff or np.mean(widths) > 1)


def test_a_cell_an_octave_off_its_neighbours_law_is_not_bent_to_them():
    random, found = np.random.default_rng(3), []
    for _ in range(4):
        peaks = np.array([[-1.0], [-0.5], [1.0], [0.5], [1.0]])  # by the law the third is at 0
        found.append(located(many(peaks, 12, random, noise=0.03)).at[2, 0])
    assert np.array(found) == pytest.approx(np.ones(4), abs=0.3)


def test_neighbours_narrow_what_a_poor_cell_leaves_open():
    random = np.random.default_rng(4)
    seen = many(np.zeros((5, 1)), 14, random, noise=0.05)
    poor = (seen.cell != 2) | (np.arange(70) % 14 < 5)
    few = observe(seen.cell[poor], seen.x[poor], seen.y[poor])
    own = few.cell == 2
    alone = observe(np.zeros(5), few.x[own], few.y[own])
    bounds = tried(seen)
    (low, high), (wide_low, wide_high) = (
        [end[c] for end in located(*given).interval()]
        for c, given in ((2, (few, bounds)), (0, (alone, bounds[2:3])))
    )
    assert high - low < 0.7 * (wide_high - wide_low)
    assert low <= 0 <= high


@pytest.mark.parametrize(("change", "by"), [
    (lambda s: replace(s, y=s.y + 40), 0.0), (lambda s: replace(s, y=s.y * 10), 0.0),
    (lambda s: replace(s, x=s.x + 1), 1.0), (lambda s: replace(s, places=s.places + 3), 0.0),
], ids=["constant", "scale", "octave", "batch sizes"])  # fmt: skip
def test_units_and_origins_do_not_matter(change, by):
    seen = many([[0.0], [0.5], [1.0]], 10, np.random.default_rng(5), noise=0.1)
    found, moved = located(seen), located(change(seen))
    assert moved.at == pytest.approx(found.at + by, abs=0.1)
    for ours, theirs in zip(moved.interval(), found.interval(), strict=True):
        assert ours == pytest.approx(theirs + by, abs=0.2)


def test_the_order_of_the_trials_does_not_matter():
    random = np.random.default_rng(6)
    seen = many([[0.0], [0.5], [1.0]], 10, random, noise=0.1)
    turn = random.permutation(30)
    turned = observe(seen.cell[turn], seen.x[turn], seen.y[turn])
    found, moved = located(seen), located(turned)
    assert moved.at == pytest.approx(found.at, abs=0.01)
    for ours, theirs in zip(moved.interval(), found.interval(), strict=True):
        assert ours == pytest.approx(theirs, abs=0.1)


def test_the_same_trials_give_the_same_places_to_the_bit():
    seen = many(np.zeros((3, 2)), 8, np.random.default_rng(7), TILTED, noise=0.1)
    once, again = located(seen), located(seen)
    assert (once.at == again.at).all() and (once.draws == again.draws).all()


@pytest.mark.parametrize("d", [1, 2])
def test_large_tables_are_averaged_and_agree(d):
    random = np.random.default_rng(8)
    peaks = np.column_stack([[-1.0, 0.5, 1.0], np.zeros(3)])[:, :d]
    hessian = -0.2 if d == 1 else TILTED
    found = located(many(peaks, 1000, random, hessian, noise=0.1))
    assert found.at[:, 0] == pytest.approx(peaks[:, 0], abs=0.15)
    small = located(many(peaks, 30, random, hessian, noise=0.1))
    assert np.trace(found.covariance()) < np.trace(small.covariance())


def test_cells_without_trials_have_no_place_and_leave_the_others():
    seen = many([[0.0], [1.0]], 10, np.random.default_rng(9), noise=0.05)
    more = observe(seen.cell * 2, seen.x, seen.y, cells=4)
    found = located(more)
    assert np.isnan(found.at[[1, 3]]).all() and np.isnan(found.covariance()[1]).all()
    low, high = found.interval()
    assert (low[[0, 2]] < [0, 1]).all() and (high[[0, 2]] > [0, 1]).all()
    assert np.isfinite(found.covariance()[np.ix_([0, 2], [0, 2])]).all()


def test_everything_lies_within_the_bounds_and_equal_ones_fix_an_axis():
    peaks = np.array([[0.0, 0.0], [0.5, 0.5]])
    seen = many(peaks, 16, np.random.default_rng(10), TILTED, noise=0.005)
    bounds = np.array([[[-1.0, 2.0], [1.0, 1.0]], [[-1.0, 2.0], [-3.0, -1.0]]])
    found = located(seen, bounds)
    for c, (x, z) in enumerate(bounds):
        assert ((found.draws[:, c] >= [x[0], z[0]]) & (found.draws[:, c] <= [x[1], z[1]])).all()
    assert found.at[0, 1] == 1.0 and (found.draws[:, 0, 1] == 1.0).all()
    held = [0.03 / 0.10 * 1.0, 0.5 + 0.03 / 0.10 * -1.5]  # where the tilted ridge is at rho = 1, -1
    assert found.at[:, 0] == pytest.approx(held, abs=0.25) and found.at[1, 1] == -1.0


def test_what_is_lost_is_the_parabolas_fall():
    seen = many(np.zeros((3, 1)), 12, np.random.default_rng(11), noise=0.002)
    found = located(seen, asked=np.array([[0.0], [1.0], [np.nan]]))
    assert found.lost.min() >= 0
    assert found.lost.mean(axis=0)[:2] == pytest.approx([0, 0.1], abs=0.01)
    assert found.lost[:, 2].mean() < 0.01, "asked for nothing: at the best"


def test_the_covariance_is_that_of_repeated_studies():
    """New noise at the same places: no narrower than the scatter, nor twice as wide."""
    random = np.random.default_rng(12)
    seen = many(np.array([[0.0], [0.5], [1.0]]), 14, random)
    places, expected = [], []
    for _ in range(24):
        found = located(replace(seen, y=seen.y + 0.15 * random.standard_normal(42)))
        places.append(found.at[:, 0] - [0, 0.5, 1])
        expected.append(np.diag(found.covariance()))
    ratio = np.sqrt(np.mean(expected) / np.mean(np.square(places)))
    assert 0.75 < ratio < 2


def test_a_rise_to_the_end_is_at_the_end():
    random = np.random.default_rng(13)
    cell, x = np.repeat(np.arange(3), 13), np.tile(np.linspace(-6, 6, 13), 3)
    for sign in (1, -1):
        found = located(observe(cell, x, sign * 0.3 * x + 0.05 * random.standard_normal(39)))
        assert found.at[:, 0] == pytest.approx(6 * sign * np.ones(3))
        low, high = found.interval()
        assert (high - low < 4).all()


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize(
    ("x", "z"),
    [
        (np.zeros(8), None), (np.zeros(8), np.zeros(8)), (np.arange(8.0), np.zeros(8)),
        (np.zeros(8), np.arange(8.0)), (np.arange(8.0), np.arange(8.0)), (np.arange(8) // 4, None),
    ],
    ids=["one LR", "one place", "one rho", "one LR, radii", "a line", "two LRs"],
)  # fmt: skip
def test_degenerate_tables_are_located_quietly(x, z):
    y = np.random.default_rng(14).standard_normal(8)
    found = located(observe(np.zeros(8), x, y, z))
    assert np.isfinite(found.at).all() and np.isfinite(found.draws).all()
    assert stats.describe(found.lost.ravel()).minmax[0] >= 0


def test_the_truth_of_these_tests_is_what_they_say():
    assert 0 < TOP[plateau] < 1 and TOP[cliff] == pytest.approx(0.11, abs=0.01)
    assert quadratic(np.ones((1, 2)), np.zeros((1, 2)), TILTED) == pytest.approx([-0.06])
