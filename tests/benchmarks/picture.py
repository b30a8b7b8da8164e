"""The step's table as a picture: what SAM costs over the plain step, and beside the peer's."""

from pathlib import Path
from typing import Any

from analysis.figures import ink
from analysis.figures.grammar import Axis, Panel, figure, polyline, sizes_axis

SHOWN = {  # title, and the ratio to compare with
    "SAM gain": ("their SAM step over ours", 1.0),
    "SAM/plain": ("our SAM step over plain", 2.0),
    "SAM MiB": ("memory of our SAM step", None),
    "their SAM MiB": ("memory of theirs", None),
}
NETWORKS = ("mlp", "cnn", "pooled", "resnet8")


def draw(rows: list[dict[str, Any]], stem: Path) -> None:
    """STEM.png: ratios with their quartiles, and memory, against the batch size."""
    sizes = sizes_axis(row["B"] for row in rows)
    panels, marks, lines, bounds = {}, [], [], []
    for key, (title, at) in SHOWN.items():
        panels[key] = Panel(title, sizes, Axis("ratio" if at else "MiB", 0 if at else 10))
        if at:
            bounds.append({"panel": key, "axis": "y", "at": at})
        for network in NETWORKS:
            own = [row for row in rows if row["network"] == network and key in row]
            values = [row[key] if at else {"median": row[key]} for row in own]
            y = [value["median"] for value in values]
            lines += polyline(key, network, "path", [row["B"] for row in own], y)
            marks += [
                {"panel": key, "group": network, "x": row["B"], "y": value["median"]} | value
                for row, value in zip(own, values, strict=True)
            ]
    made = figure(
        stem.name, "The step", "Medians over rounds with their quartiles.", panels,
        {network: i for i, network in enumerate(NETWORKS)}, marks=marks, lines=lines, bounds=bounds,
    )  # fmt: skip
    ink.draw(made, stem)
