"""Steps to a target by hand, and the critical batch size from whole curves."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from analysis.data.cells import cells, series_of
from analysis.fit.optimum import responses
from analysis.fit.scaling import groups
from analysis.questions.steps import crossing, steps_lines, steps_to_target
from tests.helpers.synthetic import study, trial

SIZES = 2.0 ** np.arange(6, 14)


def curve(accuracies, method="momentum", batch_size=64, seed=0, every=10, **values):
    """A winner's trial and its reports, one each `every` steps of 0.1 s."""
    m = values.get("m", batch_size)
    name = f"{method}-{batch_size}-{m}-{seed}"
    row = trial(method, batch_size, phase="confirm", role="winner", trial_id=name, seed=seed)
    steps = every * np.arange(1, len(accuracies) + 1)
    reports = pd.DataFrame({
        "trial_id": name, "report": np.arange(1, len(steps) + 1), "val_accuracy": accuracies,
        "steps": steps, "samples": batch_size * steps, "grads": steps * (1 + ("+" in method)),
        "seconds": 0.1 * steps,
    })  # fmt: skip
    return row | values, reports


def steps(*curves, targets=None, **config):
    rows, reports = zip(*curves, strict=True)
    given = replace(study(list(rows), **config), reports=pd.concat(reports))
    return of(given, targets)


def of(given, targets=None):
    return steps_to_target(given, cells(given), targets)


def test_crossing_by_hand():
    _, points = curve([0.5, 0.7, 0.9, 0.6, 0.95], "momentum+sam")
    outcome, found = crossing(points, 0.8)  # midway between the second and the third report
    assert outcome == "reached"
    assert list(found.values()) == pytest.approx([25, 64 * 25, 50, 2.5])
    assert crossing(points, 0.7)[1]["steps"] == 20  # exactly at a report
    assert crossing(points, 0.94)[1]["steps"] == pytest.approx(40 + 10 * 34 / 35)
    for target, outcome in ((0.96, "not_reached"), (0.5, "before_first")):
        found = crossing(points, target)
        assert found[0] == outcome and np.isnan(list(found[1].values())).all()


def test_crossing_of_a_rising_curve_is_its_inverse():
    accuracies = np.sort(np.random.default_rng(0).uniform(0.1, 0.9, 12))
    _, points = curve(accuracies)
    for target in np.linspace(accuracies[0] + 1e-6, accuracies[-1], 50):
        expected = np.interp(target, accuracies, points["steps"])
        assert crossing(points, target)[1]["steps"] == pytest.approx(expected)


def test_a_seed_that_never_reaches_is_counted_and_takes_its_cell_out_of_the_fit():
    found = steps(
        curve([0.2, 0.6], seed=1), curve([0.3, 0.5], seed=2), curve([0.2, 0.3], seed=3),
        targets=[0.4],
    )  # fmt: skip
    [row] = found.table.to_dict("records")
    assert row["steps"] == pytest.approx(15)  # both that reached do so midway
    assert (row["n_seeds"], row["n_reached"], row["steps_low"]) == (3, 2, 20)
    assert not row["used"] and found.fits[0].law.k == 0 and row["regime"] == "undetermined"
    lost = found.crossings[found.crossings["seed"] == 3]
    assert list(lost["outcome"]) == ["not_reached"] and lost["steps"].isna().all()
    assert "15 (2/3)" in "\n".join(steps_lines(found))


def test_the_value_of_a_cell_is_the_geometric_mean_over_seeds():
    found = steps(curve([0.0, 0.5], seed=1), curve([0.1, 0.1, 0.5], seed=2), targets=[0.3])
    assert found.table["steps"].item() == pytest.approx(np.sqrt(16 * 25))
    assert found.table["samples"].item() == pytest.approx(64 * np.sqrt(16 * 25))
    assert found.table["used"].item()


def test_what_lies_before_the_first_report_is_bounded_and_not_guessed():
    found = steps(curve([0.6, 0.7], seed=1), curve([0.1, 0.7], seed=2), targets=[0.5])
    [row] = found.table.to_dict("records")
    assert (row["n_reached"], row["n_before_first"], row["steps_high"]) == (2, 1, 10)
    assert not row["used"] and "< 10" in "\n".join(steps_lines(found))


def test_diverged_runs_did_not_reach_and_running_ones_are_no_observation():
    ran = curve([0.1, 0.6], seed=1)
    dead = curve([], seed=2, status="diverged")
    found = steps(ran, dead, curve([0.1], seed=3, status="running"), targets=[0.5])
    row = found.table.iloc[0]
    assert (row["n_seeds"], row["n_reached"], row["used"]) == (2, 1, False)
    assert found.targets == (0.5,) and steps(ran, dead).targets == ()


def rising(method="momentum", sizes=SIZES, b_crit=700.0, seeds=3, budget=200_000.0):
    """Curves that reach 0.5 after exactly S(B) steps, in a budget of so many examples."""
    for size in sizes:
        every = max(1, int(budget / size / 40))
        reached = every * np.arange(1, 41) / (40 * (1 + b_crit / size))
        for seed in range(seeds):
            yield curve(np.minimum(0.5 * reached, 1), method, int(size), seed, every)


def test_b_crit_is_recovered_from_whole_curves_and_what_contradicts_is_named():
    bad = (curve([0.1] * 40, "momentum+sam", 16_384, seed, 100) for seed in range(3))
    found = steps(*rising(), *rising("momentum+sam", b_crit=200.0), *bad, targets=[0.5, 5.0])
    fits = {(each.label, each.target): each.law for each in found.fits}
    assert fits["momentum", 0.5].b_crit.value == pytest.approx(700, rel=0.02)
    assert fits["momentum+sam", 0.5].b_crit.value == pytest.approx(200, rel=0.02)
    against = found.table[found.table["against"]]
    assert list(against["batch_size"]) == [16_384] and list(against["target"]) == [0.5]
    regimes = found.table[(found.table["label"] == "momentum") & (found.table["target"] == 0.5)]
    names = dict(zip(regimes["batch_size"], regimes["regime"], strict=True))
    assert names[64] == "perfect scaling" and names[1024] == "diminishing returns"


def test_default_targets_are_reached_by_all_seeds_at_four_batch_sizes_of_every_method():
    tops = (0.9, 0.85, 0.8, 0.7, 0.3)
    plain = [curve([0.1, top], "momentum", 64 * 2**i) for i, top in enumerate(tops)]
    sam = [curve([0.1, top + 0.05], "momentum+sam", 64 * 2**i) for i, top in enumerate(tops[:2])]
    found = steps(*plain, *sam)
    assert found.targets == (0.7, 0.682, 0.665)
    assert steps(*plain, *sam, curve([0.1, 0.6], "momentum", 512, 1)).targets[0] == 0.6
    assert steps(*plain[:1], *sam).targets[0] == 0.9  # all, where there are fewer
    assert list(found.table["used"]) == 3 * ([True] * 4 + [False] + [True] * 2)


def test_shards_make_series_of_their_own():
    whole = [curve([0.1, 0.9], "momentum+sam", size) for size in (64, 128, 256)]
    shards = [curve([0.1, 0.5], "momentum+sam", size, m=64) for size in (128, 256, 512)]
    found = steps(*whole, *shards, targets=[0.4])
    labels = {each.label: each.law.k for each in found.fits}
    assert labels == {"momentum+sam, m=B": 3, "momentum+sam, m=64": 4}


def test_series_are_the_groups_of_the_scaling_fits():
    sizes = (32, 64, 128, 256)
    rows = [trial("momentum", size) for size in sizes]
    rows += [trial("momentum+sam", size) for size in sizes]
    rows += [trial("momentum+sam", size, m=64) for size in sizes[2:]]
    rows += [trial("momentum+asam", size, m=min(64, size)) for size in sizes]
    own = cells(study(rows))
    found = {
        label: [(cell.batch_size, cell.m) for cell in some]
        for label, some in series_of(own).items()
    }
    assert found == {
        group.label: [(each.batch_size, each.m) for each in group.optima]
        for group in groups(responses(own))
    }
    assert len(found) == 5 and found["momentum+asam, m=64"] == [(64, 64), (128, 64), (256, 64)]


def test_young_studies_say_what_is_missing():
    for given in (study([]), study([trial()]), study([], methods=["momentum"], batch_sizes=[64])):
        assert of(given).targets == () and len(steps_lines(of(given))) == 1
        asked = of(given, targets=[0.5])
        assert asked.crossings.empty and not asked.table["used"].any()
        assert steps_lines(asked)
    [row, reports] = curve([0.1, 0.9])
    bare = replace(study([row]), reports=reports[["trial_id", "report", "val_accuracy"]])
    assert of(bare, [0.5]).table["n_reached"].item() == 1
    assert not of(bare, [0.5]).table["used"].item()  # steps are not recorded
    blank = replace(study([row]), reports=reports.assign(val_accuracy=np.nan))
    assert of(blank).targets == () and of(blank, [0.5]).table["n_seeds"].item() == 0


def test_lines_fit_the_width():
    methods = ("adam", "adam+asam", "adam+sam", "momentum", "momentum+asam", "momentum+sam")
    found = steps(*(each for method in methods for each in rising(method, seeds=1)))
    lines = steps_lines(found)
    assert max(map(len, lines)) <= 110 and "B_crit" in "\n".join(lines)
