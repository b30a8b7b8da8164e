"""The results directory says what the log says, in forms that other programs open."""

import json
import subprocess
import sys
from collections import Counter
from pathlib import Path

import optuna
import pandas as pd
import pytest
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

import analysis
from study.cluster import machine
from study.log.log import Log
from study.plan.planner import Planner
from study.show import results
from study.show.views import Views
from tests.helpers.faults import here
from tests.helpers.simulated import make_config, simulate, study_event
from tests.helpers.tables import tables_of
from trainables.data.image_data import load
from trainables.spec.columns import REPORT_COLUMNS, TRIAL_COLUMNS

Finished = tuple[Planner, Path]


def test_tables_have_the_documented_columns_and_every_row(finished: Finished) -> None:
    planner, path = finished
    config, trials, reports = tables_of(path)
    assert list(trials) == list(TRIAL_COLUMNS)
    assert list(reports) == list(REPORT_COLUMNS)
    assert set(trials.trial_id) == set(planner.records)
    assert len(reports) == sum(len(record.reports) for record in planner.records.values())
    assert config == json.loads(json.dumps(planner.config.to_dict()))
    for row in trials.itertuples():
        record = planner.records[row.trial_id]
        assert (row.status, row.lr, row.rho) == (record.status, record.config.lr, record.config.rho)
        assert row.score == record.reports[-1]["score"]
        assert row.method == ("momentum" if row.formulation == "none" else "momentum+sam")


def test_tables_of_a_study_without_reports(tmp_path: Path) -> None:
    config = make_config()
    with Log(tmp_path) as log:
        log.append(study_event(config))
        Planner(config, log).next()
    _, trials, reports = tables_of(tmp_path)
    assert list(trials.status) == ["running"] and pd.isna(trials.score[0])
    assert reports.empty


def test_views_while_it_runs_equal_views_made_again(finished: Finished, tmp_path: Path) -> None:
    config = make_config()
    live = tmp_path / "live"
    with Log(live) as log:
        log.append(study_event(config))
        planner = Planner(config, log)
        views = Views(live, planner)
        while simulate(planner, events=7) == 0:
            views.update()
        views.update()
        views.close()
    frames = [pd.read_parquet(live / f"{name}.parquet") for name in ("trials", "reports")]
    for frame, again in zip(frames, tables_of(live)[1:], strict=True):
        pd.testing.assert_frame_equal(frame, again, check_dtype=False)
    assert _journal(live) == _expected_states(planner)
    again = Views(live, planner)  # as at the start of another session
    again.close()
    assert _journal(live) == _expected_states(planner)
    assert again.busy == 0.0


def _journal(path: Path) -> Counter[tuple[str, str]]:
    storage = JournalStorage(JournalFileBackend(str(path / "optuna.log")))
    return Counter(
        (summary.study_name, trial.state.name)
        for summary in optuna.get_all_study_summaries(storage)
        for trial in optuna.load_study(study_name=summary.study_name, storage=storage).trials
    )


def _expected_states(planner: Planner) -> Counter[tuple[str, str]]:
    states = {"complete": "COMPLETE", "diverged": "COMPLETE", "stopped": "PRUNED"}
    return Counter(
        (name, states[record.status])
        for name, records in planner.searched.items()
        for record in records
    )


def test_tensorboard_has_one_run_a_trial_with_samples_on_the_axis(finished: Finished) -> None:
    planner, path = finished
    Views(path, planner).close()
    runs = {run.name for run in (path / "tensorboard").iterdir() if run.is_dir()}
    assert runs == set(planner.records)
    record = planner.records["momentum+sam-b1024-winner-s0"]
    events = EventAccumulator(str(path / "tensorboard" / record.config.trial_id)).Reload()
    scalars = events.Scalars("val_accuracy")
    assert [scalar.step for scalar in scalars] == [20 * k * 1024 for k in range(1, 10)]
    assert [round(s.value, 3) for s in events.Scalars("test_accuracy")] == [0.8]
    tags = events.PluginTagToContent("hparams")
    assert set(tags) == {"_hparams_/session_start_info", "_hparams_/session_end_info"}


def test_an_unfinished_run_is_drawn_from_its_start_after_a_resume(tmp_path: Path) -> None:
    config = make_config()
    with Log(tmp_path) as log:
        log.append(study_event(config))
        planner = Planner(config, log)
        views = Views(tmp_path, planner)
        simulate(planner, events=5)
        views.update()
        views.close()
    with Log(tmp_path) as log:
        planner = Planner(config, log)
        unfinished = [r.config.trial_id for r in planner.records.values() if not r.ended]
        views = Views(tmp_path, planner)
        simulate(planner)
        views.update()
        views.close()
    for trial_id in unfinished:
        events = EventAccumulator(str(tmp_path / "tensorboard" / trial_id)).Reload()
        steps = [scalar.step for scalar in events.Scalars("val_accuracy")]
        taken = planner.records[trial_id].reports
        assert steps == [figures["samples"] for figures in taken]


def test_the_manifest_holds_what_is_needed_to_make_the_study_again(tmp_path: Path) -> None:
    config = make_config(dataset="digits", train_size=1024)
    command, data = machine.command_line(["--name", "a b"]), load("digits", train_size=1024)
    results.write_manifest(tmp_path, machine.manifest(command, "n", config, data, {}, []))
    manifest = json.loads((tmp_path / "manifest.json").read_text())
    assert manifest["command"] == "python -m study.run --name 'a b'"
    assert manifest["config"] == json.loads(json.dumps(config.to_dict()))
    assert manifest["data"]["train"] == 1024 and len(manifest["data"]["sha256"]) == 64
    assert manifest["versions"]["ray"] != "absent" and manifest["hardware"]["cores"] >= 1
    assert len(manifest["confirm_seeds"]) == 2


def test_the_analysis_reads_a_study_without_ray_or_torch(finished: Finished) -> None:
    _, path = finished
    results.restore(path)
    code = (
        "import sys, analysis.report; print(analysis.report.write(sys.argv[1]));"
        "assert not {'ray', 'torch', 'optuna'} & set(sys.modules), 'pulls too much'"
    )
    ran = subprocess.run([sys.executable, "-c", code, str(path)], capture_output=True, text=True)
    assert ran.returncode == 0, ran.stderr
    assert (path / "report" / "scaling.csv").exists()
    assert (path / "report" / "figures" / "lr_vs_batch_size.png").stat().st_size > 10_000
    study = analysis.load(path)
    assert len(study.trials) == len(tables_of(path)[1])
    assert study.config["lr_range"]["momentum+sam"] == [3e-3, 3.0]
    assert study.config["rho_range"] == {"momentum": None, "momentum+sam": [0.01, 0.5]}


@pytest.mark.parametrize("command", ["study.status", "study.replay", "analysis.report"])
def test_commands_on_a_directory_that_is_no_study(command: str, tmp_path: Path) -> None:
    (tmp_path / "nothing").mkdir()
    arguments = {
        "study.status": ["nothing", "--results", str(tmp_path)],
        "study.replay": ["nothing", "x-0000", "--results", str(tmp_path)],
        "analysis.report": [str(tmp_path / "nothing")],
    }[command]
    ran = here(command, *arguments)
    assert ran.returncode == 2
    assert len(ran.stderr.splitlines()) == 1 and "Traceback" not in ran.stderr
    assert not list((tmp_path / "nothing").iterdir())


def test_status_tells_where_a_study_stands(finished: Finished) -> None:
    planner, path = finished
    out = here("study.status", path.name, "--results", str(path.parent)).stdout
    assert f"finished, {len(planner.records)}/{len(planner.records)} trials ended" in out
    assert all(name in out for name in planner.cells)
