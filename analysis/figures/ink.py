"""Draws any figure of the grammar, once, as PDF, PNG and SVG, and says where its marks came to lie.

The width is that of an IEEE column, which is also that of a phone; fonts are embedded.
"""

import io
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.backends.backend_pdf import FigureCanvasPdf
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure as Canvas
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.lines import Line2D

from analysis.figures.grammar import Figure
from analysis.figures.panel import draw_panel
from analysis.figures.style import (
    KEY,
    LINE,
    PAPER,
    ROW,
    SHAPES,
    SIZE,
    SOFT,
    STYLE,
    THEME,
    WIDTH,
    look,
)

PIXELS = 220  # an inch, of the PNG


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
        spots = [spot for key, each in axes.items() for spot in draw_panel(each, figure, key)]
        _key(canvas, figure)
        canvas.draw_without_rendering()
        canvas.set_layout_engine("none")  # laid out once: all files and all spots agree
        found = [(*_place(canvas, *at), trial, says) for *at, trial, says in spots]
        text = io.StringIO()
        # Not by savefig, which draws everything twice to lay it out again.
        FigureCanvasSVG(canvas).print_svg(text, metadata={"Date": None})
        FigureCanvasPdf(canvas).print_pdf(stem.with_suffix(".pdf"), metadata={"CreationDate": None})
        canvas.set_dpi(PIXELS)
        FigureCanvasAgg(canvas).print_png(stem.with_suffix(".png"))
    figure.marks.to_csv(stem.with_suffix(".csv"), index=False)
    return Drawn(themed(text.getvalue(), figure.name), found)


def themed(svg: str, name: str) -> str:
    """An SVG to be put into a page: colours the page's own, ids its own, size the page's."""
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r' (width|height)="[^"]*pt"', "", svg, count=2)
    svg = re.sub(r"<metadata>.*?</metadata>", "", svg, flags=re.DOTALL)
    svg = re.sub(r'(id="|href="#|url\(#)', rf"\g<1>{name}-", svg)
    return re.sub("|".join(THEME), lambda found: f"var(--{THEME[found[0]]})", svg)


def _canvas(figure: Figure) -> tuple[Canvas, dict[str, Axes]]:
    count = len(figure.panels)
    columns = 1 if count == 1 else 2
    rows = -(-count // columns)
    height = (2.5 if count == 1 else ROW * rows + 0.5) + 0.13 * _key_rows(figure)
    layout = ConstrainedLayoutEngine(w_pad=0.03, h_pad=0.03)
    canvas = Canvas(figsize=(WIDTH, height), dpi=72, layout=layout)
    FigureCanvasAgg(canvas)
    grid = canvas.subplots(rows, columns, squeeze=False).ravel()
    for spare in grid[count:]:
        spare.remove()
    return canvas, dict(zip(figure.panels, grid[:count], strict=True))


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
                      **KEY)  # fmt: skip
    signs = []
    for sign, words in figure.signs.items():
        marker = SHAPES.get(sign, "o")
        signs.append(Line2D([], [], linestyle="none", marker=marker, color=SOFT, label=words,
                            markersize=SIZE, markeredgewidth=0.8,
                            markerfacecolor=PAPER if sign == "ring" else SOFT))  # fmt: skip
    for kind, words in figure.kinds.items():
        signs.append(Line2D([], [], label=words, **({"color": SOFT} | LINE[kind])))
    if signs:
        canvas.legend(handles=signs, loc="outside lower left", ncols=_sign_columns(figure),
                      **KEY)  # fmt: skip


def _place(canvas: Canvas, axes: Axes, transform: Any, x: float, y: float) -> tuple[float, float]:
    """Where a point lies in the SVG, whose y runs down."""
    across, up = transform.transform((x, y))
    return round(float(across), 1), round(float(canvas.bbox.height - up), 1)
