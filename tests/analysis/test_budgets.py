"""The three budgets by hand and against scipy's paired t test, step times in closed form."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from scipy import stats  # type: ignore[import-untyped,unused-ignore]

from analysis.data.cells import cells
from analysis.questions.budgets import budget_lines, budgets, step_time
from tests.helpers.synthetic import study, trial


def run(accuracies, method="momentum", seed=0, batch_size=64, step_seconds=0.1, **values):
    """A winner's trial and its reports, one each 10 steps."""
    name = f"{method}-{batch_size}-{seed}"
    row = trial(method, batch_size, phase="confirm", role="winner", trial_id=name, seed=seed)
    steps = 10 * np.arange(1, len(accuracies) + 1)
    reports = pd.DataFrame({
        "trial_id": name, "report": np.arange(1, len(steps) + 1), "val_accuracy": accuracies,
        "steps": steps, "samples": batch_size * steps, "grads": steps * (1 + ("+" in method)),
        "seconds": step_seconds * steps,
    })  # fmt: skip
    return row | values, reports


def of(*runs):
    rows, reports = zip(*runs, strict=True)
    return measured(replace(study(list(rows)), reports=pd.concat(reports)))


def measured(given):
    return budgets(given, cells(given))


def rows(found, method):
    return found.equal[found.equal["method"] == method].set_index("budget")


def test_sam_is_cut_at_half_its_gradients_and_at_its_share_of_the_seconds():
    plain = run([0.5, 0.6, 0.7, 0.8])
    found = of(plain, run([0.4, 0.7, 0.8, 0.9], "momentum+sam", step_seconds=0.16))
    sam, base = rows(found, "momentum+sam"), rows(found, "momentum")
    assert list(base["val_accuracy"]) == [0.8, 0.8, 0.8]
    assert list(sam["share"]) == pytest.approx([1, 1 / 2, 1 / 1.6])
    assert list(sam["val_accuracy"]) == pytest.approx([0.9, 0.7, 0.75])  # 40, 20 and 25 steps
    assert list(sam["difference"]) == pytest.approx([0.1, -0.1, -0.05])
    assert list(sam["n_pairs"]) == [1, 1, 1] and sam["difference_low"].isna().all()
    assert base["difference"].isna().all()


def test_the_cut_is_among_the_methods_at_the_same_batch_size():
    found = of(run([0.5, 0.8]), run([0.5, 0.9], "momentum+sam", batch_size=128))
    assert rows(found, "momentum+sam")["share"].eq(1).all()  # no rival there
    assert rows(found, "momentum+sam")["n_pairs"].eq(0).all()


def test_before_the_first_report_nothing_is_known():
    found = of(run([0.8]), run([0.9], "momentum+sam"))
    sam = rows(found, "momentum+sam")
    assert sam["val_accuracy"].isna().to_list() == [False, True, False]
    assert sam["n_seeds"].to_list() == [1, 0, 1]


def test_differences_without_spread_have_no_interval():
    runs = [run([0.1, 0.5 + 0.1 * s], seed=s) for s in (1, 2, 3)]
    runs += [run([0.1, 0.6 + 0.1 * s], "momentum+sam", seed=s) for s in (1, 2, 3)]
    row = rows(of(*runs), "momentum+sam").loc["epochs"]
    assert row["difference"] == pytest.approx(0.1) and row["n_pairs"] == 3
    assert np.isnan([row["difference_low"], row["difference_high"]]).all()


def test_differences_are_paired_by_seed_throughout():
    random = np.random.default_rng(6)
    plain, sam = random.uniform(0.5, 0.9, (2, 4))
    order = [2, 0, 3, 1]
    runs = [run([0.1, plain[i]], seed=10 + i) for i in range(4)]
    runs += [run([0.1, sam[i]], "momentum+sam", seed=10 + i) for i in order]
    row = rows(of(*runs), "momentum+sam").loc["epochs"]
    theirs = stats.ttest_rel(sam, plain).confidence_interval(0.95)
    assert (row["difference_low"], row["difference_high"]) == pytest.approx(tuple(theirs))
    assert row["n_pairs"] == 4 and row["val_accuracy_sd"] == pytest.approx(np.std(sam, ddof=1))


def test_diverged_runs_are_counted_and_do_not_set_the_cut():
    dead = run([0.1], "momentum+sam", seed=1, status="diverged")
    found = of(*(run([0.5, 0.8], seed=s) for s in (0, 1)), run([0.5, 0.9], "momentum+sam"), dead)
    sam = rows(found, "momentum+sam")
    assert sam["n_diverged"].eq(1).all() and sam["n_seeds"].eq(1).all()
    assert sam["n_pairs"].eq(1).all() and rows(found, "momentum")["share"].eq(1).all()
    assert "momentum+sam B=64 (1)" in "\n".join(budget_lines(found))


def test_depth_is_steps_times_sequential_gradients():
    found = of(run([0.5, 0.8]), run([0.5, 0.9], "momentum+sam"))
    depth = found.depth.set_index("method")
    assert depth["steps"].to_list() == [20, 20] and depth["grads"].to_list() == [20, 40]
    assert depth["step_seconds"].to_list() == pytest.approx([0.1, 0.1])
    assert depth[["seconds_p1", "seconds_p512"]].isna().all(axis=None)  # one batch size: no line


def test_step_time_gives_an_exact_line_back_and_is_least_squares_otherwise():
    b = 2.0 ** np.arange(6, 14)
    exact = step_time("", b, 0.002 + 3e-5 * b)
    assert (exact.t0, exact.t1) == pytest.approx((0.002, 3e-5))
    assert exact.misfit == pytest.approx(0, abs=1e-9)
    t = (0.002 + 3e-5 * b) * np.exp(0.1 * np.random.default_rng(8).standard_normal(8))
    found, (slope, intercept) = step_time("", b, t), np.polyfit(b, t, 1, w=1 / t)
    assert (found.t0, found.t1) == pytest.approx((intercept, slope))
    assert found.misfit == pytest.approx(np.sqrt(np.mean((intercept + slope * b - t) ** 2 / t**2)))


def test_step_time_is_never_negative():
    b = np.array([64.0, 128.0, 256.0])
    t = 1e-4 * b - 0.004  # the line through zero instead, in closed form
    found = step_time("", b, t)
    assert found.t0 == 0 and found.t1 == pytest.approx((b / t).sum() / ((b / t) ** 2).sum())
    falling = step_time("", b, 1 / b)
    assert falling.t1 == 0 and falling.t0 == pytest.approx(b.sum() / (b**2).sum())
    few = step_time("", [64, 64, 128], [0.1, 0.2, np.nan])
    assert few.k == 2 and np.isnan([few.t0, few.t1, few.total(10, 64, 1)]).all()


def test_workers_share_the_batch_and_never_less_than_an_image():
    def seconds(batch_size):
        return 0.01 + 1e-3 * batch_size

    runs = [run([0.5, 0.8], batch_size=b, step_seconds=seconds(b)) for b in (64, 1024)]
    depth = of(*runs).depth.set_index("batch_size")
    assert depth["seconds_p1"].to_list() == pytest.approx([20 * seconds(64), 20 * seconds(1024)])
    assert depth.at[1024, "seconds_p8"] == pytest.approx(20 * seconds(128))
    assert depth.at[1024, "seconds_p512"] == pytest.approx(20 * seconds(2))
    assert depth.at[64, "seconds_p64"] == pytest.approx(20 * seconds(1))
    assert depth.at[64, "seconds_p512"] == depth.at[64, "seconds_p64"]


def test_young_studies_and_foreign_tables():
    alone = run([0.5, 0.9], "adam+sam")
    for given in (study([]), study([trial()]), study([], methods=["momentum"], batch_sizes=[64])):
        found = measured(given)
        assert not found.equal["n_seeds"].any() and len(budget_lines(found)) == 1
    found = of(alone)
    assert found.equal["difference"].isna().all() and found.equal["n_seeds"].eq(1).all()
    bare = replace(study([alone[0]]), reports=alone[1][["trial_id", "report", "val_accuracy"]])
    equal = measured(bare).equal.set_index("budget")["val_accuracy"]
    assert equal["epochs"] == 0.9 and equal[["grads", "seconds"]].isna().all()
    row = alone[0]
    del row["seed"]
    unknown = replace(study([row, run([0.5, 0.8], "adam")[0] | {"seed": None}]), reports=alone[1])
    assert measured(unknown).equal["n_pairs"].eq(0).all()


def test_lines_fit_the_width():
    random = np.random.default_rng(9)
    runs = [
        run([0.1, *random.random(3)], method, seed, batch_size)
        for method in ("momentum", "momentum+sam", "momentum+asam")
        for batch_size in (64, 1024, 16_384)
        for seed in (1, 2)
    ]
    lines = budget_lines(of(*runs))
    assert max(map(len, lines)) <= 110 and any("momentum+asam" in line for line in lines)


def several(mixed_at=None):
    """A quiet machine of 2 ms a step and 30 us an image, over as many workers as B / 256, which
    talk 1 ms; at `mixed_at` one of the seeds is over one worker."""
    runs = []
    for size, seed in [(size, seed) for size in (128, 256, 512, 1024) for seed in range(3)]:
        count = max(1, size // 256) if (size, seed) != (mixed_at, 0) else 1
        talk = 1e-3 * (count > 1)
        row, reports = run([0.5, 0.8], batch_size=size, seed=seed,
                           step_seconds=2e-3 + 3e-5 * size / count + talk)  # fmt: skip
        row |= {"steps": 20, "seconds": float(reports["seconds"].iloc[-1]), "workers": count}
        runs.append((row | {"communication_seconds": 20 * talk}, reports))
    return runs


def test_step_times_over_several_workers_are_compute_and_communication_beside_the_model():
    found = of(*several())
    [time] = found.times
    assert (time.t0, time.t1) == pytest.approx((2e-3, 3e-5)) and time.misfit < 1e-9
    table = found.shared.set_index("batch_size")
    assert table["workers"].to_dict() == {128: 1, 256: 1, 512: 2, 1024: 4}
    assert table["n"].eq(3).all() and table["communication"].to_list() == [0, 0, 1e-3, 1e-3]
    model = 2e-3 + 3e-5 * table.index / table["workers"]
    assert table["compute"].to_list() == pytest.approx(list(model))
    assert table["modelled"].to_list() == pytest.approx(list(model))
    said = "\n".join(budget_lines(found))
    assert "over N workers" in said
    [row] = [line.split() for line in said.splitlines() if line.split()[:1] == ["1024"]][-1:]
    assert row[2:] == ["4", "3", "10.7", "9.68", "1", "9.68"]


def test_of_one_number_of_workers_nothing_is_said():
    runs = [(row | {"workers": 2, "communication_seconds": 0.1}, each) for row, each in several()]
    found = of(*runs)
    assert found.shared.empty and "over N workers" not in "\n".join(budget_lines(found))


def test_what_was_not_recorded_of_communication_is_not_taken_for_compute():
    runs = [(row | {"communication_seconds": np.nan}, each) for row, each in several()]
    found = of(*runs)
    unknown = found.shared.set_index("batch_size")["compute"].isna()
    assert unknown.to_list() == [False, False, True, True]
    assert (found.times[0].t0, found.times[0].t1) == pytest.approx((2e-3, 3e-5))
