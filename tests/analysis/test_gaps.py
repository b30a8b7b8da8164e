"""Gaps and their trends against scipy, and what unlike fits make of them."""

import numpy as np
import pytest
from scipy import stats  # type: ignore[import-untyped,unused-ignore]

from analysis.data.cells import cells
from analysis.questions.gaps import gap_lines, gap_table, gap_trends
from tests.helpers.synthetic import study, trial

SEEDS = (7382631055294507422, 8678485377259446515, 1849595751052145239, 11)


def winner(method, batch_size, seed, **values):
    return trial(method, batch_size, phase="confirm", role="winner", seed=seed, **values)


def test_gap_trend_is_kendalls_and_welchs():
    gaps = {64: [0.01, 0.012, 0.013], 512: [0.02, 0.03, 0.025], 4096: [0.05, 0.09, 0.03]}
    table = [
        winner("momentum", b, seed, generalization_gap=g, train_loss=0.5, test_loss=0.5 - g)
        for b, some in gaps.items()
        for seed, g in zip(SEEDS, some, strict=False)
    ]
    cell = gap_table(cells(study(table))).set_index("batch_size").loc[512]
    assert cell["generalization_gap_mean"] == pytest.approx(0.025)
    assert cell["generalization_gap_sd"] == pytest.approx(np.std(gaps[512], ddof=1))
    accuracy, loss = (row for _, row in gap_trends(cells(study(table))).iterrows())
    assert (accuracy["tau"], accuracy["p"]) == pytest.approx((1.0, 1 / 3))  # 2 of 3! orders
    theirs = stats.ttest_ind(gaps[4096], gaps[64], equal_var=False).confidence_interval(0.95)
    assert (accuracy["low"], accuracy["high"]) == pytest.approx((theirs.low, theirs.high))
    assert loss["change"] == pytest.approx(-accuracy["change"]) and loss["tau"] == -1
    assert accuracy["b_from"] == 64 and accuracy["b_to"] == 4096


def ends(train, gap, spread=0.001):
    """Winners at B=64 and 512 from their (train accuracy, gap in accuracy), 3 seeds each."""
    return study([
        winner("momentum", b, seed, train_accuracy=fit, generalization_gap=own + spread * i,
               train_loss=0.5, test_loss=0.5 + own + spread * i)
        for b, fit, own in zip((64, 512), train, gap, strict=True)
        for i, seed in enumerate(SEEDS[:3])
    ])  # fmt: skip


def lines(table):
    found = gap_lines(gap_trends(cells(table)))
    assert all(len(line) <= 110 for line in found)
    return " ".join(" ".join(found).split())


WORSE = "the larger batches fit the training set worse (-60.0 points of training accuracy)"


def test_a_gap_that_shrinks_with_the_fit_is_no_merit():
    said = lines(ends((1.0, 0.4), (0.10, 0.02)))
    assert f"it shrinks because {WORSE}, not because they generalise better (-52.0" in said
    assert "gap in loss changes by -0.08 nats [-0.08, -0.08] from B=64 to 512; rank" in said
    assert f"it shrinks as {WORSE}" in said
    said = lines(ends((0.4, 1.0), (0.02, 0.10)))
    assert "it grows because the larger batches fit the training set better (+60.0" in said


@pytest.mark.parametrize(
    ("train", "gap", "spread"),
    [
        ((1.0, 0.4), (0.02, 0.10), 0.001),  # it grows although they fit worse
        ((1.0, 0.4), (0.10, 0.02), 0.1),  # no change is shown
        ((1.0, 0.4), (0.10, 0.10), 0.0),  # nor tested
        ((0.9, 0.88), (0.10, 0.02), 0.001),  # test accuracy rises: only partly the fit
    ],
)
def test_unlike_fits_that_do_not_explain_the_gap_are_only_named(train, gap, spread):
    said = lines(ends(train, gap, spread))
    assert "so that these gaps cannot be compared" in said and "because" not in said


def test_alike_or_unknown_fits_are_not_mentioned():
    for train in ((0.9, 0.895), (float("nan"), 0.9)):
        said = lines(ends(train, (0.10, 0.02)))
        assert "changes by -8.00 points" in said and "fit the training set" not in said


def test_each_m_is_a_series():
    rows = [winner("momentum", 512, seed) for seed in SEEDS]
    rows += [winner("momentum+sam", 512, seed, m=m) for m in (64, 512) for seed in SEEDS]
    labels = gap_trends(cells(study(rows)))["label"]
    assert set(labels) == {"momentum", "momentum+sam, m=B", "momentum+sam, m=64"}


@pytest.mark.parametrize(
    "rows", [[], [trial()], [winner("momentum", 64, 1, status="running", score=None)]]
)
def test_young_studies_are_insufficient(rows):
    young = study(rows, methods=["momentum"], batch_sizes=[64, 512])
    assert "insufficient, cells with seeds: 0" in lines(young)
    assert len(gap_table(cells(young))) == 2 and lines(study([])) == ""
