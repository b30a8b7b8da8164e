"""The generalisation gap of the winners, and how it moves with the batch size.

A gap is small where nothing was learnt: so the fit to the training set stands beside it.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike
from scipy import stats  # type: ignore[import-untyped,unused-ignore]

from analysis.data.cells import Cell, series_of
from analysis.data.words import in_brackets, interval, number, wrap
from analysis.fit.laws import LEVEL
from analysis.questions.compare import NAN, winners

GAPS = {"generalization_gap": "accuracy", "loss_gap": "loss"}
UNLIKE = 0.01  # of training accuracy: fits that differ by more have gaps that mean other things
GAP_COLUMNS = (
    "method", "batch_size", "m", "generalization_gap_mean", "generalization_gap_sd",
    "generalization_gap_n", "loss_gap_mean", "loss_gap_sd", "loss_gap_n", "train_accuracy_mean",
    "n_diverged",
)  # fmt: skip
TREND_COLUMNS = (
    "label", "gap", "cells", "tau", "p", "b_from", "b_to", "change", "low", "high",
    "train_accuracy_change",
)  # fmt: skip


def gap_table(cells: Sequence[Cell]) -> pd.DataFrame:
    """One row a cell with the columns `GAP_COLUMNS`: mean, SD (divisor n - 1) and n over seeds.

    `generalization_gap` is train - test accuracy, a fraction; `loss_gap` test - train loss, nats.
    `train_accuracy_mean` tells whether the gaps are those of equally good fits.
    """
    rows = []
    for cell in cells:
        runs = winners(cell)
        row: dict[str, Any] = {"method": cell.method, "batch_size": cell.batch_size, "m": cell.m}
        for gap in GAPS:
            values = runs[gap][runs[gap].abs() < np.inf]
            row |= {
                f"{gap}_mean": values.mean(),
                f"{gap}_sd": values.std(),
                f"{gap}_n": len(values),
            }
        row["train_accuracy_mean"] = runs["train_accuracy"].mean()
        row["n_diverged"] = int(cell.winner_runs["status"].eq("diverged").sum())
        rows.append(row)
    return pd.DataFrame(rows, columns=list(GAP_COLUMNS))


def gap_trends(cells: Sequence[Cell]) -> pd.DataFrame:
    """How the gaps of `gap_table` move with B: a row a series and gap, columns `TREND_COLUMNS`.

    `tau`, `p`: Kendall's tau-b of the cell mean against B, the cells as replicates; the p is exact
    without ties. `change` from the smallest to the largest B with seeds, and its Welch interval:
    over seeds at these two winners, without the luck of the search that found them.
    """
    rows: list[dict[str, Any]] = []
    for label, own in series_of(cells).items():
        table = gap_table(own)
        for gap in GAPS:
            found = table[table[f"{gap}_n"] > 0].sort_values("batch_size")
            row: dict[str, Any] = {"label": label, "gap": gap, "cells": len(found)}
            if len(found) > 1:
                test = stats.kendalltau(found["batch_size"], found[f"{gap}_mean"])
                ends = found.iloc[[0, -1]]
                low, high = welch(*(ends[f"{gap}_{name}"] for name in ("mean", "sd", "n")))
                row |= {"tau": test.statistic, "p": test.pvalue, "low": low, "high": high}
                row["b_from"], row["b_to"] = ends["batch_size"]
                row["change"] = ends[f"{gap}_mean"].diff().iloc[1]
                row["train_accuracy_change"] = ends["train_accuracy_mean"].diff().iloc[1]
            rows.append(row)
    return pd.DataFrame(rows, columns=list(TREND_COLUMNS))


def welch(mean: ArrayLike, sd: ArrayLike, n: ArrayLike) -> tuple[float, float]:
    """Interval of mean[1] - mean[0] with unequal variances; NaN without spread or two seeds."""
    mean, sd, n = np.asarray(mean, float), np.asarray(sd, float), np.asarray(n, float)
    if n.min() < 2 or not sd.max() > 0:
        return NAN, NAN
    variance = sd**2 / n
    df = variance.sum() ** 2 / (variance**2 / (n - 1)).sum()
    half = float(stats.t.ppf((1 + LEVEL) / 2, df) * np.sqrt(variance.sum()))
    change = float(mean[1] - mean[0])
    return change - half, change + half


def gap_lines(trends: pd.DataFrame) -> list[str]:
    """`gap_trends` in words: what a gap is, then a line a series and gap."""
    legend = wrap(
        "Gap: train less test accuracy, or test less train loss, of winners on fresh seeds; its "
        "change with 95 % over seeds; rank correlation with B: Kendall's tau over cells"
    )
    lines = [line for _, row in trends.iterrows() for line in wrap(_trend_words(row), "- ")]
    return legend + lines if trends["cells"].gt(1).any() else lines


def _trend_words(row: pd.Series) -> str:
    head = f"{row['label']}: the gap in {GAPS[str(row['gap'])]}"
    if row["cells"] < 2:
        return f"{head}: insufficient, cells with seeds: {row['cells']}"
    scale, unit = (100.0, "points") if row["gap"] == "generalization_gap" else (1.0, "nats")
    change, low, high = (row[name] * scale for name in ("change", "low", "high"))
    said = f"{head} changes by {change:+.2f} {unit} {interval(low, high)} "
    said += f"from B={row['b_from']:.0f} to {row['b_to']:.0f}; rank correlation with B "
    said += f"{number(row['tau'], None)}"
    said += in_brackets(row["p"], f"{row['cells']} cells")
    return f"{said}; {fits}" if (fits := _fit_words(row)) else said


def _fit_words(row: pd.Series) -> str:
    """What unlike fits to the training set do to a gap; "" where they are alike or not known."""
    fit = row["train_accuracy_change"]
    if not abs(fit) > UNLIKE:
        return ""
    moves, fits, not_ = ("shrinks", "worse", "better") if fit < 0 else ("grows", "better", "worse")
    said = f"the larger batches fit the training set {fits} ({fit * 100:+.1f} points of training "
    said += "accuracy)"
    shown = row["high"] < 0 if fit < 0 else row["low"] > 0
    test = fit - row["change"]  # as the gap in accuracy is train less test
    if shown and row["gap"] == "loss_gap":
        return f"it {moves} as {said}"
    # Only where test accuracy went the same way is all of the change due to the fit.
    if shown and test * fit >= 0:
        said += f", not because they generalise {not_} ({test * 100:+.1f} of test accuracy)"
        return f"it {moves} because {said}"
    return f"{said}, so that these gaps cannot be compared"
