"""Methods against each other as LaTeX: the waterfall, the recovered share, pairs by seed."""

import math
from collections.abc import Sequence
from functools import partial
from typing import Any

from analysis.data.cells import Cell, complete
from analysis.latex.tex import Block, breakable, escape, fitting, fixed, floats, heading, interval
from analysis.latex.words import accuracy, p_value, series, varied
from analysis.questions import equal_fit
from analysis.questions.answers import Answers
from analysis.questions.compensation import STEPS, Compensation
from analysis.say.details import shares_table
from trainables.spec.roles import RULES

TITLES = {name: rule.latex for name, rule in RULES.items()} | {"tuned": "tuned"}
Step = tuple[str, str]
WIDE = 6  # steps that fit on a page


def compensation_table(found: Answers) -> str:
    """The waterfall: a row a batch size, the reference's LR by each rule, tuned, then perturbed."""
    cells = {cell.key: cell for cell in found.cells}
    title = "What tuning and sharpness-aware steps win back"
    notes = (
        r"Test accuracy (\%) on fresh seeds with the learning rate of the best small batch copied, "
        r"scaled by $\surd$ and by the batch size, tuned, and tuned under each formulation. "
    )
    made: list[str] = []
    for each in found.compensations:
        rows = _waterfall(each, cells)
        for own in fitting(_steps(each), WIDE, partial(_shown, rows)):
            name = "compensation" + f"-{len(made) + 1}" * bool(made)
            head, *body = _shown(rows, own)
            made.append(floats(name, title, notes + _reference(each) + varied(found),
                               "r" * len(head), head, [Block("", body)]))  # fmt: skip
    return "\n".join(made)


def _steps(each: Compensation) -> list[Step]:
    """(step, m) of the columns; m is `B` where the whole batch shares a perturbation."""
    known = each.waterfall["n"].gt(0) | each.waterfall["diverged"].gt(0)
    rows = each.waterfall[known].to_dict("records")
    plain = [(step, "B") for step in STEPS if any(row["step"] == step for row in rows)]
    return list(dict.fromkeys([*plain, *(_column(r) for r in rows if r["step"] not in STEPS)]))


def _column(row: dict[Any, Any]) -> Step:
    return row["step"], "B" if row["m"] == row["batch_size"] else str(row["m"])


def _step_title(step: str, m: str) -> str:
    own = "+" + step.partition("+")[2].rpartition(":")[2] + (f", m={m}" if m != "B" else "")
    return TITLES[step] if step in TITLES else heading(own)


def _waterfall(
    each: Compensation, cells: dict[tuple[str, int, int], Cell]
) -> dict[int, dict[Step, str]]:
    """By batch size and step."""
    rows: dict[int, dict[Step, str]] = {}
    for row in each.waterfall.to_dict("records"):
        cell = cells[row["method"], row["batch_size"], row["m"]]
        is_rule = row["step"] in STEPS and row["step"] != "tuned"
        runs = cell.confirm(row["step"]) if is_rule else cell.winner_runs
        sd = complete(runs)["test_accuracy"].dropna().std()
        shown = accuracy(row["accuracy"], sd, row["n"], row["diverged"])
        rows.setdefault(row["batch_size"], {})[_column(row)] = shown
    return rows


def _shown(rows: dict[int, dict[Step, str]], steps: Sequence[Step]) -> list[list[str]]:
    body = [[str(size), *(own.get(step, "--") for step in steps)] for size, own in rows.items()]
    return [["$B$", *(_step_title(*step) for step in steps)], *body]


def _reference(each: Compensation) -> str:
    if each.reference is None:
        return ""
    mean = each.reference_mean
    sd = complete(each.reference.winner_runs)["test_accuracy"].dropna().std()
    return (
        f"The base optimizer is {breakable(each.optimizer)}, the small batch "
        f"$B={each.reference.batch_size}$, "
        f"{accuracy(mean.value, sd, mean.n, mean.diverged)}. "
    )


def recovered_table(found: Answers) -> str:
    """The recovered share with Fieller's interval, a row a batch size and one over all."""
    blocks: dict[str, list[list[str]]] = {}
    for row in shares_table(found.compensations).to_dict("records"):
        if not math.isfinite(row["gap"]):
            continue
        whole, over_all = row["m"] in ("B", str(row["batch_size"])), row["batch_size"] == 0
        name = row["method"] if whole else f"{row['method']}, m={row['m']}"
        blocks.setdefault(name, []).append([
            "all" if over_all else str(row["batch_size"]),
            fixed(row["gap"] * 100, 2), interval(row["gap_low"] * 100, row["gap_high"] * 100),
            fixed(row["value"] * 100, 0), interval(row["low"] * 100, row["high"] * 100, 0),
            escape(row["verdict"]),
        ])  # fmt: skip
    notes = (
        r"Share = (method $-$ plain) / (small batch $-$ plain), gap = its denominator, in test "
        r"accuracy of tuned winners; intervals: 95\,\%, the share's by Fieller's method with the "
        r"variance over fresh seeds pooled. "
    )
    head = ["$B$", "gap (points)", r"95\,\%", r"share (\%)", r"95\,\%", "verdict"]
    return floats("recovered", "Recovered share of the lost accuracy",
                  notes + varied(found, False), "rrrrrl", head,
                  [Block(*item) for item in blocks.items()])  # fmt: skip


def split_table(found: Answers) -> str:
    """Lost validation accuracy, split at equal fit: a row a batch size, and their mean."""
    blocks: dict[str, list[list[str]]] = {}
    for row in equal_fit.split_table([c.split for c in found.compensations]).to_dict("records"):
        whole, mean = row["m"] in ("B", str(row["batch_size"])), row["batch_size"] == 0
        name = row["method"] if whole else f"{row['method']}, m={row['m']}"
        signs = {1: (r"$\geq$", r"$\leq$"), -1: (r"$\leq$", r"$\geq$")}.get(
            row["fit_bound"], ("", "")
        )
        told = []
        for part, sign in zip(equal_fit.PARTS[1:], signs, strict=True):
            ends = (row[part + end] * 100 for end in ("_low", "_high"))
            told += [sign + fixed(row[part] * 100, 2), interval(*ends)]
        blocks.setdefault(name, []).append(["mean" if mean else str(row["batch_size"]),
                                            fixed(row["lost"] * 100, 2), *told])  # fmt: skip
    notes = (
        r"Validation accuracy lost against the small batch (points) = by fitting the training set "
        r"worse $+$ by generalising worse at equal fit: where the learning curve of the one that "
        r"fits better had the training loss at which the other ended; 0 by fitting where both fit "
        rf"{equal_fit.FITS * 100:.0f}\,\% of it. Intervals: 95\,\%, $t$, variance over fresh seeds "
        r"moderated over cells. "
    )
    head = ["$B$", "lost", "fitting", r"95\,\%", "generalising", r"95\,\%"]
    return floats("split", "What a large batch loses, split", notes + varied(found, False),
                  "rrrrrr", head, [Block(*item) for item in blocks.items()])  # fmt: skip


def pairs_table(found: Answers) -> str:
    """Methods compared at each batch size, paired by seed."""
    blocks: dict[str, list[list[str]]] = {}
    for row in found.pairs[found.pairs["n"].gt(0)].to_dict("records"):
        name = f"{series(row['method'], row['m'], row['batch_size'])} − {row['against']}"
        blocks.setdefault(name, []).append([
            str(row["batch_size"]), str(row["n"]), fixed(row["difference"] * 100, 2),
            interval(row["low"] * 100, row["high"] * 100), p_value(row["p_holm"]),
            fixed(row["effect_size"], 2), fixed(row["detectable"] * 100, 2),
        ])  # fmt: skip
    notes = (
        r"Mean difference of test accuracy (points) over $n$ pairs that share a seed, with its "
        r"95\,\% $t$ interval; $p$: of the paired $t$ test, after Holm over all rows; $d$: Hedges' "
        r"effect size; det.: the difference seen with a power of 80\,\% (one test, 5\,\%). "
    )
    head = ["$B$", "$n$", "difference", r"95\,\%", "$p$", "$d$", "det."]
    return floats("pairs", "Methods paired by seed", notes + varied(found, False), "rrrrrrr", head,
                  [Block(*item) for item in blocks.items()])  # fmt: skip
