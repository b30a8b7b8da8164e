"""Validation accuracy at equal fit: what the plain winners reach at each training loss."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from analysis.figures.grammar import Axis, Figure, Panel, figure, polyline
from analysis.questions.answers import Answers
from analysis.questions.compensation import Compensation
from analysis.questions.equal_fit import LEAST_LOSS
from analysis.questions.steps import Curve, winner_curves
from trainables.spec.roles import is_plain

ROOM = 0.35  # of what is shown, below the least end of a curve: how training began says little


def accuracy_vs_training_loss(found: Answers, order: Mapping[str, int]) -> Figure:
    """A panel a plain optimizer and a line a batch size, means over fresh seeds by report."""
    plain = [cell for cell in found.cells if is_plain(cell.method)]
    curves = winner_curves(found.study, plain)
    sizes = sorted({cell.batch_size for cell in plain})
    groups = {f"B={size}": i for i, size in enumerate(sizes)}
    panels, lines, marks = {}, [], []
    for method in dict.fromkeys(cell.method for cell in plain):
        own: dict[int, pd.DataFrame] = {}
        for cell in (c for c in plain if c.method == method):
            points = mean_curve(curves[cell.key])
            if points.empty:
                continue
            own[cell.batch_size], group = points, f"B={cell.batch_size}"
            lines += polyline(method, group, "path", points["train_loss"], points["accuracy"])
            loss, end, sd = points[["train_loss", "accuracy", "sd"]].iloc[-1]
            marks.append({
                "panel": method, "group": group, "x": loss, "y": end, "low": end - sd,
                "high": end + sd,
                "says": f"{method}, B={cell.batch_size}\n{end:.2f} % of validation data right at a "
                f"training loss of {loss:.2g}\n{points['seeds'].iloc[-1]:.0f} seeds",
            })  # fmt: skip
        if own:
            panels[method] = _panel(method if len(found.compensations) > 1 else "", own)
    for each in found.compensations:
        lines += _apart(each, marks)
    return figure(
        "accuracy_vs_training_loss", "Validation accuracy at equal fit",
        "Plain winners, mean over fresh seeds (loss: geometric) from report to report, marks with "
        "± SD: the end of training. Lines that lie apart at one training loss generalise unlike at "
        "equal fit; an end further right fits the training set worse. How training began, below, "
        "is cut off.",
        panels, groups, marks=marks, lines=lines,
        kinds={"guide": "generalising worse at equal fit, over seeds"},
    )  # fmt: skip


def _panel(title: str, own: Mapping[int, pd.DataFrame]) -> Panel:
    """As much of the curves as tells their ends apart."""
    ends = [points["accuracy"].iloc[-1] for points in own.values()]
    span = max(max(ends) - min(ends), 1.0)
    low = min(ends) - ROOM * span
    seen = pd.concat([points[points["accuracy"] >= low] for points in own.values()])
    x, top = seen["train_loss"], seen["accuracy"].max()
    return Panel(
        title,
        Axis("training loss (nats; ← fits better)", 10, limits=(x.min() / 1.3, x.max() * 1.3)),
        Axis("validation accuracy (%)", limits=(low, top + 0.1 * span)),
    )


def _apart(each: Compensation, marks: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """From the end of the one that fits worse to the other, at the same training loss."""
    ends = {mark["group"]: mark for mark in marks if mark["panel"] == each.optimizer}
    lines = []
    for (method, size, _), split in each.split.cells.items():
        worse = (
            each.reference.batch_size if split.read == "large batch" and each.reference else size
        )
        end = ends.get(f"B={worse}")
        if end is None or method != each.optimizer or split.read in ("none", "both"):
            continue
        way = (1 if worse == size else -1) * split.generalising.value * 100
        lines += polyline(method, "", "guide", [end["x"]] * 2, [end["y"], end["y"] + way], size)
    return lines


def mean_curve(curves: list[Curve]) -> pd.DataFrame:
    """By report: train_loss (nats, geometric mean), validation accuracy with its sd (%), seeds.

    Of the seeds that completed, with as many reports as the longest.
    """
    done = [curve.points for curve in curves if not curve.diverged]
    done = [points for points in done if (points["train_loss"] >= 0).all()]
    longest = max(map(len, done), default=0)
    done = [points for points in done if len(points) == longest and longest]
    if not done:
        return pd.DataFrame(columns=["train_loss", "accuracy", "sd", "seeds"])
    loss, accuracy = (np.array([points[name].to_numpy(float) for points in done])
                      for name in ("train_loss", "val_accuracy"))  # fmt: skip
    sd = accuracy.std(axis=0, ddof=1) if len(done) > 1 else np.full(longest, np.nan)
    return pd.DataFrame({
        "train_loss": np.exp(np.log(np.maximum(loss, LEAST_LOSS)).mean(axis=0)),
        "accuracy": 100 * accuracy.mean(axis=0), "sd": 100 * sd, "seeds": len(done),
    })  # fmt: skip
