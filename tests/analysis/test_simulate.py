"""Studies made in memory are what was asked for: laws, noise, divergence, stopping, fresh seeds."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from scipy import stats  # type: ignore[import-untyped,unused-ignore]

from analysis.data.cells import cells, complete
from analysis.simulate import REPORTS, RUNGS, Design, Truth, simulate

SIZES = (64, 256, 1024, 4096)
MANY = Design(methods=("momentum",), batch_sizes=SIZES, trials=400, asha=False)
TRUTH = Truth(exponent=0.75, edge=99.0, seed_sd=0.05)


def made(design=MANY, truth=TRUTH, seed=0, **others):
    truths = dict.fromkeys(design.methods, truth) | others
    found, known = simulate(design, truths, np.random.default_rng(seed))
    return found.trials, known


def searched(trials, size, method="momentum"):
    ours = trials["method"].eq(method) & trials["batch_size"].eq(size)
    return trials[ours & trials["phase"].isin(["search", "control"])]


def test_scores_peak_where_the_truth_says_and_fall_as_asked():
    trials, known = made()
    for row in known.itertuples():
        own = searched(trials, row.batch_size)
        bend, slope, _ = np.polyfit(np.log2(own["lr"]), own["score"], 2)
        assert -slope / 2 / bend == pytest.approx(row.x, abs=0.05)
        assert bend == pytest.approx(-TRUTH.curvature, abs=0.003)


def test_the_truth_follows_its_law_and_is_missed_by_the_misfit():
    _, known = made()
    assert np.diff(known["x"]) / np.diff(np.log2(known["batch_size"])) == pytest.approx(0.75)
    assert known["x"].mean() == pytest.approx(0.0)  # the middle of what is searched
    small = replace(MANY, trials=1, seeds=1, batch_sizes=tuple(range(64, 513)), reference_seeds=0)
    _, many = made(small, replace(TRUTH, misfit=0.4, centre=1.0))
    x = np.log2(many["batch_size"])
    misses = many["x"] - 1.0 - 0.75 * (x - x.mean())
    squares = (misses**2).sum() / 0.4**2  # chi^2 of 449
    assert 0.001 < stats.chi2.cdf(squares, len(many)) < 0.999


def test_the_best_radius_under_sam_and_its_tilt():
    design = replace(MANY, methods=("momentum+sam",), batch_sizes=(64,), trials=2000)
    truth = replace(TRUTH, rho_centre=0.5)
    trials, [row] = made(design, truth)[0], made(design, truth)[1].to_dict("records")
    own = searched(trials, 64, "momentum+sam")
    u, v = np.log2(own["lr"]) - row["x"], np.log2(own["rho"]) - row["z"]
    columns = np.column_stack([np.ones(len(u)), u, v, u * u, u * v, v * v])
    [_, *slopes, uu, uv, vv] = np.linalg.lstsq(columns, own["score"], rcond=None)[0]
    assert row["z"] == 0.5 and slopes == pytest.approx([0, 0], abs=0.005)
    expected = [-truth.curvature, truth.tilt, -truth.rho_curvature]
    assert [uu, uv, vv] == pytest.approx(expected, abs=0.003)


def test_training_diverges_above_the_edge_and_by_chance():
    trials, known = made(truth=replace(TRUTH, edge=2.0))
    at = dict(zip(known["batch_size"], known["x"], strict=True))
    u = np.log2(trials["lr"]) - trials["batch_size"].map(at)
    assert (trials["status"].eq("diverged") == (u > 2.0)).all() and (u > 2.0).any()
    trials, _ = made(truth=replace(TRUTH, diverge=0.1))
    failed = int(trials["status"].eq("diverged").sum())
    assert stats.binomtest(failed, len(trials), 0.1).pvalue > 0.001


def test_noise_of_the_seed_and_its_growth():
    truth = replace(TRUTH, noisier=0.5, accuracy_sd=0.002)
    trials, _ = made(replace(MANY, trials=8, seeds=300), truth)
    winners = trials[trials["role"].eq("winner")]
    for i, size in enumerate(SIZES):
        own = winners[winners["batch_size"].eq(size)]
        growth = 2.0 ** (0.5 * 2 * i)
        assert own["score"].std() == pytest.approx(0.05 * growth, rel=0.2)
        noise = own["test_accuracy"] - own["expected_accuracy"]
        assert noise.std() == pytest.approx(0.002 * growth, rel=0.2)
        assert own["lr"].nunique() == 1 and own["expected_accuracy"].nunique() == 1


def test_accuracy_lost_by_large_batches_and_its_recovered_share():
    sam = replace(TRUTH, recovered=0.4)
    design = replace(MANY, methods=("momentum", "momentum+sam"), trials=3000)
    trials, _ = made(design, **{"momentum+sam": sam})
    top = trials.groupby(["method", "batch_size"])["expected_accuracy"].max().unstack()
    octaves = np.array([0, 2, 4, 6])
    assert top.loc["momentum"].to_numpy() == pytest.approx(0.95 - 0.01 * octaves, abs=5e-4)
    assert top.loc["momentum+sam"].to_numpy() == pytest.approx(0.95 - 0.006 * octaves, abs=2e-3)


def test_a_cliff_falls_four_times_as_steeply_above():
    trials, known = made(truth=replace(TRUTH, shape="cliff", seed_sd=1e-6))
    own, x = searched(trials, 256), known["x"][1]
    drop, u = 3 - 0.2 - own["score"], np.log2(own["lr"]) - x
    steep = np.where(u > 0, 0.4, 0.1)
    assert drop.to_numpy() == pytest.approx(steep * u**2, abs=1e-4)


@pytest.mark.parametrize("shape", ["skewed", "plateau"])
def test_no_shape_moves_the_optimum_or_its_curvature(shape):
    trials, known = made(truth=replace(TRUTH, shape=shape, seed_sd=1e-6, edge=99.0))
    own, x = searched(trials, 256), known["x"][1]
    drop, u = 3 - 0.2 - own["score"].to_numpy(), np.log2(own["lr"].to_numpy()) - x
    near = np.abs(u) < 0.5
    assert near.sum() > 5
    assert drop[near] == pytest.approx(0.1 * u[near] ** 2, rel=0.2, abs=1e-4)
    if shape == "plateau":
        assert drop.max() < 1 and drop.max() > 0.8
    else:  # as far away, it falls by 2^u more on the right than on the left
        right, left = u > 2, u < -2
        assert (drop[right] > 0.15 * u[right] ** 2).all()
        assert (drop[left] < 0.06 * u[left] ** 2).all()


def test_a_grace_keeps_the_first_trials_of_a_cell():
    design = replace(MANY, asha=True, control_share=0.0, grace=5)
    trials, _ = made(design)
    for _, cell in trials[trials["role"].eq("search")].groupby(["method", "batch_size"]):
        assert not cell["status"].iloc[:5].eq("stopped").any()
        assert cell["status"].iloc[5:].eq("stopped").any()


def test_halving_stops_by_rungs_and_controls_tell_where():
    design = replace(MANY, asha=True, control_share=0.2)
    trials, _ = made(design)
    search = trials[trials["role"].eq("search")]
    control = search["phase"].eq("control")
    assert stats.binomtest(int(control.sum()), len(search), 0.2).pvalue > 0.001
    would = search["asha_would_stop_at"].notna()
    assert (search["status"].eq("stopped") == (would & ~control)).all()
    assert set(search["asha_would_stop_at"].dropna()) == set(RUNGS) and max(RUNGS) < REPORTS
    # The better half passes each of two rungs that rank much alike; drawing controls changes none.
    assert 0.4 < would.mean() < 0.8
    counts = pd.crosstab(control, would)
    assert stats.chi2_contingency(counts).pvalue > 0.001
    kept = search[~control & ~would]["expected_accuracy"].mean()
    assert kept > search[would]["expected_accuracy"].mean()
    assert not made()[0]["status"].eq("stopped").any()


def test_the_winner_is_the_best_survivor_and_the_rules_scale_the_reference():
    design = Design(batch_sizes=SIZES, trials=30, seeds=4, reference_seeds=2)
    found, _ = simulate(design, dict.fromkeys(design.methods, TRUTH), np.random.default_rng(3))
    for cell in cells(found):
        best = complete(cell.search).nlargest(1, "score").iloc[0]
        winners = cell.confirm("winner")
        assert len(winners) == 4 and (winners["lr"] == best["lr"]).all()
        assert (winners["rho"] == best["rho"]).all() and winners["seed"].tolist() == [0, 1, 2, 3]
    plain = found.trials[found.trials["method"].eq("momentum")]
    small = plain[plain["role"].eq("winner") & plain["batch_size"].le(512)]
    means = small.groupby("batch_size")["score"].mean()
    size = means.idxmax()
    lr = small.loc[small["batch_size"].eq(size), "lr"].iloc[0]
    for role, power in (("lr_copied", 0), ("lr_sqrt", 0.5), ("lr_linear", 1)):
        runs = plain[plain["role"].eq(role)]
        assert sorted(runs["batch_size"]) == sorted([b for b in SIZES if b > size] * 2)
        assert runs["lr"].to_numpy() == pytest.approx(lr * (runs["batch_size"] / size) ** power)
    others = found.trials["role"].str.startswith("lr_") & found.trials["method"].ne("momentum")
    assert not others.any()


def test_a_seed_makes_the_same_study_again_and_another_seed_another():
    design = Design(batch_sizes=(64, 256))
    (first, known), (again, known_again), (other, _) = (made(design, seed=s) for s in (5, 5, 6))
    pd.testing.assert_frame_equal(first, again)
    pd.testing.assert_frame_equal(known, known_again)
    assert not np.allclose(first["lr"][:8], other["lr"][:8])


def test_a_cell_in_which_all_diverge_has_no_winner():
    trials, _ = made(replace(MANY, trials=5), replace(TRUTH, edge=-99.0))
    assert trials["status"].eq("diverged").all() and trials["phase"].eq("search").all()
    assert len(trials) == 5 * len(SIZES) and trials["trial_id"].is_unique
