"""The results directory as tables and files others open; all of it computed from the log.

results/NAME/
    log.jsonl        every fact in order; the rest can be made again from it
    manifest.json    configuration, versions, hardware, data hash, seeds, git revision
    trials.parquet   one row a trial (TRIAL_COLUMNS of trainables/spec/columns.py)
    reports.parquet  one row a report (REPORT_COLUMNS)
    landscape.parquet  one row a point of the slices, planes and lines measured (POINT_COLUMNS)
    weights/         the minima of confirmed trials, TRIAL_ID.safetensors
    optuna.log       an Optuna journal, one study a cell: optuna-dashboard optuna.log
    tensorboard/     one run a trial, x axis in samples seen

Needs neither Ray nor torch, so that tables are read where neither is installed.
"""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from study.log import log
from study.log.log import Event, MemoryLog
from study.log.record import Record
from study.plan.config import StudyConfig
from study.plan.planner import Planner
from trainables.spec.columns import (
    CONFIG_COLUMNS,
    POINT_COLUMNS,
    REPORT_COLUMNS,
    TRIAL_COLUMNS,
)
from trainables.spec.errors import UsageError
from trainables.spec.files import atomic
from trainables.spec.registration import FILE as REGISTRATION
from trainables.spec.registration import digest
from trainables.spec.roles import SEARCH_PHASES, SUPERSEDED

if TYPE_CHECKING:
    import pandas as pd

    from trainables.data.image_data import ImageData


def planner_of(results: Path) -> Planner:
    """The planner of a running or finished study, from its log, which stays as it is.

    Raises
    ------
    UsageError
        If the directory holds no study or its log is damaged.
    """
    events = log.read(results)
    config = StudyConfig.from_dict(study_event(events, results)["config"])
    return Planner(config, MemoryLog(events))


def study_event(events: list[Event], results: Path) -> Event:
    """The line of a log that holds the study's configuration, the last one if it was extended."""
    if not events or events[0]["event"] != "study":
        raise UsageError(f"{results} holds no started study; accepted: a results directory")
    return [event for event in events if event["event"] == "study"][-1]


def data_of(event: Event, data_dir: str | None) -> "ImageData":
    """The data of a study, again; `event` is its line of the log.

    Raises
    ------
    UsageError
        If `data_dir`, or where the study found them, no longer holds the same.
    """
    from trainables.data.image_data import load_for

    config = StudyConfig.from_dict(event["config"])
    data_dir = data_dir or event["data_dir"]
    data = load_for(config, data_dir, config.seed, strict=False)
    if data.fingerprint != event["data"]:
        raise UsageError(
            f"--data-dir: {config.dataset} in {data_dir} is not the data of the study; "
            f"accepted: data with sha256 {event['data'][:16]}…"
        )
    return data


def trials(planner: Planner) -> "pd.DataFrame":
    """One row a trial, as TRIAL_COLUMNS says."""
    rows = []
    for record in planner.records.values():
        config = record.config.to_dict()
        if planner.confirmation.superseded(record):
            config["role"] = SUPERSEDED
        rows.append(
            {name: config[name] for name in CONFIG_COLUMNS if name in config}
            | {"method": record.config.method, "status": record.status, "error": record.error}
            | {"asha_would_stop_at": record.asha_would_stop_at}
            | {k: v for k, v in (record.reports[-1] if record.reports else {}).items() if k != "lr"}
            | _sharpness(record)
        )
    return _frame(rows, TRIAL_COLUMNS)


def _sharpness(record: Record) -> dict[str, Any]:
    """What was found at a trial's minimum, by SHARPNESS_COLUMNS."""
    event = record.measured
    if event is None:
        return {"sharpness": None}
    measures = event["measures"]
    return {
        **{name: measure["value"] for name, measure in measures.items()},
        **{f"{name}_stderr": measure["stderr"] for name, measure in measures.items()},
        "sharpness": event["level"],
        "sharpness_images": event["images"],
        "sharpness_converged": all(measure["converged"] for measure in measures.values()),
        "sharpness_seconds": event["seconds"],
    }


def landscape(events: list[Event]) -> "pd.DataFrame":
    """One row a point, as POINT_COLUMNS says; of what was measured twice the last."""
    drawn = {
        (event["kind"], event["trial_id"], event["other"]): event
        for event in events
        if event["event"] == "landscape"
    }
    rows = [
        {name: event[name] for name in ("kind", "trial_id", "other", "images")} | point
        for event in drawn.values()
        for point in event["points"]
    ]
    return _frame(rows, POINT_COLUMNS)


def reports(planner: Planner) -> "pd.DataFrame":
    """One row a report, as REPORT_COLUMNS says."""
    rows = [
        {"trial_id": trial_id} | figures
        for trial_id, record in planner.records.items()
        for figures in record.reports
    ]
    return _frame(rows, REPORT_COLUMNS)


def _frame(rows: list[dict[str, Any]], columns: dict[str, str]) -> "pd.DataFrame":
    import pandas as pd

    frame = pd.DataFrame(rows, columns=list(columns))
    try:
        return frame.astype({k: "object" if v == "str" else v for k, v in columns.items()})
    except (TypeError, ValueError, OverflowError) as error:
        raise UsageError(
            f"{log.FILE}: a figure fits no column ({error}); accepted: lines written by study.run"
        ) from None


def write_tables(results: Path, planner: Planner, points: bool = True) -> None:
    """trials.parquet, reports.parquet and, with `points`, landscape.parquet, each whole."""
    tables = {"trials": trials(planner), "reports": reports(planner)}
    if points and len(drawn := landscape(log.read(results))):
        tables["landscape"] = drawn
    for name, frame in tables.items():
        with atomic(results / f"{name}.parquet") as file:
            frame.to_parquet(file, index=False)


def restore(results: Path) -> Planner:
    """`planner_of`, which writes the tables anew, and of a lost manifest what the log knows."""
    planner = planner_of(results)
    write_tables(results, planner)
    if not (results / "manifest.json").exists():
        known = {"name": results.resolve().name, "config": planner.config.to_dict()}
        notes = study_event(planner.log.events, results).get("notes", [])
        write_manifest(results, known | {"notes": notes}, registration(planner.log.events))
    return planner


def registration(events: list[Event]) -> str:
    """What the study was begun with; nothing where it was not registered."""
    return next((event["registration"] for event in events if event.get("registration")), "")


def write_manifest(results: Path, manifest: dict[str, Any], registered: str = "") -> None:
    """manifest.json, whole or not at all, and before it what was `registered`, if anything."""
    if registered:
        manifest = manifest | {"registration": digest(registered)}
        with atomic(results / REGISTRATION) as file:
            file.write(registered.encode())
    with atomic(results / "manifest.json") as file:
        file.write(json.dumps(log.finite(manifest), indent=2).encode() + b"\n")


class OptunaJournal:
    """optuna.log, an append-only journal with one study a cell, made anew at each start."""

    def __init__(self, results: Path, config: StudyConfig, records: list[Record]) -> None:
        import optuna
        from optuna.storages import JournalStorage
        from optuna.storages.journal import JournalFileBackend

        from study.plan.search import frozen

        class Unhurried(JournalFileBackend):
            """Does not wait for the disk at each trial, as this file can be made again."""

            def append_logs(self, logs: list[dict[str, Any]]) -> None:
                lines = "".join(json.dumps(each, separators=(",", ":")) + "\n" for each in logs)
                with open(path, "ab") as file:
                    file.write(lines.encode())

        optuna.logging.set_verbosity(optuna.logging.WARNING)
        path = results / "optuna.log"
        path.unlink(missing_ok=True)
        storage = JournalStorage(Unhurried(str(path)))
        self._frozen = frozen
        self._cells = {
            cell.name: (
                config.space(cell),
                optuna.create_study(storage=storage, study_name=cell.name, direction="maximize"),
            )
            for cell in config.cells
        }
        for record in records:
            if record.ended:
                self.add(record)

    def add(self, record: Record) -> None:
        """An ended search trial; confirmations are no part of the search."""
        if record.config.phase in SEARCH_PHASES:
            space, study = self._cells[record.cell.name]
            study.add_trial(self._frozen(space, record))
