"""The whole command under Ray, from nothing to the report, by signals and extensions."""

import json
import os
import signal
import subprocess
import time
from collections import Counter
from pathlib import Path

import pandas as pd
import pytest

from analysis.say.verdicts import QUESTIONS
from tests.helpers.faults import (
    MEASURED_TOO,
    arguments,
    command,
    ended,
    here,
    trained,
    with_ray,
)
from tests.helpers.tables import tables_of

pytestmark = pytest.mark.xdist_group("studies")


def test_one_command_from_nothing_to_the_table(
    place: Path, undisturbed: subprocess.CompletedProcess[str]
) -> None:
    assert undisturbed.returncode == 0, undisturbed.stderr
    *verdicts, where = undisturbed.stdout.splitlines()[-12:]
    assert sum(line.startswith(QUESTIONS) for line in verdicts) == 3 and "index.html" in where
    assert "throughput" in undisturbed.stderr and "forecast" in undisturbed.stderr
    left = {path.name for path in (place / "whole").iterdir()}
    assert left == {
        *("log.jsonl", "manifest.json", "trials.parquet", "reports.parquet", "optuna.log"),
        *("tensorboard", "report", "weights"),
    }
    table = pd.read_csv(place / "whole" / "report" / "scaling.csv")
    assert len(table) == 4 and table.test_accuracy_mean.gt(0.3).all()


def test_a_finished_study_is_reported_again_and_not_trained(
    place: Path, undisturbed: subprocess.CompletedProcess[str]
) -> None:
    before = (place / "whole" / "log.jsonl").read_bytes()
    again = here("study.run", *arguments(place, "whole", *MEASURED_TOO))
    assert again.returncode == 0 and "is finished" in again.stderr
    assert again.stdout == undisturbed.stdout
    assert (place / "whole" / "log.jsonl").read_bytes() == before


def test_any_trial_is_replayed_to_the_bit(
    place: Path, undisturbed: subprocess.CompletedProcess[str]
) -> None:
    for trial_id in ("momentum+sam-b64-0001", "momentum-b256-winner-s0"):
        ran = here("study.replay", "whole", trial_id, "--results", str(place))
        assert ran.returncode == 0 and "reproduced to the bit" in ran.stdout, (
            ran.stdout + ran.stderr
        )


def test_a_diverging_corner_is_marked_and_the_study_ends_normally(place: Path) -> None:
    more = ("--lr-range", "1e-3..100", "--methods", "momentum", "--trials", "8")
    finished = trained(place, "diverging", *more)
    assert finished.returncode == 0, finished.stderr
    _, trials, _ = tables_of(place / "diverging")
    diverged = trials[trials.status == "diverged"]
    assert len(diverged) > 0 and diverged.diverged.all() and diverged.score.notna().all()
    assert diverged.lr.min() > 0.05
    import optuna
    from optuna.storages import JournalStorage
    from optuna.storages.journal import JournalFileBackend

    storage = JournalStorage(JournalFileBackend(str(place / "diverging" / "optuna.log")))
    states = Counter(
        trial.state.name
        for summary in optuna.get_all_study_summaries(storage)
        for trial in optuna.load_study(study_name=summary.study_name, storage=storage).trials
    )
    assert sum(states.values()) == 16 and set(states) <= {"COMPLETE", "PRUNED"}
    assert states["COMPLETE"] >= len(diverged[diverged.phase != "confirm"])


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_stops_within_ten_seconds_and_keeps_everything(
    place: Path, number: signal.Signals, code: int
) -> None:
    name = f"stopped{code}"
    process = subprocess.Popen(
        command(place, name, "--budget", "400epochs"),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    log = place / name / "log.jsonl"
    limit = time.monotonic() + 120
    while time.monotonic() < limit and not (log.exists() and b'"report"' in log.read_bytes()):
        time.sleep(0.1)
    refused = here("study.run", *arguments(place, name, "--budget", "400epochs"))
    assert refused.returncode == 2 and "another process" in refused.stderr
    begun = time.monotonic()
    if number == signal.SIGINT:
        os.killpg(process.pid, number)  # as a terminal does, to the workers too
    else:
        os.kill(process.pid, number)
    _, told = process.communicate(timeout=60)
    assert process.returncode == code, told
    assert time.monotonic() - begun < 10
    assert "To go on: python -m study.run" in told and "Traceback" not in told
    reports = tables_of(place / name)[2]
    assert len(pd.read_parquet(place / name / "reports.parquet")) == len(reports) > 0
    assert "error" not in set(tables_of(place / name)[1].status)


def test_a_formulation_from_outside_is_searched_by_the_same_command(place: Path) -> None:
    text = (Path(__file__).parents[2] / "docs" / "studies.md").read_text()
    code = text.split("```python\nfrom trainables.step.formulation", 1)[1].split("```", 1)[0]
    (place / "my_parts.py").write_text("from trainables.step.formulation" + code)
    more = "--trials 1 --lr-range 0.03..0.1 --model cnn-bn --augment shift --label-noise 0.1"
    with_ray()
    line = arguments(place, "own", "--methods", "momentum+my_parts:GSAM", *more.split())
    ran = here("study.run", *line)
    assert ran.returncode == 0, ran.stderr
    _, trials, _ = tables_of(place / "own")
    assert set(trials.status) == {"complete"} and set(trials.method) == {"momentum+my_parts:GSAM"}
    trial_id = "momentum+my_parts:GSAM-b64-winner-s0"
    ran = here("study.replay", "own", trial_id, "--results", str(place))
    assert ran.returncode == 0 and "reproduced to the bit" in ran.stdout, ran.stdout + ran.stderr
    table = pd.read_csv(place / "own" / "report" / "scaling.csv")
    assert table.test_accuracy_mean.max() > 0.3


def test_a_finished_study_that_is_asked_for_more_trains_only_that(
    place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LARGE_BATCH_CACHE", str(tmp_path))  # where no rates are kept
    some = ("--methods", "momentum", "--trials", "2")
    begun = trained(place, "growing", *some)
    assert begun.returncode == 0 and "calibrating 2 cells" in begun.stderr
    before = ended(place, "growing")
    file = place / "growing" / "manifest.json"
    more = "--trials 3 --batch-sizes 64,128,256 --no-dashboard".split()
    ran = trained(place, "growing", *more, task=("--config", str(file)))
    assert ran.returncode == 0, ran.stderr
    assert "calibrating 1 cells" in ran.stderr  # the others' rates are in the log
    alike = trained(place, "alike", *some)
    assert alike.returncode == 0 and "2 cells go by rates" in alike.stderr  # and in the cache
    after = ended(place, "growing")
    assert set(after.values()) == {1} and before < after
    searched = tables_of(place / "growing")[1].query("phase != 'confirm'")
    assert searched.groupby("batch_size").size().to_dict() == {64: 3, 128: 3, 256: 3}
    assert json.loads(file.read_text())["options"]["trials"] == 3
    whole = "--trials 3 --batch-sizes 64,128,256 --budget 9epochs".split()
    refused = trained(place, "growing", "--methods", "momentum", *whole)
    assert refused.returncode == 2 and "--budget" in refused.stderr
