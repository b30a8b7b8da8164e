"""Cells as they were at a rung by hand, and drift where it was made."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from scipy import stats  # type: ignore[import-untyped,unused-ignore]

from analysis.data.cells import cells, complete
from analysis.questions.halving import (
    at_report,
    halving,
    halving_lines,
    rung_exponents,
    rung_optima,
    rung_responses,
)
from tests.helpers.synthetic import study, trial

SIZES = tuple(2**i for i in range(6, 14))
NAN = float("nan")


def made(rows, written, **config):
    """A study of trial rows and (trial id, report, score) triples."""
    table = pd.DataFrame(written, columns=["trial_id", "report", "score"])
    return replace(study(rows, **config), reports=table)


def test_cells_as_they_were_at_a_rung():
    rows = [
        trial(trial_id="done", score=3.0),
        trial(trial_id="later", status="stopped", score=2.5),
        trial(trial_id="before", status="stopped", score=0.5, asha_would_stop_at=2),
        trial(trial_id="died", status="diverged", score=0.0),
        trial(trial_id="dead", status="diverged", score=0.0),
        trial(trial_id="gap", score=2.0),
        trial(trial_id="control", phase="control", score=1.0, asha_would_stop_at=2),
        trial(trial_id="spared", phase="control", score=1.0, asha_would_stop_at=4),
    ]
    reports = [("done", 4, 1.1), ("later", 4, 1.2), ("before", 2, 0.5), ("died", 4, 1.3),
               ("control", 4, 0.9), ("spared", 4, 0.8)]  # fmt: skip
    given = made(rows, reports)
    [cell] = at_report(given, cells(given), 4)
    alive = complete(cell.trials).set_index("trial_id")
    assert alive["score"].to_dict() == {
        "done": 1.1, "later": 1.2, "died": 1.3, "control": 0.9, "spared": 0.8,
    }  # fmt: skip
    status = cell.trials.set_index("trial_id")["status"]
    assert (status["before"], status["dead"], status["gap"]) == ("stopped", "diverged", "error")
    # Only the control that stands for trials stopped before the rung is weighted.
    assert list(alive.index[alive["asha_would_stop_at"].notna()]) == ["control"]
    [cell] = cells(given)
    assert cell.trials.set_index("trial_id")["score"]["done"] == 3.0  # the study is left as it was


def drifting(at_rung, at_end, seed=0, trials=20, misfit=0.1, status="complete"):
    """Eight batch sizes; log2 LR* = a log2(B / 64) - 5 with one exponent at reports 2 and 4 and
    another at the end, missed by each cell by `misfit` octaves."""
    random, rows, reports = np.random.default_rng(seed), [], []
    for size in SIZES:
        miss = misfit * random.standard_normal(2)
        peaks = np.array([at_rung, at_end]) * np.log2(size / 64) - 5 + miss
        for i in range(trials):
            x = peaks.mean() + random.uniform(-4, 4)
            rung, end = 4 - 0.05 * (x - peaks) ** 2 + 0.02 * random.standard_normal(2)
            name = f"{size}-{i}"
            rows.append(trial(batch_size=size, trial_id=name, lr=2**x, score=end, status=status))
            reports += [(name, 2, rung - 0.5), (name, 4, rung), (name, 9, end)]
    return made(rows, reports)


def test_drift_is_found_where_it_was_made():
    given = drifting(0.2, 0.9)
    table = rung_exponents(given, cells(given)).set_index("report")
    assert table["exponent"].to_dict() == pytest.approx({2: 0.2, 4: 0.2, 9: 0.9}, abs=0.12)
    assert table["drift"].to_dict() == pytest.approx(
        {2: -0.7, 4: -0.7, 9: NAN}, abs=0.2, nan_ok=True
    )
    assert list(table["verdict"]) == ["drifts", "drifts", ""]
    assert "warning: momentum: at report 4 of 9" in " ".join(
        "\n".join(halving_lines(halving(given, cells(given)))).split()
    )


def test_no_drift_is_found_where_there_is_none():
    shown = 0
    for seed in range(8):
        given = drifting(0.5, 0.5, seed, trials=12, misfit=0.2)
        table = rung_exponents(given, cells(given))
        shown += table[table["report"].eq(4)]["verdict"].eq("drifts").sum()
    assert stats.binomtest(int(shown), 8, 0.05, alternative="greater").pvalue > 0.01


def test_optima_at_the_rung_are_the_rungs():
    given = drifting(0.2, 0.9, misfit=0.0, trials=30)
    table = rung_optima(rung_responses(given, cells(given)))
    found = table.pivot(index="batch_size", columns="report", values="lr_star")
    for report, alpha in ((4, 0.2), (9, 0.9)):
        truth = alpha * np.log2(np.array(SIZES) / 64) - 5
        assert np.log2(found[report].to_numpy()) == pytest.approx(truth, abs=0.25)


def test_trials_that_asha_stopped_count_at_the_rung():
    """At the end nothing is left of a study whose trials were all stopped at the last rung."""
    given = drifting(0.5, 0.5, status="stopped")
    table = rung_exponents(given, cells(given)).set_index("report")
    assert table["exponent"][4] == pytest.approx(0.5, abs=0.12)
    assert (table["points"][9], table["verdict"][4]) == (0, "insufficient")


@pytest.mark.parametrize(
    "given",
    [
        study([]), study([], methods=["momentum", "adam+sam"], batch_sizes=[64, 128]),
        study([trial(phase="control")], reports=None, warmup=None, control_share=None),
        study([trial(status="running", score=None)], reports=1),
        study([trial("momentum+sam", rho=0.1, status="diverged", score=None)]),
    ],
)  # fmt: skip
def test_young_studies_are_insufficient(given):
    found = halving(given, cells(given))
    assert found.correlations["verdict"].eq("insufficient").all()
    assert found.exponents["verdict"].isin(["insufficient", ""]).all()
    lines = halving_lines(found)
    assert lines and max(map(len, lines)) <= 110 and "nan" not in "\n".join(lines)
