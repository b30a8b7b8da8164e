"""Draws one panel of a figure: its axes, lines, marks with their intervals, and bounds."""

import textwrap
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.patches import Rectangle
from matplotlib.ticker import FixedLocator, FuncFormatter, LogLocator, MaxNLocator, NullLocator
from matplotlib.transforms import blended_transform_factory

from analysis.data.rows import by, rows
from analysis.figures.grammar import Axis, Figure, Panel
from analysis.figures.style import (
    ARROWED,
    DODGE,
    FOOT,
    GRID,
    INK,
    LINE,
    PAPER,
    SHAPES,
    SIZE,
    SOFT,
    SUBS,
    look,
)

Spot = tuple[Axes, Any, float, float, str, str]  # axes, transform, x, y, trial, words


def draw_panel(axes: Axes, figure: Figure, key: str) -> list[Spot]:
    """Draw the panel `key` of a figure; where its marks are."""
    panel = figure.panels[key]
    marks, lines, bounds = (
        t[t["panel"] == key] for t in (figure.marks, figure.lines, figure.bounds)
    )
    small = len(figure.panels) > 1
    axes.set_title(titled(panel, small), loc="left", pad=2)
    _axis(axes, "x", panel.x, small)
    _axis(axes, "y", panel.y, small)
    axes.grid(color=GRID, linewidth=0.5)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
    axes.margins(y=ARROWED if marks["side"].any() else 0.06)
    shifts = _shifts(figure, panel)
    for (group, kind, _), line in by(lines, "group", "kind", "piece"):
        style = look(figure.groups[group]) if group in figure.groups else {"color": INK}
        style.pop("marker", None)
        axes.plot(line["x"] * shifts.get(group, 1.0), line["y"], zorder=2,
                  **(style | LINE[kind]))  # fmt: skip
    found = []
    marks = _held(marks, panel.y.limits)
    for (group, sign), own in by(marks, "group", "sign"):
        found += _marks(axes, figure, own, group, sign, shifts.get(group, 1.0))
    heights = bounds[bounds["axis"] == "y"]["at"].dropna()
    if len(heights) and axes.dataLim.width >= 0:
        axes.update_datalim([(axes.dataLim.x0, height) for height in heights])
    _limit(axes, panel, bool(marks["y"].isna().any()))
    for bound in rows(bounds):
        _bound(axes, figure, bound)
    return found


def _held(marks: pd.DataFrame, limits: tuple[float, float] | None) -> pd.DataFrame:
    """What lies beyond the axis stands at its end, with an arrow."""
    if limits is None:
        return marks
    low, high = limits
    edge = 0.05 * (high - low)
    side = np.select([marks["y"] > high, marks["y"] < low], [1, -1], marks["side"])
    beyond = marks["y"].gt(high) | marks["y"].lt(low)
    held = marks["y"].clip(low + edge, high - edge)
    return marks.assign(y=marks["y"].mask(beyond, held), side=side)


def titled(panel: Panel, small: bool) -> str:
    """The title, broken where the panel is too narrow for it."""
    return textwrap.fill(panel.title, 19 if small else 58)


def _shifts(figure: Figure, panel: Panel) -> dict[str, float]:
    """Groups stand beside each other at a batch size, so that equal values stay apart."""
    if not panel.x.log or not panel.x.ticks or len(figure.groups) < 2:
        return {}
    step = min(DODGE, 0.7 / len(figure.groups))
    middle = (len(figure.groups) - 1) / 2
    return {group: 2 ** ((i - middle) * step) for i, group in enumerate(figure.groups)}


def _axis(axes: Axes, which: str, axis: Axis, small: bool) -> None:
    line = axes.xaxis if which == "x" else axes.yaxis
    line.set_label_text(axis.label, fontsize=6.5 if small else 7)
    line.labelpad = 1.5
    if axis.log:
        getattr(axes, f"set_{which}scale")("log", base=axis.log)
        line.set_major_formatter(FuncFormatter(_short))
    elif small:
        line.set_major_locator(MaxNLocator(4))
    line.set_minor_locator(NullLocator())
    if axis.words:
        line.set_major_locator(FixedLocator(list(axis.ticks)))
        line.set_ticklabels(axis.words, rotation=90 if which == "x" else 0, fontsize=6)
    elif axis.ticks:
        some = axis.ticks[:: -(-len(axis.ticks) // (4 if small else 8))]
        line.set_major_locator(FixedLocator(list(some)))
        line.set_major_formatter(FuncFormatter(lambda value, _: f"{value:.5g}"))


def _short(value: float, _: object = None) -> str:
    """`3e-4`, `0.03`, `500`, `20k` or `3M`: never wider than the room for it."""
    if 0 < value < 0.01:
        digits, power = f"{value:.3e}".split("e")
        return f"{float(digits):g}e{int(power)}"
    for unit, sign in ((1e6, "M"), (1e3, "k")):
        if value >= (unit if sign == "M" else 10 * unit):
            return f"{value / unit:.4g}{sign}"
    return f"{value:.4g}"


def _limit(axes: Axes, panel: Panel, footed: bool) -> None:
    """Room around batch sizes, and what was asked for; from here on nothing moves the limits."""
    if axes.dataLim.width == 0:  # all at one place
        at, y = axes.dataLim.x0, axes.dataLim.y0
        axes.update_datalim(
            [(at / 2, y), (at * 2, y)] if panel.x.log else [(at - 1, y), (at + 1, y)]
        )
    axes.autoscale_view()
    for name, axis in (("x", panel.x), ("y", panel.y)):
        if axis.log and not axis.ticks:
            low, high = axis.limits or getattr(axes, f"get_{name}lim")()
            subs = next(subs for decades, subs in SUBS if np.log10(high / low) >= decades)
            locator = LogLocator(10, subs=subs, numticks=5)
            (axes.xaxis if name == "x" else axes.yaxis).set_major_locator(locator)
    if panel.x.log == 2 and panel.x.ticks:
        axes.set_xlim(panel.x.ticks[0] / 2**0.6, panel.x.ticks[-1] * 2**0.6)
    if panel.x.words:
        axes.set_xlim(panel.x.ticks[0] - 0.6, panel.x.ticks[-1] + 0.6)
    for name, axis in (("x", panel.x), ("y", panel.y)):
        if axis.limits is not None and axis.limits[0] < axis.limits[1]:
            getattr(axes, f"set_{name}lim")(*axis.limits)
    if footed:
        _add_foot(axes)
    axes.autoscale(False)


def _add_foot(axes: Axes) -> None:
    """A strip below all values, so that what stands in it is not read as one."""
    low, high = axes.transScale.transform([(1, y) for y in axes.get_ylim()])[:, 1]
    bottom = (1, low - (high - low) * FOOT / (1 - FOOT))
    axes.set_ylim(bottom=axes.transScale.inverted().transform(bottom)[1])
    axes.add_patch(Rectangle((0, 0), 1, FOOT, transform=axes.transAxes, facecolor=GRID,
                             edgecolor=SOFT, linewidth=0.4, zorder=1.2))  # fmt: skip


def _marks(
    axes: Axes, figure: Figure, own: pd.DataFrame, group: str, sign: str, shift: float
) -> list[Spot]:
    style = look(figure.groups[group]) if group in figure.groups else {"color": SOFT, "marker": "o"}
    colour, shape = style["color"], SHAPES.get(sign, style["marker"])
    x, y = own["x"].to_numpy(float) * shift, own["y"].to_numpy(float)
    low, high = (own[name].to_numpy(float) for name in ("low", "high"))
    spans = np.isfinite(y) & ~(np.isnan(low) | np.isnan(high))
    for at, a, b in zip(x[spans], low[spans], high[spans], strict=True):
        bar = Line2D([at, at], np.clip([a, b], *_reach(axes, y)), color=colour, linewidth=2.2,
                     alpha=0.35, zorder=2, solid_capstyle="butt")  # fmt: skip
        # One without an end is cut at the axes, instead of stretching them.
        (axes.add_line if np.isfinite([a, b]).all() else axes.add_artist)(bar)
    foot = blended_transform_factory(axes.transData, axes.transAxes)
    placed = ((np.isfinite(y), axes.transData, y), (np.isnan(y), foot, np.full(len(y), FOOT / 2)))
    found: list[Spot] = []
    for chosen, transform, heights in placed:
        if not chosen.any():
            continue
        axes.plot(x[chosen], heights[chosen], shape, color=colour, zorder=4, transform=transform,
                  markersize=SIZE * (0.8 if len(own) > 12 else 1), markeredgewidth=0.8,
                  markerfacecolor=PAPER if sign == "ring" else colour, clip_on=False,
                  scaley=transform is axes.transData)  # fmt: skip
        rows = own[chosen]
        found += [(axes, transform, *at) for at in zip(x[chosen], heights[chosen], rows["trial"],
                                                       rows["says"], strict=True)]  # fmt: skip
    for at, value, side in zip(x, y, own["side"], strict=True):
        if side and np.isfinite(value):
            axes.annotate("", (at, value), (0, 10 * side), textcoords="offset points", zorder=3,
                          arrowprops={"arrowstyle": "<|-", "color": colour, "linewidth": 0.8,
                                      "shrinkA": 0, "shrinkB": 0, "mutation_scale": 6})  # fmt: skip
    return found


def _reach(axes: Axes, y: np.ndarray) -> tuple[float, float]:
    """As far as an interval without an end is drawn: past any axis, yet finite."""
    if axes.get_yscale() == "log":
        positive = y[y > 0]
        return (positive.min() / 1e3, positive.max() * 1e3) if len(positive) else (1e-3, 1e3)
    known = y[np.isfinite(y)]
    far = 1e3 * max(1.0, float(np.abs(known).max())) if len(known) else 1e3
    return -far, far


def _bound(axes: Axes, figure: Figure, bound: dict[str, Any]) -> None:
    group = str(bound["group"])
    colour = look(figure.groups[group])["color"] if group in figure.groups else SOFT
    across = bound["axis"] == "y"
    if np.isfinite(bound["at"]):
        line = axes.axhline if across else axes.axvline
        line(bound["at"], color=colour, linewidth=0.8, linestyle=(0, (3, 2)), zorder=1.5)
    limits = axes.get_ylim() if across else axes.get_xlim()
    low, high = (min(max(bound[name], limits[0]), limits[1]) for name in ("low", "high"))
    if low < high:
        band = axes.axhspan if across else axes.axvspan
        band(low, high, linewidth=0, zorder=0.5, color=colour, alpha=0.16)
    if bound["says"] and bound["axis"] == "y" and np.isfinite(bound["at"]):
        axes.annotate(str(bound["says"]), (0, bound["at"]), (2, -1.5), color=SOFT, fontsize=6,
                      xycoords=axes.get_yaxis_transform(), textcoords="offset points",
                      va="top")  # fmt: skip
