"""Draws any figure of the grammar, once, as PDF, PNG and SVG, and says where its marks came to lie.

The width is that of an IEEE column, which is also that of a phone; fonts are embedded.
"""

import io
import re
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import matplotlib as mpl
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.backends.backend_pdf import FigureCanvasPdf
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure as Canvas
from matplotlib.lines import Line2D

from analysis.figures.grammar import Figure
from analysis.figures.panel import draw_panel, titled
from analysis.figures.style import (
    KEY,
    LEFT,
    LETTER,
    LINE,
    PAPER,
    SHAPES,
    SIZE,
    SMALL,
    SOFT,
    STYLE,
    TALL,
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
    """Write STEM.pdf, STEM.png and STEM.csv (all its tables), and return what a page shows."""
    with mpl.rc_context(STYLE | {"svg.hashsalt": figure.name}):
        canvas, axes = _canvas(figure)
        spots = [spot for key, each in axes.items() for spot in draw_panel(each, figure, key)]
        _key(canvas, figure)
        found = [(*_place(canvas, *at), trial, says) for *at, trial, says in spots]
        text = io.StringIO()
        # Not by savefig, which draws everything twice.
        FigureCanvasSVG(canvas).print_svg(text, metadata={"Date": None})
        FigureCanvasPdf(canvas).print_pdf(stem.with_suffix(".pdf"), metadata={"CreationDate": None})
        canvas.set_dpi(PIXELS)
        FigureCanvasAgg(canvas).print_png(stem.with_suffix(".png"))
    tables = {"mark": figure.marks, "line": figure.lines, "bound": figure.bounds}
    told = [table.assign(what=what) for what, table in tables.items() if len(table)]
    pd.concat(told).dropna(axis=1, how="all").to_csv(stem.with_suffix(".csv"), index=False)
    return Drawn(themed(text.getvalue(), figure.name), found)


def themed(svg: str, name: str) -> str:
    """An SVG to be put into a page: colours the page's own, ids its own, size the page's."""
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r' (width|height)="[^"]*pt"', "", svg, count=2)
    svg = re.sub(r"<metadata>.*?</metadata>", "", svg, flags=re.DOTALL)
    svg = re.sub(r'(id="|href="#|url\(#)', rf"\g<1>{name}-", svg)
    return re.sub("|".join(THEME), lambda found: f"var(--{THEME[found[0]]})", svg)


def _canvas(figure: Figure) -> tuple[Canvas, dict[str, Axes]]:
    """Laid out in inches: letters have one size, so that no engine need measure them."""
    panels = list(figure.panels.values())
    columns = 1 if len(panels) == 1 else 2
    rows = -(-len(panels) // columns)
    over = LETTER * _rows(
        len(figure.groups) if len(figure.groups) > 1 else 0, _columns(figure.groups)
    )
    signs = [*figure.signs.values(), *figure.kinds.values()]
    under = LETTER * _rows(len(signs), _columns(signs))
    head = LETTER * max(1 + titled(each, columns > 1).count("\n") for each in panels) + 0.02
    words = max((len(word) for each in panels for word in each.x.words), default=0)
    foot = 0.2 + LETTER * any(each.x.label for each in panels) + 0.045 * words
    tall = TALL if columns == 1 else SMALL
    height = over + rows * (head + tall + foot) + under + 0.06
    canvas = Canvas(figsize=(WIDTH, height), dpi=72)
    wide = WIDTH / columns - LEFT - 0.08
    axes = {}
    for i, key in enumerate(figure.panels):
        row, column = divmod(i, columns)
        corner = (
            LEFT + column * WIDTH / columns,
            height - over - (row + 1) * (head + tall) - row * foot,
        )
        box = (corner[0] / WIDTH, corner[1] / height, wide / WIDTH, tall / height)
        axes[key] = canvas.add_axes(box)
    return canvas, axes


def _rows(count: int, columns: int) -> int:
    return -(-count // columns)


def _columns(words: Collection[str]) -> int:
    """Of a key: as many as its longest entry leaves room for."""
    longest = max(map(len, words), default=0)
    return 3 if longest <= 14 else 2 if longest <= 27 else 1


def _key(canvas: Canvas, figure: Figure) -> None:
    """Above: the groups; below: what the signs and lines mean."""
    lined = not figure.lines.empty and figure.lines["kind"].isin(["fit", "path"]).any()
    groups = []
    for group, number in figure.groups.items():
        style = look(number) | ({} if lined else {"linestyle": "none"})
        groups.append(Line2D([], [], label=group, linewidth=1, markersize=SIZE, **style))
    if len(groups) > 1:
        canvas.legend(handles=groups, loc="upper left", ncols=_columns(figure.groups), **KEY)
    signs = []
    for sign, words in figure.signs.items():
        marker = SHAPES.get(sign, "o")
        signs.append(Line2D([], [], linestyle="none", marker=marker, color=SOFT, label=words,
                            markersize=SIZE, markeredgewidth=0.8,
                            markerfacecolor=PAPER if sign == "ring" else SOFT))  # fmt: skip
    for kind, words in figure.kinds.items():
        signs.append(Line2D([], [], label=words, **({"color": SOFT} | LINE[kind])))
    if signs:
        columns = _columns([str(each.get_label()) for each in signs])
        canvas.legend(handles=signs, loc="lower left", ncols=columns, **KEY)


def _place(canvas: Canvas, axes: Axes, transform: Any, x: float, y: float) -> tuple[float, float]:
    """Where a point lies in the SVG, whose y runs down."""
    across, up = transform.transform((x, y))
    return round(float(across), 1), round(float(canvas.bbox.height - up), 1)
