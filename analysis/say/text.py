"""The report as a person reads it in a terminal: answers first, then one block a method."""

import textwrap
from typing import Any

import numpy as np
import pandas as pd

from analysis.data.words import WIDTH, accuracy, align, interval, number, slope, wrap
from analysis.fit.scaling import PLACED, Scaling
from analysis.questions.answers import Answers
from analysis.questions.flatness import flatness_answer
from analysis.say.compensation_words import answer, split_lines
from analysis.say.details import waterfall_lines
from analysis.say.statements import difference_line, exponent_line, law_words

LEGEND = (
    "LR*: where the fitted surface is highest, with its 95 % interval ('?': none is determined, or "
    "it is flat; then the winner's). Good LRs: their expected score is within a seed-SD of the "
    "best. Held: not searched, all trials had it. Test accuracy (%, mean ± SD (seeds)), gap "
    "(train - test, points), l_max (largest eigenvalue of the Hessian at the minimum), steps and "
    "sec(onds) are the winner's on fresh seeds only. search: trials ended/stopped by ASHA/"
    "diverged. Exponents take the cells as replicates."
)


def render(found: Answers) -> str:
    """The report without its details and without the names of files."""
    header = [part for line in facts(found) for part in textwrap.wrap(line, WIDTH)]
    blocks = ["\n".join(header), "\n".join(answer_lines(found))]
    table = found.table
    for method in dict.fromkeys(table["method"]):
        rows = table[table["method"] == method]
        lines = [str(method)]
        for quantity in ("lr", "lr_max"):
            for each in found.scalings[quantity]:
                if each.group.method == method:
                    lines += wrap(exponent_line(each))
        for every in found.differences:
            if every.group.method == method:
                lines += wrap(difference_line(every))
        blocks.append("\n".join(lines + align(cell_rows(rows))))
    if table.empty:
        blocks.append("No cell has a trial yet.")
    for title, listed in (("Missing", missing_lines(found)), ("Notes", _notes(found))):
        if listed:
            wrapped = (part for line in listed for part in wrap(line, "- "))
            blocks.append("\n".join([title, *wrapped]))
    if not table.empty:
        blocks.append("\n".join(textwrap.wrap(LEGEND, WIDTH)))
    return "\n\n".join(blocks) + "\n"


def answer_lines(found: Answers) -> list[str]:
    """The three answers: compensation, the law of LR*, flatness."""
    lines = ["1. Does SAM or ASAM compensate?"]
    for each in found.compensations:
        lines += wrap(answer(each))
        lines += waterfall_lines(each)
        lines += split_lines(each) if each.lost.sizes else []
    if not found.compensations:
        lines += wrap("insufficient: no plain optimizer to compare with")
    lines.append("2. How does LR* follow B, and is it the same under SAM and ASAM?")
    for scaling in found.scalings["lr"]:
        lines += wrap(f"{scaling.group.label}: {law_words(scaling)}{_by_winners(found, scaling)}")
    for difference in found.differences:
        lines += wrap(f"{difference.group.label}: {difference_line(difference)}")
    if not found.scalings["lr"]:
        lines += wrap("insufficient: no method with two batch sizes")
    elif not found.differences and not all(s.group.held() for s in found.scalings["lr"]):
        lines += wrap("no method beside its plain optimizer, so no difference to tell")
    lines.append("3. Do flatter minima generalise better here?")
    return lines + flatness_answer(found.associations)


def _by_winners(found: Answers, each: Scaling) -> str:
    """What the cruder estimator says, where the surface says nothing."""
    table = found.crosschecks
    own = table[table["group"].eq(each.group.label) & table["estimator"].eq("winner")]
    if each.points >= 3 or own.empty or not own["cells"].iloc[0] >= 3:
        return ""
    a, low, high, cells = own[["exponent", "low", "high", "cells"]].iloc[0]
    return f"; by the confirmed winners alone {slope(a)} {interval(low, high)} ({cells:.0f} cells)"


def missing_lines(found: Answers) -> list[str]:
    """What a complete study would have and this one lacks, one line a kind."""
    table, cells, status = found.table, found.cells, found.study.trials["status"]
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
    if not any(df for _, df in found.noise.values()):
        lines.append("no cell has two confirmed seeds: the seed-SD is that of the surface's noise")
    for word, meaning in (("running", "still running"), ("error", "ended with an error")):
        count = int((status == word).sum())
        if count:
            lines.append(f"{count} trial{'s' * (count > 1)} {meaning}: not counted anywhere")
    return lines


def _notes(found: Answers) -> list[str]:
    drifts = found.halving.exponents
    told = list(found.study.config.get("notes", []))
    if len(drifts) and drifts["verdict"].eq("drifts").any():
        told.append("the exponent drifts between rungs and end: see report/details.txt on ASHA")
    return told


def facts(found: Answers) -> list[str]:
    """What study this is, how many trials it has, and how noisy its score is; a line each."""
    config, status = found.study.config, found.study.trials["status"]
    said = [f"{key} {config[key]}" for key in ("dataset", "model", "train_size", "budget")
            if config.get(key) is not None]  # fmt: skip
    counts = ", ".join(f"{n} {word}" for word, n in status.value_counts().items())
    title = f"{config.get('name') or found.study.path.name}: {', '.join(said)}".rstrip(": ")
    lines = [title, f"{len(status)} trials" + (f": {counts}" if counts else "")]
    known = [(size, sd) for size, (sd, df) in found.noise.items() if df]
    if known:
        ends = dict.fromkeys((known[0], known[-1]))
        sds = " to ".join(f"{sd:.2g} (B={size})" for size, sd in ends)
        lines.append(f"score: {config.get('score', 'unknown')}; SD over seeds {sds}")
    return lines


def cell_rows(rows: pd.DataFrame) -> list[list[str]]:
    """The head, then a row a cell, of the rows of a method in `cell_table`."""
    own_m = bool((rows["m"] != rows["batch_size"]).any())
    radius = bool((rows["winner_rho"] > 0).any())
    examined = bool(rows["lambda_max_mean"].notna().any())
    near = _near_fits(own_m, examined)
    head = ["B", *["m"] * own_m, "LR*", "low", "high", *["good LRs"] * near,
            *["rho*"] * radius, "verdict", "test accuracy", "gap", *["l_max"] * examined, "steps",
            "sec", "search"]  # fmt: skip
    return [head, *(_cell_row(row, own_m, radius, examined) for row in rows.to_dict("records"))]


def _near_fits(own_m: bool, examined: bool) -> bool:
    """Whether the rows have room for the near-optimal learning rates."""
    return not (own_m and examined)


def _cell_row(row: dict[Any, Any], own_m: bool, radius: bool, examined: bool) -> list[str]:
    known = row["lr_low"] > 0 or row["verdict"] in (*PLACED, "held")
    lost = row["lr_star"] > 0 and not known
    rho = row["rho_star"] if row["rho_star"] > 0 else row["winner_rho"]
    beyond = {"at_upper": ">", "at_lower": "<"}.get(row["verdict"], "")
    told = not lost and not beyond
    near = [number(row[name], 2) for name in ("near_low", "near_high")]
    return [
        str(row["batch_size"]),
        *[str(row["m"])] * own_m,
        beyond + number(row["lr_star"], 3) + "?" * lost,
        number(row["lr_low"], 3) if told and row["lr_low"] > 0 else "-",
        number(row["lr_high"], 3) if told and np.isfinite(row["lr_high"]) else "-",
        *["..".join(near) if told and row["near_low"] > 0 else "-"] * _near_fits(own_m, examined),
        *[number(rho, 2) + "?" * (row["rho_verdict"] not in ("interior", "held") and rho > 0)]
        * radius,
        row["verdict"].replace("_", " "),
        accuracy(row["test_accuracy_mean"], row["test_accuracy_sd"], row["n_seeds"]),
        number(row["generalization_gap_mean"] * 100, None),
        *[number(row["lambda_max_mean"], 3)] * examined,
        number(row["steps"], 0),
        number(row["seconds"], 3),
        f"{row['n_search']}/{row['n_stopped']}/{row['n_diverged']}",
    ]
