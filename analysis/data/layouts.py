"""What other tools call things, and how their tables are laid out."""

import re
from typing import Any

import pandas as pd

from analysis.data.table_files import Expression, Table

# Names of a trial's end, Optuna's, W&B's and Ray Tune's, and their columns that say what ours do.
SAME = {
    **dict.fromkeys(("finished", "completed", "terminated", "succeeded", "success", "ok", "done"),
                    "complete"),
    **dict.fromkeys(("pruned", "early_stopped"), "stopped"),
    **dict.fromkeys(("fail", "failed", "failure", "crashed", "killed", "preempted", "invalid",
                     "timeout", "cancelled", "canceled", "aborted"), "error"),
    **dict.fromkeys(("waiting", "pending", "scheduled", "queued"), "running"),
}  # fmt: skip
ALIASES = {"status": ("status", "state"), "report": ("report", "training_iteration")}
# Names of a run and of where in it a row was written, whose rows are its reports.
RUNS = ("trial_id", "run_id", "trial", "run", "run_name")
PLACES = ("training_iteration", "epoch", "step", "_step", "global_step", "iteration")
# Columns by which a library's table is recognised, and what is read accordingly.
LAYOUTS = {
    "Optuna's trials_dataframe()": ("number", "state", "datetime_start"),
    "Ray Tune's get_dataframe()": ("trial_id", "training_iteration", "time_total_s", "logdir"),
}


def word(value: Any) -> str:
    """A status in our words."""
    word = re.sub(r"[\s-]+", "_", str(value).strip().lower().removeprefix("trialstate."))
    return SAME.get(word, word)


def recognised(table: Table) -> list[str]:
    """The layouts that the table has."""
    return [name for name, columns in LAYOUTS.items() if set(columns) <= set(table.names)]


def theirs(table: Table) -> dict[str, str]:
    """Columns by their names as ours are written, `Batch Size` as batch_size; a single letter may
    be another's, such as M."""
    return {
        re.sub(r"[\s-]+", "_", name.strip().lower()) if len(name) > 1 else name: name
        for name in table.names
    }


def reported(table: Table, given: dict[str, str]) -> dict[str, str]:
    """Which columns tell a run and a place in it, where its rows are the reports of one training:
    no two at a place, all with one learning rate and batch size."""
    named = theirs(table)
    settings = [given.get(name) or named.get(name) for name in ("lr", "batch_size")]
    if None in settings or "report" in {*given, *named}:
        return {}
    for run in [given["trial_id"]] if "trial_id" in given else map(named.get, RUNS):
        for place in map(named.get, PLACES):
            if run is None or place is None:
                continue
            columns = [Expression.parse(name, table) for name in (run, place, *settings) if name]
            rows = [tuple(str(each.value(row)) for each in columns) for row in table.rows]
            runs = {row[0] for row in rows}
            if len({row[:2] for row in rows}) < len(rows) or len(runs) == len(rows):
                continue
            if len({(row[0], *row[2:]) for row in rows}) == len(runs):
                table.notes.append(f"the rows of a {run} are its reports, in the order of {place}")
                return {"trial_id": run, "report": place}
    return {}


def ended_by_scheduler(trials: pd.DataFrame, table: Table) -> pd.DataFrame:
    """Ray writes `done` into the last report of a trial that a scheduler ends, not into that of a
    function that returned: those ended before the longest were stopped."""
    if not {"done", "training_iteration"} <= set(table.names) or "report" not in trials:
        return trials
    done = pd.Series([str(row.get("done")).lower() == "true" for row in table.rows], table.numbers)
    early = done[trials.index] & trials["report"].lt(trials["report"].max())
    early &= trials["status"].eq("complete")
    if count := int(early.sum()):
        table.notes.append(f"{count} trials that Ray ended before the longest count as stopped")
    return trials.assign(status=trials["status"].mask(early, "stopped"))
