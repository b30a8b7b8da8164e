"""Draws any figure of the grammar, once, as PDF, PNG and SVG, and says where its marks came to lie.

The width is that of an IEEE column, which is also that of a phone; fonts are embedded.
"""

import io
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure as Canvas
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.ticker import FixedLocator, FuncFormatter, LogLocator, NullLocator
from matplotlib.transforms import blended_transform_factory

from analysis.figures.grammar import Axis, Figure, Panel

WIDTH = 3.5  # inches: one IEEE column
# Okabe & Ito: told apart by colour-blind readers; black and yellow left out. Shapes and dashes tell
# again, in greyscale too; together they repeat only after 84 groups.
COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#56b4e9", "#e69f00")
MARKERS = ("o", "s", "^", "D", "v", "P", "X")
DASHES = ("-", (0, (5, 1.5)), (0, (4, 1, 1, 1)), (0, (1.5, 1)))
INK, SOFT, GRID, PAPER = "#1b1b1b", "#767676", "#e3e3e3", "#ffffff"
THEME = {INK: "ink", SOFT: "soft", GRID: "grid", PAPER: "paper"} | {
    colour: f"c{i}" for i, colour in enumerate(COLOURS)
}
STYLE = {
    "font.family": "DejaVu Sans", "font.size": 7, "axes.titlesize": 7, "axes.labelsize": 7,
    "xtick.labelsize": 6.5, "ytick.labelsize": 6.5, "legend.fontsize": 6.5,
    "text.color": INK, "axes.edgecolor": INK, "axes.labelcolor": INK, "xtick.color": INK,
    "ytick.color": INK, "axes.linewidth": 0.6, "xtick.major.width": 0.6, "ytick.major.width": 0.6,
    "pdf.fonttype": 42, "svg.fonttype": "none", "axes.unicode_minus": True,
}  # fmt: skip
LINE: dict[str, dict[str, Any]] = {
    "fit": {"linewidth": 1.2}, "path": {"linewidth": 0.9}, "law": {"linewidth": 0.8, "alpha": 0.7},
    "guide": {"linewidth": 0.8, "color": SOFT, "linestyle": (0, (1, 2))},
    "edge": {"linewidth": 0.7, "linestyle": (0, (1, 1))},
    "prediction": {"linewidth": 0.9, "linestyle": (0, (6, 2, 1, 2)), "alpha": 0.8},
}  # fmt: skip
SIZE = 3.6  # of a mark, points
DODGE = 0.14  # octaves between neighbouring groups at one batch size
SUBS = ((2.0, (1.0,)), (1.2, (1.0, 3.0)), (0.0, (1.0, 2.0, 5.0)))  # ticks by decades shown
ROW = 1.3  # inches, of a panel where there are several


@dataclass(frozen=True)
class Drawn:
    """The figure as SVG, and `spots`: (x, y, trial, words) of each mark that says something,
    in the SVG's own units.
    """

    svg: str
    spots: list[tuple[float, float, str, str]]


def draw(figure: Figure, stem: Path) -> Drawn:
    """Write STEM.pdf, STEM.png and STEM.csv (its marks), and return what a page shows."""
    with mpl.rc_context(STYLE | {"svg.hashsalt": figure.name}):
        canvas, axes = _canvas(figure)
        spots = [spot for key, each in axes.items() for spot in _panel(each, figure, key)]
        _key(canvas, figure)
        canvas.draw_without_rendering()
        canvas.set_layout_engine("none")  # laid out once: all files and all spots agree
        found = [(*_place(canvas, *at), trial, says) for *at, trial, says in spots]
        canvas.savefig(stem.with_suffix(".pdf"), metadata={"CreationDate": None})
        canvas.savefig(stem.with_suffix(".png"), dpi=220)
        text = io.StringIO()
        canvas.savefig(text, format="svg", metadata={"Date": None})
    figure.marks.to_csv(stem.with_suffix(".csv"), index=False)
    return Drawn(themed(text.getvalue(), figure.name), found)


def themed(svg: str, name: str) -> str:
    """An SVG to be put into a page: colours the page's own, ids its own, size the page's."""
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r'(<svg[^>]*?) height="[^"]*"([^>]*?) width="[^"]*"', r"\1\2", svg, count=1)
    svg = re.sub(r"<metadata>.*?</metadata>", "", svg, flags=re.DOTALL)
    svg = re.sub(r'(id="|href="#|url\(#)', rf"\g<1>{name}-", svg)
    return re.sub("|".join(THEME), lambda found: f"var(--{THEME[found[0]]})", svg)


def look(number: int) -> dict[str, Any]:
    """Colour, shape and dashes of a group."""
    return {"color": COLOURS[number % 6], "marker": MARKERS[number % 7],
            "linestyle": DASHES[number % 4]}  # fmt: skip


def _canvas(figure: Figure) -> tuple[Canvas, dict[str, Axes]]:
    count = len(figure.panels)
    columns = 1 if count == 1 else 2
    rows = -(-count // columns)
    height = (2.5 if count == 1 else ROW * rows + 0.5) + 0.13 * _key_rows(figure)
    canvas = Canvas(figsize=(WIDTH, height), dpi=72, layout="constrained")
    FigureCanvasAgg(canvas)
    canvas.get_layout_engine().set(w_pad=0.03, h_pad=0.03)  # type: ignore[union-attr]
    grid = canvas.subplots(rows, columns, squeeze=False).ravel()
    for spare in grid[count:]:
        spare.remove()
    return canvas, dict(zip(figure.panels, grid[:count], strict=True))


def _panel(axes: Axes, figure: Figure, key: str) -> list[tuple[Axes, Any, float, float, str, str]]:
    """Draw one panel; (axes, transform, x, y, trial, words) of its marks."""
    panel = figure.panels[key]
    marks, lines, rules = (t[t["panel"] == key] for t in (figure.marks, figure.lines, figure.rules))
    axes.set_title(panel.title, loc="left", pad=2)
    _axis(axes, "x", panel.x, len(figure.panels) > 1)
    _axis(axes, "y", panel.y, len(figure.panels) > 1)
    axes.grid(color=GRID, linewidth=0.5)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
    shifts = _shifts(figure, panel)
    for (group, kind, _), line in lines.groupby(["group", "kind", "piece"], sort=False):
        style = look(figure.groups.get(str(group), 0)) if group in figure.groups else {"color": INK}
        axes.plot(line["x"] * shifts.get(str(group), 1.0), line["y"], zorder=2,
                  **({k: v for k, v in style.items() if k != "marker"} | LINE[str(kind)]))  # fmt: skip
    found = []
    for (group, sign), own in marks.groupby(["group", "sign"], sort=False):
        found += _marks(axes, figure, own, str(group), str(sign), shifts.get(str(group), 1.0))
    _limit(axes, panel)
    for _, rule in rules.iterrows():
        _rule(axes, figure, rule)
    return found


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
        line.set_major_formatter(FuncFormatter(lambda value, _: f"{value:.3g}"))
    line.set_minor_locator(NullLocator())
    if axis.words:
        line.set_major_locator(FixedLocator(list(axis.ticks)))
        line.set_ticklabels(axis.words, rotation=90 if which == "x" else 0, fontsize=6)
    elif axis.ticks:
        some = axis.ticks[:: -(-len(axis.ticks) // (4 if small else 8))]
        line.set_major_locator(FixedLocator(list(some)))
        line.set_major_formatter(FuncFormatter(lambda value, _: f"{value:.5g}"))


def _limit(axes: Axes, panel: Panel) -> None:
    """Room around batch sizes, and what was asked for; from here on nothing moves the limits."""
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
    axes.autoscale(False)


def _marks(
    axes: Axes, figure: Figure, own: pd.DataFrame, group: str, sign: str, shift: float
) -> list[tuple[Axes, Any, float, float, str, str]]:
    style = look(figure.groups[group]) if group in figure.groups else {"color": SOFT, "marker": "o"}
    colour, shape = style["color"], {"cross": "x", "diamond": "d"}.get(sign, style["marker"])
    x, y = own["x"].to_numpy(float) * shift, own["y"].to_numpy(float)
    low, high = (own[name].to_numpy(float) for name in ("low", "high"))
    spans = np.isfinite(y) & ~(np.isnan(low) | np.isnan(high))
    for at, a, b in zip(x[spans], low[spans], high[spans], strict=True):
        bar = Line2D([at, at], np.clip([a, b], *_reach(axes, y)), color=colour, linewidth=2.2,
                     alpha=0.35, zorder=2, solid_capstyle="butt")  # fmt: skip
        # One without an end is cut at the axes, instead of stretching them.
        (axes.add_line if np.isfinite([a, b]).all() else axes.add_artist)(bar)
    foot = blended_transform_factory(axes.transData, axes.transAxes)
    placed = ((np.isfinite(y), axes.transData, y), (np.isnan(y), foot, np.full(len(y), 0.03)))
    found: list[tuple[Axes, Any, float, float, str, str]] = []
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


def _rule(axes: Axes, figure: Figure, rule: pd.Series) -> None:
    group = str(rule["group"])
    colour = look(figure.groups[group])["color"] if group in figure.groups else SOFT
    line, band = (axes.axvline, axes.axvspan) if rule["axis"] == "x" else (axes.axhline, axes.axhspan)
    if np.isfinite(rule["at"]):
        line(rule["at"], color=colour, linewidth=0.8, linestyle=(0, (3, 2)), zorder=1.5)
    limits = axes.get_xlim() if rule["axis"] == "x" else axes.get_ylim()
    low, high = (min(max(rule[name], limits[0]), limits[1]) for name in ("low", "high"))
    if low < high:
        look_of = {"color": SOFT, "alpha": 0.16} if rule["shade"] else {"color": colour, "alpha": 0.12}
        band(low, high, linewidth=0, zorder=0.5, **look_of)
    if rule["says"] and rule["axis"] == "y" and np.isfinite(rule["at"]):
        axes.annotate(str(rule["says"]), (1, rule["at"]), (-1, 1.5), color=SOFT, fontsize=6,
                      xycoords=axes.get_yaxis_transform(), textcoords="offset points",
                      ha="right")  # fmt: skip


def _key_rows(figure: Figure) -> int:
    signs = len(figure.signs) + len(figure.kinds)
    groups = len(figure.groups) if len(figure.groups) > 1 else 0
    return -(-groups // _group_columns(figure)) + -(-signs // _sign_columns(figure))


def _group_columns(figure: Figure) -> int:
    longest = max(map(len, figure.groups), default=0)
    return 3 if longest <= 14 else 2 if longest <= 26 else 1


def _sign_columns(figure: Figure) -> int:
    words = [*figure.signs.values(), *figure.kinds.values()]
    return 2 if max(map(len, words), default=0) <= 28 else 1


def _key(canvas: Canvas, figure: Figure) -> None:
    """Above: the groups; below: what the signs and lines mean."""
    lined = not figure.lines.empty and figure.lines["kind"].isin(["fit", "path"]).any()
    groups = []
    for group, number in figure.groups.items():
        style = look(number) | ({} if lined else {"linestyle": "none"})
        groups.append(Line2D([], [], label=group, linewidth=1, markersize=SIZE, **style))
    if len(groups) > 1:
        canvas.legend(handles=groups, loc="outside upper left", ncols=_group_columns(figure),
                      frameon=False, borderpad=0.1, columnspacing=1.2, handlelength=2.6)  # fmt: skip
    signs: list[Line2D | Patch] = []
    for sign, words in figure.signs.items():
        marker = {"cross": "x", "diamond": "d"}.get(sign, "o")
        signs.append(Line2D([], [], linestyle="none", marker=marker, color=SOFT, label=words,
                            markersize=SIZE, markeredgewidth=0.8,
                            markerfacecolor=PAPER if sign == "ring" else SOFT))  # fmt: skip
    for kind, words in figure.kinds.items():
        signs.append(Line2D([], [], **({"color": SOFT, "linestyle": "-"} | LINE[kind]), label=words))
    if signs:
        canvas.legend(handles=signs, loc="outside lower left", ncols=_sign_columns(figure), frameon=False,
                      borderpad=0.1, columnspacing=1.2, handlelength=2.2)  # fmt: skip


def _place(canvas: Canvas, axes: Axes, transform: Any, x: float, y: float) -> tuple[float, float]:
    """Where a point lies in the SVG, whose y runs down."""
    across, up = transform.transform((x, y))
    return round(float(across), 1), round(float(canvas.bbox.height - up), 1)
