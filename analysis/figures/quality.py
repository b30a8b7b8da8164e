"""Accuracy, generalisation gap and B x m: what the winners are worth, against the batch size."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import pandas as pd

from analysis.data.cells import Cell, series_of
from analysis.figures.grammar import Axis, Figure, Panel, figure, polyline, sizes_axis
from analysis.questions.answers import Answers
from analysis.questions.compare import winners
from trainables.spec.roles import is_plain

SPREAD = "Mean ± SD over fresh seeds of each cell's winner."


def accuracy_vs_batch_size(found: Answers, order: Mapping[str, int]) -> Figure:
    """Test accuracy of the winners."""
    marks = list(_marks(found.cells, "test_accuracy", "accuracy", 100, "test accuracy"))
    panels = {"accuracy": Panel("", _sizes(found.cells), Axis("test accuracy (%)"))}
    return _joined("accuracy_vs_batch_size", "Test accuracy against batch size",
                   f"{SPREAD} ×: all seeds diverged.", panels, marks, order)  # fmt: skip


def gap_vs_batch_size(found: Answers, order: Mapping[str, int]) -> Figure:
    """The generalisation gap in accuracy and in loss, with the fit to the training set beside."""
    kinds = {
        "gap": ("generalization_gap", 100, "train − test accuracy", "points"),
        "loss": ("loss_gap", 1, "test − train loss", "nats"),
        "fit": ("train_accuracy", 100, "training accuracy", "%"),
    }
    marks = [m for key, (column, scale, words, _) in kinds.items()
             for m in _marks(found.cells, column, key, scale, words)]  # fmt: skip
    panels = {key: Panel(words, _sizes(found.cells), Axis(unit))
              for key, (_, _, words, unit) in kinds.items()}  # fmt: skip
    return _joined(
        "gap_vs_batch_size", "Generalisation gap against batch size",
        f"{SPREAD} A gap is small also where little was learnt: see training accuracy.",
        panels, marks, order,
    )  # fmt: skip


def batch_size_and_m(found: Answers, order: Mapping[str, int]) -> Figure:
    """Test accuracy against m, a line a batch size: is it the large batch or the large m?"""
    panels, marks = {}, []
    every = sorted({cell.batch_size for cell in found.cells})
    groups = {f"B={size}": i for i, size in enumerate(every)}
    several = {
        method
        for method in dict.fromkeys(cell.method for cell in found.cells)
        for size in every
        if sum(c.method == method and c.batch_size == size for c in found.cells) > 1
    }
    for cell in found.cells:
        if cell.method not in several:
            continue
        runs = winners(cell)["test_accuracy"].dropna() * 100
        own = [c.m for c in found.cells if c.method == cell.method]
        panels[cell.method] = Panel(cell.method, sizes_axis(own, "m"), Axis("test accuracy (%)"))
        if len(runs):
            group = f"B={cell.batch_size}"
            marks.append(_mark(cell, runs, cell.method, "test accuracy")
                         | {"group": group, "x": cell.m})  # fmt: skip
    return figure(
        "batch_size_and_m", "Large batch or large m",
        f"Test accuracy against m, the images that share a perturbation. {SPREAD}",
        panels, groups, marks=marks, lines=joined(marks),
    )  # fmt: skip


def _joined(
    name: str, title: str, caption: str, panels: Mapping[str, Panel],
    marks: Sequence[dict[str, Any]], order: Mapping[str, int],
) -> Figure:  # fmt: skip
    """A line through the marks of each group."""
    return figure(name, title, caption, panels, order, marks=marks, lines=joined(marks),
                  signs={"cross": "all seeds diverged"})  # fmt: skip


def joined(marks: Sequence[dict[str, Any]], kind: str = "path") -> list[dict[str, Any]]:
    """Lines through the marks of each panel and group, in the order of x."""
    places = dict.fromkeys((mark["panel"], mark["group"]) for mark in marks)
    lines = []
    for panel, group in places:
        own = sorted((m["x"], m["y"]) for m in marks if (m["panel"], m["group"]) == (panel, group))
        lines += polyline(panel, group, kind, *zip(*own, strict=True))
    return lines


def _sizes(cells: Sequence[Cell]) -> Axis:
    return sizes_axis(cell.batch_size for cell in cells)


def _marks(
    cells: Sequence[Cell], column: str, panel: str, scale: float, words: str
) -> Iterator[dict[str, Any]]:
    for label, own in series_of(cells).items():
        for cell in own:
            values = winners(cell)[column].dropna() * scale
            diverged = int(cell.winner_runs["status"].eq("diverged").sum())
            if len(values) or diverged:
                yield _mark(cell, values, panel, words, diverged) | {"group": label}


def _mark(
    cell: Cell, values: pd.Series, panel: str, words: str, diverged: int = 0
) -> dict[str, Any]:
    mean, sd = values.mean(), values.std()
    lost = f", {diverged} more diverged" if diverged else ""
    own_m = "" if is_plain(cell.method) or cell.m == cell.batch_size else f", m={cell.m}"
    around = f" ± {sd:.3g}" if sd == sd else ""
    return {
        "panel": panel, "x": cell.batch_size, "y": mean, "low": mean - sd, "high": mean + sd,
        "sign": "dot" if len(values) else "cross",
        "says": f"{cell.method}, B={cell.batch_size}{own_m}\n{words} {mean:.4g}{around}\n"
        f"{len(values)} seeds{lost}",
    }  # fmt: skip
