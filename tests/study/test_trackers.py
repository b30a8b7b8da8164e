"""W&B and MLflow have each ended trial once, as the log has it, and never hold up a study."""

import importlib.util
import struct
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from study.log.log import Log
from study.log.record import Record
from study.plan.planner import Planner
from study.show import trackers
from study.show.trackers import Tracker, parse_log, to_mlflow, to_wandb
from study.show.views import Views
from tests.helpers.simulated import make_config, simulate, study_event
from trainables.spec.errors import UsageError

Sent = list[tuple[str, str]]


def needs(name: str) -> pytest.MarkDecorator:
    return pytest.mark.skipif(
        importlib.util.find_spec(name) is None, reason=f"{name} is not installed"
    )


@pytest.fixture
def sent(monkeypatch: pytest.MonkeyPatch) -> Sent:
    """Trials and statuses, in place of what W&B would be sent."""
    found: Sent = []
    monkeypatch.setitem(trackers.SEND, "wandb", lambda _, r: found.append((_id(r), r.status)))
    return found


def _id(record: Record) -> str:
    return record.config.trial_id


def ended(planner: Planner) -> Sent:
    return [(_id(r), r.status) for r in planner.records.values() if r.ended]


def session(path: Path, events: int, *elsewhere: str, said: list[str] | None = None) -> Planner:
    """A study begun or taken up again, in which so many reports come, and which then ends."""
    config = make_config()
    with Log(path) as log:
        if not log.events:
            log.append(study_event(config))
        planner = Planner(config, log)
        views = Views(path, planner, elsewhere, [].append if said is None else said.append)
        simulate(planner, events=events)
        views.update()
        for tracker in views.trackers:  # for which a session that is cut short would not wait
            while tracker.thread.is_alive() and tracker.arrived < tracker.asked and said is None:
                time.sleep(0.01)
        views.close()
    return planner


def test_each_trial_is_sent_once_over_all_sessions(tmp_path: Path, sent: Sent) -> None:
    first = session(tmp_path, 40)  # without the option, which may be given later
    assert not sent and ended(first)
    second = session(tmp_path, 40, "wandb")
    assert len(ended(second)) > len(ended(first)) and sorted(sent) == sorted(ended(second))
    whole = session(tmp_path, 10**9, "wandb")
    assert sorted(sent) == sorted(ended(whole)) and whole.done
    session(tmp_path, 0, "wandb")
    assert len(sent) == len(whole.records)


def test_an_error_that_is_tried_again_takes_its_place(tmp_path: Path, sent: Sent) -> None:
    planner = session(tmp_path, 40, "wandb")
    record = next(r for r in planner.records.values() if r.ended)
    for finished in (1.0, 1.0, 2.0):
        record.status, record.finished = "error", finished
        tracker = Tracker("wandb", tmp_path, print)
        tracker.end(record)
        tracker.close(all=True)
        tracker.join()
    assert sent.count((_id(record), "error")) == 2


def test_a_lost_connection_is_said_once_and_tried_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, sent: Sent
) -> None:
    monkeypatch.setattr(trackers, "PAUSE", 0.01)
    arrives, down = trackers.SEND["wandb"], [True] * 5

    def send(results: Path, record: Record) -> None:
        if down:
            down.pop()
            raise ConnectionError("no route to host\nand more")
        arrives(results, record)

    monkeypatch.setitem(trackers.SEND, "wandb", send)
    said: list[str] = []
    tracker = Tracker("wandb", tmp_path, said.append)
    records = [r for r in session(tmp_path, 10**9).records.values() if r.ended]
    for record in records:
        tracker.end(record)
    limit = time.monotonic() + 30
    while tracker.arrived < tracker.asked and time.monotonic() < limit:
        time.sleep(0.01)
    tracker.close(all=True)
    tracker.join()
    assert sorted(sent) == sorted((_id(r), r.status) for r in records)
    [line] = said
    assert line.startswith("--log wandb: ") and "ConnectionError: no route to host)" in line


def test_a_server_that_never_answers_costs_no_trial_and_a_bounded_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(trackers, "PAUSE", 0.1)
    forever = threading.Event()
    monkeypatch.setitem(trackers.SEND, "wandb", lambda *_: forever.wait())
    said: list[str] = []
    planner = session(tmp_path, 10**9, "wandb", said=said)
    assert planner.done
    count = len(planner.records)
    assert said == [f"--log wandb: {count} trials are not sent; the same command does"]
    forever.set()


def test_an_interrupted_study_waits_for_one_trial_and_not_for_all(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, sent: Sent
) -> None:
    arrives, go_on = trackers.SEND["wandb"], threading.Event()
    monkeypatch.setitem(trackers.SEND, "wandb", lambda *a: (go_on.wait(10), arrives(*a)))
    tracker = Tracker("wandb", tmp_path, [].append)
    for record in session(tmp_path, 10**9).records.values():
        tracker.end(record)
    threading.Timer(0.2, go_on.set).start()
    tracker.close(all=False)
    tracker.join()
    assert len(sent) == 1


def test_a_full_disk_is_said(tmp_path: Path, sent: Sent, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trackers, "PAUSE", 0.01)
    said: list[str] = []
    tracker = Tracker("wandb", tmp_path, said.append)
    tracker.marks = tmp_path / "gone" / "marks"
    tracker.end(next(iter(session(tmp_path, 40).records.values())))
    tracker.close(all=True)
    tracker.join()
    assert len(said) == 2 and "FileNotFoundError" in said[0] and "1 trials" in said[1]


@pytest.mark.parametrize("text", ["tensorbord", "wandb,mlfow", "wandb,"])
def test_another_name_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match=r"^--log: '\w*' is unknown; accepted: wandb, mlflow$"):
        parse_log(text)


def test_a_package_that_is_missing_is_named_before_anything_starts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.path", [str(tmp_path)])
    with pytest.raises(UsageError, match=r"^--log: mlflow is not installed; accepted: after pip"):
        parse_log("mlflow")
    (tmp_path / "wandb").mkdir()  # as W&B leaves one where it is used offline
    with pytest.raises(UsageError, match=r"^--log: wandb is not installed"):
        parse_log("wandb")
    assert parse_log("") == ()


@needs("wandb")
def test_wandb_without_a_key_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import wandb

    for name in ("WANDB_MODE", "WANDB_API_KEY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    wandb.teardown()
    try:
        with pytest.raises(UsageError, match=r"^--log: wandb has no key; accepted: after"):
            parse_log("wandb")
        monkeypatch.setenv("WANDB_MODE", "offline")
        wandb.teardown()
        assert parse_log("wandb") == ("wandb",)
    finally:
        wandb.teardown()


@pytest.fixture
def trials(tmp_path: Path) -> dict[str, Record]:
    """One that ended well and one in an error, of a study named `named`."""
    planner = session(tmp_path / "named", 10**9)
    good, bad = [r for r in planner.records.values() if r.status == "complete"][:2]
    bad.status, bad.error = "error", "it broke"
    return {"good": good, "bad": bad}


def in_leveldb(log: bytes) -> Iterator[bytes]:
    """What a log in LevelDB's format holds: blocks of 32 KiB, here after a header of 7 bytes."""
    at, whole = 7, b""
    while at + 7 < len(log):
        if 2**15 - at % 2**15 < 7:
            at += 2**15 - at % 2**15
        _, length, kind = struct.unpack_from("<IHB", log, at)
        whole += log[at + 7 : at + 7 + length]
        at += 7 + length
        if kind in (1, 4):  # full, or the last of several
            yield whole
            whole = b""


@needs("wandb")
def test_wandb_offline(
    tmp_path: Path, trials: dict[str, Record], monkeypatch: pytest.MonkeyPatch
) -> None:
    from wandb.proto.wandb_internal_pb2 import Record as Line

    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.delenv("WANDB_PROJECT", raising=False)
    for record in trials.values():
        to_wandb(tmp_path / "named", record)
    files = list((tmp_path / "named" / "wandb").glob("offline-run-*/*.wandb"))
    assert len(files) == 2
    for file in files:
        lines = [Line.FromString(data) for data in in_leveldb(file.read_bytes())]
        run = next(line.run for line in lines if line.HasField("run"))
        record = next(r for r in trials.values() if _id(r) == run.display_name)
        assert run.project == "named" and run.run_group == f"named/{record.cell.name}"
        given = {update.key: update.value_json for update in run.config.update}
        assert float(given["lr"]) == record.config.lr
        assert given["method"] == f'"{record.config.method}"'
        steps = [line.history.step.num for line in lines if line.HasField("history")]
        assert steps == [figures["samples"] for figures in record.reports]
        summary = {u.key: u.value_json for line in lines for u in line.summary.update}
        assert summary["status"] == f'"{record.status}"'
        [code] = [line.exit.exit_code for line in lines if line.HasField("exit")]
        assert code == (record.status == "error")


@needs("mlflow")
def test_mlflow_of_a_file(
    tmp_path: Path, trials: dict[str, Record], monkeypatch: pytest.MonkeyPatch
) -> None:
    import mlflow
    from mlflow import MlflowClient

    mlflow.set_tracking_uri(f"sqlite:///{tmp_path}/mlflow.db")
    try:
        for record in [*trials.values(), trials["good"]]:  # the last takes the place of the first
            to_mlflow(tmp_path / "named", record)
        client = MlflowClient()
        experiment = client.get_experiment_by_name("named")
        runs: dict[str, Any] = {
            run.info.run_name: run for run in client.search_runs([experiment.experiment_id])
        }
        assert len(runs) == 2
        for record in trials.values():
            run = runs[_id(record)]
            assert run.info.status == ("FAILED" if record.status == "error" else "FINISHED")
            assert run.info.start_time == round(1000 * record.started)
            assert float(run.data.params["lr"]) == record.config.lr
            assert run.data.tags["cell"] == record.cell.name
            assert run.data.tags["error"] == (record.error or "")
            curve = client.get_metric_history(run.info.run_id, "val_accuracy")
            assert [(m.step, m.value) for m in curve] == [
                (figures["samples"], figures["val_accuracy"]) for figures in record.reports
            ]
            assert run.data.metrics["score"] == record.score
    finally:
        mlflow.set_tracking_uri(None)
