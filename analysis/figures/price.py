"""What it costs: steps to a target, time, throughput, SAM's overhead and memory against B."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd

from analysis.data.cells import complete, series_of
from analysis.data.rows import by, rows
from analysis.figures.grammar import Axis, Figure, Panel, figure, polyline, sizes_axis
from analysis.figures.quality import joined
from analysis.questions.answers import Answers
from trainables.spec.roles import base_of, is_plain

COST_COLUMNS = ("label", "method", "batch_size", "m", "step_seconds", "images_per_second",
                "overhead", "peak_memory", "n")  # fmt: skip
COSTS = {
    "step_seconds": ("time a step", "ms", 1e3, 10),
    "images_per_second": ("throughput", "images/s", 1.0, 10),
    "overhead": ("time over the plain step's", "ratio", 1.0, 0),
    "peak_memory": ("peak memory", "MiB", 2.0**-20, 0),
}


def steps_to_target(found: Answers, order: Mapping[str, int]) -> Figure:
    """Steps to each target against B with S_min (1 + B_crit / B) and perfect scaling."""
    panels, marks, lines = {}, [], []
    fits = {(each.label, each.target): each.law for each in found.steps.fits}
    sizes = sorted({cell.batch_size for cell in found.cells})
    for target, table in by(found.steps.table, "target"):
        key = f"{target * 100:.1f} %"
        panels[key] = Panel(f"to {key} in validation", sizes_axis(sizes), Axis("steps", 10))
        for row in rows(table[table["n_reached"] > 0]):
            early = row["n_before_first"] > 0
            marks.append({
                "panel": key, "group": row["label"], "x": row["batch_size"],
                "y": row["steps_high"] if early else row["steps"], "side": -1 if early else 0,
                "sign": "dot" if row["used"] else "ring",
                "says": f"{row['label']}, B={row['batch_size']}\n{row['steps']:.4g} steps\n"
                f"{row['n_reached']} of {row['n_seeds']} seeds reach {key}",
            })  # fmt: skip
        for label in dict.fromkeys(table["label"]):
            law, own = fits[label, target], table[table["label"].eq(label) & table["used"]]
            x = np.geomspace(sizes[0], sizes[-1], 40)
            if law.k > 2:
                lines += polyline(key, label, "fit", x, law.s_min.value + law.e_min.value / x)
            if len(own) and label == table["label"].iloc[0]:
                first = own.sort_values("batch_size").iloc[0]
                ideal = first["steps"] * first["batch_size"] / np.array([x[0], x[-1]])
                lines += polyline(key, "", "guide", [x[0], x[-1]], ideal)
    return figure(
        "steps_to_target", "Steps to a target against batch size",
        "Geometric mean over the fresh seeds that reached it. Lines: S_min (1 + B_crit/B). Dotted: "
        "perfect scaling. Schedules end with the budget, so these are upper bounds.",
        panels, order, marks=marks, lines=lines,
        signs={"ring": "not reached by all seeds: not in the fit"}, kinds={"guide": "∝ 1/B"},
    )  # fmt: skip


def cost_table(found: Answers) -> pd.DataFrame:
    """One row a cell of a series (COST_COLUMNS): medians over the winner's completed fresh seeds.

    step_seconds; images_per_second; overhead : step_seconds over the plain optimizer's at that B;
    peak_memory : bytes; n : seeds.
    """
    made, costs = [], {cell.key: _cost(complete(cell.winner_runs)) for cell in found.cells}
    for label, own in series_of(found.cells).items():
        for cell in own:
            cost = costs[cell.key]
            plain = costs.get((base_of(cell.method), cell.batch_size, cell.batch_size), {})
            base = np.nan if is_plain(cell.method) else plain.get("step_seconds", np.nan)
            made.append([label, *cell.key, cost["step_seconds"], cost["images_per_second"],
                         cost["step_seconds"] / base, cost["peak_memory"], cost["n"]])  # fmt: skip
    return pd.DataFrame(made, columns=list(COST_COLUMNS))


def cost_vs_batch_size(found: Answers, order: Mapping[str, int]) -> Figure:
    """Step time, throughput, SAM's overhead and memory."""
    table, marks, bounds = cost_table(found), [], []
    sizes = sizes_axis(cell.batch_size for cell in found.cells)
    most = (table["peak_memory"].max() or 0.0) * COSTS["peak_memory"][2]
    limits = {"peak_memory": (0.0, 1.15 * most)} if most > 0 else {}
    panels = {key: Panel(title, sizes, Axis(unit, log, limits=limits.get(key)))
              for key, (title, unit, _, log) in COSTS.items()}  # fmt: skip
    for key, (title, unit, scale, _) in COSTS.items():
        for row in rows(table[table[key] > 0]):
            value = row[key] * scale
            marks.append({
                "panel": key, "group": row["label"], "x": row["batch_size"], "y": value,
                "says": f"{row['label']}, B={row['batch_size']}\n{title}: {value:.4g} {unit}",
            })  # fmt: skip
    if (table["overhead"] > 0).any():
        bounds = [{"panel": "overhead", "at": 2.0, "says": "two gradients a step"}]
    return figure(
        "cost_vs_batch_size", "Time and memory against batch size",
        "Medians over the winners' fresh seeds, as timed while the study ran, with other trials "
        "beside them: read ratios, not seconds.",
        panels, order, marks=marks, lines=joined(marks), bounds=bounds,
    )  # fmt: skip


def _cost(runs: pd.DataFrame) -> dict[str, Any]:
    seconds = runs["seconds"].where(runs["seconds"] > 0)
    return {
        "step_seconds": (seconds / runs["steps"]).median(),
        "images_per_second": (runs["samples"] / seconds).median(),
        "peak_memory": runs["peak_memory"].median(),
        "n": len(runs),
    }
