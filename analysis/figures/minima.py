"""How sharp the winners' minima are: against the batch size, against the gap, and along lines."""

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import pandas as pd

from analysis.data.cells import labels
from analysis.data.load import landscape
from analysis.data.rows import by, rows
from analysis.data.words import in_brackets
from analysis.figures.grammar import Axis, Figure, Panel, figure, polyline, sizes_axis
from analysis.figures.quality import joined
from analysis.questions.answers import Answers
from analysis.questions.flatness import verdicts
from trainables.spec.columns import MEASURES


def sharpness_vs_batch_size(found: Answers, order: Mapping[str, int]) -> Figure:
    """A panel a measure: mean ± SD over seeds at the winners' minima."""
    panels, marks = {}, []
    names = labels(found.cells)
    table = found.sharpness[found.sharpness["n"] > 0] if len(found.sharpness) else found.sharpness
    for measure, own in by(table, "measure"):
        log = bool((own["mean"] > 0).all())
        y = Axis(MEASURES[measure].title, 10 if log else 0)
        panels[measure] = Panel("", sizes_axis(c.batch_size for c in found.cells), y)
        for row in rows(own):
            low, high = row["mean"] - row["sd"], row["mean"] + row["sd"]
            marks.append({
                "panel": measure, "group": names[row["method"], row["batch_size"], row["m"]],
                "x": row["batch_size"], "y": row["mean"],
                "low": max(low, row["mean"] / 30) if log else low, "high": high,
                "says": f"{row['method']}, B={row['batch_size']}\n{measure} {row['mean']:.3g}"
                f" ± {row['sd']:.2g}\n{row['n']} seeds",
            })  # fmt: skip
    return figure(
        "sharpness_vs_batch_size", "Sharpness against batch size",
        f"Mean ± SD over fresh seeds at the winners' minima ({_level(found)}). Each winner has its "
        "own learning rate, and sharpness follows that too.",
        panels, order, marks=marks, lines=joined(marks),
    )  # fmt: skip


def sharpness_vs_gap(found: Answers, order: Mapping[str, int]) -> Figure:
    """A panel a measure: each minimum's sharpness and its generalisation gap."""
    panels, marks = {}, []
    names = labels(found.cells)
    judged = verdicts(found.associations) if len(found.associations) else pd.DataFrame()
    trials = found.minima.trials
    for measure in found.minima.measures:
        own = trials[trials[measure].notna() & trials["generalization_gap"].notna()]
        log = bool((own[measure] > 0).all())
        y = Axis(MEASURES[measure].title, 10 if log else 0)
        panels[measure] = Panel(_tau(judged, measure), y, Axis("gap (points)"))
        marks += [
            {"panel": measure, "group": names[row["method"], row["batch_size"], row["m"]],
             "x": row[measure], "y": row["generalization_gap"] * 100, "trial": row["trial_id"],
             "says": f"{measure} {row[measure]:.3g}, gap {row['generalization_gap'] * 100:.2f}"}
            for row in rows(own)
        ]  # fmt: skip
    return figure(
        "sharpness_vs_gap", "Sharpness against generalisation gap",
        f"One mark a confirmed minimum ({_level(found)}). τ: Kendall's rank correlation among "
        "cells of one batch size with the learning rate controlled for, p by Holm. Over all batch "
        "sizes both axes move with B and LR.",
        panels, order, marks=marks,
    )  # fmt: skip


def landscapes(found: Answers, order: Mapping[str, int]) -> Iterator[Figure]:
    """Loss along random slices through the minima, and along lines between minima."""
    points, names = landscape(found.study), labels(found.cells)
    own = [(t, names[c.key], c.batch_size) for c in found.cells for t in c.trials["trial_id"]]
    trials = pd.DataFrame(own, columns=["trial_id", "label", "batch_size"]).set_index("trial_id")
    points = points.join(trials, on="trial_id").join(trials.add_suffix("_other"), on="other")
    points = points[points["label"].notna()]
    panels, lines = {}, []
    for (size, label, name), at in by(points[points["kind"] == "slice"], "batch_size", "label",
                                      "trial_id"):  # fmt: skip
        key = f"B={size:.0f}"
        panels[key] = Panel(key, Axis("share of the filters' norms"), Axis("training loss", 10))
        lines += polyline(key, label, "path", at["alpha"], at["train_loss"], name)
    yield figure(
        "landscape_slices", "Slices through the minima",
        "Training loss along one filter-normalised random direction (Li et al. 2018) from each "
        "confirmed minimum; a line a seed.", panels, order, lines=lines,
    )  # fmt: skip
    between = points[points["kind"].eq("line") & points["label_other"].notna()]
    panels, lines = {}, []
    for (name, other), at in by(between, "trial_id", "other"):
        key = _between(rows(at)[0])
        panels[key] = Panel(key, Axis("share of the way"), Axis("loss", 10))
        for split in ("train", "test"):
            lines += polyline(key, f"{split} loss", "path", at["alpha"], at[f"{split}_loss"],
                              f"{name} {other} {split}")  # fmt: skip
    ends = [{"panel": key, "axis": "x", "at": end} for key in panels for end in (0.0, 1.0)]
    yield figure(
        "landscape_lines", "Straight lines between minima",
        "Loss along the straight line from one minimum, at 0, to another of the same seed, at 1, "
        "and beyond; a line a seed. Without a barrier between them both lie in one basin.",
        panels, {"train loss": 0, "test loss": 1}, lines=lines, bounds=ends,
    )  # fmt: skip


def _between(row: dict[str, Any]) -> str:
    if row["label"] == row["label_other"]:
        return f"{row['label']}: B={row['batch_size']:.0f} to {row['batch_size_other']:.0f}"
    return f"B={row['batch_size']:.0f}: {row['label']} to {row['label_other']}"


def _tau(judged: pd.DataFrame, measure: str) -> str:
    if judged.empty:
        return ""
    own = judged[judged["measure"].eq(measure) & judged["target"].eq("generalization_gap")]
    if own.empty or not np.isfinite(own["tau"].iloc[0]):
        return ""
    return f"τ {own['tau'].iloc[0]:+.2f}{in_brackets(own['p_holm'].iloc[0])}"


def _level(found: Answers) -> str:
    return f"level {found.minima.level}, {found.minima.images} training images"
