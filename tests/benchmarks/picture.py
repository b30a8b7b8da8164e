"""Tables of speed as pictures: ratios with their quartiles, and memory, against what was varied."""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from analysis.figures import ink
from analysis.figures.grammar import Axis, Panel, figure, polyline, sizes_axis

Rows = list[dict[str, Any]]
NETWORKS = ("mlp", "cnn", "pooled", "resnet8")
TURNS = ", in turns"


@dataclass(frozen=True)
class Shown:
    """A column of a table as a panel; a ratio has a place `at` which it is to be compared."""

    key: str
    title: str
    at: float | None
    x: str = "B"
    label: str = "batch size B"


ON_CPU = (
    Shown("SAM gain", "their SAM step over ours", 1.0),
    Shown("SAM/plain", "our SAM step over plain", 2.0),
    Shown("SAM MiB", "memory of our SAM step", None),
    Shown("their SAM MiB", "memory of theirs", None),
)
ON_GPU = (
    Shown("SAM gain", "their SAM step over ours", 1.0),
    Shown("capture", "uncaptured SAM step over captured", 1.0),
)
SHARED = Shown("gain", "trials together over one", 1.0, "trials", "trials on one GPU")


def on_cpu(steps: Rows, stem: Path) -> None:
    """STEM.png of the step's table."""
    draw([(shown, steps) for shown in ON_CPU], stem)


def on_gpu(steps: Rows, shares: Rows, stem: Path) -> None:
    """STEM.png of the tables of the step on a GPU and of trials that share it."""
    turns = [row | {"network": row["network"] + TURNS} for row in shares if row["service"] == "no"]
    together = [row for row in shares if row["service"] == "yes"]
    draw([*((shown, steps) for shown in ON_GPU), (SHARED, together + turns)], stem)


def draw(panels: Iterable[tuple[Shown, Rows]], stem: Path) -> None:
    groups = (*NETWORKS, *(network + TURNS for network in NETWORKS))
    axes, marks, lines, bounds = {}, [], [], []
    for shown, rows in panels:
        name, at = shown.title, shown.at
        x = sizes_axis((row[shown.x] for row in rows), shown.label)
        axes[name] = Panel(name, x, Axis("ratio" if at else "MiB", 0 if at else 10))
        if at:
            bounds.append({"panel": name, "axis": "y", "at": at})
        for group in groups:
            own = [row for row in rows if row["network"] == group and shown.key in row]
            found = [row[shown.key] for row in own]
            values = [each if isinstance(each, dict) else {"median": each} for each in found]
            y = [value["median"] for value in values]
            lines += polyline(name, group, "path", [row[shown.x] for row in own], y)
            marks += [
                {"panel": name, "group": group, "x": row[shown.x], "y": value["median"]} | value
                for row, value in zip(own, values, strict=True)
            ]
    made = figure(
        stem.name, "Speed", "Medians over rounds with their quartiles.", axes,
        {group: i for i, group in enumerate(groups)}, marks=marks, lines=lines, bounds=bounds,
    )  # fmt: skip
    ink.draw(made, stem)
