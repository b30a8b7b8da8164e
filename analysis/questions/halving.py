"""What stopping trials early does to the answer: do the exponents at a rung last to the end? The
reports of all trials tell it, as the controls do of the ranks.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd

from analysis.data.cells import ENDED, Cell, without_tables
from analysis.data.study import Study
from analysis.data.words import align, interval, wrap
from analysis.fit.laws import LAWS, SLOPES, Fit, fit_law
from analysis.fit.optimum import Response, responses
from analysis.fit.scaling import LEAST, Group, groups, series
from analysis.questions.rungs import at_rung, rank_correlations, rung_lines, rungs, total_reports

DRIFT = 0.25  # of an exponent: half of what lies between two rules
OPTIMUM_COLUMNS = ["method", "batch_size", "m", "report", "lr_star", "lr_low", "lr_high", "verdict"]
EXPONENT_COLUMNS = ["label", "method", "m", "report", "exponent", "low", "high", "points", "drift",
                    "verdict"]  # fmt: skip


@dataclass(frozen=True, eq=False)
class Halving:
    """`reports` of a whole training; tables as `rank_correlations`, `rung_optima` and
    `rung_exponents` return them.
    """

    reports: int
    correlations: pd.DataFrame
    optima: pd.DataFrame
    exponents: pd.DataFrame


def halving(study: Study, cells: Sequence[Cell]) -> Halving:
    """All that the rungs tell; of a table none are known."""
    cells = without_tables(study, cells)
    answers = rung_responses(study, cells)
    return Halving(
        total_reports(study.config), rank_correlations(study, cells), rung_optima(answers),
        rung_exponents(study, cells, answers),
    )  # fmt: skip


def at_report(study: Study, cells: Sequence[Cell], report: int) -> list[Cell]:
    """The cells as they would be had every training ended at `report`.

    Trials that reached it are complete with their score there, even if they were stopped or
    diverged later. Those stopped before stay stopped, and are foretold as at the end.
    """
    scores, failed = at_rung(study, report, "score"), at_rung(study, report, "diverged") > 0
    return [replace(cell, trials=_cut(cell.trials, report, scores, failed)) for cell in cells]


def rung_responses(study: Study, cells: Sequence[Cell]) -> dict[int, list[Response]]:
    """By report, each rung and last the end: the answers of all methods had training ended there.

    At a rung the learning rate has not yet decayed, which favours smaller ones than the end does:
    it is the answer at the rung of this schedule, not that of a shorter schedule.
    """
    found = {rung: responses(at_report(study, cells, rung)) for rung in rungs(study.config)}
    return found | {total_reports(study.config): responses(cells)}


def rung_optima(answers: Mapping[int, Sequence[Response]]) -> pd.DataFrame:
    """LR* of every cell at every rung and at the end, as `Optimum` says it (OPTIMUM_COLUMNS)."""
    rows = [
        [o.method, o.batch_size, o.m, report, o.lr_star, o.lr_low, o.lr_high, o.verdict]
        for report, found in answers.items()
        for each in found
        for o in each.optima
    ]
    return pd.DataFrame(rows, columns=OPTIMUM_COLUMNS)


def rung_exponents(
    study: Study, cells: Sequence[Cell], answers: Mapping[int, Sequence[Response]] | None = None
) -> pd.DataFrame:
    """The exponent of LR* against B in every group at every rung and at the end (EXPONENT_COLUMNS).

    `answers`: of `rung_responses`, where they are known. low, high: 95 %, over `points` batch
    sizes. drift: the exponent less the one at the end, NaN there. verdict: "drifts" where the
    intervals exclude each other, or where |drift| > `DRIFT` and the rung's interval excludes the
    exponent at the end; else "no drift shown"; "insufficient" where either has less than `LEAST`
    points; "" at the end. Both come from the same trials, so what they miss is largely shared.
    Read with `rung_responses`: at a rung the schedule of the learning rate has not ended.
    """
    answers = rung_responses(study, cells) if answers is None else answers
    fits = {
        report: {group.label: (group, _power(group)) for group in groups(found)}
        for report, found in answers.items()
    }
    last = fits[max(fits)]
    rows = []
    for label, (group, end) in last.items():
        for report, found in fits.items():
            fit = found[label][1] if label in found else None
            if fit is None:
                continue
            drift, verdict = (np.nan, "") if found is last else _drift(fit, end)
            rows.append([label, group.method, group.m, report, fit.psi, fit.low, fit.high,
                         fit.points, drift, verdict])  # fmt: skip
    return pd.DataFrame(rows, columns=EXPONENT_COLUMNS).astype({"m": "Int64"})


def halving_lines(found: Halving) -> list[str]:
    """Rank correlation, exponents at the rungs, and a warning where they drift; 110 columns."""
    if found.exponents.empty:
        return ["  No cell has rungs that are known."]
    lines = rung_lines(found.correlations, found.reports) + align(_exponent_rows(found))
    drifting = found.exponents[found.exponents["verdict"].eq("drifts")]
    for _, row in drifting.iterrows():
        lines += wrap("warning: " + _warning(row, found))
    caveat = "LR* ~ B^exponent (batch sizes) had training ended at the report, where the learning "
    caveat += "rate has not decayed yet"
    if found.exponents["verdict"].eq("no drift shown").any() and drifting.empty:
        caveat += "; no drift is shown, which does not show that there is none"
    lines += wrap(caveat)
    return lines


def _cut(trials: pd.DataFrame, report: int, scores: pd.Series, failed: pd.Series) -> pd.DataFrame:
    score = trials["trial_id"].map(scores).astype(float)
    reached = score.notna() & trials["status"].isin([*ENDED, "running"])
    there = np.where(trials["trial_id"].map(failed).eq(True), "diverged", "complete")
    status = trials["status"].mask(reached, pd.Series(there, index=trials.index))
    # Ended, but its report is not there: no observation at this report.
    status = status.mask(~reached & trials["status"].eq("complete"), "error")
    before = trials["asha_would_stop_at"].where(trials["asha_would_stop_at"] < report)
    return trials.assign(
        score=score.where(reached, trials["score"]), status=status, asha_would_stop_at=before
    )


def _power(group: Group) -> Fit:
    return fit_law(series(group)[0], LAWS["power"], SLOPES)


def _drift(fit: Fit, end: Fit) -> tuple[float, str]:
    drift = fit.psi - end.psi
    if min(fit.points, end.points) < LEAST:
        return drift, "insufficient"
    apart = fit.low > end.high or fit.high < end.low
    outside = not fit.low <= end.psi <= fit.high
    drifts = apart or (abs(drift) > DRIFT and outside)
    return drift, "drifts" if drifts else "no drift shown"


def _exponent_rows(found: Halving) -> list[list[str]]:
    """Groups down, rungs across: the exponent with its interval and batch sizes."""
    table = found.exponents
    reports = sorted(table["report"].unique())
    rows = [["exponent", *(f"report {r}" if r != found.reports else "end" for r in reports)]]
    for label in dict.fromkeys(table["label"]):
        own = table[table["label"].eq(label)].set_index("report")
        rows.append([label, *(_said(own.loc[r]) if r in own.index else "-" for r in reports)])
    return rows


def _warning(row: pd.Series, found: Halving) -> str:
    own = found.exponents[found.exponents["label"].eq(row["label"])]
    end = own[own["report"].eq(found.reports)].iloc[0]
    said = f"{row['label']}: at report {row['report']} of {found.reports} the exponent is "
    said += f"{row['drift']:+.2f} off the one at the end: ranked there, trials of other learning "
    said += "rates win as B grows"
    if end["low"] <= row["exponent"] <= end["high"]:
        said += "; the interval at the end holds the rung's exponent, so it may be noise"
    return said


def _said(row: pd.Series) -> str:
    if row["points"] < LEAST:
        return f"- ({row['points']})"
    mark = "!" if row["verdict"] == "drifts" else ""
    return f"{row['exponent']:.2f}{mark} {interval(row['low'], row['high'])} ({row['points']})"
