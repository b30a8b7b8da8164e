"""Folders that other tools leave, Ray Tune's results and TensorBoard's event files, as tables."""

import contextlib
import json
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from analysis.data.study import ForeignTableError
from analysis.data.table_files import Table, json_lines

PAIR = re.compile(r"(?:^|[/,;_ ])([A-Za-z]\w*?)=([^/]*?)(?=[,;_ ]+[A-Za-z]\w*=|/|$)")


def read_folder(path: Path) -> Table | None:
    """What the folder holds, recognised by its files; None where it is none of these."""
    if trials := sorted(file.parent for file in path.rglob("params.json")):
        return _of_ray(path, trials)
    if runs := sorted({file.parent for file in path.rglob("*tfevents*")}):
        return _of_tensorboard(path, runs)
    return None


def _of_ray(path: Path, trials: Iterable[Path]) -> Table:
    """A row a report, as in result.json; of a trial that came to none one with its `config`."""
    status, notes = _ended(path), list[str]()
    rows: list[dict[str, Any]] = []
    for folder in trials:
        lines, file = [], folder / "result.json"
        if file.is_file():
            with file.open(encoding="utf-8") as opened:
                found = json_lines(str(file), opened)
            lines, notes = found.rows, notes + [f"{folder.name}: {each}" for each in found.notes]
        failed = {"status": "ERROR"} if (folder / "error.txt").is_file() else {}
        for line in lines or [{"trial_id": folder.name, "config": _json(folder / "params.json")}]:
            known = status.get(folder.name)
            rows.append((failed if known is None else {"status": known}) | line)
    count = len({row.get("trial_id") for row in rows})
    return Table.of(path, rows, [f"read as Ray Tune's results: {count} trials", *notes])


def _ended(path: Path) -> dict[str, str]:
    """How each trial ended, by its folder, as the newest state of each experiment has it."""
    found: dict[str, str] = {}
    for file in sorted(path.rglob("experiment_state-*.json")):
        state = _json(file)
        for entry in state.get("trial_data", ()) if isinstance(state, dict) else ():
            with contextlib.suppress(ValueError, TypeError, LookupError):
                trial = json.loads(entry[0])
                folder, status = trial["relative_logdir"], str(trial["status"])
                found[folder] = "RUNNING" if status == "PAUSED" else status
    return found


def _json(file: Path) -> Any:
    try:
        return json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise ForeignTableError(file, f"cannot be read ({error})", "as Ray writes it") from None


def _of_tensorboard(path: Path, runs: Iterable[Path]) -> Table:
    """A row a run: its hyperparameters, and each of its scalars as a curve.

    Hyperparameters are those of `add_hparams`, which writes them into a folder of their own below
    that of the run: with one such folder the two are one run. Without them `key=value` in the names
    of the folders are taken.
    """
    told = {run: _events(run) for run in runs}
    for run in [run for run, (given, _) in told.items() if given]:
        beside = [
            other for other, (given, _) in told.items() if given and other.parent == run.parent
        ]
        if run.parent in told and not told[run.parent][0] and len(beside) == 1:
            given, scalars = told.pop(run)
            told[run.parent] = given, scalars | told[run.parent][1]
    rows, curves = [], set[str]()
    for run, (given, scalars) in told.items():
        name = run.relative_to(path).as_posix()
        settings = given or dict(PAIR.findall(name))
        own = {f"{tag} (scalar)" if tag in settings else tag: of for tag, of in scalars.items()}
        rows.append({"trial_id": name} | settings | own)
        curves |= set(own)
    plugin = sum(bool(given) for given, _ in told.values())
    note = f"read as TensorBoard's event files: {len(rows)} runs, hyperparameters of {plugin} by "
    note += f"add_hparams, of {len(rows) - plugin} by key=value in the names of folders"
    return Table.of(path, rows, [note], frozenset(curves))


def _events(run: Path) -> tuple[dict[str, Any], dict[str, list[dict[str, float]]]]:
    """The hyperparameters and the scalars, as lists of points, in the event files of a folder."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
    from tensorboard.plugins.hparams.metadata import (
        SESSION_START_INFO_TAG,
        parse_session_start_info_plugin_data,
    )
    from tensorboard.util.tensor_util import make_ndarray

    events = EventAccumulator(str(run), {"scalars": 0, "tensors": 0}).Reload()
    given: dict[str, Any] = {}
    with contextlib.suppress(KeyError):  # no such plugin, or no such tag
        content = events.PluginTagToContent("hparams")[SESSION_START_INFO_TAG]
        values = parse_session_start_info_plugin_data(content).hparams.items()
        given = {name: getattr(value, value.WhichOneof("kind")) for name, value in values}
    scalars = {
        tag: [{"step": each.step, "value": each.value} for each in events.Scalars(tag)]
        for tag in events.Tags()["scalars"]
    }
    with contextlib.suppress(KeyError):
        for tag in events.PluginTagToContent("scalars"):
            if tag in events.Tags()["tensors"]:  # as TensorFlow writes them
                scalars[tag] = [
                    {"step": each.step, "value": float(make_ndarray(each.tensor_proto))}
                    for each in events.Tensors(tag)
                ]
    return given, scalars
