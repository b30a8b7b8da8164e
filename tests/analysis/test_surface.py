"""The fitted surface against quadratics known outright, another least squares, and selection."""

import numpy as np
import pytest
from scipy import stats  # type: ignore[import-untyped,unused-ignore]

from analysis.surface import Observations, fit, vertices

TILTED = np.array([[-0.10, 0.03], [0.03, -0.08]])


def observe(cell, x, y, z=None, weight=None):
    cell = np.asarray(cell, int)
    weight = np.ones(len(cell)) if weight is None else weight
    return Observations(cell, np.asarray(x, float), z, np.asarray(y, float), weight, cell.max() + 1)


def height(points, peaks, hessian):
    """The score of each point: a quadratic about its own peak."""
    u = points - peaks
    return np.einsum("ni,ij,nj->n", u, np.atleast_2d(hessian), u) / 2


def many(peaks, trials, random, hessian=-0.2, low=-4, high=4, noise=0.0, top=0.0):
    """`trials` a cell at random places of [low, high], with the score's noise; d = 1 or 2."""
    peaks = np.asarray(peaks, float)
    cell = np.repeat(np.arange(len(peaks)), trials)
    points = random.uniform(low, high, (len(cell), peaks.shape[1]))
    y = np.broadcast_to(top, len(peaks))[cell] + height(points, peaks[cell], hessian)
    y = y + noise * random.standard_normal(len(cell))
    z = points[:, 1] if peaks.shape[1] == 2 else None
    return observe(cell, points[:, 0], y, z)


def start(cells, d=1):
    return np.zeros((cells, d))


def test_quadratics_about_different_peaks_are_found_exactly():
    peaks = np.array([[-1.3], [0.4], [2.2]])
    found = fit(many(peaks, 7, np.random.default_rng(0), top=[1, 5, -2]), start(3))
    assert vertices(found) == pytest.approx(peaks, abs=1e-6)
    assert found.hessian == pytest.approx(np.array([[-0.2]]), abs=1e-6)
    assert found.sigma == pytest.approx(0, abs=1e-6) and found.known.all()


def test_tilted_quadratics_are_found_exactly():
    peaks = np.array([[-1.0, 0.5], [0.3, -1.2], [1.5, 0.1]])
    found = fit(many(peaks, 8, np.random.default_rng(1), TILTED, top=[1, 5, -2]), start(3, 2))
    assert found.form == "own" and found.d == 2
    assert vertices(found) == pytest.approx(peaks, abs=1e-6)
    assert found.hessian == pytest.approx(TILTED, abs=1e-6)


def test_one_cell_agrees_with_polyfit():
    seen = many([[0.7]], 15, np.random.default_rng(2), noise=0.1)
    found = fit(seen, start(1))
    assert np.isinf(found.width) and not found.bent
    (c, b, _), covariance = np.polyfit(seen.x - found.centre[0, 0], seen.y, 2, cov=True)
    assert [found.slope[0, 0], found.hessian[0, 0]] == pytest.approx([b, 2 * c])
    unit = np.diag([1, 2])  # H = 2 c
    theirs = unit @ covariance[1::-1, 1::-1] @ unit
    assert found.covariance == pytest.approx(theirs)
    assert found.df == pytest.approx([12])


def test_cells_of_one_noise_agree_with_dummies_in_least_squares():
    random = np.random.default_rng(3)
    seen = many([[0.0], [1.0], [-1.0]], 9, random, noise=0.05)
    found = fit(seen, start(3))
    assert np.isinf(found.width) and not found.bent and np.ptp(found.sigma) == 0
    u = seen.x - found.centre[seen.cell, 0]
    own = np.eye(3)[seen.cell]
    design = np.hstack([own, own * u[:, None], u[:, None] ** 2 / 2])
    theirs, rest, _, _ = np.linalg.lstsq(design, seen.y, rcond=None)
    assert np.append(found.slope, found.hessian) == pytest.approx(theirs[3:])
    df = len(u) - 7
    assert found.sigma == pytest.approx(np.sqrt(rest[0] / df)) and found.df == pytest.approx(df)
    errors = np.linalg.inv(design.T @ design)[3:, 3:] * rest[0] / df
    assert found.covariance == pytest.approx(errors)


def test_the_noise_of_each_cell_is_told_apart():
    random = np.random.default_rng(4)
    seen = many(np.zeros((4, 1)), 40, random)
    true = np.array([0.02, 0.02, 0.3, 0.3])
    noisy = observe(seen.cell, seen.x, seen.y + true[seen.cell] * random.standard_normal(160))
    assert np.log(fit(noisy, start(4)).sigma / true) == pytest.approx(np.zeros(4), abs=0.3)


def test_noisy_cells_do_not_wash_out_the_curvature():
    """Quiet cells, tried to one side of their peak, against least squares without weights."""
    random, ours, theirs = np.random.default_rng(16), [], []
    for _ in range(30):
        seen = many([[1.0], [0.0], [0.0], [0.0]], 12, random, high=1)
        sd = np.array([0.02, 1.0, 1.0, 1.0])[seen.cell]
        y = seen.y + sd * random.standard_normal(48)
        found = fit(observe(seen.cell, seen.x, y), start(4))
        own = np.eye(4)[seen.cell]
        design = np.hstack([own, own * seen.x[:, None], seen.x[:, None] ** 2 / 2])
        line = np.linalg.lstsq(design, y, rcond=None)[0]
        ours.append(found.hessian[0, 0] + 0.2)
        theirs.append(line[-1] + 0.2)
    assert np.median(np.abs(ours)) < 0.3 * np.median(np.abs(theirs))


def test_weights_are_those_of_weighted_least_squares():
    seen = many([[0.7]], 15, np.random.default_rng(2), noise=0.1)
    weight = np.where(np.arange(15) % 4, 1.0, 4.0)
    found = fit(observe(seen.cell, seen.x, seen.y, None, weight), start(1))
    assert np.isinf(found.width) and not found.bent
    c, b, _ = np.polyfit(seen.x, seen.y, 2, w=np.sqrt(weight))
    assert vertices(found)[0, 0] == pytest.approx(-b / 2 / c)
    assert vertices(found) != pytest.approx(vertices(fit(seen, start(1))), rel=1e-3)


def test_a_height_of_its_own_does_not_move_a_cell():
    random = np.random.default_rng(5)
    seen = many([[0.0], [1.0], [-1.0]], 10, random, noise=0.1)
    moved = observe(seen.cell, seen.x, seen.y + np.array([3.0, -7.0, 100.0])[seen.cell])
    assert vertices(fit(moved, start(3))) == pytest.approx(vertices(fit(seen, start(3))))


def test_stopped_trials_bias_the_survivors_and_not_the_weighted():
    """Stopped: who scores low before the end. Controls, a quarter, stand for all like them.

    The unlucky are missing far from the peak, so the survivors' score seems to fall less there.
    """
    random = np.random.default_rng(6)
    found = {"weighted": [], "survivors": []}
    for _ in range(40):
        seen = many(np.zeros((8, 1)), 40, random, low=-2, noise=0.2)
        stopped = seen.y + 0.1 * random.standard_normal(320) < -0.3
        control = random.random(320) < 0.25
        weight = np.where(stopped, 4.0, 1.0)
        keep = {"weighted": ~stopped | control, "survivors": ~stopped}
        for name, chosen in keep.items():
            own = observe(seen.cell[chosen], seen.x[chosen], seen.y[chosen], None, weight[chosen])
            surface = fit(own, start(8))
            found[name].append([vertices(surface).mean(), surface.hessian[0, 0]])
    z = {name: (np.mean(v, axis=0) - [0, -0.2]) / stats.sem(v) for name, v in found.items()}
    assert abs(z["weighted"]).max() < 3 and z["survivors"][1] > 6


def shaped(shape, random, noise=0.05):
    """Four cells of 16 trials whose score is not, or is, a quadratic about 0."""
    cell, x = np.repeat(np.arange(4), 16), random.uniform(-4, 4, 64)
    return observe(cell, x, shape(x) + noise * random.standard_normal(64))


def narrowed(found):
    return found.bent or np.isfinite(found.width)


def cliff(x):
    return -np.where(x > 0, 0.4, 0.1) * x**2


def quartic(x):
    return -0.05 * x**2 - 0.01 * x**4


@pytest.mark.parametrize("shape", [cliff, quartic])
def test_where_a_quadratic_is_too_little_the_surface_bends_or_the_window_narrows(shape):
    random = np.random.default_rng(7)
    for _ in range(10):
        found = fit(shaped(shape, random), start(4))
        assert narrowed(found) and found.known.all()


def test_a_cliff_misleads_less_than_a_parabola_through_all_trials():
    random = np.random.default_rng(7)
    ours, theirs = [], []
    for _ in range(10):
        seen = shaped(cliff, random)
        ours.append(vertices(fit(seen, start(4)))[:, 0])
        lines = [np.polyfit(seen.x[seen.cell == c], seen.y[seen.cell == c], 2) for c in range(4)]
        theirs.append([-b / 2 / a for a, b, _ in lines])
    assert abs(np.mean(ours)) < 0.5 * abs(np.mean(theirs))


def test_a_flat_top_is_found():
    """Steeper further out: what a parabola finds to 0.1 octaves must not be lost by bending."""
    random = np.random.default_rng(7)
    places = [vertices(fit(shaped(quartic, random), start(4)))[:, 0] for _ in range(20)]
    assert np.sqrt(np.mean(np.square(places))) < 0.3


def test_one_radius_for_all_is_as_good_as_none():
    """From a start two octaves off, where the score is no quadratic."""
    seen = shaped(cliff, np.random.default_rng(17))
    plain = fit(seen, start(4) - 2)
    found = fit(observe(seen.cell, seen.x, seen.y, np.zeros(64)), start(4, 2) - [2, 0])
    best = found.centre[:, 0] - found.slope[:, 0] / found.hessian[0, 0]
    assert best == pytest.approx(vertices(plain)[:, 0], abs=0.2)


def test_where_a_quadratic_is_enough_it_stays():
    random = np.random.default_rng(8)
    stayed = sum(not narrowed(fit(shaped(lambda x: -0.1 * x**2, random), start(4)))
                 for _ in range(300))  # fmt: skip
    assert stats.binomtest(stayed, 300, 0.95, "less").pvalue > 0.001 and stayed >= 270


def test_a_cell_at_one_place_is_unknown_and_leaves_the_others_alone():
    random = np.random.default_rng(9)
    seen = many([[0.0], [1.0]], 10, random, noise=0.1)
    more = observe([*seen.cell, 2, 2, 2], [*seen.x, 1.0, 1.0, 1.0], [*seen.y, 3.0, 3.1, 2.9])
    found, alone = fit(more, start(3)), fit(seen, start(2))
    assert found.known.tolist() == [True, True, False]
    assert np.isnan(vertices(found)[2]).all() and np.isnan(found.sigma[2])
    assert vertices(found)[:2] == pytest.approx(vertices(alone))


def test_a_cell_whose_trials_lie_on_a_line_of_lr_and_rho_has_no_rho_of_its_own():
    random = np.random.default_rng(10)
    seen = many(np.zeros((3, 2)), 12, random, TILTED, noise=0.02)
    line = seen.cell == 2
    seen.z[line] = seen.x[line]  # rho in step with LR
    y = height(seen.points, np.zeros((36, 2)), TILTED) + 0.02 * random.standard_normal(36)
    found = fit(observe(seen.cell, seen.x, y, seen.z), start(3, 2))
    assert found.form == "common" and found.known.all()
    assert vertices(found) == pytest.approx(np.zeros((3, 2)), abs=0.3)


def test_a_common_rho_is_one_number():
    """Three trials a cell, too few for a rho* each."""
    random = np.random.default_rng(11)
    peaks = np.column_stack([np.linspace(-1, 1, 12), np.full(12, 0.6)])
    seen = many(peaks, 3, random, TILTED, noise=0.005)
    found = fit(seen, start(12, 2))
    assert found.form == "common" and np.ptp(found.slope[:, 1]) == 0


def test_a_rho_that_shows_no_peak_only_shifts_the_score():
    random, best = np.random.default_rng(12), []
    for _ in range(30):
        seen = many([[-0.5], [0.5]], 12, random, noise=0.02)
        z = random.uniform(-2, 2, 24)
        found = fit(observe(seen.cell, seen.x, seen.y + 0.3 * z + 0.01 * z**2, z), start(2, 2))
        if found.form == "level":
            assert found.hessian[1, 1] == found.hessian[0, 1] == 0
            assert found.slope[:, 1] == pytest.approx(0.3, abs=0.05)
            best.append(found.centre[:, 0] - found.slope[:, 0] / found.hessian[0, 0])
    assert len(best) > 20 and np.mean(best, axis=0) == pytest.approx([-0.5, 0.5], abs=0.05)


def test_without_a_peak_in_rho_the_best_lr_may_still_follow_it():
    random = np.random.default_rng(15)
    hessian = np.array([[-0.2, 0.08], [0.08, 0.02]])
    found = fit(many([[-0.5, 0.0], [0.5, 0.0]], 16, random, hessian, noise=0.02), start(2, 2))
    assert found.form == "tilted" and found.hessian[1, 1] == 0
    assert found.hessian[0] == pytest.approx([-0.2, 0.08], abs=0.03)


def test_two_radii_have_no_peak_between_them():
    random = np.random.default_rng(12)
    seen = many([[-0.5], [0.5]], 12, random, noise=0.05)
    z = random.choice([-1.0, 1.0], 24)
    found = fit(observe(seen.cell, seen.x, seen.y + 0.3 * z, z), start(2, 2))
    assert found.form == "level" and found.hessian[1, 1] == 0


@pytest.mark.parametrize("d", [1, 2])
def test_trials_that_determine_no_cell_give_no_surface(d):
    z = None if d == 1 else np.array([0.0, 0.0, 1.0])
    assert fit(observe([0, 0, 1], [1.0, 1.0, 2.0], [3.0, 3.1, 3.0], z), start(2, d)) is None
    assert fit(observe([0], [1.0], [3.0], None if d == 1 else np.ones(1)), start(1, d)) is None


def test_cells_whose_start_is_unknown_are_unknown():
    seen = many([[0.0], [1.0]], 10, np.random.default_rng(13), noise=0.1)
    assert fit(seen, np.array([[0.0], [np.nan]])).known.tolist() == [True, False]
