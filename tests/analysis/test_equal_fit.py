"""The split against curves whose truth is known, in both directions, and what they cannot tell."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from scipy import stats  # type: ignore[import-untyped,unused-ignore]

from analysis.data.cells import cells
from analysis.figures.compensation import waterfall
from analysis.figures.fit import accuracy_vs_training_loss
from analysis.latex.tables import latex_tables
from analysis.questions.answers import answered
from analysis.questions.compensation import compensations
from analysis.questions.equal_fit import (
    COLUMNS,
    Run,
    at_loss,
    averaged,
    fitted,
    parts,
    seed_noise,
    split_run,
    split_table,
)
from analysis.questions.steps import winner_curves
from analysis.say.compensation_words import answer, split_lines
from analysis.say.text import render
from tests.helpers.synthetic import study, trial

LOSSES = np.array([1.0, 0.5, 0.2, 0.1, 0.05])
SPREAD = (-0.001, 0.0, 0.001)  # of three seeds


def law(loss, worse=0.0):
    """Two points of accuracy a factor e of loss: linear where the reading interpolates."""
    return 0.9 - worse - 0.02 * np.log(np.asarray(loss) / 0.05)


def winner(size, losses, accuracies, seed=0, method="momentum", fit=0.95, **values):
    """A winner's fresh-seed trial and its reports."""
    name = f"{method}-{size}-{values.get('m', size)}-{seed}"
    given = {"rho": 0.1 if "+" in method else 0.0, "train_accuracy": fit}
    row = trial(method, size, phase="confirm", role="winner", trial_id=name, seed=seed,
                train_loss=losses[-1], test_accuracy=accuracies[-1] - 0.01,
                **given | values)  # fmt: skip
    reports = pd.DataFrame({"trial_id": name, "report": np.arange(1, len(losses) + 1),
                            "train_loss": losses, "val_accuracy": accuracies,
                            "samples": 1000 * np.arange(1, len(losses) + 1)})  # fmt: skip
    return row, reports


def seeds(size, losses, worse=0.0, spread=SPREAD, **values):
    """Three seeds on one curve, whose accuracies lie `spread` apart."""
    return [winner(size, losses, law(losses, worse) + away, seed, **values)
            for seed, away in enumerate(spread)]  # fmt: skip


def made(*runs, **config):
    rows, reports = zip(*(each for some in runs for each in some), strict=True)
    return replace(study(list(rows), **config), reports=pd.concat(reports))


def only(*runs):
    given = made(*runs)
    own = cells(given)
    [found] = compensations(own, winner_curves(given, own))
    return found


def spoken(lines):
    return " ".join(" ".join(lines).split())


def values(split):
    return [getattr(split, name).value for name in ("lost", "fitting", "generalising")]


SMALL = seeds(64, LOSSES, spread=(0.002, -0.001, -0.001))


def test_reading_by_hand():
    run = Run(LOSSES, np.array([0.5, 0.6, 0.7, 0.75, 0.8]))
    assert at_loss(run, 0.1) == (pytest.approx(0.75), True)  # at a report
    assert at_loss(run, np.sqrt(0.5 * 0.2))[0] == pytest.approx(0.65)  # midway in its log
    assert at_loss(run, 0.05) == (pytest.approx(0.8), True) and at_loss(run, 1.0)[1]
    assert at_loss(run, 1.1) == (0.5, False)  # before the first report nothing is known
    spiked = Run(np.array([1.0, 0.1, 0.4, 0.1]), np.array([0.5, 0.8, 0.6, 0.9]))
    assert at_loss(spiked, 0.2)[0] == pytest.approx(0.75)  # where it came there for good
    gone = Run(np.array([1.0, 1e-6]), np.array([0.5, 0.9]))
    assert at_loss(gone, 1e-3)[0] == pytest.approx(0.7)
    assert at_loss(Run(np.array([0.1]), np.array([0.7])), 0.2) == (0.7, False)


def test_a_large_batch_that_fits_worse_is_split_on_the_references_curve():
    """It ends at 0.2 where the reference's law says -0.02 ln 4, and is one point below the law."""
    found = only(SMALL, seeds(1024, LOSSES[:3] + 0.0, worse=0.01))
    split = found.split.cells["momentum", 1024, 1024]
    fitting = 0.02 * np.log(4)
    assert values(split) == pytest.approx([fitting + 0.01, fitting, 0.01])
    assert (split.read, split.fit_bound, split.n) == ("reference", 0, 3)
    assert split.fitting.low < fitting < split.fitting.high
    assert found.split.overall["momentum", "B"].lost == split.lost


def test_a_large_batch_that_fits_better_is_read_on_its_own_curve():
    """It ends at 0.025, an octave below: half a point of ln 2 is won by fitting, two are lost."""
    found = only(SMALL, seeds(1024, LOSSES / 2, worse=0.02))
    split = found.split.cells["momentum", 1024, 1024]
    fitting = -0.02 * np.log(2)
    assert values(split) == pytest.approx([0.02 + fitting, fitting, 0.02])
    assert split.read == "large batch"
    assert "-1.4 [" in answer(found) or found.lost.gap_low <= 0


def test_curves_that_cross_are_read_in_both_directions():
    """One seed ends above the reference's loss and one below; each by its own reading."""
    large = [winner(1024, LOSSES[:3], law(LOSSES[:3], 0.01), 0),
             winner(1024, LOSSES / 2, law(LOSSES / 2, 0.03), 1)]  # fmt: skip
    split = only(SMALL, large).split.cells["momentum", 1024, 1024]
    fitting = 0.01 * (np.log(4) - np.log(2))
    level = np.mean([0.002, -0.001])  # of the reference, on the two seeds
    assert values(split)[1] == pytest.approx(fitting) and split.read == "both" and split.n == 2
    assert values(split)[2] == pytest.approx(0.02 + level)


def test_the_parts_add_to_the_whole():
    random = np.random.default_rng(3)
    for _ in range(200):
        runs = [Run(np.exp(random.normal(size=7)), random.uniform(size=7)) for _ in range(2)]
        lost, fitting, bound, read = split_run(*runs)
        whole, by_fit, by_rest = parts([split_run(*runs)])[0]
        assert lost == runs[0].accuracy[-1] - runs[1].accuracy[-1] == whole
        assert by_fit + by_rest == pytest.approx(whole, abs=1e-15) and by_fit == fitting
        better = runs[0] if read == "reference" else runs[1]
        assert better.loss[-1] <= max(run.loss[-1] for run in runs) and bound in (0, 1, -1)


def test_both_that_fit_lose_nothing_by_fitting_whatever_their_losses():
    low = np.array([1.0, 0.1, 1e-3, 0.0])
    accuracy = np.array([0.5, 0.8, 0.84, 0.9])
    small = [winner(64, low, accuracy + away, i, fit=1.0) for i, away in enumerate(SPREAD)]
    large = [winner(1024, LOSSES, law(LOSSES, 0.03) + away, i, fit=0.991)
             for i, away in enumerate(reversed(SPREAD))]  # fmt: skip
    found = only(small, large)
    split = found.split.cells["momentum", 1024, 1024]
    assert split.read == "none" and values(split) == pytest.approx([0.03, 0.0, 0.03])
    assert (split.fitting.low, split.fitting.high) == (0, 0) and split.generalising == split.lost
    assert "in validation accuracy 3.0, all of it by generalising worse" in answer(found)
    assert not answer(found).startswith("this study is")
    unlike = [winner(1024, *run[1][["train_loss", "val_accuracy"]].to_numpy().T, i, fit=0.98)
              for i, run in enumerate(large)]  # fmt: skip
    assert only(small, unlike).split.cells["momentum", 1024, 1024].read == "reference"


def test_a_loss_that_the_reference_left_before_its_first_report_bounds_the_split():
    found = only(SMALL, [winner(1024, [2.2, 2.0], [0.1, 0.2 + away], i, fit=0.3)
                         for i, away in enumerate(SPREAD)])  # fmt: skip
    split = found.split.cells["momentum", 1024, 1024]
    least = 0.02 * np.log(20)  # from the first report on
    assert split.fit_bound == 1 and split.fitting.value == pytest.approx(least)
    assert split.fitting.high == np.inf and split.generalising.low == -np.inf
    assert split.fitting.low < least and values(split)[0] == pytest.approx(0.7)
    said = answer(found)
    assert said.startswith(
        "this study is about fitting, not about generalising: momentum's winners"
    )
    assert f": at least {split.fitting.low * 100:.1f} by fitting the training set worse" in said
    assert f"at most {split.generalising.high * 100:.1f} by generalising worse" in said
    assert ">= " in "\n".join(split_lines(found)) and "<= " in "\n".join(split_lines(found))
    other = [winner(4096, [0.04, 0.03], [0.8, 0.82 + away], i) for i, away in enumerate(SPREAD)]
    ahead = only(SMALL, other).split
    assert ahead.cells["momentum", 4096, 4096].fit_bound == -1
    mixed = only(SMALL, other, seeds(1024, [2.2, 2.0])).split.overall["momentum", "B"]
    assert mixed.fit_bound == 2
    assert np.isinf([mixed.fitting.low, mixed.generalising.high]).all()


@pytest.mark.parametrize(
    ("losses", "accuracies"),
    [
        ([1.0, 0.5, np.nan], [0.5, 0.6, 0.7]),  # its end is not known
        ([1.0, 0.5, -0.2], [0.5, 0.6, 0.7]),  # has no logarithm
        ([np.nan] * 3, [0.5, 0.6, 0.7]),
        ([1.0, 0.5, np.inf], [0.5, 0.6, 0.7]),
        ([1.0, 0.5, 0.2], [np.nan] * 3),
    ],
)
def test_a_curve_without_an_end_is_no_observation(losses, accuracies):
    found = only(SMALL, [winner(1024, losses, accuracies)])
    assert found.split.cells == {} and found.split.overall == {}
    assert "is not known without learning curves of both" in spoken(split_lines(found))


def test_holes_are_passed_over_and_lost_seeds_are_counted():
    holed = np.where(np.arange(3) == 1, np.nan, LOSSES[:3])
    large = [winner(1024, holed, law(LOSSES[:3], 0.01)),
             winner(1024, [1.0], [0.1], 1, status="diverged"),
             winner(1024, LOSSES[:3], law(LOSSES[:3]), 7)]  # fmt: skip
    split = only(SMALL, large).split.cells["momentum", 1024, 1024]
    assert (split.n, split.diverged) == (1, 1)  # seed 7 the reference never had
    assert values(split)[1] == pytest.approx(0.02 * np.log(4))


def test_one_seed_has_no_interval():
    split = only(SMALL[:1], seeds(1024, LOSSES[:3], 0.01)[:1]).split.cells["momentum", 1024, 1024]
    assert np.isinf([split.lost.low, split.lost.high, split.fitting.high]).all()


SAM = "momentum+sam"


@pytest.fixture(scope="module")
def several():
    return made(
        SMALL, seeds(256, LOSSES[:4], 0.005), seeds(1024, LOSSES[:3], 0.01, fit=0.8996),
        seeds(1024, LOSSES[:2], -0.02, method=SAM), seeds(1024, LOSSES[:3], 0, method=SAM, m=64),
    )  # fmt: skip


def test_means_over_sizes_and_each_formulation(several):
    [found] = answered(several).compensations
    keys = {("momentum", 256, 256), ("momentum", 1024, 1024), (SAM, 1024, 64), (SAM, 1024, 1024)}
    assert set(found.split.cells) == keys
    mean = found.split.overall["momentum", "B"]
    assert mean.sizes == (256, 1024) and mean.read == "reference"
    assert values(mean)[1:] == pytest.approx([0.01 * np.log(2 * 4), 0.0075])
    assert values(found.split.overall[SAM, "B"])[2] == pytest.approx(-0.02)
    assert values(found.split.overall[SAM, "64"])[1] == pytest.approx(0.02 * np.log(4))
    said = answer(found)
    assert np.isinf([mean.fitting.low, mean.fitting.high]).all()
    fitting, rest = f"{mean.fitting.value * 100:.1f} [no interval]", "0.8 [0.4, 1.1]"
    assert (f"in validation accuracy 2.8: {fitting} by fitting the training set worse and {rest} by"
            " generalising worse at equal fit") in said  # fmt: skip
    assert said.startswith("this study is about fitting, not about generalising: momentum's ")
    assert "winners fit 95.0 % of the training set at B=64, 95.0 % of the training set at" in said
    assert "89.9 % of the training set at B=1024; momentum, tuned, loses" in said


def test_where_most_is_lost_at_equal_fit_it_is_only_in_part_about_fitting():
    found = only(SMALL, seeds(1024, LOSSES[:4], 0.05, fit=0.98))
    assert answer(found).startswith("this study is in part about fitting, not only about")


def test_tables_figures_and_text_hold_the_same_numbers(several):
    found = answered(several)
    [compensation] = found.compensations
    table = split_table([compensation.split])
    assert tuple(table) == COLUMNS and len(table) == 4 + 3
    row = table.set_index(["method", "m", "batch_size"]).loc[("momentum", "1024", 1024)]
    assert row["fitting"] + row["generalising"] == pytest.approx(row["lost"])
    assert table[table["batch_size"].eq(0)]["m"].tolist() == ["B", "64", "B"]
    assert "1024 89.96 3.8 [" in spoken([render(found)])
    rings = waterfall(found, {}).marks.query("sign == 'ring' and panel == 'momentum 1024'")
    ends = {"momentum": law(0.2, 0.01), "+sam": law(0.5, -0.02), "+sam64": law(0.2)}
    expected = [ends["momentum"] + 0.01, ends["+sam64"], ends["+sam"] - 0.02]
    assert sorted(rings["y"]) == pytest.approx(sorted(100 * (np.array(expected) - 0.01)))
    each = accuracy_vs_training_loss(found, {})
    at = each.marks.set_index("group").loc["B=1024"]
    assert (at["x"], at["y"]) == pytest.approx((0.2, 100 * law(0.2, 0.01)))
    line = each.lines.query("group == 'B=64'")
    assert line["x"].to_numpy() == pytest.approx(LOSSES) and len(each.groups) == 3
    apart = each.lines[each.lines["kind"].eq("guide") & each.lines["piece"].eq(1024)]
    assert apart["y"].to_numpy() == pytest.approx(100 * np.array([law(0.2, 0.01), law(0.2)]))
    assert r"\label{tab:split}" in latex_tables(found)["split"]


def test_without_curves_it_is_not_known_and_nothing_is_raised():
    given = made(SMALL, seeds(1024, LOSSES[:3], 0.01))
    for reports in (pd.DataFrame(columns=["trial_id", "report"]), given.reports[["trial_id",
                    "report", "val_accuracy"]], given.reports.iloc[:0]):  # fmt: skip
        found = answered(replace(given, reports=reports))
        [compensation] = found.compensations
        assert compensation.split.cells == {} and "in validation accuracy" not in render(found)
        assert "is not known without learning curves of both" in spoken([render(found)])
        assert split_table([compensation.split]).empty and "split" not in latex_tables(found)
        assert accuracy_vs_training_loss(found, {}).empty


def test_a_fit_is_never_rounded_up():
    assert [fitted(share) for share in (0.98999, 0.99, 1.0, 0.25)] == [
        "98.9 %", "99.0 %", "100.0 %", "25.0 %"]  # fmt: skip


def test_intervals_hold_the_mean_of_many_seeds():
    """Curves that are no line in log loss, skewed and heavy-tailed noise, large batches noisier.

    Three seeds, which all sizes share; the truth is the mean over 10,000. The mean over batch sizes
    by binomial tests at 0.001; single ones, whose variances are taken to be alike, within 0.03.
    """
    random, share = np.random.default_rng(5), np.arange(1, 10) / 9
    noisier, ends, gaps = (1.0, 1.5, 2.0), (0.05, 0.1, 0.2), (0.005, 0.01, 0.03)

    def run(end, gap, sd):
        loss = end * np.exp(3.5 * (1 - share) ** 1.5 + 0.1 * random.standard_normal(9)
                            + 0.05 * sd * random.standard_normal())  # fmt: skip
        noise = random.standard_t(4, 9) / 2 + 0.7 * (random.exponential() - 1)
        return Run(loss, 0.92 - 0.12 * loss**0.4 - gap + 0.002 * sd * noise)

    def splits(n):
        base = [run(0.02, 0.0, 1.0) for _ in range(n)]
        return [[split_run(each, run(*at)) for each in base]
                for at in zip(ends, gaps, noisier, strict=True)]  # fmt: skip

    truth = np.array([parts(read).mean(axis=0) for read in splits(10_000)])
    repetitions, held = 300, np.zeros((4, 3))
    for _ in range(repetitions):
        read = splits(3)
        noise, most = seed_noise(read)
        looks = [(read, noise, truth.mean(axis=0))]
        looks += [(read[i : i + 1], noise[i : i + 1], truth[i]) for i in range(3)]
        for i, (some, their, true) in enumerate(looks):
            for p, part in enumerate(averaged(some, their, most)):
                held[i, p] += part.low <= true[p] <= part.high
    for count in held[0].astype(int):
        test = stats.binomtest(count, repetitions, 0.95, alternative="less")
        assert test.pvalue > 0.001, held / repetitions
    assert (held[1:].mean(axis=0) / repetitions > 0.92).all(), held / repetitions
