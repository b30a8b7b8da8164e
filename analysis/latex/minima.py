"""Sharpness as LaTeX: what was measured at the minima, and whether it goes with generalisation."""

import math
from collections.abc import Sequence
from typing import Any

from analysis.latex.tex import Block, escape, fitting, fixed, floats, heading, significant, spread
from analysis.latex.words import looked_at, p_value, series, varied
from analysis.questions.answers import Answers
from analysis.questions.flatness import verdicts
from analysis.questions.minima import TARGETS

WIDE = 3  # measures that fit on a page


def sharpness_table(found: Answers) -> str:
    """Mean ± SD of each measure at the winners' minima, and its ratio to the plain method's."""
    rows = found.sharpness.to_dict("records")
    measures = list(dict.fromkeys(row["measure"] for row in rows))
    notes = (
        rf"At the winners' minima{looked_at(found)}; against plain: ratio ($\times$) of geometric "
        r"means, or difference ($+$) where a value is not positive, paired by seed, with its "
        r"95\,\% $t$ interval; $\ast$: $p<0.05$ after Holm over a measure's comparisons. "
    )
    made: list[str] = []
    for own in fitting(measures, WIDE, lambda some: _rows(rows, some)):
        name = "sharpness" + f"-{len(made) + 1}" * bool(made)
        head = _head(own)
        made.append(floats(name, "How sharp the minima are", notes + varied(found),
                           "r" * len(head), head, _blocks(rows, own)))  # fmt: skip
    return "\n".join(made)


def _head(measures: Sequence[str]) -> list[str]:
    titles = (heading(measure.replace("_", " ")) for measure in measures)
    return ["$B$", *(part for title in titles for part in (title, "against plain"))]


def _rows(rows: list[dict[Any, Any]], measures: Sequence[str]) -> list[Sequence[str]]:
    return [_head(measures), *(row for block in _blocks(rows, measures) for row in block.rows)]


def _blocks(rows: list[dict[Any, Any]], measures: Sequence[str]) -> list[Block]:
    cells: dict[tuple[str, int, int], dict[str, dict[Any, Any]]] = {}
    for row in rows:
        key = row["method"], row["batch_size"], row["m"]
        cells.setdefault(key, {})[row["measure"]] = row
    blocks: dict[str, list[list[str]]] = {}
    for (method, size, m), at in cells.items():
        if any(at[name]["n"] for name in measures):
            pairs = [part for name in measures for part in _measured(at[name])]
            blocks.setdefault(series(method, m, size), []).append([str(size), *pairs])
    return [Block(*item) for item in blocks.items()]


def _measured(row: dict[Any, Any]) -> tuple[str, str]:
    shown = spread(significant(row["mean"], 3), significant(row["sd"], 2))
    shown += rf" {{\scriptsize({row['n']})}}" if row["n"] else ""
    if not math.isfinite(row["estimate"]):
        return shown, "--"
    ends = ", ".join(significant(row[end], 2) for end in ("low", "high"))
    sign = r"$\times$" if row["scale"] == "ratio" else "$+$"
    star = r"$^\ast$" * bool(row["shown"])
    known = math.isfinite(row["low"])
    return shown, f"{sign}{significant(row['estimate'], 2)}" + f" [{ends}]" * known + star


def association_table(found: Answers) -> str:
    """Whether sharper minima generalise worse, by Kendall's tau."""
    blocks: dict[str, list[list[str]]] = {}
    for row in verdicts(found.associations).to_dict("records"):
        blocks.setdefault(TARGETS[row["target"]], []).append([
            escape(row["measure"].replace("_", " ")), fixed(row["tau"], 2), fixed(row["null"], 2),
            p_value(row["p_holm"]), escape(row["verdict"]), fixed(row["tau_within"], 2),
            fixed(row["tau_across"], 2),
        ])  # fmt: skip
    notes = (
        r"Kendall's $\tau$ of a measure with the quantity named, over pairs of cells at one batch "
        r"size with the learning rate controlled for; null: its mean over permutations; $p$: by "
        r"permutation, after Holm over measures; within: inside a method over batch sizes; across: "
        r"methods at one batch size. $\tau>0$: sharper goes with worse."
    )
    head = ["measure", r"$\tau$", "null", "$p$", "verdict", "within", "across"]
    return floats("association", "Sharpness and generalisation", notes, "lrrrlrr", head,
                  [Block(*item) for item in blocks.items()])  # fmt: skip
