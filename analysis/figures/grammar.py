"""What a figure is before it is drawn: panels, and three tables of what stands in them.

The tables hold the numbers a reader sees, in the axes' units, so that they can be tested without a
picture; one renderer (`ink`) draws every figure from them.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import pandas as pd

# A mark: a value at `x` with its interval, NaN where it has none and infinite where it has no end.
# y NaN: at the foot of the panel, as what diverged. side 1 (-1): the truth lies above (below).
# sign: dot | ring | cross | star. trial: its id, where the mark is one; says: of it, in words.
MARKS = ("panel", "group", "x", "y", "low", "high", "sign", "side", "trial", "says")
# A point of a line; one line for each (panel, group, kind, piece), in the order given.
# kind: fit | path | guide | edge | prediction | law | bend.
LINES = ("panel", "group", "kind", "piece", "x", "y")
# A bound: a place on an axis, and with low and high a band around it. axis: x | y.
BOUNDS = ("panel", "group", "axis", "at", "low", "high", "says")
DEFAULTS: dict[str, Any] = {
    "group": "", "kind": "path", "piece": 0, "low": np.nan, "high": np.nan, "sign": "dot",
    "side": 0, "trial": "", "says": "", "axis": "y", "at": np.nan,
}  # fmt: skip


@dataclass(frozen=True)
class Axis:
    """What an axis measures; `log` 2 or 10 for a logarithmic one, 0 for a linear one.

    ticks : the places to name; words: their names, where they are no numbers.
    """

    label: str
    log: int = 0
    ticks: tuple[float, ...] = ()
    words: tuple[str, ...] = ()
    limits: tuple[float, float] | None = None


@dataclass(frozen=True)
class Panel:
    """One pair of axes."""

    title: str
    x: Axis
    y: Axis


@dataclass(frozen=True, eq=False)
class Figure:
    """A figure as tables with the columns `MARKS`, `LINES` and `BOUNDS`.

    name : of its files. caption : what is seen, of how many, what varied. panels : by the name
    that the tables use. groups : those of the key, each with the number of its colour and shape.
    signs, kinds : what the signs of marks and the kinds of lines mean, for the key.
    """

    name: str
    title: str
    caption: str
    panels: Mapping[str, Panel]
    marks: pd.DataFrame
    lines: pd.DataFrame
    bounds: pd.DataFrame
    groups: Mapping[str, int]
    signs: Mapping[str, str] = field(default_factory=dict)
    kinds: Mapping[str, str] = field(default_factory=dict)

    @property
    def empty(self) -> bool:
        """Whether nothing stands in it."""
        return not (len(self.marks) or len(self.lines))


def table(rows: Iterable[Mapping[str, Any]], columns: Sequence[str]) -> pd.DataFrame:
    """Rows as a table with these columns; what a row does not say has its default."""
    return pd.DataFrame(
        [[row.get(name, DEFAULTS.get(name, np.nan)) for name in columns] for row in rows],
        columns=list(columns),
    )


def figure(
    name: str,
    title: str,
    caption: str,
    panels: Mapping[str, Panel],
    groups: Mapping[str, int],
    *,
    marks: Iterable[Mapping[str, Any]] = (),
    lines: Iterable[Mapping[str, Any]] = (),
    bounds: Iterable[Mapping[str, Any]] = (),
    signs: Mapping[str, str] | None = None,
    kinds: Mapping[str, str] | None = None,
) -> Figure:
    """A figure of the rows given; panels, groups, signs and kinds that none uses are left out."""
    made = table(marks, MARKS), table(lines, LINES), table(bounds, BOUNDS)
    used = {name: {v for t in made[:2] if name in t for v in t[name]} for name in
            ("panel", "group", "sign", "kind")}  # fmt: skip
    shown = [t[t["panel"].isin(list(used["panel"]))].reset_index(drop=True) for t in made]
    return Figure(
        re.sub(r"[^\w.+-]+", "_", name), title, caption,
        {key: panel for key, panel in panels.items() if key in used["panel"]},
        shown[0], shown[1], shown[2],
        {key: number for key, number in groups.items() if key in used["group"]},
        {key: words for key, words in (signs or {}).items() if key in used["sign"]},
        {key: words for key, words in (kinds or {}).items() if key in used["kind"]},
    )  # fmt: skip


def polyline(
    panel: str, group: str, kind: str, x: Iterable[float], y: Iterable[float], piece: Any = 0
) -> list[dict[str, Any]]:
    """The rows of one line; what is not finite is left out."""
    at = {"panel": panel, "group": group, "kind": kind, "piece": piece}
    return [at | {"x": float(a), "y": float(b)} for a, b in zip(x, y, strict=True)
            if np.isfinite(a) and np.isfinite(b)]  # fmt: skip


def sizes_axis(sizes: Iterable[float], label: str = "batch size B") -> Axis:
    """Batch sizes, evenly apart where they double."""
    return Axis(label, 2, tuple(sorted({float(size) for size in sizes})))


def parts(made: Figure, most: int = 10) -> list[Figure]:
    """The figure in as many as keep each to `most` panels, so that it fits a page."""
    names = list(made.panels)
    if len(names) <= most:
        return [made]
    found = []
    for i in range(0, len(names), most):
        own = names[i : i + most]
        told = f" ({i // most + 1} of {-(-len(names) // most)})"
        tables = (t[t["panel"].isin(own)] for t in (made.marks, made.lines, made.bounds))
        marks, lines, bounds = (t.reset_index(drop=True) for t in tables)
        found.append(replace(
            made, name=made.name + f"-{i // most + 1}" * (i > 0), title=made.title + told,
            panels={name: made.panels[name] for name in own}, marks=marks, lines=lines,
            bounds=bounds,
        ))  # fmt: skip
    return found
