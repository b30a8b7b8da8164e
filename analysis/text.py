"""The report as a person reads it in a terminal: at most 110 columns, one block a method."""

import textwrap
from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from analysis.cells import Cell
from analysis.load import Study
from analysis.optimum import SeedSpread
from analysis.scaling import LAWS, LEVEL, Difference, Exponent
from analysis.tables import RULES
from analysis.words import WIDTH, accuracy, align, degrees, interval, number, slope, wrap

PERCENT = f"{LEVEL * 100:.0f} %"
LEGEND = (
    "LR*: learning rate of the confirmed winner, one of the finitely many tried ('?': best trial "
    "of the search, unconfirmed). low, high: learning rates within one seed-SD of the best trial. "
    "Test accuracy (%, mean ± SD (seeds)), gap (train - test, points), l_max (largest eigenvalue "
    "of the Hessian at the minimum), steps and sec(onds) are from fresh seeds only. search: trials "
    "ended/stopped by ASHA/diverged. "
    "The exponent's interval takes the cells as replicates."
)


def render(
    study: Study,
    cells: Sequence[Cell],
    table: pd.DataFrame,
    spread: SeedSpread,
    exponents: Sequence[Exponent],
    differences: Sequence[Difference],
) -> str:
    """The whole text of the report, without the names of files."""
    blocks = [_header(study, spread)]
    for method in dict.fromkeys(table["method"]):
        rows = table[table["method"] == method]
        lines = [f"{method}"]
        for each in exponents:
            if each.group.method == method:
                lines += wrap(exponent_line(each))
        for every in differences:
            if every.group.method == method:
                lines += wrap(difference_line(every))
        lines += align(_cell_rows(rows)) + _rules(rows)
        blocks.append("\n".join(lines))
    if table.empty:
        blocks.append("No cell has a trial yet.")
    missing = missing_lines(study, cells, table, spread)
    for title, listed in (("Missing", missing), ("Notes", study.config.get("notes", []))):
        if listed:
            wrapped = (part for line in listed for part in wrap(line, "- "))
            blocks.append("\n".join([title, *wrapped]))
    if not table.empty:
        blocks.append("\n".join(textwrap.wrap(LEGEND, WIDTH)))
    return "\n\n".join(blocks) + "\n"


def exponent_line(each: Exponent) -> str:
    """`LR* ~ B^0.62 [0.31, 0.93] (95 %, 7 of 8 cells, t with 5 df): consistent with ...`."""
    line, total = each.line, len(each.group.optima)
    name = "LR*" if each.group.label == each.group.method else each.group.label + ": LR*"
    said = f"{name} ~ B^{slope(line.slope)} {interval(line.low, line.high)} "
    said += f"({PERCENT}, {line.k} of {total} cells{degrees(line)}): {_judged(each)}"
    if each.law == "undetermined":
        inside = f"inside: {', '.join(each.laws_inside)}"
        said += f" ({inside if line.k > 2 else 'fewer than 3 cells'})"
    if each.law == "neither":
        said += " (constant, sqrt and linear all outside)"
    if np.isfinite(line.residual_sd):
        said += f"; residual SD {line.residual_sd:.2f} octaves"
    if each.excluded:
        said += "; excluded: " + ", ".join(
            f"{n} {verdict.replace('_', ' ')}" for verdict, n in each.excluded.items()
        )
    if each.at_edge:
        said += f"; fitted though at the stability edge: {each.at_edge}"
    if each.unconfirmed:
        said += f"; fitted though unconfirmed: {each.unconfirmed}"
    return said


def difference_line(each: Difference) -> str:
    """The exponent against the plain method's, in one sentence."""
    line = each.line
    label = "" if each.group.label == each.group.method else each.group.label + ": "
    return (
        f"{label}exponent minus {each.plain}'s: {slope(line.slope, '+')} "
        f"{interval(line.low, line.high)} ({PERCENT}, {line.k} common batch sizes"
        f"{degrees(line)}): {each.verdict}"
    )


def missing_lines(
    study: Study, cells: Sequence[Cell], table: pd.DataFrame, spread: SeedSpread
) -> list[str]:
    """What a complete study would have and this one lacks, one line a kind."""
    status = study.trials["status"]
    lost = {
        "no trial yet": [cell for cell in cells if cell.trials.empty],
        "not confirmed on fresh seeds, so without an accuracy": [
            cell
            for cell, seeds in zip(cells, table["n_seeds"], strict=True)
            if seeds == 0 and len(cell.trials)
        ],
        "winner diverged on some fresh seeds, so its mean is over the surviving ones": [
            cell for cell, n in zip(cells, table["n_diverged_winner"], strict=True) if n > 0
        ],
    }
    lines = [f"{what}: " + ", ".join(map(str, some)) for what, some in lost.items() if some]
    levels = sorted(set(table["sharpness"]) - {""})
    if len(levels) > 1 or "mixed" in levels:
        lines.append(
            f"minima were examined at different levels or on different images ({', '.join(levels)})"
            ", so l_max cannot be compared: python -m study.measure NAME makes them alike"
        )
    if not spread.df:
        lines.append("no cell has two confirmed seeds: no seed-SD and no near-optimal intervals")
    for word, meaning in (("running", "still running"), ("error", "ended with an error")):
        count = int((status == word).sum())
        if count:
            lines.append(f"{count} trial{'s' * (count > 1)} {meaning}: not counted anywhere")
    return lines


def _header(study: Study, spread: SeedSpread) -> str:
    config, status = study.config, study.trials["status"]
    facts = [f"{key} {config[key]}" for key in ("dataset", "model", "train_size", "budget")
             if config.get(key) is not None]  # fmt: skip
    counts = ", ".join(f"{n} {word}" for word, n in status.value_counts().items())
    lines = [f"{config.get('name') or study.path.name}: {', '.join(facts)}"]
    lines.append(f"{len(status)} trials" + (f": {counts}" if counts else ""))
    if spread.df:
        lines.append(
            f"score: {config.get('score', 'unknown')}; SD over seeds {spread.sd:.3g} "
            f"(pooled over {spread.cells} cells, {spread.df} df)"
        )
    return "\n".join(part for line in lines for part in textwrap.wrap(line, WIDTH))


def _cell_rows(rows: pd.DataFrame) -> list[list[str]]:
    own_m = bool((rows["m"] != rows["batch_size"]).any())
    radius = bool((rows["rho_star"] > 0).any())
    examined = bool(rows["lambda_max_mean"].notna().any())
    head = ["B", *["m"] * own_m, "LR*", "low", "high", *["rho*"] * radius, "verdict",
            "test accuracy", "gap", *["l_max"] * examined, "steps", "sec",
            "search"]  # fmt: skip
    body = [
        [
            str(row["batch_size"]),
            *[str(row["m"])] * own_m,
            number(row["lr_star"], 3) + "?" * (row["lr_star"] > 0 and not row["confirmed"]),
            number(row["lr_low"], 3),
            number(row["lr_high"], 3),
            *[number(row["rho_star"], 2)] * radius,
            row["verdict"].replace("_", " "),
            accuracy(row["test_accuracy_mean"], row["test_accuracy_sd"], row["n_seeds"]),
            number(row["generalization_gap_mean"] * 100, None),
            *[number(row["lambda_max_mean"], 3)] * examined,
            number(row["steps"], 0),
            number(row["seconds"], 3),
            f"{row['n_search']}/{row['n_stopped']}/{row['n_diverged']}",
        ]
        for row in rows.to_dict("records")
    ]
    return [head, *body]


def _rules(rows: pd.DataFrame) -> list[str]:
    counts = [name for rule in RULES for name in (f"n_{rule}", f"n_diverged_{rule}")]
    ran = rows[rows[counts].sum(axis=1) > 0]
    if ran.empty:
        return []
    body = [["B", "LR tuned", "LR copied", "LR sqrt", "LR linear"]]
    for row in ran.to_dict("records"):
        tuned = accuracy(row["test_accuracy_mean"], row["test_accuracy_sd"], row["n_seeds"])
        body.append([str(row["batch_size"]), tuned, *(_rule(row, rule) for rule in RULES)])
    return ["  test accuracy (%) with the small-batch reference's LR, copied or scaled; "
            "(seeds that survived)", *align(body)]  # fmt: skip


def _rule(row: dict[Any, Any], rule: str) -> str:
    survived, diverged = row[f"n_{rule}"], row[f"n_diverged_{rule}"]
    if not survived:
        return f"diverged (0/{diverged})" if diverged else "-"
    of = f"/{survived + diverged}" if diverged else ""
    return f"{row[f'test_accuracy_{rule}'] * 100:.2f} ({survived}{of})"


def _judged(each: Exponent) -> str:
    """The law in words: an interval can leave one law standing, it cannot prove it."""
    others = " or ".join(name for name in LAWS if name != each.law)
    return f"consistent with {each.law}, not with {others}" if each.law in LAWS else each.law
