"""The minima of a study's winners, measured at its end and by python -m study.measure."""

import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pandas as pd
import pytest

from study import measure as measure_command
from tests.helpers.faults import MEASURED_TOO, here, trained, with_ray
from tests.helpers.tables import tables_of
from trainables.spec.columns import SHARPNESS_COLUMNS
from trainables.spec.errors import exit_code

pytestmark = pytest.mark.xdist_group("studies")


def measure(place: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    with_ray()
    return here("study.measure", *arguments, "--results", str(place))


def test_the_winners_minima_are_measured_at_the_end(
    place: Path, undisturbed: subprocess.CompletedProcess[str]
) -> None:
    assert "--sharpness fast: 4 minima and 0 lines" in undisturbed.stderr
    trials = tables_of(place / "whole")[1].set_index("trial_id")
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
    again = trained(place, "half", *MEASURED_TOO)
    assert again.returncode == 0 and "--sharpness fast: 2 minima" in again.stderr
    columns = [name for name in SHARPNESS_COLUMNS if name != "sharpness_seconds"]
    whole, half = (
        tables_of(place / name)[1].set_index("trial_id")[columns].sort_index()
        for name in ("whole", "half")
    )
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
        columns = trials.loc[name, list(SHARPNESS_COLUMNS)]
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
    limit = time.monotonic() + 300
    while time.monotonic() < limit and full() == 0:
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    _, told = process.communicate(timeout=60)
    before = full()
    assert process.returncode == 130 and "what was measured is kept" in told, told
    assert 0 < before < 4
    again = measure(place, *few)
    assert again.returncode == 0 and full() == 4, again.stderr
    trials = tables_of(place / "halted")[1]
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
    trials = tables_of(place / "damaged")[1].set_index("trial_id").sharpness_images
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
