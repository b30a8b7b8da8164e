"""LR* and rho*, their intervals and verdicts, in studies whose answer is known."""

from dataclasses import asdict

import numpy as np
import pytest

from analysis.data.cells import cells
from analysis.fit.optimum import responses
from tests.helpers.searches import (
    DIVERGED,
    FALL,
    RHO,
    curve,
    judge,
    last,
    octaves,
    others,
    perturbed,
    winner,
)
from tests.helpers.synthetic import study, trial


def test_interior():
    best = last(others() + curve(512, 0.5))
    assert best.verdict == "interior" and not best.confirmed
    assert octaves(best.lr_star) == pytest.approx(0.5, abs=0.15)
    assert best.lr_low < 2**0.5 < best.lr_high and best.se < 0.15
    assert (best.tried_low, best.tried_high) == (2**-4, 2**4)


def test_a_peak_beyond_the_last_lr_is_only_known_to_be_beyond():
    best = last(others() + curve(512, 0.0, -6, -1))
    assert (best.verdict, best.lr_star) == ("at_upper", 0.5)
    best = last(others() + curve(512, 0.0, 1, 6))
    assert (best.verdict, best.lr_star) == ("at_lower", 2.0)


@pytest.mark.parametrize(("slope", "verdict"), [(0.3, "at_upper"), (-0.3, "at_lower")])
@pytest.mark.parametrize("sd", [0.0, 0.05])
def test_a_rise_without_a_peak_points_beyond_what_was_tried(slope, verdict, sd):
    random, found = np.random.default_rng(0), []
    for _ in range(4):
        rows = [
            trial(batch_size=size, lr=2.0**x, score=slope * x + sd * random.standard_normal())
            for size in (64, 128, 256) for x in range(-6, 7)
        ]  # fmt: skip
        found += judge(rows).values()
    for each in found:
        assert each.verdict == verdict
        open_end, other = (each.lr_high, each.lr_low)[:: 1 if slope > 0 else -1]
        assert open_end == (np.inf if slope > 0 else 0)
        assert (other - 1) * slope > 0, "the far end is in the half that scores better"


def test_a_noisy_rise_is_neither_flat_nor_closed_above():
    """Over what was tried it is seven SDs of the noise, over an octave half of one."""
    random = np.random.default_rng(0)
    for _ in range(3):
        rows = [
            trial(batch_size=size, lr=2.0**x, score=0.3 * x + 0.5 * random.standard_normal())
            for size in (64, 128, 256) for x in range(-6, 7)
        ]  # fmt: skip
        for each in judge(rows).values():
            assert each.verdict in ("interior", "at_upper")
            assert each.lr_high == np.inf and each.lr_low > 2


def test_a_rise_that_levels_out_before_the_end_is_open_there():
    random = np.random.default_rng(2)
    rows = [
        trial(batch_size=size, lr=2.0**x, score=0.3 * min(x, 3) + 0.05 * random.standard_normal())
        for size in (64, 128, 256) for x in range(-6, 7)
    ]  # fmt: skip
    for each in judge(rows).values():
        assert each.lr_high == np.inf and 1 < each.lr_low <= 2**4.5
        assert each.near_low < 2**3.5 and each.near_high > 2**5


def test_divergence_below_the_peak_leaves_lr_star_below_the_edge():
    """A rise cut off within a sixteenth of an octave: the surface is too smooth for that corner,
    and LR* comes out low."""
    best = last(others() + curve(512, 1.0, -5, 3, n=33, edge=0.0))
    assert best.verdict in ("interior", "stability_edge") and best.lr_star < best.lr_max
    assert 2**0.0 <= best.lr_max <= 2**0.25
    above = last(others() + curve(512, 1.0, -5, 4, n=33, edge=2.5))
    assert above.verdict == "interior" and octaves(above.lr_max) == pytest.approx(2.6, abs=0.2)


def test_a_peak_far_from_all_that_came_to_their_end_is_only_a_bound():
    """The other cells would place it, two octaves further."""
    rows = [row | ({"status": "stopped", "score": 2.9} if row["lr"] > 2**-2 else {})
            for row in curve(512, 0.0)]  # fmt: skip
    best = last(others() + rows)
    assert (best.verdict, best.lr_high) == ("at_upper", np.inf)
    assert octaves(best.lr_star) == pytest.approx(-2)


def test_nothing_but_noise_is_flat():
    random = np.random.default_rng(1)
    flat = [trial(batch_size=size, lr=2.0**x, score=random.normal(3, 0.1))
            for size in (64, 128, 256) for x in range(-6, 7)]  # fmt: skip
    found = judge(flat).values()
    assert {each.verdict for each in found} == {"flat"}
    assert all((each.lr_low, each.lr_high) == (0, np.inf) for each in found)


@pytest.mark.parametrize(
    "change",
    [
        {"lr": 0.1}, {"status": "error"}, {"status": "running"}, {"status": "stopped"},
        {"score": np.nan}, {"score": None, "status": "running"}, DIVERGED, {"lr": np.nan},
    ],
    ids=lambda change: "-".join(f"{k}={v}" for k, v in change.items()),
)  # fmt: skip
def test_a_cell_that_tells_nothing_is_insufficient_and_leaves_the_others(change):
    found = judge(others() + [row | change for row in curve(512, 0.0)])
    assert found["momentum B=512"].verdict == "insufficient"
    assert [each.verdict for each in found.values()][:3] == ["interior"] * 3


def test_three_trials_are_too_few():
    assert last(others() + curve(512, 0.0, n=3)).verdict == "insufficient"
    assert last(others() + curve(512, 0.0, n=4)).verdict == "interior"


def test_where_another_study_told_where_to_look_is_no_evidence_of_its_own():
    rows = others() + curve(512, 0.5)
    rows[-7]["role"] = "warm"
    best = last(rows)
    assert best.verdict == "warm_started" and octaves(best.lr_star) == pytest.approx(0.5, abs=0.15)


def test_unusable_studies_raise_nothing():
    assert responses([]) == []
    [lone] = judge([trial()]).values()
    assert (lone.verdict, lone.lr_star) == ("insufficient", 0.1)
    [running] = judge([trial(status="running", score=None)]).values()
    assert running.verdict == "insufficient" and np.isnan(running.lr_star)
    found = judge([], methods=["momentum", "momentum+sam"], batch_sizes=[64, 128])
    assert [each.verdict for each in found.values()] == ["insufficient"] * 4
    [nan] = judge([trial(lr=np.nan, rho=np.nan, score=np.nan)] * 9).values()
    assert nan.verdict == "insufficient"


def test_a_score_of_another_origin_and_unit_has_its_best_at_the_same_place():
    rows = others() + curve(512, 0.5)
    best = last(rows)
    for shift, unit in ((10.0, 1.0), (0.0, 50.0), (-4.0, 0.01)):
        moved = last([row | {"score": shift + unit * row["score"]} for row in rows])
        assert moved.verdict == best.verdict
        assert moved.lr_star == pytest.approx(best.lr_star, rel=0.02)
        for name in ("lr_low", "lr_high"):  # quantiles of 512 draws, which rounding draws anew
            ours, theirs = octaves(getattr(moved, name)), octaves(getattr(best, name))
            assert ours == pytest.approx(theirs, abs=0.5 * best.se)
        assert moved.se == pytest.approx(best.se, rel=0.15)


def test_a_learning_rate_in_another_unit_only_moves_the_place():
    rows = others() + curve(512, 0.5)
    best, moved = last(rows), last([row | {"lr": row["lr"] / 8} for row in rows])
    assert moved.lr_star == pytest.approx(best.lr_star / 8, rel=0.02)
    assert (moved.verdict, moved.se) == (best.verdict, pytest.approx(best.se, rel=0.15))


def test_methods_do_not_mix():
    adam = [row | {"method": "adam"} for row in others(high=2.0)]
    alone, beside = judge(others()), judge(others() + adam)
    for name, each in alone.items():
        np.testing.assert_equal(asdict(beside[name]), asdict(each))


def test_stopped_trials_are_no_scores_and_survived():
    rows = others() + curve(512, 0.5)
    rows[-1] |= {"status": "stopped", "score": 2.0}
    other = [*rows[:-1], rows[-1] | {"score": 2.5}]
    best = last(rows)
    assert best.lr_star == last(other).lr_star and best.lr_max_low == 2**4


def test_trials_on_fresh_seeds_count_too():
    """Copied and doubled learning rates are evidence wherever they lie."""
    rows = others() + curve(512, 0.5, -4, -1)
    fresh = [row | {"phase": "confirm", "role": "double"} for row in curve(512, 0.5, -1, 4, n=9)]
    before, after = last(rows), last(rows + fresh)
    assert (before.verdict, before.lr_high, before.tried_high) == ("at_upper", np.inf, 0.5)
    assert (after.verdict, after.tried_high) == ("interior", 16)
    assert octaves(after.lr_star) == pytest.approx(0.5, abs=0.15)


def test_the_confirmed_winner_and_its_shortfall():
    """0 at the optimum; what the score falls by away from it."""
    rows = others(sd=0.0) + curve(512, 0.5, sd=0.0)
    top = winner(2**0.5, [3.0] * 3, size=512)
    assert last(rows + top).shortfall == pytest.approx(0, abs=2e-3)
    aside = last(rows + winner(2**1.5, [2.9] * 3, size=512))
    assert aside.confirmed and aside.winner_lr == 2**1.5
    assert octaves(aside.lr_star) == pytest.approx(0.5, abs=0.1)
    assert aside.shortfall == pytest.approx(FALL, rel=0.1)
    gone = last(rows + winner(2**1.5, size=512, status="diverged"))
    assert not gone.confirmed


def test_near_optimal_is_within_one_seed_sd():
    """FALL d^2 = SD: an SD of 0.1 is an octave to each side."""
    rows = curve(64, 0.0, sd=0.0) + curve(128, 0.0, sd=0.0)
    rows += winner(1.0, [2.9, 3.0, 3.1]) + winner(1.0, [2.9, 3.0, 3.1], size=128)
    for best in judge(rows).values():
        assert octaves(best.near_high / best.lr_star) == pytest.approx(1.0, abs=0.15)
        assert octaves(best.lr_star / best.near_low) == pytest.approx(1.0, abs=0.15)


def test_a_plateau_is_said_by_a_wide_interval_and_its_near_optimal_ends():
    """Level from 2^-2 to 2^2, falling by 0.3 an octave outside of it."""
    random = np.random.default_rng(3)
    rows = [
        trial(batch_size=size, lr=2.0**x, score=3 - 0.3 * max(abs(x) - 2, 0)
              + 0.02 * random.standard_normal())
        for size in (64, 128, 256) for x in np.arange(-5, 5.1, 0.75)
    ]  # fmt: skip
    for best in judge(rows + winner(1.0, [2.95, 3.0, 3.05])).values():
        assert octaves(best.lr_high / best.lr_low) > 1.5
        assert octaves(best.near_high / best.near_low) > 2
        assert octaves(best.near_low) > -3.5 and octaves(best.near_high) < 3.5


def test_rho_star_and_the_best_lr_at_one_radius():
    """LR* tilts with rho: at the cells' middle radius, 2^RHO, it is `peak` for the middle cell."""
    tilt = 0.05
    stars = {64: (0.0, RHO - 1), 128: (0.5, RHO), 256: (1.0, RHO + 1)}
    rows = [r for size, at in stars.items() for r in perturbed(size, *at, sd=0.0, tilt=tilt)]
    for (peak, rho_star), best in zip(stars.values(), judge(rows).values(), strict=True):
        assert (best.verdict, best.rho_verdict) == ("interior", "interior")
        assert octaves([best.lr_star, best.rho_star]) == pytest.approx([peak, rho_star], abs=0.1)
        held = peak + tilt / 2 / FALL * (RHO - rho_star)
        assert octaves(best.lr_at_rho) == pytest.approx(held, abs=0.1)


@pytest.mark.parametrize(
    ("rhos", "verdict", "end"), [((-3.0, -1.0), "at_lower", 0), ((-7.0, -5.0), "at_upper", 1)]
)
def test_a_rho_star_beyond_the_radii_tried_is_at_their_end(rhos, verdict, end):
    """LR* is then the best at that end: max over the radii searched."""
    tilt = 0.05
    rows = [row for size in (64, 128) for row in perturbed(size, 0.0, sd=0.0, tilt=tilt)]
    own = perturbed(256, 0.0, sd=0.0, rhos=rhos, tilt=tilt)
    best, bound = last(rows + own), sorted(row["rho"] for row in own)[-end]
    assert best.rho_verdict == verdict and best.rho_star == pytest.approx(bound)
    held = tilt / 2 / FALL * (octaves(bound) - RHO)
    assert octaves(best.lr_star) == pytest.approx(held, abs=0.1) and abs(held) > 0.2


def test_a_radius_that_does_not_matter_is_flat_and_lr_star_stands():
    rows = [r for size in (64, 128, 256) for r in perturbed(size, 0.5, bend=0.0, sd=0.03)]
    for best in judge(rows).values():
        assert best.verdict == "interior" and octaves(best.lr_star) == pytest.approx(0.5, abs=0.2)
        assert best.rho_verdict == "flat" or octaves(best.rho_high / best.rho_low) > 3


def test_one_radius_for_all():
    rows = [row | {"rho": 0.05} for s in (64, 128, 256) for row in perturbed(s, 0.5, bend=0.0)]
    for best in judge(rows).values():
        assert best.verdict == "interior" and best.rho_verdict in ("flat", "insufficient")
        assert octaves(best.lr_star) == pytest.approx(0.5, abs=0.1)


def test_an_extended_study_uses_the_winner_that_the_search_ranks_higher():
    rows = [trial(lr=lr, score=s) for lr, s in zip([0.1, 0.2, 0.4, 0.8], [1, 3, 4, 2], strict=True)]
    [cell] = cells(study(rows + winner(0.2) + winner(0.4, [2.5])))
    assert set(cell.winner_runs["lr"]) == {0.4}
    [best] = judge(rows + winner(0.2) + winner(0.4, [2.5])).values()
    assert (best.winner_lr, best.confirmed) == (0.4, True)


def test_planned_cells_without_trials_are_kept_and_plain_methods_have_no_m():
    rows = [trial("momentum", 64, m=32), trial("momentum", 64, m=np.nan), trial("x+sam", 64, m=16)]
    made = study(rows, methods=["x+sam", "momentum"], batch_sizes=[8, 64, 128], m=16)
    found = {str(cell): len(cell.trials) for cell in cells(made)}
    assert list(found.items()) == [
        ("x+sam B=8", 0), ("x+sam B=64 m=16", 1), ("x+sam B=128 m=16", 0),
        ("momentum B=8", 0), ("momentum B=64", 2), ("momentum B=128", 0),
    ]  # fmt: skip


@pytest.mark.parametrize("m", [None, 0, [0], [0, 16]])
def test_configured_m(m):
    made = study([], methods=["x+sam"], batch_sizes=[64], m=m)
    both = ["x+sam B=64 m=16", "x+sam B=64"]
    assert [str(cell) for cell in cells(made)] == (both if m == [0, 16] else both[1:])
