"""How the figures look: sizes, colours, shapes and dashes."""

from typing import Any

WIDTH = 252 / 72.27  # inches: one IEEE column, in its own points
# Okabe & Ito: told apart by colour-blind readers; black and yellow left out. Shapes and dashes tell
# again, in greyscale too; together they repeat only after 84 groups.
COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#56b4e9", "#e69f00")
MARKERS = ("o", "s", "^", "D", "v", "P", "<")
SHAPES = {"cross": "x", "star": "*"}  # of these signs, whatever the group
DASHES = ("-", (0, (5, 1.5)), (0, (4, 1, 1, 1)), (0, (1.5, 1)))
INK, SOFT, GRID, PAPER = "#1b1b1b", "#767676", "#e3e3e3", "#ffffff"
THEME = {INK: "ink", SOFT: "soft", GRID: "grid", PAPER: "paper"} | {
    colour: f"c{i}" for i, colour in enumerate(COLOURS)
}
STYLE: dict[Any, Any] = {
    "font.family": "DejaVu Sans", "font.size": 7, "axes.titlesize": 7, "axes.labelsize": 7,
    "xtick.labelsize": 6.5, "ytick.labelsize": 6.5, "legend.fontsize": 6.5,
    "text.color": INK, "axes.edgecolor": INK, "axes.labelcolor": INK, "xtick.color": INK,
    "ytick.color": INK, "axes.linewidth": 0.6, "xtick.major.width": 0.6, "ytick.major.width": 0.6,
    "pdf.fonttype": 42, "svg.fonttype": "none", "text.parse_math": False,
}  # fmt: skip
LINE: dict[str, dict[str, Any]] = {
    "fit": {"linewidth": 1.2}, "path": {"linewidth": 0.9}, "law": {"linewidth": 0.8, "alpha": 0.7},
    "bend": {"linewidth": 1.8, "alpha": 0.8},
    "guide": {"linewidth": 0.8, "color": SOFT, "linestyle": (0, (1, 2))},
    "edge": {"linewidth": 0.7, "linestyle": (0, (1, 1))},
    "prediction": {"linewidth": 0.9, "linestyle": (0, (6, 2, 1, 2)), "alpha": 0.8},
}  # fmt: skip
KEY: dict[str, Any] = {"frameon": False, "borderpad": 0.1, "columnspacing": 1.2,
                       "handlelength": 2.4, "borderaxespad": 0.2, "labelspacing": 0.3}  # fmt: skip
SIZE = 3.6  # of a mark, points
DODGE = 0.14  # octaves between neighbouring groups at one batch size
SUBS = ((2.0, (1.0,)), (1.2, (1.0, 3.0)), (0.0, (1.0, 2.0, 5.0)))  # ticks by decades shown
ARROWED = 0.32  # room above and below for arrows
# Inches: of a line of letters, from a panel's left edge to its axes, of axes alone or among others.
LETTER, LEFT, TALL, SMALL = 0.135, 0.5, 1.9, 0.88
FOOT = 0.1  # of the axes: the strip below all values, where the marks without one stand


def look(number: int) -> dict[str, Any]:
    """Colour, shape and dashes of a group."""
    return {"color": COLOURS[number % 6], "marker": MARKERS[number % 7],
            "linestyle": DASHES[number % 4]}  # fmt: skip
