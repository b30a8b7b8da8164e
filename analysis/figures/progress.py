"""How training went: the winners' learning curves, and how many trials outlived each rung."""

from collections.abc import Mapping

import numpy as np
import pandas as pd

from analysis.data.cells import Cell, series_of
from analysis.data.rows import by, rows
from analysis.figures.grammar import Axis, Figure, Panel, figure, polyline
from analysis.questions.answers import Answers
from analysis.questions.rungs import rungs, total_reports
from analysis.questions.steps import winner_curves

SURVIVAL_COLUMNS = ("label", "report", "alive", "stopped", "diverged", "trials")


def learning_curves(found: Answers, order: Mapping[str, int]) -> Figure:
    """Validation accuracy of the winners against images seen, a panel a batch size."""
    panels, lines, marks = {}, [], []
    curves = winner_curves(found.study, found.cells)
    for label, own in series_of(found.cells).items():
        for cell in own:
            key = f"B={cell.batch_size}"
            panels[key] = Panel(key, Axis("images seen (thousands)"), Axis("validation acc. (%)"))
            for curve in curves[cell.key]:
                points = curve.points
                x, y = points["samples"] / 1000, points["val_accuracy"] * 100
                lines += polyline(key, label, "path", x, y, curve.trial_id)
                if len(points):
                    marks.append({
                        "panel": key, "group": label, "x": float(x.iloc[-1]), "trial":
                        curve.trial_id, "y": np.nan if curve.diverged else float(y.iloc[-1]),
                        "sign": "cross" if curve.diverged else "dot",
                    })  # fmt: skip
    return figure(
        "learning_curves", "Learning curves of the winners",
        "Validation accuracy, a line a fresh seed; equal images seen are equal epochs, so that "
        "batch sizes can be compared.",
        panels, order, marks=marks, lines=lines, signs={"cross": "diverged"},
    )  # fmt: skip


def survival_table(found: Answers) -> pd.DataFrame:
    """Search trials alive after each report, a row a series and report (SURVIVAL_COLUMNS).

    alive : the share of the `trials`, controls left out, that ended no earlier than there; stopped
    by ASHA and diverged by then are the rest. Trials still running are left out.
    """
    total = total_reports(found.study.config)
    reports = found.study.reports.reindex(columns=["trial_id", "report"])
    last = pd.to_numeric(reports["report"]).groupby(reports["trial_id"]).max()
    made = []
    for label, own in series_of(found.cells).items():
        trials = pd.concat([_searched(cell) for cell in own])
        ended = last.reindex(trials["trial_id"]).set_axis(trials.index)
        trials, ended = trials[ended.notna()], ended.dropna()
        for report in range(1, total + 1):
            gone, count = trials[(ended <= report).to_numpy()], len(trials)
            stopped, diverged = (len(gone[gone["status"] == s]) for s in ("stopped", "diverged"))
            alive = (count - stopped - diverged) / count if count else np.nan
            made.append([label, report, alive, stopped, diverged, count])
    return pd.DataFrame(made, columns=list(SURVIVAL_COLUMNS))


def rung_survival(found: Answers, order: Mapping[str, int]) -> Figure:
    """The share of search trials that outlived each report."""
    table, lines, marks = survival_table(found), [], []
    for label, own in by(table[table["trials"] > 0], "label"):
        x, alive = [0, *own["report"]], [100.0, *(own["alive"] * 100)]
        lines += polyline("all", label, "path", np.repeat(x, 2)[1:],
                          np.repeat(alive, 2)[:-1])  # fmt: skip
        marks += [
            {"panel": "all", "group": label, "x": row["report"], "y": row["alive"] * 100,
             "says": f"{label}, after report {row['report']}\n{row['alive'] * 100:.0f} % of "
             f"{row['trials']} alive\n{row['stopped']} stopped, {row['diverged']} diverged"}
            for row in rows(own)
        ]  # fmt: skip
    total = total_reports(found.study.config)
    asha = found.study.config.get("scheduler") == "asha"
    at = rungs(found.study.config) if asha else ()
    ticks = tuple(map(float, range(0, total + 1)))
    y = Axis("search trials alive (%)", limits=(0.0, 104.0))
    return figure(
        "rung_survival", "What ASHA left alive",
        "Search trials, controls left out, that were neither stopped nor diverged by each report. "
        "Dashed: the rungs.",
        {"all": Panel("", Axis("report", ticks=ticks), y)}, order, marks=marks, lines=lines,
        bounds=[{"panel": "all", "axis": "x", "at": float(rung)} for rung in at],
    )  # fmt: skip


def _searched(cell: Cell) -> pd.DataFrame:
    trials = cell.search
    return trials[trials["phase"].eq("search")]
