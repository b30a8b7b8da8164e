"""The driver killed as it trains: the study goes on, loses nothing and repeats nothing."""

import subprocess
from pathlib import Path

import pandas as pd
import pytest

from tests.helpers.faults import DETERMINED, begin, determined, ended, trained, wait_for
from tests.helpers.tables import tables_of

pytestmark = pytest.mark.xdist_group("studies")


def killed_twice(place: Path, name: str, *more: str) -> subprocess.CompletedProcess[str]:
    """Kill -9 after few and after most of the trials have ended; then let it finish."""
    for count in (2, 9):
        process = begin(place, name, *more)
        wait_for(lambda count=count: len(ended(place, name)) >= count, process)
        process.kill()
        process.wait()
    return trained(place, name, *more)


def test_killed_twice_the_metrics_are_those_of_an_undisturbed_run(
    place: Path,
    undisturbed: subprocess.CompletedProcess[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("LARGE_BATCH_CACHE", str(tmp_path))  # where no rates are kept
    finished = killed_twice(place, "killed", *DETERMINED)
    assert finished.returncode == 0, finished.stderr
    assert "calibrating" not in finished.stderr  # the first session has told its rates
    pairs = zip(determined(place, "whole"), determined(place, "killed"), strict=True)
    for whole, killed in pairs:
        pd.testing.assert_frame_equal(whole, killed)
    assert set(ended(place, "killed").values()) == {1}


def test_killed_twice_with_tpe_and_asha_nothing_is_lost_or_doubled(place: Path) -> None:
    finished = killed_twice(place, "adaptive")
    assert finished.returncode == 0, finished.stderr
    _, trials, reports = tables_of(place / "adaptive")
    assert set(ended(place, "adaptive").values()) == {1}
    assert set(ended(place, "adaptive")) == set(trials.trial_id)
    assert trials.status.isin(["complete", "stopped", "diverged"]).all()
    searched = trials[trials.phase != "confirm"]
    assert searched.groupby(["method", "batch_size"]).size().eq(3).all()
    assert not reports.duplicated(["trial_id", "report"]).any()
    for _, group in reports.groupby("trial_id"):
        assert list(group.report) == list(range(1, len(group) + 1))
