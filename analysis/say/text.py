"""The report as a person reads it in a terminal: answers first, then one block a method."""

import textwrap
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import pandas as pd

from analysis.data.words import WIDTH, accuracy, align, interval, number, slope, wrap
from analysis.fit.scaling import LEAST, PLACED, Scaling
from analysis.questions.answers import Answers
from analysis.questions.flatness import flatness_answer
from analysis.say.compensation_words import answer, split_lines
from analysis.say.details import waterfall_lines
from analysis.say.recommendation_words import LEGEND as RECOMMENDED
from analysis.say.recommendation_words import TITLE, recommendation_rows
from analysis.say.statements import difference_line, exponent_line, law_words
from trainables.spec.roles import loss_of

LEGEND = (
    "LR*: where the {surface} is highest, with its 95 % interval ('?': none is determined, or it "
    "is flat; then the winner's). "
)
NEAR = "Good LRs: their expected score is within a seed-SD of the best. "
HELD = "Held: not searched, all trials had it. "
BEST = (
    "Best score: of the search's trials that ran to their end, and where; the luckiest of many, so "
    "more than the score expected there. "
)
CONFIRMED = (
    "Test accuracy (%, mean ± SD (seeds)), gap (train - test, points), l_max (largest eigenvalue "
    "of the Hessian at the minimum), steps and sec(onds) are the winner's on fresh seeds only. "
)
ENDED = "search: trials ended/stopped early/diverged. Exponents take the cells as replicates."


def legend(found: Answers, on_page: bool = False) -> str:
    """What the tables' columns mean, of those that `cell_rows` shows."""
    rows = found.table
    surfaces = ["fitted surface"] * any(each.surface is not None for each in found.responses)
    surfaces += ["upper envelope of a cell's trials"] * bool(found.enveloped)
    said = LEGEND.format(surface=" or ".join(surfaces) or "fitted surface")
    said += NEAR * bool(rows["near_low"].notna().any())
    said += HELD * bool((rows["verdict"].eq("held") | rows["rho_verdict"].eq("held")).any())
    best = any(_shows_best(own, on_page) for _, own in rows.groupby("method"))
    confirmed = bool(rows["n_seeds"].any())
    return said + BEST * best + CONFIRMED * confirmed + ENDED


def render(found: Answers) -> str:
    """The report without its details and without the names of files."""
    header = [part for line in facts(found) for part in textwrap.wrap(line, WIDTH)]
    blocks = ["\n".join(header), "\n".join(answer_lines(found))]
    recommended = align(recommendation_rows(found.recommender))
    blocks.append("\n".join([TITLE, *recommended, *wrap(RECOMMENDED)]))
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
        lines += align(cell_rows(rows))
        lines += [part for line in why_lines(rows) for part in wrap(line, "- ")]
        blocks.append("\n".join(lines))
    if table.empty:
        blocks.append("No cell has a trial yet.")
    for title, listed in (("Missing", missing_lines(found)), ("Notes", _notes(found))):
        if listed:
            wrapped = (part for line in listed for part in wrap(line, "- "))
            blocks.append("\n".join([title, *wrapped]))
    if not table.empty:
        blocks.append("\n".join(textwrap.wrap(legend(found), WIDTH)))
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
    if each.told or own.empty or not own["cells"].iloc[0] >= LEAST:
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
    every = [cell for cell in cells if len(cell.trials)]
    lines = [
        f"{what}: {'every cell' if some == every and every[1:] else ', '.join(map(str, some))}"
        for what, some in lost.items()
        if some
    ]
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
    told += [
        f"{name}: trials at one place score too differently for a surface, so LR* is where the "
        "upper envelope of each cell's trials is highest"
        for name in found.enveloped
    ]
    if len(drifts) and drifts["verdict"].eq("drifts").any():
        told.append("the exponent drifts between rungs and end: see report/details.txt on ASHA")
    return told


def facts(found: Answers) -> list[str]:
    """What study this is, how many trials it has, and how noisy its score is; a line each."""
    config, status = found.study.config, found.study.trials["status"]
    said = [f"{key} {config[key]}" for key in ("dataset", "model", "train_size", "budget")
            if config.get(key) is not None]  # fmt: skip
    counts = ", ".join(f"{n} {word}" for word, n in status.value_counts().items())
    said += [config["part"]] if config.get("part") else []
    if "loss" in config and any(map(loss_of, found.table["method"])):
        said.append(f"loss {config['loss']} where a method names none after @")
    title = f"{config.get('name') or found.study.path.name}: {', '.join(said)}".rstrip(": ")
    lines = [title, f"{len(status)} trials" + (f": {counts}" if counts else "")]
    known = [(size, sd) for size, (sd, df) in found.noise.items() if df]
    if config.get("foreign") and not known:
        lines.append(f"score: {config.get('score', 'score')}, of which more is better")
    if known:
        ends = dict.fromkeys((known[0], known[-1]))
        sds = " to ".join(f"{sd:.2g} (B={size})" for size, sd in ends)
        lines.append(f"score: {config.get('score', 'unknown')}; SD over seeds {sds}")
    return lines


def why_lines(rows: pd.DataFrame) -> list[str]:
    """What the insufficient cells of a method lack, a line for LR* and one for rho*."""
    lines = []
    for name, verdict, why in (("LR*", "verdict", "why"), ("rho*", "rho_verdict", "rho_why")):
        own = rows[rows[verdict].eq("insufficient") & rows[why].ne("")]
        if name == "rho*":
            own = own[(own["winner_rho"] > 0) & own["verdict"].ne("insufficient")]
        at = own["batch_size"].map("B={}".format) + own["m"].map(" m={}".format).where(
            own["m"].ne(own["batch_size"]), ""
        )
        said = [f"{', '.join(some)} ({why})" for why, some in at.groupby(own[why], sort=False)]
        lines += [f"{name} insufficient at {'; '.join(said)}"] if said else []
    return lines


def cell_rows(rows: pd.DataFrame, on_page: bool = False) -> list[list[str]]:
    """The head, then a row a cell, of the rows of a method in `cell_table`.

    What is known of no cell has no column. A terminal has no room for the best score of the search
    beside what came of it on fresh seeds.
    """
    radius = bool((rows["winner_rho"] > 0).any())
    examined = bool(rows["lambda_max_mean"].notna().any())
    own_m = bool((rows["m"] != rows["batch_size"]).any())
    near = bool(rows["near_low"].notna().any()) and not (own_m and examined)
    seeds = bool(rows["n_seeds"].any())
    columns: dict[str, Callable[[dict[Any, Any]], str]] = {
        "B": lambda row: str(row["batch_size"]),
        **({"m": lambda row: str(row["m"])} if own_m else {}),
        **{name: partial(_rate, name) for name in ("LR*", "low", "high")},
        **({"good LRs": partial(_rate, "good LRs")} if near else {}),
        **({"rho*": _radius} if radius else {}),
        "verdict": lambda row: row["verdict"].replace("_", " "),
    }
    if _shows_best(rows, on_page):
        columns["best score (LR, rho)" if radius else "best score (LR)"] = _best
    if seeds:
        columns["test accuracy"] = lambda row: accuracy(
            row["test_accuracy_mean"], row["test_accuracy_sd"], row["n_seeds"]
        )
        columns["gap"] = lambda row: number(row["generalization_gap_mean"] * 100, None)
    if examined:
        columns["l_max"] = lambda row: number(row["lambda_max_mean"], 3)
    if seeds:
        columns["steps"] = lambda row: number(row["steps"], 0)
        columns["sec"] = lambda row: number(row["seconds"], 3)
    columns["search"] = lambda row: f"{row['n_search']}/{row['n_stopped']}/{row['n_diverged']}"
    told = [[of(row) for of in columns.values()] for row in rows.to_dict("records")]
    return [[*columns], *told]


def _shows_best(rows: pd.DataFrame, on_page: bool) -> bool:
    return bool(rows["best_score"].notna().any() and (on_page or not rows["n_seeds"].any()))


def _best(row: dict[Any, Any]) -> str:
    if not np.isfinite(row["best_score"]):
        return "-"
    at = [number(row[name], 3) for name in ("best_lr", "best_rho") if row[name] > 0]
    return f"{row['best_score']:.4g} ({', '.join(at)})"


def _radius(row: dict[Any, Any]) -> str:
    rho = row["rho_star"] if row["rho_star"] > 0 else row["winner_rho"]
    return number(rho, 2) + "?" * (row["rho_verdict"] not in ("interior", "held") and rho > 0)


def _rate(column: str, row: dict[Any, Any]) -> str:
    """LR*, the ends of its interval, or the good LRs about it."""
    known = row["lr_low"] > 0 or row["verdict"] in (*PLACED, "held")
    lost = row["lr_star"] > 0 and not known
    beyond = {"at_upper": ">", "at_lower": "<"}.get(row["verdict"], "")
    if column == "LR*":
        return beyond + number(row["lr_star"], 3) + "?" * lost
    if lost or beyond:
        return "-"
    if column == "good LRs":
        near = [number(row[name], 2) for name in ("near_low", "near_high")]
        return "..".join(near) if row["near_low"] > 0 else "-"
    end = row[f"lr_{column}"]
    return number(end, 3) if 0 < end < np.inf else "-"
