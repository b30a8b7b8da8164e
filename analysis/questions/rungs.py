"""The rungs of ASHA, and whether their ranks last to the end: the controls, which ASHA never stops,
tell it.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from scipy import stats  # type: ignore[import-untyped,unused-ignore]

from analysis.data.cells import Cell
from analysis.data.study import Study
from analysis.data.words import interval, number, wrap
from analysis.fit.laws import LEVEL
from trainables.spec.ladder import Ladder

REPORTS, WARMUP = 9, 0.1  # what a configuration that does not say so used
MIN_CONTROLS = 10
DRAWS = 2000
ALL = "all methods"
TAU_COLUMNS = ["method", "report", "tau", "low", "high", "controls", "pairs", "cells", "alone",
               "diverged", "verdict"]  # fmt: skip


def rungs(config: Mapping[str, Any]) -> tuple[int, ...]:
    """Reports at which ASHA may stop a trial, ascending."""
    if config.get("foreign"):  # nobody knows of any
        return ()
    warmup = config.get("warmup")
    warmup = WARMUP if warmup is None else float(warmup)
    return Ladder.build(total_reports(config), warmup).rungs


def rank_correlations(study: Study, cells: Sequence[Cell]) -> pd.DataFrame:
    """Kendall's tau-b of the controls' scores at each rung with their final ones (TAU_COLUMNS).

    A row for `ALL` and one for each method, at every rung. Only pairs of one cell are compared, and
    counts are summed over cells: tau = (C - D) / ((P - T_rung) (P - T_end))^1/2 of C concordant and
    D discordant of P `pairs`, T of them tied. low, high: 95 % by a percentile bootstrap over the
    `cells` that have pairs, which is too narrow where these are few; NaN for less than two.
    controls: those in these cells; alone: other controls, the only ones of their cells. Diverged
    controls, `diverged` of them, rank last at the rung too, also where they diverged after it.
    verdict: "insufficient" under `MIN_CONTROLS` controls, else "sufficient".
    """
    methods = list(dict.fromkeys(cell.method for cell in cells))
    rows = []
    for rung in rungs(study.config):
        scores = at_rung(study, rung, "score")
        counts = np.array([_counts(cell, scores) for cell in cells]).reshape(-1, 6)
        for method in (ALL, *methods):
            own = np.array([method in (ALL, cell.method) for cell in cells], bool)
            rows.append([method, rung, *_pooled(counts[own])])
    return pd.DataFrame(rows, columns=TAU_COLUMNS)


def total_reports(config: Mapping[str, Any]) -> int:
    """How often a whole training reports."""
    return int(config.get("reports") or REPORTS)


def at_rung(study: Study, report: int, name: str) -> pd.Series:
    """A column of all trials' reports number `report`, by trial id; NaN where not written."""
    table = study.reports.reindex(columns=["trial_id", "report", name])
    at = table[pd.to_numeric(table["report"], errors="coerce").eq(report)]
    own = at.drop_duplicates("trial_id", keep="last").set_index("trial_id")[name]
    return pd.to_numeric(own, errors="coerce").astype(float)


def rung_lines(correlations: pd.DataFrame, reports: int) -> list[str]:
    """A line a rung on the ranks of all methods, then of each; `reports` of a whole training."""
    lines = []
    for _, own in correlations.groupby("report"):
        pooled = own["method"].eq(ALL)
        lines += wrap(_tau_words(own[pooled].iloc[0], own[~pooled], reports), "- ")
    return lines


def _counts(cell: Cell, scores: pd.Series) -> list[Any]:
    """Controls, pairs, C - D, P - T_rung, P - T_end and diverged controls of a cell."""
    trials = cell.trials[cell.trials["phase"].eq("control")]
    failed = trials["status"].eq("diverged").to_numpy(bool)
    ended = failed | trials["status"].eq("complete").to_numpy(bool)
    values = [trials["trial_id"].map(scores).astype(float), trials["score"]]
    rung, end = (np.where(failed, -np.inf, column.to_numpy(float)) for column in values)
    known = ended & ~np.isnan(rung) & ~np.isnan(end)
    # Ranks, since the difference of two infinities is none.
    x, y = (stats.rankdata(column[known]) for column in (rung, end))
    first, second = np.triu_indices(len(x), 1)
    dx, dy = np.sign(x[first] - x[second]), np.sign(y[first] - y[second])
    tied = [np.count_nonzero(d) for d in (dx, dy)]
    return [len(x), len(dx), int(dx @ dy), *tied, int((failed & known).sum())]


def _pooled(counts: np.ndarray) -> list[Any]:
    """TAU_COLUMNS from tau on, of the cells with the given `_counts`, shape (cells, 6)."""
    alone = int((counts[:, 0] == 1).sum())
    own = counts[counts[:, 1] > 0]
    controls, pairs, diverged = (int(own[:, i].sum()) for i in (0, 1, 5))
    low = high = np.nan
    if len(own) > 1:
        draws = np.random.default_rng(0).integers(len(own), size=(DRAWS, len(own)))
        taus = _tau(own[draws].sum(axis=1))
        if np.isfinite(taus).any():
            low, high = np.nanquantile(taus, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    verdict = "sufficient" if controls >= MIN_CONTROLS else "insufficient"
    tau = float(_tau(own.sum(axis=0)[None])[0])
    return [tau, low, high, controls, pairs, len(own), alone, diverged, verdict]


def _tau(counts: np.ndarray) -> np.ndarray:
    """tau-b of summed `_counts`, shape (..., 6); NaN where one side is tied throughout."""
    untied = np.sqrt(counts[..., 3].astype(float) * counts[..., 4])
    return np.divide(counts[..., 2], untied, out=np.full(untied.shape, np.nan), where=untied > 0)


def _tau_words(row: pd.Series, methods: pd.DataFrame, reports: int) -> str:
    head = f"report {row['report']} of {reports}: "
    if row["verdict"] == "insufficient":
        said = f"{head}rank correlation with the end insufficient, {row['controls']} controls share"
        return f"{said} a cell with another ({row['alone']} more are the only ones of theirs)"
    said = f"{head}Kendall's tau with the end {number(row['tau'], None)} "
    said += f"{interval(row['low'], row['high'])}, {row['controls']} controls in {row['cells']} "
    said += f"cells, {row['pairs']} pairs"
    said += f", {row['diverged']} diverged and ranked last at both" if row["diverged"] else ""
    known = methods[methods["verdict"].eq("sufficient")]
    each = [f"{own['method']} {number(own['tau'], None)}" for _, own in known.iterrows()]
    few = [own["method"] for _, own in methods.iterrows() if own["verdict"] == "insufficient"]
    return "; ".join([said, *each, *([f"insufficient: {', '.join(few)}"] if few else [])])
