"""The tables of a paper as LaTeX: what the CSV files hold, chosen and rounded for readers."""

from typing import Any

import numpy as np

from analysis.fit.scaling import PLACED, TELLING, Scaling
from analysis.latex.compare import (
    compensation_table,
    pairs_table,
    recovered_table,
    split_table,
)
from analysis.latex.minima import association_table, sharpness_table
from analysis.latex.tex import Block, escape, fixed, floats, interval, prose, significant, spread
from analysis.latex.words import LOWEST, accuracy, looked_at, series, varied
from analysis.questions.answers import Answers
from analysis.say.recommendation_words import COLUMNS, recommendation_rows
from analysis.say.statements import about

QUANTITIES = {"lr": "LR$^*$", "lr_at_rho": r"LR$^*$ at one $\rho$", "lr_max": r"LR$_{\max}$",
              "rho": r"$\rho^*$"}  # fmt: skip


def latex_tables(found: Answers) -> dict[str, str]:
    r"""File stem -> a table to \input, complete with caption and label, for all that is known."""
    tables = {
        "scaling": scaling_table(found),
        "compensation": compensation_table(found),
        "recovered": recovered_table(found),
        "split": split_table(found),
        "laws": laws_table(found),
        "differences": differences_table(found),
        "pairs": pairs_table(found),
        "sharpness": sharpness_table(found),
        "association": association_table(found),
        "recommendation": recommendation_table(found),
    }
    return {name: text for name, text in tables.items() if text}


def scaling_table(found: Answers) -> str:
    """LR* and what the winners reach, a block a method."""
    rows = [row for row in found.table.to_dict("records") if row["n_search"] or row["n_seeds"]]
    radius = any(row["rho_star"] > 0 or row["winner_rho"] > 0 for row in rows)
    examined = any(row["lambda_max_mean"] > -float("inf") for row in rows)
    head = ["$B$", "LR$^*$", r"95\,\%", *[r"$\rho^*$"] * radius, "verdict", r"test acc.\ (\%)",
            "gap (points)", *[r"$\lambda_{\max}$"] * examined]  # fmt: skip
    blocks: dict[str, list[list[str]]] = {}
    for row in rows:
        own = blocks.setdefault(series(row["method"], row["m"], row["batch_size"]), [])
        own.append(_cell(row, radius, examined))
    notes = (
        r"LR$^*$: where the surface fitted to a cell's trials is highest, with its 95\,\% interval "
        r"by Fieller's method; $<$ and $>$: beyond what was tried; ?: not determined, then the "
        r"best found. Accuracy, gap (train $-$ test) and the rest are the winner's. "
    )
    if examined:
        notes += rf"$\lambda_{{\max}}$: of the Hessian at the minimum{looked_at(found)}. "
    columns = "rrr" + "r" * radius + "lrr" + "r" * examined
    return floats("scaling", "Best learning rates and what they reach", notes + varied(found),
                  columns, head, [Block(*item) for item in blocks.items()])  # fmt: skip


def _cell(row: dict[Any, Any], radius: bool, examined: bool) -> list[str]:
    known = row["lr_low"] > 0 or row["verdict"] in (*PLACED, "held")
    lost = row["lr_star"] > 0 and not known
    beyond = {"at_upper": "$>$", "at_lower": "$<$"}.get(row["verdict"], "")
    bounded = not (lost or beyond) and row["lr_low"] > 0 and row["lr_high"] < float("inf")
    rho = row["rho_star"] if row["rho_star"] > 0 else row["winner_rho"]
    doubt = "?" * (row["rho_verdict"] not in ("interior", "held") and rho > 0)
    ends = ", ".join(significant(row[end], 3) for end in ("lr_low", "lr_high"))
    gap, sd = row["generalization_gap_mean"] * 100, row["generalization_gap_sd"] * 100
    sharp = significant(row["lambda_max_mean"], 3), significant(row["lambda_max_sd"], 2)
    return [
        str(row["batch_size"]),
        beyond + significant(row["lr_star"], 3) + "?" * lost,
        f"[{ends}]" if bounded else "--",
        *[significant(rho if rho > 0 else float("nan"), 2) + doubt] * radius,
        escape(row["verdict"].replace("_", " ")),
        accuracy(row["test_accuracy_mean"], row["test_accuracy_sd"], row["n_seeds"],
                  row["n_diverged_winner"]),
        spread(fixed(gap, 2), fixed(sd, 2)),
        *[spread(*sharp)] * examined,
    ]  # fmt: skip


def laws_table(found: Answers) -> str:
    """Exponents of LR*, LR_max and rho* with what they are compatible with."""
    blocks: dict[str, list[list[str]]] = {}
    for each in (s for some in found.scalings.values() for s in some):
        if each.points or each.censored:
            own = blocks.setdefault(each.group.label, [])
            own.append(_law(each))
            own += _bend(each) if each.bend.told else []
    bent = any(each.bend.told for some in found.scalings.values() for each in some)
    notes = (
        r"Each quantity $\propto B^a$ with the profile likelihood's 95\,\% interval, the cells as "
        r"replicates; $\tau$: SD of the cells' misses of the law (octaves); cells: in the fit, of "
        r"all ($+$ those that tell one side only); inside: rules whose exponent (0, 1/2, 1) the "
        r"interval holds, $\ast$ where $a$ is shown to be nearer to it than to the others; law: "
        rf"the largest weight by AICc, from {TELLING} cells on."
    )
    if bent:
        notes += (
            r" Where a bend is told (the power law rejected at 5\,\% and worse at a batch size "
            r"left out), $a$ is an average that misleads; the rows below hold the slope up to a "
            r"batch size, in brackets its 95\,\% interval, and the slope beyond."
        )
    head = ["quantity", "$a$", r"95\,\%", r"$\tau$", "cells", "inside", "law"]
    return floats("laws", "How learning rate and radius follow the batch size", notes, "lrrrrll",
                  head, [Block(*item) for item in blocks.items()])  # fmt: skip


def _law(each: Scaling) -> list[str]:
    power, known = each.power, each.told
    rules = ", ".join(rule + r"$^\ast$" * (rule == each.equivalent) for rule in each.rules)
    best = max(each.weights, key=lambda law: each.weights[law]) if each.points >= TELLING else ""
    weight = rf"{best} ({each.weights[best] * 100:.0f}\,\%)" if best else "--"
    return [
        QUANTITIES[each.quantity], fixed(power.psi, 2) if known else "--",
        interval(power.low, power.high) if known else "--",
        fixed(power.tau, 2) if known else "--",
        f"{each.points}/{len(each.group.optima)}" + f" (+{each.censored})" * bool(each.censored),
        (rules or "none") if known else "undetermined", weight,
    ]  # fmt: skip


def _bend(each: Scaling) -> list[list[str]]:
    """Its two slopes, a row each, in the columns of `_law`."""
    bend = each.bend
    at, low, high = (about(2.0**size) if np.isfinite(size) else "--" for size in bend.batch)
    p = f"bend ($p<{LOWEST:g}$)" if bend.p < LOWEST else f"bend ($p={bend.p:.2g}$)"
    rows = (
        (rf"\quad up to {at} {{[}}{low}, {high}]", bend.below, fixed(bend.tau, 2), p),
        (r"\quad beyond", bend.above, "", ""),
    )
    return [[name, fixed(part.value, 2), interval(part.low, part.high), tau, "", "", law]
            for name, part, tau, law in rows]  # fmt: skip


def differences_table(found: Answers) -> str:
    """Exponent of LR* under a formulation minus its plain optimizer's."""
    blocks = [
        Block(f"{each.group.label} − {each.plain}", [[
            fixed(each.fit.psi, 2), interval(each.fit.low, each.fit.high), str(each.fit.points),
            escape(each.verdict),
        ]])
        for each in found.differences
    ]  # fmt: skip
    notes = (
        r"Exponent of LR$^*$ under a formulation minus that of its plain optimizer, paired by "
        r"batch size, with its 95\,\% interval; sizes: batch sizes that both have."
    )
    bent = dict.fromkeys(name for each in found.differences for name in each.bent)
    if bent:
        notes += f" LR$^*$ bends under {escape(', '.join(bent))}: exponents are averages over it."
    head = ["difference", r"95\,\%", "sizes", "verdict"]
    return floats("differences", "Differences between exponents", notes, "rrrl", head, blocks)


def recommendation_table(found: Answers) -> str:
    """What to train with, a row a studied batch size, a block a method."""
    blocks: dict[str, list[list[str]]] = {}
    for size, method, *told in recommendation_rows(found.recommender)[1:]:
        blocks.setdefault(method, []).append([size, *map(prose, told)])
    head = ["$B$", "LR", r"$\rho$", r"test acc.\ (\%)", "gain", "worth it"]
    return floats("recommendation", "What to train with", prose(COLUMNS), "rrrrrl", head,
                  [Block(*item) for item in blocks.items()])  # fmt: skip
