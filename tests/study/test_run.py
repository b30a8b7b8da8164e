"""The whole command under Ray: it finishes, resumes after any death, and never repeats itself."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import pandas as pd
import pytest

from study import measure as measure_command
from study import results
from tests.faults import DETERMINED, begin, command, determined, ended, run, wait_for
from trainables.errors import exit_code


def killed_thrice(place: Path, name: str, *more: str) -> subprocess.CompletedProcess[str]:
    """Kill -9 after the first, some and most of the trials have ended; then let it finish."""
    for count in (1, 5, 11):
        process = begin(place, name, *more)
        wait_for(lambda count=count: len(ended(place, name)) >= count, process)
        process.kill()
        process.wait()
    return run(place, name, *more)


def test_one_command_from_nothing_to_the_table(
    place: Path, undisturbed: subprocess.CompletedProcess[str]
) -> None:
    assert undisturbed.returncode == 0, undisturbed.stderr
    assert "LR* ~ B^" in undisturbed.stdout
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
    again = run(place, "whole", *DETERMINED)
    assert again.returncode == 0 and "is finished" in again.stderr
    assert again.stdout == undisturbed.stdout
    assert (place / "whole" / "log.jsonl").read_bytes() == before


def test_any_trial_is_replayed_to_the_bit(
    place: Path, undisturbed: subprocess.CompletedProcess[str]
) -> None:
    for trial_id in ("momentum+sam-b64-0001", "momentum-b256-winner-s0"):
        replay = [sys.executable, "-m", "study.replay", "whole", trial_id, "--results", str(place)]
        ran = subprocess.run(replay, capture_output=True, text=True)
        assert ran.returncode == 0 and "reproduced to the bit" in ran.stdout, (
            ran.stdout + ran.stderr
        )


def test_killed_three_times_the_metrics_are_those_of_an_undisturbed_run(
    place: Path, undisturbed: subprocess.CompletedProcess[str]
) -> None:
    finished = killed_thrice(place, "killed", *DETERMINED)
    assert finished.returncode == 0, finished.stderr
    pairs = zip(determined(place, "whole"), determined(place, "killed"), strict=True)
    for whole, killed in pairs:
        pd.testing.assert_frame_equal(whole, killed)
    assert set(ended(place, "killed").values()) == {1}


def test_killed_three_times_with_tpe_and_asha_nothing_is_lost_or_doubled(place: Path) -> None:
    finished = killed_thrice(place, "adaptive")
    assert finished.returncode == 0, finished.stderr
    _, trials, reports = results.load(place / "adaptive")
    assert set(ended(place, "adaptive").values()) == {1}
    assert set(ended(place, "adaptive")) == set(trials.trial_id)
    assert trials.status.isin(["complete", "stopped", "diverged"]).all()
    searched = trials[trials.phase != "confirm"]
    assert searched.groupby(["method", "batch_size"]).size().eq(3).all()
    assert not reports.duplicated(["trial_id", "report"]).any()
    for _, group in reports.groupby("trial_id"):
        assert list(group.report) == list(range(1, len(group) + 1))


def test_a_diverging_corner_is_marked_and_the_study_ends_normally(place: Path) -> None:
    more = ("--lr-range", "1e-3..100", "--methods", "momentum", "--trials", "8")
    finished = run(place, "diverging", *more)
    assert finished.returncode == 0, finished.stderr
    _, trials, _ = results.load(place / "diverging")
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
    refused = run(place, name, "--budget", "400epochs")
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
    reports = results.load(place / name)[2]
    assert len(pd.read_parquet(place / name / "reports.parquet")) == len(reports) > 0
    assert "error" not in set(results.load(place / name)[1].status)


def test_a_formulation_from_outside_is_searched_by_the_same_command(place: Path) -> None:
    # The README's example, in a directory of its own.
    text = (Path(__file__).parents[2] / "README.md").read_text()
    code = text.split("```python\nfrom trainables.formulation", 1)[1].split("```", 1)[0]
    (place / "my_parts.py").write_text("from trainables.formulation" + code)
    assert len(code.splitlines()) <= 40
    more = "--trials 1 --model cnn-bn --augment shift --label-noise 0.1".split()
    line = command(place, "own", "--methods", "momentum+my_parts:GSAM", *more)
    ran = subprocess.run(line, capture_output=True, text=True, timeout=300, cwd=place)
    assert ran.returncode == 0, ran.stderr
    _, trials, _ = results.load(place / "own")
    assert set(trials.status) == {"complete"} and set(trials.method) == {"momentum+my_parts:GSAM"}
    trial_id = "momentum+my_parts:GSAM-b64-winner-s0"
    replay = [sys.executable, "-m", "study.replay", "own", trial_id, "--results", str(place)]
    ran = subprocess.run(replay, capture_output=True, text=True, cwd=place)
    assert ran.returncode == 0 and "reproduced to the bit" in ran.stdout, ran.stdout + ran.stderr
    table = pd.read_csv(place / "own" / "report" / "scaling.csv")
    assert table.test_accuracy_mean.max() > 0.3


def test_a_finished_study_that_is_asked_for_more_trains_only_that(place: Path) -> None:
    some = ("--methods", "momentum", "--trials", "2")
    assert run(place, "growing", *some).returncode == 0
    before = ended(place, "growing")
    file = place / "growing" / "manifest.json"
    more = [sys.executable, "-m", "study.run", "--config", str(file), "--results", str(place)]
    more += "--name growing --trials 3 --batch-sizes 64,128,256 --no-dashboard".split()
    ran = subprocess.run(more, capture_output=True, text=True, timeout=300)
    assert ran.returncode == 0, ran.stderr
    after = ended(place, "growing")
    assert set(after.values()) == {1} and before < after
    searched = results.load(place / "growing")[1].query("phase != 'confirm'")
    assert searched.groupby("batch_size").size().to_dict() == {64: 3, 128: 3, 256: 3}
    assert json.loads(file.read_text())["options"]["trials"] == 3
    whole = "--trials 3 --batch-sizes 64,128,256 --budget 9epochs".split()
    refused = run(place, "growing", "--methods", "momentum", *whole)
    assert refused.returncode == 2 and "--budget" in refused.stderr


def measure(place: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    line = [sys.executable, "-m", "study.measure", *arguments, "--results", str(place)]
    return subprocess.run(line, capture_output=True, text=True, timeout=300)


def test_the_winners_minima_are_measured_at_the_end(
    place: Path, undisturbed: subprocess.CompletedProcess[str]
) -> None:
    assert "--sharpness fast: 4 minima and 0 lines" in undisturbed.stderr
    trials = results.load(place / "whole")[1].set_index("trial_id")
    winners = trials[trials.role == "winner"]
    assert winners[["lambda_max", "hessian_trace", "sam_sharpness"]].gt(0).all(axis=None)
    assert winners.sharpness.eq("fast").all() and winners.sharpness_images.eq(512).all()
    assert trials.drop(index=winners.index).lambda_max.isna().all()
    kept = {path.stem for path in (place / "whole" / "weights").iterdir()}
    assert kept == set(trials.index[(trials.phase == "confirm") & (trials.status == "complete")])


def test_a_study_killed_while_it_measured_measures_the_rest(
    place: Path, undisturbed: subprocess.CompletedProcess[str]
) -> None:
    shutil.copytree(place / "whole", place / "half")
    lines = (place / "half" / "log.jsonl").read_bytes().splitlines(keepends=True)
    (place / "half" / "log.jsonl").write_bytes(b"".join(lines[:-2]))
    again = run(place, "half", *DETERMINED)
    assert again.returncode == 0 and "--sharpness fast: 2 minima" in again.stderr
    for whole, half in zip(determined(place, "whole"), determined(place, "half"), strict=True):
        pd.testing.assert_frame_equal(whole, half)


def test_saved_minima_are_measured_again_by_command(
    place: Path, undisturbed: subprocess.CompletedProcess[str]
) -> None:
    shutil.copytree(place / "whole", place / "again")
    both = "momentum-b64-winner-s0", "momentum+sam-b64-winner-s0"
    ran = measure(place, "again", *both, "--sharpness", "full", "--images", "64")
    assert ran.returncode == 0, ran.stderr
    assert "momentum+sam-b64-winner, full/64 (1)" in ran.stdout
    trials = pd.read_parquet(place / "again" / "trials.parquet").set_index("trial_id")
    for name in both:
        columns = trials.loc[name, list(results.SHARPNESS_COLUMNS)]
        assert columns.notna().all(), columns
        assert columns["sharpness"] == "full" and columns["sharpness_images"] == 64
    points = pd.read_parquet(place / "again" / "landscape.parquet")
    assert points.groupby("kind").size().to_dict() == {"line": 25, "plane": 450, "slice": 50}
    line = points[points.kind == "line"].set_index("alpha")
    assert set(line.trial_id) == {both[0]} and set(line.other) == {both[1]}
    assert line.loc[1.0, "test_accuracy"] == pytest.approx(trials.loc[both[1], "test_accuracy"])


def test_measuring_is_stopped_by_a_signal_and_goes_on_where_it_was(
    place: Path, undisturbed: subprocess.CompletedProcess[str]
) -> None:
    shutil.copytree(place / "whole", place / "halted")
    few = ["halted", "--images", "256"]
    line = [sys.executable, "-m", "study.measure", *few, "--results", str(place)]
    log = place / "halted" / "log.jsonl"

    def full() -> int:
        return log.read_bytes().count(b'"event":"measured","trial_id"') - 4  # those of the study

    assert full() == 0
    process = subprocess.Popen(line, stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    limit = time.monotonic() + 120
    while time.monotonic() < limit and full() == 0:
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    _, told = process.communicate(timeout=60)
    before = full()
    assert process.returncode == 130 and "what was measured is kept" in told, told
    assert 0 < before < 4
    again = measure(place, *few)
    assert again.returncode == 0 and full() == 4, again.stderr
    trials = results.load(place / "halted")[1]
    assert trials[trials.role == "winner"].sharpness.eq("full").all()


def test_a_damaged_minimum_costs_that_measurement_alone(
    place: Path, undisturbed: subprocess.CompletedProcess[str]
) -> None:
    shutil.copytree(place / "whole", place / "damaged")
    path = place / "damaged" / "weights" / "momentum-b64-winner-s0.safetensors"
    path.write_bytes(path.read_bytes()[:1000])
    ran = measure(place, "damaged", "*-b64-winner-*", "--sharpness", "fast", "--images", "600")
    assert ran.returncode == 1 and "Traceback" not in ran.stderr
    assert "1 measurements failed, the first of momentum-b64-winner-s0: UsageError" in ran.stderr
    trials = results.load(place / "damaged")[1].set_index("trial_id").sharpness_images
    assert trials["momentum+sam-b64-winner-s0"] == 600
    assert trials["momentum-b64-winner-s0"] == 512  # what was known of it is kept


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["nothing"], "is no study"),
        (["whole", "--sharpness", "off"], "--sharpness: unknown 'off'; accepted: fast, full"),
        (["whole", "*-b7-*"], "TRIAL_ID: '*-b7-*' matches no confirmed trial"),
        (["whole", "--images", "5000"], "--images: 5,000 is out of range; accepted: 1 to"),
        (["whole", "--data-dir", "x", "--gpus-per-trial", "7"], "--gpus-per-trial: 7"),
        (["whole", "--cpus-per-trial", "-1"], "--cpus-per-trial: -1"),
        (["whole", "--address", "nowhere"], "--address: no Ray cluster at nowhere"),
    ],
)
def test_bad_input_to_measure_is_one_line(
    place: Path,
    undisturbed: subprocess.CompletedProcess[str],
    arguments: list[str],
    said: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    before = (place / "whole" / "log.jsonl").read_bytes()
    monkeypatch.setattr(sys, "argv", ["measure", *arguments, "--results", str(place)])
    assert exit_code(measure_command.main, "python -m study.measure") == 2
    out, told = capsys.readouterr()
    assert said in told and told.count("\n") == 1 and not out, told
    assert (place / "whole" / "log.jsonl").read_bytes() == before
