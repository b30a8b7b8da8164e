"""How the report's numbers, intervals and tables are put into words of at most 110 columns."""

import textwrap

import numpy as np

WIDTH = 110


def accuracy(mean: float, sd: float, seeds: int) -> str:
    """Fractions as `98.12 ± 0.08 (3)`: per cent, SD over seeds where there is one, seeds."""
    if not seeds:
        return "-"
    around = f" ± {sd * 100:.2f}" if np.isfinite(sd) else ""
    return f"{mean * 100:.2f}{around} ({seeds})"


def number(value: float, digits: int | None) -> str:
    """`digits` significant ones; 0: a whole number; None: two decimals."""
    if not np.isfinite(value):
        return "-"
    if digits is None:
        return f"{value:.2f}"
    if digits == 0 or abs(value) >= 10**digits:
        return f"{value:.0f}"
    return f"{value:.{digits}g}"


def slope(value: float, sign: str = "") -> str:
    """An exponent with two decimals, no minus before zero; `sign` "+" shows the sign always."""
    return f"{round(value, 2) + 0.0:{sign}.2f}" if np.isfinite(value) else "?"


def interval(low: float, high: float, digits: int = 2) -> str:
    """`[0.31, 0.93]`."""
    known = np.isfinite(low) or np.isfinite(high)
    return f"[{low:.{digits}f}, {high:.{digits}f}]" if known else "[no interval]"


def in_brackets(p: float, *more: str) -> str:
    """` (p 0.03, shown)`, of what is known; nothing where nothing is."""
    said = ", ".join([*[f"p {number(p, 2)}"] * bool(np.isfinite(p)), *more])
    return f" ({said})" if said else ""


def wrap(line: str, lead: str = "") -> list[str]:
    """A sentence in an indented block, broken at `WIDTH`."""
    hang = "    " if not lead else "  " + " " * len(lead)
    return textwrap.wrap(line, WIDTH, initial_indent="  " + lead, subsequent_indent=hang)


def align(rows: list[list[str]]) -> list[str]:
    """Rows of equal length as right-aligned columns, closer together where they are many."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    gap = "  " if sum(widths) + 2 * len(widths) <= WIDTH else " "
    return ["  " + gap.join(map(str.rjust, row, widths)) for row in rows]
