"""LR* against batch size in one picture; its numbers are tables first and ink second."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

from analysis.cells import is_plain
from analysis.optimum import Optimum
from analysis.scaling import IN_FIT, RULES, Scaling

# Okabe & Ito: told apart by colour-blind readers; black and yellow left out. Shapes tell again;
# six colours and seven shapes repeat together only after 42 groups.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00")
MARKERS = ("o", "s", "^", "D", "v", "P", "X")
DODGE = 0.13  # octaves between neighbouring groups, so that equal LR* stay apart


@dataclass(frozen=True, eq=False)
class LearningRateFigure:
    """What the figure shows.

    `points`, a row a cell: group, batch_size, lr_star, lr_low, lr_high, verdict, confirmed,
    in_fit. `lines`, a row a group with an exponent: group, exponent, low, high, cells, and the
    ends batch_from, lr_from, batch_to, lr_to. `guides`, the same ends for the laws sqrt and
    linear from the LR* of from_group. `undrawn`: cells without an LR*.
    """

    points: pd.DataFrame
    lines: pd.DataFrame
    guides: pd.DataFrame
    undrawn: int


def learning_rate_figure(scalings: Sequence[Scaling]) -> LearningRateFigure:
    """Compute the figure's tables from the fitted groups."""
    points = pd.DataFrame(
        [
            (each.group.label, best.batch_size, best.lr_star, *_interval(best),
             best.verdict, best.confirmed, best.verdict in IN_FIT)
            for each in scalings
            for best in each.group.optima
        ],
        columns=["group", "batch_size", "lr_star", "lr_low", "lr_high", "verdict", "confirmed",
                 "in_fit"],
    )  # fmt: skip
    drawn = points[points["lr_star"] > 0].reset_index(drop=True)
    lines = pd.DataFrame(
        [
            (each.group.label, each.power.psi, each.power.low, each.power.high, each.points,
             *_ends(each.power.intercept, each.power.psi, *2 ** each.series.x[[0, -1]]))
            for each in scalings
            if each.points >= 2
        ],
        columns=["group", "exponent", "low", "high", "cells",
                 "batch_from", "lr_from", "batch_to", "lr_to"],
    )  # fmt: skip
    return LearningRateFigure(drawn, lines, _guides(drawn), len(points) - len(drawn))


def _interval(best: Optimum) -> tuple[float, float]:
    """The 95 % interval where it has ends."""
    closed = best.lr_low > 0 and np.isfinite(best.lr_high) and best.verdict in IN_FIT
    return (best.lr_low, best.lr_high) if closed else (np.nan, np.nan)


def _ends(intercept: float, slope: float, first: int, last: int) -> tuple[float, ...]:
    ends = ((at, float(2 ** (intercept + slope * np.log2(at)))) for at in (first, last))
    return tuple(value for end in ends for value in end)


def _guides(points: pd.DataFrame) -> pd.DataFrame:
    """The rules of thumb from a plain method's smallest batch on, cut where the data end."""
    names = ["law", "from_group", "batch_from", "lr_from", "batch_to", "lr_to"]
    plain = points[points["group"].map(is_plain).astype(bool)]
    own = plain if len(plain) else points
    own = own[own["group"] == own["group"].iloc[0]] if len(own) else own
    if own.empty or points["batch_size"].nunique() < 2:
        return pd.DataFrame(columns=names)
    group, first, lr = min(
        zip(own["group"], own["batch_size"], own["lr_star"], strict=True), key=lambda at: at[1]
    )
    last, top = float(points["batch_size"].max()), _limits(points)[1]
    rows = []
    for law in ("sqrt", "linear"):
        end = min(last, first * (top / lr) ** (1 / RULES[law]))
        rows.append((law, group, first, lr, end, lr * (end / first) ** RULES[law]))
    return pd.DataFrame(rows, columns=names)


def _limits(points: pd.DataFrame) -> tuple[float, float]:
    values = points[["lr_star", "lr_low", "lr_high"]].to_numpy(float)
    return float(np.nanmin(values) / 2**0.9), float(np.nanmax(values) * 2**0.9)


def draw(figure: LearningRateFigure, path: Path) -> None:
    """Draw the tables to a PNG of 8 x 6 inches."""
    canvas = Figure(figsize=(8, 6), dpi=160, layout="constrained")
    FigureCanvasAgg(canvas)
    axes = canvas.add_subplot()
    axes.set(xlabel="batch size B", ylabel="best learning rate LR*")
    if figure.points.empty:
        axes.text(0.5, 0.5, "no cell has an LR* yet", ha="center", transform=axes.transAxes)
        axes.set(xticks=[], yticks=[])
    else:
        _axes(axes, figure.points)
        groups = list(dict.fromkeys(figure.points["group"]))
        step = min(DODGE, 0.7 / len(groups))  # many groups stay nearer to their own batch size
        shifts = {group: (i - (len(groups) - 1) / 2) * step for i, group in enumerate(groups)}
        _draw_guides(axes, figure.guides, shifts)
        for i, group in enumerate(groups):
            _draw_group(axes, figure, group, i, shifts[group])
        _key(canvas, figure)
    canvas.savefig(path, format="png")


def _axes(axes: Axes, points: pd.DataFrame) -> None:
    sizes = sorted(points["batch_size"].unique())
    low, high = _limits(points)
    axes.set_xscale("log", base=2)
    axes.set_yscale("log", base=2)
    axes.set(xlim=(sizes[0] / 2**0.5, sizes[-1] * 2**0.8), ylim=(low, high))
    octaves = np.arange(np.ceil(np.log2(low)), np.floor(np.log2(high)) + 1)
    octaves = octaves[:: max(1, len(octaves) // 8)]
    for axis, ticks in ((axes.xaxis, sizes[:: 1 + len(sizes) // 13]), (axes.yaxis, 2.0**octaves)):
        axis.set_major_locator(FixedLocator([float(tick) for tick in ticks]))
        axis.set_minor_locator(NullLocator())
        axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:.5g}"))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:.3g}"))
    axes.grid(color="0.92", linewidth=0.8)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)


def _draw_guides(axes: Axes, guides: pd.DataFrame, shifts: dict[str, float]) -> None:
    for row in guides.to_dict("records"):
        ends = np.array([row["batch_from"], row["batch_to"]]) * 2 ** shifts[row["from_group"]]
        axes.plot(ends, [row["lr_from"], row["lr_to"]],
                  color="0.5", linewidth=1, linestyle=(0, (1, 2)), zorder=1)  # fmt: skip
        name = {"sqrt": "√B", "linear": "B"}[row["law"]]
        # Clear of the last batch's dodged points, which a guide cut at the top does not reach.
        clear = 26 if row["batch_to"] == guides["batch_to"].max() else 6
        axes.annotate(f"∝ {name}", (ends[1], row["lr_to"]), (clear, 0), color="0.4",
                      textcoords="offset points", fontsize=9, va="center")  # fmt: skip


def _draw_group(
    axes: Axes, figure: LearningRateFigure, group: str, number: int, shift: float
) -> None:
    colour, marker = _style(number)
    for row in figure.lines[figure.lines["group"] == group].to_dict("records"):
        ends = np.array([row["batch_from"], row["batch_to"]]) * 2**shift
        axes.plot(ends, [row["lr_from"], row["lr_to"]], color=colour, linewidth=1.4, zorder=2)
    for row in figure.points[figure.points["group"] == group].to_dict("records"):
        x, y = row["batch_size"] * 2**shift, row["lr_star"]
        solid = row["in_fit"] and row["confirmed"]
        axes.plot([x, x], [row["lr_low"], row["lr_high"]], color=colour, linewidth=3.5,
                  alpha=0.3, solid_capstyle="butt", zorder=2)  # fmt: skip
        axes.plot(x, y, marker, color=colour, markersize=7, markeredgewidth=1.4,
                  markerfacecolor=colour if solid else "white", zorder=4)  # fmt: skip
        away = {"at_upper": 1, "at_lower": -1}.get(row["verdict"], 0)
        if away:
            axes.annotate("", (x, y), (0, 19 * away), textcoords="offset points", zorder=3,
                          arrowprops={"arrowstyle": "<|-", "color": colour, "linewidth": 1.4,
                                      "shrinkA": 0, "shrinkB": 0})  # fmt: skip
        if row["verdict"] == "stability_edge":
            axes.annotate("×", (x, y), (0, 8), textcoords="offset points", ha="center",
                          va="center", color=colour, fontsize=11, zorder=4)  # fmt: skip


def _key(canvas: Figure, figure: LearningRateFigure) -> None:
    """Above: the groups and their exponents; below: what the signs mean."""
    points, methods = figure.points, []
    slopes = {row["group"]: row for row in figure.lines.to_dict("records")}
    for i, group in enumerate(dict.fromkeys(points["group"])):
        colour, marker = _style(i)
        row, said = slopes.get(group), "no exponent"
        if row is not None:
            known = np.isfinite(row["low"])
            around = f"[{row['low']:.2f}, {row['high']:.2f}]" if known else "(no interval)"
            said = f"{row['exponent']:.2f} {around}, {row['cells']} cells".replace("-", "−")
        methods.append(Line2D([], [], color=colour, marker=marker, linewidth=1.4, markersize=7,
                              label=f"{group}:  {said}"))  # fmt: skip
    canvas.legend(handles=methods, loc="outside upper left", ncols=1 + (len(methods) > 4),
                  title="exponent of B in LR*, 95 % interval with cells as replicates",
                  frameon=False, fontsize=9, title_fontsize=9, alignment="left")  # fmt: skip

    def sign(label: str, marker: str = "none", **style: Any) -> Line2D:
        look: dict[str, Any] = {"linestyle": "none", "markersize": 7, "color": "0.35"} | style
        return Line2D([], [], marker=marker, label=label, **look)

    signs = [sign("95 % interval of LR*", linestyle="-", linewidth=3.5, alpha=0.4)]
    if len(figure.guides):
        start = figure.guides.iloc[0]
        signs.append(sign(f"rules from {start['from_group']}, B={start['batch_from']:.0f}",
                          linestyle=":", color="0.5"))  # fmt: skip
    if not (points["in_fit"] & points["confirmed"]).all():
        signs.append(sign("not in the fit or not confirmed", "o", markerfacecolor="white"))
    if points["verdict"].isin(["at_lower", "at_upper"]).any():
        signs.append(sign("not passed: LR* may lie beyond", "$\\uparrow$"))
    if (points["verdict"] == "stability_edge").any():
        signs.append(sign("bounded by divergence", "x", markersize=5))
    if figure.undrawn:
        signs.append(sign(f"not drawn: {figure.undrawn} cells without LR*"))
    canvas.legend(handles=signs, loc="outside lower left", ncols=3, frameon=False, fontsize=8.5,
                  columnspacing=1.5)  # fmt: skip


def _style(number: int) -> tuple[str, str]:
    return COLOURS[number % len(COLOURS)], MARKERS[number % len(MARKERS)]
