"""Rungs against the study's own, tau against SciPy and by hand."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from scipy import stats  # type: ignore[import-untyped,unused-ignore]

from analysis.data.cells import cells
from analysis.questions.rungs import ALL, rank_correlations, rung_lines, rungs
from tests.helpers.synthetic import study, trial
from trainables.spec.ladder import Ladder

SIZES = tuple(2**i for i in range(6, 14))
ONE_RUNG = {"reports": 4, "warmup": 0.2}  # report 2 of 4
NAN = float("nan")


def made(rows, written, **config):
    """A study of trial rows and (trial id, report, score) triples."""
    table = pd.DataFrame(written, columns=["trial_id", "report", "score"])
    return replace(study(rows, **config), reports=table)


def controls(pairs, size=64, method="momentum", status="complete", report=2):
    """Rows and reports of the controls of a cell from (score at the rung, final score)."""
    names = [f"{method}-{size}-{status}-{i}" for i in range(len(pairs))]
    rows = [
        trial(method, size, trial_id=name, phase="control", status=status, score=end)
        for name, (_, end) in zip(names, pairs, strict=True)
    ]
    return rows, [
        (name, report, rung) for name, (rung, _) in zip(names, pairs, strict=True) if rung == rung
    ]


def correlations(*groups, **config):
    rows, reports = ([each for group in groups for each in group[i]] for i in (0, 1))
    given = made(rows, reports, **(ONE_RUNG | config))
    return rank_correlations(given, cells(given))


def row_of(table, method=ALL):
    [row] = table[table["method"].eq(method)].to_dict("records")
    return row


@pytest.mark.parametrize("reports", [1, 2, 4, 7, 9, 20, 100])
@pytest.mark.parametrize("warmup", [0.0, 0.05, 0.1, 0.3])
def test_rungs_are_the_studys(reports, warmup):
    config = {"reports": reports, "warmup": warmup}
    assert rungs(config) == Ladder.build(reports, warmup).rungs
    assert rungs({}) == Ladder.build(9, 0.1).rungs


def test_tau_of_one_cell_is_scipys_ties_included():
    random = np.random.default_rng(0)
    pairs = random.integers(0, 6, (14, 2)).astype(float)
    row = row_of(correlations(controls(pairs)))
    assert row["tau"] == pytest.approx(stats.kendalltau(*pairs.T).statistic)
    assert (row["controls"], row["pairs"], row["verdict"]) == (14, 14 * 13 // 2, "sufficient")
    assert np.isnan(row["low"]) and np.isnan(row["high"])  # one cell has no spread over cells


def test_pooled_tau_by_hand():
    """3 concordant pairs; 1 concordant, 1 discordant and 1 tied at the end: 3 / (6 * 5)^1/2."""
    first = controls([(1, 1), (2, 2), (3, 3)])
    # Pairs of one cell with the other would all be discordant, and do not count.
    second = controls([(11, 0.1), (12, 0.2), (13, 0.1)], 128, "momentum+sam")
    table = correlations(first, second, controls([(9, 9)], 256))
    row = row_of(table)
    assert row["tau"] == pytest.approx((3 + 1 - 1) / np.sqrt(6 * 5))
    assert (row["controls"], row["pairs"], row["cells"], row["alone"]) == (6, 6, 2, 1)
    assert row_of(table, "momentum")["tau"] == 1 and row_of(table, "momentum+sam")["tau"] == 0


def test_diverged_controls_rank_last_at_both():
    alive, dead = controls([(1, 2), (2, 1)]), controls([(9, 9), (NAN, 5)], status="diverged")
    row = row_of(correlations(alive, dead))
    # One of the dead had the best score at the rung, the other died before it.
    assert row["controls"] == 4 and row["diverged"] == 2
    assert row["tau"] == pytest.approx(stats.kendalltau([1, 2, 0, 0], [2, 1, 0, 0]).statistic)


def test_under_ten_controls_are_insufficient_and_those_alone_do_not_help():
    nine = [(float(i), float(i)) for i in range(9)]
    alone = [controls([(1.0, 1.0)], size) for size in SIZES[1:]]
    row = row_of(correlations(controls(nine), *alone))
    assert (row["controls"], row["alone"], row["verdict"]) == (9, 7, "insufficient")
    assert row_of(correlations(controls([*nine, (9.0, 9.0)])))["verdict"] == "sufficient"


def test_running_controls_and_others_than_controls_are_no_observation():
    rows, reports = controls([(1, 2), (2, 1), (3, 3)])
    rows[0]["status"], rows[1]["phase"] = "running", "search"
    assert row_of(correlations((rows, reports)))["pairs"] == 0


def test_bootstrap_is_repeatable_and_covers():
    """12 cells of 6 controls; tau of a normal pair is 2/pi arcsin(r). Fewer cells cover less."""
    random, methods, groups = np.random.default_rng(4), [f"m{i}" for i in range(50)], []
    for method in methods:
        for size in range(64, 76):
            x = random.standard_normal(6)
            y = 0.6 * x + 0.8 * random.standard_normal(6)
            groups.append(controls(np.column_stack([x, y]), size, method))
    table = correlations(*groups)
    assert row_of(table, "m0") == row_of(correlations(*groups[:12]), "m0")
    own, truth = table[table["method"].ne(ALL)], 2 / np.pi * np.arcsin(0.6)
    covered = int((own["low"].le(truth) & own["high"].ge(truth)).sum())
    assert stats.binomtest(covered, len(methods), 0.95).pvalue > 0.001


def test_lines_are_one_a_rung_of_all_methods():
    table = correlations(
        controls([(float(i), float(i)) for i in range(10)]),
        controls([(1, 1), (2, 2)], method="momentum+sam"),
    )
    [*lines] = rung_lines(table, 4)
    said = " ".join(" ".join(lines).split())
    assert said.startswith("- report 2 of 4: Kendall's tau with the end 1.00")
    assert said.endswith("momentum 1.00; insufficient: momentum+sam")
    few = " ".join(rung_lines(correlations(controls([(1, 1)])), 4))
    assert "insufficient, 0 controls" in few and "(1 more" in " ".join(few.split())
